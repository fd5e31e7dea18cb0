"""Runs on the lab's hosts. `listen`: TCP and UDP services that answer. `ask`: which of them answer whom.

ask: a JSON list of {proto, address, port, from?} on the command line; prints a list of booleans.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

TCP = (22, 80, 443, 3306, 8096, 8920)
UDP = (443, 1900, 7359, 40123, 50123)


def listen() -> None:
    selector = selectors.DefaultSelector()
    for port in TCP:
        made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("::", port))
        except OSError:  # sshd has it
            continue
        made.listen(64)
        selector.register(made, selectors.EVENT_READ, "tcp")
    for port in UDP:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.bind(("::", port))
        selector.register(made, selectors.EVENT_READ, "udp")
    while True:
        for key, _events in selector.select():
            found = key.fileobj
            assert isinstance(found, socket.socket)
            if key.data == "tcp":
                found.accept()[0].close()
            else:
                text, peer = found.recvfrom(100)
                with contextlib.suppress(OSError):
                    found.sendto(text, peer)


def ask(item: dict[str, object], seconds: float = 1.5) -> bool:
    family = socket.AF_INET6 if ":" in str(item["address"]) else socket.AF_INET
    kind = socket.SOCK_STREAM if item["proto"] == "tcp" else socket.SOCK_DGRAM
    place = (str(item["address"]), int(str(item["port"])))
    with socket.socket(family, kind) as made:
        made.settimeout(seconds)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if "from" in item:
            made.bind(("", int(str(item["from"]))))
        try:
            if kind == socket.SOCK_STREAM:
                made.connect(place)
                return True
            if place[0].endswith(".255"):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            elif "from" in item:
                made.connect(place)  # else two askers with one port would get each other's answers
            made.sendto(b"hello", place)
            return made.recvfrom(100)[0] == b"hello"
        except OSError:
            return False


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen()
    else:
        with ThreadPoolExecutor(16) as pool:
            print(json.dumps(list(pool.map(ask, json.loads(sys.argv[2])))))
