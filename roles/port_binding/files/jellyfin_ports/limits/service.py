# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process `limits`: it looks after the table and the bans. Nothing that it does is needed for a connection to be limited."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from .. import systemd
from ..addresses import Address, Network, parse_address
from ..config import Config
from ..systemd import noted
from ..tables import visible
from . import never
from .bans import Bans, shown
from .ruleset import Rules, key_of
from .table import NftError, Table, took_away, watch_socket

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
SETTLE_SECONDS = 0.2  # a reload of a firewall is many messages
READ_SECONDS = 5.0
LOG_SECONDS = 600.0
LINES_A_MINUTE = 20
NAMES_SECONDS = 300.0
_RESTORES_REMEMBERED = 300.0
_LONGEST_WAIT = 60.0
_SHOWN = 64

T = TypeVar("T")


def rules_of(config: Config) -> Rules:
    wanted = config.connections
    return Rules(
        internet=wanted.internet,
        lan=wanted.lan,
        tcp=wanted.tcp,
        udp=wanted.udp,
        lan_networks=config.lan,
        exempt=wanted.exempt,
    )


class Excess:
    """Who was refused for having too many connections: counted, and told once in a while."""

    def __init__(self) -> None:
        self.counts: OrderedDict[str, int] = OrderedDict()
        self._kernel: dict[str, int] = {}
        self._told: OrderedDict[str, float] = OrderedDict()
        self._untold: dict[str, int] = {}
        self._lines: deque[float] = deque()

    def take(self, found: dict[str, int], now: float) -> list[tuple[str, int]]:
        """The kernel's counters of now; returns whom to tell of, with the number refused since the last time."""
        for address, count in found.items():
            before = self._kernel.get(address, 0)
            new = count - before if count >= before else count  # it was gone in between
            if not new:
                continue
            self.counts[address] = self.counts.pop(address, 0) + new
            self._untold[address] = self._untold.get(address, 0) + new
            if len(self.counts) > _SHOWN:
                self.counts.popitem(last=False)
        self._kernel = found
        lines: list[tuple[str, int]] = []
        for address in list(self._untold):
            if now - self._told.get(address, -LOG_SECONDS) < LOG_SECONDS:
                continue
            while self._lines and now - self._lines[0] > 60:
                self._lines.popleft()
            if len(self._lines) >= LINES_A_MINUTE:
                break
            self._lines.append(now)
            self._told[address] = now
            self._told.move_to_end(address)
            lines.append((address, self._untold.pop(address)))
        while len(self._told) > 4096:
            self._told.popitem(last=False)
        while len(self._untold) > 4096:
            self._untold.pop(next(iter(self._untold)))
        return lines


class LimitsService:
    name = "limits"

    def __init__(self, table: Table | None = None) -> None:
        self._table = table or Table()
        self._config = Config()
        self._rules = Rules()
        self._bans = Bans("")
        self._excess = Excess()
        self._names: dict[str, set[Address]] = {}
        self._netlink: socket.socket | None = None
        self._problem = ""
        self._restored = 0
        self._dirty = False  # something that was asked for is not in the kernel's table
        self._restores: deque[float] = deque()
        self._check_at = self._read_at = self._names_at = 0.0
        self._busy: asyncio.Task[None] | None = None
        self._resolving: asyncio.Task[None] | None = None

    # Its life

    async def start(self, config: Config, sockets: dict[str, socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._config, self._rules = config, rules_of(config)
        self._bans = Bans(systemd.state_directory())
        self._bans.expire(time.time())
        self._watch()
        await self._put(adopt=True)
        self._check_at, self._read_at = self._loop.time() + CHECK_SECONDS, self._loop.time() + READ_SECONDS

    def _watch(self) -> None:
        try:
            self._netlink = watch_socket()
            self._loop.add_reader(self._netlink.fileno(), self._heard)
        except OSError as error:
            log.warning("changes of nftables are seen every %g s only: %s", CHECK_SECONDS, error.strerror)

    async def reload(self, config: Config) -> None:
        rules = rules_of(config)
        self._config, self._rules = config, rules
        self._names_at = 0.0
        await self._put(adopt=True)

    async def stop(self) -> None:
        """The table stays: without this process the limits hold, and so do the bans."""
        for task in (self._busy, self._resolving):
            if task is not None:
                task.cancel()
        if self._netlink is not None:
            self._loop.remove_reader(self._netlink.fileno())
            self._netlink.close()

    # The table

    async def _do(self, what: Callable[[], T]) -> T:
        async with self._one_at_a_time:
            return await self._loop.run_in_executor(None, what)

    def _left(self) -> list[tuple[Network, int]]:
        now = time.time()
        return [(ban.network, ban.left(now)) for ban in self._bans.all() if ban.left(now) > 0]

    async def _put(self, adopt: bool = False) -> bool:
        """Have the table of the rules in force; False when nftables does not take it."""

        def put() -> None:
            if not (adopt and self._table.adopt(self._rules)):
                self._table.put(self._rules, self._left())

        try:
            await self._do(put)
        except NftError as error:
            self._failed(error)
            return False
        if self._problem:
            log.info("connections are limited again")
        self._problem, self._dirty = "", False
        return True

    def _failed(self, error: NftError) -> None:
        if self._problem != str(error):
            self._problem = str(error)
            log.error("connections are not limited and nobody is banned: nftables: %s", error)

    def _heard(self) -> None:
        assert self._netlink is not None
        gone = False
        try:
            while True:
                data = self._netlink.recv(1 << 17)
                if not data:
                    break
                gone = took_away(data) or gone
        except BlockingIOError:
            pass
        except OSError:
            gone = True  # more was said than fits: look
        if gone:
            self._check_at = min(self._check_at, self._loop.time() + SETTLE_SECONDS)
            self._loop.call_later(SETTLE_SECONDS + 0.01, self.tick)

    async def _check(self) -> None:
        if not self._problem and not self._dirty:
            try:
                if await self._do(self._table.intact):
                    return
            except NftError as error:
                return self._failed(error)
            now = self._loop.time()
            while self._restores and now - self._restores[0] > _RESTORES_REMEMBERED:
                self._restores.popleft()
            # Against another owner that takes it away each time, ever slower.
            wait = min(_LONGEST_WAIT, 2.0 ** len(self._restores)) if self._restores else 0.0
            if self._restores and now - self._restores[-1] < wait:
                self._check_at = self._restores[-1] + wait
                return
            self._restores.append(now)
            log.warning("the nftables table inet jellynet was changed or taken away; it is put back")
        if await self._put():
            self._restored += 1

    async def _read(self) -> None:
        if self._problem:
            return
        try:
            found = await self._do(self._table.over)
        except NftError:
            self._check_at = 0.0  # it is gone
            return
        for address, count in self._excess.take(found, self._loop.time()):
            network = key_of(parse_address(address))
            client = shown(network)
            limit = self._rules.lan if address in self._rules.lan_networks else self._rules.internet
            log.warning(
                "%s has %d connections, the limit for %s; %d more were refused",
                client, limit, "an address of the LAN" if address in self._rules.lan_networks else "one address", count,
                extra=noted(client=client, refused=count),
            )  # fmt: skip

    async def _turn(self, check: bool, read: bool) -> None:
        if check:
            await self._check()
        if read:
            await self._read()

    def tick(self) -> None:
        now = self._loop.time()
        for ban in self._bans.expire(time.time()):
            log.info("%s is banned no longer", shown(ban.network), extra=noted(client=shown(ban.network)))
        if now >= self._names_at and (self._resolving is None or self._resolving.done()):
            self._names_at = now + NAMES_SECONDS
            self._resolving = self._loop.create_task(self._resolve())
        if self._busy is not None and not self._busy.done():
            return
        check, read = now >= self._check_at, now >= self._read_at
        if check:
            self._check_at = now + CHECK_SECONDS
        if read:
            self._read_at = now + READ_SECONDS
        if check or read:
            self._busy = self._loop.create_task(self._turn(check, read))

    # What its own names lead to

    async def _resolve(self) -> None:
        for upstream in self._config.upstreams:
            for domain in upstream.domains:
                try:
                    infos = await self._loop.getaddrinfo(domain, None, type=socket.SOCK_STREAM)
                except (OSError, UnicodeError):
                    continue  # what was known of it holds
                self._names[domain] = {parse_address(str(info[4][0])) for info in infos}
        await self._lift_what_is_ours()

    async def _lift_what_is_ours(self) -> None:
        """An address that was banned may have become our own since: a home's changes."""
        named = [known for addresses in self._names.values() for known in addresses]
        try:
            around = await self._loop.run_in_executor(None, never.look)
        except OSError:
            return
        for ban in self._bans.all():
            address = ban.network.network_address
            if never.reason(address, self._config.lan, self._config.connections.exempt, around, named):
                await self._unban(ban.network)

    # What it is asked

    async def request(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "bans" in asked:
            return {"bans": [ban.as_dict() for ban in self._bans.all()], "enforced": not self._problem}
        verb = next((verb for verb in ("ban", "unban") if verb in asked), "")
        try:
            if not verb:
                raise ValueError("ask for ban, unban or bans")
            text = asked[verb]
            if not isinstance(text, str):
                raise ValueError("an address is a text")
            address = parse_address(text.partition("/")[0])
            network = ipaddress.ip_network(text, strict=False) if "/" in text else key_of(address)
            if network != key_of(address):
                raise ValueError("an IPv4 address or the /64 of an IPv6 address is banned, nothing wider")
        except ValueError as error:
            return {"error": str(error)}
        return await (self._ban(address, network, asked) if verb == "ban" else self._unban(network))

    async def _ban(self, address: Address, network: Network, asked: dict[str, Any]) -> dict[str, Any]:
        seconds = asked.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
            return {"error": "seconds is a whole number from 1 on"}
        named = [known for addresses in self._names.values() for known in addresses]
        try:
            around = await self._loop.run_in_executor(None, never.look)
        except OSError as error:
            return {"error": f"this host's addresses cannot be read: {error.strerror}"}
        why = never.reason(address, self._config.lan, self._config.connections.exempt, around, named)
        if why:
            return {"refused": why}
        ban = self._bans.put(network, seconds, visible(str(asked.get("reason") or "")))
        log.warning(
            "%s is banned for %d s: %s", shown(network), ban.seconds, ban.reason or "no reason given",
            extra=noted(client=shown(network), seconds=ban.seconds),
        )  # fmt: skip
        if not self._problem:
            try:
                await self._do(lambda: self._table.ban(network, ban.seconds))
            except NftError:
                self._dirty, self._check_at = True, 0.0  # the whole table is put in again, with all bans
        return {**ban.as_dict(), "enforced": not self._problem and not self._dirty}

    async def _unban(self, network: Network) -> dict[str, Any]:
        found = self._bans.drop(network)
        try:
            if not self._problem:
                await self._do(lambda: self._table.unban(network))
        except NftError:
            self._dirty, self._check_at = True, 0.0
        if found:
            log.info("%s is banned no longer, as asked", shown(network), extra=noted(client=shown(network)))
        return {"unbanned": found, "network": str(network)}

    # What it tells

    def headline(self) -> str:
        if self._problem:
            return f"connections are not limited: nftables: {self._problem}"
        return f"at most {self._rules.internet or 'any number of'} connections for an address; {len(self._bans)} banned"

    def status(self) -> dict[str, Any]:
        return {
            "problem": self._problem,
            "restored": self._restored,
            "connections": {"internet": self._rules.internet, "lan": self._rules.lan},
            "ports": {"tcp": list(self._rules.tcp), "udp": list(self._rules.udp)},
            "refused": dict(self._excess.counts),
            "banned": len(self._bans),
        }
