#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_grade_info
short_description: Grade a server's TLS the way SSL Labs does, anywhere
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Scans a server from the host that the module runs on and rates it by the SSL Labs Server Rating Guide, version 2009r.
  - Works against private names, private roots and any port, where the online test cannot look.
  - Compares with Mozilla's guideline 6.0 for TLS on servers too.
  - A server that cannot be reached, stalls or speaks no TLS is an error in words, never a grade.
  - What the rating asks for and the module cannot see is listed in RV(not_checked).
requirements:
  - >-
    sslyze 6.3.1 as a program in an environment of its own on the host that runs the module:
    C(python3 -m venv ~/.local/share/jellynet/sslyze && ~/.local/share/jellynet/sslyze/bin/pip install sslyze==6.3.1).
    It needs Python 3.10 or newer. The module runs it and imports nothing of it.
  - The program C(openssl), 1.1.1 or newer, on the same host.
options:
  host:
    description: The name or address to connect to.
    type: str
    required: true
  port:
    description: The port.
    type: int
    default: 443
  server_name:
    description: The name that is asked for (SNI) and that the certificate must be for. The default is O(host).
    type: str
  ca_path:
    description:
      - A PEM file with root certificates that are trusted besides Mozilla's.
      - Certificates in it that are no roots count as intermediates that a client may know, as browsers know those of public CAs.
    type: path
  ca:
    description: The same as PEM text, where the file is on another host.
    type: str
    default: ''
  system_roots:
    description:
      - Whether the roots in the host's own trust store count too. By default only Mozilla's do, those that come with the scanner, and O(ca_path).
    type: bool
    default: false
  timeout:
    description: Seconds after which a server that does not come to an end is left.
    type: float
    default: 30
  http_port:
    description: The port where plain HTTP should lead to HTTPS. The default is 80 where O(port) is 443; without one it is not asked.
    type: int
  scanner:
    description: The path of sslyze. The default is the one on C(PATH) or in the usual places.
    type: str
    default: ''
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
  - name: SSL Server Rating Guide
    description: What the grade follows.
    link: https://github.com/ssllabs/research/wiki/SSL-Server-Rating-Guide
  - name: Mozilla's server-side TLS
    description: What RV(mozilla) compares with.
    link: https://wiki.mozilla.org/Security/Server_Side_TLS
"""

EXAMPLES = r"""
- name: Grade a public server from the controller
  jellynet.jellyfin.tls_grade_info:
    host: media.example.org
  delegate_to: localhost

- name: Grade a server at home that has a certificate of its own CA
  jellynet.jellyfin.tls_grade_info:
    host: 192.168.1.2
    server_name: media.home.example.org
    ca_path: /etc/ssl/my-root.pem
  register: tls
  delegate_to: localhost

- name: Ask for an A or better
  ansible.builtin.assert:
    that: tls.grade in ['A+', 'A']
    fail_msg: "{{ (tls.caps + tls.grade_warnings) | map(attribute='observed') | join('; ') }}"
"""

RETURN = r"""
grade:
  description:
    - V(A+), V(A), V(A-), V(B), V(C), V(D), V(E) or V(F).
    - V(T) where the certificate is not trusted, V(M) where it is for another name; RV(grade_ignoring_trust) then says what the rest is worth.
  type: str
  returned: success
  sample: A+
grade_ignoring_trust:
  description: The grade if trust and name are left aside.
  type: str
  returned: success
  sample: A+
rating:
  description: The guide and its version.
  type: str
  returned: success
  sample: SSL Labs Server Rating Guide 2009r (2025-05-16)
scores:
  description: The three scores and their weighted total.
  type: dict
  returned: success
  sample: {protocol: 100.0, key_exchange: 90, cipher_strength: 90.0, total: 93.0}
caps:
  description: What limited the grade, each with the rule, the guide's revision, the cap and what was observed.
  type: list
  elements: dict
  returned: success
  sample: [{rule: old-tls, revision: 2009q, cap: B, text: TLS 1.0 or TLS 1.1 is supported., observed: TLSv1.1 offered}]
grade_warnings:
  description: The guide's warnings, which leave an A- at best. (Ansible keeps the name C(warnings) of a result to itself.)
  type: list
  elements: dict
  returned: success
  sample: [{rule: no-tls13, revision: 2009r, text: TLS 1.3 is not supported., observed: TLS 1.3 is not offered}]
not_checked:
  description: Rules of the guide that the module cannot check, and why.
  type: list
  elements: dict
  returned: success
protocols:
  description: The protocols offered.
  type: list
  elements: str
  returned: success
  sample: [TLSv1.2, TLSv1.3]
suites:
  description: The suites of each protocol, in the server's order where it has one.
  type: dict
  returned: success
preference:
  description: Whose order of suites counts, V(client), V(server) or V(unknown).
  type: str
  returned: success
  sample: client
choices:
  description: Which suite a browser of today and a client with TLS 1.2 end up with.
  type: list
  elements: dict
  returned: success
groups:
  description: The groups for key exchange, whether they are post-quantum, and which one a browser of today gets.
  type: list
  elements: dict
  returned: success
  sample: [{name: X25519MLKEM768, post_quantum: true, preferred: true}, {name: X25519, post_quantum: false, preferred: false}]
certificates:
  description: Each served chain (a server may have one for ECDSA and one for RSA) with names, key, signature, lifetime, trust and completeness.
  type: list
  elements: dict
  returned: success
hsts:
  description: Strict-Transport-Security as a browser reads it. C(state) is ok, absent, short, disabled, invalid or unknown.
  type: dict
  returned: success
  sample: {state: ok, header: max-age=63072000, max_age: 63072000, include_subdomains: false, preload: false, problem: ''}
redirect:
  description: Where plain HTTP leads to; empty where it was not asked.
  type: dict
  returned: success
  sample: {port: 80, status: 308, location: 'https://media.example.org/', to_https: true, permanent: true, error: ''}
alpn:
  description: The HTTP versions negotiated.
  type: list
  elements: str
  returned: success
  sample: [h2, http/1.1]
http3:
  description: Whether QUIC answers on the same port, and what Alt-Svc says.
  type: dict
  returned: success
sni:
  description: What happens to a client that asks for an unknown name, or for none.
  type: dict
  returned: success
  sample: {unknown: refused (alert unrecognized_name), absent: refused (alert unrecognized_name)}
secure_renegotiation:
  description: Whether RFC 5746 is supported; none where nothing before TLS 1.3 is offered.
  type: bool
  returned: success
mozilla:
  description: For V(modern) and V(intermediate) whether the server complies with Mozilla's guideline, and the list of violations.
  type: dict
  returned: success
  sample:
    guideline: '6.0'
    intermediate: {compliant: true, violations: [], notes: []}
    modern: {compliant: false, violations: [{rule: tls_versions, observed: TLSv1.2 is offered}], notes: []}
address:
  description: The address that was scanned.
  type: str
  returned: success
scanner:
  description: The scanner's path and the version that the module was made for.
  type: dict
  returned: success
scanner_missing:
  description: That the scanner, or C(openssl), is not installed; the message says how to install it.
  type: bool
  returned: when a program is missing
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_grade, _tls_sslyze


def given_roots(module: AnsibleModule) -> str:
    """What the user trusts, from a file and from text."""
    text = str(module.params["ca"])
    if module.params["ca_path"]:
        try:
            with open(module.params["ca_path"], encoding="utf-8", errors="replace") as handle:
                text += "\n" + handle.read()
        except OSError as problem:
            module.fail_json(msg=f"ca_path cannot be read: {problem}. Give a PEM file on the host that grades")
    if (module.params["ca"] or module.params["ca_path"]) and "-----BEGIN CERTIFICATE-----" not in text:
        module.fail_json(msg="There is no certificate in ca_path. Give a PEM file with at least one root certificate")
    return text


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "ca_path": {"type": "path"},
            "ca": {"type": "str", "default": ""},
            "system_roots": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30},
            "http_port": {"type": "int"},
            "scanner": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    openssl = module.get_bin_path("openssl")
    if not openssl:
        module.fail_json(
            msg="The program openssl is not on this host. Install it by: apt-get install openssl", scanner_missing=True
        )
    try:
        result = _tls_grade.grade(
            host=params["host"],
            port=params["port"],
            server_name=params["server_name"] or params["host"],
            ca=given_roots(module),
            timeout=params["timeout"],
            scanner=params["scanner"],
            openssl=openssl,
            system_roots=params["system_roots"],
            http_port=params["http_port"] or (80 if params["port"] == 443 else None),
        )
    except _tls_sslyze.ScannerMissing as problem:
        module.fail_json(msg=str(problem)[0].upper() + str(problem)[1:], scanner_missing=True)
    except _tls_grade.GradeError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
