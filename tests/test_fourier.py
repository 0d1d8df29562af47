"""Fourier space of a box: the half list, transforms, and references sampled along rotated lattices."""

import itertools

import numpy as np
import pytest

from concordet import _kernels
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference, highest_band, soft_sphere, transform_cube, volume_of
from concordet.rigid import random_rotations
from reference import fourier as slow

BOXES = [4, 5, 8, 9, 12, 15]


def noise(rng, box):
    return rng.standard_normal((box, box, box)).astype(np.float32)


# The list


@pytest.mark.parametrize("box", BOXES)
def test_the_list_and_its_mirror_image_are_the_ball(box):
    for band in range(1, highest_band(box) + 1):
        half = HalfSpace(box, band)
        listed = [tuple(k) for k in half.indices.tolist()]
        mirrored = [tuple(k) for k in (-half.indices).tolist()]
        assert len(half) == len(set(listed)) and not set(listed) & set(mirrored)
        assert set(listed) | set(mirrored) == slow.ball(band)


@pytest.mark.parametrize("box", BOXES)
def test_order_radii_and_shells(box):
    half = HalfSpace(box)
    radii = np.sqrt((half.indices.astype(float) ** 2).sum(axis=1))
    np.testing.assert_allclose(half.radii, radii, rtol=1e-7)
    np.testing.assert_array_equal(half.shells, np.rint(radii))
    keys = [(int(np.ceil(r)), kz, ky, kx) for r, (kx, ky, kz) in zip(radii, half.indices.tolist(), strict=True)]
    assert keys == sorted(keys)
    assert half.band == (box - 1) // 2 and half.shells.max() == half.band


@pytest.mark.parametrize("box", BOXES)
def test_a_lower_band_is_a_prefix(box):
    whole = HalfSpace(box)
    for band in range(1, whole.band + 1):
        lower = HalfSpace(box, band)
        assert whole.count(band) == lower.count(band) == len(lower)
        np.testing.assert_array_equal(whole.indices[: len(lower)], lower.indices)
        assert whole.radii[: len(lower)].max() <= band


# Transforms


@pytest.mark.parametrize("box", BOXES)
def test_transform_is_the_sum_over_voxels(rng, box):
    half, volume = HalfSpace(box), noise(rng, box)
    np.testing.assert_allclose(half.transform(volume), slow.transform(volume, half.indices), atol=2e-6)


@pytest.mark.parametrize("box", [24, 27, 31])
def test_transform_is_the_transform_of_numpy_about_the_middle_voxel(rng, box):
    half, volume = HalfSpace(box), noise(rng, box)
    spectrum = np.fft.fftn(np.roll(volume.astype(float), -(box // 2), axis=(0, 1, 2)), norm="ortho")
    kx, ky, kz = half.indices.T
    np.testing.assert_allclose(half.transform(volume), spectrum[kz, ky, kx], atol=3e-6)


def test_axes_and_signs():
    """A voxel at +2 along x turns the phase along kx, by exp(-2 pi i 2 kx / n), and along no other axis."""
    for box, axis in itertools.product((8, 9), range(3)):
        volume = np.zeros((box, box, box), np.float32)
        place = [box // 2] * 3
        place[2 - axis] += 2
        volume[tuple(place)] = box**1.5
        half = HalfSpace(box)
        np.testing.assert_allclose(half.transform(volume), np.exp(-4j * np.pi * half.indices[:, axis] / box), atol=1e-6)


@pytest.mark.parametrize(("box", "band"), [(8, 3), (9, 4), (12, 3), (15, 7)])
def test_inverse_undoes_transform_within_the_band(rng, box, band):
    half = HalfSpace(box, band)
    coefficients = (rng.standard_normal(len(half)) + 1j * rng.standard_normal(len(half))).astype(np.complex64)
    volume = half.inverse(coefficients)
    assert volume.dtype == np.float32
    np.testing.assert_allclose(half.transform(volume), coefficients, atol=3e-6)
    np.testing.assert_allclose(half.inverse(half.transform(volume)), volume, atol=3e-6)
    # Each kept coefficient counts twice in sums over all of Fourier space.
    assert (volume.astype(float) ** 2).sum() == pytest.approx(2 * (np.abs(coefficients) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("box", [8, 9])
def test_inverse_of_transform_is_a_low_pass(rng, box):
    """What a band keeps and what it leaves out are orthogonal; k = 0 is left out, so the mean is zero."""
    volume, half = noise(rng, box), HalfSpace(box, 3)
    kept = half.inverse(half.transform(volume)).astype(float)
    assert abs((kept * (volume - kept)).sum()) < 1e-4 * (kept**2).sum()
    assert abs(kept.mean()) < 1e-6


def test_white_noise_of_variance_s2_has_power_s2(rng):
    half = HalfSpace(15)
    power = np.mean([np.abs(half.transform(3 * noise(rng, 15))) ** 2 for _ in range(60)], axis=0)
    # The mean of 60 exponential deviates spreads by 9 / sqrt(60); shells hold 9 or more coefficients.
    assert power.mean() == pytest.approx(9, rel=0.02)
    for shell in range(1, 8):
        chosen = power[half.shells == shell]
        assert chosen.mean() == pytest.approx(9, abs=4 * 9 / np.sqrt(60 * len(chosen)))


@pytest.mark.parametrize("box", [4, 7, 8])
def test_sample_reads_weights_about_the_middle_voxel(box):
    z, y, x = (np.mgrid[:box, :box, :box] - box // 2).astype(np.float32)
    half = HalfSpace(box)
    np.testing.assert_array_equal(half.sample(x + 10 * y + 100 * z), half.indices @ np.array([1, 10, 100]))


def test_any_layout_of_the_volume_will_do(rng):
    half, volume = HalfSpace(9), noise(rng, 9)
    wide = np.zeros((9, 18, 9), np.float64)
    wide[:, ::2] = volume
    backwards = np.ascontiguousarray(volume[::-1, :, ::-1])[::-1, :, ::-1]
    for other in (np.asfortranarray(volume), wide[:, ::2], volume.astype(np.float64), backwards):
        assert half.transform(other).tobytes() == half.transform(volume).tobytes()
        assert Reference(other).data.tobytes() == Reference(volume).data.tobytes()
        assert half.sample(other).tobytes() == half.sample(volume).tobytes()


# References


@pytest.mark.parametrize("box", [4, 5, 6, 7, 10, 11])
def test_a_reference_holds_the_padded_corrected_transform(rng, box):
    """At every point, also beyond Nyquist of the padded box, which the highest band of an odd box reaches."""
    volume = noise(rng, box)
    for band in (1, highest_band(box)):
        reference = Reference(volume, band)
        reach = 2 * band + 2
        assert reference.reach == reach and reference.data.shape == (2 * reach + 1, 2 * reach + 1, reach + 1)
        z, y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1, : reach + 1]
        k = np.stack([x, y, z], axis=-1).reshape(-1, 3) / 2
        direct = slow.transform(slow.corrected(volume), k).reshape(reference.data.shape)
        np.testing.assert_allclose(reference.data, direct, atol=2e-5)


@pytest.mark.parametrize("box", [4, 5, 8, 9])
def test_project_is_the_sum_over_eight_neighbours(rng, box):
    volume, half = noise(rng, box), HalfSpace(box)
    rotations = np.concatenate([random_rotations(2, rng), [np.diag([-1.0, -1, 1]), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]]])
    found = Reference(volume).project(half.indices, rotations)
    direct = [slow.project(volume, half.indices, rotation) for rotation in rotations]
    # At whole points a rounding of 1e-7 chooses other neighbours, with weights of that size.
    np.testing.assert_allclose(found, direct, atol=1e-4)


@pytest.mark.parametrize("box", [24, 25, 32])
def test_project_is_the_transform_of_the_rotated_molecule(rng, box):
    blobs = slow.molecule(rng, radius=box / 8)
    half, rotations = HalfSpace(box), random_rotations(6, rng)
    found = Reference(slow.blob_volume(blobs, box)).project(half.indices, rotations)
    truth = np.array([slow.blob_transform(slow.moved(blobs, r), half.indices, box) for r in rotations])
    # Below Nyquist the same function at R^T k.
    np.testing.assert_allclose(truth[2], slow.blob_transform(blobs, half.indices @ rotations[2], box), atol=1e-12)
    error = np.abs(found - truth)
    assert error.max() < 0.015 * np.abs(truth).max()
    assert np.sqrt((error**2).sum() / (np.abs(truth) ** 2).sum()) < 0.01


def test_rotations_that_permute_the_samples_need_no_interpolation(rng):
    """Then project is the transform of the permuted volume, over sinc^2, exactly; an odd box maps onto itself."""
    volume, half = noise(rng, 15), HalfSpace(15)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])    # x to y, y to -x
    cyclic = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])      # x to y, y to z, z to x
    turned = {"none": (np.eye(3), volume), "quarter": (quarter, volume.transpose(0, 2, 1)[:, :, ::-1]),
              "cyclic": (cyclic, volume.transpose(1, 2, 0))}
    for name, (rotation, expected) in turned.items():
        direct = half.transform(slow.corrected(expected))
        found = Reference(volume).project(half.indices, rotation)[0]
        np.testing.assert_allclose(found, direct, atol=1e-4, err_msg=name)


def test_rotations_compose(rng):
    """A volume made from a projection projects to the composed rotation: R1, then R2."""
    blobs = slow.molecule(rng, radius=4)
    half, volume = HalfSpace(24), slow.blob_volume(blobs, 24)
    first, second = random_rotations(2, rng)
    # Half steps next to k = 0 need the mean, which the list does not hold.
    once = half.inverse(Reference(volume).project(half.indices, first)[0]) + volume.mean()
    twice = Reference(once).project(half.indices, second)[0]
    truth = slow.blob_transform(slow.moved(blobs, second @ first), half.indices, 24)
    assert np.abs(twice - truth).max() < 0.02 * np.abs(truth).max()


def test_threads_give_the_same_bits(rng):
    volume, half = noise(rng, 21), HalfSpace(21)
    for threads in (2, 3, 8):
        assert half.transform(volume, threads).tobytes() == half.transform(volume, 1).tobytes()
        assert Reference(volume, threads=threads).data.tobytes() == Reference(volume, threads=1).data.tobytes()


# The way back


@pytest.mark.parametrize("box", [4, 5, 6, 7, 10])
def test_volume_of_is_the_sum_over_frequencies(rng, box):
    """Of any spectrum, also one that no volume has."""
    for reach in (0, 1, box - 1, box, box + 1, 2 * box - 1):
        shape = (2 * reach + 1, 2 * reach + 1, reach + 1)
        spectrum = (rng.standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)
        profile = rng.uniform(0.5, 2, box).astype(np.float32)
        found = volume_of(spectrum, box, profile=profile)
        direct = slow.volume_of(spectrum, box) * profile * profile[:, None] * profile[:, None, None]
        assert found.shape == (box, box, box) and found.dtype == np.float32
        np.testing.assert_allclose(found, direct, atol=3e-6 * max(1, np.abs(direct).max()))
        flat = slow.corrected(slow.volume_of(spectrum, box))
        np.testing.assert_allclose(volume_of(spectrum, box), flat, atol=3e-6 * max(1, np.abs(flat).max()))


@pytest.mark.parametrize("box", [8, 9, 24])
def test_volume_of_a_reference_is_its_volume(rng, box):
    """At the highest band, where a reference holds all frequencies; its own correction undone."""
    volume, at = noise(rng, box), np.arange(box) - box // 2
    back = volume_of(Reference(volume).data, box, profile=np.sinc(at / (2 * box)) ** 2)
    np.testing.assert_allclose(back, volume, atol=5e-6)
    twice = slow.corrected(slow.corrected(volume))
    np.testing.assert_allclose(volume_of(Reference(volume).data, box), twice, atol=5e-5)


@pytest.mark.parametrize("box", [32, 33])
def test_volume_of_agrees_with_numpy(rng, box):
    band = 9
    data = Reference(noise(rng, box), band).data
    whole = np.zeros((2 * box, 2 * box, box + 1), complex)
    line = np.arange(-20, 21)
    whole[np.ix_(line, line, np.arange(21))] = data
    padded = np.fft.irfftn(whole, (2 * box,) * 3, axes=(0, 1, 2)) * box**1.5
    expected = np.roll(padded, box // 2, axis=(0, 1, 2))[:box, :box, :box]
    found = volume_of(data, box, profile=np.ones(box))
    np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize("box", [24, 25])
def test_a_smooth_volume_within_its_mask_survives_a_lower_band(rng, box):
    blobs = slow.molecule(rng, radius=box / 6)
    blobs[:, 4] = 2.2
    volume, at = slow.blob_volume(blobs, box) * soft_sphere((box,) * 3, 0.8 * box, 3), np.arange(box) - box // 2
    back = volume_of(Reference(volume, 9).data, box, profile=np.sinc(at / (2 * box)) ** 2)
    np.testing.assert_allclose(back, volume, atol=2e-3 * volume.max())


@pytest.mark.parametrize(("box", "band"), [(12, 4), (13, 5)])
def test_volume_of_is_the_transpose_of_the_transform(rng, box, band):
    """<transform v, S> = 8 <v, volume of S>: 8 times as many frequencies as voxels; x > 0 counts twice."""
    reach, profile = 2 * band + 2, rng.uniform(0.5, 2, box).astype(np.float32)
    volume = noise(rng, box)
    there = transform_cube(volume, 2 * box, reach, profile=profile)
    spectrum = (rng.standard_normal((*there.shape, 2)) @ [1, 1j]).astype(np.complex64)
    terms = (there.astype(complex).conj() * spectrum).real * np.where(np.arange(reach + 1) == 0, 1, 2)
    back = 8 * volume.astype(float) * volume_of(spectrum, box, profile=profile)
    assert back.sum() == pytest.approx(terms.sum(), abs=1e-5 * np.abs(terms).sum())


def test_threads_give_the_same_volume(rng):
    data = Reference(noise(rng, 21)).data
    for threads in (2, 3, 8):
        assert volume_of(data, 21, threads).tobytes() == volume_of(data, 21, 1).tobytes()


# Refusals


@pytest.mark.parametrize(("call", "said"), [
    (lambda: HalfSpace(8, 4), "band: expected 1 to 3 shells for a box of 8 voxels, got 4"),
    (lambda: HalfSpace(8, 0), "band: expected 1 to 3 shells for a box of 8 voxels, got 0"),
    (lambda: HalfSpace(2), "box: expected"),
    (lambda: HalfSpace(8).count(4), "band: expected 1 to 3 shells"),
    (lambda: HalfSpace(8).count(0), "band: expected 1 to 3 shells"),
    (lambda: HalfSpace(8).transform(np.zeros((9, 9, 9))), "expected a cube of 8 voxels a side, got 9 x 9 x 9"),
    (lambda: HalfSpace(8).transform(np.zeros((8, 8))), "expected a cube of 8 voxels a side, got 8 x 8"),
    (lambda: HalfSpace(8).transform(np.full((8, 8, 8), np.nan)), "expected finite numbers"),
    (lambda: HalfSpace(8).sample(np.full((8, 8, 8), np.inf)), "expected finite numbers"),
    (lambda: HalfSpace(8).sample(np.zeros((8, 8, 5))), "expected a cube of 8 voxels a side, got 8 x 8 x 5"),
    (lambda: Reference(np.zeros((8, 9, 8))), r"expected a cube, got 8 x 9 x 8 voxels \(z, y, x\)"),
    (lambda: Reference(np.full((8, 8, 8), np.nan)), "expected finite numbers, got NaN or infinity"),
    (lambda: Reference(np.zeros((8, 8, 8)), 4), "band: expected 1 to 3 shells for a box of 8 voxels, got 4"),
    (lambda: volume_of(np.zeros((5, 5, 5)), 8), r"spectrum: expected \(2 reach \+ 1, .*got \(5, 5, 5\)"),
    (lambda: volume_of(np.zeros((4, 4, 3)), 8), "spectrum: expected"),
    (lambda: volume_of(np.zeros((5, 5)), 8), "spectrum: expected"),
    (lambda: volume_of(np.zeros((33, 33, 17)), 8), "reach below 16, got"),
    (lambda: volume_of(np.zeros((5, 5, 3)), 8, profile=np.ones(7)), r"profile: expected 8 values, got \(7,\)"),
])
def test_refusals(call, said):
    with pytest.raises(InputError, match=said):
        call()


@pytest.mark.parametrize(("change", "said"), [
    ({"volume": np.zeros((6, 6, 7), np.float32)}, "volume must be a cube"),
    ({"volume": np.zeros((6, 6, 12), np.float32)[:, :, ::2]}, "contiguous rows"),
    ({"profile": np.ones(5, np.float32)}, "profile must have 6 values, got 5"),
    ({"length": 5}, "length must be at least 6, got 5"),
    ({"length": 2}, "length must be at least 6"),
    ({"spectrum": np.zeros((5, 5, 4), np.complex64)}, r"spectrum must have shape \(7, 7, 4\)"),
    ({"spectrum": np.zeros((41, 41, 21), np.complex64)}, "reach must be below 12, got 20"),
])
def test_the_kernel_refuses_what_does_not_fit(change, said):
    arguments = {"volume": np.zeros((6, 6, 6), np.float32), "profile": np.ones(6, np.float32), "length": 12,
                 "factor": 1.0, "spectrum": np.zeros((5, 5, 3), np.complex64), "threads": 1} | change
    with pytest.raises(ValueError, match=said):
        _kernels.transform_cube(**arguments)
    with pytest.raises(ValueError, match=said):
        _kernels.inverse_transform_cube(**arguments)


@pytest.mark.parametrize(("n", "length", "reach"), [(5, 5, 4), (4, 4, 3), (4, 9, 8), (3, 8, 5), (1, 1, 0), (1, 4, 2)])
def test_a_cube_in_a_longer_box_up_to_any_reach(rng, n, length, reach):
    """Beyond half of the length the transform repeats itself."""
    volume, profile = noise(rng, n), rng.uniform(0.5, 2, n).astype(np.float32)
    found = transform_cube(volume, length, reach, profile=profile)
    weighted = volume * profile * profile[:, None] * profile[:, None, None]
    z, y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1, : reach + 1]
    direct = slow.transform(weighted, np.stack([x, y, z], axis=-1).reshape(-1, 3) * n / length)
    np.testing.assert_allclose(found, direct.reshape(found.shape), atol=2e-5)
