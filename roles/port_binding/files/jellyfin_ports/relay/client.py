# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One client's connection: its requests, one after the other, each with a connection to the server behind it.

Written as callbacks, not as a task for each request: the bytes of a stream cross one function call on their way.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..addresses import resolve_client
from . import bulk
from .head import (
    HEAD_LIMIT,
    ChunkedBody,
    Refusal,
    Request,
    RequestReader,
    Response,
    chunk,
    read_response,
    render_request,
    render_response,
)
from .texts import LocalAnswer, not_lan, other_name, problem, unreachable

if TYPE_CHECKING:
    from .server import Relay
    from .upstream import Pool, UpstreamConnection

_BULK_FROM = 512 * 1024
_PIPELINE_LIMIT = 65536
_LINGER_SECONDS = 2.0
_FIRST_REQUEST_SECONDS = 1.0  # how long a connection that never asked for anything can hold up the end
_HALF_CLOSED_SECONDS = 5.0
_SLOWEST_UPLOAD = 1024  # bytes a second
_LAST_CHUNK = b"0\r\n\r\n"


class Phase(enum.Enum):
    HEAD = "between requests"
    EXCHANGE = "request"
    TUNNEL = "tunnel"
    LINGER = "closing"
    CLOSED = "closed"


class Body(enum.Enum):
    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


class ClientConnection(asyncio.Protocol):
    def __init__(self, relay: Relay, scheme: str, peer: str, serves: str) -> None:
        self.relay = relay
        self.scheme = scheme
        self.peer = peer
        self.serves = serves
        self.loop = relay.loop
        self.phase = Phase.HEAD
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.last = self.loop.time()
        self._reader = RequestReader(self.loop, relay.config.requests)
        self._buffer = bytearray()
        self._head_since = self.last
        self._served = 0
        self._paused = False  # the client takes no more for now
        self._half_closed = False
        self._seen = 0
        self._seen_size = 0
        self._clear()

    def _clear(self) -> None:
        self._request: Request = None  # type: ignore[assignment]
        self._pool: Pool = None  # type: ignore[assignment]
        self._rendered = b""
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retried = False
        self._body_left = 0
        self._body_chunks: ChunkedBody | None = None
        self._body_done = True
        self._body_since = 0.0
        self._body_bytes = 0
        self._upstream_paused = False
        self._response: Response | None = None
        self._response_head = b""
        self._mode = Body.NONE
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._wrap = False  # the client gets what comes in chunks
        self._close = False
        self._reusable = True
        self._bulk: bulk.BulkCopy | None = None
        self._bulk_wanted = False

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.relay.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.phase in (Phase.EXCHANGE, Phase.TUNNEL):
            self.relay.counters["client_aborts" if self.phase is Phase.EXCHANGE else "tunnels_closed"] += 1
        self.phase = Phase.CLOSED
        self._drop_upstream()
        self.relay.gone(self)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.HEAD:
            self._buffer += data
            return self._next()
        self.last = self.loop.time()
        if self.phase is Phase.EXCHANGE:
            if not self._body_done and self._upstream is not None:
                self._pass_body(data)
            else:
                self._buffer += data
                if len(self._buffer) > _PIPELINE_LIMIT:
                    self.transport.pause_reading()
        elif self.phase is Phase.TUNNEL and self._upstream is not None:
            self.relay.bytes_in += len(data)
            self._upstream.transport.write(data)

    def eof_received(self) -> bool:
        if self.scheme == "https":
            return False
        if self.phase is Phase.TUNNEL and self._upstream is not None:
            if self._upstream.transport.can_write_eof():
                self._upstream.transport.write_eof()
            return True
        if self.phase is Phase.EXCHANGE and self._body_done:
            # Either half-closed or gone: the next bytes towards it will tell.
            self._half_closed = True
            self.last = self.loop.time()
            return True
        return False

    def pause_writing(self) -> None:
        self._paused = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self.last = self.loop.time()
        if self._bulk_wanted:
            self._start_bulk()
        elif self._upstream is not None and self._bulk is None:
            self._upstream.transport.resume_reading()

    # A request comes in

    def _next(self) -> None:
        """Take the next head out of the buffer, when it is there as a whole."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        if not buffer:
            return  # empty lines before a request are passed over, but buy no time
        if not self._head_since:
            self._head_since = self.loop.time()
        if not 65 <= buffer[0] <= 122:
            return self._answer(problem(400, "This is not HTTP."))
        end = buffer.find(b"\r\n\r\n", max(0, self._seen - 3))
        if end < 0 or end > HEAD_LIMIT:
            self._seen = len(buffer)
            if len(buffer) > HEAD_LIMIT:
                self._answer(problem(431, "The request's head is too long."))
            return
        self._seen = 0
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._head_since = 0.0
        try:
            request = self._reader.read(head)
            self._begin(request)
        except Refusal as refusal:
            self.relay.counters["bad_requests"] += 1
            self._answer(problem(refusal.status, refusal.reason))

    def _begin(self, request: Request) -> None:
        relay = self.relay
        client, scheme = self.peer, self.scheme
        if client in relay.config.trusted_proxies:
            client = resolve_client(self.peer, request.values(b"x-forwarded-for"), relay.config.trusted_proxies)
            told = request.values(b"x-forwarded-proto")
            if len(told) == 1 and told[0].strip().lower() in ("http", "https"):
                scheme = told[0].strip().lower()
        self._clear()
        self._request = request
        if client not in relay.config.lan:
            relay.refuse(client)
            return self._answer(not_lan(client))
        if not relay.names.allow(request.host):
            return self._answer(other_name(relay.refuse_name(request.host, client)))
        relay.counters["requests"] += 1
        local = relay.local_answer(request, self.serves, self.transport)
        if local is not None:
            if isinstance(local, LocalAnswer):
                return self._answer(local)
            self.phase = Phase.EXCHANGE
            self._connecting = self.loop.create_task(self._answer_later(local))
            return
        self._pool = relay.pool_for(request.host)
        host = relay.host_for(request.host, self.transport)
        self._rendered = render_request(request, client, scheme, host)
        self.phase = Phase.EXCHANGE
        if request.chunked:
            self._body_chunks = ChunkedBody(request.parser)
        self._body_left = request.length
        self._body_done = not request.has_body
        self._body_since = self.loop.time()
        self._dispatch()

    def _dispatch(self) -> None:
        connection = self._pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._connect()

    async def _answer_later(self, local: Awaitable[LocalAnswer]) -> None:
        answer = await local
        if self.phase is Phase.EXCHANGE:
            self._answer(answer)

    def _connect(self) -> None:
        if not self._body_done:
            self.transport.pause_reading()
        self._connecting = self.loop.create_task(self._open())

    async def _open(self) -> None:
        pool = self._pool
        try:
            connection = await pool.connect()
        except (OSError, asyncio.TimeoutError) as error:
            self.relay.counters["connect_failed"] += 1
            if self.phase is Phase.EXCHANGE:
                self._answer(unreachable(503, str(error) or "no answer in time"))
            return
        self._connecting = None
        if self.phase is not Phase.EXCHANGE:
            connection.transport.abort()
            return
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.listener = self
        connection.transport.write(self._rendered)
        self.last = self.loop.time()
        if not self._body_done:
            data = bytes(self._buffer)
            self._buffer.clear()
            if data:
                self._pass_body(data)
            if not self._upstream_paused and self.phase is Phase.EXCHANGE:
                self.transport.resume_reading()

    def _pass_body(self, data: bytes) -> None:
        upstream = self._upstream
        assert upstream is not None
        self._body_bytes += len(data)
        self.relay.bytes_in += len(data)
        if self._body_chunks is not None:
            try:
                decoded = self._body_chunks.feed(data)
            except ValueError as error:
                self.relay.counters["bad_requests"] += 1
                return self._fail(problem(400, f"The request's body cannot be read: {error}."))
            if decoded:
                upstream.transport.write(chunk(decoded))
            if self._body_chunks.done:
                upstream.transport.write(_LAST_CHUNK)
                self._body_done = True
                self._request.keep_alive = False  # what follows a chunked body is not looked at
            return
        part = data[: self._body_left]
        self._body_left -= len(part)
        upstream.transport.write(part)
        if self._body_left == 0:
            self._body_done = True
            self._buffer += data[len(part) :]

    # The server's side

    def upstream_paused(self, paused: bool) -> None:
        self._upstream_paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def upstream_data(self, data: bytes) -> None:
        self.last = self.loop.time()
        if self.phase is Phase.TUNNEL:
            self.relay.bytes_out += len(data)
            self.transport.write(data)
        elif self._response is not None:
            self._pass_response(data)
        else:
            self._response_head = self._response_head + data if self._response_head else data
            self._read_heads()

    def _read_heads(self) -> None:
        while self._response is None and self.phase is Phase.EXCHANGE:
            end = self._response_head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._response_head) > HEAD_LIMIT:
                    self._bad_upstream("its answer's head is too long")
                return
            head, rest = self._response_head[: end + 4], self._response_head[end + 4 :]
            self._response_head = rest
            try:
                response = read_response(head, self.loop)
            except ValueError as error:
                return self._bad_upstream(str(error))
            if response.status == 101:
                return self._start_tunnel(response, rest)
            if response.status >= 200:
                self._response_head = b""
                return self._start_response(response, rest)
            if response.status == 100 and self._request.http11:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start_response(self, response: Response, rest: bytes) -> None:
        request = self._request
        self._response = response
        self._close = not request.keep_alive or not self._body_done or self._half_closed or self.relay.draining
        framing = b""
        if response.bodiless(request.method):
            self._mode = Body.NONE
            if response.length is not None and response.status != 204:
                framing = b"Content-Length: %d\r\n" % response.length
        elif response.length is not None:
            self._mode, self._left = Body.LENGTH, response.length
            framing = b"Content-Length: %d\r\n" % response.length
        else:
            if response.chunked:
                self._mode, self._chunks = Body.CHUNKED, ChunkedBody(response.parser)
            else:
                self._mode = Body.UNTIL_CLOSE
            self._wrap = request.http11
            self._close = self._close or not request.http11
            if self._wrap:
                framing = b"Transfer-Encoding: chunked\r\n"
        head = render_response(response, framing, self._close)
        if self._mode is Body.NONE or (self._mode is Body.LENGTH and self._left == 0):
            self._reusable = self._reusable and not rest
            self.transport.write(head)
            self._finish()
        elif self._mode is Body.LENGTH and rest:
            part = rest[: self._left]
            self._reusable = len(part) == len(rest)
            self._left -= len(part)
            self.relay.bytes_out += len(part)
            self.transport.write(head + part)
            self._after_length()
        else:
            self.transport.write(head)
            if rest:
                self._pass_response(rest)
            elif self._mode is Body.LENGTH:
                self._after_length()

    def _pass_response(self, data: bytes) -> None:
        if self._mode is Body.LENGTH:
            if len(data) > self._left:
                data = data[: self._left]
                self._reusable = False
            self._left -= len(data)
            self.relay.bytes_out += len(data)
            self.transport.write(data)
            self._after_length()
            return
        if self._chunks is not None:
            # Nothing was asked for besides; should more follow all the same, this connection is not used again.
            self._reusable = data.endswith(b"0\r\n\r\n")
            try:
                data = self._chunks.feed(data)
            except ValueError:
                self.relay.counters["bad_answers"] += 1
                return self._truncate()
        if data:
            self.relay.bytes_out += len(data)
            self.transport.write(chunk(data) if self._wrap else data)
        if self._chunks is not None and self._chunks.done:
            if self._wrap:
                self.transport.write(_LAST_CHUNK)
            self._finish()

    def _after_length(self) -> None:
        if self._left == 0:
            self._finish()
        elif self._left >= _BULK_FROM and bulk.AVAILABLE and self.scheme == "http" and self.relay.use_bulk:
            self._want_bulk()

    def _want_bulk(self) -> None:
        if self._bulk is not None or self._bulk_wanted or self._upstream is None or self.transport.is_closing():
            return
        if bulk.BulkCopy.active >= self.relay.bulk_limit:
            return
        self._bulk_wanted = True
        self._upstream.transport.pause_reading()
        if self.transport.get_write_buffer_size() == 0:
            self._start_bulk()
        else:
            self.transport.set_write_buffer_limits(high=0)  # resume_writing comes when it is empty

    def _start_bulk(self) -> None:
        self._bulk_wanted = False
        if self._upstream is None or self._upstream.transport.is_closing():
            return
        sockets = self._upstream.transport.get_extra_info("socket"), self.transport.get_extra_info("socket")
        try:
            self._bulk = bulk.BulkCopy(self.loop, *sockets, self._left, self._bulk_done)
        except OSError:
            self.relay.use_bulk = False
            self.transport.set_write_buffer_limits()
            self._upstream.transport.resume_reading()

    def _bulk_done(self, complete: bool) -> None:
        assert self._bulk is not None
        moved, self._left = self._left - self._bulk.left, self._bulk.left
        self.relay.bytes_out += moved
        self._bulk = None
        self.last = self.loop.time()
        if self.phase is not Phase.EXCHANGE:
            return
        self.transport.set_write_buffer_limits()
        if complete:
            self._finish()
        else:
            self._truncate()

    def _finish(self) -> None:
        """The response is complete."""
        upstream, self._upstream = self._upstream, None
        response = self._response
        if upstream is not None:
            if response is not None and response.keep_alive and self._reusable and self._body_done:
                upstream.listener = None
                upstream.transport.resume_reading()
                self._pool.give(upstream)
            else:
                upstream.listener = None
                upstream.transport.close()
        self._served += 1
        close, body_done = self._close or not self._request.keep_alive, self._body_done
        self._clear()
        self.last = self.loop.time()
        if not body_done:
            self._linger()
        elif close or self._half_closed:
            self._leave()
        else:
            self.phase = Phase.HEAD
            if self._buffer:
                self.transport.resume_reading()
                self.loop.call_soon(self._next_pipelined)

    def _next_pipelined(self) -> None:
        if self.phase is Phase.HEAD:
            self._next()

    def _start_tunnel(self, response: Response, rest: bytes) -> None:
        if not self._request.websocket:
            return self._bad_upstream("it switched protocols unasked")
        self.transport.write(render_response(response, b"", False))
        self.phase = Phase.TUNNEL
        self.relay.counters["tunnels"] += 1
        if rest:
            self.relay.bytes_out += len(rest)
            self.transport.write(rest)
        if self._buffer and self._upstream is not None:
            self._upstream.transport.write(bytes(self._buffer))
            self._buffer.clear()
        self._response_head = b""
        self.transport.resume_reading()
        if self._half_closed and self._upstream is not None:
            self._upstream.transport.write_eof()

    def upstream_eof(self) -> bool:
        if self.phase is Phase.TUNNEL and self.transport.can_write_eof():
            self.transport.write_eof()
            return True
        return False

    def upstream_lost(self, error: Exception | None) -> None:
        upstream, self._upstream = self._upstream, None
        if self._bulk is not None:
            self._bulk.stop()
            self._bulk = None
        if self.phase is Phase.TUNNEL:
            self.phase = Phase.LINGER
            self.last = self.loop.time()
            self.transport.close()
        elif self.phase is Phase.EXCHANGE:
            if self._response is None:
                reused = upstream is not None and not upstream.fresh
                if reused and not self._response_head and self._request.repeatable and not self._retried:
                    self._retried = True
                    self._connect()
                    return
                self._bad_upstream("it closed the connection without an answer")
            elif self._mode is Body.UNTIL_CLOSE and error is None:
                if self._wrap:
                    self.transport.write(_LAST_CHUNK)
                self._finish()
            else:
                self._truncate()

    # Ends

    def _bad_upstream(self, why: str) -> None:
        self.relay.counters["bad_answers"] += 1
        self._fail(unreachable(502, why))

    def _fail(self, answer: LocalAnswer) -> None:
        """Give up this request: with an answer where none has begun, else by cutting it off."""
        begun = self._response is not None
        self._drop_upstream()
        if begun:
            self._truncate()
        else:
            self._answer(answer)

    def _drop_upstream(self) -> None:
        if self._bulk is not None:
            self._bulk.stop()
            self._bulk = None
        if self._connecting is not None and self._connecting is not asyncio.current_task(self.loop):
            self._connecting.cancel()
        self._connecting = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.listener = None
            upstream.transport.abort()

    def _truncate(self) -> None:
        """The client must see that its answer is cut off: no last chunk, fewer bytes than told, or a reset."""
        self.relay.counters["truncated"] += 1
        visible = self._mode is Body.LENGTH or self._wrap
        self._drop_upstream()
        if visible:
            self._leave()
        else:
            self.phase = Phase.LINGER
            self.transport.abort()

    def _answer(self, answer: LocalAnswer) -> None:
        """An answer of our own; the connection ends with it."""
        self._drop_upstream()
        head_only = self._request is not None and self._request.method == b"HEAD"
        self.transport.write(answer.render(head_only))
        self._linger()

    def _linger(self) -> None:
        """End our side, and read on for a moment: closing on unread bytes would take our answer away as well."""
        self.phase = Phase.LINGER
        self.last = self.loop.time()
        self._buffer.clear()
        if self.transport.can_write_eof() and not self._half_closed:
            self.transport.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _leave(self) -> None:
        self.phase = Phase.LINGER
        self.last = self.loop.time()
        self.transport.close()

    def end(self) -> None:
        """The process ends: at once between requests; one under way is waited for, and a new connection's first for a moment."""
        new = not self._served and self.loop.time() - self.last < _FIRST_REQUEST_SECONDS
        if self.phase is Phase.HEAD and not new and not self._buffer:
            self._leave()

    def abort(self) -> None:
        self.transport.abort()

    # Time

    def sweep(self, now: float) -> None:
        """Called about once a second: whoever keeps us waiting too long is left."""
        limits = self.relay.config.limits
        if self.phase is Phase.HEAD:
            if self._head_since:
                if now - self._head_since > limits.head_seconds:
                    if self._buffer:
                        self._answer(problem(408, "The request's head took too long."))
                    else:
                        self._leave()
            elif now - self.last > limits.idle_seconds:
                self._leave()
        elif self.phase is Phase.EXCHANGE:
            self._sweep_exchange(now)
        elif self.phase is Phase.TUNNEL:
            if now - self.last > limits.tunnel_seconds:
                self.relay.counters["timeouts"] += 1
                self.transport.abort()
        elif self.phase is Phase.LINGER:
            # What is written already may take the time a slow client needs, as long as it moves.
            if self._moved():
                self.last = now
            waiting = self.transport.get_write_buffer_size() > 0
            if now - self.last > (limits.stall_seconds if waiting else _LINGER_SECONDS):
                self.transport.abort()

    def _moved(self) -> bool:
        size = self._bulk.left if self._bulk is not None else self.transport.get_write_buffer_size()
        moved, self._seen_size = size != self._seen_size, size
        return moved

    def _sweep_exchange(self, now: float) -> None:
        limits = self.relay.config.limits
        if self._connecting is not None:
            return
        if self._bulk is not None or self._paused:
            if self._moved():
                self.last = now
            stuck = self._paused or (self._bulk is not None and self._bulk.waits_for_target)
            limit = limits.stall_seconds if stuck else limits.response_seconds
        elif not self._body_done and not self._upstream_paused:
            limit = limits.body_seconds
            allowed = limits.body_seconds + self._body_bytes / _SLOWEST_UPLOAD
            if now - self._body_since > allowed or now - self.last > limit:
                self.relay.counters["timeouts"] += 1
                return self._fail(problem(408, "The request's body came too slowly."))
        else:
            limit = limits.response_seconds
        if self._half_closed:
            limit = min(limit, _HALF_CLOSED_SECONDS)
        if now - self.last > limit:
            self.relay.counters["timeouts"] += 1
            if self._half_closed:
                self.transport.abort()
            else:
                self._fail(unreachable(504, "it did not answer in time"))
