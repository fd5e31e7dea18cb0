"""HSTS, names, DER, hellos and the scanner's report: what is read from elsewhere is read with care."""

from __future__ import annotations

import contextlib
import http.server
import os
import select
import stat
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _tls_der,
    _tls_grade,
    _tls_hello,
    _tls_hsts,
    _tls_probe,
    _tls_sslyze,
    _tls_suites,
    _tls_trust,
)
from hypothesis import given
from hypothesis import strategies as st

HALF_A_YEAR = 15552000


@pytest.mark.parametrize(
    ("headers", "state", "age"),
    [
        ([], "absent", None),
        (["max-age=63072000"], "ok", 63072000),
        (["max-age=63072000; includeSubDomains; preload"], "ok", 63072000),
        (['MAX-AGE="63072000"'], "ok", 63072000),
        ([" max-age = 63072000 ;; "], "ok", 63072000),
        (["max-age=63072000; unknown=yes"], "ok", 63072000),
        ([f"max-age={HALF_A_YEAR}"], "ok", HALF_A_YEAR),
        ([f"max-age={HALF_A_YEAR - 1}"], "short", HALF_A_YEAR - 1),
        (["max-age=0"], "disabled", 0),
        (["includeSubDomains"], "invalid", None),
        (["max-age"], "invalid", None),
        (["max-age="], "invalid", None),
        (["max-age=-1"], "invalid", None),
        (["max-age=1e9"], "invalid", None),
        (["max-age=63072000, includeSubDomains"], "invalid", None),
        (["max-age=1; max-age=63072000"], "invalid", None),
        (["max-age=63072000; <b>"], "invalid", None),
        ([""], "invalid", None),
        (["max-age=63072000", "max-age=0"], "ok", 63072000),
        (["max-age=0", "max-age=63072000"], "disabled", 0),
    ],
)
def test_hsts(headers: list[str], state: str, age: int | None) -> None:
    seen = _tls_hsts.parse(headers)
    assert (seen["state"], seen["max_age"]) == (state, age)
    assert bool(seen["problem"]) is (state != "ok")


@given(st.text(max_size=60))
def test_hsts_never_raises(text: str) -> None:
    assert _tls_hsts.parse([text])["state"] in ("ok", "short", "disabled", "invalid")


@pytest.mark.parametrize(
    ("name", "patterns", "good"),
    [
        ("a.example.org", ["a.example.org"], True),
        ("A.Example.org.", ["a.example.ORG"], True),
        ("a.example.org", ["*.example.org"], True),
        ("a.b.example.org", ["*.example.org"], False),
        ("example.org", ["*.example.org"], False),
        ("a.org", ["*.org"], False),
        ("a.example.org", ["*"], False),
        ("a.example.org", ["a*.example.org"], False),
        ("192.0.2.1", ["192.0.2.1"], True),
        ("192.0.2.1", ["*.0.2.1"], False),
        ("fd00::1", ["fd00:0:0:0:0:0:0:1"], True),
        ("a.example.org", [], False),
    ],
)
def test_names(name: str, patterns: list[str], good: bool) -> None:
    assert _tls_trust.matches(name, patterns) is good


@given(st.binary(max_size=300))
def test_der_never_raises(data: bytes) -> None:
    text = _tls_der.pem(data)
    assert _tls_der.is_self_issued(text) in (True, False)
    assert isinstance(_tls_der.issuer_address(text), str)


def aia(url: bytes) -> str:
    return _tls_der.issuer_address(_tls_der.pem(b"\x30\x82" + _tls_der.CA_ISSUERS + bytes([len(url)]) + url))


def test_issuer_address() -> None:
    assert aia(b"http://ye1.i.example.org/") == "http://ye1.i.example.org/"
    assert aia(b"https://ye1.i.example.org/") == ""
    assert aia(b"file:///etc/passwd") == ""
    assert aia(b"http://a b\r\nX: y") == ""
    assert _tls_der.issuer_address("") == ""


@given(st.binary(max_size=200))
def test_server_hello_parses_or_is_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert _tls_hello.parse_server_hello(data)["version"] <= 0xFFFF


def test_hello_and_its_retry() -> None:
    hello = _tls_hello.client_hello((0x1301,), (_tls_hello.TLS13,), (0x11EC,), "media.example.org")
    assert hello[:3] == b"\x16\x03\x01" and struct.unpack(">H", hello[3:5])[0] == len(hello) - 5
    assert b"media.example.org" in hello and b"\x11\xec" in hello
    extensions = struct.pack(">HHH", 43, 2, 0x0304) + struct.pack(">HHH", 51, 2, 0x11EC)
    body = b"\x03\x03" + _tls_hello.RETRY + b"\x00" + b"\x13\x01\x00" + struct.pack(">H", len(extensions)) + extensions
    seen = _tls_hello.parse_server_hello(body)
    assert seen == {"version": 0x0304, "suite": 0x1301, "compression": 0, "retry": True, "group": 0x11EC}


@pytest.mark.parametrize(
    ("name", "version", "true"),
    [
        ("TLS_AES_128_GCM_SHA256", "TLSv1.3", {"forward_secrecy", "aead"}),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLSv1.2", {"forward_secrecy", "aead"}),
        ("TLS_DHE_RSA_WITH_AES_128_CCM_8", "TLSv1.2", {"forward_secrecy", "aead"}),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLSv1.2", {"forward_secrecy", "aead"}),
        ("TLS_ECDH_ECDSA_WITH_AES_128_CBC_SHA", "TLSv1.2", {"cbc"}),
        ("TLS_DH_anon_WITH_AES_128_CBC_SHA", "TLSv1.2", {"anonymous", "cbc"}),
        ("TLS_RSA_WITH_RC4_128_MD5", "TLSv1.0", {"rc4"}),
        ("TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA", "TLSv1.0", {"forward_secrecy", "export", "block64", "cbc"}),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLSv1.0", {"block64", "cbc"}),
        ("TLS_RSA_WITH_NULL_SHA", "TLSv1.2", {"null"}),
    ],
)
def test_suites(name: str, version: str, true: set[str]) -> None:
    seen = _tls_suites.properties(name, 128, version)
    assert {key for key, value in seen.items() if value is True} == true
    assert seen["bits"] == (0 if "null" in true else 128)


TLS12 = "tls_1_2_cipher_suites"
BROKEN_OFF = {"status": "ERROR", "error_reason": "CONNECTIVITY_ISSUE", "result": None}


def scans(*offered: str, **changes: Any) -> dict[str, Any]:
    """Complete scans of a server that takes a suite in each of the protocols that are named."""
    found: dict[str, Any] = {name: {"status": "COMPLETED", "result": {}} for name in _tls_sslyze.SCANS}
    for name in _tls_sslyze.PROTOCOLS:
        found[name]["result"] = {"accepted_cipher_suites": [{}] if name in offered else []}
    found.update(changes)
    return found


def report(**changes: Any) -> dict[str, Any]:
    server = {"connectivity_status": "COMPLETED", "scan_status": "COMPLETED", "scan_result": scans(), **changes}
    return {"server_scan_results": [server], "invalid_server_strings": []}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"server_scan_results": [], "invalid_server_strings": [{"error_message": "Could not resolve hostname"}]},
            "Could not resolve",
        ),
        (
            report(connectivity_status="ERROR", connectivity_error_trace="...\nConnection rejected"),
            "Connection rejected",
        ),
        (report(scan_status="ERROR_NO_CONNECTIVITY", scan_result=None), "ERROR_NO_CONNECTIVITY"),
        (report(scan_result=scans(tls_compression=BROKEN_OFF)), "tls_compression failed: CONNECTIVITY_ISSUE"),
        (report(scan_result=scans(heartbleed={"status": "NOT_SCHEDULED"})), "heartbleed failed: NOT RUN"),
        (
            report(scan_result={key: value for key, value in scans().items() if key != "certificate_info"}),
            "certificate_info failed",
        ),
    ],
)
def test_a_scan_that_is_not_complete_is_no_scan(given: dict[str, Any], words: str) -> None:
    with pytest.raises(_tls_sslyze.ScanError, match=words):
        _tls_sslyze.demand(_tls_sslyze.server_result(given))


def test_a_complete_scan() -> None:
    seen = _tls_sslyze.server_result(report())
    assert set(seen) == set(_tls_sslyze.SCANS)
    _tls_sslyze.demand(seen)


def test_renegotiation_is_not_asked_of_tls13_alone_and_of_all_others() -> None:
    failed = {"status": "ERROR", "error_reason": "BUG", "result": None}
    _tls_sslyze.demand(scans("tls_1_3_cipher_suites", session_renegotiation=failed))
    with pytest.raises(_tls_sslyze.ScanError, match="session_renegotiation failed: BUG"):
        _tls_sslyze.demand(scans(TLS12, session_renegotiation=failed))


class FakeScan:
    """What a run of the scanner brings, and how it was called."""

    def __init__(self, brings: dict[str, Any] | Exception, log: list[Any]) -> None:
        self.brings, self.log, self.closed = brings, log, False

    def result(self, timeout: float) -> dict[str, Any]:
        self.log.append(round(timeout, -1))
        if isinstance(self.brings, Exception):
            raise self.brings
        return self.brings

    def close(self) -> None:
        self.closed = True


def collected(*runs: dict[str, Any] | Exception, seconds: float = 30) -> tuple[Any, list[Any]]:
    log: list[Any] = []
    made = [FakeScan(run, log) for run in runs]
    left = iter(made[1:])

    def start(wanted: Any, patient: bool) -> Any:
        log.append((tuple(wanted), patient))
        return next(left)

    try:
        found: Any = _tls_sslyze.collect(start, made[0], time.monotonic() + seconds)  # type: ignore[arg-type]
    except _tls_sslyze.ScanError as problem:
        found = str(problem)
    assert all(scan.closed for scan in made), "a run of the scanner was left behind"
    return found, log


def test_what_lost_its_connection_is_asked_again_gently() -> None:
    once = scans(TLS12, heartbleed=BROKEN_OFF, tls_compression=BROKEN_OFF, robot=BROKEN_OFF)
    good = scans(TLS12)["heartbleed"]
    found, log = collected(once, {"heartbleed": BROKEN_OFF, "tls_compression": good}, {"heartbleed": good})
    assert log == [30, (("tls_compression", "heartbleed"), True), 30, (("heartbleed",), True), 30]
    assert found["heartbleed"] == found["tls_compression"] == good
    assert found["robot"] == BROKEN_OFF, "our own probe is asked for it"


def test_a_scanner_that_did_not_connect_is_started_again() -> None:
    found, log = collected(_tls_sslyze.NotConnected("no handshake"), scans(TLS12))
    assert found == scans(TLS12)
    assert log[1] == (tuple(_tls_sslyze.SCANS), True)


def test_asking_again_comes_to_an_end() -> None:
    broken = scans(TLS12, heartbleed=BROKEN_OFF)
    assert collected(broken, broken, broken)[0] == "the scan heartbleed failed: CONNECTIVITY_ISSUE"
    assert collected(broken, seconds=1)[0] == "the scan heartbleed failed: CONNECTIVITY_ISSUE"
    never = _tls_sslyze.NotConnected("no handshake")
    assert collected(never, never, never)[0] == "no handshake"
    assert collected(never, seconds=1)[0] == "no handshake"
    assert collected(_tls_sslyze.ScanError("wrote no report"))[0] == "wrote no report"


def test_what_the_scanner_is_asked_the_second_time(tmp_path: Path) -> None:
    said = tmp_path / "said"
    scanner = program(tmp_path / "sslyze", f'echo "$@" > {said}')
    scan = _tls_sslyze.Scan(scanner, "127.0.0.1", 1, "a.test", ["heartbleed"], patient=True)
    with pytest.raises(_tls_sslyze.ScanError):
        scan.result(60)
    scan.close()
    words = said.read_text().split()
    assert words[:2] == ["--heartbleed", "--slow_connection"] and "--certinfo" not in words


def program(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_scanner_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_tls_sslyze, "PLACES", (str(tmp_path / "home" / "sslyze"),))
    with pytest.raises(_tls_sslyze.ScannerMissing, match="python3 -m venv"):
        _tls_sslyze.find()
    (tmp_path / "home").mkdir()
    here = program(tmp_path / "home" / "sslyze", "true")
    assert _tls_sslyze.find() == here
    on_path = program(tmp_path / "sslyze", "true")
    assert _tls_sslyze.find() == on_path
    assert _tls_sslyze.find(here) == here


def test_scanner_that_writes_nothing(tmp_path: Path) -> None:
    scan = _tls_sslyze.Scan(program(tmp_path / "sslyze", "echo unknown option >&2; exit 0"), "127.0.0.1", 1, "a.test")
    with pytest.raises(_tls_sslyze.ScanError, match="wrote no report: unknown option"):
        scan.result(60)
    scan.close()
    assert not os.path.exists(scan.folder)


def test_scanner_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    scan = _tls_sslyze.Scan(
        program(tmp_path / "sslyze", f"sleep 60 & echo $! > {marker}; wait"), "127.0.0.1", 1, "a.test"
    )
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child = os.pidfd_open(int(marker.read_text()))
    try:
        with pytest.raises(_tls_sslyze.ScanError, match="did not come to an end in time"):
            scan.result(0.5)
        scan.close()
        # A killed process is gone a moment after the signal; its descriptor becomes readable then.
        assert select.select([child], [], [], 30)[0]
    finally:
        os.close(child)


def fake_server(monkeypatch: pytest.MonkeyPatch, order: list[int] | None) -> None:
    """A server with an order of its own, or that takes the client's first."""

    def hello(self: Any, suites: Any, versions: Any, groups: Any, server_name: Any = None) -> dict[str, Any]:
        chosen = next((code for code in order if code in suites), None) if order else suites[0]
        return {
            "alert": None if chosen else 40,
            "alert_name": "handshake_failure",
            "suite": chosen,
            "version": versions[0],
            "group": None,
        }

    monkeypatch.setattr(_tls_probe.Target, "hello", hello)


def test_whose_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    target = _tls_probe.Target("127.0.0.1", 1, "a.test", 1)
    names = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ]
    codes = [_tls_probe.SUITE_CODES[name] for name in names]
    fake_server(monkeypatch, None)
    assert _tls_probe.preference(target, names, _tls_hello.TLS12) == ("client", [])
    fake_server(monkeypatch, codes[::-1])
    assert _tls_probe.preference(target, names, _tls_hello.TLS12) == ("server", names[::-1])
    assert _tls_probe.preference(target, names[:1], _tls_hello.TLS12) == ("unknown", [])


class Site(http.server.BaseHTTPRequestHandler):
    answer: tuple[int, str] = (200, "")

    def do_GET(self) -> None:
        self.send_response(self.answer[0])
        if self.answer[1]:
            self.send_header("Location", self.answer[1])
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "location", "to_https", "permanent"),
    [
        (308, "https://a.test/", True, True),
        (301, "https://a.test/", True, True),
        (302, "https://a.test/", True, False),
        (308, "http://a.test/", False, True),
        (308, "/elsewhere", False, True),
        (200, "", False, False),
    ],
)
def test_redirect(status: int, location: str, to_https: bool, permanent: bool) -> None:
    handler = type("Answering", (Site,), {"answer": (status, location)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        seen = _tls_probe.redirect(_tls_probe.Target("127.0.0.1", 443, "a.test", 20), server.server_address[1])
        server.shutdown()
    assert (seen["status"], seen["location"], seen["error"]) == (status, location, "")
    assert (seen["to_https"], seen["permanent"]) == (to_https, permanent)


def test_no_redirect_where_nothing_listens() -> None:
    seen = _tls_probe.redirect(_tls_probe.Target("127.0.0.1", 443, "a.test", 5), 1)
    assert seen["status"] is None and not seen["to_https"] and "refused" in seen["error"]


def test_a_question_gets_no_more_than_the_time_that_is_left() -> None:
    soon = _tls_probe.Target("127.0.0.1", 443, "a.test", 500, time.monotonic() + 100)
    assert 50 < soon.timeout <= 100
    assert _tls_probe.Target("127.0.0.1", 443, "a.test", 5, time.monotonic() - 1).timeout == _tls_probe.LEAST
    assert _tls_probe.Target("127.0.0.1", 443, "a.test", 5).timeout == 5


def test_what_does_not_end_costs_the_time_once() -> None:
    over = threading.Event()
    began = time.monotonic()
    seen = _tls_probe.together({"four": lambda: 4, **{f"waits {number}": over.wait for number in range(30)}}, 1.0)
    assert seen == {"four": 4}
    assert time.monotonic() - began < 20, "one after the other they would take 30 s"
    over.set()


def test_what_got_no_answer_beside_the_scanner_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def seen(name: str, answer: Any) -> None:
        monkeypatch.setattr(_tls_probe, name, lambda *_given: (asked.append(name), answer)[1])

    for name in ("groups_13", "preferred_group", "choice", "alpn", "http3", "name_behaviour"):
        seen(name, name)
    seen("http_answer", {"status": None, "error": "no complete answer within 5 s"})
    target = _tls_probe.Target("127.0.0.1", 1, "a.test", 5)
    first = _tls_grade._own_probes(target, None, 20)
    assert first.pop("alpn") == "alpn"  # it did not come to an end
    asked.clear()
    seen("http_answer", {"status": 200, "error": ""})
    again = _tls_grade._own_probes(target, None, 20, first)
    assert sorted(asked) == ["alpn", "http_answer"]
    assert again == {**first, "alpn": "alpn", "http": {"status": 200, "error": ""}}
    asked.clear()
    assert _tls_grade._own_probes(target, None, 20, again) == again and asked == []
