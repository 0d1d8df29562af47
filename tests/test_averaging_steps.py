"""The E- and the M-step of averaging beside their slow twins, and what the mathematics says of the two together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from concordet import poses, rigid
from concordet.averaging import Averager, Model, Particles, Posterior, Settings, hard, soft
from concordet.averaging.solving import Solver
from concordet.expectation import Sums, shell_power, shell_sums
from concordet.fourier import HalfSpace, Reference, soft_sphere, volume_of
from reference import averaging as slow
from reference import fourier as slow_fourier
from reference import poses as slow_poses

# One particle's statistics are p0 = g x, p1 = g^2 of x = g A + white noise: g is the wedge, the CTF, or the root of
# the sum of CTF^2 over the tilts.
GAINS = ("binary", "raw", "premultiplied")


def gains(kind, half, count):
    """(count, J) g of wedges about y, turned about the beam."""
    kx, ky, kz = half.indices.T
    wedges = np.stack([np.abs(kz) <= 1.7 * np.abs(kx * np.cos(a) + ky * np.sin(a))
                       for a in np.linspace(0, 2, count)]).astype(np.float64)
    if kind == "binary":
        return wedges
    ctf = wedges * np.cos(np.linspace(0.02, 0.06, count)[:, None] * half.radii**2 + 0.4)
    return ctf if kind == "raw" else np.sqrt(5 * ctf**2 + 2 * wedges * np.sin(0.3 * half.radii) ** 2)


def problem(box=12, count=5, classes=2, most=3, kind="binary", seed=5, noise=0.5):
    """Particles of a molecule at random poses, and candidates near them, some not meant."""
    rng = np.random.default_rng(seed)
    half, blobs = HalfSpace(box), slow_fourier.molecule(rng, radius=box / 6)
    rotations, shifts = rigid.random_rotations(count, rng), rng.uniform(-1.5, 1.5, (count, 3))
    truth = np.stack([slow_fourier.blob_transform(slow_fourier.moved(blobs, r, t), half.indices, box)
                      for r, t in zip(rotations, shifts, strict=True)])
    gain = gains(kind, half, count)
    x = gain * truth + noise * (rng.standard_normal((*truth.shape, 2)) @ [1, 1j]) / np.sqrt(2)
    particles = Particles(half, (gain * x).astype(np.complex64), (gain**2).astype(np.float32), np.arange(count))
    near = rigid.from_rotation_vector(rng.normal(0, 0.3, (count, classes, most, 3))) @ rotations[:, None, None]
    posterior = Posterior(near, shifts[:, None, None] + rng.normal(0, 0.5, (count, classes, most, 3)),
                          rng.uniform(-4, 0, (count, classes, most)), np.ones((count, classes, most)),
                          rng.dirichlet(np.ones(most), (count, classes)), np.ones((count, classes, most), bool))
    posterior.meant[0, 0, 1:] = posterior.meant[1, -1] = False
    volumes = np.stack([slow_fourier.blob_volume(slow_fourier.molecule(rng, radius=box / 6), box) + (k == 0)
                        * slow_fourier.blob_volume(blobs, box) for k in range(classes)])
    model = Model(volumes, volumes[:, None], np.linspace(0.2, 0.4, half.band + 1), 1.3,
                  np.arange(1.0, classes + 1) / sum(range(classes + 1)), half.band, np.zeros(classes, bool))
    return SimpleNamespace(box=box, half=half, blobs=blobs, truth=rigid.Poses(rotations, shifts), gain=gain, x=x,
                           particles=particles, posterior=posterior, model=model)


def items_of(given, shares, chosen=slice(None)):
    """Items of each class as the twins take them, of shares that reach the sums."""
    p0, p1 = given.particles.p0.astype(complex), given.particles.p1.astype(float)
    at = given.posterior
    return [[(p0[i], p1[i], at.rotations[i, k, c], at.shifts[i, k, c], shares[i, k, c])
             for i in np.arange(len(p0))[chosen] for c in range(shares.shape[2]) if shares[i, k, c] > 1e-4]
            for k in range(shares.shape[1])]


def averages_of(averager, given, classes, band, theta=0.0):
    """The slow averages of items of each class, S of each estimated as the package does it."""
    task, terms = averager.task, []
    for items in classes:
        sums = Sums(given.box, band)
        for p0, p1, rotation, shift, share in items:
            sums.add(given.half, p0, p1, [0], rotation, shift, [share])
        terms.append(Solver(task, given.model.sigma2, band).wiener(sums))
    return slow.averages(classes, given.half.indices, given.box, band, terms, task.mask, theta)


def assert_close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


# Posterior


def test_soft_shares_are_those_of_the_sums():
    given = problem(most=4, classes=3)
    found, alpha = soft(given.posterior, given.model.alpha), given.model.alpha
    for i, row in enumerate(found):
        at = given.posterior
        np.testing.assert_allclose(row, slow.posterior(at.ll[i], at.shares[i], alpha, at.meant[i]), rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, rtol=1e-14)


@pytest.mark.parametrize("level", [1e6, -1e6, 0.0])
def test_exponents_of_a_million_survive(level):
    given = problem(classes=2)
    at = given.posterior
    at.ll += level
    at.ll[2, 0] += [0, 5e5, 5e5 + 1]
    found = soft(at, given.model.alpha)
    for i, row in enumerate(found):
        direct = slow.posterior(at.ll[i], at.shares[i], given.model.alpha, at.meant[i])
        np.testing.assert_allclose(row, direct, atol=1e-9)
    assert np.isfinite(Averager(given.particles, Settings(classes=2)).log_likelihoods(at, given.model)).all()


def test_hard_shares_are_one_for_the_best_that_is_meant():
    given = problem(classes=2)
    given.posterior.ll[0, 0, 1] = 1e6  # not meant
    found = hard(given.posterior, given.model.alpha)
    ll = np.where(given.posterior.meant, given.posterior.ll, -np.inf)
    np.testing.assert_array_equal(found, ll == ll.max(axis=(1, 2), keepdims=True))


def slow_ll(given, i, at, volume, band):
    """ll of one candidate `at` = (k, c) of particle i, and its norm."""
    half, count = given.half, given.half.count(band)
    indices, p = half.indices[:count], given.particles
    inverse = 1 / given.model.sigma2[half.shells[:count]]
    a = slow_poses.project(Reference(volume, band).data, indices, given.posterior.rotations[(i, *at)])
    p1 = p.p1[p.weight_index[i], :count]
    return (slow_poses.likelihood(a, indices, given.box, p.p0[i, :count], p1, inverse, given.posterior.shifts[(i, *at)],
                                  given.model.xi), (2 * inverse * p1 * np.abs(a) ** 2).sum())


@pytest.mark.parametrize("search", ["grid", "magnitude"])
@pytest.mark.parametrize("kind", ["binary", "raw"])
def test_candidates_have_their_likelihoods(kind, search):
    """At the poses handed on, refined ones too, with the reference of the particle's own fold."""
    given = problem(count=4, kind=kind)
    averager = Averager(given.particles, Settings(classes=2, folds=2, candidates=4, max_shift=2, search=search))
    rng = np.random.default_rng(1)
    given.model.references = given.model.volumes[:, None] + rng.normal(0, 0.2, (2, 2, 12, 12, 12)).astype(np.float32)
    given.posterior = found = averager.expect(given.model)
    assert found.meant.any(axis=2).all() and found.meant[:, :, 0].all()
    for i, k, c in np.argwhere(found.meant):
        ll, norm = slow_ll(given, i, (k, c), given.model.references[k, averager.task.fold[i]], 5)
        assert found.ll[i, k, c] == pytest.approx(ll, abs=1e-4 * norm)
        assert found.norms[i, k, c] == pytest.approx(norm, rel=1e-4)
    assert (found.shares[~found.meant] == 0).all()
    np.testing.assert_allclose(found.shares.sum(axis=2), 1, rtol=1e-9)


def test_beyond_the_search_band_only_what_is_near_has_a_share():
    """Scored at 9 shells, then at 11 those within 40 nats of the best."""
    given = problem(box=24, count=2, classes=1, noise=0.3)
    given.model.sigma2[:] = 0.09
    averager = Averager(given.particles, Settings(folds=1, candidates=12, max_shift=1.5, samples=500))
    given.posterior = found = averager.expect(given.model)
    left = found.meant & np.isfinite(found.ll)
    assert left.any(axis=(1, 2)).all() and (found.meant & ~left).any()
    for i, k, c in np.argwhere(left)[:6]:
        ll, norm = slow_ll(given, i, (k, c), given.model.volumes[k], 11)
        assert found.ll[i, k, c] == pytest.approx(ll, abs=1e-4 * norm)
    assert (soft(found, given.model.alpha)[~left] == 0).all()


@pytest.mark.parametrize("mask", [None, soft_sphere((12,) * 3, 6, 3)])
def test_shares_of_candidates_are_those_of_their_cells(mask):
    """tau^2 = ||I - R1^T R2||^2 + 3 / r_g^2 |dt|^2, r_g the radius of gyration of the mask."""
    given = problem(count=3, noise=20.0)  # with shifts all over
    given.model.xi = np.inf
    settings = Settings(classes=2, folds=1, candidates=8, max_shift=3, samples=400, seed=3)
    found = Averager(given.particles, settings, mask=mask).expect(given.model)
    z, y, x = np.mgrid[:12, :12, :12] - 6
    radius2 = 0.6 * 4.8**2 if mask is None else ((x**2 + y**2 + z**2) * mask).sum() / mask.sum()
    samples = poses.random_poses(400, 3)
    drawn = rigid.from_quaternion(samples[:, :4].astype(float)), samples[:, 4:].astype(float)
    for i, k in np.ndindex(3, 2):
        there = found.meant[i, k]
        direct = slow_poses.voronoi_weights(drawn, found.rotations[i, k][there], found.shifts[i, k][there], 3 / radius2,
                                            poses.SHIFT_PADDING)
        # A sample or two lie on the border of two cells.
        np.testing.assert_allclose(found.shares[i, k][there], direct, atol=2 / 400)
    even = Averager(given.particles, replace(settings, weights="uniform")).expect(given.model)
    np.testing.assert_allclose(even.shares, even.meant / even.meant.sum(axis=2, keepdims=True))


def test_levelling_multiplies_the_data_term():
    """By clip(E_mean / E(R), 0.4, 4), E_mean that of all rotations; the prior of the shift stays."""
    given = problem(count=3, classes=1)
    half, model = given.half, given.model
    wedge = (np.abs(half.indices[:, 2]) <= 0.6 * np.abs(half.indices[:, 0])).astype(np.float32)
    rod = np.array([[x, 0, 0, 1, 1.2] for x in (-3.0, -1, 1, 3)])
    model.volumes[0], model.xi = slow_fourier.blob_volume(rod, 12), 0.4
    particles = Particles(half, given.particles.p0 * wedge, wedge)
    averager = Averager(particles, Settings(folds=1, candidates=24, max_shift=2, refined=0))
    plain, levelled = (averager.expect(replace(model, levelled=np.array([flag]))) for flag in (False, True))
    reference, scale = Reference(model.volumes[0]), 2 / model.sigma2[half.shells]
    # Over all rotations a coefficient has the mean of its shell.
    power = np.abs(reference.project(half.indices, np.eye(3))[0]) ** 2 * scale
    mean = sum(power[half.shells == s].sum() * wedge[half.shells == s].mean() for s in range(1, half.band + 1))
    energies = np.abs(reference.project(half.indices, rigid.rotation_grid(30))) ** 2 @ (wedge * scale)
    assert mean == pytest.approx(energies.mean(), rel=0.05)
    prior = (levelled.shifts**2).sum(axis=-1) / (2 * model.xi**2)
    gains, compared = np.clip(mean / levelled.norms, 0.4, 4), 0
    expected = (plain.ll + prior) * gains - prior
    for i in range(3):
        same = (plain.rotations[i, 0] == levelled.rotations[i, 0]).all(axis=(1, 2))  # those not refined
        kept = np.flatnonzero(levelled.meant[i, 0] & same)
        if len(kept) > 1:
            # What all candidates of a particle share does not matter here.
            np.testing.assert_allclose(np.diff(levelled.ll[i, 0, kept]), np.diff(expected[i, 0, kept]), rtol=1e-4,
                                       atol=0.01)
            compared += len(kept) - 1
    assert compared > 2 and (gains[levelled.meant] < 0.8).all()


# Likelihood


@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize("band", [2, 3])
def test_the_likelihood_is_the_density_of_a_mixture(kind, band):
    """Of complex Gaussians and Gaussian shifts; below the full band, what shell `band` has beyond is noise alone."""
    given = problem(box=8, count=4, most=3, kind=kind)
    half, model, at = given.half, given.model, given.posterior
    model.band = band
    row, k, c = np.nonzero(at.meant)
    scored = poses.score([Reference(v) for v in model.volumes], half, given.particles.p0, given.particles.p1,
                         1 / model.sigma2[half.shells], row, at.rotations[at.meant], at.shifts[at.meant], xi=model.xi,
                         max_shift=9, newton=0, band=band, reference_index=k)
    at.ll[at.meant] = scored.likelihoods
    found = Averager(given.particles, Settings(classes=2)).log_likelihoods(at, model)
    for i in range(4):
        # The sign of a CTF is part of the data, not of what is known of them by p0 and p1: any root of p1 will do.
        chosen = (given.gain[i] != 0) & (half.shells <= band)
        indices, modelled = half.indices[chosen], half.radii[chosen] <= band
        components = []
        for kk, cc in np.argwhere(at.meant[i]):
            a = modelled * slow_poses.project(Reference(model.volumes[kk]).data, indices, at.rotations[i, kk, cc])
            components.append((model.alpha[kk] * at.shares[i, kk, cc], a, at.shifts[i, kk, cc]))
        direct = slow.log_density(given.x[i, chosen], given.gain[i, chosen], indices, 8, components,
                                  model.sigma2[half.shells[chosen]], model.xi)
        assert found[i] == pytest.approx(direct, rel=1e-4)


@pytest.mark.parametrize("kind", GAINS)
def test_the_damped_step_never_lowers_the_likelihood(kind):
    """A <- A + (num - H A) / den, with 1 / sigma^2 in num, den and H, at fixed candidates; sigma, xi and alpha too.

    A is free on the padded grid; H A puts the projections of A in place of the data. Interpolation has no negative
    weights and those of a point sum to 1, so that den = H 1 and den - H is not negative.
    """
    given = problem(box=10, count=6, classes=2, most=4, kind=kind)
    half, at, model, p = given.half, given.posterior, given.model, given.particles
    p0, p1, row, k = p.p0, p.p1, *np.nonzero(at.meant)[:2]
    rotations, shifts = at.rotations[at.meant], at.shifts[at.meant]
    power, counts = shell_power(half, p0, p1, p.weight_index)
    references = [Reference(volume) for volume in 0.2 * model.volumes]
    model.sigma2[:] = np.maximum(power.sum(axis=0) / np.maximum(counts.sum(axis=0), 1), 1e-9)
    averager = Averager(p, Settings(classes=2))

    def summed(data, chosen, shares):
        sums, inverse = Sums(given.box, half.band), 1 / model.sigma2[half.shells]
        sums.add(half, data * inverse, p1 * inverse, *chosen, shares, weight_index=chosen[0])
        return sums

    history = []
    for _ in range(25):
        scored = poses.score(references, half, p0, p1, 1 / model.sigma2[half.shells], row, rotations, shifts,
                             xi=model.xi, max_shift=9, newton=0, reference_index=k)
        at.ll[at.meant] = scored.likelihoods
        history.append(averager.log_likelihoods(at, model).sum())
        shares = soft(at, model.alpha)
        flat = shares[at.meant]
        for each, reference in enumerate(references):
            mine = np.flatnonzero(k == each)
            num = summed(p0, (row[mine], rotations[mine], shifts[mine]), flat[mine])
            phases = np.exp(-2j * np.pi / given.box * (shifts[mine] @ half.indices.T))
            explained = p1[row[mine]] * reference.project(half.indices, rotations[mine]) * phases
            # Each item of its own projection: the rows are the items.
            normal, inverse = Sums(given.box, half.band), 1 / model.sigma2[half.shells]
            normal.add(half, explained * inverse, p1 * inverse, np.arange(len(mine)), rotations[mine], shifts[mine],
                       flat[mine], weight_index=row[mine])
            assert (num.denominator >= 0).all()
            np.testing.assert_array_equal(num.denominator, normal.denominator)
            # A point left as it is does no harm; of the smallest denominators single precision holds nothing.
            known = num.denominator > 1e-6 * num.denominator.max()
            step = np.where(known, (num.numerator - normal.numerator) / np.where(known, num.denominator, 1), 0)
            reference.data = (reference.data + step).astype(np.complex64)
        terms = shell_sums(references, half, p0, p1, row, rotations, shifts, reference_index=k)
        left = flat @ (power[row] - 2 * terms[:, :, 0] + terms[:, :, 1])
        model.sigma2 = np.where(counts.any(axis=0), left / np.maximum(flat @ counts[row], 1e-9), model.sigma2)
        model.xi = np.sqrt(flat @ (shifts**2).sum(axis=1) / len(p) / 3)
        model.alpha = shares.sum(axis=(0, 2)) / len(p)
    rises = np.diff(history)
    assert (rises >= -2e-6 * np.abs(history[1:])).all()
    assert rises[:5].min() > 1 and history[-1] - history[0] > 100


# Maximisation


@pytest.mark.parametrize(("kind", "mask"), [("binary", None), ("raw", soft_sphere((10,) * 3, 6, 3)),
                                            ("premultiplied", None)])
def test_the_next_model_is_that_of_explicit_sums(kind, mask):
    given = problem(box=10, kind=kind)
    half, model = given.half, given.model
    shares = soft(given.posterior, model.alpha)
    averager = Averager(given.particles, Settings(classes=2, folds=2), mask=mask)
    found, halves, _ = averager.maximise(given.posterior, shares, model, 0)
    items, fold = items_of(given, shares), averager.task.fold
    direct = averages_of(averager, given, items, 4)
    for k in range(2):
        assert_close(found.volumes[k], direct[k])
        for f in range(2):
            rest = averages_of(averager, given, items_of(given, shares, fold != f), 4)[k]
            assert_close(found.references[k, f], rest)
            assert_close(halves[k, 1 - f], rest)
    sigma2 = slow.noise(items, found.volumes, half.indices, 10, half.shells)
    np.testing.assert_allclose(found.sigma2[1:], sigma2[1:], rtol=1e-3)
    assert found.xi == pytest.approx(slow.spread(items), rel=1e-6)
    np.testing.assert_allclose(found.alpha, shares.sum(axis=(0, 2)) / len(given.particles), rtol=1e-9)


@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize("mask", [None, soft_sphere((16,) * 3, 10, 3)])
def test_the_wiener_term_knows_signal_from_noise(kind, mask):
    """0.25 f sigma^2 / S, S the power of the signal under the mask, where signal and noise of the average are alike."""
    given = problem(box=16, count=80, classes=1, most=1, kind=kind, noise=4.0)
    half, p, row = given.half, given.particles, np.arange(80)
    sums = Sums(16, half.band)
    sums.add(half, p.p0, p.p1, row, given.truth.rotations, given.truth.shifts, np.ones(80), weight_index=row)
    averager = Averager(p, Settings(), mask=mask)
    found = Solver(averager.task, np.full(8, 16.0), half.band).wiener(sums)
    mask = np.ones((16,) * 3) if mask is None else mask
    signal = np.abs(half.transform(slow_fourier.blob_volume(given.blobs, 16) * mask)) ** 2
    expected = [0.25 * np.mean(mask**2) * 16 / signal[half.shells == shell].mean() for shell in range(1, 5)]
    np.testing.assert_allclose(np.log2(found[1:5] / expected), 0, atol=0.6)


def test_a_lower_band_leaves_the_noise_beyond_it():
    given = problem(box=16)
    shares = soft(given.posterior, given.model.alpha)
    averager = Averager(given.particles, Settings(classes=2, folds=1, bands=(4,), follow=False))
    model = replace(given.model, band=4)
    found, _, _ = averager.maximise(given.posterior, shares, model, 0)
    assert found.band == 4
    np.testing.assert_array_equal(found.sigma2[5:], model.sigma2[5:])
    direct = averages_of(averager, given, items_of(given, shares), 4)
    for k in range(2):
        assert_close(found.volumes[k], direct[k])
        beyond = given.half.radii > 6
        coefficients = given.half.transform(found.volumes[k])
        assert np.abs(coefficients[beyond]).max() < 0.02 * np.abs(coefficients).max()


def test_spread_and_occupancies_have_floors():
    given = problem()
    given.posterior.shifts[:] = 0
    shares = np.zeros(given.posterior.ll.shape)
    shares[:, 0, 0] = 1
    found, _, _ = Averager(given.particles, Settings(classes=2)).maximise(given.posterior, shares, given.model, 0)
    assert found.xi == 0.5
    assert 0 < found.alpha[1] < 1e-5 and found.alpha.sum() == pytest.approx(1)


@pytest.mark.parametrize("theta", [0.5, 20.0])
def test_similar_classes_are_those_of_the_equation(theta):
    given = problem()
    shares = soft(given.posterior, given.model.alpha)
    averager = Averager(given.particles, Settings(classes=2, folds=1, theta=theta))
    for iteration in (0, 8):
        found, _, _ = averager.maximise(given.posterior, shares, given.model, iteration)
        direct = averages_of(averager, given, items_of(given, shares), 5, theta * 0.9**iteration)
        for k in range(2):
            assert_close(found.volumes[k], direct[k])


@pytest.mark.parametrize("kind", ["binary", "raw"])
def test_fill_in_is_that_of_the_equation(kind):
    given = problem(box=10, kind=kind)
    shares = soft(given.posterior, given.model.alpha)
    averager = Averager(given.particles, Settings.paper(classes=2))
    found, _, _ = averager.maximise(given.posterior, shares, given.model, 0)
    items = items_of(given, shares)
    for k in range(2):
        direct = slow.filled_in(items[k], given.model.volumes[k], given.half.indices, 10, 4)
        assert_close(found.volumes[k], direct, 1e-3)
    assert (found.sigma2 == found.sigma2[0]).all()
    left = given.half.shells * 0 + 1
    one = slow.noise(items, found.volumes, given.half.indices, 10, left)[1]
    assert found.sigma2[0] == pytest.approx(one, rel=1e-3)


def test_the_paper_keeps_the_old_map_where_nothing_is_seen():
    """A cone about z that no particle sees, poses turned about z and tilted a little."""
    rng, given = np.random.default_rng(3), problem(box=16, count=30, classes=1)
    half, old = given.half, given.model.volumes[0]
    kx, ky, kz = half.indices.T
    slope = np.abs(kz) / np.maximum(np.hypot(kx, ky), 1e-9)
    p1 = (slope <= 1).astype(np.float32)
    posterior = Posterior.empty(30, 1, 1)
    posterior.meant[:] = True
    turns = rng.uniform(-1, 1, (30, 1, 1, 3)) * [0.1, 0.1, 3]
    posterior.rotations[:] = rigid.from_rotation_vector(turns)
    x = np.stack([slow_fourier.blob_transform(slow_fourier.moved(given.blobs, r), half.indices, 16)
                  for r in posterior.rotations[:, 0, 0]])
    averager = Averager(Particles(half, (x * p1).astype(np.complex64), p1), Settings.paper())
    found, _, _ = averager.maximise(posterior, np.ones((30, 1, 1)), given.model, 0)
    found, old = half.transform(found.volumes[0]), half.transform(old)
    truth = slow_fourier.blob_transform(given.blobs, half.indices, 16)
    low = (half.radii > 2) & (half.radii < 6)
    for chosen, near, far in ((low & (slope > 1.8), old, truth), (low & (slope < 0.6), truth, old)):
        assert chosen.sum() > 40
        apart, otherwise = (np.abs(found - other)[chosen].mean() for other in (near, far))
        assert apart < 0.2 * otherwise


def test_the_paper_is_the_plain_ratio_where_all_is_seen():
    given = problem(classes=1)
    particles = Particles(given.half, given.particles.p0, np.ones(len(given.half), np.float32))
    given.posterior.meant[:] = True
    shares = np.full(given.posterior.ll.shape, 1 / 3)
    found, _, _ = Averager(particles, Settings.paper()).maximise(given.posterior, shares, given.model, 0)
    row, k, c = np.nonzero(shares)
    sums = Sums(12, 5)
    sums.add(given.half, particles.p0, particles.p1, row, given.posterior.rotations[row, k, c],
             given.posterior.shifts[row, k, c], shares[row, k, c])
    seen = slow.within(sums.denominator, 5) > 0
    before = Reference(given.model.volumes[0]).data
    ratio = sums.numerator / np.maximum(sums.denominator, 1e-3 * sums.denominator.mean())
    direct = volume_of(slow.within(np.where(seen, ratio, before), 5), 12)
    assert_close(found.volumes[0], direct, 1e-3)
