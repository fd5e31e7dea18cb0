"""What is tested before a CA is asked: against servers on loopback."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _acme_checks, _x509
from loopback import kept_port

ACME = {"/dir": (200, b'{"newOrder": "https://x"}'), "/other": (200, b"{}"), "/page": (200, b"<html>")}


@pytest.fixture
def free_port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    servers = []

    def start(
        answer: Callable[[str], tuple[int, bytes]],
        context: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path)
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def acme(serve: Callable[..., int], tmp_path: Path) -> tuple[str, str]:
    key = _x509.new_key("ecdsa")
    pem = _x509.self_signed(key, {"CN": "localhost"}, _x509.server_extensions("localhost"), 5)
    (tmp_path / "server.pem").write_text(key + pem)
    (tmp_path / "ca.pem").write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(tmp_path / "server.pem"))
    port = serve(lambda path: ACME.get(path, (404, b"")), context)
    return f"https://localhost:{port}", str(tmp_path / "ca.pem")


def test_a_directory(acme: tuple[str, str]) -> None:
    assert _acme_checks.directory_problem(acme[0] + "/dir", acme[1]) == ""


def test_no_directory(acme: tuple[str, str]) -> None:
    for path in ("/other", "/page"):
        assert "not with an ACME directory" in _acme_checks.directory_problem(acme[0] + path, acme[1])
    assert "answers 404 Not Found" in _acme_checks.directory_problem(acme[0] + "/nothing", acme[1])


def test_a_ca_that_is_not_trusted(acme: tuple[str, str], tmp_path: Path) -> None:
    assert "set jellyfin_acme_ca_bundle" in _acme_checks.directory_problem(acme[0] + "/dir")
    stranger = tmp_path / "stranger.pem"
    stranger.write_text(_x509.self_signed(_x509.new_key("ecdsa"), {"CN": "x"}, ["basicConstraints=CA:TRUE"], 5))
    assert f"jellyfin_acme_ca_bundle ({stranger}) does not hold its CA" in _acme_checks.directory_problem(
        acme[0] + "/dir", str(stranger)
    )
    for path in ("/nowhere.pem", str(tmp_path)):
        assert f"jellyfin_acme_ca_bundle ({path}) cannot be used" in _acme_checks.directory_problem(
            acme[0] + "/dir", path
        )


def test_out_of_reach(free_port: int) -> None:
    said = _acme_checks.directory_problem(f"https://127.0.0.1:{free_port}/dir")
    assert "cannot be reached from this host: Connection refused" in said
    assert "its name does not resolve here" in _acme_checks.directory_problem("https://nowhere.invalid/dir")


def test_a_server_that_hangs() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        said = _acme_checks.directory_problem(f"https://127.0.0.1:{silent.getsockname()[1]}/dir", timeout=0.3)
    assert "does not answer in time" in said


# The challenge's way in


def test_a_proxy_that_forwards(serve: Callable[..., int], free_port: int) -> None:

    def forward(path: str) -> tuple[int, bytes]:
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}{path}", timeout=20) as answer:
            return answer.status, answer.read()

    proxy = serve(forward)
    assert _acme_checks.challenge_problems(["a.example", "b.example"], "127.0.0.1", free_port, proxy) == {}


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (301, b"", {"Location": "https://a.example/x"}, "it answers 301 to https://a.example/x"),
        (404, b"", {}, "it answers 404"),
        (200, b"<html>", {}, "it answers 200"),
        (502, b"", {"Server": "other"}, "it answers 502 (server "),
    ],
)
def test_a_proxy_that_does_not(
    serve: Callable[..., int], free_port: int, status: int, body: bytes, headers: dict[str, str], words: str
) -> None:
    proxy = serve(lambda _path: (status, body), headers=headers)
    problems = _acme_checks.challenge_problems(["a.example"], "127.0.0.1", free_port, proxy)
    assert words in problems["a.example"] and "http://a.example/.well-known/acme-challenge/" in problems["a.example"]


def test_nobody_on_port_80(free_port: int) -> None:
    with kept_port() as nobodys:
        problems = _acme_checks.challenge_problems(["a.example"], "127.0.0.1", free_port, nobodys)
    assert "Nothing listens on port" in problems["a.example"]


def test_the_responder_s_port_is_taken(free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        problems = _acme_checks.challenge_problems(["a.example"], "127.0.0.1", port, free_port)
    assert "Address already in use" in problems["a.example"] and f"sport = :{port}" in problems["a.example"]


def test_the_responder_answers_its_one_path_only_and_lets_go(free_port: int) -> None:
    port = free_port
    with _acme_checks.Responder("127.0.0.1", port) as responder:
        import urllib.error
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{port}{responder.path}", timeout=20) as answer:
            assert answer.read().decode() == responder.word
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{_acme_checks.CHALLENGE}other", timeout=20)
    with _acme_checks.Responder("127.0.0.1", port):
        pass


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not resolve on this host" in _acme_checks.name_findings("nowhere.invalid")[0]
    assert _acme_checks.name_findings("localhost") == []
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", ("203.0.113.7", 80)), (2, 1, 6, "", ("127.0.0.1", 80))]
    )
    (said,) = _acme_checks.name_findings("media.example.org")
    assert "resolves to 203.0.113.7, which is no address of this host" in said and "127.0.0.1" not in said
