# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jellyfin_ports.hdhomerun import (
    DISCOVER_REPLY,
    Packet,
    decode,
    discover_request,
    encode,
    is_discover_request,
    parse_reply,
)

REPLY = encode(
    Packet(3, ((1, b"\0\0\0\1"), (2, bytes.fromhex("1234ABCD")), (0x10, b"\2"), (0x2A, b"http://192.168.1.9:80")))
)


def test_the_request_that_jellyfin_sends() -> None:
    known = bytes.fromhex("0002000c0104ffffffff0204ffffffff73cc7d8f")
    assert discover_request(device_type=0xFFFFFFFF) == known
    assert is_discover_request(known)


def test_a_reply() -> None:
    tuner = parse_reply(REPLY, "192.168.1.9")
    assert (tuner.id, tuner.address, tuner.tuners, tuner.base_url) == (
        "1234ABCD",
        "192.168.1.9",
        2,
        "http://192.168.1.9:80",
    )


@given(
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8),
)
def test_there_and_back(kind: int, fields: list[tuple[int, bytes]]) -> None:
    packet = Packet(kind, tuple(fields))
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(data)
    with contextlib.suppress(ValueError):
        parse_reply(data, "192.168.1.9")


@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255))
def test_one_wrong_byte_is_noticed(position: int, change: int) -> None:
    data = bytearray(REPLY)
    data[position] ^= change
    with pytest.raises(ValueError):
        parse_reply(bytes(data), "192.168.1.9")


@given(st.binary(max_size=100))
def test_a_right_checksum_does_not_make_it_right(payload: bytes) -> None:
    body = struct.pack(">HH", DISCOVER_REPLY, len(payload)) + payload
    with contextlib.suppress(ValueError):
        parse_reply(body + struct.pack("<I", zlib.crc32(body)), "192.168.1.9")


def test_a_request_is_no_reply() -> None:
    with pytest.raises(ValueError):
        parse_reply(discover_request(), "192.168.1.9")
    assert not is_discover_request(REPLY)
