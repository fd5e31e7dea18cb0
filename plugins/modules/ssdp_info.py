#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssdp_info
short_description: Find UPnP devices by SSDP
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Searches on UDP port 1900, by multicast over every interface of the host that the module runs on, or one address directly.
  - Reads the description of each device that answers.
notes:
  - A firewall on the asking host drops answers to a multicast search, unless it lets UDP from source port 1900 in.
options:
  address:
    description: Whom to ask. The default asks everybody on the host's networks.
    type: str
    default: ''
  search_target:
    description: What to search for, such as V(ssdp:all) or V(urn:schemas-upnp-org:device:MediaServer:1).
    type: str
    default: upnp:rootdevice
  describe:
    description: Whether to read the devices' descriptions.
    type: bool
    default: true
  timeout:
    description: How long to wait for answers, in seconds. Devices take their time, up to a second less than this.
    type: float
    default: 3
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
- name: See which media servers a television finds
  jellynet.jellyfin.ssdp_info:
    search_target: urn:schemas-upnp-org:device:MediaServer:1
  delegate_to: living-room
  register: found

- name: Show their names
  ansible.builtin.debug:
    msg: "{{ found.devices | map(attribute='description.friendlyName') | list }}"
"""

RETURN = r"""
devices:
  description: The devices that answered, each description's address once; empty when none did.
  returned: success
  type: list
  elements: dict
  contains:
    location:
      description: The address of the description.
      type: str
      sample: http://192.168.1.10:8096/.well-known/jellyfin-ports/502a1c8e-9615-5c12-ab41-eec03d10d761/description.xml
    usn:
      description: The unique service name.
      type: str
      sample: uuid:502a1c8e-9615-5c12-ab41-eec03d10d761::upnp:rootdevice
    search_target:
      description: The search target that the answer names.
      type: str
      sample: upnp:rootdevice
    server:
      description: What the device says its software is.
      type: str
      sample: Linux/1.0 UPnP/2.0 jellyfin-ports/1.0.0
    source:
      description: The IP address that answered.
      type: str
      sample: 192.168.1.10
    description:
      description:
        - What the description says of the root device, by the names of UPnP (C(friendlyName), C(deviceType), C(manufacturer), C(modelName),
          C(UDN), C(presentationURL)). Empty when it could not be read.
      type: dict
      returned: when O(describe=true)
      sample: {friendlyName: media, manufacturer: Jellyfin}
    problem:
      description: Why the description could not be read, or empty.
      type: str
      returned: when O(describe=true)
      sample: ''
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _ssdp


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": ""},
            "search_target": {"type": "str", "default": "upnp:rootdevice"},
            "describe": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 3},
        },
        supports_check_mode=True,
    )
    values = module.params
    if not 0 < values["timeout"] <= 300:
        module.fail_json(msg=f"timeout is {values['timeout']:g}; give more than 0 and at most 300 seconds.")
    target = values["search_target"]
    if not target or not all("!" <= character <= "~" for character in target):
        module.fail_json(msg=f"search_target is {target!r}; give one such as ssdp:all, without spaces.")
    try:
        devices = _ssdp.search(values["address"], target, values["timeout"], values["describe"])
    except OSError as error:
        module.fail_json(msg=f"{values['address'] or 'The network'} cannot be searched: {error}.")
    module.exit_json(changed=False, devices=devices)


if __name__ == "__main__":
    main()
