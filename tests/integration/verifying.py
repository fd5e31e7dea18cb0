"""verify.yml against a lab: the run, its report, and what an independent client says of the same thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SEATS = ["-e", "jellyfin_verify_lan_host=client", "-e", "jellyfin_verify_wan_host=outside"]
# What only the double of the tests can do: repeat the caller's address, and a film to ask a range of.
DOUBLE = ["-e", "jellyfin_verify_echo_path=/double/echo", "-e", "jellyfin_verify_range_path=/Videos/a/stream.mkv"]


def verify(ansible_playbook: Any, folder: Path, *arguments: str) -> tuple[Any, dict[str, Any]]:
    """The finished run and its report."""
    done = ansible_playbook("verify.yml", *SEATS, *DOUBLE, "-e", f"jellyfin_verify_report={folder}", *arguments)
    report = folder / "report.json"
    assert report.exists(), done.stdout + done.stderr
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    return done, json.loads(report.read_text())


def by_title(report: dict[str, Any], status: str | None = None) -> dict[tuple[str, str], str]:
    """(area, title): what was found."""
    return {(c["area"], c["title"]): c["found"] for c in report["checks"] if status in (None, c["status"])}


def negotiated(host: Any, name: str, words: str) -> bool:
    """Whether OpenSSL's own client comes to a handshake."""
    done = host.run(f"openssl s_client -connect {name}:443 -servername {name} {words} </dev/null")
    return "Cipher is" in done.stdout and "Cipher is (NONE)" not in done.stdout
