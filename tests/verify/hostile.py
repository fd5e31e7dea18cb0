"""Servers that mean ill, on loopback: whoever asks them must come away in time."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable


class Hostile:
    """Accepts connections and does to each what ``act`` does, until it is closed."""

    def __init__(self, act: Callable[[socket.socket, threading.Event], None]) -> None:
        self.act = act
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.act(connection, self.over)

    def __enter__(self) -> Hostile:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.over.set()
        self.listener.close()


def never_answers(connection: socket.socket, over: threading.Event) -> None:
    over.wait(60)


def drips(data: bytes, pause: float = 0.2) -> Callable[[socket.socket, threading.Event], None]:
    """Byte by byte, each well within any read's own timeout."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        for byte in data:
            if over.wait(pause):
                return
            connection.sendall(bytes([byte]))
        over.wait(60)

    return act


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Goes on for ever, in moderation: this machine has other work to do."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        until = time.monotonic() + 60
        while not over.wait(0.005) and time.monotonic() < until:
            connection.sendall(piece)

    return act


def says(data: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(data)
        over.wait(0.2)

    return act


def handshake_record(body: bytes, kind: int = 2, length: int | None = None) -> bytes:
    message = bytes([kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def server_hello_12() -> bytes:
    """A ServerHello of TLS 1.2 that chooses ECDHE-RSA-AES128-GCM."""
    return handshake_record(b"\x03\x03" + b"\x11" * 32 + b"\x00" + b"\xc0\x2f" + b"\x00")


def endless_chain(connection: socket.socket, over: threading.Event) -> None:
    """A good beginning, and then a Certificate message that announces 16 MB and never comes to its end."""
    connection.recv(4096)
    connection.sendall(server_hello_12())
    body = b"\x0b\xff\xff\xff\xff\xff\xfc" + b"\x00\x3f\xff"
    connection.sendall(b"\x16\x03\x03" + len(body).to_bytes(2, "big") + body)
    piece = b"\x16\x03\x03\x04\x00" + b"\x30" * 1024
    until = time.monotonic() + 60
    while not over.wait(0.005) and time.monotonic() < until:
        connection.sendall(piece)


def tires(port: int) -> Callable[[socket.socket, threading.Event], None]:
    """A good server for whoever shakes hands in earnest, that has nothing to say to the second mere question and all that follow."""
    questions = itertools.count()
    empty_key_share = b"\x00\x33\x00\x02\x00\x00"

    def act(connection: socket.socket, over: threading.Event) -> None:
        data = connection.recv(65536)
        if empty_key_share in data and next(questions):
            over.wait(60)
            return
        with socket.create_connection(("127.0.0.1", port)) as behind:
            behind.sendall(data)
            while not over.is_set():
                for one, other in ((connection, behind), (behind, connection)):
                    if select.select([one], [], [], 0.01)[0]:
                        piece = one.recv(65536)
                        if not piece:
                            return
                        other.sendall(piece)

    return act
