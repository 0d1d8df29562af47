"""The command line: parse, call, write. One module per verb; each has `add_parser` and `run`."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence

from concordet import __version__
from concordet.cli import average, common, demo, evaluate, info, reconstruct, simulate
from concordet.errors import InputError, RunError

VERBS = (demo, reconstruct, simulate, average, evaluate, info)


def parser() -> common.Parser:
    """The parser of the whole command line."""
    top = common.Parser(prog="concordet", description="Multi-axis cryo-electron tomography.")
    top.add_argument("--version", action="version", version=f"concordet {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status: 0; 1 failed run; 2 refused input; 130 interrupted."""
    try:
        args = parser().parse_args(arguments)
    except SystemExit as exit_:  # argparse: --help, --version, or words it does not take
        return int(exit_.code or 0)
    args.warnings = common.HeldWarnings(args)
    end_in_order_when_told_to()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = args.warnings
        try:
            status = args.run(args) or 0
            args.warnings.release()
            return status
        except InputError as error:
            return _failed(args, f"concordet: {error}", 2)
        except RunError as error:
            return _failed(args, f"concordet: {error}", 1)
        except Terminated as end:
            return _failed(args, f"concordet: terminated; {_left(args)}", 128 + end.args[0])
        except KeyboardInterrupt:
            return _failed(args, f"concordet: interrupted; {_left(args)}", 130)
        except BrokenPipeError:
            sys.stderr.close()
            return 1
        except MemoryError:
            return _failed(args, "concordet: not enough memory for this run; see --bin, --size and --thickness", 1)
        except Exception as error:
            return _failed(args, f"concordet: unexpected {type(error).__name__}: {error} "
                                 "(--debug shows where; please report it)", 1)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, such as a batch system sends: the run ends as with Ctrl-C, partial files removed."""


def end_in_order_when_told_to() -> None:
    def end(number, frame):
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), end)


def _left(args) -> str:
    """What an interrupted run leaves."""
    folder = getattr(args, "checkpoint", None)
    if folder is not None and any(folder.rglob("checkpoint_*.npz")):
        return f"no output was written, --resume goes on from {folder}"
    return "nothing was written"


def _failed(args, message: str, status: int) -> int:
    if status != 2:
        args.warnings.release()
    if getattr(args, "debug", False):
        traceback.print_exc()
    print(" ".join(message.split()), file=sys.stderr)
    return status
