# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a host's networks are its LAN.

LAN means the on-link prefixes of physical interfaces. Loopback, container bridges and tunnels are never LAN: what comes
out of a tunnel daemon or a masquerading bridge may be the whole Internet. A public IPv4 prefix is not LAN either: on a rented
server the neighbours are strangers. A public IPv6 /64 counts only beside a private IPv4 prefix, as at home. Link-local
addresses are left out: they look the same on every interface, on the Internet's side too. Nor is a private prefix LAN on an interface that
has a public IPv4 address as well: some providers give each server there an address of one private network that all their customers are in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

# Kinds (rtnetlink IFLA_INFO_KIND) that carry a physical network; '' is a plain network card.
PHYSICAL = frozenset(("", "bond", "team", "vlan", "macvlan", "ipvlan"))

PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",  # RFC 4193
    )
)

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: a carrier's own, behind which many homes are


def interfaces(links: list[Mapping[str, Any]], in_container: bool) -> list[dict[str, Any]]:
    """The interfaces of ``ip -json -details address``: name, kind, addresses, and whether each is a physical network."""
    found = []
    physical = _physical(links, in_container)
    for link in links:
        name = link.get("ifname", "")
        addresses = [
            {"address": item["local"], "prefix": int(item["prefixlen"]), "scope": item.get("scope", "")}
            for item in link.get("addr_info", [])
            # A point-to-point address has no neighbours, a temporary one is listed by its prefix already.
            if "local" in item and "address" not in item
        ]
        found.append(
            {
                "name": name,
                "kind": _kind(link),
                "physical": name in physical,
                "up": "UP" in link.get("flags", []),
                "addresses": addresses,
            }
        )
    return found


def _kind(link: Mapping[str, Any]) -> str:
    if link.get("link_type") == "loopback":
        return "loopback"
    if link.get("link_type") not in (None, "ether"):
        return str(link.get("link_type"))
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _physical(links: list[Mapping[str, Any]], in_container: bool) -> set[str]:
    kinds = {link.get("ifname", ""): _kind(link) for link in links}
    # In a container its uplink is one end of a veth pair whose other end lies in another namespace.
    allowed = PHYSICAL | {"veth"} if in_container else PHYSICAL
    physical = {name for name, kind in kinds.items() if kind in allowed}
    for link in links:
        if kinds.get(link.get("ifname", "")) != "bridge":
            continue
        members = [other.get("ifname", "") for other in links if other.get("master") == link.get("ifname")]
        if any(kinds[member] in PHYSICAL for member in members):
            physical.add(link.get("ifname", ""))
    return physical


def lan(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The LAN prefixes of `interfaces`, in CIDR notation, without doubles."""
    prefixes: list[str] = []
    for link in found:
        if not link["physical"] or not link["up"]:
            continue
        networks = [
            ipaddress.ip_interface("{}/{}".format(item["address"], item["prefix"])).network
            for item in link["addresses"]
        ]
        if any(network.version == 4 and _is_public(network) for network in networks):
            continue
        networks = [network for network in networks if network.prefixlen < network.max_prefixlen]
        private4 = any(network.version == 4 and _is_private(network) for network in networks)
        for network in networks:
            if network.is_link_local:
                continue
            if _is_private(network) or (network.version == 6 and private4 and network.prefixlen >= 48):
                prefixes.append(str(network))
    return sorted(set(prefixes), key=lambda text: (":" in text, ipaddress.ip_network(text)))


def _is_private(network: Any) -> bool:
    return any(network.version == other.version and network.subnet_of(other) for other in PRIVATE)


def _is_public(network: Any) -> bool:
    return not (_is_private(network) or network.subnet_of(_SHARED) or network.is_link_local or network.is_loopback)
