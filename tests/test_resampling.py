"""Resampling of images by affine maps: Keys' cubic convolution."""

import numpy as np
import pytest

from concordet import _kernels

UNMARKED = np.empty((0, 0), np.float32)


def warp(image, pixel_map, shape, scale=1.0, threads=1):
    """(output, inside) of the kernel, both started at a value that must not survive."""
    output, inside = np.full((2, *shape), -77, np.float32)
    _kernels.warp_affine(image, pixel_map, scale, output, inside, threads)
    return output, inside


def keys(distance):
    """Cubic convolution, a = -1/2 [Keys, IEEE Trans. ASSP 29, 1153, eq. 15]."""
    s = np.abs(distance)
    return np.where(s < 1, 1.5 * s**3 - 2.5 * s**2 + 1, np.where(s < 2, -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2, 0))


def slow_warp(image, pixel_map, shape):
    """The definition: all pixels weighed by Keys' kernel at their distance, edge pixels repeated without end."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    u = pixel_map[0] * x + pixel_map[1] * y + pixel_map[2]
    v = pixel_map[3] * x + pixel_map[4] * y + pixel_map[5]
    rows, columns = image.shape
    padded = np.pad(image.astype(float), 3, mode="edge")
    by_row = keys(v[..., None] - np.arange(-3, rows + 3))
    by_column = keys(u[..., None] - np.arange(-3, columns + 3))
    within = (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
    return np.einsum("yxr,rc,yxc->yx", by_row, padded, by_column) * within, within


ROTATED = [0.93, -0.31, 4.2, 0.28, 1.04, -1.3]


@pytest.mark.parametrize(
    "pixel_map",
    [ROTATED, [1, 0, 0.37, 0, 1, -0.81], [0, 1, 0, 1, 0, 0], [0.5, 0, 0.25, 0, 0.5, 0.25], [-1.2, 0.1, 20, 0, 1, 3]],
)
def test_it_is_keys_convolution(rng, pixel_map):
    image = rng.standard_normal((17, 22)).astype(np.float32)
    output, inside = warp(image, pixel_map, (24, 25))
    expected, within = slow_warp(image, pixel_map, (24, 25))
    np.testing.assert_allclose(output, expected, atol=2e-5)
    np.testing.assert_array_equal(inside, within)
    assert 0 < inside.sum() <= inside.size


def test_whole_pixel_moves_copy(rng):
    """(u, v) = map (x, y, 1): +3 in u_1 reads 3 columns to the right, so the image moves to the left."""
    image = rng.standard_normal((9, 12)).astype(np.float32)
    same, inside = warp(image, [1, 0, 0, 0, 1, 0], (9, 12))
    np.testing.assert_array_equal(same, image)
    assert inside.all()
    moved, inside = warp(image, [1, 0, 3, 0, 1, -2], (9, 12))
    np.testing.assert_array_equal(moved[2:, :9], image[:7, 3:])
    assert inside.sum() == 7 * 9 and inside[2:, :9].all()
    assert not moved[:2].any() and not moved[:, 9:].any()
    turned, _ = warp(image, [0, 1, 0, 1, 0, 0], (12, 9))
    np.testing.assert_array_equal(turned, image.T)


def test_quadratics_are_exact_away_from_the_edge():
    """Keys' kernel with a = -1/2 reproduces polynomials of degree two."""
    v, u = np.mgrid[:20, :24].astype(np.float32)
    image = (0.3 + 0.2 * u - 0.1 * v + 0.02 * u * u - 0.03 * u * v + 0.01 * v * v).astype(np.float32)
    output, _ = warp(image, ROTATED, (20, 24))
    y, x = np.mgrid[:20, :24]
    u, v = (ROTATED[3 * i] * x + ROTATED[3 * i + 1] * y + ROTATED[3 * i + 2] for i in (0, 1))
    expected = 0.3 + 0.2 * u - 0.1 * v + 0.02 * u * u - 0.03 * u * v + 0.01 * v * v
    interior = (u >= 1) & (v >= 1) & (u <= 22) & (v <= 18)
    assert interior.sum() > 150
    np.testing.assert_allclose(output[interior], expected[interior], atol=1e-4)


def test_a_constant_stays_constant_to_the_edge():
    output, inside = warp(np.full((8, 11), 2.5, np.float32), [0.31, 0.02, -0.4, -0.03, 0.29, -0.2], (30, 40), -2.0)
    np.testing.assert_allclose(output, -5 * inside, atol=2e-6)
    assert 0 < inside.sum() < inside.size


def test_rounding_of_the_map_keeps_the_border():
    """A border pixel that the map misses by rounding is still on the image."""
    image = np.arange(30, dtype=np.float32).reshape(5, 6)
    output, inside = warp(image, [1, 0, -1e-9, 0, 1, 1e-9], (5, 6))
    assert inside.all()
    np.testing.assert_allclose(output, image, atol=1e-5)


def test_one_pixel_wide_images():
    for shape in ((1, 7), (7, 1), (1, 1)):
        image = np.arange(1, 1 + max(shape), dtype=np.float32).reshape(shape)
        output, inside = warp(image, [1, 0, 0, 0, 1, 0], (8, 8))
        np.testing.assert_array_equal(output[: shape[0], : shape[1]], image)
        assert inside.sum() == image.size


def test_rows_of_any_pitch_and_marks_left_out(rng):
    whole = rng.standard_normal((20, 30)).astype(np.float32)
    part = whole[3:17, 5:25]
    expected, _ = warp(part.copy(), ROTATED, (15, 16))
    canvas = np.full((20, 40), 9, np.float32)
    _kernels.warp_affine(part, ROTATED, 1.0, canvas[2:17, 4:20], UNMARKED, 1)
    np.testing.assert_array_equal(canvas[2:17, 4:20], expected)
    canvas[2:17, 4:20] = 9
    assert (canvas == 9).all()


def test_threads_give_the_same_bits(rng):
    image = rng.standard_normal((61, 53)).astype(np.float32)
    one = warp(image, ROTATED, (57, 64), 1.3, 1)
    for threads in (2, 3, 8):
        for values, first in zip(warp(image, ROTATED, (57, 64), 1.3, threads), one, strict=True):
            assert values.tobytes() == first.tobytes()


def test_refusals():
    image, output = np.zeros((4, 5), np.float32), np.zeros((6, 7), np.float32)
    identity = [1, 0, 0, 0, 1, 0]
    for arguments, message in [
        ((image[:, ::2], identity, 1.0, output, UNMARKED), "contiguous"),
        ((np.zeros((0, 5), np.float32), identity, 1.0, output, UNMARKED), "empty|contiguous"),
        ((image, identity, 1.0, output, np.zeros((6, 6), np.float32)), "inside must have the shape of output"),
        ((image[0], identity, 1.0, output, UNMARKED), "image must have 2 axes, got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            _kernels.warp_affine(*arguments, 1)
    output.flags.writeable = False
    with pytest.raises(ValueError, match="output must be writeable"):
        _kernels.warp_affine(image, identity, 1.0, output, UNMARKED, 1)
    with pytest.raises(TypeError):
        _kernels.warp_affine(image.astype(float), identity, 1.0, np.zeros((6, 7), np.float32), UNMARKED, 1)
