# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`jellyfin-ports discover`: what clients on this machine's networks find, and what is wrong with it."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .client_discovery import parse_identity
from .config import CLIENT_DISCOVERY_PORT
from .datagrams import leave_by
from .hdhomerun import PORT as TUNER_PORT
from .hdhomerun import discover_request, parse_reply
from .interfaces import Interface, read_interfaces
from .ssdp import GROUP, parse_xml
from .ssdp import PORT as SSDP_PORT
from .tables import table, visible

_QUESTION = b"who is JellyfinServer?"
_BODY_LIMIT = 65536
_MOST = 64  # answers of one kind; a device that sends more is not looking for clients
# What Docker and Podman give out unless told otherwise.
_CONTAINER_NETWORKS = [
    ipaddress.ip_network(n)
    for n in ("172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/14", "10.88.0.0/16")
]
_SEARCHES = ("upnp:rootdevice", "urn:schemas-upnp-org:device:MediaServer:1")


@dataclass
class _Ask:
    """One question: out over every interface, and to the hosts named."""

    sock: socket.socket
    datagrams: list[bytes]
    group: tuple[str, int]
    directed: bool

    def send(self, interfaces: list[Interface], hosts: Sequence[str]) -> None:
        for datagram in self.datagrams:
            for interface in interfaces:
                for own in interface.addresses[:1]:
                    targets = [self.group[0]]
                    if self.directed and own.network.prefixlen < 31:
                        targets.append(str(own.network.broadcast_address))
                    for target in targets:
                        self._send(datagram, leave_by(interface.index, str(own.ip)), (target, self.group[1]))
            for host in hosts:
                self._send(datagram, [], (host, self.group[1]))

    def _send(self, datagram: bytes, ancillary: list[Any], target: tuple[str, int]) -> None:
        try:
            self.sock.sendmsg((datagram,), ancillary, 0, target)
        except OSError:
            return  # an interface without a route, a host that does not resolve


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
    sock.bind(("0.0.0.0", 0))
    sock.setblocking(False)
    return sock


def _search(target: str) -> bytes:
    return (
        f'M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{SSDP_PORT}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n\r\n'
    ).encode()


class Elsewhere(Exception):
    """The device that answered names another host, which is not asked on its word."""


def _fetch(url: str, source: str, seconds: float = 3.0) -> tuple[int, bytes]:
    """Status and body of a GET, all of it within `seconds`, from the address that answered and no other."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if source not in _resolve(host):
        raise Elsewhere(f"{host} is another host than {source}, which answered; it was not asked")
    secure = parts.scheme == "https"
    raw = sock = None
    cut: threading.Timer | None = None
    handle: socket.socket | None = None
    try:
        raw = socket.create_connection((source, parts.port or (443 if secure else 80)), timeout=seconds)
        # A second descriptor of the same connection: shutting it down ends a read that is drip-fed.
        handle = socket.socket(fileno=os.dup(raw.fileno()))
        cut = threading.Timer(seconds, _shut, [handle])
        cut.daemon = True
        cut.start()
        sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw
        connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        connection.sock = sock
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        return response.status, response.read(_BODY_LIMIT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from None
    finally:
        if cut is not None:
            cut.cancel()
        for opened in (sock, raw, handle):
            if opened is not None:
                opened.close()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def judge_url(url: str, resolved: Sequence[str], on_link: Sequence[str] = ()) -> list[str]:
    """What is wrong with an announced URL, by its looks. `resolved`: its host's addresses; `on_link`: our networks."""
    problems: list[str] = []
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"{url!r} is no full URL; clients cannot use it"]
    if not resolved:
        return [f"the name {parts.hostname} does not resolve here; clients without your DNS will not get there"]
    networks = [ipaddress.ip_network(n) for n in on_link]
    for text in resolved:
        address = ipaddress.ip_address(text)
        if address.is_loopback:
            problems.append(f"{text} is a loopback address: it leads every client to itself")
        elif address.is_unspecified:
            problems.append(f"{text} is no address that one can connect to")
        elif any(address in n for n in _CONTAINER_NETWORKS) and not any(
            address.version == n.version and address in n for n in networks
        ):
            problems.append(f"{text} looks like a container's address, which no client reaches")
        elif address.is_link_local:
            problems.append(f"{text} is a link-local address; most clients cannot use it")
    return problems


def _resolve(host: str) -> list[str]:
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


def _check_server(found: dict[str, Any], networks: list[str]) -> None:
    url = found["address"]
    found["problems"] = judge_url(url, _resolve(urlsplit(url).hostname or ""), networks)
    if found.get("endpoint_address") is not None:
        found["problems"].append("EndpointAddress is not null: some clients replace the host of the address by it")
    if "?" in url or "#" in url:
        found["problems"].append(f"{url!r} is no address of a server; it has a query")
    if found["problems"]:
        return
    try:
        status, body = _fetch(url.rstrip("/") + "/System/Info/Public", found["from"])
        if status != 200:
            found["problems"].append(f"{url}/System/Info/Public answers {status}, not 200")
        elif parse_identity(body).id != found["id"].replace("-", "").lower():
            found["problems"].append(f"{url} is another server than the one announced")
    except Elsewhere as error:
        found["unchecked"] = str(error)
    except ConnectionError as error:
        found["problems"].append(f"{url} cannot be reached from here: {error}")
    except ValueError as error:
        found["problems"].append(f"{url}: {error}")


def _parse_jellyfin(data: bytes, source: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not fields.get("Address") or not fields.get("Id"):
        return None
    return {
        "from": source,
        "address": str(fields["Address"]),
        "id": str(fields["Id"]),
        "name": str(fields.get("Name", "")),
        "endpoint_address": fields.get("EndpointAddress"),
    }


def _parse_ssdp(data: bytes, source: str) -> dict[str, Any] | None:
    if not data.startswith(b"HTTP/1.1 200"):
        return None
    lines = (line.partition(":") for line in data.decode("latin-1").split("\r\n")[1:])
    fields = {name.strip().upper(): value.strip() for name, _colon, value in lines}
    if not fields.get("LOCATION"):
        return None
    return {
        "from": source,
        "location": fields["LOCATION"],
        "usn": fields.get("USN", ""),
        "server": fields.get("SERVER", ""),
    }


def _describe(device: dict[str, Any]) -> bool:
    """Read the description; whether the device is a Jellyfin."""
    space = "{urn:schemas-upnp-org:device-1-0}"
    device["problems"] = judge_url(device["location"], _resolve(urlsplit(device["location"]).hostname or ""))
    try:
        status, body = _fetch(device["location"], device["from"])
        if status != 200:
            raise ConnectionError(f"answers {status}")
        root = parse_xml(body)
    except (Elsewhere, ConnectionError, ValueError) as error:
        device["problems"].append(f"its description cannot be read: {error}")
        return "jellyfin" in device["server"].lower() or "rssdp" in device["server"].lower()
    element = root.find(f"{space}device")
    if element is None:
        return False
    texts = {
        key: (element.findtext(f"{space}{key}") or "").strip() for key in ("friendlyName", "deviceType", "manufacturer")
    }
    device["name"], device["type"] = texts["friendlyName"], texts["deviceType"]
    return texts["manufacturer"].lower() == "jellyfin"


def discover(seconds: float, hosts: Sequence[str]) -> dict[str, Any]:
    interfaces = [i for i in read_interfaces().values() if i.up and not i.loopback and i.addresses]
    networks = [str(a.network) for i in interfaces for a in i.addresses]
    clients, ssdp, tuners = _socket(), _socket(), _socket()
    asks = [
        _Ask(clients, [_QUESTION], ("255.255.255.255", CLIENT_DISCOVERY_PORT), True),
        _Ask(ssdp, [_search(target) for target in _SEARCHES], (GROUP, SSDP_PORT), False),
        _Ask(tuners, [discover_request()], ("255.255.255.255", TUNER_PORT), True),
    ]
    found: dict[int, dict[Any, dict[str, Any]]] = {sock.fileno(): {} for sock in (clients, ssdp, tuners)}
    begun = time.monotonic()
    repeats = [0.0, min(0.7, seconds / 3)]
    while (passed := time.monotonic() - begun) < seconds:
        if repeats and passed >= repeats[0]:
            repeats.pop(0)
            for ask in asks:
                ask.send(interfaces, hosts)
        wait = min(seconds, repeats[0] if repeats else seconds) - passed
        for sock in select.select([clients, ssdp, tuners], [], [], max(0.0, wait))[0]:
            try:
                data, peer = sock.recvfrom(65535)
            except OSError:
                continue
            _note(sock, data, peer, found, clients, ssdp)
    for sock in (clients, ssdp, tuners):
        sock.close()
    servers, devices, boxes = (list(entries.values()) for entries in found.values())
    with ThreadPoolExecutor(max_workers=8) as threads:
        list(threads.map(lambda server: _check_server(server, networks), servers))
        devices = [device for device, ours in zip(devices, threads.map(_describe, devices)) if ours]
    return {
        "interfaces": [{"name": i.name, "addresses": [str(a) for a in i.addresses]} for i in interfaces],
        "jellyfin": servers,
        "ssdp": devices,
        "hdhomerun": boxes,
    }


def _note(
    sock: socket.socket,
    data: bytes,
    peer: tuple[str, int],
    found: dict[int, dict[Any, dict[str, Any]]],
    clients: socket.socket,
    ssdp: socket.socket,
) -> None:
    entries = found[sock.fileno()]
    if len(entries) >= _MOST:
        return
    if sock is clients:
        server = _parse_jellyfin(data, peer[0])
        if server is not None:
            entries.setdefault((server["id"], server["address"]), server)
    elif sock is ssdp:
        device = _parse_ssdp(data, peer[0])
        if device is not None:
            entries.setdefault(device["location"], device)
    else:
        try:
            tuner = parse_reply(data, peer[0])
        except ValueError:
            return
        entries.setdefault(tuner.id, vars(tuner))


def render(report: dict[str, Any]) -> str:
    parts: list[str] = []
    rows: Any
    if report["jellyfin"]:
        rows = ((s["name"], s["address"], s["from"], s["id"]) for s in report["jellyfin"])
        parts.append(table(("JELLYFIN", "ADDRESS", "ANSWERED BY", "ID"), rows))
    else:
        names = ", ".join(visible(i["name"]) for i in report["interfaces"]) or "no interface"
        parts.append(
            f"No Jellyfin server answered on {names}.\nA firewall on this machine drops answers to a broadcast unless it"
            " lets UDP from source port 7359 in; --address asks one host directly."
        )
    if report["ssdp"]:
        rows = (
            (d.get("name", "-"), d.get("type", "-").rpartition("device:")[2], d["location"]) for d in report["ssdp"]
        )
        parts.append(table(("SSDP", "TYPE", "LOCATION"), rows))
    else:
        parts.append("SSDP: no Jellyfin device.")
    if report["hdhomerun"]:
        rows = ((t["id"], t["address"], t["tuners"]) for t in report["hdhomerun"])
        parts.append(table(("HDHOMERUN", "ADDRESS", "TUNERS"), rows))
        addresses = ", ".join(sorted(t["address"] for t in report["hdhomerun"]))
        parts.append(
            f"To open the firewall for them, put into the inventory:\njellyfin_hdhomerun_tuners: [{addresses}]"
        )
    else:
        parts.append("HDHomeRun: no tuner.")
    problems = [f"{s['name']}: {p}" for s in report["jellyfin"] for p in s["problems"]]
    problems += [f"SSDP {d['location']}: {p}" for d in report["ssdp"] for p in d["problems"]]
    if problems:
        parts.append("What is wrong:\n" + "\n".join(f"  {visible(line)}" for line in problems))
    unchecked = [f"{s['name']}: {s['unchecked']}" for s in report["jellyfin"] if s.get("unchecked")]
    if unchecked:
        parts.append("What was not looked at:\n" + "\n".join(f"  {visible(line)}" for line in unchecked))
    return "\n\n".join(parts)
