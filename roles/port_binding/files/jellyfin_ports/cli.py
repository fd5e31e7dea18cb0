# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import __version__
from .config import DEFAULT_PATH, ConfigError
from .control import PROCESSES

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_PORT = 0, 1, 2, 3

_EXIT_CODES = """\
exit codes:
  0  all is well
  1  something is not as it should be: a process is down, nothing was discovered, a reload failed
  2  the configuration or the command line is wrong; each problem is named with its line
  3  a port is held by another process, which is named (for root)
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jellyfin-ports",
        description="Gives a Jellyfin server its ports on the LAN: HTTP, HTTPS, client discovery, SSDP, HDHomeRun.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jellyfin-ports {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=_EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument(
            "--config", default=DEFAULT_PATH, metavar="FILE", help="the configuration (default: %(default)s)"
        )
        return sub

    serve = command("serve", "Run one of the processes in the foreground, as the systemd units do.")
    serve.add_argument("process", choices=PROCESSES, help="which one")
    serve.add_argument("--verbose", action="store_true", help="log more")
    check = command("check", "Check the configuration, the certificates and whether the ports can be had.")
    check.add_argument("--no-ports", action="store_true", help="do not look who holds the ports")
    status = command("status", "Show the ports, what is announced to whom, the servers and the counters.")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument(
        "--generation", action="store_true", help="print only the generation that all processes run, if they agree"
    )
    discover = command("discover", "Show what clients on this machine's networks find, and what is wrong with it.")
    discover.add_argument("--json", action="store_true", help="as JSON")
    discover.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="how long to listen (3)")
    discover.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="ask this host too, by unicast; may be repeated",
    )
    reload = command("reload", "Make a running process read its configuration and certificates again.")
    reload.add_argument("process", choices=PROCESSES, help="which one")
    bans = command("bans", "Show the addresses that are cut off or get no login for a time, until when and why.")
    bans.add_argument("--json", action="store_true", help="as JSON")
    unban = command("unban", "Let an address in again, and forget its failed logins.")
    unban.add_argument("address", metavar="ADDRESS", help="as `bans` shows it")
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from . import runtime, systemd

    systemd.set_up_logging(arguments.verbose)
    service: runtime.Service
    if arguments.process == "relay":
        from .relay.service import RelayService

        service = RelayService()
    elif arguments.process == "limits":
        from .limits.service import LimitsService

        service = LimitsService()
    elif arguments.process == "guard":
        from .guard.service import GuardService

        service = GuardService()
    else:
        from .discovery_service import DiscoveryService

        service = DiscoveryService()
    return runtime.run(service, arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from .check import check

    findings = check(arguments.config, ports=not arguments.no_ports)
    for line in findings.errors + findings.taken:
        print(line, file=sys.stderr)
    for line in findings.hints:
        print(f"note: {line}", file=sys.stderr)
    if findings.errors:
        return EXIT_CONFIG
    if findings.taken:
        return EXIT_PORT
    print(f"{arguments.config}: good")
    return EXIT_OK


def _status(arguments: argparse.Namespace) -> int:
    from . import status

    if arguments.generation:
        generation, problems = status.generation(arguments.config)
        for problem in problems:
            print(problem, file=sys.stderr)
        if generation:
            print(generation)
        return EXIT_OK if generation else EXIT_FAILED
    report = status.collect(arguments.config)
    print(json.dumps(report, indent=2) if arguments.json else status.render(report))
    return EXIT_OK if status.healthy(report) else EXIT_FAILED


def _discover(arguments: argparse.Namespace) -> int:
    from . import discover

    report = discover.discover(arguments.timeout, arguments.address)
    print(json.dumps(report, indent=2) if arguments.json else discover.render(report))
    return EXIT_OK if report["jellyfin"] else EXIT_FAILED


def _reload(arguments: argparse.Namespace) -> int:
    from . import control

    try:
        control.ask(arguments.process, "reload")
        for _turn in range(200):
            answer = control.ask(arguments.process, "reloaded")
            if answer.get("done"):
                if answer.get("error"):
                    print(answer["error"], file=sys.stderr)
                    return EXIT_FAILED
                return EXIT_OK
            time.sleep(0.05)
    except control.NotRunning as error:
        print(f"{arguments.process}: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{arguments.process}: the reload takes more than 10 s", file=sys.stderr)
    return EXIT_FAILED


def _asked(path: str, request: dict[str, object]) -> tuple[dict[str, dict[str, Any]], bool]:
    """What the processes that refuse addresses say, by name, and whether all of them did."""
    from . import config, control

    answers: dict[str, dict[str, Any]] = {}
    processes = ("limits", "guard") if config.load(path).guard.enabled else ("limits",)
    for process in processes:
        try:
            answers[process] = control.ask(process, json.dumps(request))
        except control.NotRunning as error:
            print(f"{process}: {error}", file=sys.stderr)
    return answers, len(answers) == len(processes)


def _bans(arguments: argparse.Namespace) -> int:
    from . import status

    answers, complete = _asked(arguments.config, {"bans": True})
    answer = {"bans": [], "enforced": "limits" in answers, **answers.get("limits", {})}
    answer["logins"] = answers.get("guard", {}).get("bans", [])
    print(json.dumps(answer, indent=2) if arguments.json else status.render_bans(answer))
    return EXIT_OK if complete else EXIT_FAILED


def _unban(arguments: argparse.Namespace) -> int:
    answers, complete = _asked(arguments.config, {"unban": arguments.address})
    wrong = next((answer["error"] for answer in answers.values() if answer.get("error")), "")
    if wrong:
        print(wrong, file=sys.stderr)
        return EXIT_CONFIG
    done = any(answer["unbanned"] for answer in answers.values())
    for network in list(dict.fromkeys(answer["network"] for answer in answers.values()))[-1:]:
        print(f"{network} is let in again" if done else f"{network} was not banned")
    return EXIT_OK if done and complete else EXIT_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    actions = {
        "serve": _serve, "check": _check, "status": _status, "discover": _discover, "reload": _reload,
        "bans": _bans, "unban": _unban,
    }  # fmt: skip
    try:
        return actions[arguments.command](arguments)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_CONFIG
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_FAILED
