#!/usr/bin/env python3
"""Runs molecule scenarios, two at a time: scenarios.py [NAME...]. What each says goes to .cache/logs/, and is shown when it fails."""

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
AT_ONCE = int(os.environ.get("JELLYNET_SCENARIOS_AT_ONCE", "2"))


def run(name: str) -> tuple[str, int, float, str]:
    begin = time.monotonic()
    log = LOGS / f"{name}{os.environ.get('JELLYNET_LOG_MARK', '')}.log"
    settings = {
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "PY_COLORS": "0",
        "COLUMNS": "160",
    }
    with log.open("w") as handle:
        done = subprocess.run(
            ["molecule", "test", "-s", name],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=handle,
            stderr=subprocess.STDOUT,
        )
    said = log.read_text(errors="replace")
    tests = " and ".join(re.findall(r"^\d+ passed.*? in [\d.]+m?s.*$|^.*\d+ failed.* in [\d.]+m?s.*$", said, re.M))
    if done.returncode:
        print(f"----- {name}: the end of {log.relative_to(ROOT)}\n" + "\n".join(said.splitlines()[-400:]), flush=True)
        tests = "\n    ".join([tests, *reasons(said)])
    return name, done.returncode, time.monotonic() - begin, tests


def main(names: list[str]) -> int:
    names = names or sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    LOGS.mkdir(parents=True, exist_ok=True)
    print(f"scenarios, {AT_ONCE} at a time: {', '.join(names)}", flush=True)
    results = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job in as_completed([pool.submit(run, name) for name in names]):
            results.append(job.result())
            name, code, seconds, tests = results[-1]
            print(f"scenario {name}: {'ok' if code == 0 else 'FAILED'} in {seconds:.0f} s. {tests}", flush=True)
    failed = [name for name, code, *_ in results if code]
    print(
        f"{len(results) - len(failed)} scenarios passed, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
