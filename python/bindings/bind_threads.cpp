#include <pybind11/stl.h>

#include "arrays.hpp"
#include "concordet/threads.hpp"

namespace concordet {

void bind_threads(py::module_& module) {
    module.def("thread_count", &thread_count, "threads"_a);
    module.def("instruction_set", &instruction_set);
    module.def("available_instruction_sets", &available_instruction_sets);
}

}  // namespace concordet
