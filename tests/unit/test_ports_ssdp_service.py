# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the SSDP part does with what it hears, its sending replaced by a list."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jellyfin_ports import probe
from jellyfin_ports.client_discovery import parse_identity
from jellyfin_ports.config import parse
from jellyfin_ports.datagrams import IP_PKTINFO
from jellyfin_ports.interfaces import Interface
from jellyfin_ports.ssdp_service import Ssdp
from jellyfin_ports.upstreams import Memory, State
from ports_support import SERVER_ID, config_text, info_body, read_head

GROUP = "239.255.255.250"
LAN0 = Interface(2, "lan0", 0x1 | 0x1000, [ipaddress.IPv4Interface("192.168.1.2/24")])
DESCRIPTION = f"""<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:MediaServer:1</deviceType><friendlyName>media</friendlyName>
<UDN>uuid:{uuid.UUID(SERVER_ID)}</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:ContentDirectory:1</serviceType></service></serviceList></device></root>""".encode()


class Watcher:
    def __init__(self, states: list[State]) -> None:
        self.states = states


class Heard(Ssdp):
    """Nothing leaves, nothing is joined."""

    def __init__(self, *arguments: Any) -> None:
        self.sent: list[tuple[bytes, int, str, tuple[str, int]]] = []
        super().__init__(*arguments)

    def _membership(self, index: int, join: bool) -> bool:
        return True

    def _send(self, message: bytes, index: int, address: str, target: tuple[str, int] = (GROUP, 1900)) -> None:
        self.sent.append((message, index, address, target))


@asynccontextmanager
async def ssdp_before(description: bytes | None, lan: tuple[str, ...] = ("192.168.1.0/24",)) -> AsyncIterator[Heard]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        found = description is not None and f"/jellyfin/dlna/{uuid.UUID(SERVER_ID)}/description.xml".encode() in head
        body = description or b""
        writer.write(
            (b"HTTP/1.1 200 OK" if found else b"HTTP/1.1 404 Not Found")
            + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        writer.close()

    origin = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = {
        "name": "media",
        "url": f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}",
        "path": "/jellyfin",
        "announce_port": 8096,
    }
    listeners = {"http": {"enabled": True, "port": 8096}, "ssdp": {"enabled": True}}
    config = parse(config_text(lan=list(lan), upstreams=[upstream], listeners=listeners))
    state = State(config.upstreams[0], parse_identity(info_body()), ready=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        ssdp = Heard(sock, config, Memory(""), Watcher([state]))
        ssdp.set_interfaces({2: LAN0})
        ssdp.servers_changed()
        yield ssdp
        await ssdp.stop()
    origin.close()


def search(target: str, mx: str = "MX: 1\r\n") -> bytes:
    return f'M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:1900\r\nMAN: "ssdp:discover"\r\n{mx}ST: {target}\r\n\r\n'.encode()


def hear(
    ssdp: Heard, data: bytes, source: str = "192.168.1.7", port: int = 5000, index: int = 2, to: str = GROUP
) -> None:
    info = struct.pack("=i4s4s", index, socket.inet_aton("192.168.1.2"), socket.inet_aton(to))
    ssdp._heard(data, [(socket.IPPROTO_IP, IP_PKTINFO, info)], (source, port), 1.0)


def types(ssdp: Heard) -> list[str]:
    return [device["type"].split(":")[3] for device in ssdp.status()["devices"]]


def test_a_dlna_plugin_is_announced_under_the_relays_address() -> None:
    async def job() -> None:
        async with ssdp_before(DESCRIPTION) as ssdp:
            assert types(ssdp) == ["Basic"]
            await ssdp._ask_for_dlna(ssdp._watcher.states)
            assert types(ssdp) == ["Basic", "MediaServer"]
            hear(ssdp, search("urn:schemas-upnp-org:device:MediaServer:1"))
            await asyncio.sleep(1.1)
            message, index, address, target = ssdp.sent[-1]
            assert (
                f"LOCATION: http://192.168.1.2:8096/jellyfin/dlna/{uuid.UUID(SERVER_ID)}/description.xml".encode()
                in message
            )
            assert (index, address, target) == (2, "192.168.1.2", ("192.168.1.7", 5000))
            # Its server goes: both say goodbye, and nothing is answered any more.
            ssdp.sent.clear()
            ssdp._watcher.states[0].ready = False
            ssdp.servers_changed()
            assert types(ssdp) == [] and sum(b"ssdp:byebye" in item[0] for item in ssdp.sent) == 3 + 4
            hear(ssdp, search("ssdp:all"))
            assert ssdp.counters["not_ours"] == 1

    asyncio.run(asyncio.wait_for(job(), 20))


def test_a_plugin_that_is_busy_for_a_moment_stays_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with ssdp_before(DESCRIPTION) as ssdp:
            await ssdp._ask_for_dlna(ssdp._watcher.states)
            for problem, seen in ((probe.TooSlow("busy"), ["Basic", "MediaServer"]), (probe.NotReady("no"), ["Basic"])):

                def fails(*_: object, problem: Exception = problem) -> None:
                    raise problem

                monkeypatch.setattr(probe, "fetch", fails)
                await ssdp._ask_for_dlna(ssdp._watcher.states)
                assert types(ssdp) == seen

    asyncio.run(asyncio.wait_for(job(), 20))


def test_without_the_plugin_none_is_claimed() -> None:
    async def job() -> None:
        for description in (None, b"<html>not found</html>", DESCRIPTION.replace(b"MediaServer", b"MediaRenderer")):
            async with ssdp_before(description) as ssdp:
                await ssdp._ask_for_dlna(ssdp._watcher.states)
                assert types(ssdp) == ["Basic"]

    asyncio.run(asyncio.wait_for(job(), 20))


def test_who_is_answered() -> None:
    async def job() -> None:
        async with ssdp_before(None, lan=("192.168.1.0/24", "192.168.9.0/24")) as ssdp:
            hear(ssdp, search("upnp:rootdevice", mx=""), to="192.168.1.2")  # by unicast, at once
            await asyncio.sleep(0.05)
            assert len(ssdp.sent) == 1
            refused = {
                "off_link": {"source": "192.168.9.5"},  # a listed VLAN, but a router lies between
                "not_lan": {"source": "203.0.113.9"},
                "unknown_interface": {"index": 9},
                "port_zero": {"port": 0},
            }
            for reason, how in refused.items():
                hear(ssdp, search("upnp:rootdevice", mx=""), to="192.168.1.2", **how)  # type: ignore[arg-type]
                assert ssdp.counters[reason] == 1, reason
            hear(ssdp, b"NOTIFY * HTTP/1.1\r\n\r\n")
            hear(ssdp, search("upnp:rootdevice", mx=""))
            hear(ssdp, search("upnp:rootdevice", mx="MX: 5\r\n"), port=6000)
            hear(ssdp, search("upnp:rootdevice", mx="MX: 5\r\n"), port=6000)
            assert ssdp.counters["not_a_search"] == ssdp.counters["malformed"] == ssdp.counters["repeated"] == 1
            await asyncio.sleep(0.05)
            assert len([m for m in ssdp.sent if m[0].startswith(b"HTTP/1.1 200")]) <= 2

    asyncio.run(asyncio.wait_for(job(), 20))


def test_answers_are_spread_at_random_over_the_wait() -> None:
    async def job() -> None:
        async with ssdp_before(None) as ssdp:
            now = asyncio.get_running_loop().time()
            for number in range(20):
                hear(ssdp, search("upnp:rootdevice", mx="MX: 4\r\n"), port=6000 + number)
            took = asyncio.get_running_loop().time() - now
            delays = sorted(handle.when() - now for handle in ssdp._waiting.values())
            assert len(delays) == 20 and delays[0] >= 0 and delays[-1] < 4 + took
            assert len({round(delay, 4) for delay in delays}) > 10 and delays[-1] - delays[0] > 0.5

    asyncio.run(asyncio.wait_for(job(), 20))


def test_membership_is_by_interface() -> None:
    """The kernel's own list of who joined what, where: not the interface that the route would take."""

    def joined() -> list[str]:
        here, found = "", []
        for line in Path("/proc/net/igmp").read_text().splitlines()[1:]:
            if not line.startswith("\t"):
                here = line.split()[1]
            elif line.split()[0] == "FAFFFFEF":
                found.append(here)
        return found

    async def job() -> None:
        if "lo" in joined():
            pytest.skip("somebody on this machine has joined 239.255.255.250 on lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            ssdp = Ssdp(sock, parse(config_text()), Memory(""), Watcher([]))  # type: ignore[arg-type]
            assert ssdp._membership(1, join=True) and ssdp._membership(1, join=True)  # twice: systemd kept the socket
            assert joined().count("lo") == 1
            assert ssdp._membership(1, join=False) and "lo" not in joined()
            await ssdp.stop()

    asyncio.run(asyncio.wait_for(job(), 20))


def test_one_that_floods_is_limited_and_memory_stays() -> None:
    async def job() -> None:
        async with ssdp_before(None) as ssdp:
            for number in range(5000):
                hear(ssdp, search("ssdp:all", mx="MX: 5\r\n"), port=1024 + number)
            assert ssdp.counters["limited_source"] == 5000 - 20
            assert len(ssdp._waiting) == 20

    asyncio.run(asyncio.wait_for(job(), 20))


def test_a_new_address_is_told_with_the_next_boot_id() -> None:
    async def job() -> None:
        async with ssdp_before(None) as ssdp:
            before = ssdp.status()["boot_id"]
            ssdp.sent.clear()
            other = Interface(3, "lan1", 0x1 | 0x1000, [ipaddress.IPv4Interface("192.168.1.130/25")])
            ssdp.set_interfaces({2: LAN0, 3: other})
            updates = [m.decode() for m, *_ in ssdp.sent if b"ssdp:update" in m]
            assert len(updates) == 3 and all(f"BOOTID.UPNP.ORG: {before}\r\n" in m for m in updates)
            after = ssdp.status()["boot_id"]
            assert after > before and all(f"NEXTBOOTID.UPNP.ORG: {after}\r\n" in m for m in updates)

    asyncio.run(asyncio.wait_for(job(), 20))


def test_the_boot_id_grows_over_restarts(tmp_path: Any) -> None:
    memory = Memory(str(tmp_path))
    memory.put("boot_id", 2_000_000_000)
    assert json.loads((tmp_path / "state.json").read_text()) == {"boot_id": 2_000_000_000}

    async def job() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            ssdp = Heard(sock, parse(config_text()), Memory(str(tmp_path)), Watcher([]))
            assert ssdp.status()["boot_id"] == 2_000_000_001
            await ssdp.stop()

    asyncio.run(job())
    (tmp_path / "state.json").write_text("broken")
    assert Memory(str(tmp_path)).data == {}
