#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: edge_state_info
short_description: What only the edge itself can say about renewal and its own CA
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Reads whether the timer that renews certificates is enabled and running, and when it comes next.
  - Returns the certificate of the edge's own CA, where it has one, so that a client can check the chain.
options:
  timer:
    description: The timer that renews certificates.
    type: str
    default: certbot.timer
  local_ca:
    description: The folder of the edge's own CA.
    type: path
    default: /etc/jellynet/local_ca
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
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
local_ca:
  description: The certificates of the edge's own CA in PEM form, or empty.
  type: str
  returned: always
  sample: "-----BEGIN CERTIFICATE-----\n..."
time:
  description: The edge's clock, in seconds since 1970.
  type: int
  returned: always
  sample: 1795000000
"""

import glob
import os
import re
import time
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def timer_state(module: AnsibleModule, name: str) -> Dict[str, Any]:
    state: Dict[str, Any] = {"name": name, "present": False, "enabled": False, "active": False, "next": "", "error": ""}
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


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "timer": {"type": "str", "default": "certbot.timer"},
            "local_ca": {"type": "path", "default": "/etc/jellynet/local_ca"},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        changed=False,
        timer=timer_state(module, module.params["timer"]),
        local_ca=certificates(module.params["local_ca"]),
        time=int(time.time()),
    )


if __name__ == "__main__":
    main()
