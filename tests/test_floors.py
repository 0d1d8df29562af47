"""Modules import from lower floors or from their left; kernels, MPI, figures and arguments have one door each."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "concordet"
FLOORS = [
    ["errors", "geometry", "ctf", "rigid", "partition", "context"],
    ["resampling", "projection", "fourier", "wedge", "correlation", "poses", "expectation", "preprocessing", "io"],
    ["evaluation", "reconstruction", "consensus", "averaging", "simulation", "experiment", "methods"],
    ["multitree", "checkpoint", "progress", "record"],
    ["report"],
    ["cli"],
]
PLACE = {module: (floor, column) for floor, row in enumerate(FLOORS) for column, module in enumerate(row)}
# The one module that may import a package; _kernels belongs to the whole of floor 1.
DOORS = {"mpi4py": "multitree", "matplotlib": "report", "argparse": "cli"}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name[0] != "_")


def home_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source, package):
    """Full names of all that `source` imports anywhere; relative imports start from the dotted name `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def faults(home, names):
    """What module `home` imports and may not."""
    for name in names:
        top, *rest = name.split(".")
        if top in DOORS and home != DOORS[top]:
            yield f"{home} imports {top}: only {DOORS[top]} may"
        if top != "concordet" or not rest or rest[0] == home or rest[0].startswith("__"):
            continue
        if rest[0] == "_kernels":
            if PLACE[home][0] != 1:
                yield f"{home} imports _kernels: only floor 1 may"
        elif rest[0] not in PLACE:
            yield f"{home} imports {name}: on no floor"
        else:
            (floor, column), (here, own_column) = PLACE[rest[0]], PLACE[home]
            if floor > here or (floor == here and column > own_column):
                yield f"{home} imports {rest[0]}: above it, or to its right"


def test_the_package_was_found():
    assert len(SOURCES) >= 12
    assert {home_of(path) for path in SOURCES} >= {"geometry", "projection", "partition", "reconstruction", "io"}


def test_every_module_has_one_place():
    assert len(PLACE) == sum(len(row) for row in FLOORS)
    assert {home_of(path) for path in SOURCES} <= set(PLACE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_below_or_from_the_left(path):
    package = ".".join(["concordet", *path.relative_to(PACKAGE).parts[:-1]])
    assert not list(faults(home_of(path), imported(path.read_text(), package)))


@pytest.mark.parametrize(
    ("home", "package", "line", "fault"),
    [
        ("geometry", "concordet", "from concordet.errors import InputError", None),
        ("errors", "concordet", "from concordet.geometry import joined", "to its right"),
        ("geometry", "concordet", "from concordet import projection", "above it"),
        ("geometry", "concordet", "from . import projection", "above it"),
        ("geometry", "concordet", "from .projection import Projector", "above it"),
        ("io", "concordet.io", "from .mrc import read_volume", None),
        ("io", "concordet.io", "from . import mrc", None),
        ("io", "concordet.io", "from .. import simulation", "above it"),
        ("io", "concordet.io", "from ..report import figure", "above it"),
        ("projection", "concordet", "from concordet import _kernels", None),
        ("reconstruction", "concordet", "import concordet._kernels", "_kernels"),
        ("report", "concordet", "import matplotlib.pyplot as plt", None),
        ("simulation", "concordet", "def f():\n    from matplotlib import pyplot", "matplotlib"),
        ("consensus", "concordet", "from mpi4py import MPI", "mpi4py"),
        ("cli", "concordet.cli", "import argparse", None),
        ("methods", "concordet", "import argparse", "argparse"),
        ("cli", "concordet.cli", "from concordet import __version__, strange", "on no floor"),
    ],
)
def test_the_rule_itself(home, package, line, fault):
    found = list(faults(home, imported(line, package)))
    assert (len(found) == 1 and fault in found[0]) if fault else not found


def test_kernels_know_neither_python_nor_mpi():
    sources = sorted((ROOT / "cpp").rglob("*.?pp"))
    assert len(sources) >= 8
    for path in sources:
        includes = re.findall(r'#\s*include\s*[<"]([^>"]+)', path.read_text())
        assert not [name for name in includes if re.match(r"pybind11|Python\.h|mpi\.h|fstream|cstdio|iostream", name)]


def test_bindings_give_no_defaults():
    """Defaults live in Python: no `"name"_a = value` in the bindings' tables."""
    bindings = sorted((ROOT / "python" / "bindings").glob("bind_*.cpp"))
    assert bindings
    for path in bindings:
        assert not re.search(r'"_a(\.noconvert\(\))?\s*=', path.read_text()), path.name
