"""Sends requests as they are given, byte for byte, over HTTP/1.1, HTTP/2 or HTTP/3, and says how each was answered.

It runs on a client host; HTTP/3 alone needs more than the standard library (aioquic, in /opt/clients). Standard input is JSON:
    {"host": ADDRESS, "name": SNI, "version": "1.1" | "2" | "3", "tries": [TRY...]}
    TRY for 1.1: {"id": ID, "raw": BYTES, "head": whether it is HEAD, "alone": whether to give it a connection of its own and hear all answers}
    TRY for 2, 3: {"id": ID, "fields": [[NAME, VALUE]...], "body": BYTES | null, "trailers": [[NAME, VALUE]...]}
with bytes as text in Latin-1. Standard output: {"answers": {ID: STATUS}, "again": [ID...], "seconds": NUMBER}, a list of statuses where a try is
alone; 0 is a connection that ended or was silent, -1 a stream that was reset. `again` was sent twice, because its connection ended.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PATIENCE = 4.0  # seconds for an answer
SILENCE = 0.5  # after which a try that is alone has heard all
WORKERS, WAITING = 8, 128  # connections at a time; those that wait for silence cost nothing
STREAMS = 32  # at a time
Try = dict[str, Any]


def context(protocol: str) -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols([protocol])
    return made


def connect(job: dict[str, Any], protocol: str, made: ssl.SSLContext | None = None) -> socket.socket:
    plain = socket.create_connection((job["host"], job.get("port", 443)), timeout=PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if job.get("port", 443) != 443:
        return plain
    return (made or context(protocol)).wrap_socket(plain, server_hostname=job["name"])


# --- HTTP/1.1 -------------------------------------------------------------------------------------------------------


class Gone(Exception):
    """The connection ended."""


class Line:
    """One connection that stays as long as the server lets it."""

    def __init__(self, job: dict[str, Any], made: ssl.SSLContext) -> None:
        self.job, self.made = job, made
        self.again: list[str] = job.setdefault("again", [])
        self.pipe: socket.socket | None = None
        self.left = b""

    def ask(self, one: Try) -> int:
        """Once more on a fresh connection where a kept one turns out to be closed."""
        kept = self.pipe is not None
        status = self._ask(one)
        if status == 0 and kept:
            self.again.append(one["id"])
            status = self._ask(one)
        return status

    def _ask(self, one: Try) -> int:
        try:
            if self.pipe is None:
                self.pipe, self.left = connect(self.job, "http/1.1", self.made), b""
            self.pipe.sendall(one["raw"].encode("latin-1"))
            status = self._answer(bool(one.get("head")))
            while 100 <= status < 200 and status != 101:
                status = self._answer(bool(one.get("head")))
            if status == 101:
                self.close()
            return status
        except (OSError, Gone, ValueError):
            self.close()
            return 0

    def _answer(self, bodiless: bool) -> int:
        head = self._to(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        lower = head.lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", lower)
        if status >= 200 and not bodiless and status not in (204, 304):
            if b"\r\ntransfer-encoding: chunked" in lower:
                while size := int(self._to(b"\r\n").split(b";")[0], 16):
                    self._exactly(size + 2)
                while self._to(b"\r\n") != b"\r\n":
                    pass
            elif length:
                self._exactly(int(length.group(1)))
            else:
                self.close()
        if b"\r\nconnection: close" in lower:
            self.close()
        return status

    def _more(self) -> None:
        part = self.pipe.recv(65536) if self.pipe else b""
        if not part:
            raise Gone
        self.left += part

    def _to(self, end: bytes) -> bytes:
        while end not in self.left:
            self._more()
        at = self.left.index(end) + len(end)
        out, self.left = self.left[:at], self.left[at:]
        return out

    def _exactly(self, size: int) -> None:
        while len(self.left) < size:
            self._more()
        self.left = self.left[size:]

    def close(self) -> None:
        if self.pipe is not None:
            with contextlib.suppress(OSError):
                self.pipe.close()
        self.pipe = None


def alone(job: dict[str, Any], one: Try, made: ssl.SSLContext) -> list[int]:
    """All statuses that a connection gives for these bytes, until it ends or is silent."""
    heard = b""
    try:
        pipe = connect(job, "http/1.1", made)
        pipe.settimeout(SILENCE)
        for part in one["raw"] if isinstance(one["raw"], list) else [one["raw"]]:
            pipe.sendall(part.encode("latin-1"))
        while part := pipe.recv(65536):
            heard += part
    except OSError:
        pass
    else:
        pipe.close()
    return [int(found) for found in re.findall(rb"(?:^|\n|\})HTTP/1\.[01] (\d{3})", heard)]


def http1(job: dict[str, Any]) -> dict[str, Any]:
    made = context("http/1.1")
    answers: dict[str, Any] = {}
    turns = iter([one for one in job["tries"] if not one.get("alone")])
    lock = threading.Lock()

    def work() -> None:
        line = Line(job, made)
        while True:
            with lock:
                one = next(turns, None)
            if one is None:
                return line.close()
            answers[one["id"]] = line.ask(one)

    def by_itself(one: Try) -> None:
        answers[one["id"]] = alone(job, one, made)

    with ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(work) for _ in range(WORKERS)]
        waiting += [pool.submit(by_itself, one) for one in job["tries"] if one.get("alone")]
        for done in waiting:
            done.result()
    return answers


# --- HTTP/2 (RFC 9113, RFC 7541) ------------------------------------------------------------------------------------

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
REFUSED_STREAM = 7
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 0x20
# The digits of RFC 7541, appendix B.
DIGITS = {
    f"{code:0{bits}b}": digit
    for digit, (code, bits) in enumerate([(0, 5), (1, 5), (2, 5), *((value, 6) for value in range(0x19, 0x20))])
}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def number(value: int, bits: int, first: int = 0) -> bytes:
    """An integer with a prefix, RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(fields: list[list[str]]) -> bytes:
    """Every field a literal that is not indexed, its text as it is."""
    out = b""
    for name, value in fields:
        one, other = name.encode("latin-1"), value.encode("latin-1")
        out += b"\x00" + number(len(one), 7) + one + number(len(other), 7) + other
    return out


def status_in(payload: bytes) -> int:
    """The status, which is the first field; 0 where it is not to be read."""
    at = 0
    while payload[at] & 0xE0 == 0x20:  # the size of a table that we allow none of
        at += 1
    first = payload[at]
    if 0x88 <= first <= 0x8E:
        return (200, 204, 206, 304, 400, 404, 500)[first - 0x88]
    if first & 0x0F not in range(8, 15) and not (first & 0x40 and first & 0x3F in range(8, 15)):
        return 0
    length, text = payload[at + 1], payload[at + 2 : at + 2 + (payload[at + 1] & 0x7F)]
    if not length & 0x80:
        return int(text)
    bits, found, seen = "".join(f"{byte:08b}" for byte in text), "", ""
    for bit in bits:
        seen += bit
        if seen in DIGITS:
            found, seen = found + str(DIGITS[seen]), ""
        if len(found) == 3:
            break
    return int(found)


class Http2:
    def __init__(self, job: dict[str, Any]) -> None:
        self.pipe = connect(job, "h2")
        settings = struct.pack("!HIHIHI", 1, 0, 2, 0, 4, 1 << 20)  # no table, no push, a wide window
        self.pipe.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1 << 28))
        )
        self.stream = -1
        self.left = b""
        self.under_way: dict[int, str] = {}
        self.refused: list[str] = []

    def send(self, one: Try) -> None:
        self.stream += 2
        self.under_way[self.stream] = one["id"]
        body, trailers = one.get("body"), one.get("trailers")
        last = END_STREAM if body is None and not trailers else 0
        fields = block(one["fields"])
        out = frame(HEADERS, last | (END_HEADERS if len(fields) <= 16384 else 0), self.stream, fields[:16384])
        for at in range(16384, len(fields), 16384):
            out += frame(
                CONTINUATION, END_HEADERS if at + 16384 >= len(fields) else 0, self.stream, fields[at : at + 16384]
            )
        if body is not None:
            out += frame(DATA, 0 if trailers else END_STREAM, self.stream, body.encode("latin-1"))
        if trailers:
            out += frame(HEADERS, END_STREAM | END_HEADERS, self.stream, block(trailers))
        self.pipe.sendall(out)

    def heard(self, wait: float) -> Iterator[tuple[str, int]]:
        """The tries that are answered now. Gone when the connection is."""
        self.pipe.settimeout(wait)
        part = self.pipe.recv(65536)
        if not part:
            raise Gone
        self.left += part
        while len(self.left) >= 9:
            length = int.from_bytes(self.left[:3], "big")
            if len(self.left) < 9 + length:
                return
            kind, flags, stream = self.left[3], self.left[4], int.from_bytes(self.left[5:9], "big") & 0x7FFFFFFF
            payload, self.left = self.left[9 : 9 + length], self.left[9 + length :]
            if kind == SETTINGS and not flags & 1:
                self.pipe.sendall(frame(SETTINGS, 1, 0, b""))
            elif kind == PING and not flags & 1:
                self.pipe.sendall(frame(PING, 1, 0, payload))
            elif kind == GOAWAY:
                if int.from_bytes(payload[4:8], "big"):
                    raise Gone
            elif kind == RST_STREAM and stream in self.under_way:
                which = self.under_way.pop(stream)
                if payload[3] == REFUSED_STREAM:  # not looked at: may be sent again (RFC 9113, section 8.7)
                    self.refused.append(which)
                else:
                    yield which, -1
            elif kind == HEADERS and stream in self.under_way:
                skip = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
                status = status_in(payload[skip:])
                if status >= 200 or status == 0:
                    yield self.under_way.pop(stream), status

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()


def http2(job: dict[str, Any]) -> dict[str, int]:
    """Many streams on each connection. What was under way when a connection ended is asked again, each on its own."""
    answers: dict[str, int] = {}
    waiting = list(reversed(job["tries"]))
    by_id = {one["id"]: one for one in job["tries"]}
    careful: list[Try] = []
    lock = threading.Lock()

    def run(take: Any, streams: int, ended: Any) -> None:
        line: Http2 | None = None
        while True:
            try:
                line = line or Http2(job)
                while len(line.under_way) < streams and (one := take()) is not None:
                    line.send(one)
                if not line.under_way:
                    return line.close()
                for which, status in line.heard(PATIENCE):
                    answers[which] = status
                while line.refused:
                    ended(line.refused.pop())
            except (OSError, Gone, IndexError, ValueError):
                if line is not None:
                    for which in line.under_way.values():
                        ended(which)
                    line.close()
                line = None

    def take() -> Try | None:
        with lock:
            return waiting.pop() if waiting else None

    def again() -> Try | None:
        with lock:
            return careful.pop() if careful else None

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, take, STREAMS, lambda which: careful.append(by_id[which])) for _ in range(4)]:
            done.result()
        job["again"] = [one["id"] for one in careful]
        for done in [pool.submit(run, again, 1, lambda which: answers.setdefault(which, 0)) for _ in range(4)]:
            done.result()
    return answers


# --- HTTP/3 ---------------------------------------------------------------------------------------------------------


def http3(job: dict[str, Any]) -> dict[str, int]:
    """As over HTTP/2; aioquic sends fields as they are."""
    import asyncio

    from aioquic.asyncio.client import connect as quic
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3Connection
    from aioquic.h3.events import HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset

    answers: dict[str, int] = {}
    careful: list[Try] = []

    class Client(QuicConnectionProtocol):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.http = H3Connection(self._quic)
            self.http._check_content_length = lambda stream: None  # it takes an answer to HEAD for a broken one
            self.waits: dict[int, asyncio.Future[int]] = {}

        def quic_event_received(self, event: Any) -> None:
            if isinstance(event, ConnectionTerminated):
                for wait in self.waits.values():
                    if not wait.done():
                        wait.set_exception(Gone())
            elif isinstance(event, (StreamReset, StopSendingReceived)):
                self.settle(event.stream_id, -1)
            for told in self.http.handle_event(event):
                if isinstance(told, HeadersReceived):
                    status = int(dict(told.headers).get(b":status", b"0"))
                    if status >= 200:
                        self.settle(told.stream_id, status)

        def settle(self, stream: int, status: int) -> None:
            wait = self.waits.get(stream)
            if wait is not None and not wait.done():
                wait.set_result(status)

        async def ask(self, one: Try) -> int:
            stream = self._quic.get_next_available_stream_id()
            self.waits[stream] = asyncio.get_running_loop().create_future()
            body, trailers = one.get("body"), one.get("trailers")
            self.http.send_headers(stream, pairs(one["fields"]), end_stream=body is None and not trailers)
            if body is not None:
                self.http.send_data(stream, body.encode("latin-1"), end_stream=not trailers)
            if trailers:
                self.http.send_headers(stream, pairs(trailers), end_stream=True)
            self.transmit()
            try:
                return await asyncio.wait_for(self.waits[stream], PATIENCE)
            finally:
                del self.waits[stream]

    def pairs(fields: list[list[str]]) -> list[tuple[bytes, bytes]]:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]

    async def run(waiting: list[Try], streams: int, last: bool) -> None:
        while waiting:
            settings = QuicConfiguration(
                is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name=job["name"]
            )
            try:
                async with quic(
                    job["host"], job.get("port", 443), configuration=settings, create_protocol=Client
                ) as client:
                    while waiting:
                        some = [waiting.pop() for _ in range(min(streams, len(waiting)))]
                        got = await asyncio.gather(*(client.ask(one) for one in some), return_exceptions=True)
                        ended = False
                        for one, status in zip(some, got):
                            if isinstance(status, BaseException):
                                ended = True
                                if last:
                                    answers[one["id"]] = 0
                                else:
                                    careful.append(one)
                            else:
                                answers[one["id"]] = status
                        if ended:
                            break
            except (ConnectionError, OSError, asyncio.TimeoutError):
                if last and waiting:
                    answers[waiting.pop()["id"]] = 0

    async def all_of_them() -> None:
        waiting = list(reversed(job["tries"]))
        await asyncio.gather(*(run(waiting, STREAMS, False) for _ in range(4)))
        job["again"] = [one["id"] for one in careful]
        await asyncio.gather(*(run(careful, 1, True) for _ in range(8)))

    asyncio.run(all_of_them())
    return answers


def main() -> None:
    sys.setswitchinterval(0.0005)  # many threads that wait for a few bytes each
    job = json.load(sys.stdin)
    begun = time.monotonic()
    answers = {"1.1": http1, "2": http2, "3": http3}[job["version"]](job)
    json.dump(
        {"answers": answers, "again": job.get("again", []), "seconds": round(time.monotonic() - begun, 1)}, sys.stdout
    )


if __name__ == "__main__":
    main()
