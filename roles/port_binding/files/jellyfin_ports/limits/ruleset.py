# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of the table `inet jellynet`. Pure.

One hook, prerouting before any address is translated: what is sent to our ports of this host is seen there as it was sent, whether a process
here has the port or a container that it is published for, and before firewalld, ufw and Docker filter. Only packets that begin a connection are
looked at, so nothing established is cut.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..addresses import Address, Network, Networks

TABLE = "inet jellynet"
IPV6_PREFIX = 64  # a household's; an address of its own for each connection would cost nothing
OVER = {4: "over4", 6: "over6"}
BANNED = {4: "banned4", 6: "banned6"}

_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_SOURCE = {4: "ip saddr", 6: "ip6 saddr"}
_KEY = {4: "ip saddr", 6: "ip6 saddr and ffff:ffff:ffff:ffff::"}
_ADDRESSES = 65536  # a set that is full limits no further address: memory is bounded, and nobody is refused for it
_NOTED = 4096
_NOTED_SECONDS = 60


@dataclass(frozen=True)
class Rules:
    """What the table is to say. 0 is no limit."""

    internet: int = 0
    lan: int = 0
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    lan_networks: Networks = field(default_factory=Networks)
    exempt: Networks = field(default_factory=Networks)


def key_of(address: Address) -> Network:
    """What is counted and banned as one: an IPv4 address, or the /64 that an IPv6 address is in."""
    prefix = 32 if address.version == 4 else IPV6_PREFIX
    return ipaddress.ip_network((address, prefix), strict=False)


def _of(networks: Networks, version: int) -> list[str]:
    return [str(network) for network in networks.networks if network.version == version]


def _elements(texts: Iterable[str]) -> str:
    listed = ", ".join(texts)
    return f" elements = {{ {listed} }};" if listed else ""


def element(network: Network, seconds: int) -> str:
    return f"{network.network_address} timeout {seconds}s"


def _ports(protocol: str, ports: Iterable[int]) -> str:
    listed = ", ".join(map(str, sorted(set(ports))))
    return (
        f"    ct state new fib daddr type local {protocol} dport {{ {listed} }} jump internet_{protocol}"
        if listed
        else ""
    )


def _counting(protocol: str, rules: Rules) -> list[str]:
    """Sets and chains of one protocol. Apart, so that forged datagrams of another's address use up no TCP connection of its."""
    sets: list[str] = []
    chains: list[str] = []
    first = [
        '    iifname "lo" return',
        *(f"    {_SOURCE[version]} @exempt{version} return" for version in (4, 6)),
        *(f"    {_SOURCE[version]} @lan{version} goto lan_{protocol}" for version in (4, 6)),
        *(f"    {_KEY[version]} @{BANNED[version]} goto refuse" for version in (4, 6)),
    ]
    # A chain has to stand before it is named.
    for who, limit, before in (("lan", rules.lan, []), ("internet", rules.internet, first)):
        chains += [f"  chain {who}_{protocol} {{", *before]
        for version in (4, 6) if limit else ():
            name = f"{who}_{protocol}{version}"
            sets.append(f"  set {name} {{ type {_TYPES[version]}; size {_ADDRESSES}; flags dynamic; }}")
            chains.append(f"    add @{name} {{ {_KEY[version]} ct count over {limit} }} goto over{version}")
        chains.append("  }")
    return sets + chains


def render(rules: Rules, bans: Iterable[tuple[Network, int]] = ()) -> str:
    """The transaction that puts the table there in one step, whatever stood there; `bans` with the seconds that are left."""
    listed = list(bans)
    body = [f'  comment "{fingerprint(rules)}"']
    for version in (4, 6):
        kind = _TYPES[version]
        for name, networks in (("exempt", rules.exempt), ("lan", rules.lan_networks)):
            inside = _elements(_of(networks, version))
            body.append(f"  set {name}{version} {{ type {kind}; flags interval; auto-merge;{inside} }}")
        inside = _elements(element(network, seconds) for network, seconds in listed if network.version == version)
        body.append(f"  set {BANNED[version]} {{ type {kind}; flags timeout;{inside} }}")
        body.append(
            f"  set {OVER[version]} {{ type {kind}; size {_NOTED}; flags dynamic,timeout; timeout {_NOTED_SECONDS}s; counter; }}"
        )
    # Never a silent drop: a browser that is refused says so, one that is not answered hangs.
    body += ["  chain refuse {", "    meta l4proto tcp reject with tcp reset", "    reject", "  }"]
    for version in (4, 6):
        # Two rules: where the set is full the first one ends, and the refusal stands all the same.
        body += [
            f"  chain over{version} {{",
            f"    update @{OVER[version]} {{ {_KEY[version]} }}",
            "    goto refuse",
            "  }",
        ]
    body += _counting("tcp", rules) + _counting("udp", rules)
    # After connections are tracked (-200), before addresses are translated (-100).
    body += ["  chain arriving {", "    type filter hook prerouting priority mangle + 10; policy accept;"]
    body += [line for line in (_ports("tcp", rules.tcp), _ports("udp", rules.udp)) if line]
    body.append("  }")
    return f"add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n" + "\n".join(body) + "\n}\n"


def fingerprint(rules: Rules) -> str:
    """Changes with what the rules say, and with this text."""
    said = (
        rules.internet, rules.lan, rules.tcp, rules.udp, _of(rules.lan_networks, 4) + _of(rules.lan_networks, 6),
        _of(rules.exempt, 4) + _of(rules.exempt, 6), 1,
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def ban_commands(network: Network, seconds: int) -> str:
    """Bans for so many seconds from now, whether it was banned before or not."""
    name = BANNED[network.version]
    key = network.network_address
    return (
        f"add element {TABLE} {name} {{ {key} }}\n"
        f"delete element {TABLE} {name} {{ {key} }}\n"
        f"add element {TABLE} {name} {{ {element(network, seconds)} }}\n"
    )


def unban_commands(network: Network) -> str:
    name = BANNED[network.version]
    key = network.network_address
    return f"add element {TABLE} {name} {{ {key} }}\ndelete element {TABLE} {name} {{ {key} }}\n"
