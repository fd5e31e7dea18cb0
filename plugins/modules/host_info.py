#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: All that the roles need to know of a host, in one look
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Reads the host's release, packages, networks, listeners, the Jellyfin that is configured on it and the state of this collection's own files.
  - Asks the Jellyfin servers that the edge leads to whether their first-run wizard is done.
  - One execution takes the place of gathered facts, package facts and service facts.
options:
  servers:
    description: The Jellyfin servers to ask.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: IP address or host name.
        type: str
        required: true
      port:
        description: TCP port on which Jellyfin listens for HTTP.
        type: int
        default: 8096
      path:
        description: Jellyfin's BaseUrl, such as V(/jellyfin), or empty.
        type: str
        default: ''
  timeout:
    description: How long one server may take to answer, in seconds.
    type: float
    default: 4
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: Debian
"""

EXAMPLES = r"""
- name: Look at the host
  jellynet.jellyfin.host_info:
    servers:
      - address: 192.168.1.10
  register: host

- name: Show its LAN
  ansible.builtin.debug:
    var: host.lan
"""

RETURN = r"""
os:
  description: The release as C(os-release) says it.
  type: dict
  returned: always
  sample: {id: debian, version: "12", codename: bookworm, name: Debian GNU/Linux 12 (bookworm)}
architecture:
  description: The machine's architecture as C(uname -m) says it.
  type: str
  returned: always
  sample: x86_64
selinux:
  description: V(enforcing), V(permissive) or V(disabled).
  type: str
  returned: always
packages:
  description: Installed Debian packages and their versions.
  type: dict
  returned: always
interfaces:
  description: Network interfaces with kind, addresses, and whether they are physical networks.
  type: list
  elements: dict
  returned: always
lan:
  description: The on-link private prefixes of physical interfaces, in CIDR notation.
  type: list
  elements: str
  returned: always
ipv6:
  description: Whether the host can listen on IPv6.
  type: bool
  returned: always
listeners:
  description: Listening TCP and UDP sockets with the process and the unit that hold them.
  type: list
  elements: dict
  returned: always
servers:
  description: What each server answered, by C(address:port).
  type: dict
  returned: always
server_install:
  description: The Jellyfin that is configured on this host and the ports it takes.
  type: dict
  returned: always
certificates:
  description: What stands in each certificate door, by domain.
  type: dict
  returned: always
services:
  description: The sets of files in force below C(/etc/jellynet), service and generation.
  type: dict
  returned: always
certbot_others:
  description: Certificates and hooks of certbot's that are not this collection's. A sandbox that fits ours might break them.
  type: list
  elements: str
  returned: always
firewalls:
  description: Whether firewalld and ufw are installed and active, and firewalld's zones by their files.
  type: dict
  returned: always
record:
  description: What this collection remembers of the host; of the sections that hold files of others the keys only.
  type: dict
  returned: always
"""

import glob
import json
import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _debian,
    _interfaces,
    _listeners,
    _record,
    _server_install,
    _server_probe,
)

BASE = "/etc/jellynet"


def links(module: AnsibleModule) -> Any:
    """The interfaces as iproute2 prints them, or none where it is missing (a bare container)."""
    binary = module.get_bin_path("ip")
    if not binary:
        return []
    code, out, _err = module.run_command([binary, "-json", "-details", "address", "show"])
    return json.loads(out or "[]") if code == 0 else []


def in_container() -> bool:
    """systemd writes this file at boot when it runs in a container."""
    return (
        os.path.exists("/run/systemd/container")
        or os.path.exists("/run/.containerenv")
        or os.path.exists("/.dockerenv")
    )


def certificates() -> dict[str, Any]:
    """door.json of each certificate door."""
    found = {}
    for path in glob.glob(os.path.join(BASE, "certificates", "*", "door.json")):
        try:
            found[path.split(os.sep)[-2]] = json.loads(_debian.read(path))
        except ValueError:
            continue
    return found


def certbot_others() -> list[str]:
    """Whatever else certbot.service renews or runs."""
    found = glob.glob("/etc/letsencrypt/renewal/*.conf") + glob.glob("/etc/letsencrypt/renewal-hooks/*/*")
    return sorted(path for path in found if not os.path.basename(path).startswith("jellynet"))


def services() -> dict[str, str]:
    """The generation in force of each set below /etc/jellynet."""
    return {
        path.split(os.sep)[-2]: os.path.basename(os.readlink(path))
        for path in glob.glob(os.path.join(BASE, "*", "current"))
    }


def firewalld_zones() -> list[str]:
    """The zones that have a file."""
    paths = glob.glob("/usr/lib/firewalld/zones/*.xml") + glob.glob("/etc/firewalld/zones/*.xml")
    return sorted({os.path.basename(path)[: -len(".xml")] for path in paths})


def ufw_enabled() -> bool:
    """ufw keeps its state in a file; the command would take longer and says the same."""
    return bool(re.search(r"^ENABLED=[\"']?yes", _debian.read("/etc/ufw/ufw.conf"), re.MULTILINE | re.IGNORECASE))


def unit_active(module: AnsibleModule, name: str) -> bool:
    """Whether systemd says that a unit is active."""
    try:
        return bool(module.run_command(["systemctl", "is-active", "--quiet", name], handle_exceptions=False)[0] == 0)
    except OSError:
        return False


def main() -> None:
    """Look at everything once."""
    module = AnsibleModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 8096},
                    "path": {"type": "str", "default": ""},
                },
            },
            "timeout": {"type": "float", "default": 4},
        },
        supports_check_mode=True,
    )
    try:
        with open("/var/lib/dpkg/status", encoding="utf-8", errors="replace") as handle:
            packages = _debian.packages(handle)
    except OSError:
        packages = {}
    interfaces = _interfaces.interfaces(links(module), in_container())
    servers = {}
    for server in module.params["servers"]:
        key = "{}:{}".format(server["address"].strip("[]"), server["port"])
        servers[key] = _server_probe.ask(
            server["address"].strip("[]"), server["port"], server["path"], module.params["timeout"]
        )
    module.exit_json(
        changed=False,
        os=_debian.os_release(_debian.read("/etc/os-release")),
        architecture=os.uname().machine,
        selinux=_debian.selinux(),
        packages=packages,
        interfaces=interfaces,
        lan=_interfaces.lan(interfaces),
        ipv6=os.path.exists("/proc/net/if_inet6"),
        listeners=_listeners.listeners(),
        servers=servers,
        server_install=_server_install.find(packages),
        certificates=certificates(),
        services=services(),
        certbot_others=certbot_others(),
        firewalls={
            "firewalld": {
                "installed": "firewalld" in packages,
                "active": "firewalld" in packages and unit_active(module, "firewalld.service"),
                "zones": firewalld_zones() if "firewalld" in packages else [],
            },
            "ufw": {"installed": "ufw" in packages, "active": "ufw" in packages and ufw_enabled()},
        },
        record=_record.shown(_record.load()),
    )


if __name__ == "__main__":
    main()
