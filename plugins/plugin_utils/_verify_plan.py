# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which probes a client's seat sends to an edge. Pure: what comes of them is read by ``_verify``.

A probe's id is ``<domain>|<what>``; those of the edge as a whole have no domain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EDGE = "@EDGE@"  # edge_probe_info puts the address of the edge there
UNKNOWN_NAME = "jellynet-unknown.invalid"
FORGED = "203.0.113.7"  # TEST-NET-3: nobody's address
ACME_PATH = "/.well-known/acme-challenge/jellynet-verify"
GENERATION_PATH = "/.well-known/jellynet-generation"
# Files that Jellyfin's web client brings; a server without the client has none of them.
RANGE_PATHS = ("/web/index.html", "/web/favicon.ico")
# What the Internet has no business with, as the role reverse_proxy has it by default.
PROTECTED = ("/metrics", "/dlna", "/System/Restart", "/System/Shutdown", "/Startup")
# A page below a path that stands for a tree.
BELOW = {"/dlna": "/dlna/", "/startup": "/Startup/Configuration"}
DISCOVERY_PORT, SSDP_PORT = 7359, 1900


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return False


def open_listeners(host: Mapping[str, Any], proto: str) -> dict[int, str]:
    """The ports that something on the edge listens on for others than itself, and what."""
    found: dict[int, str] = {}
    for item in host.get("listeners") or []:
        if item.get("proto") == proto and not _loopback(str(item.get("address", ""))):
            found.setdefault(int(item["port"]), str(item.get("process") or item.get("unit") or ""))
    return found


def own_addresses(host: Mapping[str, Any]) -> list[str]:
    return [str(item["address"]) for link in host.get("interfaces") or [] for item in link.get("addresses") or []]


def in_networks(address: str, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in ipaddress.ip_network(network) for network in networks)


def lan_addresses(host: Mapping[str, Any], lan: Sequence[str]) -> list[str]:
    """The edge's own addresses on its LAN, IPv4 first."""
    mine = [address for address in own_addresses(host) if in_networks(address, lan)]
    return sorted((item for item in mine if not item.startswith("fe80")), key=lambda item: (":" in item, item))


def protected_paths(options: Mapping[str, Any]) -> list[str]:
    """What to ask for: each path as it is, and in the spellings that a careless rule lets through."""
    given = options.get("protected_paths")
    paths = [BELOW.get(path.lower(), path) for path in (PROTECTED if given is None else given)]
    return [spelling for path in paths for spelling in (path, path.swapcase(), "/" + path)]


def _site_probes(site: Mapping[str, Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    domain, path = str(site["domain"]), str(site.get("path") or "")
    secure, plain = f"https://{domain}", f"http://{domain}"
    probes: list[dict[str, Any]] = [
        {"id": "dns", "kind": "dns", "name": domain},
        {"id": "redirect", "kind": "http", "url": f"{plain}{path}/web/index.html?verify=1"},
        {"id": "acme", "kind": "http", "url": plain + ACME_PATH},
        {"id": "front", "kind": "http", "url": f"{secure}{path}/System/Info/Public"},
        {"id": "health", "kind": "http", "url": f"{secure}{path}/health"},
        {"id": "h2", "kind": "tls", "address": EDGE, "port": 443, "server_name": domain, "alpn": ["h2", "http/1.1"]},
        {"id": "websocket", "kind": "http", "url": f"{secure}{path}/socket", "websocket": True, "authorize": True},
        {"id": "generation", "kind": "http", "url": secure + GENERATION_PATH},
    ]
    paths = [str(options["range_path"])] if options.get("range_path") else list(RANGE_PATHS)
    for index, item in enumerate(paths):
        probes.append(
            {"id": f"range{index}", "kind": "http", "url": secure + path + item, "headers": {"Range": "bytes=0-15"}}
        )
    for item in protected_paths(options):
        probes.append({"id": "protected " + item, "kind": "http", "url": secure + path + item})
    forged = {"X-Forwarded-For": FORGED, "X-Real-IP": FORGED, "Forwarded": f"for={FORGED}"}
    if options.get("authorized"):
        probes.append({"id": "endpoint", "kind": "http", "url": f"{secure}{path}/System/Endpoint", "authorize": True})
        local = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        probes.append(
            {
                "id": "endpoint forged",
                "kind": "http",
                "url": f"{secure}{path}/System/Endpoint",
                "authorize": True,
                "headers": local,
            }
        )
    echo = str(options.get("echo_path") or "")
    if echo:
        probes.append({"id": "echo", "kind": "http", "url": secure + path + echo})
        probes.append({"id": "echo forged", "kind": "http", "url": secure + path + echo, "headers": forged})
    for probe in probes:
        if probe["kind"] == "http":
            probe["address"] = EDGE
        probe["id"] = f"{domain}|{probe['id']}"
    return probes


def _edge_probes(
    sites: Sequence[Mapping[str, Any]], host: Mapping[str, Any], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    http_port, https_port = int(options["http_port"]), int(options["https_port"])
    first = sites[0]
    path = str(first.get("path") or "")
    probes: list[dict[str, Any]] = [
        {"id": "unknown name http", "kind": "http", "url": f"http://{UNKNOWN_NAME}/", "address": EDGE},
        {"id": "unknown name https", "kind": "http", "url": f"https://{UNKNOWN_NAME}/", "address": EDGE},
        {"id": "no sni", "kind": "tls", "address": EDGE, "port": 443, "server_name": ""},
        {"id": "quic", "kind": "quic", "address": EDGE, "port": 443},
        {"id": "direct", "kind": "http", "url": f"http://{EDGE}:{http_port}{path}/System/Info/Public"},
        {
            "id": "direct tls",
            "kind": "http",
            "url": f"https://{first['domain']}:{https_port}{path}/System/Info/Public",
            "address": EDGE,
        },
        {
            "id": f"udp {DISCOVERY_PORT}",
            "kind": "udp",
            "address": EDGE,
            "port": DISCOVERY_PORT,
            "payload": "discovery",
        },
        {"id": f"udp {SSDP_PORT}", "kind": "udp", "address": EDGE, "port": SSDP_PORT, "payload": "ssdp"},
    ]
    echo = str(options.get("echo_path") or "")
    if echo:
        headers = {"X-Forwarded-For": FORGED}
        probes.append(
            {"id": "direct echo", "kind": "http", "url": f"http://{EDGE}:{http_port}{path}{echo}", "headers": headers}
        )
    ports = {80, 443, http_port, https_port} | set(open_listeners(host, "tcp"))
    probes += [{"id": f"tcp {port}", "kind": "tcp", "address": EDGE, "port": port} for port in sorted(ports)]
    return probes


def candidates(seat: str, host: Mapping[str, Any], options: Mapping[str, Any], domain: str) -> list[str]:
    """Where a seat (lan or wan) may find the edge: what was told, or its addresses in the LAN, or the site's name."""
    told = str(options.get(f"{seat}_address") or "")
    if told:
        return [told]
    mine = lan_addresses(host, options.get("lan") or []) if seat == "lan" else []
    return mine or [domain]


def plan(
    sites: Sequence[Mapping[str, Any]],
    host: Mapping[str, Any],
    options: Mapping[str, Any],
    discovered: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """All probes of one seat. ``discovered`` are the addresses that discovery gave: a client would connect there."""
    probes: list[dict[str, Any]] = []
    for site in sites:
        probes += _site_probes(site, options)
    probes += _edge_probes(sites, host, options)
    for url in sorted(set(discovered)):
        if url.startswith(("http://", "https://")):
            probes.append({"id": "discovered " + url, "kind": "http", "url": url.rstrip("/") + "/System/Info/Public"})
    return probes
