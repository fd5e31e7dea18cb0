# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ROBOT (2017), asked for where the scanner could not decide: an RSA premaster secret with five kinds of padding.

The scanner sends key exchange, change of cipher and Finished in three writes. A server that refuses the first of them and closes is gone
when the third is written, and the scanner then calls that a broken connection: who wins is a matter of the machine's load. Here all of it
is one write.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_hello
from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_hello import HelloError, Reader

# Suites whose key exchange is RSA, the AEAD ones first: some servers had the bug with these alone.
SUITES = (0x009C, 0x009D, 0x002F, 0x0035, 0x003C, 0x003D, 0x000A, 0x0005, 0x0004)
SHAPES = ("valid", "first bytes", "separator moved", "no separator", "version")
ROUNDS = 2
# A server that says nothing has said so after this long.
SILENCE = 1.0
HELLO_DONE = 14


def padded(shape: str, version: int, size: int) -> bytes:
    """The premaster secret as PKCS #1 v1.5 pads it (RFC 8017 §7.2.1), right or wrong."""
    secret, stamp = secrets.token_bytes(46), struct.pack(">H", version)
    filling = bytes(1 + byte % 255 for byte in secrets.token_bytes(size - 51))
    return {
        "valid": b"\x00\x02" + filling + b"\x00" + stamp + secret,
        "first bytes": b"\x41\x17" + filling + b"\x00" + stamp + secret,
        "separator moved": b"\x00\x02" + filling + b"\x11" + secret.replace(b"\x00", b"\x11") + b"\x00\x11",
        "no separator": b"\x00\x02" + filling + b"\x11\x11\x11" + secret.replace(b"\x00", b"\x11"),
        "version": b"\x00\x02" + filling + b"\x00\x02\x02" + secret,
    }[shape]


def _record(kind: int, version: int, data: bytes) -> bytes:
    return struct.pack(">BHH", kind, version, len(data)) + data


def flight(shape: str, version: int, modulus: int, exponent: int) -> bytes:
    """ClientKeyExchange, ChangeCipherSpec and a Finished that no key decrypts."""
    size = (modulus.bit_length() + 7) // 8
    encrypted = pow(int.from_bytes(padded(shape, version, size), "big"), exponent, modulus).to_bytes(size, "big")
    # SSL 3.0 has no length before it (RFC 6101 §5.6.7).
    exchange = encrypted if version == _tls_hello.SSL3 else struct.pack(">H", size) + encrypted
    message = b"\x10" + len(exchange).to_bytes(3, "big") + exchange
    return _record(22, version, message) + _record(20, version, b"\x01") + _record(22, version, secrets.token_bytes(64))


def _first_flight(reader: Reader) -> bool:
    """Reads up to the ServerHelloDone. False where the server takes none of the suites."""
    held = b""
    while True:
        kind, _version, size = struct.unpack(">BHH", reader.exactly(5))
        data = reader.exactly(size)
        if kind == 21:
            return False
        if kind != 22:
            raise HelloError("not_tls", "it does not speak TLS")
        held += data
        while len(held) >= 4 and len(held) >= (end := 4 + int.from_bytes(held[1:4], "big")):
            if held[0] == HELLO_DONE:
                return True
            held = held[end:]


def reaction(target: Any, shape: str, version: int, key: tuple[int, int], deadline: float) -> str | None:
    """What the server does: an alert, a closed connection, silence. None where it takes none of the suites."""
    hello = _tls_hello.client_hello(SUITES, (version,), (), target.server_name)
    with socket.create_connection((target.address, target.port), timeout=target.timeout) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(hello)
        if not _first_flight(Reader(sock, min(deadline, time.monotonic() + target.timeout))):
            return None
        sock.sendall(flight(shape, version, *key))
        reader = Reader(sock, time.monotonic() + SILENCE)
        try:
            kind, _version, size = struct.unpack(">BHH", reader.exactly(5))
            data = reader.exactly(size)
        except HelloError as said:
            return said.kind
        except ConnectionError:
            return "closed"
    return f"alert {data[:2].hex()}" if kind == 21 else f"record {kind}"


def judge(seen: dict[str, str]) -> str:
    """'' where the server reacts to all alike; else how good an oracle it is."""
    if len(set(seen.values())) == 1:
        return ""
    # Whoever can only tell a whole right message from the rest needs far more questions.
    wrong = {seen[shape] for shape in ("first bytes", "separator moved", "no separator")}
    return "a weak oracle" if len(wrong) == 1 else "a strong oracle"


def probe(target: Any, version: int, key: tuple[int, int], deadline: float) -> tuple[str, str]:
    """The verdict, and why there is none: ('', '') is a server that tells nothing."""
    seen: dict[str, set[str]] = {shape: set() for shape in SHAPES}
    try:
        for _turn in range(ROUNDS):
            for shape in SHAPES:
                if time.monotonic() >= deadline:
                    return "", "the time was too short for it"
                said = reaction(target, shape, version, key, deadline)
                if said is None:
                    return "", "the server refuses the suites that this probe speaks"
                seen[shape].add(said)
    except (HelloError, OSError, struct.error) as problem:
        return "", f"the server broke off: {problem}"
    if any(len(said) > 1 for said in seen.values()):
        return "", "the server reacted to the same question once so and once so"
    return judge({shape: said.pop() for shape, said in seen.items()}), ""
