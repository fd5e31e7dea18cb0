# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that reads a value which is true, false or auto."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _switch

DOCUMENTATION = r"""
name: switch
short_description: One word for a value that is true, false or auto
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Makes V(on), V(off) or V(auto) of a boolean or V(auto), in every spelling that YAML and C(-e) have for it, and fails for anything else.
options:
  _input:
    description: The value.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Say whether the LAN gets plain HTTP
  ansible.builtin.debug:
    msg: "{{ 'no' | jellynet.jellyfin.switch }}"
"""

RETURN = r"""
_value:
  description: V(on), V(off) or V(auto).
  type: str
"""


def switch(value: Any) -> str:
    """The word for a value."""
    word = _switch.read(value)
    if word is None:
        raise AnsibleFilterError(f"{value!r} is neither auto nor a boolean: give auto, true or false")
    return word


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"switch": switch}
