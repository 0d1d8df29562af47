"""Threads and instruction sets: what this process may use, and how the user says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import concordet
from concordet import _kernels

ASK = "from concordet import _kernels; print(_kernels.instruction_set(), _kernels.thread_count(0))"


def ask(**variables):
    """The instruction set and default threads of a fresh process, or the last line of its error."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("OMP_") and name != "CONCORDET_ISA"}
    environment = kept | {"PYTHONPATH": str(Path(concordet.__file__).parents[1])} | variables
    run = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, timeout=60)
    return run.stdout.split() if run.returncode == 0 else run.stderr.splitlines()[-1]


def test_the_set_in_use_is_one_that_this_machine_runs():
    names = _kernels.available_instruction_sets()
    assert names[0] == "baseline" and len(names) == len(set(names))
    assert set(names) <= {"baseline", "avx2", "avx512"}
    assert _kernels.instruction_set() in names


@pytest.mark.parametrize("empty", [{}, {"CONCORDET_ISA": ""}])
def test_the_widest_set_is_the_default(empty):
    assert ask(**empty)[0] == _kernels.available_instruction_sets()[-1]


@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512"])
def test_a_set_is_used_when_named_or_refused_when_not_available(name):
    answer = ask(CONCORDET_ISA=name)
    if name in _kernels.available_instruction_sets():
        assert answer[0] == name
    else:
        assert answer.startswith("ValueError: CONCORDET_ISA: expected one of baseline")


@pytest.mark.parametrize("name", ["sse9", "AVX2", " avx2", "avx512,avx2"])
def test_an_unknown_set_is_refused_with_the_choice(name):
    names = ", ".join(_kernels.available_instruction_sets())
    assert ask(CONCORDET_ISA=name) == (
        f"ValueError: CONCORDET_ISA: expected one of {names} (what this machine can run), got '{name}'")


def test_threads_asked_for_are_given():
    assert [_kernels.thread_count(n) for n in (1, 2, 3, 64)] == [1, 2, 3, 64]
    assert _kernels.thread_count(0) >= 1


def test_by_default_omp_num_threads_else_the_cores_of_this_process():
    assert ask(OMP_NUM_THREADS="3")[1] == "3"
    if hasattr(os, "sched_getaffinity"):
        assert ask()[1] == str(len(os.sched_getaffinity(0)))
