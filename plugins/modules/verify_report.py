#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Judge what was seen of an edge, print it, and write the report
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Turns the observations of the role P(jellynet.jellyfin.verify#role) into checks, each pass, fail or not checked.
  - Prints them as a table, writes C(report.json) and the page C(report.html) on the controller, and fails when a check failed.
options:
  observed:
    description: What the modules returned.
    type: dict
    required: true
  sites:
    description: The sites of the edge.
    type: list
    elements: dict
    required: true
  host:
    description: What M(jellynet.jellyfin.host_info) returned for the edge.
    type: dict
    required: true
  options:
    description: Ports, listeners, the networks that count as LAN, the addresses of the edge and the minimum grade.
    type: dict
    required: true
  name:
    description: What the edge is called in the report.
    type: str
    required: true
  servers:
    description: Inventory hosts whose C(network.xml) was read, in the registered variable C(_verify_state).
    type: list
    elements: str
    default: []
  folder:
    description: The folder on the controller for the report. Empty writes none.
    type: str
    default: ''
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
- name: Judge and report
  jellynet.jellyfin.verify_report:
    name: edge.example.org
    observed: "{{ observed }}"
    sites: "{{ sites }}"
    host: "{{ host }}"
    options: {http_port: 8096, https_port: 8920, lan: [192.168.1.0/24]}
    folder: ./jellyfin-report
"""

RETURN = r"""
checks:
  description: Every check.
  type: list
  elements: dict
  returned: success
  sample:
    - {area: From the LAN, site: media.example.org, title: Websocket, status: pass, found: upgraded, todo: ''}
counts:
  description: How many checks passed, failed and were not checked.
  type: dict
  returned: always
  sample: {pass: 31, fail: 0, not checked: 2}
files:
  description: The files written on the controller.
  type: list
  elements: str
  returned: always
  sample: [/home/me/jellyfin-report/report.json, /home/me/jellyfin-report/report.html]
"""
