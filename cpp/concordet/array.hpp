/// Views of strided arrays: what a kernel takes in and gives back. They own nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace concordet {

/// N-dimensional view; strides in elements, last axis usually contiguous (the kernels that need it check it).
template <class T, std::size_t N>
struct View {
    T* data = nullptr;
    std::array<std::int64_t, N> shape{};
    std::array<std::int64_t, N> strides{};

    template <class... Index>
    T& operator()(Index... index) const {
        static_assert(sizeof...(Index) == N);
        const std::array<std::int64_t, N> position{static_cast<std::int64_t>(index)...};
        std::int64_t offset = 0;
        for (std::size_t axis = 0; axis < N; ++axis) offset += position[axis] * strides[axis];
        return data[offset];
    }
};

}  // namespace concordet
