"""A lab as a whole: up, down, what runs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import hosts, images, networks, services
from .inventory import inventory, yaml
from .run import CACHE, ROOT, LabError, podman, step
from .topology import Host, Topology, from_data, load

AT_ONCE = 4


def room(lab: str) -> Path:
    return CACHE / "labs" / lab


def name_of(text: str) -> str:
    """A lab's name; for the path of a topology, the name of its folder, marked as this checkout's."""
    path = Path(text)
    if path.suffix not in (".toml", ".json"):
        return text
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:4]
    name = path.stem if path.stem != "topology" else path.resolve().parent.name
    return f"j{checkout}-{name}"


def up(path: Path, lab: str, fresh: bool = False) -> Path:
    """Boot everything that the topology names; returns the path of the inventory."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,24}", lab):
        raise LabError(f"--name {lab!r}: small letters, digits and hyphens, at most 25, please")
    topology = load(path)
    if fresh:
        down(lab)
    if containers(lab) or network_names(lab):
        raise LabError(f"the lab {lab!r} is up already: `lab down {lab}` first")
    place = room(lab)
    place.mkdir(parents=True, exist_ok=True)
    topology.places = {
        "acme-root": str(place / "acme-root.pem"),
        "acme-ca": str(place / "acme-ca.pem"),
        "report": str(place / "report"),
    }
    images.ensure(sorted({host.image for host in topology.hosts.values()}))
    hosts.raise_limits()
    try:
        with step(f"{lab}: booting {', '.join(topology.hosts)}"):
            networks.create(lab, topology)
            each(topology, lambda host: hosts.start(lab, host))
            each(topology, lambda host: hosts.wait(lab, host.name))
            each(topology, lambda host: hosts.prepare(lab, host, topology))
        if any(host.setup for host in topology.hosts.values()):
            with step(f"{lab}: what was on the hosts before"):
                each(topology, lambda host: hosts.inside(lab, host.name, topology.filled(host.setup)))
        services.start(lab, topology)
    except BaseException:
        down(lab)
        raise
    (place / "topology.json").write_text(json.dumps(stored(topology), indent=1))
    written = place / "inventory.yml"
    written.write_text("---\n" + yaml(inventory(lab, topology)))
    return written


def each(topology: Topology, work: Callable[[Host], object]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, topology.hosts.values()))


def stored(topology: Topology) -> dict[str, Any]:
    data = asdict(topology)
    for kind in ("networks", "hosts"):
        for item in data[kind].values():
            del item["name"]
    return data


def known(lab: str) -> Topology:
    """The topology of a lab that is up, with its addresses."""
    path = room(lab) / "topology.json"
    if not path.exists():
        raise LabError(f"no lab {lab!r} is up from this checkout: `lab ps` shows what runs")
    return from_data(json.loads(path.read_text()), str(path))


def down(lab: str) -> None:
    names = containers(lab)
    if names:
        podman("rm", "--force", "--time", "2", "--volumes", *names)
    nets = network_names(lab)
    if nets:
        podman("network", "rm", "--force", *nets)
    shutil.rmtree(room(lab), ignore_errors=True)


def containers(lab: str) -> list[str]:
    return podman("ps", "--all", "--filter", f"label=jellynet.lab={lab}", "--format", "{{.Names}}").stdout.split()


def network_names(lab: str) -> list[str]:
    return podman("network", "ls", "--filter", f"label=jellynet.lab={lab}", "--format", "{{.Name}}").stdout.split()


def running() -> list[tuple[str, str, str]]:
    form = '{{index .Labels "jellynet.lab"}}\t{{index .Labels "jellynet.host"}}\t{{.Status}}'
    said = podman("ps", "--all", "--filter", "label=jellynet.lab", "--format", form).stdout
    return sorted((*line.split("\t"),) for line in said.splitlines() if line.count("\t") == 2)  # type: ignore[misc]


def reboot(lab: str, host: str) -> None:
    """An orderly reboot; the host keeps its files."""
    podman("restart", "--time", "20", f"{lab}-{host}")
    hosts.wait(lab, host)
    services.after_boot(lab, known(lab), host)
