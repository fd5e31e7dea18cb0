# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the bundled package importable, and runs its relay against a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from loopback import kept_port

SERVER_ID = "0123456789abcdef0123456789abcdef"


def config_text(**changes: Any) -> str:
    base: dict[str, Any] = {
        "generation": "test",
        "lan": ["192.168.1.0/24"],
        "upstreams": [{"name": "media", "url": "http://192.168.1.5:8096", "announce_port": 8096}],
        "listeners": {"http": {"enabled": True}, "client_discovery": {"enabled": True}},
    }
    base.update(changes)
    return json.dumps(base, indent=1)


def info_body(**changes: Any) -> bytes:
    fields = {"ServerName": "media", "Version": "10.11.0", "ProductName": "Jellyfin Server", "Id": SERVER_ID}
    fields.update(changes)
    return json.dumps(fields).encode()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as it holds; AssertionError when it never does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, f"it does not hold within {seconds:g} s"
        await asyncio.sleep(0.01)


class Setting:
    """A relay on loopback and the server behind it, which does what the test scripts."""

    def __init__(self, relay: Any, port: int, origin: asyncio.AbstractServer) -> None:
        self.relay = relay
        self.port = port
        self.origin = origin

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, data: bytes, wait: float = 20.0) -> bytes:
        """Send and read until the relay closes."""
        reader, writer = await self.connect()
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(-1), wait)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def relay_before(
    script: Script, make: Callable[[Any], Any] | None = None, **changes: Any
) -> AsyncIterator[Setting]:
    """`make` gives a relay of another kind."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # cancelled too, which asyncio of Python 3.12.1 logs as an error where tests read the log
        finally:
            writer.close()

    with kept_port() as origin_port:
        origin = await asyncio.start_server(serve, "127.0.0.1", origin_port)
        async with _relaying(origin, origin_port, make, changes) as setting:
            yield setting


@contextlib.asynccontextmanager
async def _relaying(
    origin: asyncio.AbstractServer, origin_port: int, make: Callable[[Any], Any] | None, changes: dict[str, Any]
) -> AsyncIterator[Setting]:
    from jellyfin_ports.config import parse
    from jellyfin_ports.relay.server import Relay

    server = {"url": f"http://127.0.0.1:{origin_port}", **changes.pop("server", {})}
    settings = {"lan": ["127.0.0.0/8"], "upstreams": [server], **changes}
    relay = (make or Relay)(parse(config_text(**settings)))
    listener = socket.create_server(("127.0.0.1", 0))
    relay.listen("http", listener)
    ticking = asyncio.ensure_future(_tick(relay))
    try:
        yield Setting(relay, listener.getsockname()[1], origin)
    finally:
        ticking.cancel()
        await relay.drain(0.1)
        listener.close()
        origin.close()
        await asyncio.sleep(0)


async def _tick(relay: Any) -> None:
    while True:
        await asyncio.sleep(0.05)
        relay.tick()


def hidden_entities(body: str) -> list[bytes]:
    """A document with entities in encodings in which no ASCII text shows them."""
    declared = '<?xml version="1.0" encoding="{}"?>'
    document = '<!DOCTYPE r [<!ENTITY a "b">]>' + body
    ebcdic = declared.format("cp500").encode() + document.encode("cp500")
    return [
        (declared.format("utf-16") + document).encode("utf-16"),
        document.encode("utf-16-le"),
        document.encode("utf-16-be"),
        ebcdic,
    ]
