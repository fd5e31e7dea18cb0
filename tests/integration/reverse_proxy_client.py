"""Clients for the tests of the proxies that curl is no good at: they run on a client host, with the standard library alone.

client.py websocket HOST NAME PATH SECONDS [origin-address]   says something, is silent, says something again
client.py beating HOST NAME PATH SECONDS                      says something every two seconds for so long
client.py groups HOST NAME                                    which TLS 1.3 groups are accepted, by asking for a retry
client.py raw HOST NAME                                       sends standard input over TLS and prints what comes back
client.py paused HOST NAME PATH SECONDS                       a download of which nothing is read for so long, and then all of it
client.py upload HOST NAME PATH                               half a body, a pause, the other half
client.py unsent HOST NAME SECONDS                            a head, a small and a large body that are never sent whole, and how each was given up
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
import sys
import time

GROUPS = {
    "X25519": 0x001D,
    "prime256v1": 0x0017,
    "secp384r1": 0x0018,
    "secp521r1": 0x0019,
    "X448": 0x001E,
    "X25519MLKEM768": 0x11EC,
    "SecP256r1MLKEM768": 0x11EB,
}


def tls(host: str, name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(socket.create_connection((host, 443), timeout=15), server_hostname=name)


def websocket(host: str, name: str, path: str, silence: str, beats: str = "0") -> dict[str, object]:
    connection = tls(host, name)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            return {"status": 0, "head": head.decode(errors="replace")}
        head += part
    status = int(head.split()[1])
    if status != 101:
        return {"status": status, "head": head.decode(errors="replace")}
    said = [say(connection, "before")]
    with open("/tmp/under-way" + path.partition("?")[0].replace("/", "-"), "w") as sign:  # for who waits for it
        sign.write(said[0])
    connection.settimeout(float(silence) + 15)
    for _beat in range(int(beats)):
        time.sleep(2)
        said.append(say(connection, "beat"))
    time.sleep(float(silence))
    said.append(say(connection, "after"))
    return {"status": status, "said": said}


def beating(host: str, name: str, path: str, seconds: str) -> dict[str, object]:
    return websocket(host, name, path, "0", str(int(seconds) // 2))


def say(connection: ssl.SSLSocket, text: str) -> str:
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text.encode()))
    try:
        connection.sendall(bytes([0x81, 0x80 | len(masked)]) + mask + masked)
        head = connection.recv(2)
        return connection.recv(head[1]).decode() if len(head) == 2 else "closed"
    except OSError as problem:
        return f"closed: {problem}"


def groups(host: str, name: str) -> dict[str, object]:
    return {"groups": [group for group, code in GROUPS.items() if accepts(host, name, code)]}


def accepts(host: str, name: str, group: int) -> bool:
    """A ClientHello that names one group and sends no key: a server that knows it asks for the key (HelloRetryRequest)."""

    def extension(kind: int, body: bytes) -> bytes:
        return struct.pack("!HH", kind, len(body)) + body

    server = name.encode()
    extensions = b"".join(
        [
            extension(0, struct.pack("!HBH", len(server) + 3, 0, len(server)) + server),
            extension(10, struct.pack("!HH", 2, group)),
            extension(13, struct.pack("!HHHHHHHH", 14, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806)),
            extension(43, b"\x02\x03\x04"),
            extension(45, b"\x01\x01"),
            extension(51, b"\x00\x00"),
        ]
    )
    hello = b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32) + b"\x00\x06\x13\x01\x13\x02\x13\x03" + b"\x01\x00"
    hello += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(hello))[1:] + hello
    with socket.create_connection((host, 443), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01" + struct.pack("!H", len(message)) + message)
        answer = connection.recv(6)
    return len(answer) == 6 and answer[0] == 22 and answer[5] == 2


def raw(host: str, name: str) -> dict[str, object]:
    connection = tls(host, name)
    connection.sendall(sys.stdin.buffer.read())
    connection.settimeout(8)
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except (TimeoutError, OSError):
        pass
    return {"answer": answer.decode(errors="replace")}


def paused(host: str, name: str, path: str, seconds: str) -> dict[str, object]:
    connection = tls(host, name)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1024)
    got = len(head.partition(b"\r\n\r\n")[2])
    time.sleep(float(seconds))
    connection.settimeout(60)
    try:
        while part := connection.recv(1 << 20):
            got += len(part)
    except OSError as problem:
        return {"got": got, "problem": str(problem)}
    return {"got": got}


def unsent(host: str, name: str, seconds: str) -> dict[str, object]:
    """The status of each, 0 where the connection ended without one, -1 where it was still open after so long."""
    large = 24576  # more than fits into a proxy's buffer
    asked = {
        "head": "GET / HTTP/1.1\r\nHost: ",
        "small body": f"POST /x HTTP/1.1\r\nHost: {name}\r\nContent-Length: 100\r\n\r\na",
        "large body": f"POST /x HTTP/1.1\r\nHost: {name}\r\nContent-Length: {2 * large}\r\n\r\n" + "a" * large,
        "body of no known length": f"POST /x HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    }
    open_ones = {}
    for what, text in asked.items():
        open_ones[what] = tls(host, name)
        open_ones[what].sendall(text.encode())
    until, came = time.monotonic() + float(seconds), {}
    for what, connection in open_ones.items():
        connection.settimeout(max(0.1, until - time.monotonic()))
        try:
            part = connection.recv(65536)
            came[what] = int(part.split()[1]) if part else 0
        except TimeoutError:
            came[what] = -1
        except OSError:
            came[what] = 0
    return came


def upload(host: str, name: str, path: str) -> dict[str, object]:
    connection = tls(host, name)
    half = b"x" * 65536
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {2 * len(half)}\r\nConnection: close\r\n\r\n".encode()
    )
    connection.sendall(half)
    time.sleep(2)
    connection.sendall(half)
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return {"answer": answer.decode(errors="replace").split("\r\n\r\n", 1)[-1]}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
