#!/usr/bin/env python3
"""What an unchanged second `site.yml` costs with each proxy: module executions a host, and time as a ratio to as many `ping` tasks.

    tests/bench/second_run.py INVENTORY [PROXY...]

Each proxy is deployed first, uncounted, to the host `edge` of the inventory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "integration")]

import report  # noqa: E402  (the folder is no package)
import reverse_proxy_edge as lab  # noqa: E402

RUNS = 3
HOST = "edge"
SITE = str(ROOT / "playbooks" / "site.yml")


def play(
    inventory: str, playbook: str, values: dict[str, object] | None = None, count_file: str = ""
) -> tuple[float, dict[str, dict[str, int]]]:
    """Run a playbook; seconds and the recap by host."""
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"),
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ANSIBLE_HOST_KEY_CHECKING="false",
    )
    if count_file:
        environment.update(
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback"),
            ANSIBLE_CALLBACKS_ENABLED="count_modules",
            JELLYNET_COUNT_FILE=count_file,
        )
    start = time.monotonic()
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "-e", json.dumps(values or {}), playbook],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{playbook} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout[done.stdout.index("{") :])["stats"]


def measure(inventory: str, values: dict[str, object]) -> dict[str, object]:
    """Run site.yml unchanged and count; then as many pings; medians of RUNS."""
    play(inventory, SITE, values)
    seconds, counts, changed = [], Counter[str](), 0
    for _ in range(RUNS):
        with tempfile.NamedTemporaryFile("r") as file:
            took, stats = play(inventory, SITE, values, file.name)
            counts = Counter(line.split()[1] for line in file.read().splitlines() if line.split()[0] == HOST)
        seconds.append(took)
        changed += stats[HOST]["changed"]
    executions = sum(counts.values())
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        tasks = "\n".join(f"    - {{name: Ping {number}, ansible.builtin.ping: }}" for number in range(executions))
        file.write(f"- hosts: {HOST}\n  gather_facts: false\n  tasks:\n{tasks}\n")
        file.flush()
        pings = [play(inventory, file.name)[0] for _ in range(RUNS)]
    return {
        "modules": dict(counts),
        "row": [executions, changed, report.median(seconds), report.median(pings)],
    }


def main() -> None:
    """Measure each proxy and write the section."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows, modules = [], {}
    for proxy in sys.argv[2:] or lab.PROXIES:
        values = {"jellyfin_proxy": proxy} | (lab.traefik_archive() if proxy == "traefik" else {})
        found = measure(sys.argv[1], values)
        rows.append([proxy, *found["row"], found["row"][2] / found["row"][3]])
        modules[", ".join(f"{name.split('.')[-1]} {count}" for name, count in sorted(found["modules"].items()))] = True
        print(rows[-1], flush=True)
    columns = ["proxy", "module executions on the host", "changed", "s, site.yml", "s, as many ping tasks", "ratio"]
    body = f"Medians of {RUNS} unchanged runs each.\n\n{report.table(columns, rows)}\n\nThe executions: {'; or '.join(modules)}."
    report.write("An unchanged second site.yml", "make bench BENCH=second_run", body)
    print(body)


if __name__ == "__main__":
    main()
