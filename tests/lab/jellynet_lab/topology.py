"""A topology: which hosts on which networks. Read from TOML (or JSON); README.md shows one."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .images import IMAGES
from .run import LabError

SERVICES = ("acme", "jellyfin")
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass
class Network:
    name: str
    kind: str = "lan"  # lan: private addresses; wan: addresses that are not private
    ipv6: bool = False
    subnet: str = ""  # chosen when the lab goes up
    subnet6: str = ""


@dataclass
class Host:
    name: str
    image: str = "debian12"
    networks: list[str] = field(default_factory=list)
    uplink: bool = True  # eth0 on podman's own bridge, towards the package servers
    groups: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    setup: str = ""  # a shell script: what was on the host before
    jellyfin: dict[str, Any] = field(default_factory=dict)  # wishes for the double, see jellyfin.py
    trusts_acme: bool = False
    vars: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    addresses6: dict[str, str] = field(default_factory=dict)


@dataclass
class Topology:
    networks: dict[str, Network]
    hosts: dict[str, Host]
    names: dict[str, str]  # DNS name: the host it leads to
    vars: dict[str, Any]
    group_vars: dict[str, dict[str, Any]]
    places: dict[str, str] = field(default_factory=dict)  # {lab.X}: paths on the controller, set when the lab goes up

    def shared(self, one: Host, other: Host) -> str | None:
        """The first network that both hosts are on."""
        return next((name for name in other.networks if name in one.networks), None)

    def filled(self, value: Any) -> Any:
        """`{host.network}`, `{subnet.network}` and `{lab.place}` replaced by what was allocated."""
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, str):
            return re.sub(r"(?<!\{)\{([a-z0-9-]+)\.([a-z0-9-]+)\}(?!\})", self._fill, value)
        return value

    def _fill(self, match: re.Match[str]) -> str:
        host, network = match.groups()
        try:
            if host == "lab":
                return self.places[network]
            return self.networks[network].subnet if host == "subnet" else self.hosts[host].addresses[network]
        except KeyError:
            raise LabError(f"{match.group()} names no host of this topology on that network") from None


def load(path: Path) -> Topology:
    try:
        text = path.read_text()
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: {error}") from None
    return from_data(data, str(path))


def from_data(data: dict[str, Any], where: str) -> Topology:
    unknown = set(data) - {"networks", "hosts", "names", "vars", "group_vars", "places"}
    if unknown:
        raise LabError(f"{where}: unknown keys {', '.join(sorted(unknown))}")
    try:
        networks = {name: Network(name=name, **fields) for name, fields in data.get("networks", {}).items()}
        hosts = {name: Host(name=name, **fields) for name, fields in data.get("hosts", {}).items()}
    except TypeError as error:
        raise LabError(f"{where}: {error}") from None
    topology = Topology(
        networks, hosts, data.get("names", {}), data.get("vars", {}), data.get("group_vars", {}), data.get("places", {})
    )
    wrong = [
        *(
            f"{name}: not a name of small letters, digits and hyphens"
            for name in (*networks, *hosts)
            if not NAME.fullmatch(name)
        ),
        *(f"network {net.name}: kind is lan or wan" for net in networks.values() if net.kind not in ("lan", "wan")),
        *(f"host {host.name}: no image {host.image!r}" for host in hosts.values() if host.image not in IMAGES),
        *(
            f"host {host.name}: no network {net!r}"
            for host in hosts.values()
            for net in host.networks
            if net not in networks
        ),
        *(f"host {host.name}: no service {s!r}" for host in hosts.values() for s in host.services if s not in SERVICES),
        *(f"name {name}: no host {host!r}" for name, host in topology.names.items() if host not in hosts),
    ]
    if not hosts:
        wrong.append("no hosts")
    if wrong:
        raise LabError(f"{where}: " + "; ".join(wrong))
    return topology
