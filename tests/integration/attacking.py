"""What the attacks on a proxy stand on: tries sent from a client, and what arrived of them at the mirror, judged as the server would read it."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reverse_proxy_edge as lab
import yaml
from reverse_proxy_edge import PORTS, Client, Edge
from waiting import listens

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(lab.ROOT / "tests" / "lab" / "double"), str(lab.ROOT / "plugins" / "module_utils")]

import _request_rules as rules  # noqa: E402
import kestrel  # noqa: E402

TARGET = re.compile(rules.TARGET)
DROPPED: tuple[str, ...] = tuple(
    yaml.safe_load((lab.ROOT / "roles/reverse_proxy/vars/main.yml").read_text())["_reverse_proxy_dropped_headers"]
)
PYTHON = "/opt/clients/bin/python"
GUARD = 889
PEER = "X-Jellynet-Peer"
Try = dict[str, Any]


@dataclass
class Arrival:
    """A request as a mirror got it: the server's, or the one in the login guard's place."""

    wire: bytes
    at_guard: bool = False

    def __post_init__(self) -> None:
        head, end, self.body = re.split(rb"(\n\r?\n)", self.wire + b"\n\n", maxsplit=1)
        self.head = kestrel.read_head(head + end)
        self.marks = [mark.decode("latin-1") for mark in re.findall(rb"\nx-try:[ \t]*(\S*)", head, re.I)]
        self.target = self.wire.partition(b"\n")[0].partition(b" ")[2].rpartition(b" HTTP/")[0]

    def __str__(self) -> str:
        return f"{self.wire[:400]!r}"


@dataclass
class Attack:
    """Tries, how each was answered, and what arrived at the server."""

    tries: list[Try]
    answers: dict[str, Any]
    arrived: list[Arrival]
    seconds: float
    again: list[str]  # sent twice, because the connection ended
    by_try: dict[str, list[Arrival]] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)  # arrived, and no request of ours as we sent it

    def __post_init__(self) -> None:
        known = {one["id"] for one in self.tries}
        for arrival in self.arrived:
            if len(arrival.marks) == 1 and arrival.marks[0] in known:
                self.by_try.setdefault(arrival.marks[0], []).append(arrival)
            else:
                self.stray.append(str(arrival))

    def counts(self) -> str:
        """One line: how many were sent and what came of them."""
        said = Counter(str(status) for status in self.answers.values())
        often = [f"{status}: {count}" for status, count in sorted(said.items(), key=lambda item: -item[1])[:12]]
        return f"{len(self.tries)} sent, {len(self.arrived)} arrived; {', '.join(often)}; {self.seconds} s"

    def doubled(self, mark: str) -> bool:
        """Whether one request arrived as two."""
        return len(self.by_try.get(mark, [])) > 1 + self.again.count(mark)

    def sent(self, mark: str) -> str:
        one = next(one for one in self.tries if one["id"] == mark)
        return repr(one.get("raw") or [one["fields"], one.get("trailers")])[:500]


def prepare(edge: Edge) -> None:
    """The attacker on the clients, and a mirror where the login guard would be."""
    program = (HERE / "request_attacker.py").read_text()
    for client in (edge.wan, edge.lan):
        client.put("/root/attacker.py", program)
    edge.shell(
        f"systemctl is-active -q mirror-{GUARD} || systemd-run -q --collect --unit mirror-{GUARD} python3 /root/mirror.py {GUARD}"
    )
    listens(edge.shell, GUARD)


def done_with(edge: Edge) -> None:
    edge.shell(f"systemctl stop mirror-{GUARD}")


def has_http3(edge: Edge) -> bool:
    return ":443 " in edge.shell("ss -Hlun")


def attack(
    edge: Edge, domain: str, version: str, tries: list[Try], client: Client | None = None, **more: Any
) -> Attack:
    """Send them from the Internet (or from `client`) and collect what arrived at the domain's server and at the guard."""
    client = client or edge.wan
    wires = [f"/tmp/mirror-{port}.wire" for port in (PORTS[domain], GUARD)]
    edge.shell(f"for wire in {' '.join(wires)}; do : > $wire; done")
    address = edge.wan_address if client is edge.wan else lab.labs.known(edge.lab).hosts["edge"].addresses["lan"]
    job = {"host": address, "name": domain, "version": version, "tries": tries, **more}
    done = client.process(PYTHON, "/root/attacker.py", data=json.dumps(job), seconds=180)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    arrived = [
        Arrival(json.loads(line).encode("latin-1"), wire is wires[1])
        for wire in wires
        for line in edge.shell(f"cat {wire}; rm {wire}").splitlines()
    ]
    return Attack(tries, told["answers"], arrived, told["seconds"], told["again"])


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
    """A request in either form; HTTP/3 has the fields of HTTP/2."""
    return h1(number, target, domain, method) if version == "1.1" else h2(number, target, domain, method)


def is_login(route: str) -> bool:
    return route.startswith(("/users", "/quickconnect"))


def accepted(target: bytes) -> bool:
    return TARGET.search(target.decode("latin-1")) is not None and not target.endswith(b"\n")


def wrongs(arrival: Arrival, client: str, domain: str, base: str = "") -> list[str]:
    """What is wrong with a request that arrived from the Internet: who it says that it is from, where it leads, where it ends."""
    head, found = arrival.head, []
    if head.reading.status != 200:
        return [f"the server refuses the target: {head.reading.status}"]
    if not head.fields:  # it refuses the head as a whole
        return []
    told = {"X-Forwarded-For": client, "X-Forwarded-Proto": "https", "X-Forwarded-Host": domain, "Host": domain}
    for name, value in told.items():
        values = head.values(name.encode())
        if values != [value.encode()]:
            found.append(f"{name} is {values}")
    peers = [client.encode()] if arrival.at_guard else []
    if head.values(PEER.encode()) != peers:
        found.append(f"{PEER} is {head.values(PEER.encode())}")
    found += [f"{name} is there" for name in DROPPED if name != PEER and head.values(name.encode())]
    # Names that a framework could take for the others; no server of ours does, and none shall be tempted.
    plain = [key.lower().replace(b"_", b"-").strip().decode("latin-1") for key, _ in head.fields]
    found += [f"{name} is there {plain.count(name.lower())} times" for name in told if plain.count(name.lower()) > 1]
    nominated = {part.strip().lower() for value in head.values(b"connection") for part in value.split(b",")}
    if nominated - {b"", b"close", b"keep-alive", b"upgrade"}:
        found.append(f"Connection is {head.values(b'connection')}")
    if [value.lower() for value in head.values(b"upgrade")] not in ([], [b"websocket"]):
        found.append(f"Upgrade is {head.values(b'upgrade')}")
    codings, lengths = head.values(b"transfer-encoding"), head.values(b"content-length")
    if len(codings) + len(lengths) > 1 or [coding.lower() for coding in codings] not in ([], [b"chunked"]):
        found.append(f"its end is doubtful: {codings} {lengths}")
    if lengths and not (re.fullmatch(rb"[0-9]+", lengths[0]) and int(lengths[0]) < 1 << 63):
        found.append(f"Content-Length is {lengths}")
    if codings:
        trailers = [name.lower() for name, _ in kestrel.read_chunked(arrival.body).trailers]
        found += [f"{name} is a trailer" for name in (*told, *DROPPED) if name.lower().encode() in trailers]
    route = kestrel.routes_to(head.reading.path, base)
    if route and not (arrival.at_guard and is_login(route)):
        found.append(f"leads to {route}")
    return found


def connections(
    chance: random.Random, grammar: Callable[[random.Random, bytes, str], bytes], domain: str, count: int
) -> list[Try]:
    """Connections by the grammar of tests/fuzz/requests.py, each request with the mark of its connection and its number."""
    made = []
    for number in range(count):
        raw = grammar(chance, domain.encode(), f"c{number}").decode("latin-1")
        made.append({"id": f"c{number}", "raw": raw, "alone": True})
    return made


def disagreements(seen: Attack, client: str, domain: str) -> list[str]:
    """What arrived and is no request that was sent, or one of which something is wrong. A request arrives once at most."""
    found, sent, marks = [], {one["id"]: one["raw"] for one in seen.tries}, Counter[str]()
    for arrival in seen.arrived:
        mark = arrival.marks[0] if len(arrival.marks) == 1 else ""
        marks[mark] += 1
        wrong = wrongs(arrival, client, domain)
        # The request within another's body has no mark; where the front takes it for one of its own, all that we say of a client is said of it.
        if mark and marks[mark] > 1:
            wrong.append("arrived twice")
        if wrong:
            raw = sent.get(mark.partition(".")[0], "")
            found.append(f"{mark or 'no mark'}: {wrong}; sent {raw!r}; arrived {arrival}")
    return found
