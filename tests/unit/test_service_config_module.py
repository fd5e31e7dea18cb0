# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's own part: one run at a time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _record
from ansible_collections.jellynet.jellyfin.plugins.modules import service_config


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_config, "LOCK_FOLDER", str(tmp_path / "run"))


def hold(seconds: float, ended: Path) -> int:
    """Another process that has the lock; returns once it has. Before it lets go, it writes ``ended``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with service_config.alone():
            os.write(writing, b"x")
            time.sleep(seconds)
            ended.touch()
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    return child


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    child = hold(0.5, tmp_path / "ended")
    with service_config.alone():
        assert (tmp_path / "ended").exists()
    os.waitpid(child, 0)


def test_a_second_run_gives_up_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(service_config, "LOCK_PATIENCE", 0.3)
    child = hold(600, tmp_path / "ended")
    with pytest.raises(service_config.SetError, match="Another run has been changing services"), service_config.alone():
        pass
    # A run that was killed holds nothing.
    os.kill(child, 9)
    os.waitpid(child, 0)
    with service_config.alone():
        pass


def test_the_lock_is_for_root_only(tmp_path: Path) -> None:
    with service_config.alone():
        assert os.stat(tmp_path / "run").st_mode & 0o777 == 0o700


def test_a_file_that_came_with_a_package_of_ours_was_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_record.Record.__init__, "__defaults__", (str(tmp_path / "record.json"),))
    brought_by = {"/etc/a/default": "a-common", "/etc/b/default": "b-common"}
    replaced = ["/etc/a/default", "/etc/b/default", "/etc/a/mine"]
    assert service_config.somebodys(replaced, brought_by) == replaced
    _record.remember("packages", "a-common", "absent")
    assert service_config.somebodys(replaced, brought_by) == ["/etc/b/default", "/etc/a/mine"]
    assert service_config.somebodys(replaced, {}) == replaced
