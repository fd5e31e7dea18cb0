# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers on 7359/udp."""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter, OrderedDict
from typing import Any, NamedTuple

from .addresses import Networks
from .client_discovery import REPLY_LIMIT, choose_address, describe_rules, is_question, render_reply
from .config import CLIENT_DISCOVERY_PORT, Config
from .datagrams import FloodGuard, arrival_index, leave_by, prepare
from .interfaces import Interface, admit
from .limits import RateLimiter
from .upstreams import Watcher

log = logging.getLogger(__name__)

_BATCH = 64
_DATAGRAM_LIMIT = 2048
_REMEMBERED = 4096
_REFUSED = ("not_lan", "wrong_interface", "unknown_interface")


class Verdict(NamedTuple):
    reason: str
    replies: tuple[bytes, ...] = ()
    ancillary: Any = ()
    own: bool = False
    addresses: tuple[str, ...] = ()


class ClientDiscovery:
    """One socket; every requester's verdict is worked out once and kept until something changes."""

    def __init__(self, sock: socket.socket, config: Config, watcher: Watcher) -> None:
        self._socket = sock
        prepare(sock)
        self._watcher = watcher
        self._interfaces: dict[int, Interface] = {}
        self._verdicts: dict[tuple[str, bytes], Verdict] = {}
        self.counters: Counter[str] = Counter()
        self.answered: OrderedDict[str, dict[str, Any]] = OrderedDict()
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
        self._verdicts.clear()

    def fileno(self) -> int:
        return self._socket.fileno()

    def tick(self) -> None:
        self._guard.tick(sum(self.counters[reason] for reason in _REFUSED))

    def readable(self) -> None:
        receive, send, verdicts, refuses = (
            self._socket.recvmsg,
            self._socket.sendmsg,
            self._verdicts,
            self._limiter.refuses,
        )
        counters = self.counters
        now = time.monotonic()
        for _ in range(_BATCH):
            try:
                data, ancillary, _flags, peer = receive(_DATAGRAM_LIMIT, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                counters["receive_error"] += 1
                log.debug("receive: %s", error)
                return
            source, port = peer
            key = (source, ancillary[0][2] if ancillary else b"")
            verdict = verdicts.get(key)
            if verdict is None:
                verdict = self._judge(source, ancillary)
                if len(verdicts) >= _REMEMBERED:
                    verdicts.clear()
                verdicts[key] = verdict
            if verdict.reason:
                counters[verdict.reason] += 1
            elif port == 0:
                counters["port_zero"] += 1
            elif verdict.own and port == CLIENT_DISCOVERY_PORT:
                counters["own"] += 1
            elif not is_question(data):
                counters["not_a_question"] += 1
            elif not verdict.replies:
                counters["no_server"] += 1
            else:
                limited = refuses(source, now)
                if limited:
                    counters["limited_" + limited] += 1
                    continue
                for reply in verdict.replies:
                    try:
                        send((reply,), verdict.ancillary, 0, peer)
                        counters["answered"] += 1
                    except OSError as error:
                        counters["send_error"] += 1
                        log.debug("cannot answer %s: %s", source, error)
                self._note(source, verdict)

    def _note(self, source: str, verdict: Verdict) -> None:
        entry = self.answered.get(source)
        if entry is None:
            if len(self.answered) >= 64:
                self.answered.popitem(last=False)
            entry = self.answered[source] = {"count": 0}
        entry["count"] += 1
        entry["last"] = time.time()
        entry["addresses"] = verdict.addresses

    def _judge(self, source: str, ancillary: list[tuple[int, int, bytes]]) -> Verdict:
        index = arrival_index(ancillary)
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
        return Verdict("", tuple(replies), leave, own, tuple(addresses))

    def status(self) -> dict[str, Any]:
        lan: Networks = self._config.lan
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
                {"source": source, **{**entry, "last": round(entry["last"])}} for source, entry in self.answered.items()
            ],
        }
