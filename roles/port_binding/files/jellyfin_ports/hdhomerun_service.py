# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds HDHomeRun tuners from a port of its own, and asks for servers that cannot reach them by broadcast."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from typing import Any

from .config import Config
from .datagrams import arrival_index, leave_by, prepare, udp_socket
from .hdhomerun import PORT, Tuner, discover_request, is_discover_request, parse_reply
from .interfaces import Interface
from .rates import RateLimiter
from .systemd import noted

log = logging.getLogger(__name__)

_BATCH = 64
_EVERY_SECONDS = 60.0
_FIRST = (0.0, 1.0, 3.0)
_FORGET_SECONDS = 200.0
_TUNERS_LIMIT = 64
_WINDOW_SECONDS = 5.0
_ASKERS_LIMIT = 32


class HdHomeRunFinder:
    def __init__(self, heard: socket.socket | None, config: Config) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = udp_socket(0)
        prepare(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.port: int = self._socket.getsockname()[1]
        self._heard = heard
        self._interfaces: dict[int, Interface] = {}
        self._found: dict[str, tuple[Tuner, float]] = {}
        self._askers: dict[tuple[str, int], tuple[int, float]] = {}
        self._disguise = True
        self.counters: Counter[str] = Counter()
        self._plan = [self._loop.time() + delay for delay in _FIRST]
        self._loop.add_reader(self._socket.fileno(), self._answers)
        if heard is not None:
            prepare(heard)
            self._loop.add_reader(heard.fileno(), self._questions)
        self.configure(config)

    def configure(self, config: Config) -> None:
        self._config = config
        self._limiter = RateLimiter(5.0, 10.0, 20.0, 40.0)
        self._plan = [self._loop.time() + delay for delay in _FIRST]

    def set_interfaces(self, interfaces: dict[int, Interface]) -> None:
        self._interfaces = interfaces
        self._plan = [self._loop.time() + delay for delay in _FIRST]

    def tick(self) -> None:
        now = self._loop.time()
        if self._plan and now >= self._plan[0]:
            self._plan.pop(0)
            if not self._plan:
                self._plan = [now + _EVERY_SECONDS]
            self._ask(discover_request(), except_index=0)
        self._found = {k: v for k, v in self._found.items() if time.time() - v[1] < _FORGET_SECONDS}
        self._askers = {k: v for k, v in self._askers.items() if now < v[1]}

    def _ask(self, request: bytes, except_index: int) -> None:
        for interface in self._interfaces.values():
            own = interface.lan_address(self._config.lan)
            if own is None or interface.index == except_index or interface.loopback:
                continue
            for target in ("255.255.255.255", str(own.network.broadcast_address)):
                self._send(request, leave_by(interface.index, str(own.ip)), target)
        for tuner in self._config.hdhomerun.tuners:
            self._send(request, [], tuner)

    def _send(self, request: bytes, ancillary: list[Any], target: str) -> None:
        try:
            self._socket.sendmsg((request,), ancillary, 0, (target, PORT))
            self.counters["asked"] += 1
        except OSError as error:
            self.counters["send_error"] += 1
            log.debug("cannot ask %s for tuners: %s", target, error)

    def _answers(self) -> None:
        for _turn in range(_BATCH):
            try:
                data, _ancillary, _flags, peer = self._socket.recvmsg(4096, 64)
            except OSError:
                return
            source, port = peer
            if port != PORT or (source not in self._config.lan and source not in self._config.hdhomerun.tuners):
                self.counters["not_a_tuner"] += 1
                continue
            try:
                tuner = parse_reply(data, source)
            except ValueError:
                self.counters["malformed"] += 1
                continue
            if source in self._found or len(self._found) < _TUNERS_LIMIT:
                if source not in self._found:
                    log.info("found tuner %s at %s", tuner.id, source, extra=noted(tuner=tuner.id, address=source))
                self._found[source] = (tuner, time.time())
            self._pass_on(data, source)

    def _pass_on(self, data: bytes, tuner: str) -> None:
        """Jellyfin takes the sender of an answer for the tuner, so the answer leaves with the tuner's address."""
        if self._heard is None:
            return
        for (server, port), (_index, _until) in self._askers.items():
            try:
                ancillary = leave_by(0, tuner) if self._disguise else []
                self._heard.sendmsg((data,), ancillary, 0, (server, port))
                self.counters["passed_on"] += 1
            except OSError as error:
                self.counters["send_error"] += 1
                if self._disguise:
                    self._disguise = False
                    log.warning("cannot answer %s as the tuner %s: %s", server, tuner, error)

    def _questions(self) -> None:
        assert self._heard is not None
        now = self._loop.time()
        for _turn in range(_BATCH):
            try:
                data, ancillary, _flags, peer = self._heard.recvmsg(4096, 64)
            except OSError:
                return
            source, port = peer
            if source not in self._config.hdhomerun.relay_for or port == 0:
                self.counters["not_a_server"] += 1
                continue
            if not is_discover_request(data):
                self.counters["malformed"] += 1
                continue
            if self._limiter.refuses(source, now):
                self.counters["limited"] += 1
                continue
            index = arrival_index(ancillary)
            if len(self._askers) < _ASKERS_LIMIT or peer in self._askers:
                self._askers[(source, port)] = (index, now + _WINDOW_SECONDS)
            self.counters["asked_for_servers"] += 1
            self._ask(data, except_index=index)

    def status(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "found": [
                {"id": t.id, "address": t.address, "tuners": t.tuners, "base_url": t.base_url, "seen": round(seen)}
                for t, seen in self._found.values()
            ],
            "relays_for": list(self._config.hdhomerun.relay_for) if self._heard is not None else [],
            "answers_as_tuner": self._disguise,
            "counters": dict(self.counters),
        }

    def stop(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
