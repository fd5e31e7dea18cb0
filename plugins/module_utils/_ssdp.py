# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches by SSDP as a control point does, and reads what the devices say of themselves."""

from __future__ import annotations

import http.client
import re
import socket
import time
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _client_discovery

GROUP, PORT = "239.255.255.250", 1900
_BODY_LIMIT = 262144
_SPACE = "{urn:schemas-upnp-org:device-1-0}"
_KEYS = ("friendlyName", "deviceType", "manufacturer", "modelName", "UDN", "presentationURL")


def render_search(target: str, wait: int) -> bytes:
    return (
        f'M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{PORT}\r\nMAN: "ssdp:discover"\r\nMX: {wait}\r\nST: {target}\r\n\r\n'
    ).encode("ascii")


def parse_response(data: bytes, source: str) -> dict[str, Any] | None:
    """The device in a response; None when it is none."""
    lines = data.decode("latin-1").split("\r\n")
    if not re.match(r"^HTTP/1\.[01] 200\b", lines[0]):
        return None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().upper()] = value.strip()
    if not fields.get("LOCATION") or not fields.get("USN"):
        return None
    return {
        "location": fields["LOCATION"],
        "usn": fields["USN"],
        "search_target": fields.get("ST", ""),
        "server": fields.get("SERVER", ""),
        "source": source,
    }


def parse_description(body: bytes) -> dict[str, str]:
    """What a description document says of its root device. ValueError when it is none."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if "\0" in text:
        raise ValueError("it is no XML")  # to the parser it may be UTF-16
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares entities")
    try:
        # As text: in an encoding of its own declaration a document type would be seen by the parser alone.
        device = ET.fromstring(text).find(f"{_SPACE}device")
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"it is no XML ({error})") from None
    if device is None:
        raise ValueError("it holds no device")
    return {key: (device.findtext(f"{_SPACE}{key}") or "").strip() for key in _KEYS}


def fetch(url: str, timeout: float, source: str) -> bytes:
    """OSError or ValueError when there is no description. Only of the device that answered: it could name any other host."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("it is no http:// address")
    if parts.hostname != source:
        raise ValueError(f"it leads elsewhere, and {source} answered")
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"it answers {response.status}")
        body = b""
        while len(body) < _BODY_LIMIT and time.monotonic() < deadline:
            part = response.read1(65536)
            if not part:
                return body
            body += part
        raise ValueError("it is too long or too slow")
    except http.client.HTTPException as error:
        raise ValueError(f"it does not speak HTTP ({type(error).__name__})") from None
    finally:
        connection.close()


def search(address: str, target: str, timeout: float, describe: bool = True, port: int = PORT) -> list[dict[str, Any]]:
    """The devices that answered, each location once. OSError when the search could not be sent."""
    devices: dict[str, dict[str, Any]] = {}
    wait = max(1, min(5, int(timeout) - 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        deadline = time.monotonic() + timeout
        for share in (0.2, 1.0):
            if address:
                sock.sendto(render_search(target, wait), (address, port))
            else:
                problem = _client_discovery.send_over_all(sock, render_search(target, wait), (GROUP, port))
                if problem:
                    raise OSError(f"the search could not be sent: {problem}")
            for data, source in _client_discovery.collect(sock, deadline - timeout * (1.0 - share)):
                device = parse_response(data, source)
                if device is not None:
                    devices.setdefault(device["location"], device)
    found = list(devices.values())[:64]
    for device in found if describe else []:
        device.update({"description": {}, "problem": ""})
        try:
            device["description"] = parse_description(fetch(device["location"], 3.0, device["source"]))
        except (OSError, ValueError) as error:
            device["problem"] = f"The description {device['location']} cannot be read: {error}."
    return found
