import os
from pathlib import Path

import numpy as np
import pytest


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
