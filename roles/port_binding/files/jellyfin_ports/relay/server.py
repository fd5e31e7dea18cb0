# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay's process state: listeners, servers behind, limits, and what is counted."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import struct
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable
from typing import Any

from ..addresses import plain
from ..config import Config, TcpListener
from ..systemd import noted
from .client import ClientConnection, Phase
from .descriptions import Descriptions
from .head import Request
from .names import LanNames, name_of
from .texts import NEARBY, NOT_HERE, STAND_IN, LocalAnswer
from .tls import CertificateError, Contexts
from .upstream import Pool

log = logging.getLogger(__name__)

_ACCEPT_BATCH = 64
_HANDSHAKE_SECONDS = 10.0
_RESERVED_FILES = 64
_CERTIFICATE_CHECK_SECONDS = 60.0
_SEEN = 64


def default_connection_limit() -> int:
    """Two files each, three quarters of all; what is left is for streams (`bulk_limit`)."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(64, (files - _RESERVED_FILES) * 3 // 8)


def bulk_limit() -> int:
    """How many streams may go through the kernel, with four files more each; the others go through this process."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, (files - _RESERVED_FILES) // 16)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    connection.close()


class Listening:
    """One listening socket."""

    def __init__(self, relay: Relay, name: str, sock: socket.socket) -> None:
        self.name = name
        self.scheme = "https" if name == "https" else "http"
        self._relay = relay
        self.socket = sock
        sock.setblocking(False)
        self.resume()

    def resume(self) -> None:
        if self._relay.draining:
            return
        self._relay.loop.add_reader(self.socket.fileno(), self._accept)

    def pause(self) -> None:
        self._relay.loop.remove_reader(self.socket.fileno())

    def _accept(self) -> None:
        relay = self._relay
        for _turn in range(_ACCEPT_BATCH):
            try:
                connection, address = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.warning("cannot accept on %s: %s", self.name, error.strerror)
                    self.pause()
                    relay.loop.call_later(1.0, self.resume)
                return
            peer = plain(address[0])
            if not relay.admits(peer):
                # No handshake, no answer: nobody is to learn what is here.
                _reset(connection)
                continue
            if not relay.room_for(peer):
                relay.counters["too_many"] += 1
                _reset(connection)
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
            relay.loop.create_task(self._welcome(connection, peer))

    async def _welcome(self, connection: socket.socket, peer: str) -> None:
        relay = self._relay
        options: dict[str, Any] = {}
        if self.scheme == "https":
            assert relay.contexts is not None
            options = {"ssl": relay.contexts.default, "ssl_handshake_timeout": _HANDSHAKE_SECONDS}
        client = relay.connection(self.scheme, peer, self.name)
        try:
            await relay.loop.connect_accepted_socket(lambda: client, connection, **options)
        except (OSError, asyncio.TimeoutError):  # ssl.SSLError is an OSError
            relay.counters["handshakes_failed"] += 1
            connection.close()
        finally:
            if client.transport is None:
                relay.no_longer_arriving(peer)


class Seen:
    """Counts by a bounded number of keys, the ones seen last."""

    def __init__(self) -> None:
        self.counts: OrderedDict[str, int] = OrderedDict()

    def add(self, key: str) -> bool:
        """Whether it is new, and thus worth a line in the log."""
        count = self.counts.pop(key, 0)
        if not count and len(self.counts) >= _SEEN:
            self.counts.popitem(last=False)
        self.counts[key] = count + 1
        return not count


class Relay:
    def __init__(self, config: Config) -> None:
        self.loop = asyncio.get_running_loop()
        self.counters: Counter[str] = Counter()
        self.bytes_in = 0
        self.bytes_out = 0
        self.use_bulk = True
        self.draining = False
        self.contexts: Contexts | None = None
        self.listening: dict[str, Listening] = {}
        self.refused = Seen()
        self.refused_names = Seen()
        self.too_many = Seen()
        self._clients: set[ClientConnection] = set()
        self._arriving: Counter[str] = Counter()
        self._by_peer: Counter[str] = Counter()
        self._pools: list[Pool] = []
        self._by_domain: dict[bytes, Pool] = {}
        self._descriptions: Descriptions | None = None
        self._checked_certificates = self.loop.time()
        self.config = config
        self.configure(config)

    # What it does

    def configure(self, config: Config) -> None:
        """Take a configuration into use; what is under way goes on as it began. CertificateError changes nothing."""
        contexts = Contexts(config.https) if config.https.enabled else None
        old, self._pools = self._pools, []
        self._by_domain = {}
        self.config = config
        self.contexts = contexts
        self.connection_limit = config.limits.connections or default_connection_limit()
        self.peer_limit = self.connection_limit if self.connection_limit < 64 else self.connection_limit // 2
        self.peer_limit = min(self.peer_limit, config.connections.lan or self.peer_limit)
        self.bulk_limit = bulk_limit()
        self.names = LanNames(config)
        for upstream in config.upstreams:
            pool = next((p for p in old if p.upstream == upstream), None) or Pool(self.loop, upstream)
            self._pools.append(pool)
            for domain in upstream.domains:
                self._by_domain.setdefault(domain.encode("idna" if not domain.isascii() else "ascii"), pool)
        for pool in old:
            if pool not in self._pools:
                pool.close()

    def set_descriptions(self, descriptions: Descriptions) -> None:
        self._descriptions = descriptions

    def listen(self, name: str, sock: socket.socket) -> None:
        self.listening[name] = Listening(self, name, sock)

    def connection(self, scheme: str, peer: str, serves: str) -> ClientConnection:
        return ClientConnection(self, scheme, peer, serves)

    def pool_for(self, host: bytes) -> Pool:
        return self._by_domain.get(name_of(host).encode("ascii"), self._pools[0])

    def local_answer(
        self, request: Request, serves: str, transport: asyncio.Transport
    ) -> LocalAnswer | Awaitable[LocalAnswer] | None:
        """The answer that is ours to give, or None: the request is passed on."""
        if self._descriptions is not None:
            answer = self._descriptions.answer(request, transport)
            if answer is not None:
                return answer
        if serves == "description":
            return NOT_HERE
        return None if self._pools else STAND_IN

    # Who comes and goes

    def admits(self, peer: str) -> bool:
        """Before a byte is read: LAN, a trusted proxy, or someone near enough to be told why not."""
        if peer in self.config.lan or peer in self.config.trusted_proxies:
            return True
        if peer in NEARBY:
            return True
        self.refuse(peer)
        return False

    def refuse(self, client: str) -> None:
        self.counters["refused_not_lan"] += 1
        if self.refused.add(client):
            log.info("refused %s: not in jellyfin_lan (%s)", client, self.config.lan, extra=noted(client=client))

    def refuse_name(self, host: bytes, client: str) -> str:
        """The name as it may be shown."""
        name = name_of(host)[:253]
        self.counters["refused_names"] += 1
        if self.refused_names.add(name):
            log.info(
                "refused the name %s, asked for by %s: not in jellyfin_lan_names",
                name,
                client,
                extra=noted(client=client),
            )
        return name

    def host_for(self, host: bytes, transport: asyncio.Transport) -> bytes:
        """What the server is told: the site's own name where one is asked for, else the address that was connected to. Never the request's."""
        local = transport.get_extra_info("sockname") or ("127.0.0.1", self.config.http.port)
        name = name_of(host)
        if name.encode("ascii") not in self._by_domain:
            name = plain(str(local[0]))
            name = f"[{name}]" if ":" in name else name
        return f"{name}:{local[1]}".encode("ascii")

    def room_for(self, peer: str) -> bool:
        total = len(self._clients) + sum(self._arriving.values())
        if total >= self.connection_limit:
            return False
        if peer not in self.config.trusted_proxies and self._by_peer[peer] + self._arriving[peer] >= self.peer_limit:
            if self.too_many.add(peer):
                log.warning(
                    "%s has %d connections, as many as one address may", peer, self.peer_limit, extra=noted(client=peer)
                )
            return False
        self._arriving[peer] += 1
        return True

    def no_longer_arriving(self, peer: str) -> None:
        """A connection stops arriving once it is made or has failed; counted twice, it would take the room of another."""
        self._arriving[peer] -= 1
        if not self._arriving[peer]:
            del self._arriving[peer]

    def arrived(self, client: ClientConnection) -> None:
        self.no_longer_arriving(client.peer)
        self._clients.add(client)
        self._by_peer[client.peer] += 1

    def gone(self, client: ClientConnection) -> None:
        self._clients.discard(client)
        self._by_peer[client.peer] -= 1
        if not self._by_peer[client.peer]:
            del self._by_peer[client.peer]

    # Time

    def tick(self) -> None:
        now = self.loop.time()
        for client in list(self._clients):
            client.sweep(now)
        for pool in self._pools:
            pool.sweep(now)
        self.names.tick(now)
        if now - self._checked_certificates >= _CERTIFICATE_CHECK_SECONDS:
            self._checked_certificates = now
            if self.contexts is not None and self.contexts.outdated():
                self.reload_certificates()

    def reload_certificates(self) -> None:
        """New handshakes get the new certificate; connections that stand are not touched."""
        try:
            self.contexts = Contexts(self.config.https)
            log.info("the certificate was exchanged; it is served from now on")
        except CertificateError as error:
            log.error("%s; the old certificate is served on", error)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let short requests finish, then end the rest.

        Whoever was accepted has been promised an answer: the first request of a new connection is waited for too.
        """
        self.draining = True
        for listening in self.listening.values():
            listening.pause()
        deadline = self.loop.time() + seconds
        while self.loop.time() < deadline:
            for client in list(self._clients):
                client.end()
            if not self._arriving and all(client.phase in (Phase.TUNNEL, Phase.CLOSED) for client in self._clients):
                break
            await asyncio.sleep(0.02)
        for client in list(self._clients):
            client.abort()
        for pool in self._pools:
            pool.close()

    def status(self) -> dict[str, Any]:
        phases = Counter(client.phase.value for client in self._clients)
        return {
            "connections": len(self._clients),
            "connection_limit": self.connection_limit,
            "phases": dict(phases),
            "bytes_to_clients": self.bytes_out,
            "bytes_to_servers": self.bytes_in,
            "counters": dict(self.counters),
            "idle_upstream_connections": {pool.upstream.name: len(pool) for pool in self._pools},
            "refused": dict(self.refused.counts),
            "refused_names": dict(self.refused_names.counts),
            "too_many": dict(self.too_many.counts),
            "stand_in": not self._pools,
            "time": round(time.time()),
        }


def bind_tcp(listener: TcpListener) -> socket.socket:
    """Where no .socket unit did it: for trials and tests."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", listener.port))
    sock.listen(4096)
    return sock
