# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with values that only one role reads, and reads late: refused before the first role has changed anything. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall, _local_ca, _proxy_values, _switch

# What is one of a few words.
CHOICES = {
    "reverse_proxy_tls_profile": ("intermediate", "modern"),
    "port_binding_tls_profile": ("intermediate", "modern"),
    "reverse_proxy_log_requests": ("errors", "all"),
}
TLS_PROFILES = CHOICES["reverse_proxy_tls_profile"]
# What is a whole number from here to there, and why.
NUMBERS = {
    "certificate_acme_port": (1, 1023, "a privileged port, so that no local user can answer the CA"),
    "certificate_renew_days": (0, 3650, "days before its end; 0 is a third of the certificate's life"),
    "certificate_local_ca_days": (1, _local_ca.LEAF_DAYS_LIMIT, "days; clients take no longer ones"),
    "jellyfin_limit_connections": (
        0,
        65535,
        "connections of one address; 0 sets no limit, one household needs some 200",
    ),
    "jellyfin_limit_connections_lan": (0, 65535, "connections of one address; 0 sets no limit"),
    "jellyfin_limit_streams": (16, 1000, "streams of one connection; browsers ask for some 100 images at once"),
    "jellyfin_limit_requests": (0, 65535, "requests under way of one address; 0 sets no limit"),
    "jellyfin_limit_head_seconds": (5, 3600, "seconds for the head of a request"),
    "jellyfin_limit_body_seconds": (10, 86400, "seconds without a byte of a request's body"),
    "jellyfin_limit_stalled_seconds": (10800, 604800, "seconds; a player may be paused for three hours"),
    "jellyfin_guard_attempts": (2, 1000, "different failed logins of one address before 429"),
    "jellyfin_guard_minutes": (1, 1440, "minutes of 429"),
    "jellyfin_guard_ban_attempts": (
        0,
        10000,
        "different failed logins before an address is cut off; 0 cuts off nobody",
    ),
}
_LAN_NAME = re.compile(
    r"^[.]?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?[.])*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.IGNORECASE
)
# \Z and not $, which would let a line's end pass.
_SERVICE = re.compile(r"^[A-Za-z0-9:_.@-]+[.]service\Z")
_ZONE = re.compile(r"^[A-Za-z0-9_-]{1,17}\Z")
EXTRA_PORT_KEYS = ("port", "source_port", "proto", "sources", "comment")


def _is_set(value: Any) -> bool:
    # Before ansible-core 2.19 what is not defined arrives as an empty text.
    return value is not None and value != ""


def _extra_port_problem(name: str, item: Any) -> str | None:
    """What is wrong with one entry of firewall_extra_ports, as the module firewall_ports would say it much later."""
    if not isinstance(item, Mapping):
        return f"{name} is {item!r}: give a mapping such as {{port: 8443, sources: [192.168.1.0/24]}}"
    unknown = [key for key in item if key not in EXTRA_PORT_KEYS]
    if unknown:
        return f"{name} has the key {unknown[0]!r}. An entry takes {', '.join(EXTRA_PORT_KEYS)}"
    if _is_set(item.get("port")) == _is_set(item.get("source_port")):
        return f"{name} is {dict(item)!r}: give exactly one of port and source_port"
    proto, sources = item.get("proto", "tcp"), item.get("sources")
    if proto not in _firewall.PROTOCOLS:
        return f"{name}.proto is {proto!r}: give one of {', '.join(_firewall.PROTOCOLS)}"
    if isinstance(sources, str):  # as the module's argument takes it
        sources = sources.split(",")
    if sources is not None and not isinstance(sources, (list, tuple)):
        return f"{name}.sources is {sources!r}: give a list of addresses and networks, or leave it out for anyone"
    try:
        _firewall.wanted([{**item, "proto": proto, "sources": sources}])
    except _firewall.FirewallError as problem:
        return str(problem).replace("ports[0]", name, 1)
    return None


def _number_problem(name: str, value: Any, low: int, high: int, why: str) -> str | None:
    text = str(value).strip()
    if isinstance(value, bool) or not re.match(r"^[0-9]{1,9}\Z", text) or not low <= int(text) <= high:
        return f"{name} is {value!r}: give a whole number from {low} to {high} ({why})"
    return None


def _yield_to_problem(item: Any) -> str | None:
    if not isinstance(item, str) or not _SERVICE.match(item):
        return f"port_binding_yield_to: {item} is no unit that could start a Jellyfin. Name services, such as jellyfin.service"
    return None


def _lan_names_problems(names: Any) -> list[str]:
    if names == "any":
        return []
    if not isinstance(names, (list, tuple)):
        return [f"jellyfin_lan_names is {names!r}: give a list of names such as [media.example.net], or any"]
    return [
        f"jellyfin_lan_names holds {name!r}: give a name such as media.example.net, or .example.net for all below it, without port or path"
        for name in names
        if not isinstance(name, str) or not _LAN_NAME.match(name)
    ]


def _files_rsa_problems(pairs: Any, domains: Sequence[str] | None) -> list[str]:
    name = "certificate_files_rsa"
    if not isinstance(pairs, Mapping):
        return [f"{name} is {pairs!r}: give a mapping from a domain to its fullchain and privkey"]
    found = []
    for domain, pair in pairs.items():
        here = f"{name}[{domain}]"
        if domains is not None and domain not in domains:
            found.append(f"{here} is for no site: the sites are {', '.join(domains)}. Mend the name, or drop it")
        if not isinstance(pair, Mapping) or set(pair) != {"fullchain", "privkey"}:
            found.append(f"{here} is {pair!r}: give exactly fullchain and privkey")
            continue
        found += [
            f"{here}.{key} is {path!r}: give the absolute path of the PEM file on the edge"
            for key, path in pair.items()
            if not str(path).startswith("/") or re.search(r"[\s\"';{}]", str(path))
        ]
    return found


def _zone_problem(values: Mapping[str, Any], host: Mapping[str, Any]) -> str | None:
    """firewall_zone, as far as firewalld's files on the host tell."""
    zone = values.get("firewall_zone")
    if not _is_set(zone):
        return None
    if not isinstance(zone, str) or not _ZONE.match(zone):
        return f"firewall_zone is {zone!r}: give the name of a zone of firewalld, e.g. public, or '' for those that traffic enters"
    here = host.get("firewalls", {})
    mine, other = here.get("firewalld", {}), here.get("ufw", {})
    auto = values.get("firewall") == "auto" and (mine.get("active") or not other.get("active"))
    known = mine.get("zones") or []
    if known and zone not in known and (auto or values.get("firewall") == "firewalld"):
        return f"firewall_zone is {zone!r}, which firewalld on this host has not. Give one of {', '.join(known)}, or make it first"
    return None


def problems(
    values: Mapping[str, Any], domains: Sequence[str] | None = None, host: Mapping[str, Any] | None = None
) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do.

    ``domains`` are the sites', ``host`` is what `host_info` returned; what needs them is left out without them.
    """
    found: list[str | None] = []
    for key, words in CHOICES.items():
        value = values.get(key)
        if _is_set(value) and value not in words:
            found.append(f"{key} is {value!r}: give one of {', '.join(words)}")
    for key, (low, high, why) in NUMBERS.items():
        if _is_set(values.get(key)):
            found.append(_number_problem(key, values[key], low, high, why))
    dlna = values.get("port_binding_dlna")
    if _is_set(dlna) and _switch.read(dlna) is None:
        found.append(f"port_binding_dlna is {dlna!r}: give auto, true or false")
    if _is_set(values.get("certificate_files_rsa")):
        found += _files_rsa_problems(values["certificate_files_rsa"], domains)
    if _is_set(values.get("jellyfin_lan_names")):
        found += _lan_names_problems(values["jellyfin_lan_names"])
    found.append(_zone_problem(values, host or {}))
    for key in ("firewall_extra_ports", "port_binding_trusted_proxies", "port_binding_yield_to"):
        listed = values.get(key)
        if not _is_set(listed):
            continue
        if not isinstance(listed, (list, tuple)):
            found.append(f"{key} is {listed!r}: give a list")
        elif key == "firewall_extra_ports":
            found += [_extra_port_problem(f"{key}[{index}]", item) for index, item in enumerate(listed)]
        elif key == "port_binding_yield_to":
            found += [_yield_to_problem(item) for item in listed]
        else:
            found += _proxy_values.trusted_problems(key, listed)
    return [problem for problem in found if problem]
