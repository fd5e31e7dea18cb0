# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard: a relay for the requests with which one logs in, that counts those the server refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from .. import control
from ..addresses import Networks
from ..config import Config, TcpListener
from ..rates import Bucket
from ..relay.server import Relay
from ..relay.texts import LocalAnswer, problem
from ..relay.upstream import Pool
from ..systemd import noted
from . import routes, texts
from .attempts import Hold, Policy, Try, Verdict, network_key
from .callers import Callers
from .connection import GuardConnection, too_many
from .store import Store

log = logging.getLogger(__name__)

IN_FLIGHT = 4  # for one address
IN_FLIGHT_ALL = 1024
_CONNECTIONS = 4096
_HEAD_SECONDS = 10.0
_BODY_SECONDS = 15.0
_RESPONSE_SECONDS = 60.0
_SAVE_SECONDS = 5.0
_LINES_A_SECOND, _LINES_AT_ONCE = 20.0, 500.0
_WHY = {
    "address": "Too many logins from your address have failed.",
    "known": "Too many logins from your address have failed.",
    "account": "Too many logins to this account have failed.",
    "lockout": "Too many logins to this account have failed; try from a device or network that it was used from before.",
}
_LOOPBACK = Networks(["127.0.0.0/8", "::1/128"])


def policy_of(config: Config) -> Policy:
    return Policy(config.guard.attempts, config.guard.minutes * 60.0, config.guard.ban_attempts)


def _own_limits(config: Config) -> Config:
    """A login is short: what a stream needs would only let somebody hold the places of others."""
    limits = config.limits
    limits = replace(
        limits,
        connections=_CONNECTIONS,
        head_seconds=min(limits.head_seconds, _HEAD_SECONDS),
        body_seconds=min(limits.body_seconds, _BODY_SECONDS),
        response_seconds=min(limits.response_seconds, _RESPONSE_SECONDS),
    )
    return replace(config, limits=limits, https=TcpListener())


class Guard(Relay):
    def __init__(self, config: Config, directory: str = "") -> None:
        loop = asyncio.get_running_loop()
        self._store = Store(directory)
        self.attempts = self._store.load(policy_of(config), loop.time())
        self.callers = Callers(config.guard.users)
        self._in_flight: Counter[str] = Counter()
        self._total = 0
        self._saved_at = loop.time()
        self._saving: asyncio.Future[None] | None = None
        self._lines = Bucket(_LINES_A_SECOND, _LINES_AT_ONCE, loop.time())
        self._strangers = Bucket(0.1, 10.0, loop.time())
        self._unwritten = 0
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(config)
        self.use_bulk = False

    def configure(self, config: Config) -> None:
        super().configure(_own_limits(config))
        self.attempts.policy = policy_of(config)
        self.callers = Callers(config.guard.users)

    def connection(self, scheme: str, peer: str, serves: str) -> GuardConnection:
        return GuardConnection(self, scheme, peer, serves)

    @property
    def pools(self) -> list[Pool]:
        return self._pools

    def serves(self, name: bytes) -> bool:
        return name in self._by_domain

    def admits(self, peer: str) -> bool:
        return peer in _LOOPBACK

    def room_for(self, peer: str) -> bool:
        """All come from here, so nobody has half of the places to himself."""
        if len(self._clients) + sum(self._arriving.values()) >= self.connection_limit:
            return False
        self._arriving[peer] += 1
        return True

    def stranger(self, user: int | None) -> None:
        self.counters["refused_callers"] += 1
        if self._strangers.take(self.loop.time()):
            who = "a process that is gone" if user is None else f"a process of user {user}"
            log.warning("refused %s: only the reverse proxy asks here", who, extra=noted(uid=user))

    # What is under way

    def enter(self, slot: str) -> LocalAnswer | None:
        """A place for this address, or the answer where there is none."""
        if self._in_flight[slot] >= IN_FLIGHT:
            self.counters["refused_in_flight"] += 1
            return too_many(1, "Too many logins at once from your address; try again in a moment.")
        if self._total >= IN_FLIGHT_ALL:
            self.counters["refused_busy"] += 1
            return replace(problem(503, "Too many logins at once; try again in a moment."), retry_after=2)
        self._in_flight[slot] += 1
        self._total += 1
        return None

    def leave(self, slot: str) -> None:
        self._total -= 1
        self._in_flight[slot] -= 1
        if self._in_flight[slot] <= 0:
            del self._in_flight[slot]

    # What is counted

    def admit(self, connection: GuardConnection) -> LocalAnswer | None:
        """None: the request may go on, and is settled later."""
        login = connection.login
        assert login is not None
        if login.free:
            return None
        attempts, now, server = self.attempts, self.loop.time(), connection.server
        account = attempts.account(server, login.name)
        if login.identifier:
            account = attempts.account_of_id(server, login.identifier)
        kind = "secret" if login.secret else "password" if account else login.route
        mark = attempts.mark(server.encode("utf-8"), kind.encode("ascii"), account.encode("ascii"), login.tried)
        attempt = Try(network_key(connection.address), account, mark, login.secret)
        verdict = attempts.admit(attempt, now)
        if not verdict.wait:
            connection.hold = attempts.hold(attempt, now)
            return None
        self.counters[f"refused_{verdict.why}"] += 1
        self._told(connection, verdict, 429)
        wait = max(1, round(verdict.wait + 0.5))
        return too_many(verdict.wait, f"{_WHY[verdict.why]} Try again in {_span(wait)}.")

    def settle(self, connection: GuardConnection, hold: Hold, outcome: str, status: int) -> None:
        now = self.loop.time()
        verdict = self.attempts.settle(hold, outcome, now, time.time())
        self.counters[f"logins_{outcome}"] += 1
        if hold.attempt.secret and 200 <= status < 300:
            self.attempts.good_secret(hold.attempt.mark, now)
        self._told(connection, verdict, status)

    def learn(self, connection: GuardConnection, body: bytes) -> None:
        facts, login = routes.account_facts(body), connection.login
        if facts is None or login is None or not login.name:
            return
        lockout, identifier = facts
        alias = self.attempts.account_of_id(connection.server, identifier) if identifier else ""
        self.attempts.learn(self.attempts.account(connection.server, login.name), lockout, alias)

    def _told(self, connection: GuardConnection, verdict: Verdict, status: int) -> None:
        if verdict.counted:
            self._say(connection, status)
        if verdict.ban:
            if connection.direct and connection.address not in self.config.connections.exempt:
                task = self.loop.create_task(self._cut_off(connection.address))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self.counters["not_cut_off_behind_a_proxy"] += 1

    def _say(self, connection: GuardConnection, status: int) -> None:
        if not self._lines.take(self.loop.time()):
            self._unwritten += 1
            return
        if self._unwritten:
            log.warning("%d failed logins are not told here, there were too many at once", self._unwritten)
            self._unwritten = 0
        login, address = connection.login, connection.address
        assert login is not None
        name = login.name or login.identifier
        log.warning(
            "%s",
            texts.failed(address, connection.direct, name, login.route, status),
            extra=noted(client=address, direct=int(connection.direct), status=status),
        )

    async def _cut_off(self, address: str) -> None:
        seconds = self.config.guard.ban_seconds
        request = {"ban": address, "seconds": seconds, "reason": f"{self.attempts.policy.ban_attempts} failed logins"}
        try:
            answer = await self.loop.run_in_executor(None, control.ask, "limits", json.dumps(request))
        except control.NotRunning as error:
            answer = {"error": str(error)}
        why = answer.get("error")
        if why is not None:
            log.error("%s is not cut off but gets no login for %d s: limits: %s", address, seconds, why)
            self.counters["cut_off_failed"] += 1
            self.attempts.refuse(network_key(address), self.loop.time() + seconds)
        elif answer.get("refused"):
            log.warning("%s is not cut off: %s", address, answer["refused"])
            self.counters["never_cut_off"] += 1
        else:
            self.counters["cut_off"] += 1

    # What it is asked

    async def request(self, asked: dict[str, Any]) -> dict[str, Any]:
        now, wall = self.loop.time(), time.time()
        if "bans" in asked:
            found = [{"address": key, "until": round(wall + left)} for key, left in self.attempts.refused(now)]
            return {"bans": sorted(found, key=lambda ban: int(ban["until"]))}
        try:
            key = network_key(str(asked["unban"]).partition("/")[0])
        except KeyError:
            return {"error": "ask for bans or unban"}
        except ValueError as error:
            return {"error": str(error)}
        found_one = self.attempts.unban(key, now)
        if found_one:
            log.info("the failed logins of %s are forgotten, as asked", key, extra=noted(client=key))
        return {"unbanned": found_one, "network": key}

    # Time

    def tick(self) -> None:
        super().tick()
        now = self.loop.time()
        if now - self._saved_at < _SAVE_SECONDS or not self.attempts.changed:
            return
        if self._saving is not None and not self._saving.done():
            return
        self._saved_at = now
        self.attempts.changed = False
        data = self.attempts.dump(now, time.time())
        self._saving = self.loop.run_in_executor(None, self._store.save, data)

    async def drain(self, seconds: float) -> None:
        await super().drain(seconds)
        if self._saving is not None:
            await self._saving
        self._store.save(self.attempts.dump(self.loop.time(), time.time()))

    def status(self) -> dict[str, Any]:
        return {**super().status(), **self.attempts.status(self.loop.time()), "in_flight": self._total}


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{(seconds + 59) // 60} minutes"
