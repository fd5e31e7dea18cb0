"""The Ansible inventory of a lab."""

from __future__ import annotations

import json
from typing import Any

from .run import PODMAN
from .topology import Topology


def inventory(lab: str, topology: Topology) -> dict[str, Any]:
    hosts: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for host in topology.hosts.values():
        hosts[host.name] = {"ansible_host": f"{lab}-{host.name}"} | topology.filled(host.vars)
        for group in host.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = {}
    for group, values in topology.group_vars.items():
        groups.setdefault(group, {"hosts": {}})["vars"] = topology.filled(values)
    common = {
        "ansible_connection": "containers.podman.podman",
        "ansible_podman_executable": str(PODMAN),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return {"all": {"hosts": hosts, "vars": common | topology.filled(topology.vars), "children": groups}}


def yaml(data: dict[str, Any], indent: int = 0) -> str:
    """Just enough YAML: mappings by indentation, every other value as JSON, which YAML contains."""
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            lines.append(f"{' ' * indent}{key}:\n{yaml(value, indent + 2)}")
        else:
            lines.append(f"{' ' * indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)
