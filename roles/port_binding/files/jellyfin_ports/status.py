# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`jellyfin-ports status`: what is served, by whom, to whom."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from . import config as configuration
from . import control
from .config import CLIENT_DISCOVERY_PORT, SSDP_PORT, Config, ConfigError
from .holders import holders
from .tables import ago, amount, table, visible

_PORTS = (
    ("http", "tcp", "relay"),
    ("https", "tcp", "relay"),
    ("description", "tcp", "relay"),
    ("client_discovery", "udp", "discovery"),
    ("ssdp", "udp", "discovery"),
    ("hdhomerun", "udp", "discovery"),
    ("guard", "tcp", "guard"),
)


def wanted_processes(config: Config) -> list[str]:
    wanted = {"discovery": config.discovery_wanted, "relay": config.relay_wanted, "limits": config.connections.enabled,
              "guard": config.guard.enabled}  # fmt: skip
    return [name for name in control.PROCESSES if wanted[name]]


def generation(path: str) -> tuple[str, list[str]]:
    """The generation that every process runs, or '' and why there is none."""
    problems: list[str] = []
    found: set[str] = set()
    for process in wanted_processes(configuration.load(path)):
        try:
            found.add(str(control.ask(process, "generation").get("generation", "")))
        except control.NotRunning as error:
            problems.append(f"{process}: {error}")
    if len(found) > 1:
        problems.append(f"the processes run different generations: {', '.join(sorted(found))}")
    return ("" if problems else next(iter(found), ""), problems)


def _port_rows(config: Config, processes: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    numbers = {"client_discovery": CLIENT_DISCOVERY_PORT, "ssdp": SSDP_PORT}
    for name, protocol, process in _PORTS:
        settings = getattr(config, name)
        enabled = settings if isinstance(settings, bool) else settings.enabled
        port = numbers.get(name) or getattr(settings, "port", 0)
        running = processes.get(process, {})
        if name == "hdhomerun":
            port = (running.get("hdhomerun") or {}).get("port", 0)
        held = [] if not port else holders(protocol, port)
        strangers = sorted({str(h) for h in held if not h.ours and h.process})
        if not enabled:
            state = "off"
        elif "error" in running:
            state = "down"
        elif process in ("relay", "guard"):
            state = "ours" if name in running.get("listeners", {}) else "not served"
        else:
            state = "ours" if running.get(name) else "not served"
        rows.append(
            {
                "listener": name,
                "port": port,
                "protocol": protocol,
                "enabled": enabled,
                "state": state,
                "held_by": strangers,
            }
        )
    return rows


def collect(path: str) -> dict[str, Any]:
    config = configuration.load(path)
    processes: dict[str, Any] = {}
    for name in wanted_processes(config):
        try:
            processes[name] = control.ask(name, "status")
        except control.NotRunning as error:
            processes[name] = {"error": str(error)}
    return {"configuration": path, "ports": _port_rows(config, processes), "processes": processes}


def healthy(report: dict[str, Any]) -> bool:
    return all("error" not in p for p in report["processes"].values()) and all(
        row["state"] in ("ours", "off") for row in report["ports"]
    )


def _counters(counters: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(counters.items()) if count) or "none"


def render(report: dict[str, Any]) -> str:
    now = time.time()
    parts = [
        table(
            ("LISTENER", "PORT", "STATE", "ALSO HELD BY"),
            (
                (
                    row["listener"],
                    f"{row['port']}/{row['protocol']}" if row["port"] else f"-/{row['protocol']}",
                    row["state"],
                    ", ".join(row["held_by"]) or "-",
                )
                for row in report["ports"]
            ),
        )
    ]
    for name, process in report["processes"].items():
        if "error" in process:
            parts.append(f"{name}: {process['error']} (journalctl -u jellyfin-ports-{name})")
            continue
        title = f"{name}: up since {ago(process['since'], now)}, generation {process['generation'] or 'unnamed'}"
        if process.get("reload_error"):
            title += f"\n  last reload failed, the old configuration is in force: {process['reload_error']}"
        parts.append(title)
        parts += _PARTS[name](process, now)
    return "\n\n".join(parts)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(visible, texts))


def _discovery(process: dict[str, Any], now: float) -> list[str]:
    parts = [
        table(
            ("SERVER", "URL", "NAME", "STATE"),
            (
                (
                    s["name"],
                    s["url"],
                    (s["identity"] or {}).get("name", "-"),
                    f"ready, {ago(s['since'], now)}" if s["ready"] else f"not announced: {s['problem']}",
                )
                for s in process["upstreams"]
            ),
        )
    ]
    clients = process.get("client_discovery")
    if clients:
        rules = [
            (server, rule["to"], rule["address"]) for server, list_ in clients["announced"].items() for rule in list_
        ]
        parts.append(table(("SERVER", "ANNOUNCED TO", "ADDRESS"), rules))
        if clients["answered"]:
            rows = (
                (c["source"], c["count"], ago(c["last"], now), ", ".join(c["addresses"])) for c in clients["answered"]
            )
            parts.append(table(("ASKED BY", "ANSWERS", "LAST", "ADDRESS"), rows))
        parts.append(f"client discovery: {_counters(clients['counters'])}")
        if clients["dropped_in_kernel"]:
            parts[-1] += f"; dropped in the kernel while flooded: {clients['dropped_in_kernel']}"
    ssdp = process.get("ssdp")
    if ssdp:
        parts.append(
            table(("SSDP DEVICE", "TYPE", "LOCATION"), ((d["name"], d["type"], d["location"]) for d in ssdp["devices"]))
            if ssdp["devices"]
            else f"SSDP: nothing announced ({visible(ssdp['why']) or 'no server is ready'})"
        )
        parts.append(f"SSDP: {_counters(ssdp['counters'])}")
    tuners = process.get("hdhomerun")
    if tuners:
        rows = ((t["id"], t["address"], t["tuners"], ago(t["seen"], now)) for t in tuners["found"])
        parts.append(table((f"HDHOMERUN (port {tuners['port']})", "ADDRESS", "TUNERS", "SEEN"), rows))
        parts.append(f"HDHomeRun: {_counters(tuners['counters'])}")
    return parts


def _relay(process: dict[str, Any], _now: float) -> list[str]:
    phases = ", ".join(f"{count} {phase}" for phase, count in process["phases"].items()) or "none"
    lines = [
        f"connections: {process['connections']} of at most {process['connection_limit']} ({phases})",
        f"to clients {amount(process['bytes_to_clients'])}, to servers {amount(process['bytes_to_servers'])}",
        _counters(process["counters"]),
    ]
    if process["stand_in"]:
        lines.insert(0, "stand-in: no server is configured")
    if process["refused"]:
        refused = _listed(f"{source} ({count})" for source, count in process["refused"].items())
        lines.append(f"refused, not in jellyfin_lan: {refused}")
    if process["too_many"]:
        lines.append(f"refused, too many connections: {_listed(process['too_many'])}")
    if process["refused_names"]:
        lines.append(f"refused names, not in jellyfin_lan_names: {_listed(process['refused_names'])}")
    return ["\n".join(lines)]


def _limits(process: dict[str, Any], _now: float) -> list[str]:
    limits = process["connections"]
    ports = [f"{port}/{protocol}" for protocol in ("tcp", "udp") for port in process["ports"][protocol]]
    lines = [
        f"at most {limits['internet'] or 'any number of'} connections for an address, {limits['lan'] or 'any number'} for"
        f" one of the LAN, on {', '.join(ports)}",
        f"banned: {process['banned']} (jellyfin-ports bans)",
    ]
    if process["problem"]:
        lines.insert(0, f"NOT IN FORCE: nftables: {process['problem']}")
    if process["restored"]:
        lines.append(f"the table was taken away by somebody and put back: {process['restored']} times")
    if process["refused"]:
        refused = _listed(f"{address} ({count})" for address, count in process["refused"].items())
        lines.append(f"refused, too many connections: {refused}")
    return ["\n".join(lines)]


def _guard(process: dict[str, Any], now: float) -> list[str]:
    lines = [
        f"counted: {process['addresses']} addresses, {process['accounts']} accounts; logged in before:"
        f" {process['known_addresses']} pairs of both",
        f"refused for now: {process['refused_addresses']} addresses, {process['refused_accounts']} accounts"
        " to addresses they do not know (jellyfin-ports bans)",
    ]
    if process["accounts_near_lockout"]:
        lines.append(f"kept from Jellyfin's lockout, open to known addresses only: {process['accounts_near_lockout']}")
    return ["\n".join([*lines, *_relay(process, now)])]


_PARTS = {"discovery": _discovery, "relay": _relay, "limits": _limits, "guard": _guard}


def render_bans(answer: dict[str, Any]) -> str:
    def at(seconds: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))

    rows = [(ban["address"], at(ban["since"]), at(ban["until"]), ban["reason"] or "-") for ban in answer["bans"]]
    parts = [table(("ADDRESS", "SINCE", "UNTIL", "REASON"), rows) if rows else "Nobody is banned."]
    if not answer["enforced"]:
        parts.insert(0, "NOT IN FORCE: see jellyfin-ports status")
    if answer.get("logins"):
        refused = [(entry["address"], at(entry["until"])) for entry in answer["logins"]]
        parts.append("\n" + table(("NO LOGIN FROM", "UNTIL"), refused))
    return "\n".join(parts)


__all__ = ["ConfigError", "collect", "generation", "healthy", "render", "render_bans"]
