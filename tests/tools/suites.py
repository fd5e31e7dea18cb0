#!/usr/bin/env python3
"""Runs the test suites that boot hosts of their own, two at a time: suites.py [NAME...].

What each says goes to .cache/logs/suite-NAME.log, and is shown when it fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from reasons import reasons

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "logs"
LAB = ROOT / "tests" / "lab" / "lab"
AT_ONCE = int(os.environ.get("JELLYNET_SUITES_AT_ONCE", "2"))

# The attacks first: they want each proxy as it comes, and what follows deploys it otherwise.
PROXY = ("test_requests.py test_reverse_proxy.py", "tests/integration/reverse_proxy.toml")
# Name: the tests, the topology of their hosts ('' where a suite boots them itself), the environment. The longest first.
SUITES: dict[str, tuple[str, str, dict[str, str]]] = {
    "nginx_apache": (*PROXY, {"JELLYNET_PROXIES": "nginx,apache"}),
    "haproxy_traefik": (*PROXY, {"JELLYNET_PROXIES": "haproxy,traefik"}),
    "caddy": (*PROXY, {"JELLYNET_PROXIES": "caddy,caddy-new"}),
    "debian13": (PROXY[0], "", {"JELLYNET_IMAGE": "debian13"}),
    "switching": ("test_reverse_proxy_switching.py", PROXY[1], {}),
    "setbacks": ("test_reverse_proxy_setbacks.py", PROXY[1], {}),
    "pairs": ("test_reverse_proxy_switching.py", PROXY[1], {"JELLYNET_ALL_PAIRS": "1"}),
    "renewal": ("test_renewal.py", "molecule/default/topology.toml", {}),
    "port_binding": ("test_port_binding.py", "tests/lab/topologies/ports.toml", {}),
    "limits": ("test_limits.py", "tests/lab/topologies/ports.toml", {}),
    "certificate": ("test_certificate.py", "tests/lab/topologies/certificate.toml", {}),
    "service_config": ("service_config", "", {}),
    "firewall": ("test_firewall_ports.py", "tests/lab/topologies/firewall.toml", {}),
    "guard": ("test_guard.py", PROXY[1], {}),
    "visitors": ("test_visitors.py", PROXY[1], {}),
}
# What is there once more runs when it is asked for: all proxies on Debian 13, and a switch from each to each. Visitors run alone, in a stage of their own.
ON_REQUEST = ("debian13", "pairs", "visitors")


def run(name: str) -> tuple[str, int, float, str]:
    """One suite on its own hosts, which are gone afterwards."""
    begin = time.monotonic()
    tests, topology, environment = SUITES[name]
    lab = f"suite-{name.replace('_', '-')}"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--durations=15",
        *(f"tests/integration/{test}" for test in tests.split()),
    ]
    log = LOGS / f"suite-{name}.log"
    with log.open("w") as handle:
        code = 0
        if topology:
            argv += ["--lab", lab]
            code = subprocess.run(
                [LAB, "up", topology, "--name", lab, "--fresh"], cwd=ROOT, stdout=handle, stderr=handle
            ).returncode
        try:
            if not code:
                settings = os.environ | environment
                code = subprocess.run(argv, cwd=ROOT, env=settings, stdout=handle, stderr=handle).returncode
        finally:
            if topology:
                subprocess.run([LAB, "down", lab], cwd=ROOT, stdout=handle, stderr=handle)
    said = log.read_text(errors="replace")
    if code:
        print(f"----- {name}: the end of {log.relative_to(ROOT)}\n" + "\n".join(said.splitlines()[-300:]), flush=True)
    tests_said = " and ".join(re.findall(r"^=*\s*(\d+ passed.*? in [\d.]+s|.*\d+ failed.*? in [\d.]+s)", said, re.M))
    if code:
        tests_said = "\n    ".join([tests_said, *reasons(said)])
    return name, code, time.monotonic() - begin, tests_said


def main(names: list[str]) -> int:
    """Run the suites and say what came of each."""
    unknown = set(names) - set(SUITES)
    if unknown:
        sys.exit(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    names = names or [name for name in SUITES if name not in ON_REQUEST]
    LOGS.mkdir(parents=True, exist_ok=True)
    print(f"suites, {AT_ONCE} at a time: {', '.join(names)}", flush=True)
    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job in as_completed([pool.submit(run, name) for name in names]):
            name, code, seconds, tests = job.result()
            failed += [name] if code else []
            print(f"suite {name}: {'ok' if code == 0 else 'FAILED'} in {seconds:.0f} s. {tests}", flush=True)
    print(f"{len(names) - len(failed)} suites passed, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
