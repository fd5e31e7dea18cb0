# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with values that only one role reads, and reads late: refused before the first role has changed anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall, _proxy_values

TLS_PROFILES = ("intermediate", "modern")
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


def problems(values: Mapping[str, Any]) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do."""
    found: list[str | None] = []
    for key in ("reverse_proxy_tls_profile", "port_binding_tls_profile"):
        value = values.get(key)
        if _is_set(value) and value not in TLS_PROFILES:
            found.append(f"{key} is {value!r}: give one of {', '.join(TLS_PROFILES)}")
    for key in ("firewall_extra_ports", "port_binding_trusted_proxies"):
        listed = values.get(key)
        if not _is_set(listed):
            continue
        if not isinstance(listed, (list, tuple)):
            found.append(f"{key} is {listed!r}: give a list")
        elif key == "firewall_extra_ports":
            found += [_extra_port_problem(f"{key}[{index}]", item) for index, item in enumerate(listed)]
        else:
            found += [_proxy_values.trusted_problem(key, item) for item in listed]
    return [problem for problem in found if problem]
