# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSDP by the UPnP Device Architecture 2.0: what is said and when. No sockets here."""

from __future__ import annotations

import hashlib
import random
import re
import time
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.sax.saxutils import escape

from . import __version__
from .client_discovery import Identity

GROUP = "239.255.255.250"
PORT = 1900
MAX_AGE = 1800
LONGEST_WAIT = 5.0  # seconds; whoever gives a longer MX is treated as if it gave this
SERVER = f"Linux/1.0 UPnP/2.0 jellyfin-ports/{__version__}"

_NAMESPACE = uuid.UUID("7f3fbd5e-5a3c-4b0c-9b0e-6a656c6c7966")
_DATAGRAM_LIMIT = 4096
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*$")
_TARGET = re.compile(r"^[!-~]{1,256}$")
_URN = re.compile(r"^(urn:[^:]+:(?:device|service):[^:]+):([0-9]{1,9})$", re.IGNORECASE)


@dataclass(frozen=True)
class Search:
    """An M-SEARCH."""

    target: str
    wait: float  # MX; 0 when asked by unicast
    multicast: bool


def parse_search(datagram: bytes, multicast: bool) -> Search | None:
    """The search in a datagram, or None: not one, or one that the architecture tells to discard in silence."""
    if len(datagram) > _DATAGRAM_LIMIT or not datagram.startswith(b"M-SEARCH * HTTP/1.1\r\n"):
        return None
    fields: dict[str, str] = {}
    for line in datagram.decode("latin-1").split("\r\n")[1:]:
        if not line:
            break
        match = _FIELD.match(line)
        if match is None or match.group(1).upper() in fields:
            return None
        fields[match.group(1).upper()] = match.group(2)
    target = fields.get("ST", "")
    if fields.get("MAN", "").lower() != '"ssdp:discover"' or not fields.get("HOST") or not _TARGET.match(target):
        return None
    if not multicast:
        return Search(target, 0.0, False)
    if fields["HOST"] not in (GROUP, f"{GROUP}:{PORT}"):
        return None
    mx = fields.get("MX", "")
    if not re.fullmatch(r"[0-9]{1,9}", mx) or int(mx) < 1:
        return None
    return Search(target, min(float(mx), LONGEST_WAIT), True)


@dataclass(frozen=True)
class Device:
    """A root device as SSDP sees it. `location` has {address} where our address on the interface comes in."""

    uuid: str
    type: str
    location: str
    services: tuple[str, ...] = ()
    name: str = ""
    config_id: int = 0

    def pairs(self) -> list[tuple[str, str]]:
        """(NT, USN) of every advertisement of this device."""
        own = f"uuid:{self.uuid}"
        return [
            ("upnp:rootdevice", f"{own}::upnp:rootdevice"),
            (own, own),
            *((kind, f"{own}::{kind}") for kind in (self.type, *self.services)),
        ]

    def matches(self, target: str) -> list[tuple[str, str]]:
        """(ST, USN) of every answer to a search for `target`; the ST is what was asked, but for ssdp:all."""
        lower = target.lower()
        if lower == "ssdp:all":
            return self.pairs()
        own = f"uuid:{self.uuid}"
        if lower == "upnp:rootdevice":
            return [(target, f"{own}::upnp:rootdevice")]
        if lower == own.lower():
            return [(target, own)]
        asked = _URN.match(target)
        if asked is None:
            return []
        for kind in (self.type, *self.services):
            ours = _URN.match(kind)
            # A device of a later version serves whoever asks for an earlier one, and is called by what was asked.
            if (
                ours
                and ours.group(1).lower() == asked.group(1).lower()
                and 0 < int(asked.group(2)) <= int(ours.group(2))
            ):
                return [(target, f"{own}::{ours.group(1)}:{asked.group(2)}")]
        return []


@dataclass
class Boot:
    """BOOTID.UPNP.ORG: grows whenever we come back or our addresses change."""

    id: int

    @classmethod
    def after(cls, last: int, now: float) -> Boot:
        return cls(max(last + 1, int(now)) & 0x7FFFFFFF)


def config_id(*parts: str) -> int:
    """CONFIGID.UPNP.ORG: another one for another description; devices choose theirs below 2^24."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:3], "big")


def _message(start: str, fields: list[tuple[str, str]]) -> bytes:
    lines = [start, *(f"{name}: {value}" if value else f"{name}:" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


def _location(device: Device, address: str) -> str:
    return device.location.replace("{address}", address)


def render_response(device: Device, st: str, usn: str, address: str, boot: Boot, now: float | None = None) -> bytes:
    return _message(
        "HTTP/1.1 200 OK",
        [
            ("CACHE-CONTROL", f"max-age={MAX_AGE}"),
            ("DATE", formatdate(time.time() if now is None else now, usegmt=True)),
            ("EXT", ""),
            ("LOCATION", _location(device, address)),
            ("SERVER", SERVER),
            ("ST", st),
            ("USN", usn),
            ("BOOTID.UPNP.ORG", str(boot.id)),
            ("CONFIGID.UPNP.ORG", str(device.config_id)),
        ],
    )


def render_alive(device: Device, nt: str, usn: str, address: str, boot: Boot) -> bytes:
    return _message(
        "NOTIFY * HTTP/1.1",
        [
            ("HOST", f"{GROUP}:{PORT}"),
            ("CACHE-CONTROL", f"max-age={MAX_AGE}"),
            ("LOCATION", _location(device, address)),
            ("NT", nt),
            ("NTS", "ssdp:alive"),
            ("SERVER", SERVER),
            ("USN", usn),
            ("BOOTID.UPNP.ORG", str(boot.id)),
            ("CONFIGID.UPNP.ORG", str(device.config_id)),
        ],
    )


def render_byebye(device: Device, nt: str, usn: str, boot: Boot) -> bytes:
    return _message(
        "NOTIFY * HTTP/1.1",
        [
            ("HOST", f"{GROUP}:{PORT}"),
            ("NT", nt),
            ("NTS", "ssdp:byebye"),
            ("USN", usn),
            ("BOOTID.UPNP.ORG", str(boot.id)),
            ("CONFIGID.UPNP.ORG", str(device.config_id)),
        ],
    )


def render_update(device: Device, nt: str, usn: str, address: str, boot: Boot, following: Boot) -> bytes:
    return _message(
        "NOTIFY * HTTP/1.1",
        [
            ("HOST", f"{GROUP}:{PORT}"),
            ("LOCATION", _location(device, address)),
            ("NT", nt),
            ("NTS", "ssdp:update"),
            ("USN", usn),
            ("BOOTID.UPNP.ORG", str(boot.id)),
            ("CONFIGID.UPNP.ORG", str(device.config_id)),
            ("NEXTBOOTID.UPNP.ORG", str(following.id)),
        ],
    )


@dataclass
class Announcer:
    """When a device's advertisements are due. Feed it the time; it says what to send now.

    At the start they go out spread and twice, for datagrams get lost; then again before half of max-age is over.
    """

    chance: random.Random = field(default_factory=random.Random)
    due: float = 0.0
    _repeats: int = 1

    def begin(self, now: float) -> None:
        self.due = now + self.chance.uniform(0.0, 0.1)
        self._repeats = 1

    def take(self, now: float) -> bool:
        """Whether a round is due now; the next one is planned then."""
        if now < self.due:
            return False
        if self._repeats:
            self._repeats -= 1
            self.due = now + self.chance.uniform(0.3, 0.9)
        else:
            self.due = now + self.chance.uniform(MAX_AGE / 4, MAX_AGE / 2 * 0.9)
        return True


def spread(count: int, chance: random.Random, gap: float = 0.03) -> list[float]:
    """Delays for the datagrams of one round, so that small receivers do not lose the tail of a burst."""
    at = 0.0
    delays: list[float] = []
    for _turn in range(count):
        delays.append(at)
        at += chance.uniform(gap / 2, gap * 1.5)
    return delays


# The device that is ours


def own_uuid(identity: Identity) -> str:
    """Stable for a server, and not the server's own: that one belongs to its DLNA plugin."""
    return str(uuid.uuid5(_NAMESPACE, identity.id))


def server_uuid(identity: Identity) -> str:
    return str(uuid.UUID(identity.id))


def own_paths(device_uuid: str) -> tuple[str, str]:
    """Where description and icon of our device are served."""
    root = f"/.well-known/jellyfin-ports/{device_uuid}"
    return f"{root}/description.xml", f"{root}/icon.png"


BASIC_TYPE = "urn:schemas-upnp-org:device:Basic:1"


def own_device(identity: Identity, port: int) -> Device:
    device_uuid = own_uuid(identity)
    location = f"http://{{address}}:{port}{own_paths(device_uuid)[0]}"
    return Device(
        uuid=device_uuid,
        type=BASIC_TYPE,
        location=location,
        name=identity.name,
        config_id=config_id(location, identity.name, identity.version),
    )


def _xml_text(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")


def own_description(identity: Identity, presentation_url: str, config: int) -> bytes:
    """The description document: shows up as Jellyfin, and opens it."""
    device_uuid = own_uuid(identity)
    _description, icon = own_paths(device_uuid)
    name = _xml_text(identity.name)[:63] or "Jellyfin"
    return f"""<?xml version="1.0" encoding="utf-8"?>
<root xmlns="urn:schemas-upnp-org:device-1-0" configId="{config}">
<specVersion><major>2</major><minor>0</minor></specVersion>
<device>
<deviceType>{BASIC_TYPE}</deviceType>
<friendlyName>{escape(name)}</friendlyName>
<manufacturer>Jellyfin</manufacturer>
<manufacturerURL>https://jellyfin.org</manufacturerURL>
<modelDescription>Jellyfin media server</modelDescription>
<modelName>Jellyfin Server</modelName>
<modelNumber>{escape(_xml_text(identity.version))}</modelNumber>
<modelURL>https://jellyfin.org</modelURL>
<serialNumber>{escape(identity.id)}</serialNumber>
<UDN>uuid:{device_uuid}</UDN>
<iconList><icon><mimetype>image/png</mimetype><width>48</width><height>48</height><depth>24</depth>\
<url>{icon}</url></icon></iconList>
<presentationURL>{escape(presentation_url)}</presentationURL>
</device>
</root>
""".encode()


# The DLNA plugin's device


def parse_xml(body: bytes) -> ET.Element:
    """The root of a document without a document type, which could make a short one long. ValueError says what is wrong.

    Parsed as text: in another encoding, by its own declaration too, a document type would be seen by the parser alone.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if "\0" in text:
        raise ValueError("it is no XML")  # to the parser it may be UTF-16
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares entities")
    try:
        return ET.fromstring(text)
    except (ET.ParseError, ValueError):
        raise ValueError("it is no XML") from None


def parse_media_server(body: bytes, expected_uuid: str) -> tuple[str, tuple[str, ...], str]:
    """(device type, service types, name) of the plugin's description. ValueError when it is something else."""
    try:
        root = parse_xml(body)
    except ValueError as error:
        raise ValueError(f"its description cannot be read: {error}") from None
    space = "{urn:schemas-upnp-org:device-1-0}"
    device = root.find(f"{space}device")
    if device is None:
        raise ValueError("its description has no device")
    kind = (device.findtext(f"{space}deviceType") or "").strip()
    udn = (device.findtext(f"{space}UDN") or "").strip().lower()
    if not kind.startswith("urn:schemas-upnp-org:device:MediaServer:") or _URN.match(kind) is None:
        raise ValueError(f"it is no media server ({kind!r})")
    if udn != f"uuid:{expected_uuid}":
        raise ValueError("its description is another device's")
    services = []
    for service in device.iter(f"{space}service"):
        text = (service.findtext(f"{space}serviceType") or "").strip()
        if _TARGET.match(text) and text not in services:
            services.append(text)
    return kind, tuple(services), (device.findtext(f"{space}friendlyName") or "").strip()


def media_server(
    identity: Identity, base_path: str, port: int, kind: str, services: tuple[str, ...], name: str
) -> Device:
    """The plugin's device, found by the relay's address: the server's own may be one that no television reaches."""
    device_uuid = server_uuid(identity)
    location = f"http://{{address}}:{port}{base_path}/dlna/{device_uuid}/description.xml"
    return Device(
        uuid=device_uuid,
        type=kind,
        location=location,
        services=services,
        name=name or identity.name,
        config_id=config_id(location, kind, *services),
    )
