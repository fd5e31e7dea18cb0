# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose process stands behind a connection on loopback.

A caller says which visitor it speaks for, so a local user who could call would have others banned.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
import time
from collections.abc import Iterable

_SOCK_DIAG_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2
_ESTABLISHED = 1
_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_DYNAMIC = "/run/systemd/dynamic-uid/direct:"
_LOOK_AGAIN_SECONDS = 2.0
_MISSED_SECONDS = 0.05

End = tuple[str, int]


def _asked(near: End, far: End) -> tuple[int, int, int]:
    """State, user and inode of the socket whose own address is `near`. OSError where the kernel cannot be asked."""
    query = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    query += struct.pack("!HH4s12x4s12x", near[1], far[1], socket.inet_aton(near[0]), socket.inet_aton(far[0]))
    query += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4) as netlink:
        netlink.settimeout(1)
        netlink.send(struct.pack("=IHHII", 16 + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + query)
        answer = netlink.recv(8192)
    if len(answer) < 88 or struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        raise OSError("no such socket")
    state = answer[17]
    user, inode = struct.unpack_from("=II", answer, 80)
    return state, user, inode


def _hex(end: End, mapped: bool) -> str:
    """As the tables below /proc write it: words of the machine's own byte order."""
    address = (b"\0" * 10 + b"\xff\xff" if mapped else b"") + socket.inet_aton(end[0])
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"


def _listed(near: End, far: End) -> tuple[int, int, int]:
    for table in _TABLES:
        ends = f": {_hex(near, table.endswith('6'))} {_hex(far, table.endswith('6'))} "
        with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as file:
            for line in file:
                if ends in line:
                    fields = line.split()
                    return int(fields[3], 16), int(fields[7]), int(fields[9])
    raise OSError("no such socket")


def owner(near: End, far: End) -> int | None:
    """The user whose connection from `near` to `far` this is; None where it is nobody's any more.

    A socket that its process has closed belongs to root in the kernel's eyes, so only one that is open counts.
    """
    for look in (_asked, _listed):
        try:
            state, user, inode = look(near, far)
        except OSError:
            continue
        return user if inode and state == _ESTABLISHED else None
    return None


def user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        pass
    try:
        return int(os.readlink(_DYNAMIC + name))  # a DynamicUser, on a host without nss-systemd
    except (OSError, ValueError):
        return None


class Callers:
    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._ids: set[int] = set()
        self._looked = -_LOOK_AGAIN_SECONDS

    def may(self, user: int | None) -> bool:
        if user is None:
            return False
        # The user of a service that starts later is there only then, and may be another after a restart.
        age = time.monotonic() - self._looked
        if age >= (_LOOK_AGAIN_SECONDS if user in self._ids else _MISSED_SECONDS):
            self._looked = time.monotonic()
            self._ids = {found for found in map(user_id, self._names) if found is not None}
        return user in self._ids
