#include <pybind11/stl.h>

#include "arrays.hpp"
#include "concordet/resampling.hpp"

namespace concordet {

void bind_resampling(py::module_& module) {
    module.def("warp_affine", [](const Array<float>& image, const std::array<double, 6>& map, float scale,
                                 const Array<float>& output, const Array<float>& inside, int threads) {
        auto from = view<const float, 2>(image, "image");
        auto to = view<float, 2>(output, "output");
        auto marks = view<float, 2>(inside, "inside");
        py::gil_scoped_release let_python_run;
        warp_affine(from, map, scale, to, marks, threads);
    }, "image"_a.noconvert(), "map"_a, "scale"_a, "output"_a.noconvert(), "inside"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
