"""Programs run with another instruction set than that of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import concordet


def run_with_instruction_set(name, *arguments):
    paths = [str(Path(__file__).parent), str(Path(concordet.__file__).parents[1])]
    environment = os.environ | {"CONCORDET_ISA": name, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)
