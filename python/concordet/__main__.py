import sys

from concordet.cli import main

if __name__ == "__main__":
    sys.exit(main())
