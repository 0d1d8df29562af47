import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

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
