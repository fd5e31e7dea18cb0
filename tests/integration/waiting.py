"""For what takes effect a moment after the command that asked for it has returned: reloads, starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T], holds: Callable[[T], bool], seconds: float = 15) -> T:
    """Ask until the answer holds or the time is over; the last answer, for the test to judge."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if holds(answer) or time.monotonic() > end:
            return answer
        time.sleep(0.2)
