"""Concordet: multi-axis cryo-electron tomography, from tilt series to volumes (and, later, class averages)."""

import os

__version__ = "0.1.0"

# Idle OpenMP threads sleep instead of spinning, for libgomp reads this when it is loaded: beside another busy
# process on the same cores (MPI ranks, say) spinning took 1.3 times as long, alone it gains nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
