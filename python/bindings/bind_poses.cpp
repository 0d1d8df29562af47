#include <pybind11/stl.h>

#include <complex>

#include "arrays.hpp"
#include "concordet/poses.hpp"

namespace concordet {
namespace {

using Complex = std::complex<float>;
using References = std::vector<Array<Complex>>;

PoseData pose_data(const References& references, const Array<std::int32_t>& indices, int box, const Array<Complex>& p0,
                   const Array<float>& p1, const Array<float>& inverse_noise) {
    PoseData data{{}, view<const std::int32_t, 2>(indices, "indices"), box, view<const Complex, 2>(p0, "p0"),
                  view<const float, 2>(p1, "p1"), view<const float, 1>(inverse_noise, "inverse_noise")};
    for (const auto& reference : references) data.references.push_back(view<const Complex, 3>(reference, "reference"));
    return data;
}

PoseItems pose_items(const Array<std::int64_t>& particles, const Array<std::int64_t>& weights,
                     const Array<std::int64_t>& reference_index, const Array<double>& rotations,
                     const Array<double>& shifts, const Array<double>& likelihoods, const Array<double>& norms) {
    return {view<const std::int64_t, 1>(particles, "particles"), view<const std::int64_t, 1>(weights, "weights"),
            view<const std::int64_t, 1>(reference_index, "reference_index"), view<double, 3>(rotations, "rotations"),
            view<double, 2>(shifts, "shifts"), view<double, 1>(likelihoods, "likelihoods"),
            view<double, 1>(norms, "norms")};
}

}  // namespace

void bind_poses(py::module_& module) {
    py::class_<ShiftOptions>(module, "ShiftOptions")
        .def(py::init([](double inverse_variance, double largest, int steps, bool search) {
            return ShiftOptions{inverse_variance, largest, steps, search};
        }), "inverse_variance"_a, "largest"_a, "steps"_a, "search"_a);
    module.def("score_poses", [](const References& references, const Array<std::int32_t>& indices, int box,
                                 const Array<Complex>& p0, const Array<float>& p1, const Array<float>& inverse_noise,
                                 const Array<std::int64_t>& particles, const Array<std::int64_t>& weights,
                                 const Array<std::int64_t>& reference_index, const Array<double>& rotations,
                                 const Array<double>& shifts, const Array<double>& likelihoods,
                                 const Array<double>& norms, const ShiftOptions& options, int threads) {
        const PoseData data = pose_data(references, indices, box, p0, p1, inverse_noise);
        const PoseItems items = pose_items(particles, weights, reference_index, rotations, shifts, likelihoods, norms);
        py::gil_scoped_release let_python_run;
        score_poses(data, items, options, threads);
    }, "references"_a, "indices"_a.noconvert(), "box"_a, "p0"_a.noconvert(), "p1"_a.noconvert(),
       "inverse_noise"_a.noconvert(), "particles"_a.noconvert(), "weights"_a.noconvert(),
       "reference_index"_a.noconvert(), "rotations"_a.noconvert(), "shifts"_a.noconvert(), "likelihoods"_a.noconvert(),
       "norms"_a.noconvert(), "options"_a, "threads"_a);
    module.def("refine_poses", [](const References& references, const Array<std::int32_t>& indices, int box,
                                  const Array<Complex>& p0, const Array<float>& p1, const Array<float>& inverse_noise,
                                  const Array<std::int64_t>& particles, const Array<std::int64_t>& weights,
                                  const Array<std::int64_t>& reference_index, const Array<double>& rotations,
                                  const Array<double>& shifts, const Array<double>& likelihoods,
                                  const Array<double>& norms, const ShiftOptions& options, int sweeps, double step,
                                  int threads) {
        const PoseData data = pose_data(references, indices, box, p0, p1, inverse_noise);
        const PoseItems items = pose_items(particles, weights, reference_index, rotations, shifts, likelihoods, norms);
        py::gil_scoped_release let_python_run;
        refine_poses(data, items, options, sweeps, step, threads);
    }, "references"_a, "indices"_a.noconvert(), "box"_a, "p0"_a.noconvert(), "p1"_a.noconvert(),
       "inverse_noise"_a.noconvert(), "particles"_a.noconvert(), "weights"_a.noconvert(),
       "reference_index"_a.noconvert(), "rotations"_a.noconvert(), "shifts"_a.noconvert(), "likelihoods"_a.noconvert(),
       "norms"_a.noconvert(), "options"_a, "sweeps"_a, "step"_a, "threads"_a);
    module.def("project_reference", [](const Array<Complex>& reference, const Array<float>& k,
                                       const Array<double>& rotations, const Array<Complex>& projections, int threads) {
        auto from = view<const Complex, 3>(reference, "reference");
        auto points = view<const float, 2>(k, "k");
        auto turns = view<const double, 3>(rotations, "rotations");
        auto to = view<Complex, 2>(projections, "projections");
        py::gil_scoped_release let_python_run;
        project_reference(from, points, turns, to, threads);
    }, "reference"_a.noconvert(), "k"_a.noconvert(), "rotations"_a.noconvert(), "projections"_a.noconvert(),
       "threads"_a);
    module.def("voronoi_weights", [](const Array<float>& samples, const Array<double>& quaternions,
                                     const Array<double>& shifts, const Array<std::int64_t>& counts, double alpha,
                                     double padding, const Array<double>& weights, int threads) {
        auto points = view<const float, 2>(samples, "samples");
        auto turns = view<const double, 3>(quaternions, "quaternions");
        auto moves = view<const double, 3>(shifts, "shifts");
        auto sizes = view<const std::int64_t, 1>(counts, "counts");
        auto to = view<double, 2>(weights, "weights");
        py::gil_scoped_release let_python_run;
        voronoi_weights(points, turns, moves, sizes, alpha, padding, to, threads);
    }, "samples"_a.noconvert(), "quaternions"_a.noconvert(), "shifts"_a.noconvert(), "counts"_a.noconvert(), "alpha"_a,
       "padding"_a, "weights"_a.noconvert(), "threads"_a);
}

}  // namespace concordet
