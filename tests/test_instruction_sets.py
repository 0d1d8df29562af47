"""The build refuses objects of one instruction set that share symbols with those of another."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / "cmake" / "check_symbols.py"


def refusal(tmp_path, source):
    """What check_symbols.py says of an object made from `source`; empty where it has nothing to say."""
    if not (CHECK.is_file() and shutil.which("g++") and shutil.which("nm")):
        pytest.skip("needs the source tree, g++ and nm")
    (tmp_path / "loops.cpp").write_text(source)
    subprocess.run(["g++", "-std=c++20", "-O0", "-c", "loops.cpp"], cwd=tmp_path, check=True)
    command = [sys.executable, CHECK, shutil.which("nm"), tmp_path / "loops.o"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode == 0) == (run.stderr == "")
    return run.stderr


def test_a_shared_inline_function_is_refused(tmp_path):
    source = "inline float twice(float x) { return 2 * x; }\nfloat use(float x) { return twice(x); }\n"
    assert "weak symbols" in refusal(tmp_path, source)


def test_a_template_of_the_standard_library_is_refused(tmp_path):
    source = "#include <algorithm>\nint larger(int a, int b) { return std::max(a, b); }\n"
    assert "weak symbols" in refusal(tmp_path, source)


def test_internal_linkage_passes(tmp_path):
    source = ("namespace { template <int N> float times(float x) { return N * x; } }\n"
              "float use(float x) { return times<2>(x); }\n")
    assert refusal(tmp_path, source) == ""
