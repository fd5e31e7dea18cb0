# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that the role verify plans its questions with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_attacks, _verify_plan
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_edge import discovered

DOCUMENTATION = r"""
name: verify_plan
short_description: The probes that one client's seat sends to an edge
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Turns the sites of an edge into the probes of M(jellynet.jellyfin.edge_probe_info).
positional: host, options, discovery
options:
  _input:
    description: The sites, as the filter P(jellynet.jellyfin.sites#filter) returns them.
    type: list
    elements: dict
    required: true
  host:
    description: What M(jellynet.jellyfin.host_info) returned for the edge.
    type: dict
    required: true
  options:
    description: C(http_port), C(https_port), C(authorized), C(echo_path), C(range_path).
    type: dict
    required: true
  discovery:
    description: What M(jellynet.jellyfin.client_discovery_info) returned, to try the addresses that it gave.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show what would be asked
  ansible.builtin.debug:
    msg: "{{ sites | jellynet.jellyfin.verify_plan(host, {'http_port': 8096, 'https_port': 8920}) }}"
"""

RETURN = r"""
_value:
  description: One dictionary a probe.
  type: list
  elements: dict
"""


def verify_plan(
    sites: Sequence[Mapping[str, Any]],
    host: Mapping[str, Any],
    options: Mapping[str, Any],
    discovery: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The plan, with the addresses that a registered discovery brought."""
    questions = _verify_plan.plan(sites, host, options, discovered(discovery or {}))
    return questions + _verify_attacks.probes(sites, options)


class FilterModule:
    """Ansible looks for this class."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verify_plan": verify_plan}
