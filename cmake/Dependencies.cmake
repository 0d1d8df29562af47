# What the kernels and the extension are built with. Everything here comes from a wheel named in
# pyproject.toml (build requirements), so that a machine with Python and a C++ compiler is enough.

find_package(OpenMP REQUIRED COMPONENTS CXX)

# Development.Module: without it a missing python3-dev shows up as a nonsensical compiler error.
if(CONCORDET_BENCHMARKS)
    find_package(Python REQUIRED COMPONENTS Interpreter)
else()
    find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
    find_package(pybind11 CONFIG REQUIRED)
endif()

# One folder that holds `header`, below the prefix of an installed wheel; empty where there is none.
function(concordet_wheel_include result module header)
    execute_process(
        COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/wheel_include.py" "${module}" "${header}"
        OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    set(${result} "${folder}" PARENT_SCOPE)
endfunction()

# Eigen (MPL-2): headers of the cmeel-eigen wheel, else a system Eigen.
concordet_wheel_include(EIGEN_WHEEL_DIR cmeel Eigen/Core)
find_path(EIGEN_INCLUDE_DIR Eigen/Core HINTS "${EIGEN_WHEEL_DIR}" PATH_SUFFIXES eigen3 REQUIRED)

# pocketfft (BSD): the single header inside the pythran wheel, else -DPOCKETFFT_INCLUDE_DIR=...
concordet_wheel_include(POCKETFFT_WHEEL_DIR pythran pocketfft.hpp)
find_path(POCKETFFT_INCLUDE_DIR pocketfft.hpp HINTS "${POCKETFFT_WHEEL_DIR}" REQUIRED)
