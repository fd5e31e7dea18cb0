# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rate limits with a bounded memory: so many a second for each source, and for all together."""

from __future__ import annotations

from collections import OrderedDict


class Bucket:
    """Lets `rate` a second through, and `burst` at once after a rest."""

    __slots__ = ("burst", "last", "rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self.last = now

    def take(self, now: float) -> bool:
        if now > self.last:
            self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
            self.last = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class RateLimiter:
    """A bucket for each source and one for all. The source is asked first: one that floods takes nothing from others."""

    def __init__(self, rate: float, burst: float, total_rate: float, total_burst: float, sources: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._sources = sources
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self.total = Bucket(total_rate, total_burst, 0.0)

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, source: str, now: float) -> Bucket:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = Bucket(self._rate, self._burst, now)
            if len(self._buckets) > self._sources:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(source)
        return bucket

    def refuses(self, source: str, now: float) -> str:
        """Why this one is not answered: `source`, `total`, or '' when it is."""
        if not self.bucket(source, now).take(now):
            return "source"
        return "" if self.total.take(now) else "total"
