#include "concordet/expectation.hpp"

#include <pybind11/stl.h>

#include <complex>

#include "arrays.hpp"

namespace concordet {
namespace {

using Complex = std::complex<float>;

Observations observations(const Array<std::int32_t>& indices, int box, const Array<Complex>& p0,
                          const Array<float>& p1) {
    return {view<const std::int32_t, 2>(indices, "indices"), box, view<const Complex, 2>(p0, "p0"),
            view<const float, 2>(p1, "p1")};
}

PosedItems posed_items(const Array<std::int64_t>& particles, const Array<std::int64_t>& weights,
                       const Array<double>& rotations, const Array<double>& shifts) {
    return {view<const std::int64_t, 1>(particles, "particles"), view<const std::int64_t, 1>(weights, "weights"),
            view<const double, 3>(rotations, "rotations"), view<const double, 2>(shifts, "shifts")};
}

}  // namespace

void bind_expectation(py::module_& module) {
    module.def("accumulate", [](const Array<std::int32_t>& indices, int box, const Array<Complex>& p0,
                                const Array<float>& p1, const Array<std::int64_t>& particles,
                                const Array<std::int64_t>& weights, const Array<double>& rotations,
                                const Array<double>& shifts, const Array<double>& shares,
                                const Array<Complex>& numerator, const Array<float>& denominator, int threads) {
        const Observations data = observations(indices, box, p0, p1);
        const PosedItems items = posed_items(particles, weights, rotations, shifts);
        auto parts = view<const double, 1>(shares, "shares");
        auto num = view<Complex, 3>(numerator, "numerator");
        auto den = view<float, 3>(denominator, "denominator");
        py::gil_scoped_release let_python_run;
        accumulate(data, items, parts, num, den, threads);
    }, "indices"_a.noconvert(), "box"_a, "p0"_a.noconvert(), "p1"_a.noconvert(), "particles"_a.noconvert(),
       "weights"_a.noconvert(), "rotations"_a.noconvert(), "shifts"_a.noconvert(), "shares"_a.noconvert(),
       "numerator"_a.noconvert(), "denominator"_a.noconvert(), "threads"_a);
    module.def("shell_sums", [](const std::vector<Array<Complex>>& references, const Array<std::int32_t>& indices,
                                int box, const Array<Complex>& p0, const Array<float>& p1,
                                const Array<std::int64_t>& particles, const Array<std::int64_t>& weights,
                                const Array<std::int64_t>& reference_index, const Array<double>& rotations,
                                const Array<double>& shifts, const Array<std::int32_t>& shells,
                                const Array<double>& sums, int threads) {
        const Observations data = observations(indices, box, p0, p1);
        const PosedItems items = posed_items(particles, weights, rotations, shifts);
        std::vector<View<const Complex, 3>> grids;
        for (const auto& reference : references) grids.push_back(view<const Complex, 3>(reference, "reference"));
        auto chosen = view<const std::int64_t, 1>(reference_index, "reference_index");
        auto shell_of = view<const std::int32_t, 1>(shells, "shells");
        auto to = view<double, 3>(sums, "sums");
        py::gil_scoped_release let_python_run;
        shell_sums(grids, data, items, chosen, shell_of, to, threads);
    }, "references"_a, "indices"_a.noconvert(), "box"_a, "p0"_a.noconvert(), "p1"_a.noconvert(),
       "particles"_a.noconvert(), "weights"_a.noconvert(), "reference_index"_a.noconvert(), "rotations"_a.noconvert(),
       "shifts"_a.noconvert(), "shells"_a.noconvert(), "sums"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
