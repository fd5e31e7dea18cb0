# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own command for its doors: what certbot's hook, the timer and a person at the keyboard call."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from . import _door, _door_readers, _door_sync, _x509
from ._door import DoorError, Layout
from ._door_sync import ConfigError, Result
from ._x509 import X509Error


def main(argv: list[str] | None = None, layout: Layout | None = None, now: datetime | None = None) -> int:
    """Returns 0, or 1 with what is wrong on standard error."""
    asked = _parser().parse_args(argv)
    try:
        if asked.command == "status":
            return status(layout or Layout(), asked.json)
        config = _door_sync.load_config(Path(asked.config))
        _x509.openssl(["version"])
        if asked.command == "check":
            return 0
        result = _door_sync.sync(config, layout or host_layout(), now or _x509.utcnow())
    except (ConfigError, DoorError, X509Error, OSError) as problem:
        _complain(f"jellynet-certificate-door: {problem}")
        return 1
    return report(result)


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")


def _complain(words: str) -> None:
    sys.stderr.write(words + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jellynet-certificate-door", description="Keeps the certificates that the proxy reads."
    )
    parser.add_argument("--config", default=str(_door_sync.CONFIG), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    commands.add_parser("sync", help="take over what certbot, the local CA or the files offer, and tell who reads it")
    state = commands.add_parser("status", help="what stands in the doors, and who has not been told of it")
    state.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("check", help="whether the configuration can be used")
    return parser


def host_layout() -> Layout:
    """The host's own folders."""
    gid = _door.group_id()
    if gid is None:
        raise DoorError(f"the group {_door.GROUP} is missing. Run site.yml, which creates it")
    return Layout(gid=gid)


def report(result: Result) -> int:
    """One line for each thing that happened; silent when nothing did, so that timers do not fill the journal."""
    for domain, said in result.doors.items():
        if said != result.before.get(domain):
            _say(f"{domain}: {said['source']}, serial {said['serial']}, until {said['not_after']}")
    for domain in result.new_roots:
        _say(
            f"{domain}: the local CA has a new root, which every client has to install: {_door.Layout().local_ca}/{domain}.pem"
        )
    for unit in result.reloaded:
        _say(f"{unit}: told of it")
    for unit, words in result.failed_readers.items():
        _complain(f"{unit} could not be told of a new certificate, the next sync tries again: {words}")
    for problem in result.problems:
        _complain(problem)
    return 1 if result.problems or result.failed_readers else 0


def status(layout: Layout, as_json: bool) -> int:
    """What is there, read only."""
    found = {}
    for domain in _door.doors(layout):
        door = _door.read(layout, domain)
        if door and door.description:
            found[domain] = door.description
    said: Any = {"doors": found, "pending": _door_readers.pending(layout.certificates)}
    if as_json:
        _say(json.dumps(said, indent=1, sort_keys=True))
        return 0
    for domain, holds in found.items():
        trust = "publicly trusted" if holds["public"] else "not publicly trusted"
        _say(f"{domain}: {holds['source']} ({', '.join(holds['key_types'])}), {trust}, until {holds['not_after']}")
    for name in said["pending"]:
        _say(f"{name} has not been told of the last change; `jellynet-certificate-door sync` tries again")
    return 0
