# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps watch over the servers: who they are, whether they are ready. Remembers them across restarts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import probe
from .client_discovery import Identity
from .config import Upstream
from .systemd import noted

log = logging.getLogger(__name__)

INTERVAL = 2.0


@dataclass
class State:
    upstream: Upstream
    identity: Identity | None = None  # the last known, also while it is down
    ready: bool = False
    problem: str = "not asked yet"
    since: float = 0.0
    slow: bool = False  # it let the last question wait for too long

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.upstream.name,
            "url": self.upstream.url + self.upstream.path,
            "ready": self.ready,
            "problem": self.problem,
            "since": round(self.since),
            "identity": asdict(self.identity) if self.identity else None,
        }


class Memory:
    """A small JSON file in the state directory; without one nothing is kept."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "state.json" if directory else None
        self.data: dict[str, Any] = {}
        if self._path:
            try:
                loaded = json.loads(self._path.read_text("utf-8"))
                self.data = loaded if isinstance(loaded, dict) else {}
            except (OSError, ValueError):
                pass

    def put(self, key: str, value: Any) -> None:
        if self.data.get(key) == value:
            return
        self.data[key] = value
        if self._path is None:
            return
        try:
            scratch = self._path.with_suffix(".new")
            scratch.write_text(json.dumps(self.data, indent=1), "utf-8")
            os.replace(scratch, self._path)
        except OSError as error:
            log.warning("cannot keep %s: %s", self._path, error.strerror)


class Watcher:
    """Asks every server every two seconds, and tells when something changed."""

    def __init__(self, upstreams: tuple[Upstream, ...], memory: Memory, changed: Callable[[], None]) -> None:
        self._memory = memory
        self._changed = changed
        known = memory.data.get("identities", {})
        self.states = [State(u, self._recall(known.get(u.url + u.path)), since=time.time()) for u in upstreams]
        self._threads = ThreadPoolExecutor(max_workers=max(1, min(8, len(upstreams))), thread_name_prefix="probe")
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    def _recall(kept: Any) -> Identity | None:
        try:
            return Identity(**kept) if kept else None
        except TypeError:
            return None

    async def start(self) -> None:
        """The first look is over when this returns, so that nobody is told about a server that is not there."""
        await asyncio.gather(*(self._look(s, 1.0) for s in self.states))
        self._tasks = [asyncio.ensure_future(self._watch(s)) for s in self.states]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False)

    async def _watch(self, state: State) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._look(state, INTERVAL)

    async def _look(self, state: State, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, probe.ask, state.upstream, seconds)
        ready = answer.identity is not None
        was_slow, state.slow = state.slow, answer.slow
        if state.ready and answer.slow and not was_slow:
            return  # once may be a moment in which it is busy
        if (ready, answer.problem) == (state.ready, state.problem) and (not ready or answer.identity == state.identity):
            return
        if ready != state.ready:
            state.since = time.time()
            said = "ready" if ready else f"not announced: {answer.problem}"
            log.info("%s is %s", state.upstream.name, said, extra=noted(server=state.upstream.name, ready=int(ready)))
        state.ready, state.problem = ready, answer.problem
        if answer.identity is not None:
            state.identity = answer.identity
            kept = {s.upstream.url + s.upstream.path: asdict(s.identity) for s in self.states if s.identity}
            self._memory.put("identities", kept)
        self._changed()
