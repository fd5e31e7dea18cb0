"""Servers that stall, drip, rave or speak something else are left in time, with an error in words and never a grade."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import hostile
import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _probe, _tls_grade, _tls_sslyze
from tls_pki import Pki
from tls_servers import Bank, Spec

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 9.0
# Between the deadline and the return lie the end of the scanner and of its threads, on a machine that may be busy. No deadline counts twice.
GRACE = TIMEOUT - 1.0


@pytest.fixture(scope="module")
def scanner() -> str:
    given = str(ROOT / ".cache" / "sslyze" / "bin" / "sslyze")
    return _tls_sslyze.find(given if os.path.exists(given) else "")


def refusal(port: int, scanner: str, timeout: float = TIMEOUT) -> tuple[str, float]:
    began = time.monotonic()
    with pytest.raises(_tls_grade.GradeError) as raised:
        _tls_grade.grade("127.0.0.1", port, "media.example.test", "", timeout, scanner, "/usr/bin/openssl", None)
    return str(raised.value), time.monotonic() - began


# For a scan that comes to its end, also on a busy machine.
ENOUGH = 30.0
GARBAGE = bytes(range(255, 0, -1)) * 8
CASES = {
    "never answers": (hostile.never_answers, "the handshake stalls"),
    "drips a ServerHello": (hostile.drips(hostile.server_hello_12()), "the handshake stalls"),
    "drips garbage": (hostile.drips(GARBAGE, 0.05), "does not speak TLS"),
    "garbage": (hostile.says(GARBAGE), "does not speak TLS"),
    "plain HTTP": (
        hostile.says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        "speaks plain HTTP and not TLS",
    ),
    "SSH": (hostile.says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "does not speak TLS"),
    "hangs up": (lambda connection, over: None, "the peer closed the connection"),
    "endless chain": (hostile.endless_chain, "the scan"),
    "endless ServerHello": (
        hostile.endless(hostile.handshake_record(b"\0" * 100, length=0xFFFFFF), b"\x16\x03\x03\x04\x00" + b"\0" * 1024),
        "impossible length",
    ),
    "endless alerts": (hostile.endless(b"", b"\x15\x03\x03\x00\x02\x01\x00"), "the handshake stalls"),
    "ServerHello cut short": (hostile.says(hostile.handshake_record(b"\x03\x03\x00")), "ends too early"),
    "only alerts": (hostile.says(b"\x15\x03\x03\x00\x02\x02\x28"), "refuses every handshake (alert handshake_failure)"),
    "unknown name": (hostile.says(b"\x15\x03\x03\x00\x02\x02\x70"), "serves no such name as media.example.test"),
}


@pytest.mark.parametrize("name", CASES)
def test_left_in_time_and_in_words(name: str, scanner: str) -> None:
    act, words = CASES[name]
    with hostile.Hostile(act) as server:
        message, seconds = refusal(server.port, scanner)
    assert words in message
    assert message.startswith("No grade for media.example.test at 127.0.0.1 port ")
    assert seconds < TIMEOUT + GRACE


def test_one_that_tires_of_questions_is_left_in_time(
    scanner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the scan counts too: the scanner is content, and a dozen of our own questions stall."""
    # Each question may take all the time that is left: the scanner has enough of it, and the questions have not.
    contact = _tls_grade._contact
    monkeypatch.setattr(_tls_grade, "_contact", lambda *given: contact(*given[:3], 2 * ENOUGH, given[4]))
    pki, bank = Pki(tmp_path), Bank(tmp_path)
    bank.start({"good": Spec("openssl", [pki.leaf("ec")])}, None)
    try:
        with hostile.Hostile(hostile.tires(bank.ports["good"])) as server:
            message, seconds = refusal(server.port, scanner, ENOUGH)
    finally:
        bank.stop()
    assert f"{ENOUGH:.0f} s were not enough for all the questions" in message
    assert seconds < ENOUGH + GRACE


def test_nothing_listens(scanner: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        message, seconds = refusal(sock.getsockname()[1], scanner)
    assert "connection refused" in message and "see that the server runs" in message
    assert seconds < TIMEOUT


def test_name_that_does_not_resolve(scanner: str) -> None:
    with pytest.raises(_tls_grade.GradeError, match="does not resolve: give a name that DNS knows"):
        _tls_grade.grade("nobody.invalid", 443, "nobody.invalid", "", 5, scanner, "/usr/bin/openssl", None)


def test_missing_scanner_says_the_one_command() -> None:
    with pytest.raises(_tls_sslyze.ScannerMissing, match=r"pip install sslyze==6\.3\.1"):
        _tls_grade.grade("127.0.0.1", 443, "x.test", "", 5, "/nonexistent/sslyze", "/usr/bin/openssl", None)


def test_scanner_leaves_nothing_behind(scanner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with hostile.Hostile(hostile.endless_chain) as server:
        refusal(server.port, scanner)
    assert list(tmp_path.iterdir()) == []


PROBES = {
    "http": {"kind": "http", "url": "http://media.example.test:{port}/"},
    "https": {"kind": "http", "url": "https://media.example.test:{port}/"},
    "tls": {"kind": "tls", "address": "127.0.0.1", "port": "{port}", "server_name": "x.test"},
}


@pytest.mark.parametrize("act", ["never", "drip", "endless header", "endless body", "garbage"])
@pytest.mark.parametrize("kind", PROBES)
def test_probes_end_at_their_deadline(kind: str, act: str) -> None:
    acts = {
        "never": hostile.never_answers,
        "drip": hostile.drips(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500),
        "endless header": hostile.endless(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"y" * 200 + b"\r\n"),
        "endless body": hostile.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"y"),
        "garbage": hostile.says(GARBAGE),
    }
    with hostile.Hostile(acts[act]) as server:
        probe = {
            key: value.format(port=server.port) if isinstance(value, str) else value
            for key, value in PROBES[kind].items()
        }
        began = time.monotonic()
        seen = _probe.run([dict(probe, id="one", address="127.0.0.1")], timeout=1.5)["one"]
        seconds = time.monotonic() - began
    assert seen["error"], seen
    assert seconds < 15, "the servers go on for 60 s"
