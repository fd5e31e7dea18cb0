# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate's door: one folder a domain that every proxy reads, changed by one rename.

    certificates/<domain>                  symlink to a folder in the store
    certificates/.store/<domain>,<token>/  <key type>/{fullchain,privkey,bundle}.pem, door.json, ca.pem (local CA only)

A folder in the store never changes once a door leads to it, door.json apart, which says what the certificates are.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from . import _atomic, _x509
from ._certificate_pair import Pair

GROUP = "jellynet-tls"
FOLDER_MODE = 0o750
FILE_MODE = 0o640
STORE = ".store"
LOCK_TIMEOUT = 120.0


class DoorError(Exception):
    """Why a door cannot be changed, as a sentence."""


def group_id() -> int | None:
    """The readers' group, where it exists."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def no_step(_name: str) -> None:
    """Called between any two steps of a change; tests put a kill here."""


@dataclass(frozen=True)
class Layout:
    """Where things lie on the host, and who may read them."""

    certificates: Path = Path("/etc/jellynet/certificates")
    local_ca: Path = Path("/etc/jellynet/local_ca")
    letsencrypt: Path = Path("/etc/letsencrypt")
    lock: Path = Path("/run/jellynet-certificate-door.lock")
    uid: int = 0
    gid: int = 0
    step: Callable[[str], None] = field(default=no_step, repr=False, compare=False)

    @property
    def store(self) -> Path:
        """The folders that doors lead to."""
        return self.certificates / STORE

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time: site.yml, certbot's hook and the timer may meet."""
        handle = os.open(str(self.lock), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DoorError(
                            f"another door sync has held {self.lock} for two minutes. Look what it is doing"
                        ) from None
                    time.sleep(0.5)
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Door:
    """What stands behind a door now."""

    domain: str
    folder: str
    pairs: dict[str, Pair]
    ca: str
    description: dict[str, Any]
    intact: bool

    def same(self, pairs: Mapping[str, Pair], ca: str) -> bool:
        """Whether it already holds just that, with the owners and modes that it should have."""
        return self.intact and self.pairs == dict(pairs) and self.ca == ca


def doors(layout: Layout) -> list[str]:
    """The domains that have a door."""
    try:
        names = os.listdir(str(layout.certificates))
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith(".") and (layout.certificates / name).is_symlink())


def read(layout: Layout, domain: str) -> Door | None:
    """What a door leads to; pairs that are broken are left out."""
    link = layout.certificates / domain
    try:
        folder = os.readlink(str(link))
    except OSError:
        return None
    description = _description(link)
    expected: dict[str, tuple[int, bool]] = {"door.json": (FILE_MODE, False)}
    pairs = {}
    for key_type in _x509.KEY_TYPES:
        pair = _read_pair(link / key_type, description.get("keys", {}).get(key_type, {}).get("source", ""))
        if pair:
            pairs[key_type] = pair
            expected[key_type] = (FOLDER_MODE, True)
            expected.update(
                {f"{key_type}/{name}": (FILE_MODE, False) for name in ("fullchain.pem", "privkey.pem", "bundle.pem")}
            )
    ca = _read(link / "ca.pem")
    if ca:
        expected["ca.pem"] = (FILE_MODE, False)
    expected["."] = (FOLDER_MODE, True)
    intact = bool(pairs) and all(_as_written(layout, link / name, *kind) for name, kind in expected.items())
    return Door(domain, folder, pairs, ca, description, intact)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _description(link: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(link / "door.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_pair(folder: Path, source: str) -> Pair | None:
    fullchain, key = _read(folder / "fullchain.pem"), _read(folder / "privkey.pem")
    if not source or not fullchain or not key or _read(folder / "bundle.pem") != key + fullchain:
        return None
    return Pair(source, fullchain, key)


def _as_written(layout: Layout, path: Path, mode: int, is_folder: bool) -> bool:
    try:
        found = os.stat(str(path))
    except OSError:
        return False
    kind = stat.S_ISDIR(found.st_mode) if is_folder else stat.S_ISREG(found.st_mode)
    return kind and stat.S_IMODE(found.st_mode) == mode and (found.st_uid, found.st_gid) == (layout.uid, layout.gid)


def describe(domain: str, pairs: Mapping[str, Pair]) -> dict[str, Any]:
    """What a door holds, without a secret: the content of door.json."""
    keys: dict[str, dict[str, Any]] = {}
    for key_type in sorted(pairs):
        pair = pairs[key_type]
        leaf = pair.leaf
        keys[key_type] = {
            "source": pair.source,
            "public": pair.source not in ("placeholder", "local_ca") and _x509.publicly_trusted(pair.chain, domain),
            "serial": leaf.serial,
            "not_before": _x509.timestamp(leaf.not_before),
            "not_after": _x509.timestamp(leaf.not_after),
            "names": sorted(leaf.names),
            "issuer": leaf.issuer,
        }
    real = [key["source"] for key in keys.values() if key["source"] != "placeholder"]
    first = next(iter(keys.values()))
    return {
        "domain": domain,
        # A door with one real pair and one placeholder counts as real, but not as trusted.
        "source": real[0] if real else "placeholder",
        "public": all(key["public"] for key in keys.values()),
        "serial": first["serial"],
        "not_after": min(key["not_after"] for key in keys.values()),
        "names": sorted({name for key in keys.values() for name in key["names"]}),
        "key_types": list(keys),
        "keys": keys,
    }


def prepare(layout: Layout) -> None:
    """The folders that doors stand in. Readers may pass, only root may change."""
    layout.certificates.parent.mkdir(mode=0o755, exist_ok=True)
    for folder in (layout.certificates, layout.store):
        folder.mkdir(exist_ok=True)
        os.chown(str(folder), layout.uid, layout.gid)
        os.chmod(str(folder), FOLDER_MODE)


def prepared(layout: Layout) -> bool:
    """Whether `prepare` has nothing to do."""
    return all(_as_written(layout, folder, FOLDER_MODE, True) for folder in (layout.certificates, layout.store))


def stage(layout: Layout, domain: str, pairs: Mapping[str, Pair], ca: str) -> str:
    """Write a folder into the store that no door leads to yet; its name."""
    owner = (layout.uid, layout.gid)
    name = f"{domain},{secrets.token_hex(6)}"
    building = layout.store / f".{name}"
    building.mkdir(mode=0o700)
    for key_type, pair in pairs.items():
        folder = building / key_type
        folder.mkdir(mode=0o700)
        for file, content in (
            ("fullchain.pem", pair.fullchain),
            ("privkey.pem", pair.key),
            ("bundle.pem", pair.key + pair.fullchain),
        ):
            _atomic.write(folder / file, content, FILE_MODE, owner)
        os.chown(str(folder), *owner)
        os.chmod(str(folder), FOLDER_MODE)
    if ca:
        _atomic.write(building / "ca.pem", ca, FILE_MODE, owner)
    write_description(layout, building, describe(domain, pairs))
    os.chown(str(building), *owner)
    os.chmod(str(building), FOLDER_MODE)
    layout.step("written")
    os.rename(str(building), str(layout.store / name))
    _atomic.sync_folder(layout.store)
    return name


def write_description(layout: Layout, folder: Path, description: Mapping[str, Any]) -> None:
    """door.json, alone or in a folder that is being written."""
    text = json.dumps(description, indent=1, sort_keys=True) + "\n"
    _atomic.write(folder / "door.json", text, FILE_MODE, (layout.uid, layout.gid))


def swap(layout: Layout, domain: str, name: str) -> None:
    """The one rename."""
    _atomic.point(layout.certificates / domain, f"{STORE}/{name}")


def remove(layout: Layout, domain: str) -> None:
    """Take a door away; `clean` empties the store."""
    os.unlink(str(layout.certificates / domain))


def clean(layout: Layout) -> None:
    """Remove what no door leads to: older folders, and what a killed run left."""
    used = {os.path.basename(os.readlink(str(layout.certificates / domain))) for domain in doors(layout)}
    for name in os.listdir(str(layout.store)):
        if name not in used:
            shutil.rmtree(str(layout.store / name))
    for name in os.listdir(str(layout.certificates)):
        path = layout.certificates / name
        # a link that was on its way to being renamed
        if name.startswith(".") and path.is_symlink():
            path.unlink()
