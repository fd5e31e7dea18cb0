# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process `discovery`: client discovery, SSDP and HDHomeRun over one view of interfaces and servers."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from . import systemd
from .client_discovery_service import ClientDiscovery
from .config import CLIENT_DISCOVERY_PORT, SSDP_PORT, Config
from .datagrams import udp_socket
from .hdhomerun_service import HdHomeRunFinder
from .holders import describe_holder
from .interfaces import Interface, read_interfaces, watch_socket
from .runtime import PortTaken
from .ssdp_service import Ssdp
from .upstreams import Memory, Watcher
from .urgency import Urgency

log = logging.getLogger(__name__)

_SETTLE_SECONDS = 0.3


class DiscoveryService:
    name = "discovery"

    def __init__(self) -> None:
        self._config = Config()
        self._interfaces: dict[int, Interface] = {}
        self._clients: ClientDiscovery | None = None
        self._ssdp: Ssdp | None = None
        self._tuners: HdHomeRunFinder | None = None
        self._metrics: Any = None
        self._watcher: Watcher | None = None
        self._netlink: socket.socket | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._urgency = Urgency()

    async def start(self, config: Config, sockets: dict[str, socket.socket]) -> None:
        self._config = config
        self._urgency.rise()
        self._loop = asyncio.get_running_loop()
        self._memory = Memory(systemd.state_directory())
        self._interfaces = read_interfaces()
        self._netlink = watch_socket()
        self._loop.add_reader(self._netlink.fileno(), self._links_changed)
        await self._watch(config)
        assert self._watcher is not None
        # Under systemd a socket that was not passed on is one that was given up to its holder.
        alone = not sockets
        sock = sockets.get("client-discovery")
        if config.client_discovery and (sock or alone):
            self._clients = ClientDiscovery(sock or self._bind(CLIENT_DISCOVERY_PORT), config, self._watcher)
            self._clients.set_interfaces(self._interfaces)
            self._loop.add_reader(self._clients.fileno(), self._clients.readable)
        sock = sockets.get("ssdp")
        if config.ssdp and (sock or alone):
            self._ssdp = Ssdp(sock or self._bind(SSDP_PORT, share=True), config, self._memory, self._watcher)
            self._ssdp.set_interfaces(self._interfaces)
            self._ssdp.servers_changed()
            self._loop.add_reader(self._ssdp.fileno(), self._ssdp.readable)
        if config.hdhomerun.enabled:
            self._tuners = HdHomeRunFinder(sockets.get("hdhomerun"), config)
            self._tuners.set_interfaces(self._interfaces)
        await self._serve_metrics()

    async def _serve_metrics(self) -> None:
        if self._metrics is not None:
            await self._metrics.cleanup()
            self._metrics = None
        port = self._config.metrics_discovery
        if port:
            from . import metrics

            try:
                self._metrics = await metrics.serve(port, lambda: metrics.discovery_samples(self.status()))
            except OSError as error:
                log.error("no metrics: %s", describe_holder("tcp", port, error))

    @staticmethod
    def _bind(port: int, share: bool = False) -> socket.socket:
        try:
            return udp_socket(port, share)
        except OSError as error:
            raise PortTaken(describe_holder("udp", port, error)) from None

    async def _watch(self, config: Config) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = Watcher(config.upstreams, self._memory, self._servers_changed)
        await self._watcher.start()

    def _servers_changed(self) -> None:
        if self._clients is not None:
            self._clients.forget()
        if self._ssdp is not None:
            self._ssdp.servers_changed()

    def _links_changed(self) -> None:
        assert self._netlink is not None
        try:
            while self._netlink.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("netlink: %s", error)  # overrun: the list is read anew anyhow
        if self._settling is None:
            self._settling = self._loop.call_later(_SETTLE_SECONDS, self._links_settled)

    def _links_settled(self) -> None:
        self._settling = None
        try:
            self._interfaces = read_interfaces()
        except OSError as error:
            log.warning("cannot read the interfaces: %s", error)
            return
        if self._clients is not None:
            self._clients.set_interfaces(self._interfaces)
        if self._ssdp is not None:
            self._ssdp.set_interfaces(self._interfaces)
        if self._tuners is not None:
            self._tuners.set_interfaces(self._interfaces)

    async def reload(self, config: Config) -> None:
        if config.upstreams != self._config.upstreams:
            await self._watch(config)
        metrics_moved = config.metrics_discovery != self._config.metrics_discovery
        self._config = config
        if metrics_moved:
            await self._serve_metrics()
        if self._tuners is not None:
            self._tuners.configure(config)
        if self._clients is not None:
            assert self._watcher is not None
            self._clients.configure(config)
            self._clients.set_watcher(self._watcher)
        if self._ssdp is not None:
            assert self._watcher is not None
            self._ssdp.configure(config)
            self._ssdp.set_watcher(self._watcher)
            self._ssdp.set_interfaces(self._interfaces)
            self._ssdp.servers_changed()

    def tick(self) -> None:
        self._urgency.tick()
        if self._clients is not None:
            self._clients.tick()
        if self._ssdp is not None:
            self._ssdp.tick()
        if self._tuners is not None:
            self._tuners.tick()

    def headline(self) -> str:
        assert self._watcher is not None
        names = [f"{s.identity.name} ({s.upstream.name})" for s in self._watcher.states if s.ready and s.identity]
        return f"announces {', '.join(names)}" if names else "announces nothing: no server is ready"

    def status(self) -> dict[str, Any]:
        assert self._watcher is not None
        lan = self._config.lan
        return {
            "urgent": self._urgency.urgent,
            "lan": [str(n) for n in lan.networks],
            "interfaces": [
                {"name": i.name, "addresses": [str(a) for a in i.addresses], "lan": i.lan_address(lan) is not None}
                for i in self._interfaces.values()
                if i.up
            ],
            "upstreams": [state.as_dict() for state in self._watcher.states],
            "client_discovery": self._clients.status() if self._clients else None,
            "ssdp": self._ssdp.status() if self._ssdp else None,
            "hdhomerun": self._tuners.status() if self._tuners else None,
        }

    async def stop(self) -> None:
        if self._ssdp is not None:
            await self._ssdp.stop()
        if self._tuners is not None:
            self._tuners.stop()
        if self._metrics is not None:
            await self._metrics.cleanup()
        if self._watcher is not None:
            self._watcher.stop()
