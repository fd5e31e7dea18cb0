# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers on 7359/udp."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections import Counter, OrderedDict
from typing import Any

from .addresses import Networks
from .client_discovery import QUESTION, REPLY_LIMIT, choose_address, describe_rules, is_question, render_reply
from .config import CLIENT_DISCOVERY_PORT, Config
from .datagrams import FloodGuard, arrival_index, leave_by, prepare
from .interfaces import Interface, admit, route_source
from .rates import Bucket, RateLimiter
from .upstreams import Watcher

log = logging.getLogger(__name__)

_BATCH = 64
_DATAGRAM_LIMIT = 2048
_REMEMBERED = 4096
_VALID_SECONDS = 60.0
_ASKED_LIMIT = 64
_ODD_PORTS = (0, CLIENT_DISCOVERY_PORT)
_REFUSED = ("not_lan", "wrong_interface", "unknown_interface")


class Verdict:
    """What one requester on one interface gets, and what it got so far."""

    __slots__ = ("addresses", "ancillary", "bucket", "count", "last", "own", "reason", "replies")

    def __init__(
        self,
        reason: str,
        replies: tuple[bytes, ...] = (),
        ancillary: Any = None,
        own: bool = False,
        addresses: tuple[str, ...] = (),
        bucket: Bucket | None = None,
    ) -> None:
        self.reason = reason
        self.replies = replies
        self.ancillary = ancillary  # None: the kernel takes the right way by itself
        self.own = own
        self.addresses = addresses
        self.bucket = bucket
        self.count = 0
        self.last = 0.0


class ClientDiscovery:
    """One socket; every requester's verdict is worked out once and kept until something changes."""

    def __init__(self, sock: socket.socket, config: Config, watcher: Watcher) -> None:
        self._socket = sock
        prepare(sock)
        self._watcher = watcher
        self._interfaces: dict[int, Interface] = {}
        self._verdicts: dict[tuple[str, bytes], Verdict] = {}
        self.counters: Counter[str] = Counter()
        self._asked: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._forgotten = 0.0
        self._guard = FloodGuard(sock, config.lan)
        self.configure(config)

    def configure(self, config: Config) -> None:
        limits = config.limits
        self._config = config
        self._guard.detach()
        self._guard.lan = config.lan
        self._limiter = RateLimiter(limits.source_rate, limits.source_burst, limits.total_rate, limits.total_burst)
        self.forget()

    def set_watcher(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.forget()

    def set_interfaces(self, interfaces: dict[int, Interface]) -> None:
        self._interfaces = interfaces
        self.forget()

    def forget(self) -> None:
        self._collect()
        self._verdicts.clear()
        self._forgotten = time.monotonic()

    def fileno(self) -> int:
        return self._socket.fileno()

    def tick(self) -> None:
        self._guard.tick(sum(self.counters[reason] for reason in _REFUSED))
        if time.monotonic() - self._forgotten > _VALID_SECONDS:
            self.forget()  # a route may have changed

    def readable(self) -> None:
        # Every call here is paid for by each datagram: the verdict holds all that does not change in between.
        receive, send, verdicts = self._socket.recvmsg, self._socket.sendto, self._verdicts
        total = self._limiter.total
        now = time.monotonic()
        answered = 0
        for _turn in range(_BATCH):
            try:
                data, ancillary, _flags, peer = receive(_DATAGRAM_LIMIT, 64)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.counters["receive_error"] += 1
                log.debug("receive: %s", error)
                break
            try:
                verdict = verdicts[peer[0], ancillary[0][2]]
            except (KeyError, IndexError):
                verdict = self._judge(peer[0], ancillary)
            if verdict.reason or not verdict.replies or QUESTION not in data.lower() or peer[1] in _ODD_PORTS:
                problem = self._why_not(verdict, data, peer[1])
                if problem:
                    self.counters[problem] += 1
                    continue
            if not verdict.bucket.take(now):  # type: ignore[union-attr]
                self.counters["limited_source"] += 1
                continue
            if not total.take(now):
                self.counters["limited_total"] += 1
                continue
            try:
                for reply in verdict.replies:
                    if verdict.ancillary is None:
                        send(reply, peer)
                    else:
                        self._socket.sendmsg((reply,), verdict.ancillary, 0, peer)
                    answered += 1
                verdict.count += 1
                verdict.last = now
            except OSError as error:
                self.counters["send_error"] += 1
                log.debug("cannot answer %s: %s", peer[0], error)
        if answered:
            self.counters["answered"] += answered

    @staticmethod
    def _why_not(verdict: Verdict, data: bytes, port: int) -> str:
        if verdict.reason:
            return verdict.reason
        if port == 0:
            return "port_zero"
        if verdict.own and port == CLIENT_DISCOVERY_PORT:
            return "own"
        if not is_question(data):
            return "not_a_question"
        return "" if verdict.replies else "no_server"

    def _judge(self, source: str, ancillary: list[tuple[int, int, bytes]]) -> Verdict:
        verdict = self._new_verdict(source, arrival_index(ancillary))
        if len(self._verdicts) >= _REMEMBERED:
            self.forget()
        if ancillary:
            self._verdicts[source, ancillary[0][2]] = verdict
        return verdict

    def _new_verdict(self, source: str, index: int) -> Verdict:
        admission = admit(source, index, self._interfaces, self._config.lan)
        if admission.reason:
            return Verdict(admission.reason)
        name = self._interfaces[index].name if index in self._interfaces else ""
        own = any(str(a.ip) == source for i in self._interfaces.values() for a in i.addresses)
        replies, addresses = [], []
        for state in self._watcher.states:
            if not state.ready or state.identity is None:
                continue
            address = choose_address(state.upstream, source, admission.local, name, admission.on_link)
            if not address:
                continue
            reply = render_reply(address, state.identity.id, state.identity.name)
            if len(reply) <= REPLY_LIMIT:
                replies.append(reply)
                addresses.append(address)
        leave = leave_by(index if admission.on_link and not own else 0, admission.local)
        links = sum(1 for i in self._interfaces.values() if i.on_link(ipaddress.IPv4Address(source)))
        plain = links <= 1 and route_source(source) == admission.local
        bucket = self._limiter.bucket(source, time.monotonic())
        return Verdict("", tuple(replies), None if plain else leave, own, tuple(addresses), bucket)

    def _collect(self) -> None:
        """Keep what the verdicts counted, before they are forgotten."""
        for (source, _info), verdict in self._verdicts.items():
            if not verdict.count:
                continue
            entry = self._asked.pop(source, None) or {"count": 0, "last": 0.0, "addresses": ()}
            self._asked[source] = {
                "count": entry["count"] + verdict.count,
                "last": max(entry["last"], verdict.last),
                "addresses": verdict.addresses,
            }
            verdict.count = 0
            if len(self._asked) > _ASKED_LIMIT:
                self._asked.popitem(last=False)

    def status(self) -> dict[str, Any]:
        lan: Networks = self._config.lan
        self._collect()
        offset = time.time() - time.monotonic()
        return {
            "counters": dict(self.counters),
            "dropped_in_kernel": self._guard.dropped,
            "flood_filter": self._guard.engaged,
            "announced": {
                s.upstream.name: [{"to": to, "address": address} for to, address in describe_rules(s.upstream, lan)]
                for s in self._watcher.states
                if s.ready
            },
            "answered": [
                {"source": source, **{**entry, "last": round(entry["last"] + offset)}}
                for source, entry in self._asked.items()
            ],
        }
