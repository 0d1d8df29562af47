"""concordet average: averages and classes of subtomograms by expectation-maximisation."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from concordet import averaging, rigid
from concordet.averaging import Averager, Model, Posterior, Progress, Result, Settings
from concordet.checkpoint import Checkpoints, Saved, fingerprint
from concordet.cli import common
from concordet.cli.average_halves import joined
from concordet.cli.average_input import (
    MASK_DIAMETER,
    Loaded,
    chosen_band,
    limited,
    load,
    read_mask,
    read_references,
    read_set,
)
from concordet.cli.average_output import check_outputs, write_all
from concordet.cli.average_report import write_report
from concordet.cli.evaluate_averages import _add_wedge
from concordet.errors import InputError
from concordet.fourier import highest_band
from concordet.io.particles import ParticleSet
from concordet.record import RunRecord

# Longest shift in parts of the box: 7 of 64 voxels.
MAX_SHIFT = 7 / 64
# Of a reference at the scale first tried, sum 2 p1 |A|^2 / sigma^2: enough to tell poses, too little to overrule noise.
FIRST_NORM = 25.0


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "average", help="average and classify subtomograms",
        description="Averages and classes of subtomograms out of noise, without a reference, by expectation-"
                    "maximisation. Writes class_001.mrc ... and their half maps, particles.star, fsc.star, "
                    "average.json and average.html.")
    parser.set_defaults(run=run)
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star",
                        help="rlnImageName names volumes, rlnCtfImage their weights")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the averages")
    parser.add_argument("--classes", type=common.positive_int, default=1, metavar="K", help="classes")
    parser.add_argument("--method", choices=["faml", "fa"], default="faml",
                        help="all poses by their probability, or the best one alone")
    parser.add_argument("--variant", choices=["standard", "paper"], default="standard",
                        help="with what it takes to work, or the algorithm as printed")
    parser.add_argument("--search", choices=["grid", "magnitude"],
                        help="exact correlation over shifts, or of magnitudes (default: grid; paper: magnitude)")
    parser.add_argument("--iterations", type=common.positive_int, default=20, metavar="N",
                        help="at most; ends when the poses stand still")
    parser.add_argument("--weights", choices=["voronoi", "uniform", "laplace"], default="voronoi",
                        help="share of each candidate pose in the integral over poses")
    parser.add_argument("--voronoi-samples", type=common.positive_int, default=10000, metavar="N",
                        help="random poses that measure the shares")
    parser.add_argument("--alpha-trd", type=common.finite, metavar="ALPHA",
                        help="of a squared voxel against the squared distance of rotation matrices (default: 3 / "
                             "squared radius of gyration of the mask; paper: 1)")
    parser.add_argument("--theta", type=common.not_negative, default=0.0,
                        help="pulls classes together, falling by a tenth each iteration; 0: off")
    parser.add_argument("--symmetry", default="C1", metavar="GROUP", help="Cn or Dn, n-fold axis along z")
    parser.add_argument("--resolution", type=common.finite, metavar="A",
                        help="angstrom: use no finer detail (default: Nyquist)")
    parser.add_argument("--ctf", choices=["binary", "raw", "premultiplied"],
                        help="what particles and weights are: a wedge, the CTF, or the sum of CTF^2 of data times CTF "
                             "(default: from the file)")
    parser.add_argument("--folds", type=common.positive_int, default=None, metavar="N",
                        help="parts that do not see themselves in their reference (default: 5; paper: 1)")
    parser.add_argument("--level", choices=["auto", "on", "off"], default="auto",
                        help="level how much of a reference the wedge shows in a pose: few orientations or a large "
                             "wedge need it; auto: of a class whose Fourier space is covered unevenly")
    parser.add_argument("--refine", type=common.natural, default=None, metavar="N",
                        help="candidates of each particle refined continuously (default: 1; paper: 0)")
    group = parser.add_argument_group("poses and start")
    group.add_argument("--poses", choices=["search", "fixed", "local"], default="search",
                       help="anywhere; as in the file, averaging alone; or near those of the file")
    group.add_argument("--angular-range", type=common.finite, default=15.0, metavar="DEG",
                       help="degrees about the file's rotations, of --poses local")
    group.add_argument("--max-shift", type=common.finite, metavar="A",
                       help="angstrom, longest shift (default: 7/64 of the box)")
    group.add_argument("--classify-only", action="store_true", help="poses as in the file, classes found")
    group.add_argument("--reference", type=Path, nargs="+", metavar="MAP",
                       help="start from these maps, one per class; their scale does not matter")
    group.add_argument("--start", choices=["random", "stochastic"], default="random",
                       help="averages of a random split at random rotations; stochastic is planned")
    group.add_argument("--half-sets", action="store_true",
                       help="two halves of the particles refined apart, their averages aligned at the end")
    group = parser.add_argument_group("mask")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--mask-diameter", type=common.finite, metavar="A",
                       help=f"angstrom, of a soft sphere about the centre (default: {MASK_DIAMETER:g} of the box; "
                            "paper: none)")
    which.add_argument("--mask", type=Path, metavar="FILE.mrc", help="0 to 1, of the box of the particles")
    _add_wedge(parser)
    group = parser.add_argument_group("checkpoints")
    group.add_argument("--checkpoint", type=Path, metavar="DIR", help="keep the last two iterations here")
    group.add_argument("--resume", action="store_true",
                       help="go on from the newest in --checkpoint; afresh where there is none")
    parser.add_argument("--no-report", dest="report", action="store_false", help="no .html page")
    common.add_common(parser)


def run(args: argparse.Namespace) -> int:
    common.threads(args)  # refuses a bad CONCORDET_ISA
    check(args)
    star = read_set(args)
    limit = chosen_band(args, star)
    settings = limited(settings_of(args, star), limit, highest_band(star.box))
    mask, references = read_mask(args, star), read_references(args, star)
    check_outputs(args, star)
    record = RunRecord("average", common.plain_arguments(args))
    progress = common.ProgressLines(args)
    with record.stage("read"):
        loaded = load(args, star, limit, on_particle=lambda done: progress("reading particles", done, len(star)))
    progress.close()
    task = Task(args, settings, loaded, mask, references, progress)
    with record.stage("average"):
        result = task.run()
    progress.close()
    write_all(args, record, loaded, settings, result, write_report)
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse flags that make no sense, before any file is read."""
    rigid.symmetry_group(args.symmetry)
    if args.start == "stochastic":
        raise InputError("--start stochastic: expected random, or --reference; stochastic is planned")
    if args.weights == "laplace":
        raise InputError("--weights laplace: expected voronoi or uniform; laplace is planned")
    if args.resume and args.checkpoint is None:
        raise InputError("--resume: expected --checkpoint DIR beside it, got none")
    if args.classify_only and args.poses == "local":
        raise InputError("--classify-only: expected no other --poses, it keeps those of the file, got local")
    if args.half_sets and keeps_poses(args):
        raise InputError("--half-sets: expected poses to be searched, got poses of the file")
    for flag, value, most in (("--alpha-trd", args.alpha_trd, np.inf), ("--max-shift", args.max_shift, np.inf),
                              ("--angular-range", args.angular_range, 180)):
        if value is not None and not 0 < value <= most:
            raise InputError(f"{flag}: expected more than 0{'' if most == np.inf else f' and up to {most}'}, got "
                             f"{value:g}")


def keeps_poses(args: argparse.Namespace) -> bool:
    return args.classify_only or args.poses == "fixed"


def settings_of(args: argparse.Namespace, star: ParticleSet) -> Settings:
    """The flags in voxels, over the defaults of the variant; refuses what does not suit the particles."""
    if args.classes > len(star):
        raise InputError(f"--classes: expected at most one per particle, {len(star)}, got {args.classes}")
    if args.half_sets and len(star) < 2 * args.classes:
        raise InputError(f"--half-sets: expected two particles per class or more, got {len(star)} in all")
    if (keeps_poses(args) or args.poses == "local") and not star.has_poses:
        flag = "--classify-only" if args.classify_only else f"--poses {args.poses}"
        raise InputError(f"{args.particles}: expected poses (rlnAngleRot ... rlnOriginXAngst) for {flag}, got none")
    longest = MAX_SHIFT * star.box
    if args.max_shift is not None:
        longest = args.max_shift / star.voxel_size
        if longest > star.box / 2:
            raise InputError(f"--max-shift: expected up to half the box, {star.box * star.voxel_size / 2:g} angstrom, "
                             f"got {args.max_shift:g}")
    settings = Settings.paper() if args.variant == "paper" else Settings()
    given = {"search": args.search, "folds": args.folds, "alpha_trd": args.alpha_trd, "refined": args.refine,
             "level": {"auto": None, "on": True, "off": False}[args.level]}
    settings = replace(
        settings, classes=args.classes, iterations=args.iterations, soft=args.method == "faml", weights=args.weights,
        samples=args.voronoi_samples, theta=args.theta, symmetry=args.symmetry, max_shift=longest, seed=args.seed,
        poses="fixed" if keeps_poses(args) else args.poses, angular_range=args.angular_range,
        **{name: value for name, value in given.items() if value is not None})
    if args.poses == "fixed" and not args.classify_only:
        labels_of(args, star)
        # Nothing to find: the whole band at once, and no particle to be kept from seeing itself.
        settings = replace(settings, bands=None, folds=1)
    return settings


def labels_of(args: argparse.Namespace, star: ParticleSet) -> np.ndarray | None:
    """(n,) classes of the file, 0, 1, ..., for an average in known poses; None for one class."""
    if args.classes == 1:
        return None
    if star.classes is None:
        raise InputError(f"{args.particles}: expected classes (rlnClassNumber) for --poses fixed and --classes "
                         f"{args.classes}, got none; --classify-only finds them")
    if star.classes.min() < 1 or star.classes.max() > args.classes:
        raise InputError(f"{args.particles}: expected classes 1 to {args.classes} (--classes), got "
                         f"{star.classes.min()} to {star.classes.max()}")
    return star.classes - 1


@dataclass
class Task:
    """One set of particles to be averaged, and how."""

    args: argparse.Namespace
    settings: Settings
    loaded: Loaded
    mask: np.ndarray | None
    references: np.ndarray | None
    progress: common.ProgressLines

    def run(self) -> Result:
        if not self.args.half_sets:
            return self.refine(self.loaded)
        halves = split(self.loaded.star, self.args.seed)
        found = []
        for number, chosen in enumerate(halves, 1):
            common.say(f"half {number}: {len(chosen)} particles", self.args, level=2)
            found.append(self.refine(self.loaded.select(chosen), f"half{number}"))
        return joined(self.loaded, self.mask, self.settings, halves, found, common.threads(self.args))

    def refine(self, loaded: Loaded, part: str = "") -> Result:
        """Averages of these particles; what is saved of it lies in the folder `part` of --checkpoint."""
        args = self.args
        averager = Averager(loaded.data, self.settings, mask=self.mask, threads=common.threads(args),
                            initial=loaded.star.poses if loaded.star.has_poses else None)
        if args.poses == "fixed" and not args.classify_only:
            return averaged(averager, labels_of(args, loaded.star))
        kept = saved = None
        history: list[Progress]
        previous: rigid.Poses | None
        if args.checkpoint is not None:
            kept = self.checkpoints(loaded, args.checkpoint / part if part else args.checkpoint)
            saved = kept.newest(below=self.settings.iterations) if args.resume else None
        if saved is None:
            references = None if self.references is None else scaled(averager, self.references)
            model, first, previous, history = averager.start(references), 0, None, []
        else:
            model, first, previous, history = restored(saved)
            common.say(f"going on after iteration {first}", args)

        def on_iteration(state: Progress, model: Model, posterior: Posterior, shares: np.ndarray) -> None:
            history.append(state)
            if kept:
                keep(kept, state, model, averaging.best_poses(posterior, shares), history)
            self.tell(state, first)

        result = averager.run(model, first=first, previous=previous, on_iteration=on_iteration)
        result.history = history
        if kept:
            # What is left begins the last iteration: to resume a run that is done is to do that one again.
            kept.drop(history[-1].iteration + 1)
        return result

    def checkpoints(self, loaded: Loaded, folder: Path) -> Checkpoints:
        """Those of this run. More --iterations than before are no other run."""
        if folder != self.args.checkpoint:
            self.args.checkpoint.mkdir(exist_ok=True)
        settings = {name: value for name, value in asdict(self.settings).items() if name != "iterations"}
        arrays = [array for array in (self.mask, self.references) if array is not None]
        poses = [] if self.settings.poses == "search" else [loaded.star.poses.rotations, loaded.star.poses.shifts]
        return Checkpoints(folder, fingerprint(settings, loaded.digest, len(loaded.data), loaded.star.box,
                                               loaded.limit, *arrays, *poses))

    def tell(self, state: Progress, first: int) -> None:
        """The progress line, and with -v the figures of one iteration."""
        args, star = self.args, self.loaded.star
        if args.verbose and self.progress.line:
            self.progress.line.__exit__()
        extent = star.box * star.voxel_size
        reached = ", ".join(f"{extent / shell:.1f}" if shell else "-" for shell in state.resolution_shell)
        occupied = ", ".join(f"{value:.1f}" for value in state.occupancies)
        changed = "" if np.isnan(state.rotation_change) else (
            f"poses turned {state.rotation_change:.2f} degrees and moved {state.shift_change:.2f} voxels, ")
        common.say(f"iteration {state.iteration + 1}: up to {extent / state.band:.1f} A, log-likelihood "
                   f"{state.log_likelihood:.6g}, particles {occupied}, FSC 0.143 at {reached} A, {changed}"
                   f"{sum(state.seconds.values()):.1f} CPU-s", args, level=2)
        self.progress("averaging", state.iteration + 1 - first, self.settings.iterations - first)


def keep(kept: Checkpoints, state: Progress, model: Model, best: rigid.Poses, history: list[Progress]) -> None:
    given = {field.name: getattr(model, field.name) for field in fields(Model)}
    arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    kept.save(state.iteration + 1, {**arrays, "rotations": best.rotations, "shifts": best.shifts},
              {"model": {name: value for name, value in given.items() if name not in arrays},
               "history": [asdict(one) for one in history]})


def restored(saved: Saved) -> tuple[Model, int, rigid.Poses, list[Progress]]:
    """Model, iteration that begins with it, best poses before it, and history, of a checkpoint."""
    given: dict[str, Any] = {**saved.arrays, **saved.values["model"]}
    poses = rigid.Poses(given.pop("rotations"), given.pop("shifts"))
    return Model(**given), saved.step, poses, [Progress(**one) for one in saved.values["history"]]


def scaled(averager: Averager, references: np.ndarray) -> np.ndarray:
    """References at the scale of the particles: least squares over those that a reference suits best, where they do.

    Particles found by their noise make this too large, by a few tenths at worst; the first iteration mends it.
    """
    half = averager.particles.half
    first = np.ones(len(references))
    for turn in range(2):
        model = averager.start(references * first[:, None, None, None].astype(np.float32))
        if turn == 0:
            count = half.count(model.band)
            weight = 2 / model.sigma2[half.shells[:count]] * averager.particles.p1[:, :count].mean(axis=0)
            for k, volume in enumerate(model.volumes):
                norm = float(weight @ np.abs(half.transform(volume, averager.threads)[:count]) ** 2)
                if not norm > 0:
                    raise InputError(f"--reference: expected a map with something in the mask, got none in map {k + 1}")
                first[k] = np.sqrt(FIRST_NORM / norm)
    posterior = averager.expect(model)
    overlaps = np.where(posterior.meant, posterior.ll + posterior.norms / 2, -np.inf)
    correlations = overlaps / np.sqrt(np.maximum(posterior.norms, 1e-30))
    best = correlations.argmax(axis=2)
    rows, columns = np.ogrid[:best.shape[0], :best.shape[1]]
    owner = correlations.max(axis=2).argmax(axis=1)
    factors = np.ones(len(references))
    for k in range(len(references)):
        chosen = owner == k if (owner == k).any() else np.ones(len(owner), bool)
        overlap = overlaps[rows, columns, best][chosen, k].sum()
        factors[k] = max(overlap / posterior.norms[rows, columns, best][chosen, k].sum(), 1e-3)
    return references * (first * factors)[:, None, None, None].astype(np.float32)


def averaged(averager: Averager, labels: np.ndarray | None) -> Result:
    """The M-step alone: averages in the poses of the file, with its classes; twice, the second time with its noise."""
    if labels is None:
        return averager.run(averager.start())
    shares = np.zeros((len(labels), averager.settings.classes, 1))
    shares[np.arange(len(labels)), labels] = 1
    model = averager.start()
    history: list[Progress] = []
    for iteration in range(2):
        averager.timer = averaging.Timer()
        posterior, band = averager.expect(model), model.band
        likelihoods = averager.log_likelihoods(posterior, model)
        model, halves, resolution = averager.maximise(posterior, shares, model, iteration)
        history.append(Progress(iteration, band, float(likelihoods.sum()), shares.sum(axis=(0, 2)).tolist(), model.xi,
                                0.0, 0.0, 1.0, resolution, list(averager.coverage), dict(averager.timer.seconds)))
    return Result(model, halves, averaging.best_poses(posterior, shares), labels, shares.sum(axis=2),
                  np.zeros(len(labels)), likelihoods, history)


def split(star: ParticleSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves: those of the file (rlnRandomSubset), else at random."""
    given = star.columns.get("rlnRandomSubset")
    if given is not None and set(given) == {"1", "2"}:
        part = np.array([int(text) for text in given]) - 1
    else:
        part = np.arange(len(star)) % 2
        np.random.default_rng([seed, 2]).shuffle(part)
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1)
