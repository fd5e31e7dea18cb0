# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts failed logins. Pure: the clock is passed in, nothing is read or written.

Two counters refuse: one of the address, one of the account. A pair of both that once logged in has a counter of its own
instead, so that no other visitor's failures lock it out. A third one, of different tries in a day, says whom to cut off.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..addresses import parse_address

_GUID = re.compile(r"[0-9a-f]{32}")

REPEAT_SECONDS = 3600.0  # the same password for the same account counts once in this time
TRY_SECONDS = 86400.0  # how long a try counts towards being cut off
SECRET_SECONDS = 3600.0  # how long a Quick Connect secret that was good is no guess
ADDRESSES = ACCOUNTS = 16384
SECRETS = 16384
HOMES = 4096  # accounts that somebody logged in to
KNOWN_ADDRESSES = 64  # for each of these
LIFTED = 256
PENDING_WAIT = 1.0
# An account is closed to strangers after the tries of so many addresses, so that one stranger alone closes none.
ACCOUNT_SHARE = 4
_TRIES = 64  # remembered of an address that is never cut off

SUCCESS, FAILURE, NOTHING = "success", "failure", "nothing"


def network_key(address: str) -> str:
    """What is counted as one visitor: an IPv4 address, or the /64 of an IPv6 one. ValueError if it is no address."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def account_name(name: str) -> str:
    """One spelling for all that Jellyfin takes for the same user (ToUpperInvariant: one character for one)."""
    return "".join(upper if len(upper := char.upper()) == 1 else char for char in name)


@dataclass(frozen=True)
class Policy:
    attempts: int = 5
    seconds: float = 600.0
    ban_attempts: int = 50  # 0: nobody is cut off

    @property
    def account_attempts(self) -> int:
        return self.attempts * ACCOUNT_SHARE


@dataclass(frozen=True)
class Try:
    """One request that tries a password or a secret."""

    address: str  # a network_key
    account: str = ""  # '' where none is named
    mark: bytes = b""  # of what was tried: equal for the same account and password
    secret: bool = False


@dataclass(frozen=True)
class Verdict:
    """`wait` 0: it may go on to the server."""

    wait: float = 0.0
    why: str = ""
    counted: bool = False  # it is a try of its own, worth a line in the log
    ban: bool = False


@dataclass
class _Counter:
    failures: list[tuple[float, str]] = field(default_factory=list)  # when, and the other side of the pair
    until: float = 0.0
    pending: int = 0

    def recent(self, now: float, seconds: float) -> int:
        while self.failures and now - self.failures[0][0] >= seconds:
            del self.failures[0]
        return len(self.failures)

    def limit(self, policy: Policy) -> int:
        return policy.attempts

    def add(self, now: float, other: str, policy: Policy) -> None:
        self.recent(now, policy.seconds)
        self.failures.append((now, other))
        if len(self.failures) >= self.limit(policy):
            self.until = now + policy.seconds
            self.failures.clear()

    def wait(self, now: float, policy: Policy) -> float:
        if self.until > now:
            return self.until - now
        # Those under way count as failed until the server has said otherwise: many at once gain nothing.
        return PENDING_WAIT if self.recent(now, policy.seconds) + self.pending >= self.limit(policy) else 0.0

    def forgive(self, other: str) -> None:
        self.failures = [failure for failure in self.failures if failure[1] != other]


@dataclass
class _Attempt:
    account: str
    seen: float
    counted: float  # when it last counted as a failure


@dataclass
class _Address(_Counter):
    tries: OrderedDict[bytes, _Attempt] = field(default_factory=OrderedDict)


@dataclass
class _Account(_Counter):
    blamed: set[str] = field(default_factory=set)  # the addresses that brought on `until`

    def limit(self, policy: Policy) -> int:
        return policy.account_attempts


@dataclass
class _Known(_Counter):
    seen: float = 0.0  # by the wall clock


@dataclass
class _Home:
    """An account that somebody logged in to: from where, and what Jellyfin does to it after how many failures."""

    known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)
    lockout: int = 0  # 0: never, or not known
    refused: int = 0  # in a row, as Jellyfin counts them: each one, without end, until a login succeeds
    pending: int = 0

    @property
    def strangers_share(self) -> int:
        """The rest is left to the owner's own mistakes."""
        return max(1, self.lockout // 2) if self.lockout > 1 else 0


class Attempts:
    def __init__(self, policy: Policy | None = None, salt: bytes = b"", key: bytes = b"") -> None:
        self.policy = policy or Policy()
        self._salt = salt or os.urandom(32)  # for passwords: never leaves the memory
        self._key = key or os.urandom(32)  # for accounts and known addresses: kept with the state
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._homes: OrderedDict[str, _Home] = OrderedDict()
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._secrets: OrderedDict[bytes, float] = OrderedDict()
        self._lifted: OrderedDict[str, float] = OrderedDict()
        self._pending: set[int] = set()
        self.changed = False

    # What is remembered of names and passwords

    def mark(self, *parts: bytes) -> bytes:
        """Stands for what was tried."""
        digest = hashlib.blake2b(key=self._salt, digest_size=16)
        for part in parts:
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()

    def _hidden(self, kind: str, *parts: str) -> str:
        text = "\0".join((kind, *parts)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    def account(self, server: str, name: str) -> str:
        return self._hidden("name", server, account_name(name)) if name else ""

    def account_of_id(self, server: str, identifier: str) -> str:
        # .NET takes a GUID with hyphens, in braces or brackets and with white space around; its other forms count as one account.
        bare = identifier.strip().strip("{}()").replace("-", "").lower()
        alias = self._hidden("id", server, bare if _GUID.fullmatch(bare) else "in another form")
        return self._aliases.get(alias, alias)

    # One try

    def admit(self, attempt: Try, now: float) -> Verdict:
        """Whether it may go to the server. One that may is followed by `settle`, always."""
        if attempt.secret and attempt.mark in self._secrets:
            if now - self._secrets[attempt.mark] < SECRET_SECONDS:
                return Verdict()
            del self._secrets[attempt.mark]
        address = self._address(attempt.address)
        self._expire(address, now)
        entry = address.tries.get(attempt.mark)
        repeated = entry is not None and now - entry.counted < REPEAT_SECONDS
        wait, why = self._wait(attempt, address, repeated, now)
        if wait <= PENDING_WAIT:  # at most to be sent again in a moment: no try yet
            return Verdict(wait, why)
        if entry is not None:
            entry.seen = now
            address.tries.move_to_end(attempt.mark)
            return Verdict(wait, why)
        address.tries[attempt.mark] = _Attempt(attempt.account, now, -math.inf)
        return Verdict(wait, why, counted=True, ban=self._enough(address, now))

    def _wait(self, attempt: Try, address: _Address, repeated: bool, now: float) -> tuple[float, str]:
        policy = self.policy
        known = self._known(attempt)
        if known is not None:
            return self._of(known, repeated, now), "known"
        wait = self._of(address, repeated, now)
        if wait or not attempt.account or self._lifted.get(attempt.address, -math.inf) > now:
            return wait, "address"
        account = self._accounts.get(attempt.account)
        if account is not None:
            wait = self._of(account, repeated, now)
        home = self._homes.get(attempt.account)
        if not wait and home is not None and home.strangers_share:
            if home.refused >= home.strangers_share:
                return policy.seconds, "lockout"
            if home.refused + home.pending >= home.strangers_share:
                return PENDING_WAIT, "lockout"
        return wait, "account"

    def _of(self, counter: _Counter, repeated: bool, now: float) -> float:
        return max(0.0, counter.until - now) if repeated else counter.wait(now, self.policy)

    def hold(self, attempt: Try, now: float) -> Hold:
        """What an admitted try keeps until it is settled."""
        counters: list[_Counter | _Home] = []
        if attempt.secret and attempt.mark in self._secrets:
            return Hold(attempt, ())
        address = self._address(attempt.address)
        entry = address.tries.get(attempt.mark)
        if entry is None or now - entry.counted >= REPEAT_SECONDS:
            counters.append(address)
            known = self._known(attempt)
            if known is not None:
                counters.append(known)
            elif attempt.account:
                counters.append(self._account(attempt.account))
        home = self._homes.get(attempt.account)
        if home is not None and home.lockout:
            counters.append(home)
        for counter in counters:
            counter.pending += 1
        return Hold(attempt, tuple(counters))

    def settle(self, hold: Hold, outcome: str, now: float, wall: float = 0.0) -> Verdict:
        """What the server said. `counted`: a failure that counts anew."""
        for counter in hold.counters:
            counter.pending -= 1
        attempt = hold.attempt
        self.changed = True
        if outcome == SUCCESS:
            self._succeed(attempt, now, wall)
        if outcome != FAILURE:
            return Verdict()
        if attempt.secret and attempt.mark in self._secrets:
            return Verdict()  # it was good once: it ran out
        home = self._homes.get(attempt.account)
        if home is not None:
            home.refused += 1
        address = self._address(attempt.address)
        entry = address.tries.get(attempt.mark)
        if entry is not None and now - entry.counted < REPEAT_SECONDS:
            entry.seen = now
            return Verdict()
        address.tries[attempt.mark] = _Attempt(attempt.account, now, now)
        address.tries.move_to_end(attempt.mark)
        address.add(now, attempt.account, self.policy)
        known = self._known(attempt)
        if known is not None:
            known.add(now, "", self.policy)
        elif attempt.account:
            account = self._account(attempt.account)
            blamed = {other for _when, other in account.failures} | {attempt.address}
            account.add(now, attempt.address, self.policy)
            if account.until > now:
                account.blamed = blamed
        return Verdict(counted=True, ban=self._enough(address, now))

    def good_secret(self, mark: bytes, now: float) -> None:
        """The server knows this Quick Connect secret."""
        self._secrets[mark] = now
        self._secrets.move_to_end(mark)
        self._bound(self._secrets, SECRETS)

    def learn(self, account: str, lockout: int, alias: str = "") -> None:
        """What the server tells of an account with a successful login."""
        home = self._homes.get(account)
        if home is None:
            return
        home.lockout = max(0, lockout)
        if alias and alias != account:
            self._aliases[alias] = account
            self._aliases.move_to_end(alias)
            self._bound(self._aliases, HOMES)
        self.changed = True

    def _succeed(self, attempt: Try, now: float, wall: float) -> None:
        """Forgives this account's failures and no other's: who has an account of his own gains nothing by it."""
        address = self._address(attempt.address)
        address.forgive(attempt.account)
        for mark in [mark for mark, entry in address.tries.items() if entry.account == attempt.account]:
            del address.tries[mark]
        account = self._accounts.get(attempt.account)
        if account is not None:
            account.forgive(attempt.address)
        home = self._homes.setdefault(attempt.account, _Home())
        self._homes.move_to_end(attempt.account)
        self._bound(self._homes, HOMES)
        home.refused = 0
        key = self._hidden("address", attempt.address)
        known = home.known.setdefault(key, _Known())
        known.seen = wall
        known.failures.clear()
        home.known.move_to_end(key)
        self._bound(home.known, KNOWN_ADDRESSES)

    # What is kept of whom

    @staticmethod
    def _bound(kept: OrderedDict[Any, Any], limit: int) -> None:
        while len(kept) > limit:
            kept.popitem(last=False)

    def _address(self, key: str) -> _Address:
        found = self._addresses.setdefault(key, _Address())
        self._addresses.move_to_end(key)
        self._bound(self._addresses, ADDRESSES)
        return found

    def _account(self, key: str) -> _Account:
        found = self._accounts.setdefault(key, _Account())
        self._accounts.move_to_end(key)
        self._bound(self._accounts, ACCOUNTS)
        return found

    def _known(self, attempt: Try) -> _Known | None:
        home = self._homes.get(attempt.account) if attempt.account else None
        return home.known.get(self._hidden("address", attempt.address)) if home is not None else None

    @staticmethod
    def _expire(address: _Address, now: float) -> None:
        while address.tries:
            mark, entry = next(iter(address.tries.items()))
            if now - entry.seen < TRY_SECONDS:
                return
            del address.tries[mark]

    def _enough(self, address: _Address, now: float) -> bool:
        self.changed = True
        if not self.policy.ban_attempts:
            self._bound(address.tries, _TRIES)
            return False
        if len(address.tries) < self.policy.ban_attempts:
            return False
        address.tries.clear()
        address.until = max(address.until, now + self.policy.seconds)
        return True

    def refuse(self, key: str, until: float) -> None:
        address = self._address(key)
        address.until = max(address.until, until)
        self.changed = True

    def unban(self, key: str, now: float) -> bool:
        """Forget what this address did; for a while it may also try what others made us refuse."""
        address = self._addresses.pop(key, None)
        had = address is not None and (address.until > now or bool(address.failures) or bool(address.tries))
        for account in self._accounts.values():
            account.forgive(key)
            if key in account.blamed:
                account.blamed = set()
                had = had or account.until > now
                account.until = 0.0
        hidden = self._hidden("address", key)
        for home in self._homes.values():
            known = home.known.get(hidden)
            if known is not None:
                had = had or known.until > now
                known.until = 0.0
                known.failures.clear()
        self._lifted[key] = now + self.policy.seconds
        self._lifted.move_to_end(key)
        self._bound(self._lifted, LIFTED)
        self.changed = True
        return had

    def refused(self, now: float) -> Iterator[tuple[str, float]]:
        """The addresses that get a 429, and for how long still."""
        for key, address in self._addresses.items():
            if address.until > now:
                yield key, address.until - now

    def status(self, now: float) -> dict[str, int]:
        return {
            "addresses": len(self._addresses),
            "accounts": len(self._accounts),
            "refused_addresses": sum(1 for _one in self.refused(now)),
            "refused_accounts": sum(1 for account in self._accounts.values() if account.until > now),
            "known_addresses": sum(len(home.known) for home in self._homes.values()),
            "accounts_near_lockout": sum(
                1 for home in self._homes.values() if home.strangers_share and home.refused >= home.strangers_share
            ),
        }

    # Over a restart

    def dump(self, now: float, wall: float) -> dict[str, Any]:
        """What a restart must not lose, in times of the wall clock. Passwords are not in it, hashed neither."""
        seconds, shift = self.policy.seconds, wall - now

        def counter(kept: _Counter) -> list[Any]:
            times = [round(when + shift) for when, _other in kept.failures if now - when < seconds]
            return [round(kept.until + shift) if kept.until > now else 0, times]

        return {
            "version": 1,
            "key": self._key.hex(),
            "addresses": {
                key: [*counter(address), len(address.tries)]
                for key, address in self._addresses.items()
                if address.until > now or address.failures or address.tries
            },
            "accounts": {
                key: counter(account)
                for key, account in self._accounts.items()
                if account.until > now or account.failures
            },
            "homes": {
                key: {
                    "lockout": home.lockout,
                    "refused": home.refused,
                    "known": {name: [*counter(known), round(known.seen)] for name, known in home.known.items()},
                }
                for key, home in self._homes.items()
            },
            "aliases": dict(self._aliases),
        }

    @classmethod
    def load(cls, policy: Policy, data: Any, now: float, wall: float) -> Attempts:
        """What `dump` gave. Anything else is a ValueError."""
        try:
            return cls._load(policy, data, now, wall)
        except (AttributeError, LookupError, TypeError, OverflowError) as error:
            raise ValueError(f"it is not what this program writes ({type(error).__name__})") from error

    @classmethod
    def _load(cls, policy: Policy, data: Any, now: float, wall: float) -> Attempts:
        if data["version"] != 1 or len(bytes.fromhex(data["key"])) < 16:
            raise ValueError("it is of another version")
        made = cls(policy, key=bytes.fromhex(data["key"]))
        shift = now - wall

        def fill(kept: Any, saved: list[Any]) -> None:
            # A clock that was set back meanwhile makes no refusal longer.
            kept.until = min(float(saved[0]) + shift, now + policy.seconds)
            kept.failures = [(min(float(when) + shift, now), "") for when in saved[1][-kept.limit(policy) :]]

        for key, saved in list(data["addresses"].items())[-ADDRESSES:]:
            address = made._addresses[network_key(key.partition("/")[0])] = _Address()
            fill(address, saved)
            for number in range(min(int(saved[2]), (policy.ban_attempts or _TRIES) - 1)):
                address.tries[b"%d" % number] = _Attempt("", now, -math.inf)
        for key, saved in list(data["accounts"].items())[-ACCOUNTS:]:
            fill(made._accounts.setdefault(str(key), _Account()), saved)
        for key, saved in list(data["homes"].items())[-HOMES:]:
            home = made._homes[str(key)] = _Home(lockout=int(saved["lockout"]), refused=int(saved["refused"]))
            for name, pair in list(saved["known"].items())[-KNOWN_ADDRESSES:]:
                known = home.known[str(name)] = _Known(seen=float(pair[2]))
                fill(known, pair)
        made._aliases.update((str(key), str(name)) for key, name in list(data["aliases"].items())[-HOMES:])
        return made


@dataclass
class Hold:
    attempt: Try
    counters: tuple[Any, ...]
