"""Likelihoods of poses against their definition; known poses come back; one answer on any threads and machine."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from concordet import _kernels, poses, rigid
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference
from reference import poses as slow


def specimen(box, rotation=None, shift=(0, 0, 0), *, seed=5, blobs=9):
    """A volume (z, y, x) of Gaussians, turned and then moved exactly: they are drawn where they belong."""
    rng = np.random.default_rng(seed)
    centres, heights = rng.normal(size=(blobs, 3)) * box / 10, rng.uniform(0.5, 1.5, blobs)
    rotation = np.eye(3) if rotation is None else rotation
    axis = np.arange(box) - box // 2
    volume = np.zeros((box, box, box))
    for centre, height in zip(centres @ rotation.T + np.asarray(shift), heights, strict=True):
        x, y, z = (np.exp(-((axis - c) ** 2) / (2 * 1.3**2)) for c in centre)
        volume += height * z[:, None, None] * y[:, None] * x
    return volume.astype(np.float32)


def turned(rotation, degrees, rng):
    """`rotation` after a turn by `degrees` about a random axis."""
    axis = rng.standard_normal(3)
    return rigid.from_rotation_vector(np.radians(degrees) * axis / np.linalg.norm(axis)) @ rotation


def wedge(indices):
    """1 where tilts of +-60 degrees about y see, else 0."""
    kx, _, kz = indices.T
    return (np.abs(kz) <= np.sqrt(3) * np.abs(kx)).astype(np.float32)


@pytest.fixture(scope="module")
def problem():
    """Three noisy particles of box 17 in random poses, two references, uneven noise: nothing is special."""
    rng = np.random.default_rng(8)
    half = HalfSpace(17)
    references = [Reference(specimen(17, seed=seed)) for seed in (1, 2)]
    count = len(half)
    p0 = (rng.standard_normal((3, count)) + 1j * rng.standard_normal((3, count))).astype(np.complex64)
    p1 = rng.uniform(0, 1, (3, count)).astype(np.float32)
    noise = rng.uniform(0.5, 2, half.band + 1).astype(np.float32)[half.shells]
    particles = np.array([0, 0, 1, 2, 2, 2, 1])
    return SimpleNamespace(
        half=half, references=references, p0=p0, p1=p1, inverse_noise=noise, particles=particles,
        reference_index=np.array([0, 1, 1, 0, 0, 1, 0]), rotations=rigid.random_rotations(7, rng),
        shifts=rng.uniform(-2, 2, (7, 3)))


def arguments(problem):
    return (problem.references, problem.half, problem.p0, problem.p1, problem.inverse_noise, problem.particles,
            problem.rotations, problem.shifts)


def test_projections_are_linear_between_the_samples_of_the_padded_transform(problem):
    reference, indices = problem.references[0], problem.half.indices.astype(np.float32)
    fast = np.empty((7, len(indices)), np.complex64)
    _kernels.project_reference(reference.data, indices, problem.rotations, fast, 2)
    direct = np.stack([slow.project(reference.data, indices, rotation) for rotation in problem.rotations])
    np.testing.assert_allclose(fast, direct, atol=2e-5 * np.abs(direct).max())


@pytest.mark.parametrize("band", [3, None])
def test_likelihood_is_the_sum_of_its_terms(problem, band):
    half, count = problem.half, problem.half.count(band or problem.half.band)
    indices, noise = half.indices[:count], problem.inverse_noise[:count].astype(float)
    found = poses.score(*arguments(problem), xi=3, max_shift=4, reference_index=problem.reference_index, newton=0,
                        band=band)
    np.testing.assert_array_equal(found.shifts, problem.shifts)
    for i, particle in enumerate(problem.particles):
        a = slow.project(problem.references[problem.reference_index[i]].data, indices, problem.rotations[i])
        p0, p1 = problem.p0[particle, :count].astype(complex), problem.p1[particle, :count].astype(float)
        expected = slow.likelihood(a, indices, half.box, p0, p1, noise, problem.shifts[i], 3)
        norm = (2 * noise * p1 * np.abs(a) ** 2).sum()
        assert found.norms[i] == pytest.approx(norm, rel=1e-5)
        assert found.likelihoods[i] == pytest.approx(expected, abs=1e-5 * norm)


def test_a_newton_step_is_that_of_the_differences_of_the_likelihood(problem):
    """The step solves (-H + 0.05 tr(-H) / 3) d = g for the gradient and Hessian, prior included; ascent is kept."""
    half, xi = problem.half, 3.0
    rotation, shift = np.eye(3), np.array([0.3, -0.2, 0.25])
    a = slow.project(problem.references[0].data, half.indices, rotation)
    p1 = np.ones(len(half))
    found = poses.score(problem.references[0], half, a.astype(np.complex64), p1, problem.inverse_noise, [0],
                        rotation[None], shift[None], xi=xi, max_shift=4, newton=1)

    def likelihood(t):
        return slow.likelihood(a, half.indices, half.box, a, p1, problem.inverse_noise.astype(float), t, xi)

    gradient, hessian = slow.derivatives(likelihood, shift, 1e-3)
    damped = -hessian - 0.05 * np.trace(hessian) / 3 * np.eye(3)
    np.testing.assert_allclose(found.shifts[0], shift + np.linalg.solve(damped, gradient), atol=2e-4)


def test_newton_never_goes_down(problem):
    values = [poses.score(*arguments(problem), xi=3, max_shift=4, newton=steps).likelihoods for steps in range(6)]
    assert (np.diff(values, axis=0) >= 0).all()
    assert (values[-1] > values[0]).all()


def test_shifts_stay_within_their_bound(problem):
    for search in (False, True):
        found = poses.score(*arguments(problem), xi=np.inf, max_shift=0.75, newton=5, search_shifts=search)
        assert np.abs(found.shifts).max() <= 0.75


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize("band", [5, None])
def test_the_search_of_shifts_finds_a_particle_anywhere(box, band, rng):
    rotation, shift = rigid.random_rotations(1, rng), np.array([[5.3, -6.2, 3.6]])
    half = HalfSpace(box)
    particle = half.transform(specimen(box, rotation[0], shift[0], blobs=4))
    found = poses.score(Reference(specimen(box, blobs=4)), half, particle, np.ones(len(half)), np.ones(len(half)), [0],
                        rotation, xi=np.inf, max_shift=8, newton=4, search_shifts=True, band=band)
    np.testing.assert_allclose(found.shifts, shift, atol=0.05)


def particle_of(kind, volume, half):
    """(p0, p1) of a noise-free particle as measured under a binary wedge, a CTF, and premultiplied by its CTFs."""
    x, seen = half.transform(volume), wedge(half.indices)
    ctf = np.cos(0.02 * half.radii**2 + 0.3) * seen
    if kind == "binary":
        return seen * x, seen
    if kind == "CTF":
        return ctf * (ctf * x), ctf**2
    strength = 7 * ctf**2 + 3 * seen * np.sin(0.2 * half.radii) ** 2
    return strength * x, strength


@pytest.mark.parametrize("box", [32, 33])
@pytest.mark.parametrize("kind", ["binary", "CTF", "premultiplied"])
def test_a_known_pose_comes_back(box, kind, rng):
    """From 8 degrees and 1.5 voxels away, to 0.5 degrees and 0.05 voxels."""
    half, reference = HalfSpace(box), Reference(specimen(box))
    rotation, shift = rigid.random_rotations(1, rng), rng.uniform(-3, 3, (1, 3))
    p0, p1 = particle_of(kind, specimen(box, rotation[0], shift[0]), half)
    away = rng.standard_normal(3)
    found = poses.refine(reference, half, p0, p1, np.ones(len(half)), [0], turned(rotation, 8, rng),
                         shift + 1.5 * away / np.linalg.norm(away), xi=np.inf, max_shift=6, newton=4, sweeps=5)
    assert rigid.geodesic(found.rotations, rotation).max() < 0.5
    assert np.abs(found.shifts - shift).max() < 0.05


def test_turning_the_particle_turns_the_answer(rng):
    """A particle turned by Q has the pose (Q R, Q t), and the same likelihood."""
    half, reference = HalfSpace(32), Reference(specimen(32))
    rotation, shift = rigid.random_rotations(1, rng)[0], np.array([1.5, -2.0, 0.5])
    starts, ones = turned(rotation, 5, rng), np.ones(len(half))
    likelihoods = []
    for turn in [np.eye(3), *rigid.random_rotations(3, rng)]:
        particle = half.transform(specimen(32, turn @ rotation, turn @ shift))
        found = poses.refine(reference, half, particle, ones, ones, [0], (turn @ starts)[None], (turn @ shift)[None],
                             xi=np.inf, max_shift=6, sweeps=5, coarse_band=8)
        assert rigid.geodesic(found.rotations[0], turn @ rotation) < 0.5
        np.testing.assert_allclose(found.shifts[0], turn @ shift, atol=0.05)
        likelihoods.append(found.likelihoods[0])
    np.testing.assert_allclose(likelihoods, likelihoods[0], rtol=1e-3)


def test_refinement_never_goes_down_and_says_what_score_says(problem):
    common = {"xi": 3, "max_shift": 4, "reference_index": problem.reference_index}
    before = poses.score(*arguments(problem), **common).likelihoods
    for sweeps in (0, 1, 2, 3):
        after = poses.refine(*arguments(problem), **common, sweeps=sweeps)
        assert (after.likelihoods >= before).all()
        again = poses.score(*arguments(problem)[:6], after.rotations, after.shifts, **common, newton=0)
        np.testing.assert_allclose(again.likelihoods, after.likelihoods, rtol=1e-6)
        np.testing.assert_allclose(again.norms, after.norms, rtol=1e-6)
        before = after.likelihoods


def test_match_takes_the_right_candidate_and_refines_it(rng):
    half, reference = HalfSpace(32), Reference(specimen(32))
    rotations, shifts = rigid.random_rotations(3, rng), rng.uniform(-3, 3, (3, 3))
    particles = np.stack([half.transform(specimen(32, r, t)) for r, t in zip(rotations, shifts, strict=True)])
    near = np.array([2, 0, 4])
    candidates = SimpleNamespace(rotations=rigid.random_rotations(18, rng).reshape(3, 6, 3, 3),
                                 shifts=np.zeros((3, 6, 3)), counts=np.array([6, 1, 5]))
    for i, place in enumerate(near):
        candidates.rotations[i, place] = turned(rotations[i], 6, rng)
        candidates.shifts[i, place] = shifts[i] + 0.5
    candidates.rotations[1, 1:] = np.nan
    ones = np.ones(len(half))
    for search_band in (None, 6):
        found = poses.match(reference, half, particles, ones, candidates, ones, xi=5, max_shift=8,
                            search_band=search_band, coarse_band=search_band, kept=3, refined=2, sweeps=4)
        assert rigid.geodesic(found.rotations, rotations).max() < 0.5
        np.testing.assert_allclose(found.shifts, shifts, atol=0.06)
        assert len(found.poses) == 3


def test_threads_give_the_same_bits(problem):
    common = {"xi": 3, "max_shift": 4, "reference_index": problem.reference_index}
    for method in (poses.score, poses.refine):
        one = method(*arguments(problem), **common, search_shifts=True, threads=1)
        for threads in (2, 3):
            other = method(*arguments(problem), **common, search_shifts=True, threads=threads)
            for name in ("rotations", "shifts", "likelihoods", "norms"):
                assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_the_order_of_items_does_not_matter(problem):
    order = np.random.default_rng(2).permutation(7)
    common = {"xi": 3, "max_shift": 4}
    straight = poses.refine(*arguments(problem), **common)
    mixed = poses.refine(*arguments(problem)[:5], problem.particles[order], problem.rotations[order],
                         problem.shifts[order], **common)
    assert mixed.likelihoods.tobytes() == straight.likelihoods[order].tobytes()


def test_instruction_sets_agree(problem, tmp_path):
    """To 1e-5 of the size of the sum; the poses to what that leaves open near a maximum."""
    script = """if True:
        import sys, numpy as np
        from types import SimpleNamespace
        from concordet import poses
        from concordet.fourier import HalfSpace, Reference
        given = np.load(sys.argv[1])
        half = HalfSpace(17)
        references = [Reference(volume) for volume in given["volumes"]]
        found = poses.score(references, half, *(given[name] for name in ("p0", "p1", "noise", "particles", "rotations",
                            "shifts")), xi=3, max_shift=4, search_shifts=True, newton=3)
        refined = poses.refine(references, half, *(given[name] for name in ("p0", "p1", "noise", "particles",
                               "rotations", "shifts")), xi=3, max_shift=4)
        cells = poses.voronoi_weights(given["rotations"][None], given["shifts"][None], alpha_trd=0.1)
        np.savez(sys.argv[2], likelihoods=found.likelihoods, norms=found.norms, shifts=found.shifts,
                 refined=refined.likelihoods, cells=cells)
    """
    np.savez(tmp_path / "given.npz", volumes=np.stack([specimen(17, seed=seed) for seed in (1, 2)]), p0=problem.p0,
             p1=problem.p1, noise=problem.inverse_noise, particles=problem.particles, rotations=problem.rotations,
             shifts=problem.shifts)
    found = []
    for name in _kernels.available_instruction_sets():
        output = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", script, tmp_path / "given.npz", output], check=True,
                       env={**os.environ, "CONCORDET_ISA": name, "PYTHONPATH": os.pathsep.join(sys.path)})
        found.append(np.load(output))
    for other in found[1:]:
        size = found[0]["norms"].max()
        np.testing.assert_allclose(other["norms"], found[0]["norms"], rtol=1e-5)
        np.testing.assert_allclose(other["likelihoods"], found[0]["likelihoods"], atol=1e-5 * size)
        np.testing.assert_allclose(other["shifts"], found[0]["shifts"], atol=1e-3)
        np.testing.assert_allclose(other["refined"], found[0]["refined"], atol=1e-5 * size)
        np.testing.assert_allclose(other["cells"], found[0]["cells"], atol=3e-4)


def test_refusals(problem):
    good = dict(zip(("references", "half", "p0", "p1", "inverse_noise", "particles", "rotations", "shifts"),
                    arguments(problem), strict=True), xi=3, max_shift=4)
    small = HalfSpace(17, 3)
    for change, message in [
        ({"references": []}, "references: expected one at least"),
        ({"references": Reference(specimen(16))}, "expected a box of 17 voxels"),
        ({"references": Reference(specimen(17), 4)}, "a band of 8 at least, got 17 and 4"),
        ({"p0": problem.p0[:, :9]}, "p0: expected rows of at least"),
        ({"p1": np.ones((2, 2, 2))}, "p1: expected rows"),
        ({"p1": problem.p1[:2]}, "weights: expected 7 indices below 2"),
        ({"inverse_noise": np.ones(5)}, "inverse noise: expected at least"),
        ({"particles": [0, 3, 1, 1, 1, 1, 1]}, "particles: expected 7 indices below 3"),
        ({"reference_index": [0]}, "references: expected 7 indices below 2"),
        ({"rotations": problem.rotations[:2]}, r"expected rotations \(7, 3, 3\)"),
        ({"rotations": 1.1 * problem.rotations}, "expected orthonormal rotations"),
        ({"shifts": np.full((7, 3), np.nan)}, "finite shifts"),
        ({"xi": 0}, "expected xi > 0"),
        ({"xi": np.nan}, "expected xi > 0"),
        ({"max_shift": -1}, "max_shift >= 0"),
        ({"newton": -1}, "newton >= 0"),
        ({"band": 9}, "band: expected 1 to 8"),
        ({"half": small, "band": 3, "p0": problem.p0[:, :5]}, "p0: expected rows of at least"),
    ]:
        for method in (poses.score, poses.refine):
            with pytest.raises(InputError, match=message):
                method(**{**good, **change})
    for change in ({"sweeps": -1}, {"step": 0}, {"step": 1.5}, {"step": np.nan}):
        with pytest.raises(InputError, match="refinement: expected"):
            poses.refine(**{**good, **change})
    candidates = SimpleNamespace(rotations=np.zeros((3, 2, 3, 3)), shifts=np.zeros((3, 2, 3)),
                                 counts=np.array([2, 0, 1]))
    with pytest.raises(InputError, match="got none of 1"):
        poses.match(problem.references, problem.half, problem.p0, problem.p1, candidates, problem.inverse_noise, xi=3,
                    max_shift=4)
    with pytest.raises(InputError, match="keep and refine one"):
        poses.match(problem.references, problem.half, problem.p0, problem.p1, candidates, problem.inverse_noise, xi=3,
                    max_shift=4, kept=0)


def test_the_kernel_refuses_what_it_would_read_beyond(problem):
    """Below the Python layer: a reference too small for the coefficients, indices out of range."""
    data, indices = problem.references[0].data, problem.half.indices
    k, projections = indices.astype(np.float32), np.empty((1, len(indices)), np.complex64)
    with pytest.raises(ValueError, match="the reference reaches to"):
        _kernels.project_reference(data[4:-4, 4:-4, :-4].copy(), k, np.eye(3)[None], projections, 1)
    with pytest.raises(ValueError, match="a reference must be"):
        _kernels.project_reference(data[1:].copy(), k, np.eye(3)[None], projections, 1)
    with pytest.raises(ValueError, match="not orthonormal"):
        _kernels.project_reference(data, k, 2 * np.eye(3)[None], projections, 1)
    with pytest.raises(ValueError, match="projections must be"):
        _kernels.project_reference(data, k, np.eye(3)[None], projections[:, 1:].copy(), 1)
    one, options = np.ones(1), _kernels.ShiftOptions(0.0, 1.0, 1, False)
    index = np.zeros(1, np.int64)
    for particle, weight, reference in [(3, 0, 0), (0, 3, 0), (0, 0, 1), (-1, 0, 0)]:
        with pytest.raises(ValueError, match="is not one of"):
            _kernels.score_poses([data], indices, 17, problem.p0, problem.p1, problem.inverse_noise, index + particle,
                                 index + weight, index + reference, np.eye(3)[None], np.zeros((1, 3)), one, one,
                                 options, 1)
