# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of a process: start, reload, tick, stop. What it serves is its own business."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from . import __version__, control, systemd
from . import config as configuration
from .config import Config, ConfigError

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_PORT = 0, 1, 2, 3
_TICK = 1.0


class PortTaken(Exception):
    """A port of ours is held by someone else."""


class Service(Protocol):
    name: str

    async def start(self, config: Config, sockets: dict[str, socket.socket]) -> None:
        """Serve what the configuration asks for, on the sockets that systemd passed."""

    async def reload(self, config: Config) -> None:
        """Go over to another configuration, or raise and stay."""

    def tick(self) -> None:
        """Called every second."""

    def status(self) -> dict[str, Any]:
        """The process's part of the report."""

    def headline(self) -> str:
        """One line, for `systemctl status`."""

    async def stop(self) -> None:
        """Let go of everything."""


class Process:
    def __init__(self, service: Service, path: str) -> None:
        self._service = service
        self._path = path
        self._config = Config()
        self._since = time.time()
        self._stopping: asyncio.Event = asyncio.Event()
        self._reload_error = ""
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False

    def _handle(self, command: str) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        if command.startswith("{"):
            return self._asked(command)
        if command == "generation":
            return {"generation": self._config.generation}
        if command == "reload":
            self._start_reload()
            return {"started": True}
        if command == "reloaded":
            done = self._reloading is None or self._reloading.done()
            return {"done": done, "error": self._reload_error}
        if command == "status":
            return {
                "process": self._service.name,
                "version": __version__,
                "pid": os.getpid(),
                "since": round(self._since),
                "generation": self._config.generation,
                "reload_error": self._reload_error,
                **self._service.status(),
            }
        return {"error": f"unknown command {command!r}"}

    def _asked(self, text: str) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        request = getattr(self._service, "request", None)
        if request is None:
            return {"error": f"{self._service.name} takes no requests"}
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            return {"error": "not JSON"}
        answer: Awaitable[dict[str, Any]] = request(asked)
        return answer

    def _start_reload(self) -> None:
        self._reload_again = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload_all())

    async def _reload_all(self) -> None:
        """Whoever asks while one is under way may have written the file after it was read."""
        while self._reload_again:
            self._reload_again = False
            await self._reload()

    async def _reload(self) -> None:
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._reload_error = ""
        try:
            config = configuration.load(self._path)
            await self._service.reload(config)
            self._config = config
            log.info(
                "configuration loaded (generation %s)",
                config.generation or "unnamed",
                extra=systemd.noted(generation=config.generation),
            )
        except ConfigError as error:
            self._reload_error = str(error)
        except Exception as error:
            log.exception("reload")
            self._reload_error = str(error) or type(error).__name__
        if self._reload_error:
            log.error("the configuration in force stays: %s", self._reload_error)
        systemd.notify("READY=1", f"STATUS={self._service.headline()}")

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._config = configuration.load(self._path)
        sockets = systemd.passed_sockets()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._start_reload)
        await self._service.start(self._config, sockets)
        server = None
        if systemd.runtime_directory():
            server = await control.serve(systemd.runtime_directory() + "/control", self._handle)
        gc.collect()
        gc.freeze()
        systemd.notify("READY=1", f"STATUS={self._service.headline()}")
        log.info("ready: %s", self._service.headline())
        watchdog = systemd.watchdog_seconds()
        petted = said = 0.0
        headline = ""
        while not self._stopping.is_set():
            now = loop.time()
            if watchdog and now - petted >= watchdog:
                petted = now
                systemd.notify("WATCHDOG=1")
            if now - said >= 10 and headline != self._service.headline():
                said, headline = now, self._service.headline()
                systemd.notify(f"STATUS={headline}")
            self._service.tick()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TICK)
        systemd.notify("STOPPING=1")
        if server is not None:
            server.close()
        await self._service.stop()
        return EXIT_OK


def run(service: Service, path: str) -> int:
    async def main() -> int:
        return await Process(service, path).run()

    try:
        return asyncio.run(main())
    except ConfigError as error:
        for problem in error.problems:
            log.error("%s", problem)
        return EXIT_CONFIG
    except PortTaken as error:
        log.error("%s", error)
        return EXIT_PORT
