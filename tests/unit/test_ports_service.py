# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Discovery on a real socket, floods and the kernel's filter, what is said of ports, status and metrics."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import select
import socket
import time
from pathlib import Path

import pytest
from jellyfin_ports import cli, metrics, status
from jellyfin_ports.addresses import Networks
from jellyfin_ports.check import check
from jellyfin_ports.client_discovery import parse_identity
from jellyfin_ports.client_discovery_service import ClientDiscovery
from jellyfin_ports.config import parse
from jellyfin_ports.datagrams import FloodGuard, filter_program, prepare
from jellyfin_ports.discover import judge_url
from jellyfin_ports.holders import describe_holder, holders, parse_table
from jellyfin_ports.interfaces import read_interfaces
from jellyfin_ports.tables import ago, amount, table
from jellyfin_ports.upstreams import State
from loopback import kept_port
from ports_support import SERVER_ID, config_text, info_body


class Watcher:
    def __init__(self, states: list[State]) -> None:
        self.states = states


def service(lan: list[str], servers: int = 1, **limits: float) -> tuple[ClientDiscovery, int]:
    upstreams = [
        {"name": f"s{n}", "url": f"http://192.168.1.{n + 5}:8096", "announce_port": 8096} for n in range(servers)
    ]
    config = parse(config_text(lan=lan, upstreams=upstreams, limits=limits))
    states = [State(u, parse_identity(info_body()), ready=True) for u in config.upstreams]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    made = ClientDiscovery(sock, config, Watcher(states))  # type: ignore[arg-type]
    made.set_interfaces(read_interfaces())
    return made, sock.getsockname()[1]


def ask(
    discovery: ClientDiscovery, port: int, datagram: bytes = b"who is JellyfinServer?", times: int = 1
) -> list[bytes]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        before = discovery.counters["answered"]
        for _ in range(times):
            client.sendto(datagram, ("127.0.0.1", port))
            assert select.select([discovery], [], [], 20)[0]
            discovery.readable()
        found = [client.recv(2048) for _ in range(discovery.counters["answered"] - before)]
        while select.select([client], [], [], 0.05)[0]:
            found.append(client.recv(2048))
        return found


def test_one_reply_for_each_server_that_is_ready() -> None:
    discovery, port = service(["127.0.0.0/8"], servers=3)
    assert len(ask(discovery, port)) == 3
    discovery._watcher.states[1].ready = False
    discovery.forget()
    assert len(ask(discovery, port)) == 2
    for state in discovery._watcher.states:
        state.ready = False
    discovery.forget()
    assert ask(discovery, port) == [] and discovery.counters["no_server"] == 1


def test_the_reply_on_the_wire_and_what_is_noted() -> None:
    discovery, port = service(["127.0.0.0/8"])
    reply = ask(discovery, port)[0]
    assert (
        reply
        == b'{"Address":"http://127.0.0.1:8096","Id":"%b","Name":"media","EndpointAddress":null}' % SERVER_ID.encode()
    )
    seen = discovery.status()
    assert seen["answered"][0]["source"] == "127.0.0.1" and seen["answered"][0]["count"] == 1
    assert abs(seen["answered"][0]["last"] - time.time()) < 60


def test_what_gets_no_reply() -> None:
    discovery, port = service(["192.168.1.0/24"])
    assert ask(discovery, port) == [] and discovery.counters["not_lan"] == 1  # loopback is no LAN by itself
    discovery, port = service(["127.0.0.0/8"])
    assert ask(discovery, port, b"who is EmbyServer?") == [] and discovery.counters["not_a_question"] == 1


def test_a_flood_from_the_lan_is_limited() -> None:
    discovery, port = service(["127.0.0.0/8"], source_rate=0.001, source_burst=5)
    assert len(ask(discovery, port, times=60)) == 5
    assert discovery.counters["limited_source"] == 55


def udp_pair(guarded: Networks) -> tuple[socket.socket, FloodGuard]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    prepare(sock)
    return sock, FloodGuard(sock, guarded)


def passes(sock: socket.socket, expected: bool = True) -> bool:
    """What is to come through is waited for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", sock.getsockname())
        ready = bool(select.select([sock], [], [], 20 if expected else 0.05)[0])
        if ready:
            sock.recv(10)
        return ready


@pytest.mark.parametrize(
    ("networks", "inside"),
    [(["10.0.0.0/8"], False), (["127.0.0.0/8"], True), (["127.0.0.1/32"], True), (["127.0.0.2/32"], False),
     ([f"10.{n}.0.0/16" for n in range(79)] + ["127.0.0.0/8"], True), ([f"10.{n}.0.0/16" for n in range(80)], False)],
)  # fmt: skip
def test_the_kernels_filter_lets_the_lan_through(networks: list[str], inside: bool) -> None:
    sock, guard = udp_pair(Networks(networks))
    assert passes(sock)
    guard.tick(0)
    guard.tick(1000)
    assert guard.engaged and passes(sock, inside) is inside
    guard.detach()
    assert passes(sock)
    sock.close()


def test_a_filter_does_not_outlive_a_restart_in_the_middle_of_a_flood() -> None:
    """systemd keeps the socket, and the kernel the filter with it; the next process may have another LAN."""
    sock, guard = udp_pair(Networks(["10.0.0.0/8"]))
    guard.tick(0)
    guard.tick(1000)
    assert not passes(sock, False)
    prepare(sock)
    assert passes(sock)
    sock.close()


def test_the_filter_counts_and_lets_go() -> None:
    sock, guard = udp_pair(Networks(["10.0.0.0/8"]))
    guard.tick(0)
    guard.tick(1000)
    assert not passes(sock, False)
    for _ in range(300):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", sock.getsockname())
    deadline = time.monotonic() + 20
    while guard._kernel_drops() < 300 and time.monotonic() < deadline:
        time.sleep(0.01)
    guard.tick(1000)
    assert guard.dropped >= 300 and guard.engaged
    for _ in range(5):
        guard.tick(1000)
    assert not guard.engaged and passes(sock)
    sock.close()


def test_too_many_networks_have_no_filter() -> None:
    assert filter_program(Networks([f"10.{n}.0.0/16" for n in range(81)])) == b"" == filter_program(Networks())


def test_interfaces_are_what_the_kernel_says() -> None:
    loopback = next(i for i in read_interfaces().values() if i.name == "lo")
    assert loopback.loopback and loopback.up and not loopback.multicast
    assert ipaddress.IPv4Interface("127.0.0.1/8") in loopback.addresses
    for _turn in range(100):
        before, found, after = socket.if_nameindex(), set(read_interfaces()), socket.if_nameindex()
        if before == after:  # none came or went meanwhile
            break
    assert found == {index for index, _ in after}


# Ports


def test_who_holds_a_port() -> None:
    with kept_port() as kept:
        with (
            socket.create_server(("127.0.0.1", kept)) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            udp.bind(("127.0.0.1", 0))
            for protocol, sock in (("tcp", tcp), ("udp", udp)):
                port = sock.getsockname()[1]
                (holder,) = holders(protocol, port)
                assert holder.address == "127.0.0.1" and holder.pid > 0 and not holder.ours
                said = describe_holder(protocol, port)
                assert holder.process in said and f"{port}/{protocol}" in said
        assert holders("tcp", kept) == []


def test_the_kernels_table() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n"
        "   1: 0100007F:1FA0 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n"
        "   2: 00000000000000000000000001000000:1FA0 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 333 1\n"
    )
    assert parse_table(text, "tcp", 8096) == {"111": "127.0.0.1", "333": "::1"}


def test_check_says_what_is_wrong_and_exits_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_text(config_text(listeners={"http": {"enabled": True, "port": 0}}))
    assert cli.main(["check", "--config", str(path)]) == 2
    assert f"{path}:" in capsys.readouterr().err
    with kept_port() as port:
        path.write_text(config_text(listeners={"http": {"enabled": True, "port": port}}))
        with socket.create_server(("127.0.0.1", port)):
            assert cli.main(["check", "--config", str(path)]) == 3
            said = capsys.readouterr().err
            assert f"{port}/tcp (listener http) is held by" in said and "jellyfin_http: false" in said
            assert cli.main(["check", "--config", str(path), "--no-ports"]) == 0
        assert cli.main(["check", "--config", str(path)]) == 0
    assert cli.main(["check", "--config", str(tmp_path / "none.json")]) == 2
    https = {
        "enabled": True,
        "certificates": [{"fullchain": str(tmp_path / "a.pem"), "privkey": str(tmp_path / "b.pem")}],
    }
    path.write_text(config_text(listeners={"https": https}))
    assert any("cannot be read" in line for line in check(str(path)).errors)


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "jellyfin-ports.md").read_text()
    for command in ([], ["serve"], ["check"], ["status"], ["discover"], ["reload"]):
        with pytest.raises(SystemExit) as done:
            cli.main([*command, "--help"])
        said = capsys.readouterr().out
        assert done.value.code == 0 and "exit codes:" in said
        for option in set(re.findall(r"--[a-z-]+", said)) - {"--help", "--version"}:
            assert option in manual


# What people and programs are told


def report() -> dict:
    discovery, _ = service(["127.0.0.0/8"])
    processes = {
        "discovery": {
            "process": "discovery", "since": time.time() - 7200, "generation": "abc", "reload_error": "it broke",
            "upstreams": [State(discovery._watcher.states[0].upstream, parse_identity(info_body()), True, "", time.time()).as_dict()],
            "client_discovery": discovery.status(),
            "ssdp": {"devices": [], "why": "no reason", "counters": {}, "dropped_in_kernel": 0},
            "hdhomerun": {"port": 40000, "found": [{"id": "1234ABCD", "address": "192.168.1.9", "tuners": 2, "seen": time.time()}], "counters": {"asked": 3}},
        },
        "relay": {"error": "not running"},
    }  # fmt: skip
    rows = [
        {
            "listener": "http",
            "port": 8096,
            "protocol": "tcp",
            "enabled": True,
            "state": "down",
            "held_by": ["nginx (process 5)"],
        },
        {"listener": "hdhomerun", "port": 0, "protocol": "udp", "enabled": False, "state": "off", "held_by": []},
    ]
    return {"ports": rows, "processes": processes}


def test_status_is_a_table_and_json() -> None:
    made = report()
    said = status.render(json.loads(json.dumps(made)))
    for words in (
        "nginx (process 5)",
        "relay: not running",
        "2 h ago",
        "it broke",
        "http://<address of the interface>:8096",
        "1234ABCD",
        "no reason",
    ):
        assert words in said, words
    assert not status.healthy(made)


def test_metrics_are_prometheus_text() -> None:
    text = metrics.render(metrics.discovery_samples(report()["processes"]["discovery"])).decode()
    assert 'jellyfin_ports_server_ready{server="s0"} 1' in text and "jellyfin_ports_tuners 1" in text
    relay = {
        "phases": {"tunnel": 2},
        "bytes_to_clients": 123456789012345,
        "bytes_to_servers": 6,
        "counters": {"requests": 7},
    }
    text += metrics.render(metrics.relay_samples(relay)).decode()
    assert 'jellyfin_ports_relay_events_total{event="requests"} 7' in text
    assert "123456789012345" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [0-9.e+]+', line), line


def test_metrics_are_served_on_loopback_only() -> None:
    async def job(port: int) -> None:
        runner = await metrics.serve(port, lambda: [("jellyfin_ports_x", "help", {}, 1.0)])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"jellyfin_ports_x 1" in await reader.read()
        assert holders("tcp", port)[0].address == "127.0.0.1"
        writer.close()
        await runner.cleanup()

    with kept_port() as port:
        asyncio.run(job(port))


@pytest.mark.parametrize(
    ("url", "resolved", "problem"),
    [
        ("http://192.168.1.2:8096", ["192.168.1.2"], ""),
        ("http://127.0.0.1:8096", ["127.0.0.1"], "loopback"),
        ("http://[::1]:8096", ["::1"], "loopback"),
        ("http://172.17.0.2:8096", ["172.17.0.2"], "container"),
        ("http://media.lan", [], "does not resolve"),
        ("http://0.0.0.0:8096", ["0.0.0.0"], "no address"),
        ("192.168.1.2:8096", ["192.168.1.2"], "no full URL"),
    ],
)
def test_what_is_wrong_with_an_announced_address(url: str, resolved: list[str], problem: str) -> None:
    found = judge_url(url, resolved, ["192.168.1.0/24"])
    assert bool(found) == bool(problem) and problem in " ".join(found)


def test_a_container_network_that_is_ours_is_no_problem() -> None:
    assert judge_url("http://172.17.0.2:8096", ["172.17.0.2"], ["172.17.0.0/16"]) == []


def test_tables() -> None:
    assert table(("A", "LONG"), [(1, 2), ("xyz", "")]) == "A    LONG\n1    2\nxyz"
    assert (ago(0, 59), ago(0, 60), ago(0, 7300), ago(0, 200000)) == ("59 s ago", "1 min ago", "2 h ago", "2 d ago")
    assert (amount(5), amount(1500), amount(2.5e9), amount(3e15)) == ("5 B", "1.5 KB", "2.5 GB", "3000.0 TB")
