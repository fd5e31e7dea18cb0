# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One proxy's connection to the guard: a body is read as a whole before it goes to the server as it came."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from ..addresses import plain
from ..relay.client import ClientConnection, Phase
from ..relay.head import ChunkedBody, Request, Response, render_request
from ..relay.names import name_of
from ..relay.texts import STAND_IN, LocalAnswer, problem
from . import routes
from .attempts import FAILURE, NOTHING, SUCCESS, Hold, network_key
from .callers import owner

if TYPE_CHECKING:
    from .server import Guard

BODY_LIMIT = 65536
ANSWER_LIMIT = 262144
# Ours, or the server's answer could not be read: who is behind the proxy, what is awaited, what may be compressed.
_DROPPED = (b"x-jellynet-peer", b"expect", b"accept-encoding")


def too_many(seconds: float, text: str) -> LocalAnswer:
    return replace(problem(429, text), retry_after=max(1, round(seconds + 0.5)))


class GuardConnection(ClientConnection):
    relay: Guard

    def __init__(self, relay: Guard, scheme: str, peer: str, serves: str) -> None:
        self._slot = ""
        self.hold: Hold | None = None
        self._caller: int | None = None
        self._may = False
        super().__init__(relay, scheme, peer, serves)

    def _clear(self) -> None:
        self._release()
        super()._clear()
        self._collected: bytearray | None = None
        self.login: routes.Login | None = None
        self._outcome: str | None = NOTHING
        self._answered: bytearray | None = None
        self._base = ""
        self._host = b""
        self.server = ""
        self.address = ""
        self.direct = False

    def _release(self) -> None:
        """Whatever way the request ended."""
        if self._slot:
            self.relay.leave(self._slot)
            self._slot = ""
        if self.hold is not None:
            # Who hangs up before the answer wanted it not to count.
            self._settle(FAILURE if self._upstream is not None else NOTHING, 499)

    # The proxy's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        near, far = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._caller = owner(near[:2], far[:2])
        self._may = self.relay.callers.may(self._caller)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._collected is None:
            return super().data_received(data)
        self.last = self.loop.time()
        self._collect(data)

    def _begin(self, request: Request) -> None:
        relay = self.relay
        self._clear()
        self._request = request
        if not self._may:
            relay.stranger(self._caller)
            return self._answer(problem(403, "Only the reverse proxy of this host may ask here."))
        told = [request.values(name) for name in (b"x-forwarded-for", b"x-jellynet-peer")]
        try:
            client, peer = (plain(values[0].strip()) for values in told if len(values) == 1)
        except ValueError:
            relay.counters["bad_requests"] += 1
            return self._answer(problem(400, "X-Forwarded-For and X-Jellynet-Peer are one address each."))
        relay.counters["requests"] += 1
        self.address, self.direct = client, client == peer
        if not relay.pools:
            return self._answer(STAND_IN)
        slot = network_key(client)
        wait = relay.enter(slot)
        if wait:
            return self._answer(wait)
        self._slot = slot
        self._host = name_of(request.host).encode("ascii")
        if not relay.serves(self._host):
            return self._answer(problem(421, "No server is known by this name here."))
        self._pool = relay.pool_for(request.host)
        self.server, self._base = self._pool.upstream.name, self._pool.upstream.path
        if request.length > BODY_LIMIT:
            return self._too_long()
        self.phase = Phase.EXCHANGE
        self._collected = bytearray()
        self._body_done = not request.has_body
        self._body_left = request.length
        self._body_since = self.loop.time()
        if request.chunked:
            self._body_chunks = ChunkedBody(request.parser)
        if request.http11 and request.has_body and request.values(b"expect"):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = bytes(self._buffer)
        self._buffer.clear()
        self._collect(data)

    def _too_long(self) -> None:
        self._answer(problem(413, f"A login has at most {BODY_LIMIT} bytes."))

    def _collect(self, data: bytes) -> None:
        assert self._collected is not None
        self._body_bytes += len(data)
        self.relay.bytes_in += len(data)
        if self._body_chunks is not None:
            try:
                self._collected += self._body_chunks.feed(data) if data else b""
            except ValueError as error:
                self.relay.counters["bad_requests"] += 1
                return self._answer(problem(400, f"The request's body cannot be read: {error}."))
            if len(self._collected) > BODY_LIMIT:
                return self._too_long()
            self._body_done = self._body_chunks.done
            self._request.keep_alive = False  # what follows a chunked body is not looked at
        else:
            self._collected += data[: self._body_left]
            rest = data[self._body_left :]
            self._body_left -= len(data) - len(rest)
            self._body_done = self._body_left == 0
            self._buffer += rest
        if self._body_done:
            body, self._collected = bytes(self._collected), None
            self._judge(body)

    def _judge(self, body: bytes) -> None:
        request = self._request
        method, target = request.method.decode("ascii"), request.target.decode("latin-1")
        content_type = ";".join(request.values(b"content-type"))
        try:
            self.login = routes.read(method, target, self._base, content_type, body)
        except routes.BadBody as error:
            self.relay.counters["bad_requests"] += 1
            return self._answer(problem(400, f"This login cannot be read: {error}."))
        if not self.login.free and routes.from_a_strangers_page(request):
            self.relay.counters["refused_pages"] += 1
            return self._answer(problem(403, "A page elsewhere cannot log you in here."))
        refusal = self.relay.admit(self)
        if refusal is not None:
            return self._answer(refusal)
        scheme = "".join(request.values(b"x-forwarded-proto")).strip().lower()
        request.fields = tuple(field for field in request.fields if field[0].lower() not in _DROPPED)
        request.websocket = False
        if request.chunked:
            request.chunked, request.length, self._body_chunks = False, len(body), None
        proto = scheme if scheme == "http" else "https"
        self._rendered = render_request(request, self.address, proto, self._host) + body
        self._dispatch()

    # The server's side

    def upstream_data(self, data: bytes) -> None:
        if self._response is not None:
            self._keep(data)
        super().upstream_data(data)

    def _keep(self, data: bytes) -> None:
        if self._answered is not None:
            self._answered += data
            if len(self._answered) > ANSWER_LIMIT:
                self._answered = None

    def _start_response(self, response: Response, rest: bytes) -> None:
        assert self.login is not None
        self._answered = bytearray()
        self._keep(rest)
        self._outcome = routes.outcome(self.login, response.status)
        if self._outcome is not None:
            self._settle(self._outcome, response.status)
        super()._start_response(response, rest)

    def _finish(self) -> None:
        """The answer is there as a whole."""
        response, login = self._response, self.login
        if response is not None and login is not None:
            body = plain_body(response, self._answered)
            if self._outcome is None:
                self._settle(routes.body_outcome(body), response.status)
            elif self._outcome == SUCCESS:
                self.relay.learn(self, body)
        super()._finish()

    def _settle(self, outcome: str, status: int) -> None:
        hold, self.hold = self.hold, None
        if hold is not None:
            self.relay.settle(self, hold, outcome, status)

    def _answer(self, answer: LocalAnswer) -> None:
        self._collected = None
        hold, self.hold = self.hold, None
        if hold is not None:  # the server did not answer as it should
            self.relay.settle(self, hold, NOTHING, answer.status)
        self._release()
        super()._answer(answer)


def plain_body(response: Response, raw: bytearray | None) -> bytes:
    """A body without its chunks; b'' where it was too long or is cut off."""
    if raw is None or not response.chunked:
        return bytes(raw or b"")
    body, rest = b"", bytes(raw)
    while True:
        size, _line, rest = rest.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            return b""
        if length == 0:
            return body
        body, rest = body + rest[:length], rest[length + 2 :]
