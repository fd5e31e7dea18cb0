# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This machine's interfaces and their IPv4 addresses, as the kernel tells them over netlink."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from dataclasses import dataclass, field

from .addresses import Networks

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFLA_IFNAME, _IFA_ADDRESS, _IFA_LOCAL = 3, 1, 2
_IFF_UP, _IFF_LOOPBACK, _IFF_MULTICAST = 0x1, 0x8, 0x1000
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10


@dataclass
class Interface:
    index: int
    name: str = ""
    flags: int = 0
    addresses: list[ipaddress.IPv4Interface] = field(default_factory=list)

    @property
    def up(self) -> bool:
        return bool(self.flags & _IFF_UP)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & _IFF_LOOPBACK)

    @property
    def multicast(self) -> bool:
        return bool(self.flags & _IFF_MULTICAST) and not self.loopback

    def on_link(self, address: ipaddress.IPv4Address) -> ipaddress.IPv4Interface | None:
        """Our address whose network holds `address`; the longest prefix where several do."""
        best = None
        for own in self.addresses:
            if address in own.network and (best is None or own.network.prefixlen > best.network.prefixlen):
                best = own
        return best

    def lan_address(self, lan: Networks) -> ipaddress.IPv4Interface | None:
        """Our first address on this interface that is LAN, or None: then this is no LAN interface."""
        if not self.up:
            return None
        return next((own for own in self.addresses if str(own.ip) in lan), None)


def attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4 or offset + length > len(data):
            break
        found.setdefault(kind & 0x3FFF, data[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return found


def parse_messages(data: bytes, into: dict[int, Interface]) -> bool:
    """Read netlink messages into `into`; True once the end of the dump was seen."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16 or offset + length > len(data):
            return False
        body = data[offset + 16 : offset + length]
        if kind == _NLMSG_DONE:
            return True
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            raise OSError(code, os.strerror(code))
        if kind == _RTM_NEWLINK and len(body) >= 16:
            index, flags = struct.unpack_from("=4xiI", body)
            interface = into.setdefault(index, Interface(index))
            interface.flags = flags
            interface.name = attributes(body[16:]).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("ascii", "replace")
        elif kind == _RTM_NEWADDR and len(body) >= 8:
            family, prefix, _flags, _scope, index = struct.unpack_from("=BBBBi", body)
            known = attributes(body[8:])
            local = known.get(_IFA_LOCAL) or known.get(_IFA_ADDRESS) or b""
            if family == socket.AF_INET and len(local) == 4 and prefix <= 32:
                own = ipaddress.IPv4Interface((local, prefix))
                into.setdefault(index, Interface(index)).addresses.append(own)
        offset += (length + 3) & ~3
    return False


def read_interfaces() -> dict[int, Interface]:
    found: dict[int, Interface] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        for sequence, kind in enumerate((_RTM_GETLINK, _RTM_GETADDR), 1):
            # ifinfomsg is the longer of the two headers, and zeroes mean "all" in both.
            netlink.send(struct.pack("=IHHII16x", 32, kind, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0))
            while not parse_messages(netlink.recv(1 << 17), found):
                pass
    return {index: interface for index, interface in found.items() if interface.name}


def watch_socket() -> socket.socket:
    """Becomes readable when an interface or an IPv4 address comes, goes or changes."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    netlink.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
    return netlink


def route_source(destination: str) -> str:
    """The own address from which the kernel would reach `destination`, or ''. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


@dataclass(frozen=True)
class Admission:
    """Whether a datagram may be answered, and from which own address."""

    reason: str  # '' when admitted
    local: str = ""
    on_link: bool = False


def admit(source: str, index: int, interfaces: dict[int, Interface], lan: Networks) -> Admission:
    """Judge by source and arrival interface together.

    An address on the link of another interface is forged or misrouted; one on no link is answered only where it
    is listed as LAN and came in over an interface that is LAN itself.
    """
    try:
        address = ipaddress.IPv4Address(source)
    except ValueError:
        return Admission("not_lan")
    arrival = interfaces.get(index)
    if arrival is None:
        return Admission("unknown_interface")
    # What we ask ourselves arrives by loopback or looped back on the interface it left by.
    own = next((o for i in interfaces.values() for o in i.addresses if o.ip == address), None)
    if source not in lan:
        return Admission("not_lan")
    if own is not None and (arrival.loopback or arrival.on_link(address)):
        return Admission("", str(own.ip), True)
    here = arrival.on_link(address)
    if here is not None:
        return Admission("", str(here.ip), True)
    if any(i.on_link(address) for i in interfaces.values() if i.index != index):
        return Admission("wrong_interface")
    through = arrival.lan_address(lan)
    if through is None:
        return Admission("wrong_interface")
    return Admission("", route_source(source) or str(through.ip), False)
