"""Makes the checkout importable as ansible_collections.jellynet.jellyfin, as in tests/unit; and no test here lasts for ever."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"

if ROOT.parts[-3:] != ("ansible_collections", "jellynet", "jellyfin"):
    link = COLLECTIONS / "ansible_collections" / "jellynet" / "jellyfin"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # of another run, or another process of this one
        link.symlink_to(ROOT)
    sys.path.insert(0, str(COLLECTIONS))

# Far more than any of them needs, with its fixtures: servers that mean ill must not hold up who runs the tests.
LIMIT = 600


def _bounded() -> Generator[None, Any, Any]:
    def over(_number: int, _frame: object) -> None:
        pytest.fail(f"it did not end within {LIMIT} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    return (yield from _bounded())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    return (yield from _bounded())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    return (yield from _bounded())
