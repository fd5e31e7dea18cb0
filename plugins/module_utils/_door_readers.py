# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reads the doors, and how each is told of a change.

A reader is a file `readers.d/NAME.json`: `{"unit": "nginx.service", "how": "reload"}`, with `reload`, `restart` or
`touch:/path` (for a daemon that watches a file). What is owed to a reader is a mark on the disk, set before a door changes
and taken away when the reader was told: certbot does not repeat a hook that failed, but the next sync does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from . import _atomic

READERS = "readers.d"
PENDING = ".pending"
TIMEOUT = 120

if TYPE_CHECKING:
    Run = Callable[[Sequence[str]], "tuple[int, str]"]

_UNIT = re.compile(r"^[A-Za-z0-9:_.@\\-]+\.(service|socket|target)$")


@dataclass(frozen=True)
class Reader:
    """One daemon that reads doors."""

    name: str
    unit: str
    how: str


@dataclass
class Told:
    """What came of telling the readers."""

    done: list[str]
    failed: dict[str, str]


def run(argv: Sequence[str]) -> tuple[int, str]:
    """A command's exit code and its words."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
            list(argv),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{' '.join(argv)} did not end within {TIMEOUT} seconds"
    except OSError as problem:
        return 127, f"{argv[0]}: {problem.strerror}"
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def registered(certificates: Path) -> tuple[list[Reader], list[str]]:
    """All readers, and a sentence for each registration that says nothing usable."""
    readers, problems = [], []
    folder = certificates / READERS
    names = sorted(os.listdir(str(folder))) if folder.is_dir() else []
    for name in names:
        if not name.endswith(".json") or name.startswith("."):
            continue
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            continue  # a link whose set is just being taken away
        if not text.strip():
            continue  # a link whose set is not in force yet
        try:
            given = json.loads(text)
            reader = Reader(name[: -len(".json")], str(given["unit"]), str(given["how"]))
        except (ValueError, TypeError, KeyError):
            problems.append(
                f'{path}: not of the form {{"unit": "nginx.service", "how": "reload"}}. Its role has to write it anew'
            )
            continue
        if not _UNIT.match(reader.unit) or not (
            reader.how in ("reload", "restart") or reader.how.startswith("touch:/")
        ):
            problems.append(
                f"{path}: unit {reader.unit!r}, how {reader.how!r}. Known are reload, restart and touch:/path"
            )
            continue
        readers.append(reader)
    return readers, problems


def pending(certificates: Path) -> list[str]:
    """The readers that have not been told of the last change."""
    folder = certificates / PENDING
    return sorted(os.listdir(str(folder))) if folder.is_dir() else []


def owe(certificates: Path, readers: Sequence[Reader]) -> None:
    """Note that every reader has to be told, before anything changes."""
    folder = certificates / PENDING
    folder.mkdir(mode=0o700, exist_ok=True)
    for reader in readers:
        _atomic.write(folder / reader.name, "", 0o600)


def tell(certificates: Path, readers: Sequence[Reader], runner: Run = run) -> Told:
    """Tell everyone who is owed; whoever cannot be told stays owed."""
    told = Told([], {})
    by_name = {reader.name: reader for reader in readers}
    for name in pending(certificates):
        mark = certificates / PENDING / name
        reader = by_name.get(name)
        if reader is None:
            mark.unlink()  # it reads no more
            continue
        try:
            happened = _tell(reader, runner)
        except ReaderError as problem:
            told.failed[reader.unit] = str(problem)
            continue
        mark.unlink()
        if happened:
            told.done.append(reader.unit)
    return told


class ReaderError(Exception):
    """A reader could not be told."""


def _tell(reader: Reader, runner: Run) -> bool:
    """Whether there was somebody to tell."""
    _code, state = runner(["systemctl", "show", "--property=ActiveState", "--value", "--", reader.unit])
    if state.strip() in ("inactive", "failed"):
        return False  # it reads the door when it starts
    if reader.how.startswith("touch:"):
        path = reader.how[len("touch:") :]
        try:
            os.utime(path)
        except OSError as problem:
            raise ReaderError(f"{path} cannot be touched: {problem.strerror}") from None
        return True
    code, words = runner(["systemctl", reader.how, "--", reader.unit])
    if code != 0:
        raise ReaderError(words or f"systemctl {reader.how} {reader.unit} returned {code}")
    return True
