#!/usr/bin/env python3
"""Runs stages of the Makefile one after the other and ends with what came of each: stages.py STAGE..."""

from __future__ import annotations

import subprocess
import sys
import time


def main(stages: list[str]) -> int:
    begin = time.monotonic()
    outcomes = []
    for stage in stages:
        print(f"===== {stage}", flush=True)
        start = time.monotonic()
        code = subprocess.run(["make", "--no-print-directory", stage]).returncode
        outcomes.append((stage, code, time.monotonic() - start))
    print("===== result")
    for stage, code, seconds in outcomes:
        print(f"{stage:12} {'passed' if code == 0 else 'FAILED'} in {seconds:.0f} s")
    failed = sum(1 for _, code, _ in outcomes if code)
    print(f"{len(outcomes) - failed} passed, {failed} failed in {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
