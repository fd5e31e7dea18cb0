# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses: which are LAN, and who a client behind trusted proxies really is. No sockets here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_CACHE_LIMIT = 4096


def parse_address(text: str) -> Address:
    """An address in its plain form: no zone, and IPv4 where it is IPv4 mapped into IPv6. ValueError if it is none."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def plain(text: str) -> str:
    return str(parse_address(text))


class Networks:
    """A set of networks that answers quickly for addresses it has seen before."""

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        self.networks: list[Network] = [ipaddress.ip_network(c) for c in cidrs]
        self._seen: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __str__(self) -> str:
        return ", ".join(map(str, self.networks)) or "none"

    def __contains__(self, text: str) -> bool:
        known = self._seen.get(text)
        if known is not None:
            return known
        try:
            address = parse_address(text)
            inside = any(address.version == n.version and address in n for n in self.networks)
        except ValueError:
            inside = False
        if len(self._seen) >= _CACHE_LIMIT:
            self._seen.clear()
        self._seen[text] = inside
        return inside

    def ipv4(self) -> list[ipaddress.IPv4Network]:
        return [n for n in self.networks if isinstance(n, ipaddress.IPv4Network)]


def parse_hop(text: str) -> str:
    """One entry of X-Forwarded-For: an address, which may carry a port. ValueError if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return plain(text)


def resolve_client(peer: str, forwarded_for: Iterable[str], trusted: Networks) -> str:
    """The one address a request comes from: right to left through the trusted hops only.

    An entry that is not an address ends the walk: what stands left of it is hearsay.
    """
    client = plain(peer)
    if not trusted or client not in trusted:
        return client
    hops = [hop for line in forwarded_for for hop in line.split(",")]
    for hop in reversed(hops):
        try:
            client = parse_hop(hop)
        except ValueError:
            break
        if client not in trusted:
            break
    return client
