# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metrics in Prometheus' text format, on a loopback port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

_DATAGRAMS = "Datagrams by what became of them."
Sample = tuple[str, str, dict[str, str], float]  # name, help, labels, value


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def render(samples: Iterable[Sample]) -> bytes:
    lines: list[str] = []
    told: set[str] = set()
    for name, text, labels, value in samples:
        if name not in told:
            told.add(name)
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        inside = ",".join(f'{key}="{_label(str(val))}"' for key, val in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}")
    return ("\n".join(lines) + "\n").encode()


def discovery_samples(status: dict[str, Any]) -> Iterable[Sample]:
    for server in status["upstreams"]:
        yield (
            "jellyfin_ports_server_ready",
            "Whether a server is ready, and thus announced.",
            {"server": server["name"]},
            float(server["ready"]),
        )
    for protocol in ("client_discovery", "ssdp", "hdhomerun"):
        part = status.get(protocol)
        if not part:
            continue
        for result, count in sorted(part["counters"].items()):
            yield (
                "jellyfin_ports_datagrams_total",
                _DATAGRAMS,
                {"protocol": protocol, "result": result},
                count,
            )
        if "dropped_in_kernel" in part:
            labels = {"protocol": protocol, "result": "dropped_in_kernel"}
            yield "jellyfin_ports_datagrams_total", _DATAGRAMS, labels, part["dropped_in_kernel"]
    if status.get("hdhomerun"):
        yield "jellyfin_ports_tuners", "HDHomeRun tuners found.", {}, len(status["hdhomerun"]["found"])


def relay_samples(status: dict[str, Any]) -> Iterable[Sample]:
    for phase, count in sorted(status["phases"].items()):
        yield "jellyfin_ports_connections", "Clients' connections by what they are at.", {"phase": phase}, count
    help_bytes = "Bytes of bodies that were passed on."
    yield "jellyfin_ports_bytes_total", help_bytes, {"to": "clients"}, status["bytes_to_clients"]
    yield "jellyfin_ports_bytes_total", help_bytes, {"to": "servers"}, status["bytes_to_servers"]
    for event, count in sorted(status["counters"].items()):
        yield "jellyfin_ports_relay_events_total", "What happened to requests.", {"event": event}, count


async def serve(port: int, collect: Callable[[], Iterable[Sample]]) -> Any:
    """Serves /metrics with aiohttp, which is loaded only where metrics are on."""
    from aiohttp import web

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(
            body=render(collect()), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    await web.SockSite(runner, sock).start()
    await asyncio.sleep(0)
    return runner
