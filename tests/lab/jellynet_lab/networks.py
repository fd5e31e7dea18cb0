"""Gives every lab subnets of its own, so that several run at once."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from itertools import islice

from .run import LabError, locked, podman
from .topology import Topology

LAN = ipaddress.IPv4Network("10.77.0.0/16")
# Neither private nor anybody's: the former 6to4 relay range. The TEST-NETs and 198.18.0.0/15 will not do for an
# Internet side, much software (Python's ipaddress among it) calls them private.
WAN = ipaddress.IPv4Network("192.88.99.0/24")
LAN6 = "fd77:6a65:6c6c:{:x}::/64"
WAN6 = "2001:db8:77:{:x}::/64"


def candidates(kind: str) -> Iterator[ipaddress.IPv4Network]:
    return islice(LAN.subnets(new_prefix=24), 1, None) if kind == "lan" else WAN.subnets(new_prefix=28)


def create(lab: str, topology: Topology) -> None:
    with locked("networks"):
        taken = [
            ipaddress.ip_network(subnet["subnet"])
            for network in json.loads(podman("network", "ls", "--format", "json").stdout or "[]")
            for subnet in network.get("subnets") or []
        ]
        for network in topology.networks.values():
            free = (
                net for net in candidates(network.kind) if not any(net.overlaps(o) for o in taken if o.version == 4)
            )
            subnet = next(free, None)
            if subnet is None:
                raise LabError(f"no {network.kind} subnet is free: take labs down that you do not need (`lab ps`)")
            taken.append(subnet)
            network.subnet = str(subnet)
            extra: list[str] = []
            if network.ipv6:
                form = LAN6 if network.kind == "lan" else WAN6
                number = next(n for n in range(1, 65536) if ipaddress.ip_network(form.format(n)) not in taken)
                network.subnet6 = form.format(number)
                taken.append(ipaddress.ip_network(network.subnet6))
                extra = ["--ipv6", "--subnet", network.subnet6]
            podman(
                "network", "create", "--internal", "--disable-dns", "--label", f"jellynet.lab={lab}",
                "--subnet", network.subnet, *extra, f"{lab}-{network.name}",
            )  # fmt: skip
    for network in topology.networks.values():
        members = [host for host in topology.hosts.values() if network.name in host.networks]
        chosen = ipaddress.IPv4Network(network.subnet)
        first = 10 if chosen.prefixlen <= 24 else 2
        for number, host in enumerate(members, first):
            host.addresses[network.name] = str(chosen[number])
            if network.subnet6:
                host.addresses6[network.name] = str(ipaddress.ip_network(network.subnet6)[number])
