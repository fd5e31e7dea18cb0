# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who holds a port. Everyone sees that it is held; only root sees by whom."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

_LISTENING = {"tcp": "0A", "udp": "07"}


@dataclass(frozen=True)
class Holder:
    """`process` is '' where the right to see it is missing."""

    address: str
    process: str = ""
    pid: int = 0
    unit: str = ""

    def __str__(self) -> str:
        if not self.process:
            return "another process (only root can see which)"
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.process} (process {self.pid}{unit})"

    @property
    def ours(self) -> bool:
        return self.unit.startswith("jellyfin-ports-") or self.process == "jellyfin-ports"


def parse_table(text: str, protocol: str, port: int) -> dict[str, str]:
    """inode -> local address of each socket of /proc/net/{tcp,udp}[6] that listens on this port."""
    found: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTENING[protocol]:
            continue
        address, _colon, number = fields[1].rpartition(":")
        if int(number, 16) == port:
            found[fields[9]] = _address(address)
    return found


def _address(text: str) -> str:

    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _unit(pid: int) -> str:
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text("ascii")
    except (OSError, ValueError):
        return ""
    match = re.search(r"/([^/\n]+\.(?:service|scope|socket))\s*$", groups, re.MULTILINE)
    return match.group(1) if match else ""


def _owners(inodes: set[str]) -> dict[str, int]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            for fd in os.listdir(f"/proc/{entry}/fd"):
                inode = wanted.get(os.readlink(f"/proc/{entry}/fd/{fd}"))
                # systemd keeps a socket besides the service that it passed it to: name the service.
                if inode and (inode not in found or found[inode] == 1):
                    found[inode] = int(entry)
        except OSError:
            continue
    return found


def holders(protocol: str, port: int) -> list[Holder]:
    inodes: dict[str, str] = {}
    for family in ("", "6"):
        try:
            inodes.update(parse_table(Path(f"/proc/net/{protocol}{family}").read_text("ascii"), protocol, port))
        except OSError:
            continue
    if not inodes:
        return []
    owners = _owners(set(inodes))
    found: list[Holder] = []
    for inode, address in inodes.items():
        pid = owners.get(inode, 0)
        name = ""
        if pid:
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        unit = _unit(pid) if pid else ""
        if pid == 1:
            unit = _socket_unit(protocol, port) or unit
        found.append(Holder(address, name, pid, unit))
    return found


def _socket_unit(protocol: str, port: int) -> str:
    """The .socket unit for which systemd itself holds a port."""
    import subprocess

    try:
        listing = subprocess.run(
            ["systemctl", "list-sockets", "--no-legend", "--no-pager", "--full"],
            capture_output=True, text=True, timeout=10, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].rpartition(":")[2] == str(port):
            return next((f for f in fields if f.endswith(".socket")), "")
    return ""


def describe_holder(protocol: str, port: int, error: OSError | None = None) -> str:
    """A sentence for a port that we could not have."""
    where = f"{port}/{protocol}"
    if error is not None and error.errno == errno.EACCES:
        return f"{where}: not permitted; the .socket unit binds it for the service"
    if error is not None and error.errno != errno.EADDRINUSE:
        return f"{where}: {error.strerror}"
    held = [h for h in holders(protocol, port) if not h.ours]
    names = ", ".join(sorted({str(h) for h in held})) or "another process"
    return f"{where} is held by {names}; stop it, or switch this listener off"
