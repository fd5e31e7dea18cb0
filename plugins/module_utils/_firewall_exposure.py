# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens here: what SSH needs, what a firewall would cut off, what is reachable without one."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import Rule


def environment(pid: str, proc: str = "/proc") -> dict[str, str]:
    try:
        with open(os.path.join(proc, pid, "environ"), "rb") as handle:
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


def parent(pid: str, proc: str = "/proc") -> str:
    try:
        with open(os.path.join(proc, pid, "status"), encoding="utf-8", errors="replace") as handle:
            match = re.search(r"(?m)^PPid:\s+(\d+)", handle.read())
    except OSError:
        return "0"
    return match.group(1) if match else "0"


def connection_port(pid: str | None = None, proc: str = "/proc") -> int | None:
    """The server's port of the SSH connection that this process runs in.

    sudo drops SSH_CONNECTION; an ancestor still has it.
    """
    current = pid or str(os.getpid())
    for _dummy in range(64):
        words = environment(current, proc).get("SSH_CONNECTION", "").split()
        if len(words) == 4 and words[3].isdigit():
            return int(words[3])
        current = parent(current, proc)
        if current in ("0", "1"):
            break
    return None


def is_ssh(item: Mapping[str, Any]) -> bool:
    """An sshd, or the socket unit that starts one (systemd itself holds that)."""
    return item["proto"] == "tcp" and (
        item["process"] in ("sshd", "dropbear", "tinysshd")
        or item["unit"] in ("ssh.socket", "sshd.socket", "ssh.service")
    )


def socket_ports(listing: str) -> set[int]:
    """The ports of SSH's socket units in `systemctl list-sockets --plain`."""
    found = set()
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 2 and re.match(r"^(ssh|sshd|dropbear)\.socket$", words[1]):
            match = re.search(r"(?:^|:)(\d+)$", words[0])
            if match:
                found.add(int(match.group(1)))
    return found


def ssh_ports(listeners: Iterable[Mapping[str, Any]], listing: str, connection: int | None) -> list[int]:
    found = {int(item["port"]) for item in listeners if is_ssh(item) and not is_loopback(item["address"])}
    found |= socket_ports(listing)
    if connection:
        found.add(connection)
    return sorted(found)


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def reachable(listeners: Iterable[Mapping[str, Any]], ephemeral: int = 32768) -> list[dict[str, Any]]:
    """Listeners that the network reaches, each port once. A UDP port from the range for clients is no service."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for item in listeners:
        if is_loopback(item["address"]) or (item["proto"] == "udp" and int(item["port"]) >= ephemeral):
            continue
        key = (item["proto"], int(item["port"]))
        entry = found.setdefault(
            key, {"proto": item["proto"], "port": int(item["port"]), "addresses": [], "process": item["process"]}
        )
        entry["process"] = entry["process"] or item["process"]
        entry["addresses"].append(item["address"])
    return [found[key] for key in sorted(found)]


def ephemeral_start(text: str) -> int:
    """The first of net.ipv4.ip_local_port_range."""
    words = text.split()
    return int(words[0]) if words and words[0].isdigit() else 32768


def cut_off(
    services: Iterable[Mapping[str, Any]], rules: Iterable[Rule], admits: Callable[[str, int], bool]
) -> list[dict[str, Any]]:
    """The services that nobody reaches any more once a firewall with these rules, and those that are stored, is on."""
    rules = list(rules)
    return [
        dict(item)
        for item in services
        if not any(rule.covers(item["proto"], item["port"]) for rule in rules)
        and not admits(item["proto"], item["port"])
    ]


def describe(item: Mapping[str, Any]) -> str:
    return "{}/{}{}".format(item["port"], item["proto"], " ({})".format(item["process"]) if item["process"] else "")


def sentences(reason: str, services: Iterable[Mapping[str, Any]]) -> list[str]:
    """What everybody who reaches this host can use, while no firewall is on."""
    services = list(services)
    if not services:
        return [reason, "No service listens on any but the loopback addresses."]
    return [reason] + ["Reachable: {} on {}.".format(describe(item), ", ".join(item["addresses"])) for item in services]
