"""Somebody who goes on using the server while another floods it: bystander.py SECONDS SOURCE NAME URL...

Asks each URL once every half second on a new connection, from the address SOURCE. Prints for each what came of it: status and seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

PATIENCE = "15"  # seconds; who waits longer has lost the service


def main(seconds: str, source: str, ca: str, *urls: str) -> None:
    until = time.monotonic() + float(seconds)
    found: dict[str, list[list[float]]] = {url: [] for url in urls}
    while time.monotonic() < until:
        for url in urls:
            argv = ["curl", "-s", "-o", "/dev/null", "-m", PATIENCE, "--cacert", ca, "--interface", source]
            done = subprocess.run([*argv, "-w", "%{http_code} %{time_total}", url], capture_output=True, text=True)
            status, _, took = done.stdout.partition(" ")
            found[url].append([int(status or 0), float(took or PATIENCE)])
        time.sleep(0.5)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
