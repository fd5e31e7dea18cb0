# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose questions are asked on the LAN, whose answers count, and to whom they are passed on. Loopback's addresses play all."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from typing import Any

from jellyfin_ports import hdhomerun
from jellyfin_ports.config import parse
from jellyfin_ports.hdhomerun_service import HdHomeRunFinder
from ports_support import config_text, until

# Tuners have one port, so each process that runs these tests has addresses of its own.
TUNER, OTHER = (str(ipaddress.IPv4Address(first) + os.getpid() % (1 << 22)) for first in ("127.64.0.0", "127.128.0.0"))
REPLY = hdhomerun.encode(hdhomerun.Packet(3, ((1, b"\0\0\0\1"), (2, b"\x12\x34\xab\xcd"), (0x10, b"\2"))))


def bound(address: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(20)
    return sock


class Asking(HdHomeRunFinder):
    """Notes what it would ask on the LAN."""

    def __init__(self, *arguments: Any) -> None:
        self.asked: list[bytes] = []
        super().__init__(*arguments)

    def _ask(self, request: bytes, except_index: int) -> None:
        self.asked.append(request)


def test_exactly_the_configured_server_is_asked_for_and_answered() -> None:
    async def job() -> None:
        heard = bound("127.0.0.1")
        listener = {"enabled": True, "tuners": [TUNER], "relay_for": ["127.0.0.2"]}
        finder = Asking(heard, parse(config_text(lan=["192.168.1.0/24"], listeners={"hdhomerun": listener})))
        finder._disguise = False  # loopback only
        server, stranger = bound("127.0.0.2"), bound("127.0.0.3")
        counters = finder.counters
        for sock, data in (
            (stranger, hdhomerun.discover_request()),
            (server, hdhomerun.discover_request()[:-1] + b"\0"),
            (server, b"noise"),
        ):
            sock.sendto(data, heard.getsockname())
        await until(lambda: counters["not_a_server"] == 1 and counters["malformed"] == 2)
        assert finder.asked == []
        server.sendto(hdhomerun.discover_request(), heard.getsockname())
        await until(lambda: finder.asked)
        assert finder.asked == [hdhomerun.discover_request()]

        tuner, other = bound(TUNER, hdhomerun.PORT), bound(OTHER, hdhomerun.PORT)
        wrong_port = bound(TUNER)
        for sock, data in ((other, REPLY), (wrong_port, REPLY), (tuner, REPLY[:-1] + b"\0"), (tuner, b"")):
            sock.sendto(data, ("127.0.0.1", finder.port))
        await until(lambda: counters["not_a_tuner"] == 2 and counters["malformed"] == 4)
        assert finder.status()["found"] == [] and counters["passed_on"] == 0
        # Its window is as long as a busy machine needs.
        finder._askers = {asker: (index, until_ + 600) for asker, (index, until_) in finder._askers.items()}
        tuner.sendto(REPLY, ("127.0.0.1", finder.port))
        await until(lambda: counters["passed_on"])
        assert [(t["id"], t["address"], t["tuners"]) for t in finder.status()["found"]] == [("1234ABCD", TUNER, 2)]
        assert server.recv(100) == REPLY and counters["passed_on"] == 1
        # Its window is over: what comes later is nobody's.
        finder._askers = {asker: (index, 0.0) for asker, (index, _until) in finder._askers.items()}
        finder.tick()
        tuner.sendto(REPLY, ("127.0.0.1", finder.port))
        tuner.sendto(b"", ("127.0.0.1", finder.port))  # read behind the other
        await until(lambda: counters["malformed"] == 5)
        assert counters["passed_on"] == 1
        # It asks in a loop: it is limited.
        finder.asked.clear()
        for _ in range(40):
            server.sendto(hdhomerun.discover_request(), heard.getsockname())
        await until(lambda: len(finder.asked) + counters["limited"] == 40)
        assert len(finder.asked) <= 20, "10 at once and 5 a second"
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
