#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: edge_state_info
short_description: What only the host itself can say about renewal, its own CA and its Jellyfin's network.xml
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Reads whether the timers that renew certificates are enabled and running, and when they come next.
  - Reads whom a Jellyfin on this host believes about its clients' addresses.
  - Returns the certificate of the edge's own CA, where it has one, so that a client can check the chain.
options:
  timer:
    description: The timer that renews certificates of an ACME server.
    type: str
    default: certbot.timer
  door_timer:
    description: The timer that renews certificates of the edge's own CA.
    type: str
    default: jellynet-certificate-door.timer
  local_ca:
    description: The folder of the edge's own CA.
    type: path
    default: /etc/jellynet/local_ca
  config_dir:
    description: The configuration folder of a Jellyfin on this host, whose C(network.xml) is read. Empty for none.
    type: str
    default: ''
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Ask whether certificates are renewed
  jellynet.jellyfin.edge_state_info:
  register: state
"""

RETURN = r"""
timer:
  description: The timer, as systemd says it. C(next) is when it comes next, in words, or empty.
  type: dict
  returned: always
  sample: {name: certbot.timer, present: true, enabled: true, active: true, next: 'Mon 2026-11-23 04:12:51 UTC', error: ''}
door_timer:
  description: The same of O(door_timer).
  type: dict
  returned: always
  sample: {name: jellynet-certificate-door.timer, present: true, enabled: true, active: true, next: 'Mon 2026-11-23 03:48:02 UTC', error: ''}
local_ca:
  description: The certificates of the edge's own CA in PEM form, or empty.
  type: str
  returned: always
  sample: "-----BEGIN CERTIFICATE-----\n..."
network:
  description: The elements C(KnownProxies) and C(BaseUrl) of C(network.xml), and C(error) where it cannot be read. Empty without O(config_dir).
  type: dict
  returned: always
  sample: {config_dir: /etc/jellyfin, KnownProxies: [127.0.0.1], BaseUrl: '', error: ''}
time:
  description: The host's clock, in seconds since 1970.
  type: int
  returned: always
  sample: 1795000000
"""

import glob
import os
import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _network_xml

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def timer_state(module: AnsibleModule, name: str) -> dict[str, Any]:
    state: dict[str, Any] = {"name": name, "present": False, "enabled": False, "active": False, "next": "", "error": ""}
    binary = module.get_bin_path("systemctl")
    if not binary:
        state["error"] = "systemctl is not on this host"
        return state
    properties = "LoadState,UnitFileState,ActiveState,NextElapseUSecRealtime"
    code, out, err = module.run_command([binary, "show", name, "--property", properties])
    if code != 0:
        state["error"] = err.strip() or f"systemctl show returned {code}"
        return state
    said = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    state["present"] = said.get("LoadState") == "loaded"
    state["enabled"] = said.get("UnitFileState", "").startswith("enabled")
    state["active"] = said.get("ActiveState") == "active"
    state["next"] = said.get("NextElapseUSecRealtime", "")
    return state


def certificates(folder: str) -> str:
    """Every certificate in the folder; private keys lie beside them and are left where they are."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        if os.path.isfile(path) and not path.endswith(".key"):
            try:
                with open(path, encoding="ascii", errors="replace") as handle:
                    found += CERTIFICATE.findall(handle.read(65536))
            except OSError:
                continue
    return "\n".join(sorted(set(found))) + ("\n" if found else "")


def network(folder: str) -> dict[str, Any]:
    """What network.xml says of proxies; the rest of it, a password too, is nobody's business here."""
    found: dict[str, Any] = {"config_dir": folder, "KnownProxies": [], "BaseUrl": "", "error": ""}
    try:
        with open(os.path.join(folder, "network.xml"), encoding="utf-8") as handle:
            values = _network_xml.parse(handle.read())
    except FileNotFoundError:
        return found
    except (OSError, ValueError) as problem:
        found["error"] = str(problem)
        return found
    return dict(found, KnownProxies=values["KnownProxies"], BaseUrl=values["BaseUrl"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "timer": {"type": "str", "default": "certbot.timer"},
            "door_timer": {"type": "str", "default": "jellynet-certificate-door.timer"},
            "local_ca": {"type": "path", "default": "/etc/jellynet/local_ca"},
            "config_dir": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        changed=False,
        timer=timer_state(module, module.params["timer"]),
        door_timer=timer_state(module, module.params["door_timer"]),
        local_ca=certificates(module.params["local_ca"]),
        network=network(module.params["config_dir"]) if module.params["config_dir"] else {},
        time=int(time.time()),
    )


if __name__ == "__main__":
    main()
