"""The command line of the lab."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

from . import acme, images, labs
from .inventory import inventory, yaml
from .run import PODMAN, LabError, say


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lab", description="Test hosts: containers that run systemd, on networks of their own."
    )
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser

    one = add("images", help="build the host images that are missing")
    one.add_argument("names", nargs="*", help=f"of {', '.join(images.IMAGES)}; default: all")
    one.add_argument("--again", action="store_true", help="build them even if they are there (fresh package lists)")

    one = add("up", help="boot the hosts of a topology")
    one.add_argument("topology", type=Path)
    one.add_argument(
        "--name", help="name of the lab, the prefix of its containers and networks; default: from the topology's path"
    )
    one.add_argument("--fresh", action="store_true", help="take a lab of that name away first")
    one.add_argument("--inventory", type=Path, help="write the inventory here too")

    one = add("down", help="take a lab away")
    one.add_argument("name", help="the lab's name, or the path of the topology it came from")

    add("ps", help="what runs")

    one = add("exec", help="run a command in a host: lab exec NAME HOST -- COMMAND")
    one.add_argument("name")
    one.add_argument("host")
    one.add_argument("argv", nargs=argparse.REMAINDER)

    one = add("inventory", help="print the Ansible inventory of a lab")
    one.add_argument("name")
    one.add_argument("--path", action="store_true", help="print where it lies")

    one = add("address", help="print a host's address on a network")
    one.add_argument("name")
    one.add_argument("host")
    one.add_argument("network")

    one = add("dns", help="lead a DNS name, as the ACME server sees it, to an address or a host; `none`: to nothing")
    one.add_argument("name")
    one.add_argument("domain")
    one.add_argument("target")

    one = add("trust", help="put the ACME server's root into the system trust store of hosts")
    one.add_argument("name")
    one.add_argument("hosts", nargs="+")
    one.add_argument("--take-away", action="store_true")

    one = add("reboot", help="reboot a host and wait for it")
    one.add_argument("name")
    one.add_argument("host")
    return top


def main() -> int:
    asked = parser().parse_args()
    if getattr(asked, "name", None):
        asked.name = labs.name_of(asked.name)
    try:
        return act(asked)
    except LabError as error:
        say(f"lab: {error}")
        return 1


def act(asked: argparse.Namespace) -> int:
    match asked.command:
        case "images":
            images.ensure(asked.names or list(images.IMAGES), again=asked.again)
        case "up":
            written = labs.up(asked.topology, asked.name or labs.name_of(str(asked.topology)), asked.fresh)
            if asked.inventory:
                asked.inventory.parent.mkdir(parents=True, exist_ok=True)
                asked.inventory.write_text(written.read_text())
            print(written)
        case "down":
            labs.down(asked.name)
        case "ps":
            for lab, host, status in labs.running():
                print(f"{lab:16} {host:12} {status}")
        case "exec":
            argv = asked.argv[1:] if asked.argv[:1] == ["--"] else asked.argv
            terminal = ["--interactive", *(["--tty"] if os.isatty(0) and os.isatty(1) else [])]
            return subprocess.run(
                [PODMAN, "exec", *terminal, f"{asked.name}-{asked.host}", *(argv or ["bash"])]
            ).returncode
        case "inventory":
            path = labs.room(asked.name) / "inventory.yml"
            print(path if asked.path else "---\n" + yaml(inventory(asked.name, labs.known(asked.name))))
        case "address":
            print(labs.known(asked.name).hosts[asked.host].addresses[asked.network])
        case "dns":
            print(acme.point(asked.name, labs.known(asked.name), asked.domain, asked.target))
        case "trust":
            for host in asked.hosts:
                acme.trust(asked.name, host, take_away=asked.take_away)
        case "reboot":
            labs.reboot(asked.name, asked.host)
    return 0
