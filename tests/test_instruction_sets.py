"""Objects of one instruction set share no symbols with those of another, and give the same answers."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from concordet import _kernels
from concordet.correlation import Matcher, shift_grid, spherical_harmonics, wigner_d
from concordet.fourier import Reference
from concordet.rigid import random_rotations
from instruction_sets import run_with_instruction_set

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


def search_kernels(threads):
    """What the kernels of the search give, by name; 19 particles fill a vector of any width and begin another."""
    rng = np.random.default_rng(11)
    volume = rng.standard_normal((13, 13, 13)).astype(np.float32)
    matcher = Matcher(13, shells=(1, 5), band_limit=7, angles=16, shifts=shift_grid(1, 1), threads=threads)
    reference, half = Reference(volume, threads=threads), matcher.half
    p0 = rng.standard_normal((19, len(half), 2)) @ [1, 1j]
    particles, weights = matcher.expand(p0), matcher.expand_weights(rng.uniform(0, 1, (1, len(half))))
    q0, q1 = matcher.expand_reference(reference, np.ones(5))
    best = matcher.search(particles, weights, q0[None], q1[None], xi=2.0)
    return {"transform": half.transform(volume, threads), "reference": reference.data,
            "projections": reference.project(half.indices, random_rotations(3, rng), threads),
            "wigner": wigner_d([0.3, 2.0], 9, threads), "directions": spherical_harmonics(half.indices, 9, threads),
            "particles": particles, "weights": weights, "correlation": matcher.correlate(particles[0, 0], q0),
            "scores": best.scores[:, 0], "rotations": best.rotations[:, 0], "shifts": best.shifts[:, 0]}


PROGRAM = "import sys, numpy, test_instruction_sets as t; numpy.savez(sys.argv[1], **t.search_kernels(2))"


@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512"])
def test_the_search_is_the_same_with_every_set(tmp_path, name):
    if name not in _kernels.available_instruction_sets():
        pytest.skip(f"{name} is not to be had on this machine")
    run = run_with_instruction_set(name, "-c", PROGRAM, str(tmp_path / "found.npz"))
    assert run.returncode == 0, run.stderr
    found, here = np.load(tmp_path / "found.npz"), search_kernels(1)
    assert set(found.files) == set(here)
    for kernel, values in here.items():
        assert np.abs(found[kernel] - values).max() <= 1e-5 * np.abs(values).max(), kernel


@pytest.mark.parametrize("call", [
    "Matcher(9, shells=(1, 2), band_limit=2).expand(np.zeros((1, 61)))",
    "Matcher(9, shells=(1, 2), band_limit=2).correlate(*np.zeros((2, 3, 2), np.complex64))",
    "Reference(np.zeros((9, 9, 9))).project(np.ones((1, 3)), np.eye(3))",
])
def test_an_unknown_set_is_an_error_of_the_search_not_its_end(call):
    run = run_with_instruction_set("sse9", "-c", "import numpy as np; from concordet.correlation import *; "
                                   f"from concordet.fourier import *; {call}")
    assert run.returncode == 1
    assert "ValueError: CONCORDET_ISA: expected one of baseline" in run.stderr and "got 'sse9'" in run.stderr
