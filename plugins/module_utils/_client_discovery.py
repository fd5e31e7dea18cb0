# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for Jellyfin servers on 7359/udp as a client does: by broadcast over every interface, or one host directly."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any

PORT = 7359
QUESTION = b"who is JellyfinServer?"
BROADCAST = "255.255.255.255"
_IP_PKTINFO = 8


def parse_reply(data: bytes, source: str) -> dict[str, Any] | None:
    """The server in a reply, with the keys that every client needs; None when it is none."""
    try:
        fields = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    address, server_id, name = (fields.get(key) for key in ("Address", "Id", "Name"))
    if not (
        isinstance(address, str) and address and isinstance(server_id, str) and server_id and isinstance(name, str)
    ):
        return None
    return {
        "address": address,
        "id": server_id,
        "name": name,
        "endpoint_address": fields.get("EndpointAddress"),
        "source": source,
    }


def interfaces() -> list[tuple[int, str]]:
    return [(index, name) for index, name in socket.if_nameindex() if name != "lo"]


def send_over_all(sock: socket.socket, datagram: bytes, target: tuple[str, int]) -> str:
    """Once over each interface; '' or why not even one would take it."""
    problem = "there is no network interface"
    sent = False
    for index, name in interfaces():
        over = [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=iII", index, 0, 0))]
        try:
            sock.sendmsg([datagram], over, 0, target)
            sent = True
        except OSError as error:
            problem = f"{name}: {error.strerror}"
    return "" if sent else problem


def collect(sock: socket.socket, deadline: float) -> list[tuple[bytes, str]]:
    """All datagrams until the deadline, and who sent them."""
    found: list[tuple[bytes, str]] = []
    while len(found) < 1000:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([sock], [], [], left)[0]:
            break
        try:
            data, peer = sock.recvfrom(65535)
        except OSError:
            continue  # an ICMP error of one that we asked directly
        found.append((data, str(peer[0])))
    return found


def discover(address: str, timeout: float, port: int = PORT) -> list[dict[str, Any]]:
    """The servers that answered, each address once. OSError when the question could not be sent."""
    servers: dict[tuple[str, str], dict[str, Any]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        deadline = time.monotonic() + timeout
        # Datagrams get lost: asked twice, as clients do.
        for share in (0.3, 1.0):
            if address == BROADCAST:
                problem = send_over_all(sock, QUESTION, (BROADCAST, port))
                if problem:
                    raise OSError(f"the question could not be sent: {problem}")
            else:
                sock.sendto(QUESTION, (address, port))
            until = deadline - timeout * (1.0 - share)
            for data, source in collect(sock, until):
                server = parse_reply(data, source)
                if server is not None:
                    servers.setdefault((server["id"], server["address"]), server)
    return list(servers.values())
