"""What the attacks on a proxy stand on: tries sent from a client, and what arrived of them at the mirror, judged as the server would read it."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reverse_proxy_edge as lab
from reverse_proxy_edge import PORTS, Client, Edge

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(lab.ROOT / "tests" / "lab" / "double"), str(lab.ROOT / "plugins" / "module_utils")]

import _request_rules as rules  # noqa: E402
import kestrel  # noqa: E402

TARGET = re.compile(rules.TARGET)
PYTHON = "/opt/clients/bin/python"
Try = dict[str, Any]


@dataclass
class Attack:
    """Tries, how each was answered, and what arrived at the server."""

    tries: list[Try]
    answers: dict[str, Any]
    arrived: list[kestrel.Head]
    wires: list[bytes]
    seconds: float
    by_try: dict[str, list[kestrel.Head]] = field(default_factory=dict)
    stray: list[bytes] = field(default_factory=list)  # arrived, and no request of ours as we sent it

    def __post_init__(self) -> None:
        known = {one["id"] for one in self.tries}
        for head, wire in zip(self.arrived, self.wires, strict=True):
            marks = [mark.decode("latin-1") for mark in re.findall(rb"\nx-try:[ \t]*(\S*)", wire, re.I)]
            if len(marks) == 1 and marks[0] in known:
                self.by_try.setdefault(marks[0], []).append(head)
            else:
                self.stray.append(wire[:300])

    def counts(self) -> str:
        """One line: how many were sent and what came of them."""
        said = Counter(str(status) for status in self.answers.values())
        return f"{len(self.tries)} sent, {len(self.arrived)} arrived; " + ", ".join(
            f"{status}: {count}" for status, count in sorted(said.items())
        )


def prepare(edge: Edge) -> None:
    program = (HERE / "request_attacker.py").read_text()
    for client in (edge.wan, edge.lan):
        client.put("/root/attacker.py", program)


def attack(
    edge: Edge, domain: str, version: str, tries: list[Try], client: Client | None = None, **more: Any
) -> Attack:
    """Send them from the Internet (or from `client`) and collect what arrived at the domain's server."""
    client = client or edge.wan
    wire = f"/tmp/mirror-{PORTS[domain]}.wire"
    edge.shell(f": > {wire}")
    address = edge.wan_address if client is edge.wan else lab.labs.known(edge.lab).hosts["edge"].addresses["lan"]
    job = {"host": address, "name": domain, "version": version, "tries": tries, **more}
    done = client.process(PYTHON, "/root/attacker.py", data=json.dumps(job), seconds=180)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    lines = [json.loads(line).encode("latin-1") for line in edge.shell(f"cat {wire}; rm {wire}").splitlines()]
    heads = [kestrel.read_head(re.split(rb"(?<=\n)\r?\n", line, maxsplit=1)[0] + b"\r\n") for line in lines]
    return Attack(tries, told["answers"], heads, lines, told["seconds"])


def h1(
    number: object,
    target: bytes,
    domain: str,
    method: bytes = b"GET",
    fields: bytes = b"",
    body: bytes = b"",
    host: bytes = b"",
) -> Try:
    head = (
        method
        + b" "
        + target
        + b" HTTP/1.1\r\nHost: "
        + (host or domain.encode())
        + b"\r\nX-Try: %s\r\n" % str(number).encode()
    )
    return {"id": str(number), "raw": (head + fields + b"\r\n" + body).decode("latin-1"), "head": method == b"HEAD"}


def h2(
    number: object, target: bytes, domain: str, method: bytes = b"GET", fields: Iterable[tuple[str, str]] = ()
) -> Try:
    pseudo = [
        [":method", method.decode("latin-1")],
        [":scheme", "https"],
        [":authority", domain],
        [":path", target.decode("latin-1")],
    ]
    return {"id": str(number), "fields": [*pseudo, *map(list, fields), ["x-try", str(number)]]}


def one(version: str, number: object, target: bytes, domain: str, method: bytes = b"GET") -> Try:
    return h1(number, target, domain, method) if version == "1.1" else h2(number, target, domain, method)


def accepted(target: bytes) -> bool:
    return TARGET.search(target.decode("latin-1")) is not None and not target.endswith(b"\n")
