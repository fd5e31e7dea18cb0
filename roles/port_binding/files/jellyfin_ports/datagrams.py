# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""UDP sockets that know over which interface a datagram came, and a filter in the kernel against floods."""

from __future__ import annotations

import array
import contextlib
import socket
import struct
from dataclasses import dataclass

from .addresses import Networks

IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
_MEMINFO_DROPS = 8
_SOURCE_ADDRESS = 0xFFF0000C  # SKF_NET_OFF + 12
_ANY = b"\0\0\0\0"

ENGAGE_AT = 200  # refused in one second
CALM_SECONDS = 5


def udp_socket(port: int, share: bool = False) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    if share:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    return sock


def prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    with contextlib.suppress(OSError):  # systemd keeps a socket over a restart, and with it the filter of a flood
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def arrival_index(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    return 0


def destination(ancillary: list[tuple[int, int, bytes]]) -> str:
    """The address a datagram was sent to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= 12:
            return socket.inet_ntoa(data[8:12])
    return ""


def leave_by(index: int, local: str) -> list[tuple[int, int, bytes]]:
    """Ancillary data that sends a datagram over this interface (0: by route) from this own address ('': any)."""
    address = socket.inet_aton(local) if local else _ANY
    return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4s", index, address, _ANY))]


def filter_program(lan: Networks) -> bytes:
    """A classic BPF program that lets only these sources through, or b'' where there are too many."""
    networks = lan.ipv4()
    if not networks or len(networks) > 80:
        return b""
    code: list[tuple[int, int, int, int]] = [(0x20, 0, 0, _SOURCE_ADDRESS), (0x07, 0, 0, 0)]
    for position, network in enumerate(networks):
        to_accept = 3 * (len(networks) - 1 - position) + 1
        code.append((0x87, 0, 0, 0))
        code.append((0x54, 0, 0, int(network.netmask)))
        code.append((0x15, to_accept, 0, int(network.network_address)))
    code.append((0x06, 0, 0, 0))
    code.append((0x06, 0, 0, 0xFFFFFFFF))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


@dataclass
class FloodGuard:
    """While strangers flood a socket, the kernel drops what they send, so that the LAN's questions still fit in.

    Only then: as long as it is off, each refused datagram is counted with its reason.
    """

    sock: socket.socket
    lan: Networks
    engaged: bool = False
    dropped: int = 0
    _refused: int = 0
    _drops_seen: int = 0
    _calm: int = 0

    def tick(self, refused_total: int) -> None:
        """Call once a second with the count of all refused so far."""
        lately, self._refused = refused_total - self._refused, refused_total
        drops = self._kernel_drops()
        new_drops, self._drops_seen = drops - self._drops_seen, drops
        if not self.engaged:
            if lately >= ENGAGE_AT:
                self.engaged = self._attach()
                self._calm = 0
            return
        self.dropped += max(0, new_drops)
        self._calm = self._calm + 1 if new_drops < ENGAGE_AT else 0
        if self._calm >= CALM_SECONDS:
            self.detach()

    def _kernel_drops(self) -> int:
        try:
            info = self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
            return int(struct.unpack("=9I", info)[_MEMINFO_DROPS])
        except (OSError, struct.error):
            return 0

    def _attach(self) -> bool:
        program = filter_program(self.lan)
        if not program:
            return False
        code = array.array("B", program)
        address, length = code.buffer_info()
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length // 8, address))
        except OSError:
            return False
        return True

    def detach(self) -> None:
        if self.engaged:
            self.engaged = False
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
