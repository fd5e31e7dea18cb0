# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that gives templates the rules for requests."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules

DOCUMENTATION = r"""
name: request_rules
short_description: What a request to the sites may be, as regular expressions on the raw target
version_added: "1.1.0"
author: The jellynet authors (@jellynet)
description:
  - Turns the list of sites into the expressions and lists from which the rules of every proxy are rendered.
  - The expressions keep to what RE2, PCRE and Python have in common, and are judged on the target as the client sent it.
options:
  _input:
    description: The sites, as the filter P(jellynet.jellyfin.sites#filter) returns them.
    type: list
    elements: dict
    required: true
  paths:
    description: Paths, without the sites' own prefix, that the LAN alone reaches.
    type: list
    elements: str
    default: []
  guard:
    description: Whether logins from the Internet go through the login guard.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what is protected
  ansible.builtin.debug:
    msg: "{{ [{'domain': 'media.example.org', 'path': ''}] | jellynet.jellyfin.request_rules(['/metrics']) }}"
"""

RETURN = r"""
_value:
  description:
    - C(target) is the accepted form of a target, C(methods) and C(lan_methods) the methods for everyone and for the LAN.
    - C(sites) has, by domain, the expressions C(protected) and C(login); empty where there is nothing to match.
  type: dict
"""


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"request_rules": _request_rules.rules}
