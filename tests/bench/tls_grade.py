# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what grading one host costs, beside the scanners that an admin would run by hand.

One nginx on loopback as the collection sets it up; the programs take turns, medians of --rounds rounds. Needs nginx-light and sslyze;
sslscan and testssl.sh are measured where they are installed (testssl.sh once: it takes a minute).

    .cache/venv/bin/python tests/bench/tls_grade.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "verify"), str(ROOT / ".cache" / "collections")]

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_sslyze  # noqa: E402
from tls_pki import NAME, Pki  # noqa: E402
from tls_servers import Bank, Spec  # noqa: E402

COLLECTIONS = ROOT / ".cache" / "collections"
MODULE = "ansible_collections.jellynet.jellyfin.plugins.modules.tls_grade_info"
AIM = 5.0


def timed(argv: list[str], folder: Path, feed: str = "") -> tuple[float, str]:
    """Wall time and output; a scanner's exit code says nothing."""
    env = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
    began = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, input=feed, cwd=folder, env=env, check=False)
    return time.monotonic() - began, done.stdout


def programs(folder: Path, port: int, roots: Path, scanner: str) -> dict[str, tuple[list[str], str, str]]:
    """Label: command, standard input, what it tells of the grade."""
    arguments = {"host": "127.0.0.1", "port": port, "server_name": NAME, "ca_path": str(roots), "scanner": scanner}
    # A module run by hand takes its arguments from standard input.
    feed = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    ansible = Path(sys.executable).parent / "ansible"
    target = f"127.0.0.1:{port}"
    listed = {
        "`tls_grade_info`": ([sys.executable, "-m", MODULE], feed, "grade, caps, Mozilla 6.0, groups, SNI, HSTS"),
        "the same by `ansible localhost -m`": (
            [str(ansible), "localhost", "-m", "jellynet.jellyfin.tls_grade_info", "-a", json.dumps(arguments)],
            "",
            "the same",
        ),
        f"sslyze {_tls_sslyze.VERSION}, as it comes": (
            [scanner, target, "--sni", NAME, "--certinfo_ca_file", str(roots)],
            "",
            "no grade; Mozilla 5.7",
        ),
    }
    if shutil.which("sslscan"):
        listed["sslscan"] = (["sslscan", "--no-colour", f"--sni-name={NAME}", target], "", "no grade")
    return listed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-testssl", action="store_true")
    parser.add_argument("--dry", action="store_true", help="print, and leave docs/benchmarks.md alone")
    asked = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    private = ROOT / ".cache" / "sslyze" / "bin" / "sslyze"
    scanner = _tls_sslyze.find(str(private) if private.exists() else "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pki, bank = Pki(folder), Bank(folder)
        served = [pki.leaf("ec"), pki.leaf("rsa", "rsa:2048")]
        bank.start({"nginx": Spec("nginx", served)}, None)
        try:
            listed = programs(folder, bank.ports["nginx"], pki.roots, scanner)
            seconds: dict[str, list[float]] = {label: [] for label in listed}
            for turn in range(asked.rounds):
                for label, (argv, feed, _tells) in listed.items():
                    taken, out = timed(argv, folder, feed)
                    seconds[label].append(taken)
                    if "tls_grade_info" in label and '"grade": "A+"' not in out:
                        sys.exit(f"{label} did not grade: {out[-800:]}")
                print(f"round {turn + 1} of {asked.rounds}", flush=True)
            rows = [[label, *figures(seconds[label]), listed[label][2]] for label in listed]
            if shutil.which("testssl") and not asked.no_testssl:
                argv = [
                    "testssl",
                    "--quiet",
                    "--color",
                    "0",
                    "--warnings",
                    "batch",
                    "--nodns",
                    "none",
                    "--ip",
                    "127.0.0.1",
                ]
                taken, _out = timed([*argv, f"{NAME}:{bank.ports['nginx']}"], folder)
                rows.append(["testssl.sh 3.0 (once)", *figures([taken]), "no grade before 3.2"])
        finally:
            bank.stop()
    body = report.table(["program", "median s", "least s", "most s", "what it tells"], rows)
    aim = f"The aim is a grade within {AIM:g} s; the module's median is {rows[0][1]:.3g} s."
    text = f"One nginx on loopback with an ECDSA and an RSA certificate, {asked.rounds} rounds in turns.\n\n{body}\n\n{aim}"
    print("\n" + text)
    if not asked.dry:
        report.write("Grading one host's TLS", ".cache/venv/bin/python tests/bench/tls_grade.py", text)


def figures(values: list[float]) -> list[float]:
    return [float(report.median(values)), min(values), max(values)]


if __name__ == "__main__":
    main()
