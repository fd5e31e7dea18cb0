# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jellyfin_ports.relay.head import (
    ChunkedBody,
    Refusal,
    Request,
    RequestReader,
    chunk,
    read_response,
    render_request,
    render_response,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def read(loop: asyncio.AbstractEventLoop, *lines: str | bytes, end: bytes = b"\r\n") -> Request:
    raw = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    return RequestReader(loop).read(end.join(raw) + end + end)


def test_a_request(loop: asyncio.AbstractEventLoop) -> None:
    request = read(loop, "GET /a%20b?x=1 HTTP/1.1", "Host: media:8096", "Range: bytes=0-1")
    assert (request.method, request.target, request.host) == (b"GET", b"/a%20b?x=1", b"media:8096")
    assert request.keep_alive and not request.has_body and request.repeatable


SMUGGLING = [
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 4"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3, 3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: +3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: -3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 0x3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3_0"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3 4"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length:"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 9999999999999999999999"], 400),
    (["POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 3"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, identity"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: identity"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding : chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding:\x0bchunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding\t: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", " Transfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "X: y", " Transfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "X: y\r Transfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "X: y\nTransfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "X: y\rTransfer-Encoding: chunked"], 400),
    (["POST / HTTP/1.1", "Host: a", "X: y\x00"], 400),
    (["POST / HTTP/1.1", "Host: a", "X"], 400),
    (["POST / HTTP/1.1", "Host: a", ": x"], 400),
    (["POST / HTTP/1.1", "Host: a", "X\x80: y"], 400),
    (["POST / HTTP/1.1", "Host: a", "X(y): z"], 400),
    (["POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"], 400),
    (["GET / HTTP/1.1", "Host: a", "Host: b"], 400),
    (["GET / HTTP/1.1"], 400),
    (["GET / HTTP/1.1", "Host:"], 400),
    (["GET / HTTP/1.1", "Host: a b"], 400),
    (["GET / HTTP/1.1", "Host: a/b"], 400),
    (["GET / HTTP/1.1", "Host: a@b"], 400),
    (["GET / HTTP/1.1", "Host: a, b"], 400),
    (["GET / HTTP/1.1", "Host : a"], 400),
    (["GET http://other/ HTTP/1.1", "Host: a"], 400),
    (["GET //other HTTP/1.1", "Host: a"], None),
    (["GET * HTTP/1.1", "Host: a"], 400),
    (["OPTIONS * HTTP/1.1", "Host: a"], 400),
    (["CONNECT other:443 HTTP/1.1", "Host: a"], 405),
    (["GET  / HTTP/1.1", "Host: a"], 400),
    (["GET / HTTP/1.1 ", "Host: a"], 400),
    (["GET / HTTP/2.0", "Host: a"], 400),
    (["GET / HTTP/1.2", "Host: a"], 400),
    (["GET / http/1.1", "Host: a"], 400),
    (["GET /", "Host: a"], 400),
    (["GET /a b HTTP/1.1", "Host: a"], 400),
    (["GET /\t HTTP/1.1", "Host: a"], 400),
    (["G\x00T / HTTP/1.1", "Host: a"], 400),
    (["GET / HTTP/1.1", "Host: a", "Expect: 200-ok"], 417),
    (["GET / HTTP/1.1", "Host: a", "Expect: 100-continue"], None),
]


@pytest.mark.parametrize(
    ("lines", "status"), SMUGGLING, ids=lambda v: "|".join(v)[:70] if isinstance(v, list) else str(v)
)
def test_two_readings_are_refused(loop: asyncio.AbstractEventLoop, lines: list[str], status: int | None) -> None:
    if status is None:
        read(loop, *lines)
        return
    with pytest.raises(Refusal) as caught:
        read(loop, *lines)
    # What the parser refuses first is a 400, whatever it would be else.
    assert (
        caught.value.status in (status, 501) if "Transfer-Encoding" in "".join(lines) else caught.value.status == status
    )


def test_bare_line_feeds_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(Refusal):
        RequestReader(loop).read(b"GET / HTTP/1.1\nHost: a\n\r\n\r\n")


def render(request: Request, **changes: object) -> bytes:
    arguments = {
        "client": "192.168.1.7",
        "scheme": "http",
        "host": request.host,
        **changes,
    }
    return render_request(request, **arguments)  # type: ignore[arg-type]


ROOT = Path(__file__).resolve().parents[2]
DROPPED = yaml.safe_load((ROOT / "roles" / "reverse_proxy" / "vars" / "main.yml").read_text())[
    "_reverse_proxy_dropped_headers"
]


@pytest.mark.parametrize("name", DROPPED)
def test_what_the_proxies_drop_is_dropped_here_too(loop: asyncio.AbstractEventLoop, name: str) -> None:
    spellings = [name, name.upper(), name.lower().replace("-", "_")]
    out = render(
        read(loop, "GET / HTTP/1.1", "Host: a", *(f"{spelling}: 6.6.6.6" for spelling in spellings), "X_Own: b")
    )
    assert b"6.6.6.6" not in out and b"X_Own: b\r\n" in out


def test_forwarding_fields_are_overwritten(loop: asyncio.AbstractEventLoop) -> None:
    forged = ["X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port",
              "X-Forwarded-Prefix", "Forwarded", "X-Real-IP", "X-Original-For", "X-Client-IP", "True-Client-IP"]  # fmt: skip
    request = read(loop, "GET / HTTP/1.1", "Host: a", *(f"{name}: 6.6.6.6" for name in forged), "Cookie: c")
    out = render(request)
    assert b"6.6.6.6" not in out
    assert out.lower().count(b"x-forwarded-for:") == 1
    assert b"X-Forwarded-For: 192.168.1.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n" in out
    assert b"Cookie: c\r\n" in out and b"Host: a\r\n" in out


def test_hop_by_hop_fields_end_here(loop: asyncio.AbstractEventLoop) -> None:
    request = read(
        loop, "GET / HTTP/1.1", "Host: a", "Connection: close, X-Secret, Host, X-Forwarded-For", "X-Secret: 1", "Keep-Alive: 5",
        "TE: trailers", "Trailer: X", "Upgrade: h2c", "HTTP2-Settings: x", "Proxy-Authorization: y", "Proxy-Connection: z",
    )  # fmt: skip
    out = render(request)
    for gone in (b"X-Secret", b"Keep-Alive", b"TE:", b"Trailer", b"Upgrade", b"Proxy-", b"Connection"):
        assert gone not in out
    assert b"Host: a" in out and b"X-Forwarded-For: 192.168.1.7" in out
    assert not request.keep_alive


def test_only_websockets_are_upgraded(loop: asyncio.AbstractEventLoop) -> None:
    request = read(
        loop,
        "GET /socket HTTP/1.1",
        "Host: a",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        "Sec-WebSocket-Key: k",
    )
    assert request.websocket and not request.repeatable
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in render(request) and b"Sec-WebSocket-Key: k" in render(
        request
    )
    for lines in (
        ["Upgrade: websocket"],
        ["Connection: Upgrade", "Upgrade: h2c"],
        ["Connection: Upgrade", "Upgrade: websocket, h2c"],
    ):
        other = read(loop, "GET / HTTP/1.1", "Host: a", *lines)
        assert not other.websocket and b"Upgrade" not in render(other)
    assert not read(
        loop, "POST / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"
    ).websocket


def test_bodies_are_framed_anew(loop: asyncio.AbstractEventLoop) -> None:
    assert b"Content-Length: 5\r\n" in render(read(loop, "POST / HTTP/1.1", "Host: a", "Content-Length: 005"))
    assert b"Transfer-Encoding: chunked\r\n" in render(
        read(loop, "POST / HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked")
    )
    assert b"Content-Length: 0\r\n" in render(read(loop, "POST / HTTP/1.1", "Host: a"))
    assert b"Content-Length" not in render(read(loop, "GET / HTTP/1.1", "Host: a"))


TOKEN = st.text(alphabet="abcXYZ019-_!", min_size=1, max_size=12)
VALUE = st.text(alphabet=st.characters(max_codepoint=255), max_size=30)


@given(
    st.binary(max_size=20) | st.sampled_from([b"GET", b"POST"]),
    st.binary(max_size=30) | st.sampled_from([b"/", b"/a?b"]),
    st.lists(
        st.tuples(
            TOKEN | st.sampled_from(["Content-Length", "Transfer-Encoding", "Host", "Connection", "X-Forwarded-For"]),
            VALUE | st.sampled_from(["chunked", "3", "a"]),
        ),
        max_size=6,
    ),
)
@settings(max_examples=500, deadline=None)
def test_whatever_is_accepted_leaves_as_one_clean_head(
    method: bytes, target: bytes, fields: list[tuple[str, str]]
) -> None:
    """The differential test: what we send on must read back as one request, with the same framing, by a fresh strict reader."""
    loop = asyncio.new_event_loop()
    head = (
        method
        + b" "
        + target
        + b" HTTP/1.1\r\n"
        + b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in fields)
        + b"\r\n"
    )
    try:
        with contextlib.suppress(Refusal):
            request = RequestReader(loop).read(head)
            out = render(request, host=request.host or b"server")
            assert out.count(b"\r\n\r\n") == 1 and out.endswith(b"\r\n\r\n")
            again = RequestReader(loop).read(out)
            assert (again.method, again.target, again.length, again.chunked) == (
                request.method,
                request.target,
                request.length,
                request.chunked,
            )
            assert again.values(b"x-forwarded-for") == ["192.168.1.7"]
    finally:
        loop.close()


def test_a_response(loop: asyncio.AbstractEventLoop) -> None:
    response = read_response(
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
        loop,
    )
    assert (response.status, response.length, response.keep_alive) == (206, 5, True)
    out = render_response(response, b"Content-Length: 5\r\n", False)
    assert out == b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
)
def test_a_doubtful_response_is_refused(loop: asyncio.AbstractEventLoop, head: bytes) -> None:
    with pytest.raises(ValueError):
        read_response(head, loop)


def body_of(loop: asyncio.AbstractEventLoop) -> ChunkedBody:
    return ChunkedBody(read(loop, "POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked").parser)


def test_chunks_come_out_whole_however_they_come_in(loop: asyncio.AbstractEventLoop) -> None:
    wire = chunk(b"hello") + b"3;ext=1\r\nabc\r\n" + b"0\r\nTrailer: x\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\n\r\n"
    for step in (1, 2, 7, 1000):
        body = body_of(loop)
        out = b"".join(body.feed(wire[i : i + step]) for i in range(0, len(wire), step))
        assert out == b"helloabc" and body.done


@pytest.mark.parametrize(
    "wire",
    [
        b"0x5\r\nhello\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"5\nhello\n",
        b" 5\r\nhello\r\n",
        b"ffffffffffffffffff\r\n",
        b"\r\n",
        b"g\r\n",
        b"5;" + b"x" * 200_000,
    ],
)
def test_malformed_chunks_are_refused(loop: asyncio.AbstractEventLoop, wire: bytes) -> None:
    with pytest.raises(ValueError):
        body_of(loop).feed(wire)


def test_endless_trailers_end(loop: asyncio.AbstractEventLoop) -> None:
    body = body_of(loop)
    with pytest.raises(ValueError):
        for number in range(100_000):
            body.feed(b"0\r\n" if number == 0 else b"X-%d: y\r\n" % number)


def test_the_next_head_meets_a_fresh_parser(loop: asyncio.AbstractEventLoop) -> None:
    """Some versions of the parser hand a body's trailers to the request after it."""
    reader = RequestReader(loop)
    body = ChunkedBody(reader.read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").parser)
    body.feed(b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    request = reader.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.fields == ((b"Host", b"a"),)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    loop = asyncio.new_event_loop()
    try:
        with contextlib.suppress(Refusal):
            RequestReader(loop).read(data + b"\r\n\r\n")
        with contextlib.suppress(ValueError):
            read_response(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n", loop)
        with contextlib.suppress(ValueError):
            body_of(loop).feed(data)
    finally:
        loop.close()
