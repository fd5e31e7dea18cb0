# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sheet that checks are written on, and the seats that they are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan

PASS, FAIL, NOT_CHECKED = "pass", "fail", "not checked"
LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = (*LOOPBACK, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
WIZARD = "finish the wizard from the LAN and run site.yml again"
UNFINISHED = "wizard unfinished: the Internet gets 503"

Seen = Mapping[str, Any]


class Part:
    """One area of the sheet, of one site or of the edge as a whole."""

    def __init__(self, checks: list[dict[str, str]], area: str, site: str = "") -> None:
        self._checks, self._area, self._site = checks, area, site

    def say(self, status: str, title: str, found: str, todo: str = "") -> None:
        self._checks.append(
            {"area": self._area, "site": self._site, "title": title, "status": status, "found": found, "todo": todo}
        )

    def ok(self, title: str, found: str) -> None:
        self.say(PASS, title, found)

    def bad(self, title: str, found: str, todo: str) -> None:
        self.say(FAIL, title, found, todo)

    def skip(self, title: str, found: str, todo: str = "") -> None:
        self.say(NOT_CHECKED, title, found, todo)


class Sheet:
    """The checks so far."""

    def __init__(self) -> None:
        self.checks: list[dict[str, str]] = []

    def part(self, area: str, site: str = "") -> Part:
        return Part(self.checks, area, site)


class Seat:
    """One client's seat: what its probes saw, and whether it lies in the LAN or on the Internet."""

    def __init__(self, wan: bool, seen: Seen | None, lan: Sequence[str], host: Seen) -> None:
        self.wan = wan
        self.area = "From the Internet" if wan else "From the LAN"
        seen = seen or {}
        self.results: Seen = seen.get("seen") or {}
        self.edge = str(seen.get("edge") or "")
        self.addresses = [str(item) for item in seen.get("addresses") or []]
        mine = plan.own_addresses(host)
        self.on_edge = bool(self.addresses) and all(
            item in mine or plan.in_networks(item, LOOPBACK) for item in self.addresses
        )
        self.in_lan = self.on_edge or any(plan.in_networks(item, lan) for item in self.addresses)
        self.why_not = ""
        if not seen:
            self.why_not = "no host to ask from"
        elif seen.get("unreachable") or seen.get("failed"):
            self.why_not = f"the host to ask from failed: {seen.get('msg', 'no reason given')}"
        elif not self.results:
            self.why_not = "the host to ask from returned nothing"

    def get(self, what: str, domain: str = "") -> Seen:
        return self.results.get(f"{domain}|{what}" if domain else what) or {"error": "not asked"}

    def not_lan(self) -> str:
        return f"{', '.join(self.addresses) or 'the host to ask from'} is not in the edge's LAN"


def as_dict(text: Any) -> dict[str, Any]:
    """JSON's object, or an empty one."""
    try:
        value = json.loads(str(text))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def is_server(result: Seen) -> bool:
    """Whether an HTTP result is a real Jellyfin's answer to /System/Info/Public."""
    if result.get("error") or result.get("status") != 200:
        return False
    return as_dict(result.get("body")).get("ProductName") == "Jellyfin Server"


def said(result: Seen) -> str:
    """An HTTP result in a few words."""
    if result.get("error"):
        return str(result["error"])
    location = (result.get("headers") or {}).get("location")
    return f"status {result.get('status')}" + (f", to {location}" if location else "")


def client_in(body: Any) -> str:
    """The address in an echo's answer: the text itself, or the field `client` or `address` of its JSON."""
    fields = as_dict(body)
    if not fields:
        return str(body).strip()[:64]
    return next((str(fields[key]) for key in ("client", "remote_ip", "address") if fields.get(key)), "")


def is_public(addresses: Sequence[str]) -> bool:
    """Whether one of the addresses is of the Internet."""
    return any(not plan.in_networks(item, PRIVATE) for item in addresses)
