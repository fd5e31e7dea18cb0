# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's folder below /etc/jellynet: its generations, the link to the one in force, and the paths that lead into it.

Each method is one small change that leaves a whole set in force wherever it is interrupted.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import grp
import json
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import Record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import (
    EMPTY,
    LINKS,
    MANIFEST,
    UNITS,
    Entry,
    Manifest,
    ServiceSet,
    path_of,
)

BASE = "/etc/jellynet"
UNIT_FOLDER = "/etc/systemd/system"
_GENERATION = re.compile(r"[0-9a-f]{16}(\.[0-9]+)?")
_KEEP_LIMIT = 1 << 20


class FolderError(Exception):
    """The host's files don't allow the change; the message names the path and what to do."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A file as it lies on the host."""

    content: bytes
    mode: int
    owner: str
    group: str

    def same(self, entry: Entry, generation: str) -> bool:
        return (self.content, self.mode, self.owner, self.group) == (
            entry.final(generation),
            entry.mode,
            entry.owner,
            entry.group,
        )


class ServiceFolder:
    """The folder of one service and everything that leads into it."""

    def __init__(
        self, name: str, base: str = BASE, unit_folder: str = UNIT_FOLDER, record: Record | None = None
    ) -> None:
        self.name = name
        self.base = base
        self.path = os.path.join(base, name)
        self.staging = os.path.join(self.path, ".staging")
        self.unit_folder = unit_folder
        self.record = record or Record(os.path.join(base, "record.json"))
        self._mark = os.path.join(self.path, "pending.json")
        self._current = os.path.join(self.path, "current")

    # What is there

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def sibling_exists(self, name: str) -> bool:
        """Whether another service has a folder here."""
        return os.path.isdir(os.path.join(self.base, name))

    def current(self) -> str:
        """The folder in force; '' when there is none."""
        with contextlib.suppress(OSError):
            folder = os.readlink(self._current)
            if _GENERATION.fullmatch(folder) and os.path.isdir(self.at(folder)):
                return folder
        return ""

    def folders(self) -> list[str]:
        """All generations that lie here."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.path) if _GENERATION.fullmatch(name))
        return []

    def at(self, folder: str, place: str = "") -> str:
        """The path of a place in a generation's folder."""
        return os.path.join(self.path, folder, place) if place else os.path.join(self.path, folder)

    def manifest(self, folder: str) -> Manifest:
        """What the generation says of itself; nothing when it is the empty one or was tampered with."""
        try:
            with open(self.at(folder, MANIFEST), encoding="utf-8") as file:
                return Manifest(file.read())
        except (OSError, UnicodeDecodeError):
            return Manifest()

    def places(self, folder: str) -> list[str]:
        """The places of all files that lie in a generation, our manifest apart."""
        root = self.at(folder)
        return sorted(
            os.path.relpath(os.path.join(where, name), root)
            for where, _folders, names in os.walk(root)
            for name in names
            if not (where == root and name == MANIFEST)
        )

    def find(self, path: str) -> Found | None:
        """The regular file at a path; None when there is none or something else."""
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(path, "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Found(content, stat.S_IMODE(status.st_mode), _user(status.st_uid), _group(status.st_gid))

    def found(self, folder: str, place: str) -> Found | None:
        """The file at a place of a generation."""
        return self.find(self.at(folder, place)) if folder else None

    def tampered_folders(self, folder: str) -> list[str]:
        """Folders of a generation that are no longer root's alone to change."""
        return [where for where, _folders, _names in os.walk(self.at(folder)) if not _is_plain(os.stat(where))]

    def target(self, path: str) -> str:
        """Where our link at an absolute path leads to."""
        return os.path.join(self._current, LINKS) + path

    def is_ours(self, path: str) -> bool:
        return os.path.islink(path) and os.readlink(path) == self.target(path)

    def unit_path(self, unit: str) -> str:
        return os.path.join(self.unit_folder, unit)

    def strays(self, folder: str) -> list[str]:
        """Stubs in a generation that its manifest does not know: an interrupted run left them and what leads to them."""
        known = self.manifest(folder).files
        return [
            place
            for place in self.places(folder)
            if place.startswith((LINKS + "/", UNITS + "/")) and place not in known
        ]

    # Generations

    def stage(self, wanted: ServiceSet, parent: str, in_force: Sequence[str] = (), lenient: bool = False) -> str:
        """Write the whole set into a new folder below parent; its path.

        A link of a generation that may be in force and is no longer wanted stays until the proof, so it gets something to lead to.

        Files that stay the same as in the first of these generations keep their time, so that who watches times is not woken.
        ``lenient``: owners that don't exist yet become root (a check mode's staging).
        """
        generation = wanted.generation
        folder = os.path.join(parent, self._free_name(generation))
        os.makedirs(folder, mode=0o755)
        os.chmod(folder, 0o755)
        for entry in wanted.entries:
            path = os.path.join(folder, entry.place)
            _make_folders(os.path.dirname(path), folder)
            uid, gid = owner_ids(entry, lenient)
            _write(path, entry.final(generation), entry.mode, uid, gid)
            before = self.found(in_force[0], entry.place) if in_force else None
            if before and before.same(entry, generation):
                status = os.stat(self.at(in_force[0], entry.place))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        kept = {entry.place for entry in wanted.entries}
        for place in sorted({place for name in in_force for place in self.places(name)} - kept):
            if place.startswith(LINKS + "/"):
                self._stub_going(folder, place)
        _write(os.path.join(folder, MANIFEST), wanted.manifest(), 0o600, os.geteuid(), os.getegid())
        for where, _folders, _names in os.walk(folder):
            _sync_folder(where)
        return folder

    def _free_name(self, generation: str) -> str:
        taken, number, name = self.folders(), 0, generation
        while name in taken:
            number += 1
            name = f"{generation}.{number}"
        return name

    def open_staging(self) -> None:
        """An empty staging folder that only root can look into."""
        self._make_base()
        self.close_staging()
        os.mkdir(self.staging, 0o700)

    def close_staging(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def place(self, staged: str) -> str:
        """Move a staged set beside the one in force; its folder's name."""
        folder = os.path.basename(staged)
        os.rename(staged, self.at(folder))
        _sync_folder(self.path)
        return folder

    def begin(self) -> str:
        """The folder in force; where there is none yet, an empty generation is put there."""
        folder = self.current()
        if folder:
            return folder
        self._make_base()
        os.makedirs(self.at(EMPTY), mode=0o755, exist_ok=True)
        self.swap(EMPTY)
        return EMPTY

    def swap(self, folder: str) -> None:
        """Put a generation in force, by one rename."""
        fresh = self._current + ".new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        os.symlink(folder, fresh)
        os.rename(fresh, self._current)
        _sync_folder(self.path)

    def remove_generation(self, folder: str) -> None:
        shutil.rmtree(self.at(folder), ignore_errors=True)

    def leftovers(self, keep: str) -> list[str]:
        """Generations and scraps that no run needs any more."""
        if not self.exists():
            return []
        known = {keep, "current", os.path.basename(self._mark), os.path.basename(self.staging)}
        return sorted(name for name in os.listdir(self.path) if name not in known and _is_scrap(name))

    def remove_leftover(self, name: str) -> None:
        path = os.path.join(self.path, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)

    def remove(self) -> None:
        """The service's folder with all that is in it; and /etc/jellynet when it was the last thing there."""
        if self.exists():
            shutil.rmtree(self.path)
        with contextlib.suppress(OSError):
            os.rmdir(self.base)

    def _make_base(self) -> None:
        for path in (self.base, self.path):
            if not os.path.isdir(path):
                os.mkdir(path, 0o755)
                os.chmod(path, 0o755)

    # Links: absolute paths that lead into the generation in force

    def refuse_folder(self, path: str) -> None:
        """A folder where a file of ours has to be is nothing that we replace."""
        if os.path.isdir(path) and not os.path.islink(path):
            raise FolderError(f"{path} is a folder on this host and has to be a file: move it away, then run again.")

    def foreign(self, path: str, place: str, in_force: Sequence[str]) -> bool:
        """Whether something stands at a path that none of the generations that may be in force has there."""
        if not os.path.lexists(path) or self.is_ours(path):
            return False
        return not any(os.path.lexists(self.at(folder, place)) for folder in in_force)

    def keep(self, path: str, place: str, in_force: Sequence[str]) -> bool:
        """Record what stands at a path that is about to become ours; True when there was something."""
        self.refuse_folder(path)
        if not self.foreign(path, place, in_force):
            return False
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            value: dict[str, Any] = {"kind": "link", "target": os.readlink(path)}
        elif stat.S_ISREG(status.st_mode) and status.st_size <= _KEEP_LIMIT:
            with open(path, "rb") as file:
                content = base64.b64encode(file.read()).decode()
            value = {"kind": "file", "content": content, "mode": stat.S_IMODE(status.st_mode)}
        else:
            raise FolderError(
                f"{path} stands on this host and is no file that could be kept: move it away, then run again."
            )
        self.record.remember("files", path, {**value, "uid": status.st_uid, "gid": status.st_gid})
        return True

    def take(self, path: str, in_force: Sequence[str]) -> None:
        """Make an absolute path a link into the generation in force.

        Before, each generation that may be in force gets a stub there: what stood at the path, else nothing, so that the link
        itself changes nothing.
        """
        place = LINKS + path
        self.keep(path, place, in_force)
        for folder in in_force:
            if not os.path.lexists(self.at(folder, place)):
                _make_folders(os.path.dirname(self.at(folder, place)), self.at(folder))
                self._stub(path, self.at(folder, place))
        if self.is_ours(path):
            return
        self._make_parents(path)
        fresh = _beside(path)
        os.symlink(self.target(path), fresh)
        os.rename(fresh, path)
        _sync_folder(os.path.dirname(path))

    def _stub_going(self, folder: str, place: str) -> None:
        """A stub for a link that is going away: what the record will put back there, else nothing."""
        path = os.path.join(folder, place)
        kept = self.record.get("files", path_of(place)) or {}
        content, mode = b"", 0o644
        if kept.get("kind") == "file":
            content, mode = base64.b64decode(kept["content"]), kept["mode"]
        _make_folders(os.path.dirname(path), folder)
        _write(path, content, mode, kept.get("uid", os.geteuid()), kept.get("gid", os.getegid()))

    def _stub(self, path: str, stub: str) -> None:
        content, mode, uid, gid = b"", 0o644, os.geteuid(), os.getegid()
        with contextlib.suppress(OSError):
            if not self.is_ours(path):
                status = os.stat(path)
                with open(path, "rb") as file:
                    content = file.read()
                mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        _write(stub, content, mode, uid, gid)
        _sync_folder(os.path.dirname(stub))

    def _make_parents(self, path: str) -> None:
        parent, missing = os.path.dirname(path), []
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for folder in reversed(missing):
            self.record.remember("files", folder, {"kind": "folder"})
            os.mkdir(folder, 0o755)
            os.chmod(folder, 0o755)

    def release(self, path: str) -> None:
        """Give an absolute path back: what the record says stood there, or nothing."""
        self._restore(path, self.is_ours(path))

    def take_unit(self, unit: str, entry: Entry, in_force: Sequence[str]) -> None:
        """Write one of our unit files, as a real file, whole or not at all."""
        path, place = self.unit_path(unit), f"{UNITS}/{unit}"
        self.keep(path, place, in_force)
        for folder in in_force:
            if not os.path.lexists(self.at(folder, place)):
                _make_folders(os.path.dirname(self.at(folder, place)), self.at(folder))
                _write(self.at(folder, place), b"", 0o644, os.geteuid(), os.getegid())
        self._write_unit(path, entry.content)

    def copy_unit(self, unit: str, source: str) -> None:
        """Put a unit file back from a generation, unless it is the same already."""
        with open(source, "rb") as file:
            content = file.read()
        found = self.find(self.unit_path(unit))
        if found is None or (found.content, found.mode) != (content, 0o644):
            self._write_unit(self.unit_path(unit), content)

    def _write_unit(self, path: str, content: bytes) -> None:
        os.makedirs(self.unit_folder, exist_ok=True)
        fresh = _beside(path)
        _write(fresh, content, 0o644, os.geteuid(), os.getegid())
        os.rename(fresh, path)
        _sync_folder(self.unit_folder)

    def release_unit(self, unit: str) -> None:
        """Remove one of our unit files; what stood there before comes back."""
        path = self.unit_path(unit)
        self._restore(path, os.path.isfile(path) and not os.path.islink(path))

    def _restore(self, path: str, ours: bool) -> None:
        kept = self.record.get("files", path)
        fresh = _beside(path)  # also removes what a killed run began
        if ours and kept:
            if kept["kind"] == "link":
                os.symlink(kept["target"], fresh)
            else:
                _write(fresh, base64.b64decode(kept["content"]), kept["mode"], kept["uid"], kept["gid"])
            os.rename(fresh, path)
        elif ours:
            os.unlink(path)
        if kept:
            self.record.forget("files", path)
        with contextlib.suppress(FileNotFoundError):
            _sync_folder(os.path.dirname(path))
        self._remove_parents(path)

    def _remove_parents(self, path: str) -> None:
        parent = os.path.dirname(path)
        while (self.record.get("files", parent) or {}).get("kind") == "folder":
            try:
                os.rmdir(parent)
            except FileNotFoundError:
                pass
            except OSError:
                return  # someone else has put something into it
            self.record.forget("files", parent)
            parent = os.path.dirname(parent)

    def sweep(self, path: str) -> None:
        """Remove what a killed run had begun beside a path."""
        _beside(path)

    def drop_stub(self, folder: str, place: str) -> None:
        """Take a stub out of a generation, and the folders that only it needed."""
        path = self.at(folder, place)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        parent = os.path.dirname(path)
        while parent != self.at(folder):
            try:
                os.rmdir(parent)
            except OSError:
                return
            parent = os.path.dirname(parent)

    # The pending mark

    def mark(self) -> dict[str, Any] | None:
        """The transaction that is not proved yet."""
        try:
            with open(self._mark, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            found = {}
        found = found if isinstance(found, dict) else {}
        return {"old": "", "new": "", "effects": {}, "before": {}, **found}

    def set_mark(self, mark: dict[str, Any]) -> None:
        fresh = self._mark + ".new"
        _write(fresh, (json.dumps(mark, indent=1, sort_keys=True) + "\n").encode(), 0o600, os.geteuid(), os.getegid())
        os.rename(fresh, self._mark)
        _sync_folder(self.path)

    def clear_mark(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._mark)
            _sync_folder(self.path)

    def all_taken(self) -> Iterator[tuple[str, str]]:
        """Kind and path of everything outside that any generation here has taken."""
        seen = set()
        for folder in self.folders():
            for place in self.places(folder):
                kind = place.split("/")[0]
                if kind in (LINKS, UNITS) and place not in seen:
                    seen.add(place)
                    yield kind, path_of(place)


def owner_ids(entry: Entry, lenient: bool = False) -> tuple[int, int]:
    """The numbers of a file's owner and group."""
    try:
        uid = pwd.getpwnam(entry.owner).pw_uid
    except KeyError:
        if not lenient:
            raise FolderError(f"{entry.path}: the owner {entry.owner!r} is not on this host.") from None
        uid = os.geteuid()
    try:
        gid = grp.getgrnam(entry.group).gr_gid
    except KeyError:
        if not lenient:
            raise FolderError(f"{entry.path}: the group {entry.group!r} is not on this host.") from None
        gid = os.getegid()
    return uid, gid


@functools.lru_cache(maxsize=256)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@functools.lru_cache(maxsize=256)
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_plain(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o755


def _is_scrap(name: str) -> bool:
    return bool(_GENERATION.fullmatch(name)) or name.endswith(".new")


def _beside(path: str) -> str:
    """A name in the same folder that nobody takes for a configuration, free even after a run that was killed."""
    fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.jellynet~")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    return fresh


def _write(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """A file that is on the disk, with its owner and mode, before anything leads to it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _make_folders(path: str, below: str) -> None:
    """Folders of mode 0755 whatever the umask, from ``below`` down to the path."""
    if path == below or os.path.isdir(path):
        return
    _make_folders(os.path.dirname(path), below)
    os.mkdir(path, 0o755)
    os.chmod(path, 0o755)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_staging() -> str:
    """A folder for a check mode's staging, outside of everything that is kept."""
    return tempfile.mkdtemp(prefix="jellynet-", dir="/run" if os.access("/run", os.W_OK) else None)
