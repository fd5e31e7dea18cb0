# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process `relay`."""

from __future__ import annotations

import logging
import socket
from typing import Any

from ..config import Config, TcpListener
from ..holders import describe_holder
from ..runtime import PortTaken
from .descriptions import Descriptions
from .server import Relay, bind_tcp

log = logging.getLogger(__name__)

NAMES = ("http", "https", "description")
_DRAIN_SECONDS = 2.0


class RelayService:
    name = "relay"

    def __init__(self) -> None:
        self._relay: Relay | None = None
        self._config = Config()
        self._metrics: Any = None

    async def start(self, config: Config, sockets: dict[str, socket.socket]) -> None:
        self._config = config
        self._relay = Relay(config)
        self._relay.set_descriptions(Descriptions(self._relay.loop, config))
        for name in NAMES:
            listener: TcpListener = getattr(config, name)
            sock = sockets.get(name)
            if sock is None and listener.enabled and not sockets:
                try:
                    sock = bind_tcp(listener)
                except OSError as error:
                    raise PortTaken(describe_holder("tcp", listener.port, error)) from None
            if sock is not None and listener.enabled:
                self._relay.listen(name, sock)
        await self._serve_metrics()

    async def _serve_metrics(self) -> None:
        if self._metrics is not None:
            await self._metrics.cleanup()
            self._metrics = None
        port = self._config.metrics_relay
        if port:
            from .. import metrics

            try:
                self._metrics = await metrics.serve(port, lambda: metrics.relay_samples(self.status()))
            except OSError as error:
                log.error("no metrics: %s", describe_holder("tcp", port, error))

    async def reload(self, config: Config) -> None:
        assert self._relay is not None
        self._relay.configure(config)
        self._relay.set_descriptions(Descriptions(self._relay.loop, config))
        metrics_moved = config.metrics_relay != self._config.metrics_relay
        self._config = config
        if metrics_moved:
            await self._serve_metrics()

    def tick(self) -> None:
        assert self._relay is not None
        self._relay.tick()

    def headline(self) -> str:
        assert self._relay is not None
        ports = ", ".join(f"{getattr(self._config, name).port}/tcp" for name in self._relay.listening)
        servers = ", ".join(u.url for u in self._config.upstreams) or "stand-in, no server configured"
        return f"{ports or 'no port'} to {servers}"

    def status(self) -> dict[str, Any]:
        assert self._relay is not None
        listeners = {name: getattr(self._config, name).port for name in self._relay.listening}
        return {"listeners": listeners, **self._relay.status()}

    async def stop(self) -> None:
        assert self._relay is not None
        await self._relay.drain(_DRAIN_SECONDS)
        if self._metrics is not None:
            await self._metrics.cleanup()
