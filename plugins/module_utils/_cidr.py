# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a network that a user wrote. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

# The widest network that may be one's own, by IP version: 10.0.0.0/8, and what a large carrier has. fc00::/7 is private as a whole (RFC 4193).
WIDEST = {4: 8, 6: 16}
_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def problem(name: str, value: Any, example: str, too_wide: str) -> str | None:
    """A sentence that names the variable, its value and what to do, or None. ``too_wide`` says what far too many addresses would mean."""
    said = f"{name} holds {value!r}"
    if not isinstance(value, str):
        return f"{said}: write networks as text such as {example}"
    try:
        network = ipaddress.ip_network(value, strict=True)
    except ValueError:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            return f"{said}: no network in CIDR notation. Write it as {example} or 2001:db8::/32"
        return f"{said}: that is a host in a network. Write the network itself: {network}"
    if _is_wide(network):
        return f"{said}: {too_wide}"
    if network.version == 6 and network.overlaps(_MAPPED):
        return f"{said}: that holds IPv4 addresses. Write them as IPv4, e.g. {example}"
    return None


def _is_wide(network: Any) -> bool:
    if network.version == 6 and network.subnet_of(_UNIQUE_LOCAL):
        return False
    return bool(network.prefixlen < WIDEST[network.version])


def together(name: str, values: Iterable[Any], too_wide: str) -> str | None:
    """What is wrong with good networks that are too many addresses when taken together, or None."""
    good: list[Any] = []
    for value in values:
        try:
            network: Any = ipaddress.ip_network(value, strict=True)
        except (ValueError, TypeError):
            continue
        if not (network.version == 6 and network.subnet_of(_UNIQUE_LOCAL)):
            good.append(network)
    for version, widest in WIDEST.items():
        listed = [network for network in good if network.version == version]
        if any(map(_is_wide, listed)):
            continue  # told of by itself
        whole: Any = ipaddress.collapse_addresses(listed)
        bits = 32 if version == 4 else 128
        if sum(network.num_addresses for network in whole) > 2 ** (bits - widest + 1):
            return f"{name} holds IPv{version} networks that are more than two /{widest} together: {too_wide}"
    return None
