# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose questions are asked on the LAN, whose answers count, and to whom they are passed on. Loopback's addresses play all."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from jellyfin_ports import hdhomerun
from jellyfin_ports.config import parse
from jellyfin_ports.hdhomerun_service import HdHomeRunFinder
from ports_support import config_text

REPLY = hdhomerun.encode(hdhomerun.Packet(3, ((1, b"\0\0\0\1"), (2, b"\x12\x34\xab\xcd"), (0x10, b"\2"))))


def bound(address: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(1)
    return sock


class Asking(HdHomeRunFinder):
    """Notes what it would ask on the LAN."""

    def __init__(self, *arguments: Any) -> None:
        self.asked: list[bytes] = []
        super().__init__(*arguments)

    def _ask(self, request: bytes, except_index: int) -> None:
        self.asked.append(request)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0.02)


def test_exactly_the_configured_server_is_asked_for_and_answered() -> None:
    async def job() -> None:
        heard = bound("127.0.0.1")
        listener = {"enabled": True, "tuners": ["127.0.0.9"], "relay_for": ["127.0.0.2"]}
        finder = Asking(heard, parse(config_text(lan=["192.168.1.0/24"], listeners={"hdhomerun": listener})))
        finder._disguise = False  # loopback only
        server, stranger = bound("127.0.0.2"), bound("127.0.0.3")
        for sock, data in (
            (stranger, hdhomerun.discover_request()),
            (server, hdhomerun.discover_request()[:-1] + b"\0"),
            (server, b"noise"),
        ):
            sock.sendto(data, heard.getsockname())
            await settled()
        assert finder.asked == [] and finder.counters["not_a_server"] == 1 and finder.counters["malformed"] == 2
        server.sendto(hdhomerun.discover_request(), heard.getsockname())
        await settled()
        assert finder.asked == [hdhomerun.discover_request()]

        tuner, other = bound("127.0.0.9", hdhomerun.PORT), bound("127.0.0.8", hdhomerun.PORT)
        wrong_port = bound("127.0.0.9")
        for sock, data in ((other, REPLY), (wrong_port, REPLY), (tuner, REPLY[:-1] + b"\0"), (tuner, b"")):
            sock.sendto(data, ("127.0.0.1", finder.port))
            await settled()
        assert finder.status()["found"] == [] and finder.counters["passed_on"] == 0
        assert finder.counters["not_a_tuner"] == 2 and finder.counters["malformed"] == 4
        tuner.sendto(REPLY, ("127.0.0.1", finder.port))
        await settled()
        assert [(t["id"], t["address"], t["tuners"]) for t in finder.status()["found"]] == [
            ("1234ABCD", "127.0.0.9", 2)
        ]
        assert server.recv(100) == REPLY and finder.counters["passed_on"] == 1
        # Its window is over: what comes later is nobody's.
        finder._askers = {asker: (index, 0.0) for asker, (index, _until) in finder._askers.items()}
        finder.tick()
        tuner.sendto(REPLY, ("127.0.0.1", finder.port))
        await settled()
        assert finder.counters["passed_on"] == 1
        # It asks in a loop: it is limited.
        finder.asked.clear()
        for _ in range(40):
            server.sendto(hdhomerun.discover_request(), heard.getsockname())
        await settled()
        assert len(finder.asked) <= 10 and finder.counters["limited"] >= 30
        finder.stop()
        asyncio.get_running_loop().remove_reader(heard.fileno())
        for sock in (heard, server, stranger, tuner, other, wrong_port):
            sock.close()

    asyncio.run(asyncio.wait_for(job(), 20))


def test_the_port_is_a_random_one_of_its_own() -> None:
    async def job() -> None:
        config = parse(config_text(listeners={"hdhomerun": {"enabled": True}}))
        finders = [Asking(None, config) for _ in range(5)]
        ports = {finder.port for finder in finders}
        assert len(ports) == 5 and not ports & {0, hdhomerun.PORT}
        for finder in finders:
            finder.tick()
            assert finder.asked == [hdhomerun.discover_request()]  # at once
            finder.stop()

    asyncio.run(asyncio.wait_for(job(), 20))
