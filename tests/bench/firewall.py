#!/usr/bin/env python3
"""Six ports opened by one call of firewall_ports, and by the loops that people write today; into docs/benchmarks.md.

    tests/lab/lab up tests/lab/topologies/firewall.toml --name NAME
    tests/bench/firewall.py NAME [ROUNDS]

Each round plays every way in turn on the same host, whose firewall is on: the first change, then the same again with nothing to
change. Times are whole ansible-playbook runs, so the start of Ansible is in all of them; one `ping` task is measured beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "lab")]

import report  # noqa: E402  (the folder is no package)
from jellynet_lab import labs  # noqa: E402

PORTS: list[dict[str, Any]] = [
    {"port": "80", "proto": "tcp"},
    {"port": "443", "proto": "tcp"},
    {"port": "443", "proto": "udp"},
    {"port": "8096", "proto": "tcp", "lan": True},
    {"port": "1900", "proto": "udp", "lan": True},
    {"port": "7359", "proto": "udp", "lan": True},
]
LOOPS = {"firewalld": "a loop of ansible.posix.firewalld", "ufw": "a loop of community.general.ufw"}
OURS = "one call of firewall_ports"
PING = "one ping task"


def ours(lan: str, state: str) -> dict[str, Any]:
    ports = [
        {"port": item["port"], "proto": item["proto"], **({"sources": [lan]} if "lan" in item else {})}
        for item in PORTS
    ]
    return {"jellynet.jellyfin.firewall_ports": {"ports": ports, "owner": "bench", "state": state}}


def loop(backend: str, lan: str, state: str) -> dict[str, Any]:
    if backend == "firewalld":
        items = [
            {
                "rich_rule": f'rule family="ipv4" source address="{lan}" port port="{item["port"]}" '
                f'protocol="{item["proto"]}" accept'
            }
            if "lan" in item
            else {"port": f"{item['port']}/{item['proto']}"}
            for item in PORTS
        ]
        arguments: dict[str, Any] = {
            "port": "{{ item.port | default(omit) }}",
            "rich_rule": "{{ item.rich_rule | default(omit) }}",
            "permanent": True,
            "immediate": True,
            "state": "enabled" if state == "present" else "disabled",
        }
        return {"ansible.posix.firewalld": arguments, "loop": items}
    items = [
        {"port": item["port"], "proto": item["proto"], **({"source": lan} if "lan" in item else {})} for item in PORTS
    ]
    arguments = {
        "rule": "allow",
        "to_port": "{{ item.port }}",
        "proto": "{{ item.proto }}",
        "from_ip": "{{ item.source | default('any') }}",
        "delete": state == "absent",
    }
    return {"community.general.ufw": arguments, "loop": items}


def play(inventory: Path, host: str, task: dict[str, Any]) -> tuple[float, bool]:
    """Seconds of a playbook of one task, and whether it changed anything."""
    book = labs.room(inventory.parent.name) / "bench.json"
    book.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": [task]}]))
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"),
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
    )
    program = str(Path(sys.executable).parent / "ansible-playbook")
    start = time.monotonic()
    done = subprocess.run([program, "-i", str(inventory), str(book)], env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{task} failed:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}")
    return seconds, bool(json.loads(done.stdout[done.stdout.index("{") :])["stats"][host]["changed"])


def measure(lab: str, backend: str, rounds: int) -> list[tuple[str, list[float], list[float]]]:
    """Of each way: the seconds of the first changes, and of the unchanged runs."""
    inventory = labs.room(lab) / "inventory.yml"
    lan = labs.known(lab).networks["lan"].subnet
    # On, with SSH let in; what the ways open is not there yet.
    play(inventory, backend, {"jellynet.jellyfin.firewall_ports": {"ports": [], "owner": "bench", "enable": True}})
    ways = {LOOPS[backend]: lambda state: loop(backend, lan, state), OURS: lambda state: ours(lan, state)}
    first: dict[str, list[float]] = defaultdict(list)
    again: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for name, task in ways.items():
            print(f"{backend}, round {number + 1} of {rounds}: {name}", flush=True)
            if name == OURS:
                present, cleared = (
                    task("present"),
                    {"jellynet.jellyfin.firewall_ports": {"ports": [], "owner": "bench"}},
                )
            else:
                present, cleared = task("present"), task("absent")
            seconds, changed = play(inventory, backend, present)
            assert changed, f"{name} had nothing to change"
            first[name].append(seconds)
            seconds, changed = play(inventory, backend, present)
            assert not changed, f"{name} changed something again"
            again[name].append(seconds)
            play(inventory, backend, cleared)
        again[PING].append(play(inventory, backend, {"ansible.builtin.ping": {}})[0])
    return [(name, first[name], again[name]) for name in (*ways, PING)]


def main(lab: str, rounds: int) -> None:
    rows: list[list[object]] = []
    for backend in LOOPS:
        found = measure(lab, backend, rounds)
        base = report.median(found[0][1]), report.median(found[0][2])
        ping = report.median(found[-1][2])
        for name, first, again in found:
            rows.append(
                [
                    backend,
                    name,
                    report.median(first) if first else "",
                    f"{base[0] / report.median(first):.1f}" if first else "",
                    report.median(again),
                    f"{base[1] / report.median(again):.1f}",
                    f"{report.median(again) / ping:.2f}",
                ]
            )
    columns = ["firewall", "way", "first change, s", "times as fast", "unchanged, s", "times as fast", "to one ping"]
    body = (
        f"Six ports, three of them for the LAN only; medians of {rounds} rounds over the podman connection, Debian 12 "
        "(firewalld) and 13 (ufw).\nWhole `ansible-playbook` runs, the start of Ansible included.\n\n"
        + report.table(columns, rows)
    )
    report.write("Opening ports", "tests/bench/firewall.py NAME", body)
    print(body)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 5)
