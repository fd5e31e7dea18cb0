# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay itself on loopback, before a server that does what each test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as request_rules
from jellyfin_ports.config import parse
from jellyfin_ports.relay import names as relay_names
from jellyfin_ports.relay import server as relay_server
from jellyfin_ports.relay.names import LanNames
from loopback import kept_port
from ports_support import Setting, config_text, info_body, read_head, relay_before, until

Job = Callable[[], Awaitable[None]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(job: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(job, 60))  # type: ignore[arg-type]


GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers any number of requests with their own heads."""
    while True:
        head = await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


def test_one_connection_many_requests_also_pipelined() -> None:
    async def job() -> None:
        async with relay_before(hello) as setting:
            out = await setting.talk(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert out.count(b"HTTP/1.1 200 OK") == 3
            assert out.index(b"GET /1") < out.index(b"GET /2") < out.index(b"GET /x")
            assert b"X-Forwarded-For: 127.0.0.1\r\n" in out

    run(job())


def test_not_lan_is_refused_and_told_why_only_when_near() -> None:
    async def job() -> None:
        async with relay_before(hello, lan=["192.168.1.0/24"]) as setting:
            out = await setting.talk(GET)
            assert out.startswith(b"HTTP/1.1 403 ") and b"jellyfin_lan" in out and b"GET /x" not in out
            assert setting.relay.counters["refused_not_lan"] == 1
            assert not setting.relay.admits("203.0.113.5") and not setting.relay.admits("2001:db8::1")

    run(job())


def test_a_trusted_proxys_word_decides() -> None:
    async def job() -> None:
        async with relay_before(hello, lan=["192.168.1.0/24"], trusted_proxies=["127.0.0.1/32"]) as setting:
            inside = await setting.talk(
                GET[:-2] + b"X-Forwarded-For: 6.6.6.6, 192.168.1.9\r\nX-Forwarded-Proto: https\r\n\r\n"
            )
            assert b"X-Forwarded-For: 192.168.1.9\r\n" in inside and b"6.6.6.6" not in inside
            assert b"X-Forwarded-Proto: https\r\n" in inside
            outside = await setting.talk(GET[:-2] + b"X-Forwarded-For: 192.168.1.9, 203.0.113.5\r\n\r\n")
            assert outside.startswith(b"HTTP/1.1 403 ")

    run(job())


def test_no_server_is_said_honestly() -> None:
    async def job() -> None:
        async with relay_before(hello, upstreams=[]) as setting:
            for path in (b"/", b"/health", b"/System/Info/Public"):
                out = await setting.talk(GET.replace(b"/x", path))
                assert out.startswith(b"HTTP/1.1 503 ") and b"stand-in" in out
                assert b"Healthy" not in out and b'Jellyfin Server"' not in out

    run(job())


def test_a_server_that_is_down_is_said_at_once_and_taken_up_again() -> None:
    async def job() -> None:
        async with relay_before(hello) as setting:
            port = setting.origin.sockets[0].getsockname()[1]
            setting.origin.close()
            out = await setting.talk(GET)
            assert out.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 5" in out
            again = await asyncio.start_server(hello, "127.0.0.1", port)
            assert (await setting.talk(GET)).startswith(b"HTTP/1.1 200 ")
            again.close()

    run(job())


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_bodies_arrive_whole(size: int, framing: str, version: str) -> None:
    body = random.Random(size).randbytes(size)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if framing == "length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)
        elif framing == "close":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 70_001):
                part = body[start : start + 70_001]
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            writer.write(b"0\r\nTrailer: x\r\n\r\n")
        await writer.drain()

    async def job() -> None:
        async with relay_before(serve) as setting:
            out = await setting.talk(GET.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
            head, _, rest = out.partition(b"\r\n\r\n")
            if b"Transfer-Encoding: chunked" in head:
                assert version == "1.1"
                rest = unchunk(rest)
            assert rest == body

    run(job())


def unchunk(data: bytes) -> bytes:
    out = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert data == b"\r\n"
            return out
        out, data = out + data[:length], data[length + 2 :]


@pytest.mark.parametrize("size", [5, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_arrive_whole_behind_expect(size: int, chunked: bool) -> None:
    body = random.Random(size).randbytes(size)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"chunked" in head:
            out = b""
            while not out.endswith(b"0\r\n\r\n"):
                out += await reader.read(65536)
            seen.append(unchunk(out))
        else:
            seen.append(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def job() -> None:
        async with relay_before(serve) as setting:
            reader, writer = await setting.connect()
            how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
            writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + how + b"\r\n\r\n")
            assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body)
            assert (await read_head(reader)).startswith(b"HTTP/1.1 204 ")
            assert seen == [body]
            writer.close()

    run(job())


def test_head_and_304_have_no_body() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            status = b"304 Not Modified" if b"/304" in head else b"200 OK"
            body = b"" if head.startswith(b"HEAD") or b"/304" in head else b"hello"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n" + body)

    async def job() -> None:
        async with relay_before(serve) as setting:
            out = await setting.talk(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert out.count(b"Content-Length: 5") == 3 and out.count(b"hello") == 1 and out.endswith(b"hello")

    run(job())


def test_websocket_bytes_pass_unmodified_both_ways() -> None:
    sent, back = random.Random(1).randbytes(300_000), random.Random(2).randbytes(300_000)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert (
            b"Upgrade: websocket" in head and b"Connection: Upgrade" in head and b"Sec-WebSocket-Protocol: any" in head
        )
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: k\r\n\r\nfirst"
        )
        seen.append(await reader.readexactly(len(sent)))
        writer.write(back)
        await writer.drain()

    async def job() -> None:
        async with relay_before(serve) as setting:
            reader, writer = await setting.connect()
            writer.write(
                b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: any\r\n\r\n"
            )
            head = await read_head(reader)
            assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: k" in head
            assert await reader.readexactly(5) == b"first"
            writer.write(sent)
            assert await reader.readexactly(len(back)) == back
            assert await reader.read() == b""  # the server's end is seen
            assert seen == [sent]
            writer.close()

    run(job())


def test_a_refused_websocket_is_an_ordinary_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    async def job() -> None:
        async with relay_before(serve) as setting:
            out = await setting.talk(GET[:-4].replace(b"close", b"Upgrade, close") + b"\r\nUpgrade: websocket\r\n\r\n")
            assert out.startswith(b"HTTP/1.1 403 ") and out.endswith(b"no")

    run(job())


def test_a_protocol_switch_that_nobody_asked_for_is_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\nsmuggled")

    async def job() -> None:
        async with relay_before(serve) as setting:
            out = await setting.talk(GET)
            assert out.startswith(b"HTTP/1.1 502 ") and b"smuggled" not in out

    run(job())


@pytest.mark.parametrize("sized", ["length", "chunked", "close"])
@pytest.mark.parametrize("amount", [10, 2_000_000])
def test_an_answer_that_breaks_off_is_visible(sized: str, amount: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if sized == "length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * amount)
        elif sized == "chunked":
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % amount + b"x" * amount + b"\r\n"
            )
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * amount)
        await writer.drain()
        await asyncio.sleep(0.1)
        if sized == "close":  # only a reset tells such an end from the right one
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    async def job() -> None:
        async with relay_before(serve) as setting:
            out = await setting.talk(GET)
            if sized == "length":
                assert len(out.partition(b"\r\n\r\n")[2]) == amount < 9_000_000
            else:
                assert not out.endswith(b"0\r\n\r\n")
            assert setting.relay.counters["truncated"] == 1

    run(job())


def test_no_answer_and_nonsense_are_502() -> None:
    answers = [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"x" * 70_000,
    ]

    async def job() -> None:
        for answer in answers:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
                await read_head(reader)
                writer.write(answer)

            async with relay_before(serve) as setting:
                assert (await setting.talk(GET)).startswith(b"HTTP/1.1 502 "), answer[:20]

    run(job())


def test_a_stale_connection_is_not_the_clients_problem() -> None:
    """The server closes an idle connection just as we use it again."""
    served: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        served.append(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with contextlib.suppress(asyncio.IncompleteReadError):
            await read_head(reader)  # the second request on this connection gets no answer

    async def job() -> None:
        async with relay_before(serve) as setting:
            for _ in range(4):
                assert (await setting.talk(GET)).endswith(b"ok")
            assert len(served) == 4

    run(job())


def test_a_post_is_never_sent_twice() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        heads.append(await read_head(reader))

    async def job() -> None:
        async with relay_before(serve) as setting:
            assert (await setting.talk(GET)).endswith(b"ok")
            out = await setting.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            assert out.startswith(b"HTTP/1.1 502 ")
            assert sum(h.startswith(b"POST") for h in heads) == 1

    run(job())


@pytest.mark.parametrize("amount", [2, 3_000_000])
def test_a_half_closed_client_gets_its_answer(amount: int) -> None:
    async def job() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            await asyncio.sleep(0.3)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % amount + b"x" * amount)
            await writer.drain()

        async with relay_before(serve) as setting:
            reader, writer = await setting.connect()
            writer.write(GET.replace(b"Connection: close\r\n", b""))
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 20)
            assert answer.endswith(b"\r\n\r\n" + b"x" * amount)
            writer.close()

    run(job())


@pytest.mark.parametrize("amount", [0, 5_000_000_000])
def test_a_client_that_leaves_stops_the_server(amount: int) -> None:
    """Before the first byte of the answer, and in the midst of a stream."""

    async def job() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            asked.set()
            try:
                if amount:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % amount)
                    while True:
                        writer.write(b"x" * 65536)
                        await writer.drain()
                else:
                    assert await reader.read(1) == b""
            finally:
                gone.set()

        async with relay_before(serve) as setting:
            reader, writer = await setting.connect()
            writer.write(GET)
            await (reader.readexactly(3_000_000) if amount else asked.wait())
            writer.transport.abort() if amount else writer.close()
            await asyncio.wait_for(gone.wait(), 20)

    run(job())


def test_smuggled_requests_never_reach_the_server() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            heads.append(head)
            if b"chunked" in head:
                while await reader.readuntil(b"\r\n") != b"0\r\n":
                    pass
                await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    attempts = [
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc" + inner,
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + inner,
        b"POST /4 HTTP/1.1\r\nHost: a\r\nX: y\n Content-Length: 0\r\n\r\n" + inner,
        b"POST /5 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner,
        b"GET /6 HTTP/1.1\nHost: a\n\n" + inner,
        b"GET /7 HTTP/1.1\r\nHost: a\r\nFoo : bar\r\n\r\n" + inner,
        b"POST /8 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \nhello\r\n0\r\n\r\n" + inner,
        # A right chunked body: what stands behind it is not looked at, and the connection ends.
        b"POST /9 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + inner + b"\r\n\r\n" + inner,
    ]  # fmt: skip

    async def job() -> None:
        async with relay_before(serve) as setting:
            for attempt in attempts:
                await setting.talk(attempt)
            assert not any(b"smuggled" in head.split(b"\r\n")[0] for head in heads), heads

    run(job())


SLOW = {
    "a connection that says nothing": (b"", "head_seconds"),
    "a head that never ends": (b"GET / HTTP/1.1\r\nHost: a\r\n", "head_seconds"),
    "a body that does not come": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", "body_seconds"),
    "idle after a request": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "idle_seconds"),
}


@pytest.mark.parametrize("what", SLOW)
def test_slow_clients_are_left(what: str) -> None:
    data, limit = SLOW[what]

    async def job() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (await read_head(reader)).startswith(b"POST"):
                await reader.readexactly(9)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

        async with relay_before(serve, limits={limit: 0.3}) as setting:
            begun = asyncio.get_running_loop().time()
            reader, writer = await setting.connect()
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 12)  # the least of the limits by default is 15 s
            assert asyncio.get_running_loop().time() - begun > 0.3
            writer.close()

    run(job())


def test_a_trickled_upload_is_left_although_it_moves() -> None:
    async def job() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            await reader.readexactly(100_000)

        async with relay_before(serve, limits={"body_seconds": 0.5}) as setting:
            reader, writer = await setting.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            answer = asyncio.ensure_future(reader.read())
            with contextlib.suppress(ConnectionError):
                for _ in range(40):
                    writer.write(b"x")
                    await asyncio.sleep(0.1)
                    if answer.done():
                        break
            assert answer.done()
            writer.close()

    run(job())


@pytest.mark.parametrize("silent", [True, False])
def test_a_server_that_does_not_answer_is_left(silent: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if not silent:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        await asyncio.Event().wait()

    async def job() -> None:
        async with relay_before(serve, limits={"response_seconds": 0.3}) as setting:
            out = await setting.talk(GET)
            assert out.startswith(b"HTTP/1.1 504 " if silent else b"HTTP/1.1 200 ")

    run(job())


@pytest.mark.parametrize("bulk", [True, False])
def test_a_client_that_reads_nothing_costs_little_and_is_left(bulk: bool) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def job() -> None:
        async with relay_before(serve, limits={"stall_seconds": 0.5}) as setting:
            setting.relay.use_bulk = bulk
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", setting.port))
            await loop.sock_sendall(sock, GET)
            await until(lambda: sent)
            await until(lambda: setting.relay.status()["connections"] == 0)
            assert sent < 32_000_000
            sock.close()

    run(job())


def test_too_many_connections_are_turned_away_and_room_comes_back() -> None:
    async def job() -> None:
        async with relay_before(hello, limits={"connections": 5}) as setting:
            held = [await setting.connect() for _ in range(5)]
            await until(lambda: setting.relay.status()["connections"] == 5)
            with contextlib.suppress(ConnectionResetError):  # at once, or with the first byte
                assert await setting.talk(GET) == b""
            held[0][1].close()
            await until(lambda: setting.relay.status()["connections"] == 4)
            assert (await setting.talk(GET)).startswith(b"HTTP/1.1 200 ")
            for _, writer in held:
                writer.close()

    run(job())


def test_several_servers_by_host() -> None:
    async def job() -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await read_head(reader):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")

        second = await asyncio.start_server(other, "127.0.0.1", 0)
        first = await asyncio.start_server(hello, "127.0.0.1", 0)
        ports = [s.sockets[0].getsockname()[1] for s in (first, second)]
        upstreams = [
            {"name": "one", "url": f"http://127.0.0.1:{ports[0]}", "domains": ["one.example.org"]},
            {"name": "two", "url": f"http://127.0.0.1:{ports[1]}", "domains": ["two.example.org"]},
        ]
        async with relay_before(hello, upstreams=upstreams) as setting:
            for host, server in (
                (b"two.example.org", b"other"),
                (b"TWO.example.org:8096", b"other"),
                (b"192.168.1.2:8096", b"GET /x"),
            ):
                assert server in await setting.talk(GET.replace(b"Host: a", b"Host: " + host))
        first.close()
        second.close()

    run(job())


def test_the_description_of_a_busy_server_is_served_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        from jellyfin_ports import probe
        from jellyfin_ports.client_discovery import parse_identity
        from jellyfin_ports.relay import descriptions
        from jellyfin_ports.ssdp import own_paths, own_uuid

        monkeypatch.setattr(descriptions, "_FRESH_SECONDS", -1.0)
        monkeypatch.setattr(descriptions, "_AGAIN_SECONDS", -1.0)
        known = parse_identity(info_body())
        slow, gone = probe.Answer(None, "no answer within 2 s", slow=True), probe.Answer(None, "no connection")
        listeners = {"http": {"enabled": True, "port": 8096}, "ssdp": {"enabled": True}}
        async with relay_before(hello, listeners=listeners) as setting:
            setting.relay.set_descriptions(descriptions.Descriptions(setting.relay.loop, setting.relay.config))
            page = GET.replace(b"/x", own_paths(own_uuid(known))[0].encode())
            for said, status in ((slow, 503), (probe.Answer(known), 200), (slow, 200), (gone, 503)):
                monkeypatch.setattr(probe, "ask", lambda *_, said=said: said)
                assert (await setting.talk(page)).startswith(b"HTTP/1.1 %d " % status), said

    run(job())


def test_a_server_that_is_down_is_asked_once_however_many_want_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        from jellyfin_ports import probe
        from jellyfin_ports.relay import descriptions

        asked = 0
        answer = threading.Event()

        def down(*_: object) -> probe.Answer:
            nonlocal asked
            asked += 1
            answer.wait(30)
            return probe.Answer(None, "no connection")

        monkeypatch.setattr(probe, "ask", down)
        monkeypatch.setattr(descriptions, "_AGAIN_SECONDS", 60.0)
        listeners = {"http": {"enabled": True, "port": 8096}, "ssdp": {"enabled": True}}
        async with relay_before(hello, listeners=listeners) as setting:
            setting.relay.set_descriptions(descriptions.Descriptions(setting.relay.loop, setting.relay.config))
            page = GET.replace(b"/x", b"/.well-known/jellyfin-ports/x/description.xml")
            gone = await setting.connect()
            gone[1].write(page)
            waiting = [asyncio.ensure_future(setting.talk(page)) for _ in range(40)]
            await until(lambda: setting.relay.status()["connections"] == 41 and asked)
            gone[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            gone[1].transport.abort()  # who asked first does not wait; the others get their answer all the same
            await until(lambda: setting.relay.status()["connections"] == 40)
            answer.set()
            assert all(out.startswith(b"HTTP/1.1 503 ") for out in await asyncio.gather(*waiting))
            assert (await setting.talk(page)).startswith(b"HTTP/1.1 503 ")
            assert asked == 1

    run(job())


def test_the_description_is_served() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        body = b"Healthy" if b"/health" in head else info_body()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def job() -> None:
        from jellyfin_ports.client_discovery import parse_identity
        from jellyfin_ports.relay.descriptions import Descriptions
        from jellyfin_ports.ssdp import own_paths, own_uuid

        listeners = {"http": {"enabled": True, "port": 8096}, "ssdp": {"enabled": True}}
        async with relay_before(serve, listeners=listeners) as setting:
            setting.relay.set_descriptions(Descriptions(setting.relay.loop, setting.relay.config))
            description, icon = (p.encode() for p in own_paths(own_uuid(parse_identity(info_body()))))
            out = await setting.talk(GET.replace(b"/x", description))
            assert out.startswith(b"HTTP/1.1 200 ") and b"<manufacturer>Jellyfin</manufacturer>" in out
            assert b"\x89PNG" in await setting.talk(GET.replace(b"/x", icon))
            assert (await setting.talk(GET.replace(b"/x", description + b"x"))).startswith(b"HTTP/1.1 404 ")
            assert (await setting.talk(GET.replace(b"GET /x", b"POST " + description))).startswith(b"HTTP/1.1 405 ")

    run(job())


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    import subprocess

    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


def test_https_and_a_new_certificate_without_dropping_anything(tmp_path: Path) -> None:
    from jellyfin_ports.config import parse
    from jellyfin_ports.relay.server import Relay
    from ports_support import config_text

    pairs = [make_certificate(tmp_path, name) for name in ("media.example.org", "other.example.org")]
    (tmp_path / "door").mkdir()
    files = [tmp_path / "door" / "fullchain.pem", tmp_path / "door" / "privkey.pem"]

    def place(number: int) -> None:
        for source, target in zip(pairs[number], files):
            target.write_bytes(source.read_bytes())

    def served(sock_port: int) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", sock_port)) as raw,
            context.wrap_socket(raw, server_hostname="x") as tls,
        ):
            assert tls.version() in ("TLSv1.2", "TLSv1.3")
            return tls.getpeercert(True) or b""

    async def job() -> None:
        place(0)
        https = {
            "enabled": True,
            "certificates": [{"fullchain": str(files[0]), "privkey": str(files[1])}],
            "tls": {"minimum": "TLSv1.2", "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
        }
        origin = await asyncio.start_server(hello, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
        relay = Relay(parse(config_text(lan=["127.0.0.0/8"], upstreams=[{"url": url}], listeners={"https": https})))
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        relay.listen("https", listener)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await read_head(reader)
        await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        loop = asyncio.get_running_loop()
        old = await loop.run_in_executor(None, served, port)
        assert not relay.contexts.outdated()  # type: ignore[union-attr]
        place(1)
        assert relay.contexts.outdated()  # type: ignore[union-attr]
        relay.reload_certificates()
        assert await loop.run_in_executor(None, served, port) != old
        writer.write(GET)  # the old connection lives on
        out = await asyncio.wait_for(reader.read(), 20)
        assert out.startswith(b"HTTP/1.1 200 ") and b"X-Forwarded-Proto: https" in out
        writer.close()
        files[1].write_text("broken")
        new = await loop.run_in_executor(None, served, port)
        relay.reload_certificates()
        assert await loop.run_in_executor(None, served, port) == new  # what was good is served on
        await relay.drain(0.1)
        listener.close()
        origin.close()

    run(job())


def test_a_new_configuration_cuts_nothing_off() -> None:
    from jellyfin_ports.config import parse
    from ports_support import config_text

    async def job() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            asked.set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await go.wait()
            writer.write(b"cd")

        async with relay_before(serve) as setting:
            answer = asyncio.ensure_future(setting.talk(GET))
            await asked.wait()
            setting.relay.configure(parse(config_text(lan=["192.168.1.0/24"], upstreams=[])))
            assert (await setting.talk(GET)).startswith(b"HTTP/1.1 403 ")
            go.set()
            assert (await answer).endswith(b"abcd")

    run(job())


async def accepted_at_this_moment(setting: Setting) -> Connection:
    listening = setting.relay.listening["http"]
    listening.pause()
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(GET)
    listening._accept()
    return reader, writer


async def with_nothing_read_yet(setting: Setting) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    await until(lambda: setting.relay.status()["connections"])
    asyncio.get_running_loop().call_later(0.2, writer.write, GET)
    return reader, writer


async def in_the_middle_of_a_head(setting: Setting) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(GET[:-2])
    await until(lambda: any(client._buffer for client in setting.relay._clients))
    asyncio.get_running_loop().call_later(0.2, writer.write, GET[-2:])
    return reader, writer


@pytest.mark.parametrize("connect", [accepted_at_this_moment, with_nothing_read_yet, in_the_middle_of_a_head])
def test_who_was_accepted_before_the_end_is_answered_before_the_end(
    connect: Callable[[Setting], Awaitable[Connection]],
) -> None:
    """systemd holds the socket while the process is restarted: only what was accepted already could be lost."""

    async def job() -> None:
        async with relay_before(hello) as setting:
            reader, writer = await connect(setting)
            await setting.relay.drain(20)
            assert setting.relay.counters["requests"] == 1 and setting.relay.status()["connections"] == 0
            out = await reader.read()
            writer.close()
            assert out.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in out and b"GET /x" in out, out

    run(job())


def test_a_connection_that_never_asks_holds_up_the_end_for_a_moment_only() -> None:
    async def job() -> None:
        async with relay_before(hello) as setting:
            reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
            await until(lambda: setting.relay.status()["connections"])
            await asyncio.wait_for(setting.relay.drain(1000), 20)
            assert await reader.read() == b""
            writer.close()

    run(job())


def test_a_connection_between_requests_does_not_hold_up_the_end() -> None:
    async def job() -> None:
        async with relay_before(hello) as setting:
            reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await read_head(reader)
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
            await asyncio.wait_for(setting.relay.drain(1000), 20)
            assert await reader.read() == b""

    run(job())


def test_a_server_killed_and_restarted_under_load_a_hundred_times() -> None:
    """Nothing hangs: every request ends, answered, refused or cut off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            size = 800_000 if b"/big" in head else 100
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(8):
                writer.write(b"x" * (size // 8 if size > 100 else 0))
                await writer.drain()
            writer.write(b"x" * (size - 8 * (size // 8 if size > 100 else 0)))

    async def job() -> None:
        async with relay_before(serve) as setting:
            await restart_under_load(setting, serve)

    asyncio.run(asyncio.wait_for(job(), 240))


async def restart_under_load(setting: Setting, serve: Any) -> None:
    port = setting.origin.sockets[0].getsockname()[1]
    connections: set[asyncio.StreamWriter] = set()
    ended = {"whole": 0, "refused": 0, "cut": 0}
    stop = asyncio.Event()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            pass
        finally:
            connections.discard(writer)
            writer.close()

    async def client(number: int) -> None:
        while not stop.is_set():
            out = await setting.talk(GET.replace(b"/x", b"/big" if number % 2 else b"/small"))
            head, _, body = out.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                ended["refused"] += 1
            elif len(body) == (800_000 if number % 2 else 100):
                ended["whole"] += 1
            else:
                ended["cut"] += 1
            await asyncio.sleep(0.002)

    async def another(end: str) -> None:
        before = ended[end]
        await until(lambda: ended[end] > before)

    clients = [asyncio.ensure_future(client(n)) for n in range(8)]
    setting.origin.close()
    for _ in range(100):
        origin = await asyncio.start_server(tracked, "127.0.0.1", port, reuse_address=True)
        await asyncio.sleep(0.03)
        await another("whole")
        origin.close()
        for writer in list(connections):
            writer.transport.abort()
        await another("refused")
    stop.set()
    await asyncio.gather(*clients)
    await until(lambda: setting.relay.status()["connections"] == 0)


# Who takes how much


def test_one_address_takes_no_more_than_its_share(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Loopback is many addresses: the first one takes all it may, the second one is answered."""

    async def job() -> None:
        async with relay_before(hello, connections={"enabled": True, "lan": 5}) as setting:
            loop = asyncio.get_running_loop()
            held = [await setting.connect() for _ in range(5)]
            await until(lambda: setting.relay.status()["connections"] == 5)
            for _turn in range(20):
                with contextlib.suppress(ConnectionResetError):
                    assert await setting.talk(GET) == b""
            assert setting.relay.status()["too_many"] == {"127.0.0.1": 20}
            sock = socket.socket()
            sock.bind(("127.0.0.9", 0))
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", setting.port))
            await loop.sock_sendall(sock, GET)
            assert (await loop.sock_recv(sock, 100)).startswith(b"HTTP/1.1 200 ")
            sock.close()
            held[0][1].write(GET)  # nothing that stands is cut
            assert (await held[0][0].readline()).startswith(b"HTTP/1.1 200 ")
            for _, writer in held:
                writer.close()

    with caplog.at_level("WARNING"):
        run(job())
    assert [line for line in caplog.messages if "127.0.0.1 has 5 connections" in line] and len(caplog.messages) == 1


def test_who_arrives_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a share, also where they come one straight after the other."""
    monkeypatch.setattr("jellyfin_ports.relay.server._ACCEPT_BATCH", 1)

    async def job() -> None:
        async with relay_before(hello, connections={"enabled": True, "lan": 8}) as setting:
            held = [socket.create_connection(("127.0.0.1", setting.port)) for _ in range(8)]
            await until(lambda: setting.relay.status()["connections"] == 8)
            assert setting.relay.status()["too_many"] == {}
            for sock in held:
                sock.close()
            await until(lambda: setting.relay.status()["connections"] == 0)
            assert not setting.relay._arriving

    run(job())


def test_a_proxy_that_is_trusted_is_many_visitors() -> None:
    async def job() -> None:
        async with relay_before(hello, connections={"lan": 2}, trusted_proxies=["127.0.0.1/32"]) as setting:
            held = [await setting.connect() for _ in range(9)]
            await until(lambda: setting.relay.status()["connections"] == 9)
            for _, writer in held:
                writer.close()

    run(job())


def test_a_paused_player_lives_for_hours() -> None:
    assert parse(config_text()).limits.stall_seconds >= 3 * 3600


def test_streams_leave_files_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for files in (1024, 4096, 65536):
        monkeypatch.setattr(relay_server.resource, "getrlimit", lambda _what, files=files: (files, files))
        needed = 2 * relay_server.default_connection_limit() + 4 * relay_server.bulk_limit() + 64
        assert needed <= files and relay_server.bulk_limit() >= 60


def test_past_that_a_stream_goes_through_the_process() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1000)
        await asyncio.sleep(0.2)
        writer.write(b"x" * 1_999_000)
        await reader.read()

    async def job() -> None:
        async with relay_before(serve) as setting:
            setting.relay.bulk_limit = 0
            assert len(await setting.talk(GET)) > 2_000_000

    run(job())


@pytest.mark.parametrize("served", [False, True])
def test_empty_lines_buy_no_time(served: bool) -> None:
    async def job() -> None:
        async with relay_before(hello, limits={"head_seconds": 0.5, "idle_seconds": 0.5}) as setting:
            reader, writer = await setting.connect()
            if served:
                writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readuntil(b"X-Forwarded-Host")
            rest = asyncio.ensure_future(reader.read())
            with contextlib.suppress(ConnectionError):
                for _turn in range(200):
                    writer.write(b"\r\n")
                    await asyncio.sleep(0.1)
                    if rest.done():
                        break
            assert rest.done()
            writer.close()

    run(job())


def test_an_empty_line_before_a_request_is_passed_over() -> None:
    async def job() -> None:
        async with relay_before(hello) as setting:
            assert (await setting.talk(b"\r\n\r\n" + GET)).startswith(b"HTTP/1.1 200 ")

    run(job())


# Under which name


def names(**settings: Any) -> LanNames:
    upstreams = [
        {
            "name": "media",
            "url": "http://192.168.1.5:8096",
            "domains": ["media.example.org"],
            "published": [{"for": "all", "url": "https://published.example.org/"}],
        }
    ]
    return LanNames(parse(config_text(upstreams=upstreams, names=settings)))


@pytest.mark.parametrize(
    "host",
    [
        "", "jellyfin", "localhost:8096", "192.168.1.10", "192.168.1.10:8096", "[::1]:8096", "[fd00::5]", "8.8.8.8", "media.example.org",
        "MEDIA.example.org:8096", "media.example.org.", "published.example.org", "nas.local", "nas.lan", "nas.home", "a.b.home.arpa", "nas.internal",
        "nas.localdomain", "fritz.box", "jellyfin.fritz.box", "nas.tail1234.ts.net", "speedport.ip", "nas.speedport.ip", "nas.mynet.example",
        "mynet.example",
    ],
)  # fmt: skip
def test_names_of_the_house(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("# a comment\nnameserver 192.168.1.1\nsearch MyNet.example. box\noptions edns0\n")
    monkeypatch.setattr(relay_names, "RESOLV_CONF", resolv)
    assert names().allow(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8096", "media.example.org.evil.example", "xmedia.example.org", "sub.media.example.org", "evil.box", "fritz.box.evil.com",
        "notfritz.box", "evil.net", "ts.net.evil.com", "192.168.1.10.nip.io", "1.2.3", "x.192.168.1.10", "local.evil.com", "mynet.example.evil",
    ],
)  # fmt: skip
def test_other_names_are_refused(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("search mynet.example box\n")
    monkeypatch.setattr(relay_names, "RESOLV_CONF", resolv)
    assert not names().allow(host.encode())


def test_names_of_the_user() -> None:
    listed = names(allowed=["nas.example.net", ".example.com", "Müller.example".encode("idna").decode()])
    for host, good in {
        "nas.example.net": True,
        "x.nas.example.net": False,
        "x.example.com:80": True,
        "example.com": False,
        "xn--mller-kva.example": True,
    }.items():
        assert listed.allow(host.encode()) is good, host
    assert names(any=True).allow(b"evil.example")


def test_a_search_domain_that_comes_later_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    monkeypatch.setattr(relay_names, "RESOLV_CONF", resolv)
    listed = names()
    assert not listed.allow(b"nas.mynet.example")
    resolv.write_text("domain mynet.example\n")
    listed.tick(1e9)
    assert listed.allow(b"nas.mynet.example")


def test_a_wrong_name_is_told_with_the_line_to_add() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def job() -> None:
        async with relay_before(serve) as setting:
            for target in (b"/Startup/Configuration", b"/.well-known/jellyfin-ports/x/description.xml"):
                out = await setting.talk(b"GET %b HTTP/1.1\r\nHost: Evil.example:8096\r\n\r\n" % target)
                assert out.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
                assert b'jellyfin_lan_names: ["evil.example"]' in out and b"text/plain" in out
            assert setting.relay.status()["refused_names"] == {"evil.example": 2}
            out = await setting.talk(b"GET / HTTP/1.1\r\nHost: a\x1b[31m.example\r\n\r\n")
            assert out.startswith(b"HTTP/1.1 400 ") and b"\x1b" not in out
            assert not seen

    run(job())


def test_the_server_hears_our_names_only() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_head(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def job() -> None:
        with kept_port() as port:
            origin = await asyncio.start_server(serve, "127.0.0.1", port)
            upstreams = [{"url": f"http://127.0.0.1:{port}", "domains": ["media.example.org"]}]
            async with relay_before(hello, upstreams=upstreams) as setting:
                for host in (b"media.example.org", b"MEDIA.EXAMPLE.ORG:99", b"nas.local", b"10.9.8.7:1", b"x"):
                    await setting.talk(
                        b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close, X-Forwarded-Host\r\nX-Forwarded-Host: e\r\n\r\n"
                        % host
                    )
                await setting.talk(b"GET / HTTP/1.0\r\n\r\n")
                here = b"127.0.0.1:%d" % setting.port
                named = b"media.example.org:%d" % setting.port
            origin.close()
        for head, told in zip(heads, (named, named, here, here, here, here)):
            lines = head.split(b"\r\n")
            assert [line for line in lines if b"host" in line.lower().partition(b":")[0]] == [
                b"Host: " + told,
                b"X-Forwarded-Host: " + told,
            ]
        assert len(heads) == 6

    run(job())


# What a request may be


RULES = {"target": request_rules.TARGET, "methods": list(request_rules.LAN_METHODS)}


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /web/index.html?a=b\\c", 200),
        ("GET /Items/a%2Fb%20%C3%BC", 200),
        ("SUBSCRIBE /dlna/x/events", 200),
        ("PATCH /x", 200),
        ("GET /a/../System/Restart", 400),
        ("GET /a/%2e%2E/System/Restart", 400),
        ("GET /a%2f..%2fSystem", 400),
        ("GET /a\\..\\x", 400),
        ("GET /a%5c..%5cx", 400),
        ("GET /x#/../metrics", 400),
        ("GET /%c0%ae%c0%ae/x", 400),
        ("GET /%zz", 400),
        ("GET http://a/", 400),
        ("OPTIONS *", 400),
        ("TRACE /", 405),
        ("CONNECT a:80", 405),
        ("PROPFIND /", 405),
        ("get /", 405),
    ],
)  # fmt: skip
def test_the_table_of_requests_is_kept_to(line: str, status: int) -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_head(reader)
        asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def job() -> None:
        async with relay_before(serve, requests=RULES) as setting:
            out = await setting.talk(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode("latin-1"))
            assert out.startswith(b"HTTP/1.1 %d " % status), out
            assert asked == (status == 200)

    run(job())
