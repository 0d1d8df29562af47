#include "arrays.hpp"
#include "concordet/weighting.hpp"

namespace concordet {

void bind_weighting(py::module_& module) {
    module.def("weigh_views", [](const Array<float>& images, const Array<double>& all_shears,
                                 const Array<std::int64_t>& own, const Array<double>& maps, int thickness,
                                 const Array<float>& window, int threads) {
        auto data = view<float, 3>(images, "images");
        auto shears = view<const double, 2>(all_shears, "all_shears");
        auto views = view<const std::int64_t, 1>(own, "own");
        auto affine = view<const double, 3>(maps, "maps");
        auto values = view<const float, 1>(window, "window");
        py::gil_scoped_release let_python_run;
        weigh_views(data, shears, views, affine, thickness, values, threads);
    }, "images"_a.noconvert(), "all_shears"_a.noconvert(), "own"_a.noconvert(), "maps"_a.noconvert(), "thickness"_a,
       "window"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
