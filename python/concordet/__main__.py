"""The door: `python -m concordet` and the command `concordet`."""

import sys


def run() -> int:
    """Start the command line; an interruption while its modules load ends it like any other."""
    try:
        from concordet.cli import main

        return main()
    except KeyboardInterrupt:
        print("concordet: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
