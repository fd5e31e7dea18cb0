"""A server for the tests of the proxies that answers with what it was asked: the request as it arrived, byte for byte.

It says what it is and plays Jellyfin only as far as the roles look (`/System/Info/Public`). Behaviour is chosen by the path's last part.
While there is a file /tmp/mirror-PORT.wire, each request is added to it as it came on the wire, even one that this refuses.
Standard library alone, because it runs on the hosts of the lab: `mirror.py PORT [--wizard]` (`--wizard`: the first-run wizard is not done).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

SIZE = 96 * 1024 * 1024
BLOCK = bytes(range(256)) * 1024
ETAG = '"mirror"'
WIRE = 1 << 18


class Wire:
    """What is read from a connection, and the bytes of the request under way; http.server tidies what it tells."""

    def __init__(self, file: Any) -> None:
        self._file, self.taken = file, b""

    def readline(self, limit: int = -1) -> bytes:
        return self._seen(self._file.readline(limit))

    def read(self, size: int = -1) -> bytes:
        return self._seen(self._file.read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._seen(self._file.read1(size))

    def _seen(self, data: bytes) -> bytes:
        if len(self.taken) < WIRE:
            self.taken += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Mirror(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Mirror"
    disable_nagle_algorithm = True  # else each answer in two parts waits for 40 ms
    wizard_done = True

    def setup(self) -> None:
        super().setup()
        self.wire: Any = Wire(self.rfile)
        self.rfile = self.wire

    def handle_one_request(self) -> None:
        self.began = time.monotonic()
        self.wire.taken = b""
        self.target = self.path = self.command = ""
        try:
            super().handle_one_request()
        finally:
            self._record()

    def _record(self) -> None:
        kept = f"/tmp/mirror-{self.server.server_port}.wire"
        if self.wire.taken and os.path.exists(kept):
            line = json.dumps(self.wire.taken.decode("latin-1")).encode() + b"\n"
            handle = os.open(kept, os.O_WRONLY | os.O_APPEND)
            os.write(handle, line)
            os.close(handle)

    def parse_request(self) -> bool:
        taken = super().parse_request()
        # The target as it came: http.server makes one slash of the first two.
        words = self.raw_requestline.decode("latin-1").split(" ")
        self.target = words[1] if len(words) > 1 else ""
        return taken

    def _serve(self) -> None:
        path = unquote(self.path.split("?")[0])
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self._websocket()
        name = path.rstrip("/").rsplit("/", 1)[-1]
        action = getattr(self, "_do_" + name.replace("-", "_"), None)
        if path.lower().endswith("/system/info/public"):
            return self._public()
        return action() if action else self._echo()

    def __getattr__(self, name: str) -> Any:
        """Any method at all."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _public(self) -> None:
        facts = {
            "LocalAddress": "",
            "ServerName": "mirror",
            "Version": "10.11.0",
            "ProductName": "Jellyfin Server",
            "OperatingSystem": "",
            "Id": "0" * 31 + str(self.server.server_port % 10),
            "StartupWizardCompleted": self.wizard_done,
        }
        self._answer(200, json.dumps(facts).encode())

    def _echo(self) -> None:
        read, first = 0, 0.0
        for part in self._body():
            first = first or time.monotonic() - self.began
            read += len(part)
        seen = {
            "mirror": self.server.server_port,
            "method": self.command,
            "path": self.target,
            "headers": [[name, value] for name, value in self.headers.items()],
            "body": read,
            "first": round(first, 2),
            "took": round(time.monotonic() - self.began, 2),
        }
        self._answer(200, json.dumps(seen).encode())

    def _body(self):  # type: ignore[no-untyped-def]
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():  # the trailers
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            part = self.rfile.read1(min(left, 65536))
            if not part:
                return
            left -= len(part)
            yield part

    # The one login: of anybody, with the right password (Jellyfin.Api/Controllers/UserController.cs answers 401 to any other).
    def _do_AuthenticateByName(self) -> None:
        given = json.loads(b"".join(self._body()) or b"{}")
        if given.get("Pw") == "right":
            return self._answer(
                200, json.dumps({"User": {"Name": given.get("Username")}, "AccessToken": "a" * 32}).encode()
            )
        self._answer(401, b"Error processing request.", {"Content-Type": "text/plain"})

    # A large file, whole or in parts.
    def _do_media(self) -> None:
        begin, end, status = 0, SIZE, 200
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and self.headers.get("If-Range", ETAG) == ETAG:
            low, _, high = asked[6:].partition("-")
            begin, end, status = int(low), min(SIZE, int(high) + 1 if high else SIZE), 206
        self.send_response(status)
        self.send_header("Content-Type", "video/x-matroska")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", ETAG)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{SIZE}")
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        position = begin
        while position < end:
            offset = position % len(BLOCK)
            part = BLOCK[offset : offset + end - position]
            self.wfile.write(part)
            position += len(part)

    # A stream of unknown length, a little every half second; the other for longer than any proxy's default patience.
    def _do_drip(self) -> None:
        self._drip(12, 0.5)

    def _do_drip_long(self) -> None:
        self._drip(36, 2)

    def _drip(self, turns: int, pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _turn in range(turns):
            self.wfile.write(b"5\r\ndrip\n\r\n")
            self.wfile.flush()
            time.sleep(pause)
        self.wfile.write(b"0\r\n\r\n")

    def _do_hang(self) -> None:
        time.sleep(600)

    def _do_starting(self) -> None:
        self._answer(503, b"<html>the server's own page</html>", {"Retry-After": "005", "Content-Type": "text/html"})

    def _do_missing(self) -> None:
        self._answer(404, b"the server's own 404")

    def _do_page(self) -> None:
        self._answer(200, b"<html>" + b"word " * 4000 + b"</html>", {"Content-Type": "text/html"})

    def _do_doubled(self) -> None:
        ours = {
            "X-Content-Type-Options": "nosniff",
            "Strict-Transport-Security": "max-age=1",
            "Referrer-Policy": "no-referrer",
        }
        self._answer(200, b"{}", {**ours, "X-Powered-By": "mirror"})

    def _websocket(self) -> None:
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("X-Seen-For", ",".join(self.headers.get_all("X-Forwarded-For", [])))
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            length = head[1] & 0x7F
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(length)))
            if head[0] & 0x0F == 8:
                return
            said = f"{self.target} {text.decode()}".encode()[:125]
            self.wfile.write(bytes([0x81, len(said)]) + said)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4096

    def server_bind(self) -> None:  # without HTTPServer's look-up of its own name
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "mirror", self.server_address[1]


if __name__ == "__main__":
    Mirror.wizard_done = "--wizard" not in sys.argv
    Server(("127.0.0.1", int(sys.argv[1])), Mirror).serve_forever()
