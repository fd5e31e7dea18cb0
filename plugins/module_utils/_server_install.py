# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Jellyfin is configured on a host, and which ports that configuration takes.

Decided by what is configured (package, unit, network.xml, published container ports), never by who holds a port now:
a server that is being upgraded must find its ports free.
"""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _debian, _network_xml

UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
PACKAGES = ("jellyfin-server", "jellyfin")
DEFAULT_CONFIG = "/etc/jellyfin"
ENGINES = ("podman", "docker")


def holds(network: Mapping[str, Any], dlna: bool) -> dict[str, list[int]]:
    """The ports that a server with this network.xml binds on all addresses."""
    tcp = [int(network["InternalHttpPort"])]
    if network["EnableHttps"] and network["CertificatePath"]:
        tcp.append(int(network["InternalHttpsPort"]))
    udp = [7359] if network["AutoDiscovery"] else []
    if dlna:
        udp.append(1900)
    return {"tcp": tcp, "udp": udp}


def published(listing: str) -> list[dict[str, Any]]:
    """The Jellyfin containers in the JSON that `podman ps -a --format json` or one-line-a-container `docker ps` prints."""
    try:
        containers = json.loads(listing)
    except ValueError:
        containers = []
        for line in listing.splitlines():
            try:
                containers.append(json.loads(line))
            except ValueError:
                continue
    if isinstance(containers, dict):
        containers = [containers]
    found = []
    for container in containers:
        if not isinstance(container, dict) or "jellyfin" not in str(container.get("Image", "")).lower():
            continue
        names = container.get("Names", "")
        name = names[0] if isinstance(names, list) and names else str(names)
        networks = container.get("Networks", "")
        host_network = networks in ("host", ["host"]) or container.get("NetworkMode") == "host"
        found.append({"name": name, "host_network": host_network, "ports": _container_ports(container.get("Ports"))})
    return found


def _container_ports(ports: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if isinstance(ports, list):  # podman
        for item in ports:
            for offset in range(int(item.get("range") or 1)):
                for proto in str(item.get("protocol", "tcp")).split(","):
                    found.append({"port": int(item["host_port"]) + offset, "proto": proto})
    elif isinstance(ports, str):  # docker: 0.0.0.0:8096->8096/tcp, :::8096->8096/tcp
        for match in re.finditer(r":(\d+)(?:-(\d+))?->[\d-]+/(tcp|udp)", ports):
            for port in range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1):
                found.append({"port": port, "proto": match.group(3)})
    unique: list[dict[str, Any]] = []
    for item in found:
        if item not in unique:
            unique.append(item)
    return unique


def _unit(root: str) -> str:
    for folder in UNIT_FOLDERS:
        path = os.path.join(root, folder, "jellyfin.service")
        # A link to /dev/null is a masked unit.
        if os.path.exists(path) and os.path.realpath(path) != "/dev/null":
            return "jellyfin.service"
    return ""


def _config_dir(root: str) -> str:
    text = _debian.read(os.path.join(root, "etc/default/jellyfin"))
    match = re.search(r"^\s*(?:export\s+)?JELLYFIN_CONFIG_DIR=[\"']?([^\"'\n]+)", text, re.MULTILINE)
    return match.group(1).strip() if match else DEFAULT_CONFIG


def _containers(run: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for engine in ENGINES:
        form = "json" if engine == "podman" else "{{json .}}"
        for container in published(run([engine, "ps", "--all", "--no-trunc", "--format", form])):
            if engine == "docker" and not container["ports"] and not container["host_network"]:
                # Docker's list has no ports of a container that is not up; one that found its port taken is such.
                container["ports"] = _bindings(
                    run([engine, "inspect", "--format", "{{json .HostConfig.PortBindings}}", container["name"]])
                )
            found.append(container)
    return found


def _bindings(text: str) -> list[dict[str, Any]]:
    """{"8096/tcp": [{"HostIp": "", "HostPort": "8096"}]}, as Docker keeps what a container is to publish."""
    try:
        bindings = json.loads(text) or {}
    except ValueError:
        return []
    found: list[dict[str, Any]] = []
    for inside, outside in bindings.items():
        for item in outside or []:
            port, proto = item.get("HostPort", ""), inside.rpartition("/")[2]
            if port.isdigit() and proto in ("tcp", "udp") and {"port": int(port), "proto": proto} not in found:
                found.append({"port": int(port), "proto": proto})
    return found


def _run(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def find(packages: Mapping[str, str], root: str = "/", run: Any = _run) -> dict[str, Any]:
    """What is configured here: package, unit, config_dir, network (the values in force), containers, holds, problem."""
    package: str | None = next((name for name in PACKAGES if name in packages), None)
    unit = _unit(root)
    config_dir = _config_dir(root) if package or unit else ""
    network: dict[str, Any] | None = None
    problem = ""
    taken: dict[str, list[int]] = {"tcp": [], "udp": []}
    if config_dir:
        text = _debian.read(os.path.join(root, config_dir.lstrip("/"), "network.xml"))
        try:
            network = _network_xml.parse(text or _network_xml.EMPTY)
        except _network_xml.NetworkXmlError as error:
            # Jellyfin ignores such a file and runs on its defaults.
            problem = f"{config_dir}/network.xml: {error}"
            network = dict(_network_xml.DEFAULTS)
        dlna = bool(glob.glob(os.path.join(root, "var/lib/jellyfin/plugins", "DLNA*")))
        taken = holds(network, dlna)
        for name in _network_xml.SECRET:
            network.pop(name, None)
    containers = _containers(run)
    for container in containers:
        if container["host_network"]:
            inside = holds(_network_xml.DEFAULTS, False)
            taken = {proto: taken[proto] + inside[proto] for proto in taken}
        for item in container["ports"]:
            taken[item["proto"]].append(item["port"])
    return {
        "package": package or "",
        "unit": unit,
        "config_dir": config_dir,
        "network": network or {},
        "containers": containers,
        "holds": {proto: sorted(set(ports)) for proto, ports in taken.items()},
        "problem": problem,
    }
