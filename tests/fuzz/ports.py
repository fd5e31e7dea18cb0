#!/usr/bin/env python3
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throws malformed and random datagrams and HTTP at everything in jellyfin-ports that reads from the network.

    python3 tests/fuzz/ports.py --cases 10000000 [--seed N] [--only NAME]

Each case is a mutation of a right message, or noise. Nothing may crash (only the documented refusals), nothing may be answered that should not be,
and memory may not grow. Runs on Python 3.9 and python3-aiohttp alone; a failure prints seed and input. At about 20,000
cases a second 10 million take some ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "roles" / "port_binding" / "files"))

from jellyfin_ports import hdhomerun, ssdp
from jellyfin_ports.addresses import Networks, resolve_client
from jellyfin_ports.client_discovery import Identity, is_question, parse_identity, render_reply
from jellyfin_ports.interfaces import parse_messages
from jellyfin_ports.relay.head import (
    ChunkedBody,
    Refusal,
    RequestReader,
    read_response,
    render_request,
    render_response,
)

SEARCH = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n'
REQUEST = (
    b"POST /a?b HTTP/1.1\r\nHost: media\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nX-Forwarded-For: 6.6.6.6\r\nExpect: 100-continue\r\n\r\n"
)
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX: y\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"
IDENTITY = (
    b'{"ServerName":"m","Version":"10.11.0","ProductName":"Jellyfin Server","Id":"0123456789abcdef0123456789abcdef"}'
)
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"chunked", b"Content-Length: ", b"Transfer-Encoding: ", b"Host: a\r\n",
    b"HTTP/1.1", b"0\r\n\r\n", b"\xff", b"\x0b", b"-1", b"0x1", b"9" * 25, b"who is JellyfinServer?", b'"', b"{", b"}", b"uuid:", b"urn:",
    b"ssdp:all", b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"Connection: X-Forwarded-For\r\n", b"\xed\xa0\x80", b"\\ud800",
]  # fmt: skip
KNOWN_REPLY = hdhomerun.encode(hdhomerun.Packet(3, ((1, b"\0\0\0\1"), (2, b"\x12\x34\xab\xcd"), (0x10, b"\2"))))
TRUSTED = Networks(["10.0.0.0/8"])


def mutated(chance: random.Random, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        kind, at = chance.randrange(6), chance.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.choice(PIECES)
        elif kind == 2:
            del data[at : at + chance.choice((1, 2, 10))]
        elif kind == 3:
            end = min(len(data), at + chance.randrange(40))
            data[at:at] = data[at:end]
        elif kind == 4:
            data[at:at] = chance.randbytes(chance.randrange(8))
        else:
            lines = bytes(data).split(b"\r\n")
            chance.shuffle(lines)
            data = bytearray(b"\r\n".join(lines))
    return bytes(data)


class Targets:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reader = RequestReader(loop)
        self.device = ssdp.own_device(Identity("0" * 32, "m"), 8096)

    def question(self, data: bytes) -> None:
        if is_question(data):
            assert b"who is jellyfinserver?" in data.lower()
        reply = render_reply("http://192.168.1.2:8096", "0" * 32, data.decode("utf-8", "replace"))
        assert len(reply) <= 1024 and reply.endswith(b'"EndpointAddress":null}')

    def search(self, data: bytes) -> None:
        found = ssdp.parse_search(data, True)
        if found is not None:
            assert data.startswith(b"M-SEARCH * HTTP/1.1\r\n") and 1 <= found.wait <= 5
            for st, usn in self.device.matches(found.target):
                answer = ssdp.render_response(self.device, st, usn, "192.168.1.2", ssdp.Boot(1), 0)
                assert answer.count(b"\r\n\r\n") == 1 and answer.count(b"\r\n") == 11

    def tuner(self, data: bytes) -> None:
        with contextlib.suppress(ValueError):
            hdhomerun.parse_reply(data, "192.168.1.9")

    def request(self, data: bytes) -> None:
        try:
            request = self.reader.read(data)
        except Refusal:
            return
        out = render_request(request, "192.168.1.7", "http", request.host or b"m")
        assert out.count(b"\r\n\r\n") == 1
        again = RequestReader(self.loop).read(out)
        assert (again.method, again.target, again.length, again.chunked) == (
            request.method, request.target, request.length, request.chunked,
        )  # fmt: skip
        assert again.values(b"x-forwarded-for") == ["192.168.1.7"]

    def response(self, data: bytes) -> None:
        try:
            response = read_response(data, self.loop)
        except ValueError:
            return
        out = render_response(response, b"", True)
        assert out.count(b"\r\n\r\n") == 1 and (response.length is None or not response.chunked)

    def chunks(self, data: bytes) -> None:
        body = ChunkedBody(self.reader.read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").parser)
        try:
            for start in range(0, len(data), 7):
                assert len(body.feed(data[start : start + 7])) <= len(data)
        except ValueError:
            pass

    def identity(self, data: bytes) -> None:
        try:
            found = parse_identity(data)
        except ValueError:
            return
        found.name.encode("utf-8")
        assert len(found.id) == 32

    def forwarded(self, data: bytes) -> None:
        resolve_client("10.0.0.1", [data.decode("latin-1")], TRUSTED)
        assert resolve_client("192.0.2.1", [data.decode("latin-1")], TRUSTED) == "192.0.2.1"

    def netlink(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            parse_messages(data, {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    loop = asyncio.new_event_loop()
    targets = Targets(loop)
    aims: list[tuple[str, Callable[[bytes], None], bytes]] = [
        ("question", targets.question, b"who is JellyfinServer?"),
        ("search", targets.search, SEARCH),
        ("tuner", targets.tuner, KNOWN_REPLY),
        ("request", targets.request, REQUEST.replace(b"Content-Length: 5\r\n", b"")),
        ("request", targets.request, REQUEST.replace(b"Transfer-Encoding: chunked\r\n", b"")),
        ("response", targets.response, RESPONSE.replace(b"Content-Length: 5\r\n", b"")),
        ("response", targets.response, RESPONSE.replace(b"Transfer-Encoding: chunked\r\n", b"")),
        ("chunks", targets.chunks, CHUNKS),
        ("identity", targets.identity, IDENTITY),
        ("forwarded", targets.forwarded, b"1.2.3.4, 10.0.0.2, [2001:db8::1]:443"),
        ("netlink", targets.netlink, bytes.fromhex("20000000140000000100000000000000") + bytes(16)),
    ]
    aims = [aim for aim in aims if not options.only or aim[0] == options.only]
    begun = time.monotonic()
    settled = 0
    for case in range(options.cases):
        name, aim, message = aims[case % len(aims)]
        data = chance.randbytes(chance.randrange(200)) if chance.random() < 0.1 else mutated(chance, message)
        try:
            aim(data)
        except BaseException:
            print(f"{name}: seed {seed}, case {case}, input {data!r}", file=sys.stderr)
            raise
        if case == min(100_000, options.cases // 4):
            settled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if case % 1_000_000 == 999_999:
            print(f"{case + 1:,} cases, {time.monotonic() - begun:.0f} s", flush=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled) / 1024
    seconds = time.monotonic() - begun
    print(f"{options.cases:,} cases in {seconds:.0f} s, seed {seed}: nothing crashed, memory grew by {grown:.1f} MB")
    loop.close()
    return 0 if grown < 8 else 1


if __name__ == "__main__":
    sys.exit(main())
