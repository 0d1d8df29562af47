#include <complex>

#include "arrays.hpp"
#include "concordet/fft.hpp"

namespace concordet {

void bind_fft(py::module_& module) {
    module.def("transform_cube", [](const Array<float>& volume, const Array<float>& profile, int length, float factor,
                                    const Array<std::complex<float>>& spectrum, int threads) {
        auto from = view<const float, 3>(volume, "volume");
        auto weights = view<const float, 1>(profile, "profile");
        auto to = view<std::complex<float>, 3>(spectrum, "spectrum");
        py::gil_scoped_release let_python_run;
        transform_cube(from, weights, length, factor, to, threads);
    }, "volume"_a.noconvert(), "profile"_a.noconvert(), "length"_a, "factor"_a, "spectrum"_a.noconvert(), "threads"_a);
    module.def("inverse_transform_cube", [](const Array<std::complex<float>>& spectrum, const Array<float>& profile,
                                            int length, float factor, const Array<float>& volume, int threads) {
        auto from = view<const std::complex<float>, 3>(spectrum, "spectrum");
        auto weights = view<const float, 1>(profile, "profile");
        auto to = view<float, 3>(volume, "volume");
        py::gil_scoped_release let_python_run;
        inverse_transform_cube(from, weights, length, factor, to, threads);
    }, "spectrum"_a.noconvert(), "profile"_a.noconvert(), "length"_a, "factor"_a, "volume"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
