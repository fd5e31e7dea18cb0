# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the edges say of one media server: from where they talk to it, and below which path. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any


def view(edges: Mapping[str, Mapping[str, Any]], me: str, own: Iterable[str], alone: bool) -> dict[str, list[str]]:
    """`proxies`, `paths`, and `absent`: the edges that said nothing.

    ``edges``: by host, its `sites` and what `host_info` found of their `servers`, or nothing. ``own`` are the addresses of the server ``me``;
    ``alone``: there is no other server, so every site leads to it.
    """
    mine = {address.lower() for address in own}
    found = [(name, edge, site) for name, edge in edges.items() for site in edge.get("sites") or []]
    here = [(edge, site) for name, edge, site in found if _leads_here(name, edge, site, me, mine)]
    if alone and not here:
        here = [(edge, site) for _name, edge, site in found]
    sources = {_server(edge, site).get("source_address") for edge, site in here}
    return {
        "proxies": sorted(source for source in sources if source),
        "paths": sorted({site.get("path") or "" for _edge, site in here}),
        "absent": [name for name, edge in edges.items() if not edge],
    }


def _server(edge: Mapping[str, Any], site: Mapping[str, Any]) -> Mapping[str, Any]:
    return (edge.get("servers") or {}).get(site["server_key"]) or {}


def _leads_here(edge_name: str, edge: Mapping[str, Any], site: Mapping[str, Any], me: str, mine: set[str]) -> bool:
    address = str(site["server_address"]).lower()
    if address == me.lower():
        return True
    # A name is what its edge found behind it; a loopback address is the edge itself.
    behind = [address, *(item.lower() for item in _server(edge, site).get("addresses") or [])]
    return any(edge_name == me if _is_loopback(item) else item in mine for item in behind)


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return text == "localhost"
