# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Speaks SSDP on 1900/udp, on every LAN interface."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import socket
import struct
import time
from collections import Counter
from typing import Any

from . import probe
from .config import Config
from .datagrams import FloodGuard, arrival_index, destination, leave_by, prepare
from .interfaces import Interface, admit
from .rates import RateLimiter
from .ssdp import (
    GROUP,
    PORT,
    Announcer,
    Boot,
    Device,
    media_server,
    own_device,
    parse_media_server,
    parse_search,
    render_alive,
    render_byebye,
    render_response,
    render_update,
    server_uuid,
    spread,
)
from .upstreams import Memory, State, Watcher

log = logging.getLogger(__name__)

_BATCH = 64
_WAITING_LIMIT = 512
_DLNA_SECONDS = 60.0
_REFUSED = ("not_lan", "wrong_interface", "unknown_interface", "off_link")
_GROUP_PORT = (GROUP, PORT)


class Ssdp:
    def __init__(self, sock: socket.socket, config: Config, memory: Memory, watcher: Watcher) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        prepare(sock)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        self._memory = memory
        self._watcher = watcher
        self._chance = random.SystemRandom()
        self._interfaces: dict[int, Interface] = {}
        self._joined: dict[int, str] = {}  # interface index: our address there
        self._devices: list[Device] = []
        self._announcer = Announcer(self._chance)
        self._waiting: dict[tuple[str, int, str], asyncio.TimerHandle] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._dlna: dict[str, Device] = {}
        self._dlna_asked = 0.0
        self._asking: asyncio.Task[None] | None = None
        self.counters: Counter[str] = Counter()
        self._guard = FloodGuard(sock, config.lan)
        self._boot = Boot.after(int(memory.data.get("boot_id", 0) or 0), time.time())
        memory.put("boot_id", self._boot.id)
        self.configure(config)

    def fileno(self) -> int:
        return self._socket.fileno()

    def configure(self, config: Config) -> None:
        limits = config.limits
        self._config = config
        self._guard.detach()
        self._guard.lan = config.lan
        self._limiter = RateLimiter(limits.source_rate, limits.source_burst, limits.total_rate, limits.total_burst)

    def set_watcher(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._dlna_asked = 0.0

    # Interfaces

    def set_interfaces(self, interfaces: dict[int, Interface]) -> None:
        """Join the group on every LAN interface; tell the neighbours when our addresses changed."""
        self._interfaces = interfaces
        lan = self._config.lan
        wanted: dict[int, str] = {}
        for interface in interfaces.values():
            address = interface.lan_address(lan)
            if address is not None and interface.multicast:
                wanted[interface.index] = str(address.ip)
        if wanted == self._joined:
            return
        for index in set(self._joined) - set(wanted):
            self._membership(index, join=False)
        stayed = {index: own for index, own in self._joined.items() if wanted.get(index) == own}
        first = not self._joined
        for index in set(wanted) - set(self._joined):
            if not self._membership(index, join=True):
                del wanted[index]
        self._joined = wanted
        if first or not self._devices:
            self._announcer.begin(self._loop.time())
            return
        following = Boot.after(self._boot.id, time.time())
        for device in self._devices:
            for index, own in stayed.items():
                for nt, usn in device.pairs():
                    self._send(render_update(device, nt, usn, own, self._boot, following), index, own)
        self._boot = following
        self._memory.put("boot_id", following.id)
        self._announcer.begin(self._loop.time())

    def _membership(self, index: int, join: bool) -> bool:
        request = struct.pack("=4s4si", socket.inet_aton(GROUP), b"\0\0\0\0", index)
        option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        try:
            self._socket.setsockopt(socket.IPPROTO_IP, option, request)
        except OSError as error:
            if join and error.errno == errno.EADDRINUSE:
                return True  # systemd keeps the socket, and its membership, while we restart
            if join:
                log.warning("cannot join %s on interface %s: %s", GROUP, index, error.strerror)
            return False
        return True

    # Devices

    def servers_changed(self) -> None:
        """What is ready is announced, what is not any more takes its leave."""
        port = self._config.description_port
        devices: list[Device] = []
        for state in self._watcher.states:
            if not state.ready or state.identity is None:
                continue
            if port and state is self._watcher.states[0]:
                devices.append(own_device(state.identity, port))
            plugin = self._dlna.get(state.upstream.name)
            if plugin is not None:
                devices.append(plugin)
        gone = [d for d in self._devices if d not in devices]
        new = [d for d in devices if d not in self._devices]
        for device in gone:
            self._say_goodbye(device)
        self._devices = devices
        if new:
            self._announcer.begin(self._loop.time())

    async def _ask_for_dlna(self, states: list[State]) -> None:
        """Where the server's DLNA plugin is on, its own description says so."""
        port = self._config.http.port if self._config.http.enabled else 0
        found: dict[str, Device] = {}
        for state in states:
            upstream, identity = state.upstream, state.identity
            if not (upstream.dlna and state.ready and identity and port and upstream.announce_port == port):
                continue
            path = f"{upstream.path}/dlna/{server_uuid(identity)}/description.xml"
            try:
                status, body = await self._loop.run_in_executor(None, probe.fetch, upstream, path, 3.0)
                if status == 200:
                    kind, services, name = parse_media_server(body, server_uuid(identity))
                    found[upstream.name] = media_server(identity, upstream.path, port, kind, services, name)
            except (probe.NotReady, ValueError) as error:
                log.debug("%s: no DLNA: %s", upstream.name, error)
                if isinstance(error, probe.TooSlow) and upstream.name in self._dlna:
                    found[upstream.name] = self._dlna[upstream.name]  # it may only be busy
        if found != self._dlna:
            self._dlna = found
            self.servers_changed()

    # Time

    def tick(self) -> None:
        now = self._loop.time()
        self._guard.tick(sum(self.counters[reason] for reason in _REFUSED))
        hopeful = not self._dlna and any(s.ready for s in self._watcher.states)
        idle = self._asking is None or self._asking.done()
        if idle and now - self._dlna_asked >= (_DLNA_SECONDS / 6 if hopeful else _DLNA_SECONDS):
            self._dlna_asked = now
            self._asking = self._loop.create_task(self._ask_for_dlna(list(self._watcher.states)))
        if self._devices and self._joined and self._announcer.take(now):
            self._announce()

    def _announce(self) -> None:
        jobs = [
            (render_alive(device, nt, usn, address, self._boot), index, address)
            for device in self._devices
            for index, address in self._joined.items()
            for nt, usn in device.pairs()
        ]
        for delay, job in zip(spread(len(jobs), self._chance), jobs):
            self._later(delay, self._send, *job)
        self.counters["alive_rounds"] += 1

    def _later(self, delay: float, call: Any, *arguments: Any) -> None:
        def run() -> None:
            self._timers.discard(handle)
            call(*arguments)

        handle = self._loop.call_later(delay, run)
        self._timers.add(handle)

    def _say_goodbye(self, device: Device) -> None:
        for index, address in self._joined.items():
            for nt, usn in device.pairs():
                self._send(render_byebye(device, nt, usn, self._boot), index, address)

    def _send(self, message: bytes, index: int, address: str, target: tuple[str, int] = _GROUP_PORT) -> None:
        try:
            self._socket.sendmsg((message,), leave_by(index, address), 0, target)
        except OSError as error:
            self.counters["send_error"] += 1
            log.debug("cannot send to %s: %s", target, error)

    # Searches

    def readable(self) -> None:
        now = time.monotonic()
        for _turn in range(_BATCH):
            try:
                data, ancillary, _flags, peer = self._socket.recvmsg(4097, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.counters["receive_error"] += 1
                return
            self._heard(data, ancillary, peer, now)

    def _heard(self, data: bytes, ancillary: list[Any], peer: tuple[str, int], now: float) -> None:
        source, port = peer
        index = arrival_index(ancillary)
        admission = admit(source, index, self._interfaces, self._config.lan)
        if admission.reason or not admission.on_link:
            self.counters[admission.reason or "off_link"] += 1
            return
        if not data.startswith(b"M-SEARCH"):
            self.counters["not_a_search"] += 1
            return
        if port == 0:
            self.counters["port_zero"] += 1
            return
        search = parse_search(data, destination(ancillary) == GROUP)
        if search is None:
            self.counters["malformed"] += 1
            return
        answers = [(device, *pair) for device in self._devices for pair in device.matches(search.target)]
        if not answers:
            self.counters["not_ours"] += 1
            return
        limited = self._limiter.refuses(source, now)
        if limited:
            self.counters["limited_" + limited] += 1
            return
        key = (source, port, search.target.lower())
        if key in self._waiting:
            self.counters["repeated"] += 1  # control points ask more than once; the answer is on its way
            return
        if len(self._waiting) >= _WAITING_LIMIT:
            self.counters["too_many"] += 1
            return
        own_link = index if index in self._joined else 0
        delay = self._chance.uniform(0.0, search.wait * 0.9) if search.wait else 0.0
        self._waiting[key] = self._loop.call_later(delay, self._answer, key, answers, peer, own_link, admission.local)

    def _answer(
        self,
        key: tuple[str, int, str],
        answers: list[tuple[Device, str, str]],
        peer: tuple[str, int],
        index: int,
        local: str,
    ) -> None:
        self._waiting.pop(key, None)
        for device, st, usn in answers:
            if device in self._devices:
                self._send(render_response(device, st, usn, local, self._boot), index, local, peer)
                self.counters["answered"] += 1

    def status(self) -> dict[str, Any]:
        why = ""
        if not self._config.description_port:
            why = "no HTTP listener of ours serves a description"
        elif not self._joined:
            why = "no LAN interface speaks multicast"
        return {
            "devices": [
                {"name": d.name, "type": d.type, "location": d.location, "uuid": d.uuid} for d in self._devices
            ],
            "interfaces": [
                {"name": self._interfaces[i].name, "address": a}
                for i, a in self._joined.items()
                if i in self._interfaces
            ],
            "why": why,
            "boot_id": self._boot.id,
            "counters": dict(self.counters),
            "dropped_in_kernel": self._guard.dropped,
        }

    async def stop(self) -> None:
        for handle in [*self._timers, *self._waiting.values()]:
            handle.cancel()
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
        for round_ in range(2 if self._devices else 0):
            if round_:
                await asyncio.sleep(self._chance.uniform(0.05, 0.15))
            for device in self._devices:
                self._say_goodbye(device)
