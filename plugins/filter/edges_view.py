# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that sums up what the edges say of one media server."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _edges_view

DOCUMENTATION = r"""
name: edges_view
short_description: From where the edges talk to a media server, and below which path
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Picks the edges' sites that lead to one server, and says what that server has to know of them.
positional: me, own
options:
  _input:
    description: By edge, its C(sites) and C(servers), or an empty dictionary for an edge that said nothing.
    type: dict
    required: true
  me:
    description: The server's name in the inventory.
    type: str
    required: true
  own:
    description: The server's addresses.
    type: list
    elements: str
    required: true
  alone:
    description: Whether there is no other server, so that every site leads to this one.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show from where the edges talk to this server
  ansible.builtin.debug:
    msg: "{{ {'edge1': {}} | jellynet.jellyfin.edges_view('media1', ['192.168.1.10'], alone=true) }}"
"""

RETURN = r"""
_value:
  description: C(proxies), the edges' addresses as the server sees them; C(paths); and C(absent), the edges that said nothing.
  type: dict
"""


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edges_view": lambda edges, me, own, alone=False: _edges_view.view(edges, me, own, alone)}
