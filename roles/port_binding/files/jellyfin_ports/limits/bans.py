# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bans: who is refused, since when, until when and why. Kept in a file; the table in the kernel is made from it."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ..addresses import Network

log = logging.getLogger(__name__)

LONGEST = 30 * 86400
_MOST = 10000
_REASON = 200


@dataclass(frozen=True)
class Ban:
    """`since` in seconds since the epoch; for `seconds` from then."""

    network: Network
    since: int
    seconds: int
    reason: str

    @property
    def until(self) -> int:
        return self.since + self.seconds

    def left(self, now: float) -> int:
        """Never more than it was given: a clock that was set back makes no ban longer."""
        return min(self.seconds, int(self.until - now))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "network": str(self.network), "address": shown(self.network), "until": self.until}


def shown(network: Network) -> str:
    """An address as people write it, or the network where more than one is meant."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


class Bans:
    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "bans.json" if directory else None
        self._bans: dict[Network, Ban] = {}
        if self._path is not None:
            self._load(self._path)

    def _load(self, path: Path) -> None:
        try:
            for entry in json.loads(path.read_text("utf-8")):
                ban = Ban(
                    ip_network(entry["network"]), int(entry["since"]), int(entry["seconds"]), str(entry["reason"])
                )
                self._bans[ban.network] = ban
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("the bans in %s cannot be read, nobody is banned: %s", path, error)
            self._bans = {}

    def __len__(self) -> int:
        return len(self._bans)

    def all(self) -> list[Ban]:
        return sorted(self._bans.values(), key=lambda ban: ban.since)

    def put(self, network: Network, seconds: int, reason: str) -> Ban:
        ban = Ban(network, int(time.time()), max(1, min(LONGEST, seconds)), reason[:_REASON])
        self._bans[network] = ban
        while len(self._bans) > _MOST:
            del self._bans[min(self._bans.values(), key=lambda other: other.until).network]
        self._keep()
        return ban

    def drop(self, network: Network) -> bool:
        """Whether there was such a ban."""
        found = self._bans.pop(network, None) is not None
        if found:
            self._keep()
        return found

    def expire(self, now: float) -> list[Ban]:
        """Take away what is over; the kernel has done the same."""
        over = [ban for ban in self._bans.values() if ban.left(now) <= 0]
        for ban in over:
            del self._bans[ban.network]
        if over:
            self._keep()
        return over

    def _keep(self) -> None:
        """Whole or not at all, also when the power goes."""
        if self._path is None:
            return
        scratch = self._path.with_suffix(".new")
        listed = [
            {"network": str(ban.network), "since": ban.since, "seconds": ban.seconds, "reason": ban.reason}
            for ban in self._bans.values()
        ]
        try:
            with open(scratch, "w", encoding="utf-8") as file:
                json.dump(listed, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            log.error("the bans are not kept over a restart: %s: %s", self._path, error.strerror)
