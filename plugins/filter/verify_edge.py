# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that says where a client finds an edge."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan

DOCUMENTATION = r"""
name: verify_edge
short_description: Where a client may find an edge
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Returns the address that was told, or for the LAN the edge's own addresses there, or the site's name.
positional: seat, options, domain
options:
  _input:
    description: What M(jellynet.jellyfin.host_info) returned for the edge.
    type: dict
    required: true
  seat:
    description: Where the client is.
    type: str
    required: true
    choices: [lan, wan]
  options:
    description: C(lan), C(lan_address), C(wan_address).
    type: dict
    required: true
  domain:
    description: The name to go by where nothing else is known.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show where the LAN finds the edge
  ansible.builtin.debug:
    msg: "{{ host | jellynet.jellyfin.verify_edge('lan', {'lan': ['192.168.1.0/24']}, 'media.example.org') }}"
"""

RETURN = r"""
_value:
  description: Addresses, or one name.
  type: list
  elements: str
"""


def verify_edge(host: dict[str, Any], seat: str, options: dict[str, Any], domain: str) -> list[str]:
    return _verify_plan.candidates(seat, host, options, domain)


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verify_edge": verify_edge}
