/// numpy arrays as views: the only place that knows both.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <type_traits>

#include "concordet/array.hpp"
#include "concordet/check.hpp"

namespace concordet {

namespace py = pybind11;
using namespace py::literals;

/// An array argument of exactly this type: never converted, so never copied.
template <class T>
using Array = py::array_t<std::remove_const_t<T>, 0>;

template <class T, std::size_t N>
View<T, N> view(const Array<T>& array, const char* name) {
    require(array.ndim() == static_cast<py::ssize_t>(N), name, " must have ", N, " axes, got ", array.ndim());
    View<T, N> result;
    if constexpr (std::is_const_v<T>) {
        result.data = array.data();
    } else {
        require(array.writeable(), name, " must be writeable");
        result.data = const_cast<T*>(array.data());
    }
    for (std::size_t axis = 0; axis < N; ++axis) {
        result.shape[axis] = array.shape(static_cast<py::ssize_t>(axis));
        result.strides[axis] = array.strides(static_cast<py::ssize_t>(axis)) / static_cast<py::ssize_t>(sizeof(T));
    }
    return result;
}

void bind_threads(py::module_& module);
void bind_fft(py::module_& module);
void bind_projection(py::module_& module);
void bind_poses(py::module_& module);
void bind_expectation(py::module_& module);
void bind_correlation(py::module_& module);
void bind_resampling(py::module_& module);
void bind_weighting(py::module_& module);

}  // namespace concordet
