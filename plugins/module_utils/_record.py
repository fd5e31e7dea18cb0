# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was on the host before us: the record that teardown puts things back from.

Values are plain JSON. The first writer of a key wins, because a second run would find our own work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

PATH = "/etc/jellynet/record.json"
SECTIONS = ("files", "firewall", "groups", "network_xml", "packages", "stopped_units", "unit_states", "wizard_done")
# These hold whole files of others, with whatever secret is in them: what a module returns names their keys only.
SECRET_SECTIONS = ("files", "network_xml")


class RecordError(Exception):
    """The record can't be read or written; the message says what to do."""


class Record:
    """The record of one host.

    Every call reads and writes the file itself, under a lock, so that modules that run at once agree.
    """

    def __init__(self, path: str = PATH) -> None:
        self.path = path

    def load(self) -> dict[str, dict[str, Any]]:
        """All sections; a section that holds nothing is there as an empty dictionary."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            found = {}
        except (OSError, ValueError) as problem:
            raise RecordError(
                f"{self.path} holds what was on this host before and can't be read ({problem}). "
                "Mend it or restore it from a backup; without it nothing can be put back."
            ) from problem
        if not isinstance(found, dict) or not all(isinstance(entries, dict) for entries in found.values()):
            raise RecordError(f"{self.path} is not a record of this collection: mend it or restore it from a backup.")
        return {section: found.get(section, {}) for section in sorted(set(SECTIONS) | set(found))}

    def get(self, section: str, key: str, default: Any = None) -> Any:
        """The value under section and key, or the default."""
        return self.load()[_known(section)].get(key, default)

    def remember(self, section: str, key: str, value: Any, overwrite: bool = False) -> bool:
        """Keep a value unless the key has one already; True when it was kept.

        ``overwrite`` is for what is looked up again on each run and not for what was there before.
        """
        _known(section)
        with self._locked():
            record = self.load()
            if key in record[section] and (not overwrite or record[section][key] == value):
                return False
            record[section][key] = value
            self._write(record)
        return True

    def forget(self, section: str, key: str) -> Any:
        """Take a value out and return it; None when there was none. The last one takes the file along."""
        _known(section)
        if key not in self.load()[section]:
            return None
        with self._locked():
            record = self.load()
            if key not in record[section]:
                return None
            value = record[section].pop(key)
            self._write(record)
        return value

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.path.dirname(self.path)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        # The folder itself is the lock: the file is replaced at each write, and a lock file would be left behind.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, record: dict[str, dict[str, Any]]) -> None:
        folder = os.path.dirname(self.path)
        kept = {section: entries for section, entries in record.items() if entries}
        if not kept:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            _sync_folder(folder)
            return
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".record.")  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1, sort_keys=True)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_folder(folder)


def load() -> dict[str, dict[str, Any]]:
    """All sections of this host's record."""
    return Record().load()


def shown(record: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A record as a module may return it."""
    return {
        section: dict.fromkeys(entries) if section in SECRET_SECTIONS else entries
        for section, entries in record.items()
    }


def get(section: str, key: str, default: Any = None) -> Any:
    """A value of this host's record, or the default."""
    return Record().get(section, key, default)


def remember(section: str, key: str, value: Any, overwrite: bool = False) -> bool:
    """Keep a value in this host's record; the first writer wins unless told. True when it was kept."""
    return Record().remember(section, key, value, overwrite)


def forget(section: str, key: str) -> Any:
    """Take a value out of this host's record and return it."""
    return Record().forget(section, key)


def _known(section: str) -> str:
    if section not in SECTIONS:
        raise RecordError(f"The record has no section {section!r}; it has {', '.join(SECTIONS)}.")
    return section


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
