# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP heads: what is accepted, what is passed on, what is set anew. No sockets here.

aiohttp's parser (llhttp) reads the heads, but the one in Debian 12 is built lenient: it takes bare line feeds, folded
lines and `Host :`. So a head is held against the grammar of RFC 9112 first, as a whole, and only one head at a time is
given to a parser; whatever follows a body meets a new one.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from aiohttp.http_parser import HttpRequestParser, HttpResponseParser

from ..config import Requests

HEAD_LIMIT = 32768
_LINE_LIMIT = 16384

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELDS = rb"(?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*\r\n"
_REQUEST = re.compile(rb"[A-Za-z]{1,24} [!-\"$-~\x80-\xff]+ HTTP/1\.[01]\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9](?: [\t -~\x80-\xff]*)?\r\n" + _FIELDS)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_HOP_BY_HOP = frozenset(
    [b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"]
)
# Set anew, or nobody's business: who the client is, is told in one place only, and so are target and method. The proxies drop the same
# (`_reverse_proxy_dropped_headers`), and whatever begins with X-Forwarded.
_REPLACED = frozenset(
    [b"host", b"content-length", b"proxy-authorization", b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip",
     b"x-original-for", b"x-original-host", b"x-original-proto", b"x-original-prefix", b"x-cluster-client-ip", b"cf-connecting-ip", b"proxy",
     b"x-original-url", b"x-rewrite-url", b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-jellynet-peer"]
)  # fmt: skip
_NO_REQUEST = _HOP_BY_HOP | _REPLACED
_NO_RESPONSE = _HOP_BY_HOP | {b"content-length", b"proxy-authenticate"}


NO_RULES = Requests()


class Refusal(Exception):
    """A request that is not passed on."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass
class Request:
    method: bytes
    target: bytes
    http11: bool
    fields: tuple[tuple[bytes, bytes], ...]
    host: bytes
    length: int = 0
    chunked: bool = False
    keep_alive: bool = True
    websocket: bool = False
    nominated: frozenset[bytes] = frozenset()
    parser: Any = None  # for a chunked body

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    @property
    def repeatable(self) -> bool:
        return not self.has_body and not self.websocket and self.method in (b"GET", b"HEAD", b"OPTIONS")

    def values(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in self.fields if key.lower() == name]


class _NoFlow:
    """What aiohttp's parser wants to pause; whatever it has decoded is taken from it at once."""

    _reading_paused = False
    transport = None
    _upgraded = False

    def pause_reading(self, *_: Any, **__: Any) -> None:
        return

    def resume_reading(self, *_: Any, **__: Any) -> None:
        return


_NO_FLOW: Any = _NoFlow()


def _tokens(value: bytes) -> list[bytes]:
    return [token for token in (part.strip().lower() for part in value.split(b",")) if token]


class RequestReader:
    """Turns whole request heads of one connection into requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rules: Requests = NO_RULES) -> None:
        self._loop = loop
        self._rules = rules
        self._parser: Any = None

    def read(self, head: bytes) -> Request:
        if _REQUEST.fullmatch(head) is None:
            raise Refusal(400, "This is no well-formed HTTP/1.1 request.")
        method, target, _rest = head.split(b" ", 2)
        rules = self._rules
        if rules.methods and method not in rules.methods:
            raise Refusal(405, "This method is not served here.")
        if rules.target is not None and rules.target.fullmatch(target) is None:
            raise Refusal(400, "This path is written in a way that could be read as another.")
        parser = self._parser or HttpRequestParser(
            _NO_FLOW, self._loop, 65536, max_line_size=_LINE_LIMIT, max_field_size=_LINE_LIMIT
        )
        self._parser = None
        try:
            messages, _upgraded, tail = parser.feed_data(head)
        except Exception as error:
            raise Refusal(400, "This request's head cannot be read.") from error
        if len(messages) != 1 or tail:
            raise Refusal(400, "This request's head cannot be read.")
        message = messages[0][0]
        request = _examine(message.method.encode("ascii"), target, message.version[1] == 1, message.raw_headers)
        if request.chunked:
            request.parser = (parser, messages[0][1])
        elif not request.has_body and not message.upgrade:
            self._parser = parser
        return request


def _examine(method: bytes, target: bytes, http11: bool, fields: tuple[tuple[bytes, bytes], ...]) -> Request:
    if method == b"CONNECT":
        raise Refusal(405, "CONNECT is not served here.")
    if not target.startswith(b"/"):
        raise Refusal(400, "Ask for a path that begins with a slash; this is no forward proxy.")
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    encodings: list[bytes] = []
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    for name, value in fields:
        key = name.lower()
        if key == b"host":
            hosts.append(value)
        elif key == b"content-length":
            lengths.append(value)
        elif key == b"transfer-encoding":
            encodings.append(value)
        elif key == b"connection":
            connection += _tokens(value)
        elif key == b"upgrade":
            upgrade += _tokens(value)
        elif key == b"expect" and value.strip().lower() != b"100-continue":
            raise Refusal(417, "Only Expect: 100-continue is understood.")
    if len(hosts) > 1 or (http11 and not hosts):
        raise Refusal(400, "A request needs exactly one Host.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise Refusal(400, "The Host is no host name.")
    length = 0
    if encodings:
        if lengths:
            raise Refusal(400, "Content-Length and Transfer-Encoding exclude each other.")
        if not http11 or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise Refusal(501 if http11 else 400, "The only Transfer-Encoding understood is one `chunked`.")
    elif lengths:
        if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
            raise Refusal(400, "The Content-Length is not one number.")
        length = int(lengths[0])
    return Request(
        method=method,
        target=target,
        http11=http11,
        fields=fields,
        host=hosts[0] if hosts else b"",
        length=length,
        chunked=bool(encodings),
        keep_alive=http11 and b"close" not in connection,
        websocket=http11 and method == b"GET" and b"upgrade" in connection and upgrade == [b"websocket"],
        nominated=frozenset(connection) if connection else frozenset(),
    )


def _is_ours_to_say(key: bytes) -> bool:
    """Some servers take an underscore for a hyphen."""
    if b"_" in key:
        key = key.replace(b"_", b"-")
    return key in _NO_REQUEST or key.startswith(b"x-forwarded")


def render_request(request: Request, client: str, scheme: str, host: bytes) -> bytes:
    """The head towards the server: hop-by-hop fields gone; who the client is and under which name it came is said by us."""
    lines = [request.method, b" ", request.target, b" HTTP/1.1\r\nHost: ", host, b"\r\n"]
    nominated = request.nominated
    for name, value in request.fields:
        key = name.lower()
        if key in nominated or _is_ours_to_say(key):
            continue
        lines += (name, b": ", value, b"\r\n")
    lines.append(
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
        % (client.encode("ascii"), scheme.encode("ascii"), host)
    )
    if request.websocket:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    if request.chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.length or request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d\r\n" % request.length)
    lines.append(b"\r\n")
    return b"".join(lines)


@dataclass
class Response:
    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    length: int | None = None  # None: not told
    chunked: bool = False
    keep_alive: bool = True
    nominated: frozenset[bytes] = frozenset()
    parser: Any = None

    def bodiless(self, method: bytes) -> bool:
        return method == b"HEAD" or self.status in (204, 304) or self.status < 200


def read_response(head: bytes, loop: asyncio.AbstractEventLoop) -> Response:
    """A whole response head. ValueError when it is none, or says two things about its length."""
    if _RESPONSE.fullmatch(head) is None:
        raise ValueError("the server's answer is no well-formed HTTP")
    parser = HttpResponseParser(
        _NO_FLOW, loop, 65536, max_line_size=_LINE_LIMIT, max_field_size=_LINE_LIMIT, read_until_eof=True,
        auto_decompress=False,
    )  # fmt: skip
    try:
        messages, _upgraded, _tail = parser.feed_data(head)
    except Exception as error:
        raise ValueError("the server's answer cannot be read") from error
    if len(messages) != 1:
        raise ValueError("the server's answer cannot be read")
    message = messages[0][0]
    response = Response(message.code, message.reason.encode("latin-1", "replace"), message.raw_headers)
    lengths: set[bytes] = set()
    connection: list[bytes] = []
    encodings: list[bytes] = []
    for name, value in response.fields:
        key = name.lower()
        if key == b"content-length":
            lengths.add(value)
        elif key == b"transfer-encoding":
            encodings.append(value.lower())
        elif key == b"connection":
            connection += _tokens(value)
    if encodings and (encodings != [b"chunked"] or lengths):
        raise ValueError("the server's answer has a doubtful length")
    if lengths:
        value = lengths.pop()
        if lengths or _LENGTH.fullmatch(value) is None:
            raise ValueError("the server's answer has a doubtful length")
        response.length = int(value)
    response.chunked = bool(encodings)
    if response.chunked:
        response.parser = (parser, messages[0][1])
    response.keep_alive = head.startswith(b"HTTP/1.1") and b"close" not in connection
    if connection:
        response.nominated = frozenset(connection)
    return response


def render_response(response: Response, framing: bytes, close: bool) -> bytes:
    """The head towards the client; `framing` is the field that tells the body's length, or b''."""
    lines = [b"HTTP/1.1 %d " % response.status, response.reason, b"\r\n"]
    nominated = response.nominated
    for name, value in response.fields:
        key = name.lower()
        if key not in _NO_RESPONSE and key not in nominated:
            lines += (name, b": ", value, b"\r\n")
    lines.append(framing)
    if response.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


_SLICE = 65536


class ChunkedBody:
    """Decodes a chunked body; the trailers, which nothing of ours needs, end with it."""

    def __init__(self, parser: tuple[Any, Any]) -> None:
        self._parser, self._payload = parser
        self._idle = 0
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes. ValueError on a malformed one; `done` tells the end, and what follows it is lost."""
        if len(data) <= _SLICE:
            return self._feed(data)
        return b"".join(self._feed(data[start : start + _SLICE]) for start in range(0, len(data), _SLICE))

    def _feed(self, data: bytes) -> bytes:
        if self.done:
            return b""
        try:
            self._parser.feed_data(data)
        except Exception as error:
            if not self._payload.is_eof():
                raise ValueError("malformed chunked body") from error
        self.done = self._payload.is_eof()
        try:
            decoded = bytes(self._payload.read_nowait(-1))
        except Exception as error:
            raise ValueError("malformed chunked body") from error
        # Chunk extensions and trailers without end would fill the parser's memory.
        self._idle = 0 if decoded else self._idle + len(data)
        if self._idle > _SLICE:
            raise ValueError("endless chunk extensions or trailers")
        return decoded


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
