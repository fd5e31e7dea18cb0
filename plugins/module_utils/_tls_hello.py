# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ClientHello of our own, and the first thing a server says to it (RFC 8446 §4.1, RFC 5246 §7.4.1).

No handshake is ever finished: who answers, and with what version, suite and group, stands in the first flight. That reaches
what a TLS library of today would refuse to offer, and groups that it does not know.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

SSL3, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304
VERSIONS = {SSL3: "SSLv3", TLS10: "TLSv1.0", TLS11: "TLSv1.1", TLS12: "TLSv1.2", TLS13: "TLSv1.3"}

# IANA's registry of supported groups. The hybrids hold a post-quantum key exchange beside a classic one.
GROUPS = {
    "X25519MLKEM768": 0x11EC,
    "SecP256r1MLKEM768": 0x11EB,
    "SecP384r1MLKEM1024": 0x11ED,
    "MLKEM768": 0x0201,
    "MLKEM1024": 0x0202,
    "X25519": 0x001D,
    "secp256r1": 0x0017,
    "secp384r1": 0x0018,
    "secp521r1": 0x0019,
    "X448": 0x001E,
    "ffdhe2048": 0x0100,
    "ffdhe3072": 0x0101,
    "ffdhe4096": 0x0102,
}
POST_QUANTUM = frozenset(name for name in GROUPS if "MLKEM" in name)
GROUP_NAMES = {code: name for name, code in GROUPS.items()}

SUITES_13 = {"TLS_AES_128_GCM_SHA256": 0x1301, "TLS_AES_256_GCM_SHA384": 0x1302, "TLS_CHACHA20_POLY1305_SHA256": 0x1303}
# What browsers offer for TLS 1.2, in their order; a server's choice among these is what its visitors get.
BROWSER_SUITES_12 = (0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035)
# So that whatever speaks TLS at all says something: what old servers knew, weak and broken suites too.
ANY_SUITES = (
    *SUITES_13.values(),
    *BROWSER_SUITES_12,
    *(0x009E, 0x009F, 0x0033, 0x0039, 0x0067, 0x006B, 0xCCAA, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC027, 0xC028),
    *(0x003C, 0x003D, 0x000A, 0x0016, 0xC012, 0xC008, 0x0005, 0x0004, 0xC011, 0xC007, 0x0009, 0x0003, 0x0006),
    *(0x0001, 0x0002, 0x003B, 0xC006, 0xC010, 0xC015, 0x0018, 0x001B, 0x0034, 0x003A, 0xC018, 0xC019, 0x0041, 0x0084),
)

ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    40: "handshake_failure",
    47: "illegal_parameter",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    112: "unrecognized_name",
    116: "certificate_required",
    120: "no_application_protocol",
}

# RFC 8446 §4.1.3: a ServerHello with this random is a HelloRetryRequest.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x0603, 0x0807, 0x0808, 0x0201, 0x0203)
MAX_FLIGHT = 32768


class HelloError(Exception):
    """No TLS came back; ``kind`` is unreachable, stalled, plain_http, not_tls or closed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _block(data: bytes, size: int) -> bytes:
    """Data behind its length in ``size`` bytes."""
    return len(data).to_bytes(size, "big") + data


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + _block(data, 2)


def _numbers(values: Sequence[int]) -> bytes:
    return b"".join(struct.pack(">H", value) for value in values)


def client_hello(
    suites: Sequence[int],
    versions: Sequence[int],
    groups: Sequence[int],
    server_name: str = "",
    signatures: Sequence[int] = SIGNATURES,
) -> bytes:
    """One record. With TLS 1.3 the key share is empty, so a server asks for the group that it would take."""
    legacy = min(max(versions), TLS12)
    extensions = b""
    if server_name:
        extensions += _extension(0, _block(b"\x00" + _block(server_name.encode("ascii"), 2), 2))
    if groups:
        extensions += _extension(10, _block(_numbers(groups), 2)) + _extension(11, b"\x01\x00")
    if max(versions) >= TLS12:
        extensions += _extension(13, _block(_numbers(signatures), 2))
    extensions += _extension(23, b"") + _extension(0xFF01, b"\x00")
    if TLS13 in versions:
        extensions += _extension(43, _block(_numbers(sorted(versions, reverse=True)), 1))
        extensions += _extension(45, b"\x01\x01") + _extension(51, _block(b"", 2))
    body = struct.pack(">H", legacy) + secrets.token_bytes(32) + _block(secrets.token_bytes(32), 1)
    body += _block(_numbers(suites), 2) + b"\x01\x00"
    if max(versions) > SSL3:
        body += _block(extensions, 2)
    handshake = b"\x01" + _block(body, 3)
    return b"\x16" + struct.pack(">H", min(legacy, TLS10) if max(versions) > SSL3 else SSL3) + _block(handshake, 2)


def parse_server_hello(body: bytes) -> dict[str, Any]:
    """version, suite, group and whether it is a retry, of the ServerHello's body. ValueError where it is none."""
    try:
        version = struct.unpack_from(">H", body)[0]
        random = body[2:34]
        offset = 35 + body[34]
        suite, compression = struct.unpack_from(">HB", body, offset)
        offset += 3
        found = {
            "version": version,
            "suite": suite,
            "compression": compression,
            "retry": random == RETRY,
            "group": None,
        }
        if offset + 2 > len(body):
            return found
        end = offset + 2 + struct.unpack_from(">H", body, offset)[0]
        offset += 2
        while offset + 4 <= min(end, len(body)):
            kind, size = struct.unpack_from(">HH", body, offset)
            data = body[offset + 4 : offset + 4 + size]
            offset += 4 + size
            if kind == 43 and size == 2:
                found["version"] = struct.unpack(">H", data)[0]
            elif kind == 51 and size >= 2:
                found["group"] = struct.unpack_from(">H", data)[0]
    except (struct.error, IndexError) as problem:
        raise ValueError("a ServerHello that ends too early") from problem
    return found


class Reader:
    """Reads at most MAX_FLIGHT bytes and not past a deadline, however slowly they drip."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock, self.deadline, self.taken = sock, deadline, 0

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise HelloError("stalled", "the handshake stalls")
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(count - len(data))
            except socket.timeout:
                raise HelloError("stalled", "the handshake stalls") from None
            if not piece:
                raise HelloError(
                    "closed",
                    "the peer closed the connection" if not data else "the peer closed the connection in the middle",
                )
            data += piece
            self.taken += len(piece)
            if self.taken > MAX_FLIGHT:
                raise HelloError("not_tls", "the peer sends more than any first flight holds")
        return data


def _read_answer(reader: Reader) -> dict[str, Any]:
    """The first handshake message or alert."""
    handshake = b""
    while True:
        head = reader.exactly(5)
        if head[:4] == b"HTTP" or head[:1] == b"<":
            raise HelloError("plain_http", "it speaks plain HTTP and not TLS")
        kind, version, size = head[0], struct.unpack_from(">H", head, 1)[0], struct.unpack_from(">H", head, 3)[0]
        if kind not in (0x15, 0x16) or version >> 8 != 3 or not 0 < size <= 18432:
            raise HelloError("not_tls", "it does not speak TLS")
        data = reader.exactly(size)
        if kind == 0x15:
            if size < 2:
                raise HelloError("not_tls", "it does not speak TLS")
            if data[0] == 1:  # a warning, such as an unrecognized name, and the handshake goes on
                continue
            return {"alert": data[1], "alert_name": ALERTS.get(data[1], str(data[1]))}
        handshake += data
        if handshake[0] != 2:
            raise HelloError("not_tls", "it does not speak TLS")
        length = int.from_bytes(handshake[1:4], "big")
        if length > 16384:
            raise HelloError("not_tls", "its ServerHello has an impossible length")
        if len(handshake) >= 4 + length:
            try:
                return dict(parse_server_hello(handshake[4 : 4 + length]), alert=None)
            except ValueError as problem:
                raise HelloError("not_tls", f"it sends {problem}") from problem


def ask(address: str, port: int, hello: bytes, timeout: float) -> dict[str, Any]:
    """Sends one ClientHello. Returns the ServerHello's content or ``alert``; HelloError where no TLS comes back."""
    deadline = time.monotonic() + timeout
    try:
        sock = socket.create_connection((address, port), timeout=timeout)
    except socket.gaierror as problem:
        raise HelloError("unreachable", "the name does not resolve") from problem
    except ConnectionRefusedError as problem:
        raise HelloError("unreachable", "connection refused") from problem
    except socket.timeout as problem:
        raise HelloError("unreachable", f"no connection within {timeout:g} s") from problem
    except OSError as problem:
        raise HelloError("unreachable", (problem.strerror or str(problem)).lower()) from problem
    with sock:
        try:
            sock.sendall(hello)
            return _read_answer(Reader(sock, deadline))
        except (ConnectionError, BrokenPipeError) as problem:
            raise HelloError("closed", "the peer closed the connection") from problem
        except socket.timeout as problem:
            raise HelloError("stalled", "the handshake stalls") from problem
