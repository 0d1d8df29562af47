"""Print the include folder that holds HEADER among the files of installed wheels: MODULE HEADER."""

import importlib.util
import sys
from pathlib import Path

FOLDERS = {
    "cmeel": ["../cmeel.prefix/include/eigen3"],
    "pythran": ["pythonic/numpy/fft"],
}

module, header = sys.argv[1:]
found = importlib.util.find_spec(module)
for root in found.submodule_search_locations if found else []:
    for folder in FOLDERS[module]:
        candidate = (Path(root) / folder).resolve()
        if (candidate / header).exists():
            print(candidate)
            sys.exit(0)
