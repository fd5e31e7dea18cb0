"""Where probes are aimed, and what their failures are called."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

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


class Peer(threading.Thread):
    """Keeps what it was sent until the head of one request is complete, then answers; a half-sent one gets nothing."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port = self.listener.getsockname()[1]
        self.heads: list[bytes] = []
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        head = b""
        with connection:
            while b"\r\n\r\n" not in head:
                part = connection.recv(4096)
                if not part:
                    return
                head += part
            self.heads.append(head)
            if b"hang-up" not in head:
                connection.sendall(b"HTTP/1.1 421 Misdirected\r\nContent-Length: 2\r\n\r\nno")


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.listener.close()


def test_a_raw_request_is_sent_in_its_own_words(peer: Peer) -> None:
    common = {
        "kind": "raw",
        "address": "127.0.0.1",
        "port": peer.port,
        "tls": False,
        "server_name": "media.example.org",
    }
    seen = _probe.run(
        [
            {**common, "id": "climbs", "target": "/x#/../metrics", "lines": ["Connection: close, X-Forwarded-For"]},
            {**common, "id": "silent", "target": "/hang-up"},
            {**common, "id": "posts", "method": "POST", "lines": ["Host: other", "Content-Length: 2"], "content": "{}"},
        ],
        timeout=20,
    )
    assert (seen["climbs"]["status"], seen["climbs"]["body"]) == (421, "no")
    assert (seen["silent"]["status"], seen["silent"]["error"]) == (0, "")
    assert sorted(peer.heads) == [
        b"GET /hang-up HTTP/1.1\r\nHost: media.example.org\r\nConnection: close\r\n\r\n",
        b"GET /x#/../metrics HTTP/1.1\r\nHost: media.example.org\r\nConnection: close, X-Forwarded-For\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ]


def test_an_ordinary_request_beside_ten_that_are_half_sent(peer: Peer) -> None:
    probe = {
        "id": "ten",
        "kind": "half_open",
        "address": "127.0.0.1",
        "port": peer.port,
        "tls": False,
        "server_name": "a",
    }
    seen = _probe.run([probe], timeout=20)["ten"]
    assert (seen["status"], seen["held"], len(peer.heads)) == (421, 10, 1)
