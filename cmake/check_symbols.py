"""Refuse object files that define weak symbols: NM OBJECT [OBJECT ...] (see InstructionSets.cmake)."""

import subprocess
import sys

nm, *objects = sys.argv[1:]
for path in objects:
    listing = subprocess.run([nm, "--defined-only", path], check=True, capture_output=True, text=True).stdout
    weak = [line.split()[-1] for line in listing.splitlines() if len(line.split()) == 3 and line.split()[1] in "WVuvw"]
    if weak:
        sys.exit(f"{path} defines weak symbols, shared between instruction sets: {', '.join(weak[:5])}")
