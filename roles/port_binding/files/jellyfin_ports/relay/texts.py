# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The answers that the relay gives itself. They are honest: none looks like a Jellyfin server."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..addresses import Networks

# Not LAN by themselves, but near enough to be told what is wrong.
NEARBY = Networks(
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
     "::1/128", "fe80::/10", "fc00::/7"]
)  # fmt: skip

_REASONS = {
    200: "OK", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 413: "Content Too Large", 417: "Expectation Failed", 421: "Misdirected Request",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass(frozen=True)
class LocalAnswer:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    retry_after: int = 0

    def render(self, head_only: bool = False) -> bytes:
        retry = f"Retry-After: {self.retry_after}\r\n" if self.retry_after else ""
        allow = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if self.status == 405 else ""
        head = (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\nServer: jellyfin-ports\r\n{retry}{allow}"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        return head.encode("ascii") + (b"" if head_only else self.body)


def problem(status: int, text: str) -> LocalAnswer:
    return LocalAnswer(status, f"jellyfin-ports: {text}\n".encode())


def not_lan(client: str) -> LocalAnswer:
    """Who stands near may hear why; the Internet hears nothing but no."""
    text = "This port serves the local network only."
    if client in NEARBY:
        text += f" Your address here is {client}; jellyfin_lan says which networks are local."
    return problem(403, text)


def other_name(name: str) -> LocalAnswer:
    """A web page can lead a name of its own to an address here, and then reads what the LAN may read. So names are told apart."""
    text = (
        f"This port does not answer to the name {name}. If it is yours, put this into the inventory and run the playbook again:\n"
        f"jellyfin_lan_names: [{json.dumps(name)}]"
    )
    return problem(421, text)


def unreachable(status: int, why: str) -> LocalAnswer:
    text = f"jellyfin-ports: The Jellyfin server behind this port cannot be reached: {why}.\n"
    return LocalAnswer(status, text.encode("utf-8", "replace"), retry_after=5)


STAND_IN = LocalAnswer(
    503,
    b"jellyfin-ports: This is a stand-in, not a Jellyfin server. No server is configured for this port yet.\n"
    b"Set jellyfin_server_address and jellyfin_server_port, then run the playbook again.\n",
    retry_after=60,
)
NOT_HERE = LocalAnswer(404, b"jellyfin-ports: Only the SSDP description is served on this port.\n")
