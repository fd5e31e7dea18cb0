"""For what takes effect a moment after the command that asked for it has returned: reloads, starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T], holds: Callable[[T], bool], seconds: float = 60) -> T:
    """Ask until the answer holds or the time is over; the last answer, for the test to judge."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if holds(answer) or time.monotonic() > end:
            return answer
        time.sleep(0.2)


def listens(shell: Callable[[str], str], *ports: int, kind: str = "tcp") -> None:
    """Wait until each of these ports is held on the host whose shell this is."""
    command = f"ss -Hln --{kind}"

    def held() -> set[int]:
        return {
            int(port) for line in shell(command).splitlines() if (port := line.split()[3].rpartition(":")[2]).isdigit()
        }

    missing = set(ports) - until(held, set(ports).issubset)
    assert not missing, f"nobody listens on {kind} {sorted(missing)}"
