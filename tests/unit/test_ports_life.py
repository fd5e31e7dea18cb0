# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who a server is and whether it is ready, what is kept of it, and what a process and systemd tell each other."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.server
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jellyfin_ports import cli, discover, probe, runtime, status, systemd, urgency
from jellyfin_ports.client_discovery import parse_identity
from jellyfin_ports.client_discovery_service import ClientDiscovery, Verdict
from jellyfin_ports.config import Upstream, parse
from jellyfin_ports.upstreams import Memory, Watcher
from loopback import kept_port
from ports_support import SERVER_ID, config_text, info_body, read_head

PACKAGE = Path(__file__).resolve().parents[2] / "roles" / "port_binding" / "files"
KNOWN = parse_identity(info_body())


# A server


def answered(pages: dict[str, tuple[int, bytes]]) -> tuple[probe.Answer, list[str]]:
    """What the probe makes of a server with these pages."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await read_head(reader)).split()[1].decode()
        asked.append(path)
        status, body = pages.get(path, (404, b""))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    async def job() -> probe.Answer:
        origin = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = origin.sockets[0].getsockname()[1]
        server = Upstream("m", f"http://127.0.0.1:{port}", "127.0.0.1", port, "/jellyfin")
        found = await asyncio.get_running_loop().run_in_executor(None, probe.ask, server, 15.0)
        origin.close()
        return found

    return asyncio.run(asyncio.wait_for(job(), 20)), asked


INFO, HEALTH = "/jellyfin/System/Info/Public", "/jellyfin/health"


def test_a_server_that_is_ready_is_known_below_its_path() -> None:
    found, asked = answered({INFO: (200, info_body()), HEALTH: (200, b"Healthy")})
    assert found.identity == KNOWN and not found.problem and asked == [INFO, HEALTH]


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ({INFO: (200, info_body()), HEALTH: (200, b"Degraded")}, "starting or ill (/health says 'Degraded')"),
        ({INFO: (200, info_body()), HEALTH: (503, b"Unhealthy")}, "starting or ill (/health says '503')"),
        ({INFO: (503, b"wait")}, "/System/Info/Public answers 503"),
        ({INFO: (302, b"")}, "/System/Info/Public answers 302"),
        ({INFO: (200, info_body(ProductName="Emby Server"))}, "Emby Server"),
        ({INFO: (200, b"<html>")}, ""),
    ],
)
def test_a_server_that_starts_or_is_none_is_not_announced(pages: dict[str, tuple[int, bytes]], why: str) -> None:
    found, _asked = answered(pages)
    assert found.identity is None and found.problem and why in found.problem


def test_nobody_there() -> None:
    with kept_port() as port:
        server = Upstream("m", f"http://127.0.0.1:{port}", "127.0.0.1", port)
        with socket.create_server(("127.0.0.1", port)):
            found = probe.ask(server, 0.2)
            assert "no answer within 0.2 s" in found.problem and found.slow
        found = probe.ask(server, 15.0)
        assert "no connection" in found.problem and not found.slow


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, probe.Answer]]:
    """What the servers say, by name."""
    says: dict[str, probe.Answer] = {}
    monkeypatch.setattr(probe, "ask", lambda server, seconds: says[server.name])
    yield says


def test_identities_are_refreshed_and_kept_over_a_restart(
    watched: dict[str, probe.Answer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    servers = parse(config_text()).upstreams
    changes: list[int] = []

    async def job() -> None:
        watcher = Watcher(servers, Memory(str(tmp_path)), lambda: changes.append(1))
        state = watcher.states[0]
        assert state.identity is None
        watched["media"] = probe.Answer(KNOWN)
        await watcher._look(state, 1)
        assert state.ready and state.identity == KNOWN and len(changes) == 1
        await watcher._look(state, 1)
        assert len(changes) == 1  # nothing new
        renamed = dataclasses.replace(KNOWN, name="attic")
        watched["media"] = probe.Answer(renamed)
        await watcher._look(state, 1)
        assert state.identity == renamed and len(changes) == 2
        watched["media"] = probe.Answer(None, "no connection")
        await watcher._look(state, 1)
        assert not state.ready and state.identity == renamed and state.problem == "no connection" and len(changes) == 3
        watcher.stop()
        noted = [record.fields for record in caplog.records if hasattr(record, "fields")]
        assert noted == [{"server": "media", "ready": 1}, {"server": "media", "ready": 0}]
        # The next process knows it before it answers, but announces it only when it is ready.
        again = Watcher(servers, Memory(str(tmp_path)), lambda: None)
        assert again.states[0].identity == renamed and not again.states[0].ready
        again.stop()

    asyncio.run(asyncio.wait_for(job(), 20))


def test_a_server_that_is_busy_for_a_moment_stays_announced(watched: dict[str, probe.Answer]) -> None:
    async def job() -> None:
        watcher = Watcher(parse(config_text()).upstreams, Memory(""), lambda: None)
        state = watcher.states[0]
        slow = probe.Answer(None, "no answer within 2 s", slow=True)
        readiness = []
        for said in (slow, probe.Answer(KNOWN), slow, probe.Answer(KNOWN), slow, slow, slow, probe.Answer(KNOWN)):
            watched["media"] = said
            await watcher._look(state, 1)
            readiness.append(state.ready)
        assert readiness == [False, True, True, True, True, False, False, True]
        watched["media"] = probe.Answer(None, "no connection")
        await watcher._look(state, 1)
        assert not state.ready  # that is not busy
        watcher.stop()

    asyncio.run(asyncio.wait_for(job(), 20))


def test_who_asks_for_a_reload_during_a_reload_gets_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may have been written after the one under way had read it."""
    read: list[str] = []
    monkeypatch.setattr(runtime.configuration, "load", lambda path: read.append(path) or parse(config_text()))

    class Slow:
        name = "relay"
        go = asyncio.Event()

        async def reload(self, config: object) -> None:
            await self.go.wait()

        def headline(self) -> str:
            return ""

    async def job() -> None:
        service = Slow()
        service.go = asyncio.Event()
        process = runtime.Process(service, "file")  # type: ignore[arg-type]
        for _turn in range(3):
            process._handle("reload")
            await asyncio.sleep(0)
        assert read == ["file"] and process._handle("reloaded") == {"done": False, "error": ""}
        service.go.set()
        await asyncio.wait_for(process._reloading, 20)  # type: ignore[arg-type]
        assert read == ["file"] * 2 and process._handle("reloaded") == {"done": True, "error": ""}

    asyncio.run(job())


def test_a_spoilt_memory_is_no_memory(tmp_path: Path) -> None:
    for text in ("", "[]", '{"identities": {"http://192.168.1.5:8096": {"id": 1, "odd": 2}}}'):
        (tmp_path / "state.json").write_text(text)
        watcher = Watcher(parse(config_text()).upstreams, Memory(str(tmp_path)), lambda: None)
        assert watcher.states[0].identity is None
        watcher.stop()


def test_own_packets_and_port_zero_are_ignored() -> None:
    question = b"who is JellyfinServer?"
    own = Verdict("", (b"reply",), own=True)
    other = Verdict("", (b"reply",))
    assert ClientDiscovery._why_not(own, question, 7359) == "own"
    assert ClientDiscovery._why_not(own, question, 40000) == ""  # a client on this host
    assert ClientDiscovery._why_not(other, question, 7359) == ""  # webOS asks from there
    assert ClientDiscovery._why_not(other, question, 0) == "port_zero"


# What `discover` says


def reported(**server: object) -> dict[str, object]:
    found = {"from": "192.168.1.2", "address": "http://192.168.1.2:8096", "id": SERVER_ID, "name": "media", **server}
    tuner = {"id": "1234ABCD", "address": "192.168.1.9", "tuners": 2, "base_url": ""}
    device = {
        "location": "http://192.168.1.2:8096/d.xml",
        "name": "media",
        "type": "urn:x:device:Basic:1",
        "problems": [],
    }
    return {
        "interfaces": [{"name": "lan0", "addresses": []}],
        "jellyfin": [found],
        "ssdp": [device],
        "hdhomerun": [tuner],
    }


@pytest.mark.parametrize(
    ("changes", "page", "said"),
    [
        ({}, (200, info_body()), ""),
        ({"id": SERVER_ID.upper()}, (200, info_body()), ""),
        ({"endpoint_address": "192.168.1.2:1"}, (200, info_body()), "EndpointAddress is not null"),
        ({"id": "f" * 32}, (200, info_body()), "is another server than the one announced"),
        ({}, (302, b""), "answers 302, not 200"),
        ({}, (200, b"{}"), "http://192.168.1.2:8096"),
        ({"address": "http://172.17.0.2:8096"}, (200, info_body()), "looks like a container's address"),
    ],
)
def test_discover_tries_the_address_that_is_announced(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], page: tuple[int, bytes], said: str
) -> None:
    monkeypatch.setattr(discover, "_fetch", lambda url, source, seconds=3.0: page)
    report = reported(**changes)
    discover._check_server(report["jellyfin"][0], ["192.168.1.0/24"])  # type: ignore[index]
    shown = discover.render(report)
    assert ("What is wrong" in shown) == bool(said) and said in shown
    assert "jellyfin_hdhomerun_tuners: [192.168.1.9]" in shown and "Basic:1" in shown


def test_discover_fails_where_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {**reported(), "jellyfin": [], "ssdp": [], "hdhomerun": []}
    monkeypatch.setattr(discover, "discover", lambda seconds, hosts: nothing)
    assert cli.main(["discover"]) == 1
    said = capsys.readouterr().out
    assert "No Jellyfin server answered on lan0" in said and "no Jellyfin device" in said and "no tuner" in said
    monkeypatch.setattr(discover, "discover", lambda seconds, hosts: {**reported(problems=[])})
    assert cli.main(["discover", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jellyfin"][0]["id"] == SERVER_ID


EVIL = "x\x1b]0;owned\x07\x9b31m\u202egnp\r\nJELLYFIN  ADDRESS\u2028"


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n")) and "\nJELLYFIN  ADDRESS" not in text


def test_no_device_writes_to_the_terminal() -> None:
    report = reported(name=EVIL, address=EVIL, id=EVIL, problems=[EVIL], unchecked=EVIL, **{"from": EVIL})
    report["ssdp"] = [{"name": EVIL, "type": EVIL, "location": EVIL, "problems": [EVIL]}]
    report["hdhomerun"] = [{"id": EVIL, "address": "192.168.1.9", "tuners": 2}]
    shown = discover.render(report)
    assert harmless(shown) and "\\x1b]0;owned\\x07" in shown and "\\u202e" in shown
    assert (
        shown.count("\n") == discover.render(reported(problems=["x"], unchecked="x")).count("\n") + 1
    )  # SSDP's problem


def test_no_server_writes_to_the_terminal() -> None:
    process = {"since": 0, "generation": "x"}
    discovery = {
        **process,
        "upstreams": [
            {"name": "m", "url": "u", "identity": {"name": EVIL}, "ready": True, "since": 0, "problem": EVIL}
        ],
        "client_discovery": {
            "announced": {EVIL: [{"to": EVIL, "address": EVIL}]},
            "answered": [{"source": EVIL, "count": 1, "last": 0, "addresses": [EVIL]}],
            "counters": {},
            "dropped_in_kernel": 0,
        },
        "ssdp": {"devices": [{"name": EVIL, "type": EVIL, "location": EVIL}], "why": "", "counters": {}},
        "hdhomerun": {"port": 1, "found": [{"id": EVIL, "address": EVIL, "tuners": 1, "seen": 0}], "counters": {}},
    }
    relay = {**process, "phases": {}, "connections": 0, "connection_limit": 1, "bytes_to_clients": 0, "bytes_to_servers": 0, "counters": {},
             "stand_in": False, "refused": {EVIL: 1}, "too_many": {EVIL: 1}, "refused_names": {EVIL: 1}}  # fmt: skip
    limits = {**process, "connections": {"internet": 1, "lan": 1}, "ports": {"tcp": [1], "udp": []}, "banned": 0, "problem": "", "restored": 0,
              "refused": {EVIL: 1}}  # fmt: skip
    report = {"ports": [], "processes": {"discovery": discovery, "relay": relay, "limits": limits}}
    assert harmless(status.render(report))


class Page:
    """A web server on loopback that notes what it was asked for."""

    def __init__(self, body: bytes = b"", drip: bool = False) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    while drip:
                        self.wfile.write(b"X: y\r\n")
                        time.sleep(0.1)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_discover_asks_whoever_answered_and_nobody_on_its_word() -> None:
    page = Page(info_body())
    try:
        found = {
            "from": "192.168.1.66",
            "address": page.url + "/x?",
            "id": SERVER_ID,
            "name": "n",
            "endpoint_address": None,
        }
        for address in (page.url, page.url + "/apply?reboot=1", page.url + "/#"):
            found["address"] = address
            discover._check_server(found, [])
        assert page.asked == []
        with pytest.raises(discover.Elsewhere, match=r"192\.168\.1\.66, which answered"):
            discover._fetch(page.url, "192.168.1.66")
        device = {"from": "192.168.1.66", "location": page.url + "/d.xml", "usn": "", "server": "rssdp"}
        assert discover._describe(device) and "was not asked" in " ".join(device["problems"])
        assert page.asked == []
        assert discover._fetch(page.url + "/x?y", "127.0.0.1") == (200, info_body()) and page.asked == ["/x?y"]
    finally:
        page.close()


def test_discover_waits_for_no_drip() -> None:
    page = Page(drip=True)
    try:
        with pytest.raises(ConnectionError):
            discover._fetch(page.url, "127.0.0.1", 0.5)
    finally:
        page.close()


def test_discover_keeps_so_many_answers_and_no_more() -> None:
    socks = [discover._socket() for _ in range(2)]
    found: dict[int, dict[object, dict[str, object]]] = {sock.fileno(): {} for sock in socks}
    for n in range(1000):
        data = json.dumps({"Address": f"http://a{n}", "Id": "x", "Name": "n"}).encode()
        discover._note(socks[0], data, ("192.168.1.2", 1), found, *socks)
    assert len(found[socks[0].fileno()]) == 64
    for sock in socks:
        sock.close()


# Its rank among the processes


class Clock:
    """A second passes with each tick, of which the process used what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: bool = False) -> None:
        self.now = self.used = 5.0
        self.asked: list[int] = []
        self.refused = refused
        self.nice: list[int] = []
        monkeypatch.setattr(urgency.os, "setpriority", lambda which, pid, nice: self.nice.append(nice))
        monkeypatch.setattr(urgency.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(urgency.time, "process_time", lambda: self.used)
        monkeypatch.setattr(urgency.os, "sched_setscheduler", self.set)

    def set(self, pid: int, policy: int, parameters: os.sched_param) -> None:
        assert pid == 0 and parameters.sched_priority == (1 if policy == os.SCHED_RR else 0)
        self.asked.append(policy)
        if self.refused:
            raise PermissionError(1, "not here")

    def second(self, rank: urgency.Urgency, used: float) -> None:
        self.now += 1.0
        self.used += used
        rank.tick()


def test_it_goes_before_others_unless_it_is_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    rank = urgency.Urgency()
    rank.rise()
    for used in (0.9, 0.05):  # the first is the start's
        clock.second(rank, used)
    assert rank.urgent and clock.asked == [os.SCHED_RR]
    clock.second(rank, 0.9)
    assert not rank.urgent and clock.asked[1:] == [os.SCHED_OTHER] and clock.nice == [0]
    for used in (0.9, 0.2):  # still too much to come back
        clock.second(rank, used)
    assert not rank.urgent
    clock.second(rank, 0.01)
    assert rank.urgent and clock.asked[2:] == [os.SCHED_RR]


def test_where_it_may_not_it_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, refused=True)
    rank = urgency.Urgency()
    for _ in range(3):
        rank.rise()
        clock.second(rank, 0.01)
    assert not rank.urgent and len(clock.asked) == 1 and not clock.nice


# systemd


def test_passed_sockets_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    first = 200
    os.dup2(one.fileno(), first)
    os.dup2(two.fileno(), first + 1)
    monkeypatch.setattr(systemd, "_FIRST_FD", first)
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "http:ssdp")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert systemd.passed_sockets() == {}  # meant for another process
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    found = systemd.passed_sockets()
    assert {name: sock.type for name, sock in found.items()} == {"http": socket.SOCK_STREAM, "ssdp": socket.SOCK_DGRAM}
    assert not any(os.get_inheritable(sock.fileno()) for sock in found.values())
    assert "LISTEN_FDS" not in os.environ
    for sock in (one, two, *found.values()):
        sock.close()


def test_messages_go_to_the_journal_with_fields_of_their_own() -> None:
    ours, journal = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    handler = systemd.JournalHandler.__new__(systemd.JournalHandler)
    logging.Handler.__init__(handler)
    handler._socket = ours
    handler.setFormatter(logging.Formatter("%(message)s"))
    record = logging.LogRecord("jellyfin_ports.relay", logging.WARNING, "f.py", 1, "two\nlines %s", ("here",), None)
    record.fields = {"source": "192.168.1.9"}
    handler.emit(record)
    fields: dict[str, str] = {}
    data = journal.recv(65536)
    while data:
        name, _newline, rest = data.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        data = rest[9 + length :]
    assert fields["MESSAGE"] == "two\nlines here" and fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "jellyfin-ports" and fields["JELLYFIN_PORTS_SOURCE"] == "192.168.1.9"
    ours.close()
    journal.close()


def test_a_process_says_what_it_does_and_reloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started as the unit starts it, but for the sockets."""
    runtime = tmp_path / "jellyfin-ports-relay"
    runtime.mkdir()
    config = tmp_path / "c.json"

    def write(generation: str, number: int) -> None:
        listeners = {"http": {"enabled": True, "port": number}}
        config.write_text(config_text(generation=generation, upstreams=[], listeners=listeners))

    with kept_port() as port, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        write("one", port)
        manager.bind(str(tmp_path / "notify"))
        # Read at once, as systemd does: who notifies a full socket is held up.
        texts: queue.Queue[str] = queue.Queue()

        def listen() -> None:
            while text := manager.recv(4096).decode():
                texts.put(text)

        threading.Thread(target=listen, daemon=True).start()
        code = (
            f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(PACKAGE)!r});"
            f"from jellyfin_ports.cli import main; sys.exit(main(['serve', 'relay', '--config', {str(config)!r}]))"
        )
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "RUNTIME_DIRECTORY": str(runtime)}
        environment["WATCHDOG_USEC"] = "1000000"
        program = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)

        def told(word: str) -> str:
            # As often as the watchdog is fed in a minute: what never comes is not waited for without end.
            for _turn in range(120):
                if word in (text := texts.get(timeout=60)):
                    return text
            pytest.fail(f"{word} was not told")

        try:
            assert "STATUS=" in told("READY=1")
            told("WATCHDOG=1")
            monkeypatch.setenv("JELLYFIN_PORTS_RUN", str(tmp_path))
            command: Callable[..., int] = lambda *words: cli.main([*words, "--config", str(config)])  # noqa: E731
            assert command("status", "--generation") == 0 and capsys.readouterr().out.strip() == "one"
            write("two", port)
            assert command("reload", "relay") == 0
            told("RELOADING=1")
            told("READY=1")
            assert command("status", "--generation") == 0 and capsys.readouterr().out.strip() == "two"
            write("three", 0)
            assert command("reload", "relay") == 1 and "a port is 1 to 65535" in capsys.readouterr().err
            write("two", port)
            assert command("status") == 0 and "the old configuration is in force" in capsys.readouterr().out
        finally:
            program.send_signal(signal.SIGTERM)
        told("STOPPING=1")
        assert program.wait(60) == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(tmp_path / "notify"))
    assert command("reload", "relay") == 1 and "relay: " in capsys.readouterr().err
