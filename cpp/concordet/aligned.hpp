/// Memory on cache lines: wide loads of it never meet two lines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace concordet {

/// `count` numbers, not initialised.
template <class Number>
class Aligned {
public:
    template <class Count>
    explicit Aligned(Count count)
        : count_(static_cast<std::size_t>(count)),
          values_(static_cast<Number*>(::operator new(count_ * sizeof(Number), line))) {}
    operator Number*() const { return values_.get(); }
    void fill(Number value) const { std::fill_n(values_.get(), count_, value); }

private:
    static constexpr std::align_val_t line{64};
    struct Free {
        void operator()(Number* values) const { ::operator delete(values, line); }
    };
    std::size_t count_;
    std::unique_ptr<Number, Free> values_;
};

}  // namespace concordet
