#include "arrays.hpp"

PYBIND11_MODULE(_kernels, module) {
    module.doc() = "Kernels of Concordet: arrays in, arrays out. Use the Python modules of the same names.";
    module.attr("__version__") = CONCORDET_VERSION;
    concordet::bind_threads(module);
    concordet::bind_fft(module);
    concordet::bind_projection(module);
    concordet::bind_poses(module);
    concordet::bind_expectation(module);
    concordet::bind_correlation(module);
    concordet::bind_resampling(module);
    concordet::bind_weighting(module);
}
