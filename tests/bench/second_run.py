#!/usr/bin/env python3
"""What an unchanged second `site.yml` costs: module executions a host, and time as a ratio to as many `ping` tasks.

    tests/bench/second_run.py INVENTORY [HOST]

The inventory is one on which site.yml has run already (the script runs it once more first, uncounted).
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
sys.path.insert(0, str(HERE))

import report  # noqa: E402  (the folder is no package)

RUNS = 3


def play(inventory: str, playbook: str, count_file: str = "") -> tuple[float, dict[str, dict[str, int]]]:
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
        ["ansible-playbook", "-i", inventory, playbook], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{playbook} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout[done.stdout.index("{") :])["stats"]


def measure(inventory: str, host: str, site: str) -> dict[str, object]:
    """Run site.yml unchanged and count; then as many pings; medians of RUNS."""
    play(inventory, site)
    seconds, counts, changed = [], Counter(), 0
    for _ in range(RUNS):
        with tempfile.NamedTemporaryFile("r") as file:
            took, stats = play(inventory, site, file.name)
            counts = Counter(line.split()[1] for line in file.read().splitlines() if line.split()[0] == host)
        seconds.append(took)
        changed += stats[host]["changed"]
    executions = sum(counts.values())
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        tasks = "\n".join(f"    - {{name: Ping {number}, ansible.builtin.ping: }}" for number in range(executions))
        file.write(f"- hosts: {host}\n  gather_facts: false\n  tasks:\n{tasks}\n")
        file.flush()
        pings = [play(inventory, file.name)[0] for _ in range(RUNS)]
    return {
        "executions": executions,
        "modules": dict(counts),
        "changed": changed,
        "seconds": report.median(seconds),
        "ping_seconds": report.median(pings),
    }


def main() -> None:
    """Measure one host and write the section."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    inventory, host = sys.argv[1], (sys.argv[2:] or ["edge"])[0]
    found = measure(inventory, host, str(ROOT / "playbooks" / "site.yml"))
    rows = [
        ["module executions on the host", found["executions"]],
        ["tasks that report a change", found["changed"]],
        ["seconds, site.yml", found["seconds"]],
        ["seconds, as many ping tasks", found["ping_seconds"]],
        ["ratio", found["seconds"] / found["ping_seconds"]],
    ]
    listed = ", ".join(f"{name.split('.')[-1]} {number}" for name, number in sorted(found["modules"].items()))
    body = report.table(["an unchanged second run", "median of 3"], rows) + f"\n\nThe executions: {listed}."
    report.write("An unchanged second site.yml", "make bench BENCH=second_run", body)
    print(body)


if __name__ == "__main__":
    main()
