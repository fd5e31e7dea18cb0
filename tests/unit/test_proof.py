# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof: it believes only the new id, several times in a row, and says what came instead."""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _proof
from ansible_collections.jellynet.jellyfin.plugins.module_utils._proof import CONSECUTIVE, ProofError, ask, prove
from certificates import Issuer
from loopback import kept_port

NEW, OLD = "0123456789abcdef", "fedcba9876543210"


class Listener:
    """Answers each connection by what ``answer`` makes of its number and the request."""

    def __init__(self, answer: Callable[[int, bytes], bytes], context: ssl.SSLContext | None = None) -> None:
        self.answer, self.context = answer, context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for number in itertools.count():
            try:
                peer, _address = self.socket.accept()
            except OSError:
                return
            try:
                if self.context:
                    peer = self.context.wrap_socket(peer, server_side=True)
                request = peer.recv(4000)
                self.requests.append(request)
                peer.sendall(self.answer(number, request))
            except OSError:
                pass
            finally:
                peer.close()


def page(body: str, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener on a busy machine has time to answer, also where the proof as a whole has little."""
    monkeypatch.setattr(_proof, "ask", lambda proof, _timeout: ask(proof, 20))


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(answer: Callable[[int, bytes], bytes], context: ssl.SSLContext | None = None) -> Listener:
        made.append(Listener(answer, context))
        return made[-1]

    yield make
    for listener in made:
        listener.socket.close()


def url(listener: Listener, scheme: str = "http") -> dict[str, str]:
    return {"url": f"{scheme}://127.0.0.1:{listener.port}/.well-known/jellynet-generation"}


def refused(proofs: list[dict[str, str]], seconds: float = 0.3, **options: str) -> str:
    with pytest.raises(ProofError) as failed:
        prove(proofs, NEW, seconds, **options)  # type: ignore[arg-type]
    return str(failed.value)


def test_it_wants_several_new_answers_in_a_row(listen: Callable[..., Listener]) -> None:
    listener = listen(lambda number, _request: page(NEW))
    prove([url(listener)], NEW, 5)
    assert len(listener.requests) == CONSECUTIVE
    assert b"Host: 127.0.0.1" in listener.requests[0]


def test_an_old_worker_in_between_starts_the_count_anew(listen: Callable[..., Listener]) -> None:
    old_at = CONSECUTIVE - 1
    listener = listen(lambda number, _request: page(OLD if number == old_at else NEW + "\n"))
    prove([url(listener)], NEW, 5)
    assert len(listener.requests) == old_at + 1 + CONSECUTIVE


def test_an_old_worker_that_answers_every_third_is_never_believed(listen: Callable[..., Listener]) -> None:
    listener = listen(lambda number, _request: page(OLD if number % 3 == 2 else NEW))
    assert "still answers with the set from before" in refused([url(listener)], before=OLD)


def test_every_listener_is_asked_and_only_the_wrong_ones_are_named(listen: Callable[..., Listener]) -> None:
    good, bad = listen(lambda n, r: page(NEW)), listen(lambda n, r: page(OLD))
    words = refused([url(good), url(bad)])
    assert f"127.0.0.1:{bad.port} answers with another set ({OLD})." in words
    assert str(good.port) not in words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page("welcome to somebody's secret page"), "answers 200 without a generation."),
        (page("", "404 Not Found", "Server: foreign\r\n"), "answers 404 without a generation (Server: foreign)."),
        (page(NEW, "503 Service Unavailable"), "answers 503 without a generation."),
        (b"SSH-2.0-OpenSSH\r\n", "breaks off (BadStatusLine): no HTTP answer."),
        (b"", "breaks off (RemoteDisconnected): no HTTP answer."),
    ],
)
def test_foreign_answers_are_said_but_never_quoted(listen: Callable[..., Listener], answer: bytes, words: str) -> None:
    said = refused([url(listen(lambda n, r: answer))])
    assert words in said
    assert "secret" not in said


def test_nobody_there() -> None:
    with kept_port() as port:
        said = refused([{"url": f"http://127.0.0.1:{port}/"}])
    assert f"http://127.0.0.1:{port} refuses connections: nothing listens there." in said


def test_one_who_never_answers_is_left_in_time(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_proof, "ask", ask)
    over = threading.Event()

    def stall(_number: int, _request: bytes) -> bytes:
        over.wait(60)
        return b""

    listener = listen(stall)
    begun = time.monotonic()
    assert "does not answer in time" in refused([url(listener)], 0.5)
    assert time.monotonic() - begun < 30
    over.set()


def test_who_holds_the_port_is_named_when_it_is_not_ours(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = listen(lambda n, r: page("foreign"))
    held = {
        "proto": "tcp",
        "address": "0.0.0.0",
        "port": listener.port,
        "process": "apache2",
        "unit": "apache2.service",
    }
    monkeypatch.setattr(_proof._listeners, "listeners", lambda: [held])
    assert f"Port {listener.port} is held by apache2 (apache2.service): stop it" in refused(
        [url(listener)], own_units={"nginx.service"}
    )  # type: ignore[arg-type]
    assert "is held by" not in refused([url(listener)], own_units={"apache2.service"})  # type: ignore[arg-type]


def test_tls_with_a_placeholder_and_a_name(listen: Callable[..., Listener], tmp_path: Path) -> None:
    chain, key = Issuer().issue("media.example.org")
    (tmp_path / "chain").write_text(chain)
    (tmp_path / "key").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    listener = listen(lambda n, r: page(NEW), context)
    prove([{**url(listener, "https"), "server_name": "media.example.org"}], NEW, 5)
    assert set(asked) == {"media.example.org"}
    assert b"Host: media.example.org\r\n" in listener.requests[0]


def test_a_refused_handshake_is_said(listen: Callable[..., Listener]) -> None:
    listener = listen(lambda n, r: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "fails the TLS handshake for media.example.org" in refused(
        [{**url(listener, "https"), "server_name": "media.example.org"}]
    )


def test_programs(tmp_path: Path) -> None:
    assert ask({"argv": ["echo", NEW]}, 20).generation == NEW
    prove([{"argv": ["echo", NEW]}], NEW, 5)  # type: ignore[list-item]
    assert ask({"argv": ["/no/such/program"]}, 5).words == "can't be run: No such file or directory."
    assert (
        ask({"argv": [sys.executable, "-c", "import sys; sys.exit('not ready')"]}, 20).words
        == "ended with 1 and said 'not ready'."
    )
    assert ask({"argv": ["sleep", "5"]}, 0.1).words == "did not end in time."
    assert "echo fedcba9876543210 says fedcba9876543210." in refused([{"argv": ["echo", OLD]}])  # type: ignore[list-item]


def test_what_is_hopeless_is_not_waited_for() -> None:
    begun = time.monotonic()
    with pytest.raises(ProofError, match=r"nginx\.service is failed"):
        prove([{"argv": ["false"]}], NEW, 120, hopeless=lambda: "nginx.service is failed.")
    assert time.monotonic() - begun < 60


def test_nothing_to_ask_is_proved_at_once() -> None:
    prove([], NEW, 0)
