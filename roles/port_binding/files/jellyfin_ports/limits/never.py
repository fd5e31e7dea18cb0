# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is never banned: the LAN, this machine, its routers, its containers, and whatever our own names lead to."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..addresses import Address, Network, Networks
from ..interfaces import attributes
from .ruleset import key_of

_RTM_NEWADDR, _RTM_GETADDR, _RTM_NEWROUTE, _RTM_GETROUTE = 20, 22, 24, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL, _RTA_GATEWAY, _RTA_MULTIPATH = 1, 2, 5, 9
# RFC 1918, RFC 4193, and RFC 6598, which some container networks take.
_PRIVATE = Networks(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"])
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass
class Surroundings:
    """What this machine is connected to."""

    own: list[ipaddress.IPv4Interface | ipaddress.IPv6Interface] = field(default_factory=list)
    gateways: list[Address] = field(default_factory=list)


def parse(data: bytes, into: Surroundings) -> bool:
    """Read netlink messages into `into`; True once the end of the dump was seen. OSError when the kernel refused."""
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
        if kind == _RTM_NEWADDR and len(body) >= 8 and body[0] in _FAMILIES:
            known = attributes(body[8:])
            address = known.get(_IFA_LOCAL) or known.get(_IFA_ADDRESS) or b""
            if len(address) in (4, 16):
                into.own.append(ipaddress.ip_interface((address, body[1])))
        elif kind == _RTM_NEWROUTE and len(body) >= 12 and body[0] in _FAMILIES:
            _gateways(attributes(body[12:]), into.gateways)
        offset += (length + 3) & ~3
    return False


def _gateways(known: dict[int, bytes], into: list[Address]) -> None:
    gateway = known.get(_RTA_GATEWAY, b"")
    if len(gateway) in (4, 16):
        into.append(ipaddress.ip_address(gateway))
    hops = known.get(_RTA_MULTIPATH, b"")
    while len(hops) >= 8:
        length = struct.unpack_from("=H", hops)[0]
        if length < 8:
            return
        _gateways({k: v for k, v in attributes(hops[8:length]).items() if k == _RTA_GATEWAY}, into)
        hops = hops[(length + 3) & ~3 :]


def look() -> Surroundings:
    found = Surroundings()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        for sequence, kind in enumerate((_RTM_GETADDR, _RTM_GETROUTE), 1):
            # rtmsg is the longer of the two headers, and zeroes mean "all" in both.
            netlink.send(struct.pack("=IHHII12x", 28, kind, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0))
            while not parse(netlink.recv(1 << 17), found):
                pass
    return found


def reason(
    address: Address, lan: Networks, exempt: Networks, around: Surroundings, named: Iterable[Address] = ()
) -> str:
    """Why this address is not banned, or ''. `named`: what the sites' names lead to, the router's own public address at home."""
    key = key_of(address)

    def meant(other: Address) -> bool:
        return other in key if other.version == key.version else False

    def touches(networks: Networks) -> bool:
        return any(network.version == key.version and network.overlaps(key) for network in networks.networks)

    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        return "it is no address of the Internet"
    if touches(lan):
        return "it is in jellyfin_lan"
    if touches(exempt):
        return "it is a trusted proxy"
    if any(meant(own.ip) for own in around.own):
        return "it is this host's own"
    if any(map(meant, around.gateways)):
        return "it is a router of this host"
    if any(map(meant, named)):
        return "a site's own name leads to it"
    for own in around.own:
        network: Network = own.network
        if network.version == key.version and address in network and str(address) in _PRIVATE:
            return "it is on a network of this host (containers, a neighbour)"
    return ""
