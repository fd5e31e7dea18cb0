#!/usr/bin/env python3
"""Requests by a grammar, right ones and wrong ones, in front of all that reads them: nobody disagrees on where one ends.

requests.py [--cases N] [--seed N]                              the relay's parser, and the server's reader behind it
requests.py --cases 10000000 --state FILE [--resume]            the long one: seed, count and result stand in FILE; go on where it ended
requests.py --through LAB [--proxy NAME] --cases N              through a proxy that is deployed on that lab (topology reverse_proxy.toml)

A case is a connection with one to three requests. Where the relay takes one, the server's reader (tests/lab/double/kestrel.py) has to see in what the
relay passes on exactly that request: method, target, length, and what we say of the client; and in what the client sent none that ends elsewhere. Each
block of cases has a seed of its own, so a failure is found again by the seed and the number that it prints. Python 3.9 and python3-aiohttp alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "roles" / "port_binding" / "files"), str(ROOT / "tests" / "lab" / "double")]

import kestrel  # noqa: E402
from jellyfin_ports.relay.head import ChunkedBody, Refusal, RequestReader, render_request  # noqa: E402

BLOCK = 1000
CLIENT = "192.168.1.7"
INNER = b"GET /metrics HTTP/1.1\r\nHost: media\r\nX-Forwarded-For: 192.168.7.7\r\n\r\n"

METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"get",
    b"CONNECT",
    b"TRACE",
    b"G(T",
    b"",
    b"PRI",
    b"FOO",
    b"GET ",
)
TARGETS = (
    b"/x", b"/", b"/a%2fb/c", b"/x?a=b&c", b"/a/../b", b"/a/%2e%2e/b", b"/x#y", b"//x", b"/\xc3\xa4", b"/x y", b"*", b"http://media/x", b"x", b"", b"/x\ty",
    b"/%00", b"/x;y", b"/%", b"/x\\y", b"/metrics", b"/a%2fb/../metrics",
)  # fmt: skip
VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1",
    b"",
    b"HTTP/1.10",
    b"HTTP/01.1",
)
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b"\n\n", b"\x0b\r\n", b" \r\n", b"\x00\r\n")
NAMES = (
    b"Content-Length", b"Transfer-Encoding", b"content-length", b"TRANSFER-ENCODING", b"Content_Length", b"Transfer_Encoding", b"Content-Length ",
    b" Transfer-Encoding", b"Transfer-Encoding\t", b"Content-Length\x00", b"\x0bTransfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"TE", b"Trailer",
    b"Host", b"X-Forwarded-For", b"X", b"", b"X y", b"\xc3\xa4", b"X-Forwarded-Host", b"x-forwarded-proto",
)  # fmt: skip
VALUES = (
    b"", b"0", b"3", b"+3", b"-3", b" 3 ", b"03", b"0x3", b"3,3", b"3, 4", b"99999999999999999999", b"18446744073709551619", b"9223372036854775808",
    b"chunked", b"Chunked", b"chunked,", b",chunked", b"xchunked", b"identity", b"gzip, chunked", b"chunked, gzip", b'"chunked"', b"chunked;q=1",
    b"\x0bchunked", b"chunked\x00", b"close", b"keep-alive", b"Upgrade", b"X-Forwarded-For", b"close, Content-Length", b"websocket", b"h2c",
    b"100-continue", b"trailers", b"media", b"media:80", b"evil@media", b"a\r\n b", b"a\rb", b"a\nb", b"\xff", b"192.168.7.7",
)  # fmt: skip
SIZES = (
    b"0", b"3", b"03", b"0x3", b" 3", b"3 ", b"3;a", b"3;a=\"b\"", b"3;a\nb", b"3;a\rb",
    b"+3", b"-3", b"ffffffff", b"10000000000000003", b"g", b"", b"3\x00", b"3,3",
)  # fmt: skip


def any_of(chance: random.Random, plain: bytes, others: tuple[bytes, ...], odd: float) -> bytes:
    return chance.choice(others) if chance.random() < odd else plain


def chunks(chance: random.Random, odd: float) -> bytes:
    """A chunked body, with a request in it."""
    out = b""
    for _ in range(chance.choice((0, 1, 1, 2))):
        data = chance.choice((b"abc", INNER, b"0\r\n\r\n" + INNER, b"x" * 70))
        size = any_of(chance, b"%x" % len(data), SIZES, odd)
        out += size + any_of(chance, b"\r\n", ENDS, odd) + data + any_of(chance, b"\r\n", ENDS, odd)
    out += any_of(chance, b"0", SIZES, odd / 2) + any_of(chance, b"\r\n", ENDS, odd)
    if chance.random() < 0.3:
        out += any_of(chance, b"X", NAMES, 0.5) + b": " + chance.choice(VALUES) + any_of(chance, b"\r\n", ENDS, odd)
    return out + any_of(chance, b"\r\n", ENDS, odd)


def request(chance: random.Random, host: bytes, extra: bytes = b"") -> bytes:
    """One request; most have one or two oddities, some none."""
    odd = chance.choice((0.0, 0.02, 0.05, 0.1, 0.3))
    method = any_of(chance, chance.choice((b"GET", b"POST", b"POST")), METHODS, odd)
    head = method + any_of(chance, b" ", (b"  ", b"\t", b""), odd / 3) + any_of(chance, b"/x", TARGETS, odd * 2)
    head += any_of(chance, b" ", (b"  ", b"\t", b""), odd / 3) + any_of(chance, b"HTTP/1.1", VERSIONS, odd / 2)
    lines = [head, b"Host: " + host]
    kind, body = chance.randrange(5), b""
    if kind == 1:
        body = chance.choice((b"abc", INNER, b"0\r\n\r\n" + INNER))
        lines.append(
            b"Content-Length: %d" % max(0, len(body) + (chance.choice((-1, 1, 3)) if chance.random() < odd else 0))
        )
    elif kind in (2, 3):
        body = chunks(chance, odd)
        lines.append(
            any_of(chance, b"Transfer-Encoding", NAMES, odd / 2) + b": " + any_of(chance, b"chunked", VALUES, odd)
        )
    elif kind == 4 and chance.random() < odd:
        body = chance.choice((INNER, b"abc", b"0\r\n\r\n"))
    while chance.random() < odd * 2:
        line = chance.choice(NAMES) + any_of(chance, b": ", (b":", b" : ", b"", b"\t:"), odd) + chance.choice(VALUES)
        lines.insert(chance.randrange(1, len(lines) + 1), line)
    if extra:
        lines.append(extra)
    out = b"".join(line + any_of(chance, b"\r\n", ENDS, odd / 4) for line in lines)
    return out + any_of(chance, b"\r\n", ENDS, odd / 4) + body


def connection(chance: random.Random, host: bytes = b"media", mark: str = "") -> bytes:
    """What a client says on one connection."""
    out = b""
    for number in range(chance.choice((1, 1, 2, 3))):
        out += request(chance, host, f"X-Try: {mark}.{number}".encode() if mark else b"")
        if chance.random() < 0.02:
            out += chance.choice((b"\r\n", b"\n", b"\r\n\r\n", b"\x00", INNER))
    return out


class Disagreement(AssertionError):
    pass


class Readers:
    """The relay's parser as the relay uses it (relay/client.py, _next), and the server's reader behind it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.taken = self.refused = 0

    def close(self) -> None:
        self.loop.close()

    def check(self, data: bytes) -> None:
        reader = RequestReader(self.loop)
        while True:
            while data.startswith(b"\r\n"):
                data = data[2:]
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or not 65 <= data[0] <= 122:
                return
            head, data = data[:end], data[end:]
            try:
                request = reader.read(head)
            except Refusal:
                self.refused += 1
                return
            self.taken += 1
            self._same(request, head)
            if request.chunked:
                return self._chunked(request, data)
            data = data[request.length :]
            if not request.keep_alive or request.websocket:
                return

    def _same(self, request: Any, head: bytes) -> None:
        length = None if request.chunked else request.length
        direct = kestrel.read_head(head)
        if direct.status == 200 and (direct.method, direct.length) != (request.method, length):
            raise Disagreement(
                f"the relay reads {request.method!r} with {length} bytes, the server {direct.method!r} with {direct.length}"
            )
        passed = render_request(request, CLIENT, "http", request.host or b"media")
        if passed.count(b"\r\n\r\n") != 1 or not passed.endswith(b"\r\n\r\n"):
            raise Disagreement(f"the relay passes on more than one head: {passed!r}")
        seen = kestrel.read_head(passed)
        if seen.reading.status != 200 or not seen.fields:
            return  # the server refuses it as a whole, and nothing follows
        if (seen.method, seen.reading.raw.encode(), seen.length) != (request.method, request.target, length):
            raise Disagreement(
                f"the relay passes on {length} bytes as what the server reads as {seen.length}: {passed!r}"
            )
        if seen.values(b"x-forwarded-for") != [CLIENT.encode()] or seen.values(b"x-forwarded-proto") != [b"http"]:
            raise Disagreement(f"the client is not who it is: {passed!r}")

    @staticmethod
    def _chunked(request: Any, data: bytes) -> None:
        body = ChunkedBody(request.parser)
        try:
            decoded = body.feed(data)
        except ValueError:
            return
        direct = kestrel.read_chunked(data)
        if body.done and direct.status == 200 and decoded != direct.data:
            raise Disagreement(f"the relay decodes {decoded!r}, the server {direct.data!r}")
        if body.done and direct.status == 0:
            raise Disagreement("the relay sees the end of a body that the server still waits for")


def block(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed} {number}")


def run(cases: int, seed: int, begin: int = 0, state: Path | None = None) -> tuple[int, int]:
    """Cases from `begin` on; how many requests the relay took and refused."""
    readers = Readers()
    begun, case = time.monotonic(), begin
    while case < cases:
        chance = block(seed, case // BLOCK)
        for _ in range(min(BLOCK, cases - case)):
            data = connection(chance)
            try:
                readers.check(data)
            except BaseException as problem:
                note(state, seed, case, cases, f"case {case}: {problem}; input {data!r}")
                print(f"seed {seed}, case {case}: {problem}\ninput {data!r}", file=sys.stderr)
                raise
            case += 1
        if case % 100_000 == 0:
            note(state, seed, case, cases, "no disagreement so far")
        if case % 1_000_000 == 0:
            print(f"{case:,} cases, {time.monotonic() - begun:.0f} s", flush=True)
    readers.close()
    note(state, seed, case, cases, "no disagreement")
    return readers.taken, readers.refused


def note(state: Path | None, seed: int, count: int, cases: int, result: str) -> None:
    if state is not None:
        fresh = state.with_suffix(".new")
        fresh.write_text(json.dumps({"seed": seed, "count": count, "cases": cases, "result": result}) + "\n")
        os.replace(fresh, state)


def through(lab: str, proxy: str, cases: int, seed: int) -> int:
    """Through a proxy that is deployed; its suite does the same (tests/integration/test_requests.py)."""
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    import attacking
    import reverse_proxy_edge

    edge = reverse_proxy_edge.Edge(lab)
    edge.proxy = proxy
    attacking.prepare(edge)
    found = 0
    for begin in range(0, cases, 5000):
        chance = block(seed, begin)
        tries = attacking.connections(chance, connection, reverse_proxy_edge.MEDIA, min(5000, cases - begin))
        seen = attacking.attack(edge, reverse_proxy_edge.MEDIA, "1.1", tries)
        wrong = attacking.disagreements(seen, edge.wan.address, reverse_proxy_edge.MEDIA)
        print(
            f"{begin + len(tries):,} connections, {seen.counts()}; wrong: {len(wrong)}",
            *wrong[:20],
            sep="\n",
            flush=True,
        )
        found += len(wrong)
    attacking.done_with(edge)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--state", type=Path, default=None)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--through", metavar="LAB", default="")
    parser.add_argument("--proxy", default="proxy")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    if options.through:
        return through(options.through, options.proxy, options.cases, seed)
    begin = 0
    if options.resume:
        known = json.loads(options.state.read_text())
        seed, begin = known["seed"], known["count"] // BLOCK * BLOCK
    begun = time.monotonic()
    taken, refused = run(options.cases, seed, begin, options.state)
    said = f"{options.cases - begin:,} connections in {time.monotonic() - begun:.0f} s, seed {seed}"
    print(f"{said}: {taken:,} requests taken by the relay, {refused:,} refused, no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
