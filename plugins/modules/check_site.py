#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_site
short_description: Check the values of a Jellyfin edge before anything is changed
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Checks all C(jellyfin_*) values on the controller and fails with every problem at once, each with the variable, its value and what to do.
  - No host is contacted.
options:
  values:
    description: The user's variables without their prefix C(jellyfin_).
    type: dict
    required: true
  host:
    description: What M(jellynet.jellyfin.host_info) returned; without it only the values themselves are checked.
    type: dict
    default: {}
  edge:
    description: Whether the host is an edge, which needs a domain.
    type: bool
    default: true
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
  - jellynet.jellyfin.attributes.action
attributes:
  action:
    support: full
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Refuse bad values
  jellynet.jellyfin.check_site:
    values: "{{ _jellyfin_values }}"
"""

RETURN = r"""
"""
