import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]
Complexes = NDArray[np.complex64]

__version__: str
row_guard: int
image_guard: int

class ImageFrame:
    @property
    def origin_y(self) -> int: ...
    @property
    def origin_x(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

def thread_count(threads: int) -> int: ...
def instruction_set() -> str: ...
def available_instruction_sets() -> list[str]: ...
def transform_cube(
    volume: Floats, profile: Floats, length: int, factor: float, spectrum: Complexes, threads: int
) -> None: ...
def inverse_transform_cube(
    spectrum: Complexes, profile: Floats, length: int, factor: float, volume: Floats, threads: int
) -> None: ...
def image_frame(shears: Doubles, volume_shape: tuple[int, int, int]) -> ImageFrame: ...
def shear_forward(
    volume: Floats, shears: Doubles, images: Floats, frame: ImageFrame, threads: int
) -> None: ...
def shear_adjoint(
    images: Floats, shears: Doubles, volume: Floats, frame: ImageFrame, threads: int
) -> None: ...
def compare(
    data: Floats, weights: Floats, views: Indices, projections: Floats, sums: Doubles, threads: int
) -> None: ...
def relax(
    volume: Floats, update: Floats, column_weights: Floats, step: float, floor: float, threads: int
) -> list[float]: ...
def wigner_d(betas: Doubles, matrices: Doubles, threads: int) -> None: ...
def spherical_harmonics(
    directions: Doubles, band: int, values: NDArray[np.complex128], threads: int
) -> None: ...

class HarmonicsTable:
    def __init__(self, indices: NDArray[np.int32], first: int, last: int, band: int, threads: int) -> None: ...
    def expand(self, coefficients: Complexes, phases: Complexes, harmonics: Complexes, threads: int) -> None: ...

class RotationalSearch:
    def __init__(self, band: int, shells: int, angles: int) -> None: ...
    def correlate(self, particle: Complexes, reference: Complexes, values: Floats) -> None: ...
    def search(
        self,
        particles: Complexes,
        weights: Complexes,
        weight_index: Indices,
        references: Complexes,
        squares: Complexes,
        reference_index: Indices,
        penalties: Floats,
        normalised: bool,
        separation: float,
        rotations: Floats,
        shifts: Indices,
        scores: Floats,
        counts: Indices,
        threads: int,
    ) -> None: ...

class ShiftOptions:
    def __init__(self, inverse_variance: float, largest: float, steps: int, search: bool) -> None: ...

def score_poses(
    references: list[Complexes],
    indices: NDArray[np.int32],
    box: int,
    p0: Complexes,
    p1: Floats,
    inverse_noise: Floats,
    particles: Indices,
    weights: Indices,
    reference_index: Indices,
    rotations: Doubles,
    shifts: Doubles,
    likelihoods: Doubles,
    norms: Doubles,
    options: ShiftOptions,
    threads: int,
) -> None: ...
def refine_poses(
    references: list[Complexes],
    indices: NDArray[np.int32],
    box: int,
    p0: Complexes,
    p1: Floats,
    inverse_noise: Floats,
    particles: Indices,
    weights: Indices,
    reference_index: Indices,
    rotations: Doubles,
    shifts: Doubles,
    likelihoods: Doubles,
    norms: Doubles,
    options: ShiftOptions,
    sweeps: int,
    step: float,
    threads: int,
) -> None: ...
def project_reference(
    reference: Complexes, k: Floats, rotations: Doubles, projections: Complexes, threads: int
) -> None: ...
def voronoi_weights(
    samples: Floats,
    quaternions: Doubles,
    shifts: Doubles,
    counts: Indices,
    alpha: float,
    padding: float,
    weights: Doubles,
    threads: int,
) -> None: ...
def accumulate(
    indices: NDArray[np.int32],
    box: int,
    p0: Complexes,
    p1: Floats,
    particles: Indices,
    weights: Indices,
    rotations: Doubles,
    shifts: Doubles,
    shares: Doubles,
    numerator: Complexes,
    denominator: Floats,
    threads: int,
) -> None: ...
def shell_sums(
    references: list[Complexes],
    indices: NDArray[np.int32],
    box: int,
    p0: Complexes,
    p1: Floats,
    particles: Indices,
    weights: Indices,
    reference_index: Indices,
    rotations: Doubles,
    shifts: Doubles,
    shells: NDArray[np.int32],
    sums: Doubles,
    threads: int,
) -> None: ...
def warp_affine(
    image: Floats,
    map: NDArray[np.float64],
    scale: float,
    output: Floats,
    inside: Floats,
    threads: int,
) -> None: ...
def weigh_views(
    images: Floats,
    all_shears: Doubles,
    own: Indices,
    maps: Doubles,
    thickness: int,
    window: Floats,
    threads: int,
) -> None: ...
