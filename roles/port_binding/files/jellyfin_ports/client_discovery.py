# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jellyfin's client discovery on 7359/udp: which question is answered, with which bytes, under which address."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass

from .addresses import Networks
from .config import Published, Upstream

QUESTION = b"who is jellyfinserver?"
REPLY_LIMIT = 1024  # two of the clients read no more

_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", "\\": "\\\\"}
_ESCAPED = frozenset("\"&'+<>`")


def is_question(datagram: bytes) -> bool:
    """Jellyfin looks for the phrase anywhere in the text, in any letter case."""
    return QUESTION in datagram.lower()


def json_string(text: str) -> str:
    """A JSON string as .NET's default encoder writes it: plain ASCII, HTML's characters escaped, capital hex digits."""
    out = ['"']
    for character in text:
        if character in _SHORT:
            out.append(_SHORT[character])
        elif " " <= character < "\x7f" and character not in _ESCAPED:
            out.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            if len(units) == 2 and 0xD8 <= units[0] <= 0xDF:
                units = b"\xff\xfd"  # half a pair is no text; .NET puts the replacement character
            out.extend(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))
    out.append('"')
    return "".join(out)


def render_reply(address: str, server_id: str, name: str) -> bytes:
    """The reply, byte for byte as the server's own; a name too long for the smallest client is cut."""
    while True:
        reply = (
            f'{{"Address":{json_string(address)},"Id":{json_string(server_id)},'
            f'"Name":{json_string(name)},"EndpointAddress":null}}'
        ).encode("ascii")
        if len(reply) <= REPLY_LIMIT or not name:
            return reply
        name = name[: max(0, min(len(name) - 1, len(name) - (len(reply) - REPLY_LIMIT) // 12))]


@dataclass(frozen=True)
class Identity:
    """What a server says about itself on /System/Info/Public."""

    id: str
    name: str
    version: str = ""
    wizard_done: bool = True


def parse_identity(body: bytes) -> Identity:
    """The identity in /System/Info/Public, in either casing. ValueError says why it is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("its /System/Info/Public is not JSON") from None
    if not isinstance(data, dict):
        raise ValueError("its /System/Info/Public is no object")
    fields = {key.lower(): value for key, value in data.items()}
    if fields.get("productname") != "Jellyfin Server":
        raise ValueError(f"it is not Jellyfin (ProductName {fields.get('productname')!r})")
    server_id = str(fields.get("id") or "").replace("-", "").lower()
    if len(server_id) != 32 or any(c not in "0123456789abcdef" for c in server_id):
        raise ValueError(f"its Id is no GUID ({fields.get('id')!r})")
    name = fields.get("servername")
    if not isinstance(name, str):
        raise ValueError("its ServerName is missing")
    version = fields.get("version")
    wizard = fields.get("startupwizardcompleted")
    return Identity(server_id, _whole(name), _whole(version) if isinstance(version, str) else "", wizard is not False)


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can carry and nothing else can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_internal(source: ipaddress.IPv4Address, on_link: bool) -> bool:
    return on_link or source.is_private


def choose_published(entries: Iterable[Published], source: ipaddress.IPv4Address, interface: str, on_link: bool) -> str:
    """The URL this requester is told, or ''.

    The most specific network, then the interface it came in by, then internal or external, then all.
    """
    best: Published | None = None
    by_interface = by_side = default = ""
    side = "internal" if is_internal(source, on_link) else "external"
    for entry in entries:
        if entry.network is not None:
            if source in entry.network and (
                best is None or best.network is None or entry.network.prefixlen > best.network.prefixlen
            ):
                best = entry
        elif entry.key == "all":
            default = entry.url
        elif entry.key in ("internal", "external"):
            if entry.key == side:
                by_side = entry.url
        elif entry.key.lower() == interface.lower():
            by_interface = entry.url
    return (best.url if best else "") or by_interface or by_side or default


def choose_address(upstream: Upstream, source: str, local: str, interface: str, on_link: bool) -> str:
    """The Address in the reply to one requester, or '' when nothing that works for it is known."""
    published = choose_published(upstream.published, ipaddress.IPv4Address(source), interface, on_link)
    if published:
        return published
    if upstream.announce_port:
        return f"http://{local}:{upstream.announce_port}{upstream.path}"
    try:
        server = ipaddress.ip_address(upstream.host)
    except ValueError:
        return f"{upstream.url}{upstream.path}"
    if server.is_loopback or server.is_unspecified:
        return ""
    return f"{upstream.url}{upstream.path}"


def describe_rules(upstream: Upstream, lan: Networks) -> list[tuple[str, str]]:
    """(to whom, which address), for a person who wants to know what is announced."""
    rules = [(entry.key, entry.url) for entry in upstream.published]
    if upstream.announce_port:
        url = f"http://<address of the interface>:{upstream.announce_port}{upstream.path}"
        rules.append((f"everyone else in {lan}", url))
    elif not upstream.published:
        address = choose_address(upstream, "192.0.2.1", "192.0.2.2", "", False)
        rules.append((f"everyone in {lan}", address or "nothing: the server listens on loopback only"))
    return rules
