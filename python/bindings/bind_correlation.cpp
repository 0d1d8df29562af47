#include <complex>

#include "arrays.hpp"
#include "concordet/correlation.hpp"
#include "concordet/harmonics.hpp"
#include "concordet/wigner.hpp"

namespace concordet {

using Complex = std::complex<float>;

void bind_correlation(py::module_& module) {
    module.def("wigner_d", [](const Array<double>& betas, const Array<double>& matrices, int threads) {
        auto angles = view<const double, 1>(betas, "betas");
        auto to = view<double, 4>(matrices, "matrices");
        py::gil_scoped_release let_python_run;
        wigner_d(angles, to, threads);
    }, "betas"_a.noconvert(), "matrices"_a.noconvert(), "threads"_a);

    module.def("spherical_harmonics", [](const Array<double>& directions, int band,
                                         const Array<std::complex<double>>& values, int threads) {
        auto from = view<const double, 2>(directions, "directions");
        auto to = view<std::complex<double>, 2>(values, "values");
        py::gil_scoped_release let_python_run;
        spherical_harmonics(from, band, to, threads);
    }, "directions"_a.noconvert(), "band"_a, "values"_a.noconvert(), "threads"_a);

    py::class_<HarmonicsTable>(module, "HarmonicsTable")
        .def(py::init([](const Array<std::int32_t>& indices, int first, int last, int band, int threads) {
            return HarmonicsTable(view<const std::int32_t, 2>(indices, "indices"), first, last, band, threads);
        }), "indices"_a.noconvert(), "first"_a, "last"_a, "band"_a, "threads"_a)
        .def("expand", [](const HarmonicsTable& table, const Array<Complex>& coefficients, const Array<Complex>& phases,
                          const Array<Complex>& harmonics, int threads) {
            auto from = view<const Complex, 2>(coefficients, "coefficients");
            auto shifts = view<const Complex, 2>(phases, "phases");
            auto to = view<Complex, 4>(harmonics, "harmonics");
            py::gil_scoped_release let_python_run;
            table.expand(from, shifts, to, threads);
        }, "coefficients"_a.noconvert(), "phases"_a.noconvert(), "harmonics"_a.noconvert(), "threads"_a);

    py::class_<RotationalSearch>(module, "RotationalSearch")
        .def(py::init<int, int, int>(), "band"_a, "shells"_a, "angles"_a)
        .def("correlate", [](const RotationalSearch& search, const Array<Complex>& particle,
                             const Array<Complex>& reference, const Array<float>& values) {
            auto p = view<const Complex, 2>(particle, "particle");
            auto q = view<const Complex, 2>(reference, "reference");
            auto to = view<float, 3>(values, "values");
            py::gil_scoped_release let_python_run;
            search.correlate(p, q, to);
        }, "particle"_a.noconvert(), "reference"_a.noconvert(), "values"_a.noconvert())
        .def("search", [](const RotationalSearch& search, const Array<Complex>& particles, const Array<Complex>& weights,
                          const Array<std::int64_t>& weight_index, const Array<Complex>& references,
                          const Array<Complex>& squares, const Array<std::int64_t>& reference_index,
                          const Array<float>& penalties, bool normalised, double separation,
                          const Array<float>& rotations, const Array<std::int64_t>& shifts, const Array<float>& scores,
                          const Array<std::int64_t>& counts, int threads) {
            const SearchInput input{
                view<const Complex, 4>(particles, "particles"), view<const Complex, 3>(weights, "weights"),
                view<const std::int64_t, 1>(weight_index, "weight_index"),
                view<const Complex, 3>(references, "references"), view<const Complex, 3>(squares, "squares"),
                view<const std::int64_t, 1>(reference_index, "reference_index"),
                view<const float, 1>(penalties, "penalties"),
                normalised ? SearchScore::correlation : SearchScore::likelihood, separation};
            const SearchOutput output{
                view<float, 4>(rotations, "rotations"), view<std::int64_t, 2>(shifts, "shifts"),
                view<float, 2>(scores, "scores"), view<std::int64_t, 1>(counts, "counts")};
            py::gil_scoped_release let_python_run;
            search.search(input, output, threads);
        }, "particles"_a.noconvert(), "weights"_a.noconvert(), "weight_index"_a.noconvert(),
           "references"_a.noconvert(), "squares"_a.noconvert(), "reference_index"_a.noconvert(),
           "penalties"_a.noconvert(), "normalised"_a, "separation"_a, "rotations"_a.noconvert(), "shifts"_a.noconvert(),
           "scores"_a.noconvert(), "counts"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
