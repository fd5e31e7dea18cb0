# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The discovery packets of HDHomeRun tuners. No sockets here."""

from __future__ import annotations

import ipaddress
import struct
import zlib
from dataclasses import dataclass

PORT = 65001
DISCOVER_REQUEST, DISCOVER_REPLY = 2, 3
_DEVICE_TYPE, _DEVICE_ID, _TUNER_COUNT, _BASE_URL = 0x01, 0x02, 0x10, 0x2A
TUNER = 0x00000001
ANY = 0xFFFFFFFF
_PACKET_LIMIT = 3074


@dataclass(frozen=True)
class Packet:
    kind: int
    fields: tuple[tuple[int, bytes], ...]

    def get(self, tag: int) -> bytes:
        return next((value for key, value in self.fields if key == tag), b"")


def encode(packet: Packet) -> bytes:
    payload = b""
    for tag, value in packet.fields:
        size = len(value)
        length = bytes([size]) if size < 0x80 else bytes([(size & 0x7F) | 0x80, size >> 7])
        payload += bytes([tag]) + length + value
    body = struct.pack(">HH", packet.kind, len(payload)) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def decode(data: bytes) -> Packet:
    """ValueError when it is no whole packet or its checksum is wrong."""
    if not 8 <= len(data) <= _PACKET_LIMIT:
        raise ValueError("wrong size")
    kind, length = struct.unpack_from(">HH", data)
    if len(data) != 4 + length + 4:
        raise ValueError("wrong length")
    if struct.unpack_from("<I", data, 4 + length)[0] != zlib.crc32(data[: 4 + length]):
        raise ValueError("wrong checksum")
    fields: list[tuple[int, bytes]] = []
    offset, end = 4, 4 + length
    while offset < end:
        if offset + 2 > end:
            raise ValueError("cut off")
        tag, size = data[offset], data[offset + 1]
        offset += 2
        if size & 0x80:
            if offset + 1 > end:
                raise ValueError("cut off")
            size = (size & 0x7F) | (data[offset] << 7)
            offset += 1
        if offset + size > end:
            raise ValueError("cut off")
        fields.append((tag, data[offset : offset + size]))
        offset += size
    return Packet(kind, tuple(fields))


def discover_request(device_type: int = TUNER, device_id: int = ANY) -> bytes:
    fields = ((_DEVICE_TYPE, struct.pack(">I", device_type)), (_DEVICE_ID, struct.pack(">I", device_id)))
    return encode(Packet(DISCOVER_REQUEST, fields))


@dataclass(frozen=True)
class Tuner:
    id: str
    address: str
    tuners: int
    base_url: str = ""


def parse_reply(data: bytes, source: str) -> Tuner:
    """The tuner that answered from `source`. ValueError when this is no answer of one."""
    packet = decode(data)
    if packet.kind != DISCOVER_REPLY:
        raise ValueError("no answer")
    kind, device = packet.get(_DEVICE_TYPE), packet.get(_DEVICE_ID)
    if len(kind) != 4 or len(device) != 4:
        raise ValueError("no device")
    count = packet.get(_TUNER_COUNT)
    base = packet.get(_BASE_URL).decode("ascii", "replace")
    printable = all(" " < c <= "~" for c in base) and len(base) < 256
    return Tuner(
        id=device.hex().upper(),
        address=str(ipaddress.IPv4Address(source)),
        tuners=count[0] if len(count) == 1 else 0,
        base_url=base if printable else "",
    )


def is_discover_request(data: bytes) -> bool:
    try:
        return decode(data).kind == DISCOVER_REQUEST
    except ValueError:
        return False
