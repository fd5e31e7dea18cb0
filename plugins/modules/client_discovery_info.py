#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: client_discovery_info
short_description: Find Jellyfin servers as their clients do
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Asks on UDP port 7359, by broadcast over every interface of the host that the module runs on, or one address directly.
  - Returns what a client on that host is told, so run it where the clients are.
notes:
  - A firewall on the asking host drops answers to a broadcast, unless it lets UDP from source port 7359 in.
options:
  address:
    description: Whom to ask. The default asks everybody on the host's networks.
    type: str
    default: 255.255.255.255
  timeout:
    description: How long to wait for answers, in seconds.
    type: float
    default: 2
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
- name: See what a television in the living room finds
  jellynet.jellyfin.client_discovery_info:
  delegate_to: living-room
  register: found

- name: A server has to be there, under an address that is no container's
  ansible.builtin.assert:
    that: found.servers | map(attribute='address') | list == ['http://192.168.1.10:8096']

- name: Ask one host behind a router
  jellynet.jellyfin.client_discovery_info:
    address: 192.168.2.10
"""

RETURN = r"""
servers:
  description: The servers that answered; empty when none did. A server that announces several addresses is there several times.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: The URL that clients connect to.
      type: str
      sample: http://192.168.1.10:8096
    id:
      description: The server's id.
      type: str
      sample: 0dd7abd2ee49402ba91b8215c9266e7f
    name:
      description: The server's name.
      type: str
      sample: media
    endpoint_address:
      description: Has to be null; some clients take its host in place of the address's.
      type: raw
      sample: null
    source:
      description: The IP address that answered.
      type: str
      sample: 192.168.1.10
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _client_discovery


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": _client_discovery.BROADCAST},
            "timeout": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    timeout = module.params["timeout"]
    if not 0 < timeout <= 300:
        module.fail_json(msg=f"timeout is {timeout:g}; give more than 0 and at most 300 seconds.")
    try:
        servers = _client_discovery.discover(module.params["address"], timeout)
    except OSError as error:
        module.fail_json(msg=f"{module.params['address']} cannot be asked: {error}.")
    module.exit_json(changed=False, servers=servers)


if __name__ == "__main__":
    main()
