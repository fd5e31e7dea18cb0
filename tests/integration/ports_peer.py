"""Runs on the lab's hosts with nothing but Python: asks, searches, floods, plays a tuner, holds ports. Prints JSON.

What goes on while something else is done says "ready" first, and some of it ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

QUESTIONS = {
    "python": b"who is JellyfinServer?",
    "roku": b"Who is JellyfinServer?",
    "newline": b"who is jellyfinserver?\n\0",
    "spaced": b"who is Jellyfin Server?",
    "emby": b"who is EmbyServer?",
}


def own(interface: str) -> str:
    text = subprocess.run(["ip", "-j", "-4", "addr", "show", "dev", interface], capture_output=True, text=True).stdout
    return str(json.loads(text)[0]["addr_info"][0]["local"])


def udp(interface: str = "", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind(("0.0.0.0", port))
    return sock


def ready() -> None:
    print("ready", flush=True)


def told() -> bool:
    """Whether it is told to end."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


Found = list[tuple[str, tuple[str, int], float]]


def collect(sock: socket.socket, seconds: float, enough: Callable[[Found], bool] = lambda _: False) -> Found:
    found: Found = []
    begun = time.monotonic()
    while not enough(found) and (left := begun + seconds - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            data, peer = sock.recvfrom(65535)
            found.append((data.decode("latin-1"), peer, time.monotonic() - begun))
    return found


def ask(question: str, to: str, seconds: float, port: int = 0, source: str = "", awaited: str = "") -> Any:
    """All answers in so many seconds; no longer than until the awaited address has answered."""
    sock = udp("eth1", port)
    if source:
        send_as(source, to, 7359, QUESTIONS[question], sock.getsockname()[1])
    else:
        sock.sendto(QUESTIONS.get(question, question.encode()), (to, 7359))
    return collect(sock, seconds, lambda found: any(item[1][0] == awaited for item in found))


def send_as(source: str, to: str, port: int, data: bytes, source_port: int) -> None:
    """With a forged source."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
    head = struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data
    packet = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(head), 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to)
    )
    raw.sendto(packet + head, (to, port))


def search(target: str, wait: int, to: str = "239.255.255.250", listen: float = 0.0) -> Any:
    sock = udp("eth1")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own("eth1")))
    mx = f"MX:{wait}\r\n" if wait else ""
    message = f'M-SEARCH * HTTP/1.1\r\nHOST:239.255.255.250:1900\r\nMAN:"ssdp:discover"\r\n{mx}ST:{target}\r\n\r\n'
    sock.sendto(message.encode(), (to, 1900))
    return collect(sock, listen or wait + 0.5)


def notifications(seconds: float, source: str = "", wanted: dict[str, int] | None = None) -> Any:
    """What is announced to the group; until the source has sent enough that holds the words wanted."""

    def enough(found: Found) -> bool:
        texts = [item[0] for item in found if source in ("", item[1][0]) and item[0].startswith("NOTIFY")]
        return wanted is not None and all(sum(word in text for text in texts) >= n for word, n in wanted.items())

    sock = udp(port=1900)
    member = struct.pack("=4s4s", socket.inet_aton("239.255.255.250"), socket.inet_aton(own("eth1")))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    ready()
    return [item for item in collect(sock, seconds, enough) if item[0].startswith("NOTIFY")]


def share(seconds: float, source: str) -> Any:
    """Another daemon on 1900, as there are: whose searches it hears, until it has heard one of the source's."""
    sock = udp(port=1900)
    member = struct.pack("=4s4s", socket.inet_aton("239.255.255.250"), socket.inet_aton(own("eth1")))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    ready()

    def heard(found: Found) -> list[str]:
        return [item[1][0] for item in found if item[0].startswith("M-SEARCH")]

    return heard(collect(sock, seconds, lambda found: source in heard(found)))


def flood(to: str, seconds: float, port: int = 7359) -> Any:
    """As fast as one core can."""
    sock = udp()
    sock.connect((to, port))
    sock.setblocking(False)
    sent = heard = 0
    question = QUESTIONS["roku"]
    ready()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(500):
            try:
                sock.send(question)
                sent += 1
            except (BlockingIOError, ConnectionRefusedError, OSError):
                pass
        try:
            sock.recv(2048)
            heard += 1
        except OSError:
            pass
    return {"sent": sent, "heard": heard}


def patient(to: str, rounds: int, pause: float, seconds: float) -> Any:
    """Asks again and again, as a client does; how often it was answered, and how soon by the kernel's time stamp of the answer."""
    answered, times = 0, []
    for _ in range(rounds):
        sock = udp("eth1")
        sock.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        begun = time.time_ns()
        sock.sendto(QUESTIONS["python"], (to, 7359))
        if select.select([sock], [], [], seconds)[0]:
            answered += 1
            whole, nanoseconds = struct.unpack("=qq", sock.recvmsg(2048, 64)[1][0][2])
            times.append((whole * 1_000_000_000 + nanoseconds - begun) / 1e9)
        sock.close()
        time.sleep(pause)
    return {"asked": rounds, "answered": answered, "times": sorted(times)}


def hammer(to: str, port: int, seconds: float, source: str = "") -> Any:
    """A new connection and request at a time, until told to end and it were a few; what became of them."""
    ended: dict[str, int] = {}
    slowest = 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (told() and sum(ended.values()) > 50):
        begun = time.monotonic()
        try:
            with socket.create_connection((to, port), 60, (source, 0)) as sock:  # a restart waits for what is under way
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b""
                while part := sock.recv(65536):
                    answer += part
            result = answer[9:12].decode() or "empty"
        except ConnectionRefusedError:
            result = "refused"
        except OSError as error:
            result = type(error).__name__
        if not ended:
            ready()
        ended[result] = ended.get(result, 0) + 1
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.02)
    return {"ended": ended, "slowest": slowest}


def tuner(device: str, seconds: float) -> Any:
    """An HDHomeRun tuner as far as discovery goes, written from the packet's description; until told to end."""
    sock = udp(port=65001)
    ready()
    asked = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if sock not in select.select([sock, sys.stdin], [], [], left)[0]:
            break
        data, peer = sock.recvfrom(4096)
        if data[:2] != b"\0\2" or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            continue
        asked.append(peer)
        payload = bytes.fromhex("010400000001") + b"\2\4" + bytes.fromhex(device) + b"\x10\1\2"
        body = struct.pack(">HH", 3, len(payload)) + payload
        sock.sendto(body + struct.pack("<I", zlib.crc32(body)), peer)
    return asked


def back(health: str, source: str, seconds: float) -> Any:
    """How long after a server is healthy again the source answers for it."""
    ready()
    begun = time.monotonic()
    while not healthy(health):
        if time.monotonic() - begun > seconds:
            return "never healthy"
        time.sleep(0.1)
    healthy_at = time.monotonic()
    while all(item[1][0] != source for item in ask("python", "255.255.255.255", 1, awaited=source)):
        if time.monotonic() - healthy_at > seconds:
            return "never answered for"
    return time.monotonic() - healthy_at


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.read() == b"Healthy")
    except OSError:
        return False


def hold(kind: str, port: int, seconds: float) -> Any:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    if kind == "tcp":
        sock.listen()
    time.sleep(seconds)
    return {}


def crowd(to: str, port: int, count: int, say: str = "", source: str = "", seconds: float = 300) -> Any:
    """So many connections at once from one address, each with the same words and never read from, held until told to end.

    How many stood, how many were refused, how many got no answer at all, and how many of those that stood were ended meanwhile.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    opened: list[socket.socket] = []
    ended = {"refused": 0, "silent": 0}
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        try:
            sock.bind((source, 0))
            sock.connect((to, port))
            sock.sendall(say.encode())
            opened.append(sock)
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
            ended["refused"] += 1
        except OSError:
            ended["silent"] += 1
    ready()
    select.select([sys.stdin], [], [], seconds)
    return {"opened": len(opened), "cut": sum(map(is_over, opened)), **ended}


def is_over(sock: socket.socket) -> bool:
    """Whether the other side has ended a connection from which nothing was read."""
    return struct.unpack_from("B", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0] != 1  # TCP_ESTABLISHED


def datagrams(to: str, port: int, count: int) -> Any:
    """One datagram each from so many ports of one address: how many were answered, how many refused. The kernel tells of few refusals a second."""
    ended = {"answered": 0, "refused": 0, "silent": 0}
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for sock in socks:
            sock.connect((to, port))
            sock.send(b"hello")
        time.sleep(2)
        for sock in socks:
            sock.setblocking(False)
            try:
                ended["answered"] += bool(sock.recv(100))
            except ConnectionRefusedError:
                ended["refused"] += 1
            except OSError:
                ended["silent"] += 1
    return ended


def web(ports: list[int], seconds: float = 3600) -> Any:
    """Stands in for a proxy that takes every connection: a short answer, or one that goes on; and echoes datagrams."""
    block = b"x" * 65536

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            head = b""
            while b"\r\n\r\n" not in head:
                part = sock.recv(4096)
                if not part:
                    return
                head += part
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while b"/long" in head:
                sock.sendall(block)

    def accept(listener: socket.socket) -> None:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    def echo(sock: socket.socket) -> None:
        while True:
            data, peer = sock.recvfrom(100)
            sock.sendto(data, peer)

    threading.stack_size(65536)
    for port in ports:
        threading.Thread(target=accept, args=(socket.create_server(("", port), backlog=4096),), daemon=True).start()
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("", port))
        threading.Thread(target=echo, args=(datagram,), daemon=True).start()
    time.sleep(seconds)
    return {}


def busy(to: str, port: int, seconds: float) -> Any:
    """Keeps the relay busy with four streams, until told to end."""
    got = [0] * 4

    end = time.monotonic() + seconds

    def stream(number: int) -> None:
        while time.monotonic() < end and not told():
            with contextlib.suppress(OSError), socket.create_connection((to, port), 10) as sock:
                sock.sendall(b"GET /Videos/1/stream.mkv HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                while time.monotonic() < end and not told() and (part := sock.recv(1 << 20)):
                    got[number] += len(part)

    threads = [threading.Thread(target=stream, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while not all(got) and time.monotonic() < end:
        time.sleep(0.05)
    ready()
    for thread in threads:
        thread.join()
    return {"bytes": sum(got)}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    print(json.dumps(globals()[sys.argv[1]](**arguments)))
