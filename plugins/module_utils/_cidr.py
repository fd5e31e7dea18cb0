# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a network that a user wrote. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any


def problem(name: str, value: Any, example: str, too_wide: str) -> str | None:
    """A sentence that names the variable, its value and what to do, or None. ``too_wide`` says what all addresses would mean."""
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
    return f"{said}: {too_wide}" if network.prefixlen == 0 else None
