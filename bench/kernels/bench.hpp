/// What the bench executables share: options, a clock, aligned memory, JSON.
#pragma once

#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace bench {

/// Wall seconds, and CPU seconds of the whole process, since it was made.
class Clock {
public:
    double seconds() const { return std::chrono::duration<double>(Steady::now() - begin_).count(); }
    double cpu_seconds() const { return process_seconds() - cpu_begin_; }

private:
    using Steady = std::chrono::steady_clock;
    static double process_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }
    Steady::time_point begin_ = Steady::now();
    double cpu_begin_ = process_seconds();
};

/// The value counts as used.
inline void keep(float value) { __asm__ volatile("" : : "m"(value)); }

/// `count` floats, zero, on a cache line and on huge pages where the system gives them (as numpy asks for).
class Floats {
public:
    explicit Floats(std::int64_t count) {
        constexpr std::size_t page = std::size_t{2} << 20;
        const std::size_t bytes = (static_cast<std::size_t>(count) * 4 + page - 1) / page * page;
        data_ = static_cast<float*>(std::aligned_alloc(page, bytes));
        if (data_ == nullptr) throw std::bad_alloc();
        madvise(data_, bytes, MADV_HUGEPAGE);
        for (std::size_t i = 0; i < bytes / 4; ++i) data_[i] = 0;
    }
    Floats(const Floats&) = delete;
    Floats& operator=(const Floats&) = delete;
    ~Floats() { std::free(data_); }
    float* data() const { return data_; }

private:
    float* data_;
};

/// `--name value` pairs of the command line; std::invalid_argument for any other.
class Options {
public:
    Options(int argc, char** argv, const std::set<std::string>& known) {
        for (int i = 1; i < argc; i += 2) {
            std::string list;
            for (const auto& name : known) list += " " + name;
            if (!known.count(argv[i])) throw std::invalid_argument("expected one of" + list + ", got " + argv[i]);
            if (i + 1 == argc) throw std::invalid_argument(std::string(argv[i]) + ": expected a value");
            values_[argv[i]] = argv[i + 1];
        }
    }
    std::string text(const std::string& name, const std::string& otherwise) const {
        const auto found = values_.find(name);
        return found == values_.end() ? otherwise : found->second;
    }
    double number(const std::string& name, double otherwise) const {
        const std::string value = text(name, "");
        if (value.empty()) return otherwise;
        std::size_t used = 0;
        double result = 0;
        try {
            result = std::stod(value, &used);
        } catch (const std::exception&) {
            used = 0;
        }
        if (used != value.size()) throw std::invalid_argument(name + ": expected a number, got " + value);
        return result;
    }

private:
    std::map<std::string, std::string> values_;
};

/// Nested objects of numbers and words, in order of `add`.
class Json {
public:
    void open(const std::string& key) { begin(key), text_ << "{", first_ = true; }
    void close() { text_ << "}", first_ = false; }
    void add(const std::string& key, double value) { begin(key), text_ << value; }
    void add(const std::string& key, const std::string& value) { begin(key), text_ << '"' << value << '"'; }
    /// To `file`, unless its name is empty.
    void write(const std::string& file) const {
        if (file.empty()) return;
        std::ofstream out(file);
        out << "{" << text_.str() << "}\n";
        if (!out.flush()) throw std::runtime_error(file + ": cannot be written");
    }

private:
    void begin(const std::string& key) {
        if (!first_) text_ << ", ";
        text_ << '"' << key << "\": ";
        first_ = false;
    }
    std::ostringstream text_;
    bool first_ = true;
};

/// `body`, or one line on stderr and status 1.
template <class Body>
int run(Body body) {
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}

}  // namespace bench
