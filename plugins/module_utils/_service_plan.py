# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between a wanted set and the host: read once, said as a plan and as a diff. Changes nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import Found, ServiceFolder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import (
    EMPTY,
    GENERATION,
    LINKS,
    MANIFEST,
    UNITS,
    Entry,
    Manifest,
    Service,
    ServiceSet,
    concerns_systemd,
    effects,
    generation_of,
    path_of,
    stronger,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd, UnitState


@dataclasses.dataclass(frozen=True)
class FileChange:
    """A file before and after; None where it is not there."""

    place: str
    before: Found | None
    after: Entry | None
    sensitive: bool
    effect: str
    affects: Sequence[str]

    def fields(self) -> dict[str, Any]:
        return {"place": self.place, "effect": self.effect, "affects": self.affects}


@dataclasses.dataclass
class Plan:
    """All that has to be done, and what has to be known to do it and to undo it."""

    wanted: ServiceSet
    current: str
    """The folder in force, '' when there is none."""
    proved: str
    """The folder to go back to: the last one that was proved."""
    mark: Mapping[str, Any] | None
    states: Mapping[str, UnitState]
    files: list[FileChange] = dataclasses.field(default_factory=list)
    rebuild: bool = False
    """The generation in force is another one or was tampered with: a new folder is needed."""
    links: list[str] = dataclasses.field(default_factory=list)
    units: list[str] = dataclasses.field(default_factory=list)
    replaced: list[str] = dataclasses.field(default_factory=list)
    services: list[Service] = dataclasses.field(default_factory=list)
    dropped: list[str] = dataclasses.field(default_factory=list)
    conflicts: list[str] = dataclasses.field(default_factory=list)
    scraps: list[str] = dataclasses.field(default_factory=list)

    @property
    def in_force(self) -> list[str]:
        """The generations that a running service may have taken up, the one that paths lead to first."""
        return [name for name in dict.fromkeys((self.current, self.proved)) if name]

    @property
    def to_apply(self) -> bool:
        """Whether something in force changes (else there is at most something to tidy up)."""
        return bool(self.rebuild or self.links or self.units or self.mark or self.services or self.conflicts)

    @property
    def changed(self) -> bool:
        return self.to_apply or bool(self.scraps)

    @property
    def resumed(self) -> bool:
        """The files are right already, but a run before this one did not come to its end."""
        return self.mark is not None and not self.rebuild

    def effects(self) -> dict[str, str]:
        """What each service needs, with what an unfinished run left to do."""
        by_place = {entry.place: entry for entry in self.wanted.entries}
        changed = [change.fields() for change in self.files]
        for place in [LINKS + path for path in self.links] + [f"{UNITS}/{unit}" for unit in self.units]:
            entry = by_place[place]
            changed.append({"place": place, "effect": entry.effect, "affects": entry.affects})
        found = effects(changed, [service.name for service in self.wanted.services])
        for name, effect in (self.mark or {}).get("effects", {}).items():
            found[name] = stronger(found.get(name, "none"), effect)
        return found

    def reload_systemd(self) -> bool:
        """Whether systemd has to read its files again."""
        return (
            self.mark is not None
            or bool(self.units)
            or any(change.effect == "daemon_reload" or concerns_systemd(change.place) for change in self.files)
            or any(concerns_systemd(LINKS + path) for path in self.links)
        )

    def before(self) -> dict[str, dict[str, bool]]:
        """How the units were before, an unfinished run's memory first."""
        now = {name: {"active": state.up, "enabled": state.enabled} for name, state in self.states.items()}
        return {**now, **(self.mark or {}).get("before", {})}


def make_plan(folder: ServiceFolder, wanted: ServiceSet, systemd: Systemd, conflicts: Sequence[str]) -> Plan:
    """Compare the wanted set with the host: its files, and one call of systemctl."""
    mark = folder.mark()
    current = folder.current()
    proved = mark["old"] if mark and mark["old"] in folder.folders() else current
    in_force = [name for name in dict.fromkeys((current, proved)) if name]
    names = [service.name for service in wanted.services]
    dropped = [
        name
        for name in dict.fromkeys(service.name for old in in_force for service in folder.manifest(old).services)
        if name not in names
    ]
    known = [*names, *dropped, *conflicts, *(mark or {}).get("before", {})]
    plan = Plan(wanted, current, proved, mark, systemd.states(known))
    _compare_files(plan, folder)
    plan.links = [path for path in wanted.links if not folder.is_ours(path)]
    plan.units = [
        unit
        for unit, entry in wanted.units.items()
        if not _same(folder.find(folder.unit_path(unit)), entry, wanted.generation)
    ]
    for path, place in [(path, LINKS + path) for path in plan.links] + [
        (folder.unit_path(unit), f"{UNITS}/{unit}") for unit in plan.units
    ]:
        folder.refuse_folder(path)
        if folder.foreign(path, place, in_force):
            plan.replaced.append(path)
    plan.services = [service for service in wanted.services if _state_differs(service, plan.states[service.name])]
    plan.dropped = dropped
    plan.conflicts = [unit for unit in conflicts if plan.states[unit].up or plan.states[unit].enabled]
    strays = {place for name in in_force for place in folder.strays(name)} - {entry.place for entry in wanted.entries}
    plan.scraps = sorted(path_of(place) for place in strays) + [
        name for name in folder.leftovers(keep=current) if name != proved
    ]
    return plan


def _compare_files(plan: Plan, folder: ServiceFolder) -> None:
    wanted, current, generation = plan.wanted, plan.current, plan.wanted.generation
    manifest = folder.manifest(current) if current else Manifest()
    for entry in wanted.entries:
        found = folder.found(current, entry.place)
        if _same(found, entry, generation):
            continue
        if entry.place not in manifest.files:  # a path that is new to us: before is what stands there
            found = folder.find(_outside(folder, entry.place)) if _outside(folder, entry.place) else found
        plan.files.append(FileChange(entry.place, found, entry, entry.sensitive, entry.effect, entry.affects))
    kept = {entry.place for entry in wanted.entries}
    strays = set(folder.strays(current)) if current else set()
    for place in [*manifest.files, *(folder.places(current) if current else [])]:
        if place in kept or place in strays:
            continue
        kept.add(place)
        facts = manifest.files.get(place, {"effect": "reload", "affects": [], "sensitive": True})
        plan.files.append(
            FileChange(place, folder.found(current, place), None, facts["sensitive"], facts["effect"], facts["affects"])
        )
    own = folder.found(current, MANIFEST) if current else None
    plan.rebuild = (
        bool(plan.files)
        or not current
        or generation_of(current) != generation
        or own is None
        or (own.content, own.mode) != (wanted.manifest(), 0o600)
        or bool(folder.tampered_folders(current))
    )


def _outside(folder: ServiceFolder, place: str) -> str:
    if place.startswith(LINKS + "/"):
        return path_of(place)
    return folder.unit_path(path_of(place)) if place.startswith(UNITS + "/") else ""


def _same(found: Found | None, entry: Entry, generation: str) -> bool:
    return found is not None and found.same(entry, generation)


def _state_differs(service: Service, state: UnitState) -> bool:
    return (
        (service.state == "started" and not state.running)
        or (service.state == "stopped" and state.up)
        or (service.enabled is True and state.can_be_enabled and not state.enabled)
        or (service.enabled is False and state.enabled)
    )


# The diff


def diff(plan: Plan, folder: ServiceFolder) -> list[dict[str, str]]:
    """Unified before and after for each changed file, and one list of readable lines for all that is no content."""
    before_lines: list[str] = []
    after_lines: list[str] = []
    shown = []
    for change in plan.files:
        header = _header(change.place, folder)
        old, new = _text(change.before, plan, change.sensitive), _entry_text(change, plan)
        if old != new:
            shown.append({"before_header": header, "after_header": header, "before": old, "after": new})
        _lines(before_lines, after_lines, header, _attributes(change.before), _attributes(change.after))
    if plan.rebuild:
        old = "" if plan.current.startswith(EMPTY) else plan.current
        edited = " (changed by hand)" if generation_of(old) == plan.wanted.generation else ""
        _lines(before_lines, after_lines, "generation", f"{generation_of(old)}{edited}", plan.wanted.generation)
    for path in plan.links:
        _lines(before_lines, after_lines, path, _what_stands(path, plan), f"link into {folder.path}")
    for unit in plan.units:
        _lines(
            before_lines,
            after_lines,
            folder.unit_path(unit),
            _what_stands(folder.unit_path(unit), plan),
            "our unit file",
        )
    for service in plan.services:
        words = [{True: "enabled", False: "disabled", None: ""}[service.enabled], service.state or ""]
        _lines(
            before_lines, after_lines, service.name, plan.states[service.name].words(), ", ".join(filter(None, words))
        )
    for unit in plan.dropped:
        if plan.states[unit].up or plan.states[unit].enabled:
            _lines(before_lines, after_lines, unit, plan.states[unit].words(), "disabled, stopped")
    for unit in plan.conflicts:
        _lines(before_lines, after_lines, unit, plan.states[unit].words(), "disabled, stopped")
    if plan.mark is not None:
        _lines(before_lines, after_lines, "an unfinished run", "reload and proof not done", "done")
    for name in plan.scraps:
        _lines(before_lines, after_lines, name, "left behind by an unfinished run", "")
    if before_lines or after_lines:
        shown.append(
            {
                "before_header": f"{folder.name}: modes, links, units and services",
                "after_header": f"{folder.name}: modes, links, units and services",
                "before": "".join(before_lines),
                "after": "".join(after_lines),
            }
        )
    return shown


def _lines(before: list[str], after: list[str], what: str, old: str, new: str) -> None:
    if old == new:
        return
    if old:
        before.append(f"{what}: {old}\n")
    if new:
        after.append(f"{what}: {new}\n")


def _header(place: str, folder: ServiceFolder) -> str:
    return _outside(folder, place) or f"{folder.path}/current/{place}"


def _attributes(file: Found | Entry | None) -> str:
    return f"{file.owner}:{file.group} {file.mode:04o}" if file else ""


def _what_stands(path: str, plan: Plan) -> str:
    return "a file that is not ours (kept in the record)" if path in plan.replaced else ""


def _entry_text(change: FileChange, plan: Plan) -> str:
    if change.after is None:
        return ""
    # The id itself is shown as its placeholder: each change changes it, and it would hide what else did.
    found = Found(change.after.content, change.after.mode, change.after.owner, change.after.group)
    return _text(found, plan, change.sensitive)


def _text(found: Found | None, plan: Plan, sensitive: bool) -> str:
    if found is None:
        return ""
    content = found.content
    if plan.current and generation_of(plan.current) != EMPTY:
        content = content.replace(generation_of(plan.current).encode(), GENERATION)
    if not sensitive:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            sensitive = True
        else:
            if "\0" not in text:
                return text
    return f"(content not shown) sha256 {hashlib.sha256(content).hexdigest()}\n"
