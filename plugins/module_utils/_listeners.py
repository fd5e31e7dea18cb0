# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on which port: /proc/net read once, the holders by their open files."""

from __future__ import annotations

import glob
import os
import re
import socket
import struct
from typing import Any

_TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
_LISTEN = {"tcp": "0A", "udp": "07"}


def address(text: str) -> tuple[str, int]:
    """An address as /proc/net writes it (host byte order, a word at a time)."""
    host, port = text.split(":")
    words = [struct.pack("=I", int(host[start : start + 8], 16)) for start in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def parse(table: str, proto: str) -> list[dict[str, Any]]:
    """The listening sockets of one table: proto, address, port, inode."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        # A connected UDP socket has a peer; one that waits for anybody has none.
        if len(fields) > 9 and fields[3] == _LISTEN[proto] and fields[2].endswith(":0000"):
            host, port = address(fields[1])
            found.append({"proto": proto, "address": host, "port": port, "inode": fields[9]})
    return found


def _holders(proc: str) -> dict[str, int]:
    """Socket inode: the lowest process id that has it open (a master comes before its workers)."""
    holders: dict[str, int] = {}
    for path in glob.glob(os.path.join(proc, "[0-9]*", "fd", "*")):
        try:
            target = os.readlink(path)
        except OSError:
            continue
        match = re.match(r"^socket:\[(\d+)\]$", target)
        if match:
            pid = int(path.split(os.sep)[-3])
            inode = match.group(1)
            holders[inode] = min(pid, holders.get(inode, pid))
    return holders


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def unit_of(cgroup: str) -> str:
    """The systemd unit in a /proc/PID/cgroup, or ''."""
    units = re.findall(r"([\w@:.\\-]+\.(?:service|scope|socket))(?:/|$)", cgroup, re.MULTILINE)
    return units[-1] if units else ""


def listeners(proc: str = "/proc") -> list[dict[str, Any]]:
    """All listening TCP and waiting UDP sockets of this network namespace: proto, address, port, process, unit.

    ``process`` is '' where the holder cannot be named (only root can name all of them).
    """
    holders = _holders(proc)
    found = []
    for table, proto in _TABLES:
        for item in parse(_text(os.path.join(proc, "net", table)), proto):
            pid = holders.get(item.pop("inode"))
            item["process"] = _text(os.path.join(proc, str(pid), "comm")).strip() if pid else ""
            item["unit"] = unit_of(_text(os.path.join(proc, str(pid), "cgroup"))) if pid else ""
            if item not in found:
                found.append(item)
    return sorted(found, key=lambda item: (item["proto"], item["port"], item["address"]))
