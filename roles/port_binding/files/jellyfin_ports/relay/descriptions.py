# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description document of our SSDP device, and its icon, served from the relay's port."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable

from .. import probe
from ..client_discovery import Identity
from ..config import Config
from ..ssdp import own_description, own_device, own_paths, own_uuid
from .head import Request
from .texts import LocalAnswer, problem, unreachable

_PREFIX = b"/.well-known/jellyfin-ports/"
_FRESH_SECONDS = 10.0
_AGAIN_SECONDS = 1.0  # a server that is down is asked no more often, however many want to know
_SIZE = 48


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def icon() -> bytes:
    """A plain icon of our own: a triangle on a dark square."""
    rows = bytearray()
    for y in range(_SIZE):
        rows.append(0)
        for x in range(_SIZE):
            inside = 10 <= x <= 40 and abs(y - _SIZE / 2) <= (40 - x) * 0.55
            rows += bytes((0xAA, 0x5C, 0xC3)) if inside else bytes((0x10, 0x10, 0x18))
    header = struct.pack(">IIBBBBB", _SIZE, _SIZE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


class Descriptions:
    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config) -> None:
        self._loop = loop
        self._config = config
        self._identity: Identity | None = None
        self._problem = ""
        self._asked = -_FRESH_SECONDS
        self._asking: asyncio.Task[None] | None = None

    def answer(self, request: Request, transport: asyncio.Transport) -> LocalAnswer | Awaitable[LocalAnswer] | None:
        if not request.target.startswith(_PREFIX):
            return None
        if not self._config.ssdp or not self._config.upstreams:
            return problem(404, "Nothing is announced by SSDP here.")
        if request.method not in (b"GET", b"HEAD"):
            return problem(405, "Ask with GET.")
        local = transport.get_extra_info("sockname")
        return self._answer(request.target.decode("latin-1"), str(local[0]) if local else "")

    async def _ask(self) -> None:
        found = await self._loop.run_in_executor(None, probe.ask, self._config.upstreams[0], 2.0)
        self._asked = self._loop.time()
        if not (self._identity and found.slow):  # a server that is only busy is who it was
            self._identity, self._problem = found.identity, found.problem

    async def _answer(self, target: str, local: str) -> LocalAnswer:
        upstream = self._config.upstreams[0]
        if self._loop.time() - self._asked > (_FRESH_SECONDS if self._identity else _AGAIN_SECONDS):
            if self._asking is None or self._asking.done():
                self._asking = self._loop.create_task(self._ask())
            await asyncio.shield(self._asking)  # the others wait for the same question
        identity = self._identity
        if identity is None:
            return unreachable(503, self._problem)
        description, icon_path = own_paths(own_uuid(identity))
        if target == icon_path:
            return LocalAnswer(200, icon(), "image/png")
        if target != description:
            return problem(404, "No device of that name is announced.")
        port = self._config.description_port
        if local.lower().startswith("::ffff:"):
            local = local[7:]
        host = f"[{local}]" if ":" in local else local
        page = upstream.announce_port or 0
        presentation = f"http://{host}:{page}{upstream.path}/" if page else f"{upstream.url}{upstream.path}/"
        own = next((p.url + "/" for p in upstream.published if p.key == "all"), presentation)
        body = own_description(identity, own, own_device(identity, port).config_id)
        return LocalAnswer(200, body, 'text/xml; charset="utf-8"')
