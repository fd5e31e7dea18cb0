# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemctl and journalctl, as few calls as can be, each bounded in time."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterable, Sequence

_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,CanReload,Triggers,InvocationID"
# There is nothing to enable in these, or someone else does it.
_NOT_OURS_TO_ENABLE = ("static", "indirect", "generated", "alias", "transient")


class SystemdError(Exception):
    """systemctl refused; the message holds its words."""


@dataclasses.dataclass(frozen=True)
class UnitState:
    """One unit as ``systemctl show`` sees it."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file_state: str = ""
    can_reload: bool = False
    triggers: tuple[str, ...] = ()
    invocation: str = ""

    @property
    def exists(self) -> bool:
        return self.load not in ("not-found", "")

    @property
    def masked(self) -> bool:
        return self.load == "masked"

    @property
    def running(self) -> bool:
        """Active, or on the way there without having failed."""
        return self.active in ("active", "reloading", "refreshing")

    @property
    def up(self) -> bool:
        """Something of it may hold a port."""
        return self.running or self.active in ("activating", "deactivating")

    @property
    def enabled(self) -> bool:
        return self.file_state in ("enabled", "enabled-runtime", "linked", "linked-runtime")

    @property
    def can_be_enabled(self) -> bool:
        return self.file_state not in _NOT_OURS_TO_ENABLE

    def words(self) -> str:
        """One readable line."""
        if not self.exists:
            return "not there"
        state = self.active if self.sub in ("", self.active) else f"{self.active} ({self.sub})"
        return f"{self.file_state or 'no file'}, {state}"


class Systemd:
    """The service manager of this host."""

    def __init__(self, timeout: float = 30.0, systemctl: str = "systemctl") -> None:
        self.timeout = timeout
        self.systemctl = systemctl

    def states(self, units: Iterable[str]) -> dict[str, UnitState]:
        """The states of all units, by one call."""
        names = list(dict.fromkeys(units))
        if not names:
            return {}
        blocks = self._call("show", "--property", _PROPERTIES, "--", *names).strip("\n").split("\n\n")
        if len(blocks) != len(names):
            raise SystemdError(f"systemctl show gave {len(blocks)} answers for {len(names)} units.")
        return {name: _state(name, block) for name, block in zip(names, blocks)}

    def daemon_reload(self) -> None:
        self._call("daemon-reload")

    def start(self, unit: str) -> None:
        self._call("start", "--", unit)

    def stop(self, units: Sequence[str]) -> None:
        if units:
            self._call("stop", "--", *units)

    def restart(self, unit: str) -> None:
        self._call("restart", "--", unit)

    def reload(self, unit: str) -> None:
        self._call("reload", "--", unit)

    def enable(self, units: Sequence[str], again: bool = False) -> None:
        """Enable; ``again`` makes the links anew after [Install] changed."""
        if units:
            self._call("reenable" if again else "enable", "--quiet", "--", *units)

    def disable(self, units: Sequence[str]) -> None:
        if units:
            self._call("disable", "--quiet", "--", *units)

    def reset_failed(self, units: Sequence[str]) -> None:
        """Forget failures, the start limit included, so that putting back is not refused for having tried."""
        for unit in units:
            try:
                self._call("reset-failed", "--", unit)
            except SystemdError:
                continue  # a unit that is not loaded has nothing to forget

    def journal(self, units: Sequence[str], since: float, lines: int = 15) -> str:
        """The last lines that the units wrote since a time."""
        argv = [
            "journalctl",
            "--no-pager",
            "--quiet",
            "--output",
            "cat",
            "--lines",
            str(lines),
            "--since",
            f"@{int(since)}",
        ]
        for unit in units:
            argv += ["--unit", unit]
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
                argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False, env=_environment()
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.decode(errors="replace").strip() if units else ""

    def _call(self, *arguments: str) -> str:
        argv = [self.systemctl, "--no-pager", "--no-ask-password", *arguments]
        begun = time.monotonic()
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout,
                check=False,
                env=_environment(),
            )
        except FileNotFoundError:
            raise SystemdError("This host has no systemctl: the collection needs systemd.") from None
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - begun
            raise SystemdError(f"systemctl {' '.join(arguments)} did not end within {spent:.0f} s.") from None
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise SystemdError(f"systemctl {' '.join(arguments)} failed: {said or 'exit code ' + str(done.returncode)}")
        return done.stdout.decode(errors="replace")


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_COLORS": "0",
        "SYSTEMD_PAGER": "",
    }


def _state(name: str, block: str) -> UnitState:
    found = dict(line.partition("=")[::2] for line in block.splitlines())
    return UnitState(
        name=name,
        load=found.get("LoadState", ""),
        active=found.get("ActiveState", ""),
        sub=found.get("SubState", ""),
        file_state=found.get("UnitFileState", ""),
        can_reload=found.get("CanReload") == "yes",
        triggers=tuple(found.get("Triggers", "").split()),
        invocation=found.get("InvocationID", ""),
    )
