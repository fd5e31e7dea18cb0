"""Where probes are aimed, and what their failures are called."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _probe
from loopback import closed_udp_port


@pytest.mark.parametrize(
    ("probe", "edge", "expected"),
    [
        ({"address": "@EDGE@", "port": 1}, "192.0.2.1", {"address": "192.0.2.1", "port": 1}),
        ({"url": "http://@EDGE@:8096/x"}, "fd00::2", {"url": "http://[fd00::2]:8096/x"}),
        ({"url": "https://a.test/", "address": "@EDGE@"}, "a.test", {"url": "https://a.test/", "address": "a.test"}),
        ({"url": "https://a.test/"}, "192.0.2.1", {"url": "https://a.test/"}),
    ],
)
def test_aimed(probe: dict, edge: str, expected: dict) -> None:
    assert _probe.aimed(probe, edge) == expected


def test_the_first_that_answers_is_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe, "answers", lambda address, port, timeout: address == "192.0.2.2" and port == 80)
    assert _probe.reachable(["192.0.2.1", "192.0.2.2", "192.0.2.3"], 5) == "192.0.2.2"
    assert _probe.reachable(["192.0.2.1", "192.0.2.3"], 5) == "192.0.2.1"
    assert _probe.reachable([], 5) == ""


def test_a_refusal_is_an_answer() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert _probe.answers("127.0.0.1", sock.getsockname()[1], 1)


def test_one_bad_probe_takes_no_other_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = _probe.run(
            [
                {"id": "broken", "kind": "http"},
                {"id": "open", "kind": "tcp", "address": "127.0.0.1", "port": port},
                {"id": "nameless", "kind": "dns", "name": "nobody.invalid"},
            ],
            timeout=20,
        )
    assert seen["broken"]["error"]
    assert (seen["open"]["state"], seen["open"]["error"]) == ("open", "")
    assert seen["nameless"]["addresses"] == []


def test_udp_states() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet, closed_udp_port() as closed:
        quiet.bind(("127.0.0.1", 0))
        seen = _probe.run(
            [
                {"id": "silent", "kind": "udp", "address": "127.0.0.1", "port": quiet.getsockname()[1]},
                {"id": "closed", "kind": "udp", "address": "127.0.0.1", "port": closed},
            ],
            timeout=0.6,
        )
    assert seen["silent"]["state"] == "silent"
    assert seen["closed"]["state"] == "closed"


def _listen(act) -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                act(server.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    return server, server.getsockname()[1]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


KEPT: list[socket.socket] = []


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (KEPT.append, "open"),
        (lambda connection: (connection.sendall(b"SSH-2.0-x\r\n"), KEPT.append(connection)), "open"),
        (_reset, "turned away"),
        (lambda connection: connection.close(), "turned away"),
    ],
    ids=["waits", "greets", "resets", "closes"],
)
def test_tcp_states(act, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if act != KEPT.append:  # what the server does is waited for, however busy the machine
        monkeypatch.setattr(_probe, "TURNS_AWAY_WITHIN", 20.0)
    server, port = _listen(act)
    with server:
        seen = _probe.run([{"id": "one", "kind": "tcp", "address": "127.0.0.1", "port": port}], timeout=20)["one"]
    assert (seen["state"], seen["error"]) == (state, "")
