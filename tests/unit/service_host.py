# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small host in a folder for the tests of service_config: files, and a service manager whose state outlives a killed run."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _service_folder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import Record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import ServiceFolder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import ServiceSet, build
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_transaction import Result, Transaction
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import SystemdError, UnitState

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


class Systemd:
    """Units in a JSON file. A service that starts or reloads takes up what the host's paths lead to at that moment."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.timeout = 5.0
        self.reloads = True
        self.calls: list[str] = []

    def states(self, units: Iterable[str]) -> dict[str, UnitState]:
        known = self._load()
        return {unit: self._state(unit, known.get(unit)) for unit in units}

    def _state(self, name: str, unit: dict[str, Any] | None) -> UnitState:
        if unit is None and not os.path.exists(self.host.units / name):
            return UnitState(name)
        unit = unit or {"active": False, "enabled": False}
        return UnitState(
            name,
            load="loaded",
            active="active" if unit["active"] else "inactive",
            sub="running" if unit["active"] else "dead",
            file_state="enabled" if unit["enabled"] else "disabled",
            can_reload=self.reloads and name.endswith(".service"),
            invocation=str(unit.get("invocation", 0)),
        )

    def daemon_reload(self) -> None:
        self._log("daemon-reload")

    def start(self, unit: str) -> None:
        self._take_up("start", unit)

    def restart(self, unit: str) -> None:
        self._take_up("restart", unit)

    def reload(self, unit: str) -> None:
        self._take_up("reload", unit)

    def stop(self, units: Sequence[str]) -> None:
        for unit in units:
            self._change(unit, active=False)
            self._log(f"stop {unit}")

    def enable(self, units: Sequence[str], again: bool = False) -> None:
        for unit in units:
            self._change(unit, enabled=True)
            self._log(f"{'reenable' if again else 'enable'} {unit}")

    def disable(self, units: Sequence[str]) -> None:
        for unit in units:
            self._change(unit, enabled=False)
            self._log(f"disable {unit}")

    def reset_failed(self, units: Sequence[str]) -> None:
        pass

    def journal(self, units: Sequence[str], since: float, lines: int = 15) -> str:
        return "the daemon's last words"

    def _take_up(self, verb: str, unit: str) -> None:
        loaded = self.host.would_load()
        if verb == "reload" and not self._load().get(unit, {}).get("active"):
            raise SystemdError(f"{unit} is not active, cannot reload")
        if any(b"DIES" in content for content in loaded.values()):
            self._change(unit, active=False)
            raise SystemdError(f"Job for {unit} failed")
        self._change(unit, active=True, invocation=self._load().get(unit, {}).get("invocation", 0) + 1)
        if not any(b"DEAF" in content for content in loaded.values()):
            # What the running daemon says of itself, which the proof asks for.
            self.host.running.write_bytes(loaded.get("id", b"someone else"))
        self._log(f"{verb} {unit}")

    def _change(self, name: str, **values: Any) -> None:
        units = self._load()
        units.setdefault(name, {"active": False, "enabled": False, "invocation": 0}).update(values)
        self.host.unit_states.write_text(json.dumps(units), encoding="utf-8")
        self.host.mutated()

    def _load(self) -> dict[str, dict[str, Any]]:
        if not self.host.unit_states.exists():
            return {}
        return dict(json.loads(self.host.unit_states.read_text(encoding="utf-8")))

    def _log(self, call: str) -> None:
        self.calls.append(call)


class Host:
    """Everything below one folder, and a counter of changes at which a run can be killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "jellynet"
        self.units = root / "units"
        self.conf = root / "conf.d"
        self.running = root / "running"
        self.unit_states = root / "unit-states.json"
        self.conf.mkdir()
        self.units.mkdir()
        self.mutations = 0
        self.kill_at = -1
        self.systemd = Systemd(self)
        self.record = Record(str(self.base / "record.json"))

    def folder(self) -> ServiceFolder:
        return ServiceFolder("web", str(self.base), str(self.units), self.record)

    def has_unit(self, name: str, active: bool = False, enabled: bool = False) -> None:
        self.systemd._change(name, active=active, enabled=enabled)

    def set_of(
        self,
        files: Mapping[str, str | bytes],
        units: Mapping[str, str] | None = None,
        services: Sequence[Mapping[str, Any]] = ({"name": "web.service", "enabled": True, "state": "started"},),
        **extra: Mapping[str, Any],
    ) -> ServiceSet:
        """A set of files by path; ``extra`` gives more fields of a file by its base name (dots as _)."""
        rows = []
        for path in files:
            more = extra.get(os.path.basename(path).replace(".", "_"), {})
            plain = {"path": path, "mode": "0644", "owner": USER, "group": GROUP, "sensitive": False}
            rows.append({**plain, "effect": "reload", "affects": [], "verbatim": False, **more})
        units = units or {}
        params = {
            "name": "web",
            "files": rows,
            "units": [{"name": name, "effect": "daemon_reload"} for name in units],
            "services": [{"enabled": None, "state": None, **service} for service in services],
            "proof": [{"argv": ["cat", str(self.running)]}],
        }
        contents = [content if isinstance(content, bytes) else content.encode() for content in files.values()]
        return build(params, contents, [text.encode() for text in units.values()], str(self.base))

    def site(self, word: str, *more: str) -> ServiceSet:
        """A usual set: one file of the generation, an include that leads to it, others by name."""
        files = {
            "id": "@GENERATION@",
            "site.conf": f"site {word}",
            f"{self.conf}/main.conf": f"include {word}",
            **{f"{self.conf}/{name}": f"{name} {word}" for name in more},
        }
        return self.set_of(files, {"web.service": "[Unit]\nDescription=Web\n"})

    def transaction(self, wanted: ServiceSet, **options: Any) -> Transaction:
        options.setdefault("timeout", 0.3)
        return Transaction(self.folder(), wanted, self.systemd, **options)  # type: ignore[arg-type]

    def run(self, wanted: ServiceSet, **options: Any) -> Result:
        return self.transaction(wanted, **options).run()

    def would_load(self) -> dict[str, bytes]:
        """What a daemon finds that is started now: its includes, and what they lead to; an empty file is as good as none."""
        loaded = {path.name: path.read_bytes() for path in self.conf.iterdir() if not path.name.startswith(".")}
        if (self.conf / "main.conf").is_symlink():
            for name in ("site.conf", "id"):
                path = self.base / "web" / "current" / name
                loaded[name] = path.read_bytes() if path.exists() else b""
        return {name: content for name, content in loaded.items() if content}

    def tree(self) -> dict[str, str]:
        """Every path below the host's folder, with content or target: to say that nothing changed, or that nothing is left."""
        found = {}
        for where, folders, names in os.walk(self.root):
            for name in [*folders, *names]:
                path = os.path.join(where, name)
                key = os.path.relpath(path, self.root)
                if key in ("running", "unit-states.json"):
                    continue
                if os.path.islink(path):
                    found[key] = f"-> {os.readlink(path)}"
                elif os.path.isfile(path):
                    found[key] = Path(path).read_bytes().decode(errors="replace")
                else:
                    found[key] = "folder"
        return found

    # Killing

    def mutated(self) -> None:
        self.mutations += 1
        if self.mutations == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def in_child(self, work: Callable[[], Any], kill_at: int = -1) -> int:
        """Run work in a process of its own; how many changes it made, or -1 when it was killed."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self.mutations, self.kill_at = 0, kill_at
            _count(self)
            try:
                work()
            except Exception as problem:
                os.write(writing, f"!{problem}"[:4000].encode())
            else:
                os.write(writing, str(self.mutations).encode())
            os._exit(0)
        os.close(writing)
        said = b""
        while part := os.read(reading, 4096):
            said += part
        os.close(reading)
        _pid, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return -1
        if said.startswith(b"!"):
            raise ChildFailed(said[1:].decode())
        return int(said)


class ChildFailed(Exception):
    """The work in the child raised."""


def _count(host: Host) -> None:
    """Every call that changes the file system counts, and is a place to be killed at; only ever called in a child."""

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            answer = real(*arguments, **options)
            host.mutated()
            return answer

        return call

    for name in ("rename", "symlink", "unlink", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    _service_folder._write = counted(_service_folder._write)
