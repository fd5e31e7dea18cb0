# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a service's set away again: stopped, disabled, removed, and what stood there before put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import RecordError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import FolderError, ServiceFolder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import EMPTY, LINKS, generation_of
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_transaction import Result, ServiceError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd, SystemdError

STEPS = ("stop", "disable", "links", "units", "daemon_reload", "restore", "remove")


class Removal:
    """One run of ``state: absent``. Killed anywhere, the next one goes on: the folder goes last."""

    def __init__(
        self,
        folder: ServiceFolder,
        systemd: Systemd,
        *,
        units: Sequence[str] = (),
        restore_units: bool = False,
        on_step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.folder = folder
        self.systemd = systemd
        self.units = list(units)
        """Units besides the set's own services whose state the record may know: who was in the way."""
        self.restore_units = restore_units
        self.on_step = on_step
        self.result = Result()

    def run(self, check_mode: bool = False) -> Result:
        """Remove what is there; nothing when nothing is."""
        try:
            self._run(check_mode)
        except (OSError, FolderError, RecordError, SystemdError) as problem:
            raise ServiceError(
                f"{self.folder.name} could not be removed wholly: {problem} Run again when that is mended; it goes on from there.",
                "remove",
                False,
            ) from problem
        return self.result

    def _run(self, check_mode: bool) -> None:
        folder = self.folder
        manifests = [folder.manifest(name) for name in folder.folders()]
        services = list(dict.fromkeys(service.name for manifest in manifests for service in manifest.services))
        taken = list(folder.all_taken()) if folder.exists() else []
        restore = self._recorded([*services, *self.units]) if self.restore_units else {}
        if not folder.exists() and not restore:
            if not check_mode:
                folder.remove()  # a run that was killed at its very end leaves /etc/jellynet, empty
            return
        states = self.systemd.states([*services, *restore])
        current = folder.current()
        self.result.changed = True
        self.result.previous = "" if generation_of(current) == EMPTY else generation_of(current)
        lines = [f"{folder.path}: {self.result.previous or 'no generation'}\n"] if folder.exists() else []
        lines += [f"{path if kind == LINKS else folder.unit_path(path)}: ours\n" for kind, path in taken]
        lines += [f"{unit}: {states[unit].words()}\n" for unit in states if states[unit].exists]
        after = [f"{unit}: {_words(was)}\n" for unit, was in restore.items()]
        after += [
            f"{unit}: disabled, stopped\n" for unit in services if unit not in restore and ("units", unit) not in taken
        ]
        title = f"{folder.name}: files, links, units and services"
        self.result.diff = [
            {"before_header": title, "after_header": title, "before": "".join(lines), "after": "".join(after)}
        ]
        if check_mode:
            return
        self._stop([unit for unit in services if states[unit].up])
        self.on_step("stop")
        self.systemd.disable([unit for unit in services if states[unit].enabled])
        self.on_step("disable")
        for kind, path in taken:
            if kind == LINKS:
                folder.release(path)
        self.on_step("links")
        for kind, path in taken:
            if kind != LINKS:
                folder.release_unit(path)
        self.on_step("units")
        if taken:
            self.systemd.daemon_reload()
        self.on_step("daemon_reload")
        self._restore(restore)
        self.on_step("restore")
        folder.remove()
        self.on_step("remove")

    def _recorded(self, units: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the record says of our units, of those that this set stopped, and of those that a set stopped which is gone by now."""
        recorded = self.folder.record.load()["unit_states"]
        return {
            unit: was
            for unit, was in recorded.items()
            if unit in units or was.get("by") == self.folder.name or self._is_gone(was.get("by"))
        }

    def _is_gone(self, name: str | None) -> bool:
        return bool(name) and not self.folder.sibling_exists(str(name))

    def _stop(self, units: Sequence[str]) -> None:
        if units:
            self.result.actions.extend(f"stop {unit}" for unit in reversed(units))
            self.systemd.stop(list(reversed(units)))

    def _restore(self, restore: dict[str, dict[str, Any]]) -> None:
        states = self.systemd.states(restore)
        for unit, was in restore.items():
            if states[unit].exists:
                if was["enabled"] and not states[unit].enabled and states[unit].can_be_enabled:
                    self.systemd.enable([unit])
                if not was["enabled"] and states[unit].enabled:
                    self.systemd.disable([unit])
                if was["active"] and not states[unit].running:
                    self.result.actions.append(f"start {unit}")
                    self.systemd.start(unit)
                if not was["active"] and states[unit].up:
                    self._stop([unit])
            self.folder.record.forget("unit_states", unit)


def _words(was: dict[str, Any]) -> str:
    return f"{'enabled' if was['enabled'] else 'disabled'}, {'started' if was['active'] else 'stopped'}, as before"
