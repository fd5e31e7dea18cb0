#!/usr/bin/env python3
"""A minute of flood from one address, at three times what once took the service from everybody; into docs/benchmarks.md.

    tests/bench/flood.py LAB [PROXY...]

LAB is a running lab of tests/integration/reverse_proxy.toml. The floods, the household's LAN client and the second visitor are those of
tests/integration/test_visitors.py; FLOOD_SECONDS says how long each lasts, 60 without it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

os.environ.setdefault("FLOOD_SECONDS", "60")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "integration")]

import report  # noqa: E402  (the folder is no package)
import reverse_proxy_edge as lab  # noqa: E402
import test_visitors as visitors  # noqa: E402

COLUMNS = (
    "proxy", "flood", "connections tried", "open at once", "at the server", "LAN: answers", "slowest, s", "second visitor: answers", "slowest, s"
)  # fmt: skip


class AtTheServer(threading.Thread):
    """The most connections that the proxy had to the server, looked at once a second."""

    def __init__(self, edge: lab.Edge, port: int) -> None:
        super().__init__(daemon=True)
        self.edge, self.port, self.most, self.over = edge, port, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(1):
            said = self.edge.shell(f"ss -Htn state established '( dport = :{self.port} )' | wc -l", check=False)
            self.most = max(self.most, int(said or 0))

    def end(self) -> int:
        self.over.set()
        self.join(10)
        return self.most


def row(who: str, flood: str, came: list[Any], most: int, server: int, seen: dict[str, Any]) -> list[object]:
    cells: list[object] = [who, flood, sum(one["opened"] + one["refused"] for one in came), most, server]
    for watcher in ("lan", "second visitor"):
        times = [time for asked in seen.get(watcher, {}).values() for time in asked]
        good = sum(1 for status, _seconds in times if status in (200, 301, 308))
        cells += [f"{good} of {len(times)}", max(seconds for _status, seconds in times)] if times else ["", ""]
    return cells


def main() -> None:
    name, proxies = sys.argv[1], sys.argv[2:] or visitors.PROXIES
    edge = lab.up(name)
    for client in (edge.lan, edge.wan):
        for tool in ("flood_attacker.py", "bystander.py"):
            client.put(f"/root/{tool}", (ROOT / "tests" / "integration" / tool).read_text())
    urls = [f"https://{visitors.MEDIA}/", f"http://{visitors.MEDIA}/"]
    rows = []
    for proxy in proxies:
        edge.deploy(proxy, playbook=visitors.PLAYBOOK)
        for flood, parts in visitors.FLOODS.items():
            watch = AtTheServer(edge, visitors.PORTS[visitors.MEDIA])
            watch.start()
            came, seen = visitors.flooded(
                edge, [edge.wan, edge.wan_address], parts, {"lan": urls, "second visitor": urls}
            )
            rows.append(row(proxy, flood, came, sum(one["most"] for one in came), watch.end(), seen))
            print(rows[-1], flush=True)
    body = (
        f"{visitors.SECONDS:.0f} s each; the limits as they come. Both bystanders ask for a page over HTTPS and for one over HTTP, each on a new connection, "
        "about twice a second. All hosts share the machine's cores with who floods."
    )
    report.write("A minute of flood", "make bench BENCH=flood", f"{body}\n\n{report.table(COLUMNS, rows)}")


if __name__ == "__main__":
    main()
