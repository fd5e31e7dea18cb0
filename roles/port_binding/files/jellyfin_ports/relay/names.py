# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Under which names the LAN may reach us.

A web page can let a name of its own lead to an address here (DNS rebinding): then a browser on the LAN reads for it what the LAN may read. An
address as Host needs no DNS, and an attacker who can give a single-label or a local name an address is in the house already.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ..config import Config

RESOLV_CONF = Path("/etc/resolv.conf")
# Never delegated (RFC 6762, RFC 8375, ICANN), of a router alone, or given to their owner by name (Tailscale).
LOCAL = ("local", "lan", "home", "home.arpa", "internal", "localdomain", "fritz.box", "ts.net", "speedport.ip")

_REREAD_SECONDS = 60.0
_CACHE = 1024
_SEARCH = re.compile(r"^\s*(?:search|domain)\s+(.+?)\s*$", re.MULTILINE)


def name_of(host: bytes) -> str:
    """The name in a well-formed Host, in small letters: no port, no dot at its end, an IPv6 address without brackets."""
    text = host.decode("ascii", "replace").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name = text.partition(":")[0]
    return name[:-1] if name.endswith(".") else name


def search_domains(text: str) -> list[str]:
    """Of a resolv.conf. A single label may be a public suffix: nobody's."""
    found = [word.strip(".").lower() for line in _SEARCH.findall(text) for word in line.split()]
    return [word for word in found if "." in word]


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""


class LanNames:
    def __init__(self, config: Config) -> None:
        self._any = config.names.any
        self._exact: set[str] = set()
        self._below: set[str] = set(LOCAL)
        for name in config.names.allowed:
            if name.startswith("."):
                self._below.add(_ascii(name[1:]))
            else:
                self._exact.add(_ascii(name))
        for upstream in config.upstreams:
            self._exact |= {_ascii(domain) for domain in upstream.domains}
            self._exact |= {_ascii(urlsplit(entry.url).hostname or "") for entry in upstream.published}
        self._exact |= {"fritz.box", "speedport.ip", socket.gethostname().lower()}
        self._search: set[str] = set()
        self._known: dict[bytes, bool] = {}
        self._read_at = 0.0
        self.read()

    def read(self) -> None:
        try:
            found = set(search_domains(RESOLV_CONF.read_text("utf-8", "replace")))
        except OSError:
            found = set()
        if found != self._search:
            self._search = found
            self._known = {}

    def tick(self, now: float) -> None:
        if now - self._read_at >= _REREAD_SECONDS:
            self._read_at = now
            self.read()

    def allow(self, host: bytes) -> bool:
        """Whether a request with this Host (b'' for none) is answered."""
        if self._any:
            return True
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _CACHE:
                self._known.clear()
            known = self._known[host] = self._judge(name_of(host))
        return known

    def _judge(self, name: str) -> bool:
        if "." not in name and ":" not in name:
            return True  # a single label, or none
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            pass
        if name in self._exact or name in self._search:
            return True
        labels = name.split(".")
        parents = {".".join(labels[start:]) for start in range(1, len(labels))}
        return bool(parents & (self._below | self._search))
