# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that turns the user's values into the list of sites."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _site

DOCUMENTATION = r"""
name: sites
short_description: The sites of an edge in the one form that templates read
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Turns the values of the role V(jellynet.jellyfin.jellyfin) and what M(jellynet.jellyfin.host_info) found into a list of sites.
options:
  _input:
    description: The user's variables without their prefix C(jellyfin_).
    type: dict
    required: true
  host:
    description: What M(jellynet.jellyfin.host_info) returned.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the sites
  ansible.builtin.debug:
    msg: "{{ {'domain': 'media.example.org', 'server_address': '127.0.0.1', 'server_port': 8096} | jellynet.jellyfin.sites }}"
"""

RETURN = r"""
_value:
  description: One dictionary a site; C(docs/architecture.md) has the keys.
  type: list
  elements: dict
"""


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sites": lambda values, host=None: _site.sites(values, host or {})}
