"""The probe for ROBOT against servers that decrypt: one that tells nothing, oracles of both kinds, and those that break off."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_grade, _tls_hello, _tls_probe, _tls_robot
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = rsa.generate_private_key(65537, 2048).private_numbers()
PUBLIC = (KEY.public_numbers.n, KEY.public_numbers.e)
SIZE = 256
MAC, DECRYPT = b"\x02\x14", b"\x02\x33"


def record(kind: int, data: bytes) -> bytes:
    return struct.pack(">BHH", kind, 0x0303, len(data)) + data


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


HELLO = message(2, b"\x03\x03" + b"\x11" * 32 + b"\x00" + b"\x00\x2f" + b"\x00")
# In two records, the second message cut in the middle.
FLIGHT = HELLO + message(11, b"\x00\x00\x00") + message(14, b"")
ANSWER = record(22, FLIGHT[:45]) + record(22, FLIGHT[45:])


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise OSError("gone")
        data += piece
    return data


def read_record(connection: socket.socket) -> bytes:
    return exactly(connection, struct.unpack(">BHH", exactly(connection, 5))[2])


def premaster(connection: socket.socket, length: int = 2) -> bytes:
    data = read_record(connection)
    assert data[0] == 16 and len(data) == 4 + length + SIZE
    return pow(int.from_bytes(data[4 + length :], "big"), KEY.d, PUBLIC[0]).to_bytes(SIZE, "big")


Answer = Callable[[bytes, int], bytes]


@contextmanager
def server(answer: Answer, early: bool = False, first: bytes = ANSWER, length: int = 2) -> Iterator[_tls_probe.Target]:
    """Answers to the decrypted premaster secret; ``early``: and is gone before the rest is read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        turns = iter(range(1000))

        def serve() -> None:
            while True:
                try:
                    connection, _peer = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        read_record(connection)
                        connection.sendall(first)
                        secret = premaster(connection, length)
                        if not early:
                            assert (read_record(connection), len(read_record(connection))) == (b"\x01", 64)
                        if said := answer(secret, next(turns)):
                            connection.sendall(record(21, said))
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield _tls_probe.Target("127.0.0.1", listener.getsockname()[1], "a.test", 20)


def good(secret: bytes) -> bool:
    return secret[:2] == b"\x00\x02" and 0 not in secret[2:-49] and secret[-49:-46] == b"\x00\x03\x03"


CASES: dict[str, tuple[Answer, tuple[str, str]]] = {
    "tells nothing": (lambda secret, turn: MAC, ("", "")),
    "closes on all": (lambda secret, turn: b"", ("", "")),
    "tells the first bytes": (
        lambda secret, turn: MAC if secret[:2] == b"\x00\x02" else DECRYPT,
        ("a strong oracle", ""),
    ),
    "tells a good one": (lambda secret, turn: MAC if good(secret) else DECRYPT, ("a weak oracle", "")),
    "closes on the bad": (lambda secret, turn: MAC if secret[:2] == b"\x00\x02" else b"", ("a strong oracle", "")),
    "moody": (
        lambda secret, turn: MAC if turn < len(_tls_robot.SHAPES) else DECRYPT,
        ("", "the server reacted to the same question once so and once so"),
    ),
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str, early: bool) -> None:
    answer, verdict = CASES[name]
    with server(answer, early) as target:
        assert _tls_robot.probe(target, _tls_hello.TLS12, PUBLIC, time.monotonic() + 60) == verdict


def test_ssl3_sends_the_secret_without_a_length() -> None:
    with server(lambda secret, turn: MAC if secret[:1] == b"\x00" else DECRYPT, length=0) as target:
        found = _tls_robot.probe(target, _tls_hello.SSL3, PUBLIC, time.monotonic() + 60)
    assert found == ("a strong oracle", "")


def test_a_server_that_refuses_our_suites_is_no_verdict() -> None:
    with server(lambda secret, turn: MAC, first=record(21, b"\x02\x28")) as target:
        found = _tls_robot.probe(target, _tls_hello.TLS12, PUBLIC, time.monotonic() + 60)
    assert found == ("", "the server refuses the suites that this probe speaks")


def test_a_server_that_stalls_costs_no_more_than_the_time_that_is_left() -> None:
    began = time.monotonic()
    with server(lambda secret, turn: MAC, first=ANSWER[:20]) as target:
        verdict, why = _tls_robot.probe(target, _tls_hello.TLS12, PUBLIC, began + 0.5)
    assert verdict == "" and why.startswith("the server broke off: the handshake stalls")
    assert time.monotonic() - began < 15, "less than one read of its own"


def test_every_shape_is_what_its_name_says() -> None:
    made = {shape: _tls_robot.padded(shape, 0x0303, SIZE) for shape in _tls_robot.SHAPES}
    assert {len(secret) for secret in made.values()} == {SIZE}
    assert [shape for shape, secret in made.items() if good(secret)] == ["valid"]
    assert 0 not in made["no separator"][2:] and 0 not in made["separator moved"][2:-2]


def scanned(result: str | None, key: Any = PUBLIC) -> dict[str, Any]:
    public = {"rsa_n": key[0], "rsa_e": key[1]} if key else {"rsa_n": None}
    chain = {"received_certificate_chain": [{"public_key": public}]}
    return {
        "robot": {"result": {"robot_result": result} if result else None},
        "certificate_info": {"result": {"certificate_deployments": [chain]}},
    }


SUITES = {"TLSv1.2": [{"name": "TLS_RSA_WITH_AES_128_CBC_SHA"}]}


def test_the_probe_is_asked_where_the_scanner_could_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def probe(target: Any, version: int, key: Any, deadline: float) -> tuple[str, str]:
        asked.append((version, key))
        return "", "because"

    monkeypatch.setattr(_tls_robot, "probe", probe)
    target = _tls_probe.Target("127.0.0.1", 1, "a.test", 1)

    def found(scans: dict[str, Any], suites: Any = SUITES) -> Any:
        return _tls_grade._robot(target, scans, suites, time.monotonic() + 5)

    assert found(scanned("NOT_VULNERABLE_NO_ORACLE")) == ("", [])
    assert found(scanned("VULNERABLE_STRONG_ORACLE")) == ("a strong oracle", [])
    assert found(scanned(None, key=None)) == ("", [])
    assert found(scanned(None), {"TLSv1.2": [{"name": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}]}) == ("", [])
    assert asked == []
    for undecided in (None, "UNKNOWN_INCONSISTENT_RESULTS"):
        assert found(scanned(undecided)) == ("", [("robot", "2009p", "ROBOT: because")])
    assert asked == [(_tls_hello.TLS12, PUBLIC)] * 2
