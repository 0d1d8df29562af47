/// Memory on cache lines: wide loads of it never meet two lines.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace concordet {

/// `count` numbers, not initialised. Large ones ask for large pages: first touches and scattered ones are then cheap.
template <class Number>
class Aligned {
public:
    template <class Count>
    explicit Aligned(Count count)
        : count_(static_cast<std::size_t>(count)), values_(allocated(count_ * sizeof(Number))) {}
    operator Number*() const { return values_.get(); }
    void fill(Number value) const { std::fill_n(values_.get(), count_, value); }

private:
    static constexpr std::align_val_t line{64};
    static constexpr std::size_t page = 1 << 21;
    struct Free {
        bool large;
        void operator()(Number* values) const { ::operator delete(values, large ? std::align_val_t{page} : line); }
    };
    using Values = std::unique_ptr<Number, Free>;

    static Values allocated(std::size_t bytes) {
        const bool large = bytes >= 2 * page;
        auto* values = static_cast<Number*>(::operator new(bytes, large ? std::align_val_t{page} : line));
#if defined(__linux__)
        if (large) madvise(values, bytes, MADV_HUGEPAGE);    // a hint: refused where the system has none
#endif
        return Values(values, Free{large});
    }

    std::size_t count_;
    Values values_;
};

}  // namespace concordet
