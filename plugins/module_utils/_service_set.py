# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files, units and services of one service as one value: checked, named by a hash, compared. No input or output here."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EMPTY = "0" * 16
"""The generation that stands behind the first one: nothing but stubs."""

EFFECTS = ("none", "daemon_reload", "reload", "restart")
GENERATION = b"@GENERATION@"
MANIFEST = ".generation.json"
LINKS, UNITS = "links", "units"

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|path|target|mount|slice)")
_PLACES = (LINKS, UNITS)


class SetError(Exception):
    """The arguments don't make a set; the message names the value and what to do."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of the set. ``place`` is where it lies in the generation's folder."""

    place: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    effect: str = "reload"
    affects: tuple[str, ...] = ()
    sensitive: bool = False
    verbatim: bool = False

    @property
    def path(self) -> str:
        """The path that a reader knows: relative ones lie in the generation."""
        return path_of(self.place)

    def final(self, generation: str) -> bytes:
        """The content as it lies on the host."""
        return self.content if self.verbatim else self.content.replace(GENERATION, generation.encode())

    def described(self) -> dict[str, Any]:
        """Everything but the content, for the manifest and the id."""
        fields = dataclasses.asdict(self)
        fields["affects"] = list(self.affects)
        fields["content"] = hashlib.sha256(self.content).hexdigest()
        return fields


@dataclasses.dataclass(frozen=True)
class Service:
    """A unit and the state it is wanted in; None leaves that half alone."""

    name: str
    enabled: bool | None = None
    state: str | None = None


@dataclasses.dataclass(frozen=True)
class ServiceSet:
    """What is wanted of one service."""

    name: str
    entries: tuple[Entry, ...]
    services: tuple[Service, ...] = ()
    proof: tuple[Mapping[str, Any], ...] = ()

    @property
    def generation(self) -> str:
        """16 hex digits of the SHA-256 of all that the set says, the same on every host and in every run."""
        return hashlib.sha256(json.dumps(self._facts(), sort_keys=True).encode()).hexdigest()[:16]

    def _facts(self) -> dict[str, Any]:
        return {
            "format": 1,
            "files": {entry.place: entry.described() for entry in self.entries},
            "services": [dataclasses.asdict(service) for service in self.services],
            "proof": [dict(proof) for proof in self.proof],
        }

    def manifest(self) -> bytes:
        """What a later run has to know of this generation, as it lies in the generation's folder."""
        return (json.dumps(self._facts(), indent=1, sort_keys=True) + "\n").encode()

    @property
    def links(self) -> tuple[str, ...]:
        """Absolute paths that are links into the generation."""
        return tuple(entry.path for entry in self.entries if entry.place.startswith(LINKS + "/"))

    @property
    def units(self) -> dict[str, Entry]:
        """Our own unit files by name."""
        return {entry.place[len(UNITS) + 1 :]: entry for entry in self.entries if entry.place.startswith(UNITS + "/")}

    def wanted(self, state: str) -> list[str]:
        """The names of the units that are wanted in a state, in start order."""
        return [service.name for service in self.services if service.state == state]


class Manifest:
    """What a generation on the host says of itself; an empty one for a folder without words."""

    def __init__(self, text: str = "") -> None:
        try:
            facts = json.loads(text) if text else {}
        except ValueError:
            facts = {}
        facts = facts if isinstance(facts, dict) else {}
        self.files: dict[str, dict[str, Any]] = facts.get("files", {})
        self.services = [Service(**service) for service in facts.get("services", [])]
        self.proof: list[dict[str, Any]] = facts.get("proof", [])

    def places(self, kind: str) -> list[str]:
        """The places below ``links`` or ``units``."""
        return sorted(place for place in self.files if place.startswith(kind + "/"))


def path_of(place: str) -> str:
    """links/etc/x is /etc/x, units/x is the unit x, all else is itself."""
    for kind in _PLACES:
        if place.startswith(kind + "/"):
            return place[len(kind) :] if kind == LINKS else place[len(kind) + 1 :]
    return place


def generation_of(folder: str) -> str:
    """The id in a folder's name: a repaired generation lies in a folder with a number behind the id."""
    return folder.split(".", 1)[0]


def affected(place: str, affects: Sequence[str], services: Iterable[str]) -> list[str]:
    """The services that a change of a file concerns.

    Named ones; else the unit whose file or drop-in it is; else all of type service (a new configuration does not concern sockets and timers).
    """
    services = list(services)
    if affects:
        return [name for name in services if name in affects]
    of_unit = None
    if place.startswith(UNITS + "/"):
        of_unit = place[len(UNITS) + 1 :]
    elif re.match(LINKS + r"/(etc|run|usr/lib|lib)/systemd/system/.+\.d/[^/]+\.conf$", place):
        of_unit = os.path.basename(os.path.dirname(place))[: -len(".d")]
    if of_unit is None:
        return [name for name in services if name.endswith(".service")]
    # A template's file concerns its instances.
    pattern = of_unit.replace("@.", "@*.")
    return [name for name in services if fnmatch.fnmatchcase(name, pattern)]


def effects(changed: Iterable[Mapping[str, Any]], services: Iterable[str]) -> dict[str, str]:
    """The strongest effect for each service; a changed file is given by place, effect and affects."""
    services = list(services)
    found: dict[str, str] = {}
    for change in changed:
        for name in affected(change["place"], change["affects"], services):
            found[name] = stronger(found.get(name, "none"), change["effect"])
    return {name: effect for name, effect in found.items() if effect in ("reload", "restart")}


def stronger(one: str, other: str) -> str:
    """The one of two effects that includes the other."""
    return max(one, other, key=EFFECTS.index)


def concerns_systemd(place: str) -> bool:
    """Whether systemd itself has to read the file again."""
    return place.startswith(UNITS + "/") or bool(re.match(LINKS + r"/(etc|run|usr/lib|lib)/systemd/", place))


def build(
    params: Mapping[str, Any], contents: Sequence[bytes], unit_contents: Sequence[bytes], base: str
) -> ServiceSet:
    """A set from the module's arguments and the contents that belong to its files and units."""
    name = params["name"]
    check_name(name)
    entries = []
    for file, content in zip(params["files"], contents):
        place = place_of(file["path"], base)
        if file["effect"] not in EFFECTS:
            raise SetError(f"files: {file['path']}: effect {file['effect']!r} is none of {', '.join(EFFECTS)}.")
        entries.append(
            Entry(
                place=place,
                content=content,
                mode=mode_of(file["mode"], file["path"]),
                owner=file["owner"],
                group=file["group"],
                effect=file["effect"],
                affects=tuple(unit_name(unit) for unit in file["affects"] or ()),
                sensitive=file["sensitive"],
                verbatim=file["verbatim"],
            )
        )
    for unit, content in zip(params["units"], unit_contents):
        if not _UNIT.fullmatch(unit["name"]):
            raise SetError(f"units: {unit['name']!r} is not the name of a unit file: write for example nginx.service.")
        entries.append(Entry(place=f"{UNITS}/{unit['name']}", content=content, effect=unit["effect"], verbatim=True))
    _check_places([entry.place for entry in entries])
    services = tuple(
        Service(unit_name(service["name"]), service["enabled"], service["state"]) for service in params["services"]
    )
    names = [service.name for service in services]
    for double in sorted({unit for unit in names if names.count(unit) > 1}):
        raise SetError(f"services: {double} is there twice; keep one.")
    proof = tuple({key: value for key, value in proof.items() if value is not None} for proof in params["proof"])
    for item in proof:
        _check_proof(item)
    return ServiceSet(name, tuple(sorted(entries, key=lambda entry: entry.place)), services, proof)


def check_name(name: str) -> None:
    """A service's folder has a plain name that none of our other folders has."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or name in ("certificates", "local_ca"):
        raise SetError(
            f"name: {name!r} can't be a folder below /etc/jellynet: take lower case letters, digits, - and _."
        )


def place_of(path: str, base: str) -> str:
    """Where a path lies in the generation's folder."""
    if not path or re.search(r"[\x00-\x1f\x7f]", path) or os.path.normpath(path) != path:
        raise SetError(
            f"files: the path {path!r} is not plain: leave out doubled and trailing slashes, dots and control characters."
        )
    # A folder of drop-ins (name.d) is there for the sets of others to put a word in.
    dropped = re.match(re.escape(base) + r"/[^/]+/[^/]+\.d/[^/]+$", path)
    if path.startswith("//") or path == "/" or path == base or (path.startswith(base + "/") and not dropped):
        raise SetError(f"files: {path}: what lies below {base} is given by a relative path.")
    if path.startswith("/"):
        return LINKS + path
    if path.startswith(".") or path.split("/")[0] in _PLACES:
        raise SetError(f"files: {path}: a relative path can't begin with a dot, {LINKS} or {UNITS}; choose another.")
    return path


def mode_of(mode: Any, path: str) -> int:
    """0644 as text or as the number that YAML makes of it."""
    try:
        number = mode if isinstance(mode, int) else int(str(mode), 8)
    except ValueError:
        number = -1
    if isinstance(mode, bool) or not 0 <= number <= 0o7777:
        raise SetError(f"files: {path}: the mode {mode!r} is none; write it as '0644'.")
    return number


def unit_name(name: str) -> str:
    """nginx is nginx.service, as systemctl takes it."""
    full = name if re.search(r"\.(service|socket|timer|path|target|mount|slice)$", name) else name + ".service"
    if not _UNIT.fullmatch(full):
        raise SetError(f"{name!r} is not the name of a unit: write for example nginx.service.")
    return full


def _check_places(places: Sequence[str]) -> None:
    seen = set(places)
    if len(seen) != len(places):
        double = next(place for place in places if places.count(place) > 1)
        raise SetError(f"files: {path_of(double)} is there twice; keep one.")
    for place in places:
        parent = os.path.dirname(place)
        while parent:
            if parent in seen:
                raise SetError(f"files: {path_of(parent)} is a file and a folder ({path_of(place)}); rename one.")
            parent = os.path.dirname(parent)


def _check_proof(proof: Mapping[str, Any]) -> None:
    if ("url" in proof) == ("argv" in proof):
        raise SetError("proof: each entry has either a url or an argv.")
    if "url" in proof and not re.match(r"https?://(\[[0-9a-fA-F:.]+\]|[^/:\[\]@\s]+)(:\d+)?/", proof["url"]):
        raise SetError(
            f"proof: {proof['url']!r} is not a URL like https://127.0.0.1:443/.well-known/jellynet-generation."
        )
    if "argv" in proof and not proof["argv"]:
        raise SetError("proof: an argv needs at least the program.")
