# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a server in memory: stopped, written, started, killed in between, and taken back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _network_xml, _record
from ansible_collections.jellynet.jellyfin.plugins.modules import network_config

UNIT = "jellyfin.service"


class Ended(Exception):
    """The module has said its last word."""


class Killed(BaseException):
    """SIGKILL: nothing of the run is done after this."""


class Server:
    """A server, its network.xml, and the runs of the module."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.path = home / "network.xml"
        self.running = True
        self.calls: list[str] = []
        self.fails = ""
        self.kill = ""
        self.check_mode = False
        self.no_log_values: set[str] = set()
        self.params: dict[str, Any] = {}
        monkeypatch.setattr(network_config, "AnsibleModule", self.module)

    def module(self, **_arguments: Any) -> Any:
        return self

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        verb = argv[1]
        assert argv[0] == "systemctl" and argv[-1] == UNIT
        if verb == "is-active":
            return (0 if self.running else 3), "", ""
        self.calls.append(verb)
        if self.kill == "before " + verb:
            raise Killed
        if self.fails == verb:
            return 1, "", "Job failed."
        self.running = verb == "start"
        if self.kill == "after " + verb:
            raise Killed
        return 0, "", ""

    def fail_json(self, msg: str) -> None:
        raise Ended({"failed": True, "msg": msg})

    def exit_json(self, **result: Any) -> None:
        raise Ended(result)

    def run(self, proxies: list[str] | None = None, check: bool = False, **params: Any) -> dict[str, Any]:
        settings = {} if proxies is None else {"KnownProxies": proxies}
        settings.update(params.pop("settings", {}))
        self.check_mode = check
        self.params = {
            "config_dir": str(self.home),
            "settings": settings,
            "purge_proxies": True,
            "unit": UNIT,
            "health_url": "",
            "timeout": 1,
            "state": "present",
            **params,
        }
        self.calls.clear()
        with pytest.raises(Ended) as ended:
            network_config.main()
        return dict(ended.value.args[0])

    @property
    def proxies(self) -> list[str]:
        return list(_network_xml.parse(self.path.read_text())["KnownProxies"])

    def has(self, *proxies: str) -> None:
        self.path.write_text(_network_xml.update("", {"KnownProxies": list(proxies), "EnableIPv6": True})[0])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(_record.Record.__init__, "__defaults__", (str(tmp_path / "jellynet" / "record.json"),))
    home = tmp_path / "jellyfin"
    home.mkdir()
    return Server(home, monkeypatch)


def test_a_running_server_is_stopped_written_and_started_once(server: Server) -> None:
    server.has()
    assert server.run(["10.0.0.1"], check=True)["changed"] and not server.calls
    done = server.run(["10.0.0.1"])
    assert done["changed"] and done["restarted"] and server.calls == ["stop", "start"]
    assert server.proxies == ["10.0.0.1"]
    assert not server.run(["10.0.0.1"])["changed"] and not server.calls
    assert not _record.load()["stopped_units"]


def test_what_an_edge_without_a_part_in_the_run_had_given_stays(server: Server) -> None:
    server.has("10.0.0.9")
    server.run(["10.0.0.1", "10.0.0.2"])
    done = server.run(["10.0.0.1"], purge_proxies=False)
    assert not done["changed"] and server.proxies == ["10.0.0.9", "10.0.0.1", "10.0.0.2"]
    server.run(["10.0.0.3"], purge_proxies=False)
    assert server.proxies == ["10.0.0.9", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    server.run(["10.0.0.3"])
    assert server.proxies == ["10.0.0.9", "10.0.0.3"], "ours are still known as ours"
    server.run(None, state="absent")
    assert server.proxies == ["10.0.0.9"]


def test_a_server_that_is_down_stays_down(server: Server) -> None:
    server.running = False
    done = server.run(["10.0.0.1"])
    assert done["changed"] and not done["restarted"] and not server.calls and not server.running


@pytest.mark.parametrize("moment", ["before stop", "after stop", "before start"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_server_that_a_killed_run_left_stopped_is_started_by_the_next(
    server: Server, moment: str, state: str
) -> None:
    server.has("10.0.0.9")
    if state == "absent":
        server.run(["10.0.0.1"])
    server.kill = moment
    # The `finally` of a killed process is not run either.
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        if moment != "before start":
            patch.setattr(network_config.ServerUnit, "settle", lambda self: None)
        server.run(["10.0.0.1"], state=state)
    server.kill = ""
    assert server.running is (moment == "before stop")
    left = server.running
    if not left:
        predicted = server.run(["10.0.0.1"], state=state, check=True)
        assert predicted["changed"] and not server.running
    done = server.run(["10.0.0.1"], state=state)
    assert server.running and (done["restarted"] or left)
    assert not _record.load()["stopped_units"]
    assert server.proxies == (["10.0.0.9", "10.0.0.1"] if state == "present" else ["10.0.0.9"])
    assert not server.run(["10.0.0.1"], state=state)["changed"]


def test_a_server_that_was_started_by_hand_since_is_left_alone(server: Server) -> None:
    server.has("10.0.0.1")
    _record.remember("stopped_units", UNIT, True)
    assert not server.run(["10.0.0.1"])["changed"] and not server.calls
    server.running = False
    assert not server.run(["10.0.0.1"])["changed"], "the note is gone"


def test_a_server_is_started_again_also_when_its_file_cannot_be_read(server: Server) -> None:
    server.path.write_text("<NetworkConfiguration>")
    server.running = False
    _record.remember("stopped_units", UNIT, True)
    done = server.run(["10.0.0.1"])
    assert "was not changed" in done["msg"] and server.running


@pytest.mark.parametrize(("verb", "word"), [("stop", "could not be stopped"), ("start", "could not be started")])
def test_a_unit_that_refuses_fails_the_module_in_words(server: Server, verb: str, word: str) -> None:
    server.has()
    server.fails = verb
    assert word in server.run(["10.0.0.1"])["msg"]
    server.fails = ""
    server.run(["10.0.0.1"])
    assert server.running and server.proxies == ["10.0.0.1"]


def test_a_record_that_cannot_be_read_fails_the_module_in_words(server: Server, tmp_path: Path) -> None:
    (tmp_path / "jellynet").mkdir()
    (tmp_path / "jellynet" / "record.json").write_text("{")
    done = server.run(["10.0.0.1"])
    assert done["failed"] and "Mend it or restore it from a backup" in done["msg"]
    assert server.running and not server.calls and not server.path.exists()


def test_proxies_that_the_user_had_stay_his_where_we_want_them_too(server: Server) -> None:
    server.has("10.0.0.1", "10.0.0.9")
    server.run(["10.0.0.1", "10.0.0.2"], settings={"BaseUrl": "/a"})
    assert server.proxies == ["10.0.0.1", "10.0.0.9", "10.0.0.2"]
    # No longer wanted: ours goes, the user's stays.
    server.run(["10.0.0.3"], settings={"BaseUrl": "/a"})
    assert server.proxies == ["10.0.0.1", "10.0.0.9", "10.0.0.3"]
    # Somebody writes the file, so it cannot come back to the byte.
    server.path.write_text(server.path.read_text().replace("<EnableIPv6>true", "<EnableIPv6>false"))
    server.run(state="absent")
    assert server.proxies == ["10.0.0.1", "10.0.0.9"]


def test_proxies_that_were_all_the_user_s_are_not_ours_after_another_change(server: Server) -> None:
    server.has("10.0.0.1")
    server.run(["10.0.0.1"], settings={"BaseUrl": "/a"})
    server.run(["10.0.0.2"], settings={"BaseUrl": "/a"})
    assert server.proxies == ["10.0.0.1", "10.0.0.2"]


def test_what_was_there_comes_back_to_the_byte(server: Server) -> None:
    server.has("10.0.0.9")
    before = server.path.read_bytes()
    server.run(["10.0.0.1"])
    assert server.run(state="absent")["changed"] and server.path.read_bytes() == before
    assert not server.run(state="absent")["changed"]
