# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Jellyfin is configured on a host, and which ports that configuration takes.

Decided by what is configured (package, unit, network.xml, published container ports), never by who holds a port now:
a server that is being upgraded must find its ports free.
"""

from __future__ import annotations

import glob
import ipaddress
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


def published(inspection: str) -> list[dict[str, Any]]:
    """The containers in what `podman inspect` or `docker inspect` prints, with the ports that their configuration publishes.

    `docker ps` lists no ports of a container that is stopped, which takes them as it starts.
    """
    try:
        containers = json.loads(inspection or "[]")
    except ValueError:
        return []
    found = []
    for container in containers if isinstance(containers, list) else []:
        if not isinstance(container, dict):
            continue
        host = container.get("HostConfig") or {}
        # What the engine chose by itself is in force only while the container runs.
        running = (container.get("NetworkSettings") or {}).get("Ports")
        # The name that it was made from: what `ps` shows loses it when the tag moves on to a newer image.
        image = (container.get("Config") or {}).get("Image") or container.get("ImageName") or ""
        found.append(
            {
                "id": str(container.get("Id") or ""),
                "name": str(container.get("Name") or "").lstrip("/"),
                "image": str(image),
                "network": str(host.get("NetworkMode") or ""),
                "ports": _container_ports(host.get("PortBindings"), running),
            }
        )
    return found


def _container_ports(*tables: Any) -> list[dict[str, Any]]:
    """Ports from `{"8096/tcp": [{"HostIp": "", "HostPort": "8096"}]}`, of protocols that a Jellyfin speaks."""
    found: list[dict[str, Any]] = []
    for table in tables:
        for inside, bindings in sorted((table or {}).items()):
            proto = str(inside).partition("/")[2] or "tcp"
            for binding in bindings or []:
                port = str(binding.get("HostPort") or "")
                item = {"port": int(port), "proto": proto, "address": _bound(binding)} if port.isdigit() else None
                if item and proto in ("tcp", "udp") and item["port"] and item not in found:
                    found.append(item)
    return found


def _bound(binding: Mapping[str, Any]) -> str:
    """The host's address that a port is published on; '' for all of them."""
    address = str(binding.get("HostIp") or "")
    return "" if address in ("0.0.0.0", "::", "[::]") else address.strip("[]")


def is_loopback(address: str) -> bool:
    """Whether a port that is published on this address stays on the host."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


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
    """The Jellyfin containers of all engines, stopped ones too. Which they are is seen by their image."""
    found: list[dict[str, Any]] = []
    for engine in ENGINES:
        names = run([engine, "ps", "--all", "--quiet", "--no-trunc"]).split()
        every = published(run([engine, "inspect", "--type", "container", *names])) if names else []
        for container in every:
            if "jellyfin" not in container["image"].lower():
                continue
            # One that lives in the network of another container (a pod's, a VPN's) is published by that one.
            inside = container["network"].partition("container:")[2]
            owners = [other for other in every if inside and inside in (other["id"], other["name"])]
            ports = container["ports"] + [item for owner in owners for item in owner["ports"]]
            found.append(
                {
                    "name": container["name"],
                    "host_network": "host" in [one["network"] for one in (container, *owners)],
                    "ports": [item for index, item in enumerate(ports) if item not in ports[:index]],
                }
            )
    return found


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
            argv, capture_output=True, text=True, timeout=15, check=False
        )
        return done.stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def find(packages: Mapping[str, str], root: str = "/", run: Any = _run) -> dict[str, Any]:
    """What is configured here: package, unit, config_dir, network (the values in force), containers, problem,
    holds (the ports that are taken), loopback (those of them that only this host reaches)."""
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
    # A port on 127.0.0.1 alone is taken too: no second socket can listen on all addresses beside it. But the LAN has nothing of it.
    open_to_others = {proto: set(ports) for proto, ports in taken.items()}
    items = [item for container in containers for item in container["ports"]]
    for item in items:
        taken[item["proto"]].append(item["port"])
        if not is_loopback(item["address"]):
            open_to_others[item["proto"]].add(item["port"])
    loopback = {proto: sorted(set(ports) - open_to_others[proto]) for proto, ports in taken.items()}
    return {
        "package": package or "",
        "unit": unit,
        "config_dir": config_dir,
        "network": network or {},
        "containers": containers,
        "holds": {proto: sorted(set(ports)) for proto, ports in taken.items()},
        "loopback": loopback,
        "problem": problem,
    }
