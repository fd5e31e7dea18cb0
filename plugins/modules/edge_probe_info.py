#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: edge_probe_info
short_description: Ask an edge from a client's seat
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Sends any number of small probes from the host it runs on, side by side, and returns what each one saw.
  - It judges nothing and changes nothing. The role P(jellynet.jellyfin.verify#role) does the judging.
  - A probe that goes wrong is no failure of the module, its C(error) says in words what happened.
  - Each probe is left at its deadline, whatever the peer does.
options:
  probes:
    description: The probes.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: The name under which the result is returned.
        type: str
        required: true
      kind:
        description:
          - V(http) sends one request and follows no redirect. V(tls) makes a handshake alone. V(tcp) connects.
          - V(raw) sends one HTTP request in exactly the words that are given. V(half_open) does so while ten others are half sent.
          - V(udp) sends O(probes[].payload) and waits for an answer. V(quic) asks which QUIC versions are spoken. V(dns) resolves O(probes[].name).
        type: str
        required: true
        choices: [http, raw, half_open, tls, tcp, udp, quic, dns]
      url:
        description: For V(http), the whole address. An untrusted certificate is reported and the request sent all the same.
        type: str
      address:
        description: Where to connect to. For V(http) the default is the host of O(probes[].url).
        type: str
      port:
        description: The port, for all kinds but V(http) and V(dns).
        type: int
      server_name:
        description: For V(tls) and V(http), the name to send as SNI. Empty sends none in V(tls), the host of the address in V(http).
        type: str
      alpn:
        description: For V(tls), the protocols to offer.
        type: list
        elements: str
      method:
        description: For V(http), V(raw) and V(half_open), the method.
        type: str
        default: GET
      headers:
        description: For V(http), headers to send.
        type: dict
      target:
        description: For V(raw) and V(half_open), the request's target as it is to be sent.
        type: str
        default: /
      lines:
        description: For V(raw) and V(half_open), further lines of the head. C(Host) and C(Connection) are added where they are not among them.
        type: list
        elements: str
        default: []
      content:
        description: For V(raw), the body.
        type: str
        default: ''
      tls:
        description: For V(raw) and V(half_open), whether the connection is TLS. The certificate is not looked at.
        type: bool
        default: true
      websocket:
        description: For V(http), ask for an upgrade to a websocket.
        type: bool
        default: false
      authorize:
        description: For V(http) and V(raw), send O(token) as the server's API key.
        type: bool
        default: false
      payload:
        description: For V(udp), what to send. Empty sends one zero byte.
        type: str
        choices: ['', discovery, ssdp]
        default: ''
      name:
        description: For V(dns), the name.
        type: str
  edge:
    description:
      - Where the edge may be found. The first that answers takes the place of C(@EDGE@) in O(probes[].address) and O(probes[].url).
    type: list
    elements: str
    default: []
  ca:
    description: Certificates in PEM form that are trusted besides the system's own roots.
    type: str
    default: ''
  token:
    description: An API key of the Jellyfin server, for the probes with O(probes[].authorize).
    type: str
  timeout:
    description: Seconds that one probe may take.
    type: float
    default: 5
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
seealso:
  - module: jellynet.jellyfin.tls_grade_info
"""

EXAMPLES = r"""
- name: Ask whether the address without TLS leads to the one with it, and whether 8096 is open
  jellynet.jellyfin.edge_probe_info:
    probes:
      - {id: redirect, kind: http, url: 'http://media.example.org/web/'}
      - {id: http port, kind: tcp, address: media.example.org, port: 8096}
  register: seen
  delegate_to: a-host-on-the-internet
"""

RETURN = r"""
seen:
  description: What each probe saw, by its id.
  type: dict
  returned: always
  sample:
    redirect: {kind: http, error: '', status: 308, headers: {location: 'https://media.example.org/web/'}, seconds: 0.012}
    http port: {kind: tcp, error: '', state: filtered, seconds: 5.0}
edge:
  description: The address of O(edge) that was used.
  type: str
  returned: always
  sample: 192.168.1.2
host:
  description: The name of the host that the probes were sent from.
  type: str
  returned: always
  sample: laptop
addresses:
  description: The host's own addresses towards the peers, as the probes saw them.
  type: list
  elements: str
  returned: always
  sample: [192.168.1.23]
"""

import socket

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _probe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "probes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "id": {"type": "str", "required": True},
                    "kind": {"type": "str", "required": True, "choices": list(_probe.KINDS)},
                    "url": {"type": "str"},
                    "address": {"type": "str"},
                    "port": {"type": "int"},
                    "server_name": {"type": "str"},
                    "alpn": {"type": "list", "elements": "str"},
                    "method": {"type": "str", "default": "GET"},
                    "headers": {"type": "dict"},
                    "target": {"type": "str", "default": "/"},
                    "lines": {"type": "list", "elements": "str", "default": []},
                    "content": {"type": "str", "default": ""},
                    "tls": {"type": "bool", "default": True},
                    "websocket": {"type": "bool", "default": False},
                    "authorize": {"type": "bool", "default": False},
                    "payload": {"type": "str", "choices": ["", "discovery", "ssdp"], "default": ""},
                    "name": {"type": "str"},
                },
                "required_if": [
                    ("kind", "http", ["url"]),
                    ("kind", "raw", ["address"]),
                    ("kind", "half_open", ["address"]),
                    ("kind", "tls", ["address"]),
                    ("kind", "tcp", ["address", "port"]),
                    ("kind", "udp", ["address", "port"]),
                    ("kind", "quic", ["address"]),
                    ("kind", "dns", ["name"]),
                ],
            },
            "edge": {"type": "list", "elements": "str", "default": []},
            "ca": {"type": "str", "default": ""},
            "token": {"type": "str", "no_log": True},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    edge = _probe.reachable(params["edge"], params["timeout"])
    probes = []
    for probe in params["probes"]:
        headers, lines = dict(probe["headers"] or {}), list(probe["lines"])
        if probe["authorize"] and params["token"]:
            key = f'MediaBrowser Token="{params["token"]}"'
            headers["Authorization"] = key
            lines.append(f"Authorization: {key}")
        probes.append(dict(_probe.aimed(probe, edge), headers=headers, lines=lines))
    results = _probe.run(probes, ca=params["ca"], timeout=params["timeout"])
    addresses = sorted({str(seen["source_address"]) for seen in results.values() if seen.get("source_address")})
    module.exit_json(changed=False, seen=results, edge=edge, host=socket.gethostname(), addresses=addresses)


if __name__ == "__main__":
    main()
