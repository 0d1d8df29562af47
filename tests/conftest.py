import os
from pathlib import Path

import numpy as np
import pytest

from specimens import make_data


@pytest.fixture(scope="session")
def data_root():
    """The shared material: $CONCORDET_DATA, or the folder `shared` beside the checkout; skips where it is not."""
    root = Path(os.environ.get("CONCORDET_DATA") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"shared data not found at {root} (set CONCORDET_DATA)")
    return root


@pytest.fixture
def rng():
    return np.random.default_rng(20261120)


@pytest.fixture(scope="session")
def small():
    """TiltData of ten views on two axes, small enough for dense matrices."""
    return make_data((5, 9, 8), (9, 8), azimuths=(0.0, 60.0), tilts=np.array([-50.0, -20.0, 0.0, 25.0, 55.0]))[0]


@pytest.fixture(scope="session")
def cell():
    """TiltData of 42 noisy views on two axes, and the truth."""
    return make_data((16, 40, 41), (40, 41), azimuths=(0.0, 90.0), tilts=np.arange(-60, 61, 6.0), noise=0.3)
