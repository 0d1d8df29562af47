/// Refusal at the door: `require` throws std::invalid_argument (ValueError in Python) with a composed message.
#pragma once

#include <sstream>
#include <stdexcept>

namespace concordet {

template <class... Words>
void require(bool holds, const Words&... words) {
    if (holds) return;
    std::ostringstream message;
    (message << ... << words);
    throw std::invalid_argument(message.str());
}

}  // namespace concordet
