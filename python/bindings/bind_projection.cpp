#include <pybind11/stl.h>

#include "arrays.hpp"
#include "concordet/projection.hpp"
#include "concordet/projection_loops.hpp"

namespace concordet {

void bind_projection(py::module_& module) {
    module.attr("row_guard") = row_guard;
    module.attr("image_guard") = image_guard;

    py::class_<ImageFrame>(module, "ImageFrame")
        .def_readonly("origin_y", &ImageFrame::origin_y)
        .def_readonly("origin_x", &ImageFrame::origin_x)
        .def_readonly("height", &ImageFrame::height)
        .def_readonly("width", &ImageFrame::width);

    module.def("image_frame", [](const Array<double>& shears, std::array<std::int64_t, 3> volume_shape) {
        return image_frame(view<const double, 2>(shears, "shears"), volume_shape);
    }, "shears"_a.noconvert(), "volume_shape"_a);

    module.def("shear_forward", [](const Array<float>& volume, const Array<double>& shears, const Array<float>& images,
                                   const ImageFrame& frame, int threads) {
        auto in = view<const float, 3>(volume, "volume");
        auto moves = view<const double, 2>(shears, "shears");
        auto out = view<float, 3>(images, "images");
        py::gil_scoped_release let_python_run;
        shear_forward(in, moves, out, frame, threads);
    }, "volume"_a.noconvert(), "shears"_a.noconvert(), "images"_a.noconvert(), "frame"_a, "threads"_a);

    module.def("shear_adjoint", [](const Array<float>& images, const Array<double>& shears, const Array<float>& volume,
                                   const ImageFrame& frame, int threads) {
        auto in = view<const float, 3>(images, "images");
        auto moves = view<const double, 2>(shears, "shears");
        auto out = view<float, 3>(volume, "volume");
        py::gil_scoped_release let_python_run;
        shear_adjoint(in, moves, out, frame, threads);
    }, "images"_a.noconvert(), "shears"_a.noconvert(), "volume"_a.noconvert(), "frame"_a, "threads"_a);

    module.def("compare", [](const Array<float>& data, const Array<float>& weights, const Array<std::int64_t>& views,
                             const Array<float>& projections, const Array<double>& sums, int threads) {
        auto p = view<const float, 3>(data, "data");
        auto w = view<const float, 3>(weights, "weights");
        auto which = view<const std::int64_t, 1>(views, "views");
        auto s = view<float, 3>(projections, "projections");
        auto totals = view<double, 2>(sums, "sums");
        py::gil_scoped_release let_python_run;
        compare(p, w, which, s, totals, threads);
    }, "data"_a.noconvert(), "weights"_a.noconvert(), "views"_a.noconvert(), "projections"_a.noconvert(),
       "sums"_a.noconvert(), "threads"_a);

    module.def("relax", [](const Array<float>& volume, const Array<float>& update, const Array<float>& column_weights,
                           float step, float floor, int threads) {
        auto x = view<float, 3>(volume, "volume");
        auto d = view<const float, 3>(update, "update");
        auto c = view<const float, 3>(column_weights, "column_weights");
        py::gil_scoped_release let_python_run;
        return relax(x, d, c, step, floor, threads);
    }, "volume"_a.noconvert(), "update"_a.noconvert(), "column_weights"_a.noconvert(), "step"_a, "floor"_a,
       "threads"_a);
}

}  // namespace concordet
