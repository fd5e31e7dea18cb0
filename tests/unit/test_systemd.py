# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemctl's words, read and handed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd, SystemdError, UnitState

SHOWN = """\
Id=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
CanReload=yes
Triggers=
InvocationID=abc

Id=none.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
CanReload=no

Id=own.socket
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=disabled
CanReload=no
Triggers=own.service other.service
"""


def fake(tmp_path: Path, script: str, seconds: float = 60) -> Systemd:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
    program.chmod(0o755)
    return Systemd(timeout=seconds, systemctl=str(program))


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


def test_all_units_are_read_by_one_call(tmp_path: Path) -> None:
    (tmp_path / "shown").write_text(SHOWN)
    states = fake(tmp_path, f"cat {tmp_path}/shown").states(["nginx", "none", "own.socket", "nginx"])
    assert len(calls(tmp_path)) == 1
    assert calls(tmp_path)[0].endswith("-- nginx none own.socket")
    assert states["nginx"] == UnitState("nginx", "loaded", "active", "running", "enabled", True, (), "abc")
    assert (states["none"].exists, states["none"].up, states["none"].words()) == (False, False, "not there")
    assert states["own.socket"].triggers == ("own.service", "other.service")
    assert states["own.socket"].words() == "disabled, failed"
    assert states["nginx"].words() == "enabled, active (running)"


def test_nothing_to_ask_is_not_asked(tmp_path: Path) -> None:
    systemd = fake(tmp_path, "exit 1")
    assert systemd.states([]) == {}
    systemd.stop([])
    systemd.enable([])
    systemd.disable([])
    assert calls(tmp_path) == []


def test_its_words_are_handed_on(tmp_path: Path) -> None:
    systemd = fake(tmp_path, 'echo "Job for nginx.service failed." >&2; exit 1')
    with pytest.raises(SystemdError, match=r"systemctl start -- nginx.service failed: Job for nginx\.service failed\."):
        systemd.start("nginx.service")
    systemd.reset_failed(["nginx.service"])


def test_one_that_hangs_is_left_in_time(tmp_path: Path) -> None:
    systemd = fake(tmp_path, "exec sleep 60", seconds=2)
    with pytest.raises(SystemdError, match="systemctl daemon-reload did not end within 2 s"):
        systemd.daemon_reload()


def test_a_host_without_systemd_is_told_so() -> None:
    with pytest.raises(SystemdError, match="needs systemd"):
        Systemd(systemctl="/no/such/systemctl").daemon_reload()


@pytest.mark.parametrize(
    ("active", "running", "up"),
    [("active", True, True), ("reloading", True, True), ("activating", False, True), ("deactivating", False, True),
     ("failed", False, False), ("inactive", False, False)],
)  # fmt: skip
def test_states(active: str, running: bool, up: bool) -> None:
    state = UnitState("x", active=active)
    assert (state.running, state.up) == (running, up)


@pytest.mark.parametrize(
    ("file_state", "enabled", "can"),
    [("enabled", True, True), ("enabled-runtime", True, True), ("linked", True, True), ("disabled", False, True),
     ("static", False, False), ("generated", False, False), ("indirect", False, False), ("", False, True)],
)  # fmt: skip
def test_enabled(file_state: str, enabled: bool, can: bool) -> None:
    state = UnitState("x", file_state=file_state)
    assert (state.enabled, state.can_be_enabled) == (enabled, can)
