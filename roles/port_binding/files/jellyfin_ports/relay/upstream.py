# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to a Jellyfin server: opened, kept while idle, given out again."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol as Interface

from ..config import Upstream

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
_KEPT = 64


class Listener(Interface):
    """Whoever uses a connection hears of what comes in."""

    def upstream_data(self, data: bytes) -> None:
        """Bytes of the answer."""

    def upstream_lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    def upstream_eof(self) -> bool:
        """The server sends no more; true keeps the connection open for what it is still to get."""

    def upstream_paused(self, paused: bool) -> None:
        """Whether to hold back what is for the server."""


class UpstreamConnection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.listener: Listener | None = None
        self.fresh = True
        self.idle_since = 0.0
        self.pool: Pool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener.upstream_data(data)
        else:
            self.transport.abort()  # nobody asked

    def eof_received(self) -> bool:
        return self.listener.upstream_eof() if self.listener is not None else False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.pool is not None:
            self.pool.forget(self)
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.upstream_lost(exc)

    def pause_writing(self) -> None:
        if self.listener is not None:
            self.listener.upstream_paused(True)

    def resume_writing(self) -> None:
        if self.listener is not None:
            self.listener.upstream_paused(False)

    @property
    def socket(self) -> socket.socket | None:
        sock = self.transport.get_extra_info("socket")
        return sock if sock is not None else None


class Pool:
    """The idle connections of one server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Upstream) -> None:
        self._loop = loop
        self.upstream = upstream
        self._idle: list[UpstreamConnection] = []

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            connection.pool = None
            if not connection.transport.is_closing():
                connection.fresh = False
                return connection
        return None

    def give(self, connection: UpstreamConnection) -> None:
        connection.listener = None
        if len(self._idle) >= _KEPT or connection.transport.is_closing():
            connection.transport.close()
            return
        connection.idle_since = self._loop.time()
        connection.pool = self
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    async def connect(self) -> UpstreamConnection:
        _transport, connection = await asyncio.wait_for(
            self._loop.create_connection(UpstreamConnection, self.upstream.host, self.upstream.port), CONNECT_SECONDS
        )
        return connection

    def sweep(self, now: float) -> None:
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            connection = self._idle.pop(0)
            connection.pool = None
            connection.transport.close()

    def close(self) -> None:
        for connection in self._idle:
            connection.pool = None
            connection.transport.close()
        self._idle = []
