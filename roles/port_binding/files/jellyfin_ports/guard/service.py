# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process `guard`."""

from __future__ import annotations

import socket
from typing import Any

from .. import systemd
from ..config import Config
from ..holders import describe_holder
from ..runtime import PortTaken
from .server import Guard

_DRAIN_SECONDS = 2.0


class GuardService:
    name = "guard"

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self._config = Config()

    async def start(self, config: Config, sockets: dict[str, socket.socket]) -> None:
        self._config = config
        self._guard = Guard(config, systemd.state_directory())
        sock = sockets.get("guard")
        if sock is None:
            try:
                sock = socket.create_server(("127.0.0.1", config.guard.port), backlog=1024)
            except OSError as error:
                raise PortTaken(describe_holder("tcp", config.guard.port, error)) from None
        self._guard.listen("guard", sock)

    async def reload(self, config: Config) -> None:
        assert self._guard is not None
        self._guard.configure(config)
        self._config = config

    async def request(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._guard is not None
        return await self._guard.request(asked)

    def tick(self) -> None:
        assert self._guard is not None
        self._guard.tick()

    def headline(self) -> str:
        assert self._guard is not None
        refused = self._guard.attempts.status(self._guard.loop.time())["refused_addresses"]
        return f"logins on 127.0.0.1:{self._config.guard.port}; {refused} addresses refused for now"

    def status(self) -> dict[str, Any]:
        assert self._guard is not None
        return {"listeners": {"guard": self._config.guard.port}, **self._guard.status()}

    async def stop(self) -> None:
        assert self._guard is not None
        await self._guard.drain(_DRAIN_SECONDS)
