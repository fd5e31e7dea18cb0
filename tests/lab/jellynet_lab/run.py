"""Runs commands, podman above all, and turns their failures into sentences."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

LAB = Path(__file__).resolve().parents[1]
ROOT = LAB.parents[1]
CACHE = ROOT / ".cache" / "lab"
PODMAN = LAB / "podman"


class LabError(Exception):
    """Something that the caller has to hear about, in words."""


def run(
    argv: Sequence[str | os.PathLike[str]], *, data: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command, keep what it said; on failure raise with its words."""
    done = subprocess.run(
        [os.fspath(part) for part in argv], input=data, capture_output=True, text=True, errors="replace"
    )
    if check and done.returncode:
        words = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
        shown = " ".join(os.fspath(part) for part in argv)
        raise LabError(f"{shown[:300]} returned {done.returncode}:\n{words[-4000:]}")
    return done


def podman(*argv: str, data: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run([PODMAN, *argv], data=data, check=check)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


@contextmanager
def step(words: str) -> Iterator[None]:
    """Says what is done and how long it took."""
    begin = time.monotonic()
    say(f"  {words} ...")
    yield
    say(f"  {words}: {time.monotonic() - begin:.1f} s")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One at a time, across every checkout on this machine."""
    room = Path("/run/jellynet-lab")
    room.mkdir(parents=True, exist_ok=True)
    with open(room.parent / f"jellynet-lab-{name}.lock", "w") as handle:
        flock(handle, LOCK_EX)
        yield
