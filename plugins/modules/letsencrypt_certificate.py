#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: letsencrypt_certificate
short_description: Certificates from Let's Encrypt or another ACME server, behind any proxy
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Has certbot ask for what is missing, about to expire, or made otherwise than asked for, and for nothing else. When all is right
    neither certbot nor the CA is called.
  - certbot answers the http-01 challenge itself, on a privileged port of the loopback address to which the proxy forwards
    C(/.well-known/acme-challenge/). The proxy is neither stopped nor changed.
  - Before the CA is asked it is tested whether the CA can be reached and whether port 80 really leads to certbot, because the CA counts
    failed attempts. A failure says which of the tests it was, or the CA's own words.
  - In the end the doors are synced, as M(jellynet.jellyfin.certificate_door) does, so that a reload that failed before is made good.
  - A failure leaves the door, and thus what the proxy serves, as it was.
options:
  sites:
    description: The domains that need a certificate, and the kinds of keys.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: The DNS name, in lower case.
        type: str
        required: true
      key_types:
        description: One certificate for each kind.
        type: list
        elements: str
        choices: [ecdsa, rsa]
        default: [ecdsa]
  directory:
    description: The directory of the ACME server.
    type: str
    default: https://acme-v02.api.letsencrypt.org/directory
  email:
    description: An e-mail address for the account, or empty for none.
    type: str
    default: ''
  ca_bundle:
    description: A PEM file on the host with the CA of a private ACME server.
    type: str
    default: ''
  port:
    description: The loopback port on which certbot answers the challenge. Below 1024, so that no local user can.
    type: int
    default: 888
  renew_days:
    description:
      - How many days before its end a certificate is asked for anew.
      - V(0) is a third of its life, or half where it lives less than ten days.
    type: int
    default: 0
  force_renewal:
    description: Whether to ask for certificates that are right. The CA's limits count each.
    type: bool
    default: false
  state:
    description: With V(absent) the lineages that this module made are deleted, of all domains.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    description: Says what would be asked for. Contacts nobody.
    support: full
  diff_mode:
    description: Shows what would be asked for and why, and what is known of the doors, never a key.
    support: full
  platform:
    support: full
    platforms: Debian
"""

EXAMPLES = r"""
- name: One certificate from Let's Encrypt
  jellynet.jellyfin.letsencrypt_certificate:
    sites:
      - domain: media.example.org
    email: admin@example.org

- name: Both kinds of keys from a private ACME server
  jellynet.jellyfin.letsencrypt_certificate:
    sites:
      - domain: media.example.org
        key_types: [ecdsa, rsa]
    directory: https://acme.example.org/directory
    ca_bundle: /etc/ssl/example-root.pem
"""

RETURN = r"""
requests:
  description: What was asked for, or would be in check mode, and why.
  returned: O(state=present)
  type: list
  elements: dict
  sample:
    - domain: media.example.org
      key_type: ecdsa
      lineage: jellynet-media.example.org-ecdsa
      reasons: [there is none yet]
issued:
  description: The lineages that were issued.
  returned: O(state=present)
  type: list
  elements: str
doors:
  description: What stands behind each door.
  returned: O(state=present)
  type: dict
reloaded:
  description: Units that were told of a change.
  returned: O(state=present)
  type: list
  elements: str
dropped:
  description: Doors of domains that are not asked for any more, removed.
  returned: O(state=present)
  type: list
  elements: str
removed:
  description: Lineages that were deleted.
  returned: O(state=absent)
  type: list
  elements: str
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _acme_checks,
    _certbot,
    _certificate_pair,
    _door,
    _door_sync,
    _x509,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certbot import Account, Wanted
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certificate_pair import Asked, Pair, PairError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door import DoorError, Layout
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door_sync import ConfigError, Result
from ansible_collections.jellynet.jellyfin.plugins.module_utils._x509 import X509Error

LETSENCRYPT = Path("/etc/letsencrypt")
LOG = Path("/var/log/letsencrypt/letsencrypt.log")
TIMEOUT = 300
LOCK_TRIES = 7
LOCK_PAUSE = 10


@dataclass(frozen=True)
class Request:
    """A certificate to ask for, and why."""

    wanted: Wanted
    reasons: list[str]


def renewals() -> dict[str, dict[str, str]]:
    """All of certbot's lineages with their renewal configuration."""
    found = {}
    for path in sorted((LETSENCRYPT / "renewal").glob("*.conf")):
        try:
            found[path.stem] = _certbot.renewal_values(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def lineage_pair(wanted: Wanted) -> Pair | None:
    """What a lineage holds, where it can be used at all."""
    live = LETSENCRYPT / "live" / wanted.lineage
    asked = Asked(wanted.domain, wanted.key_type, "fullchain", "privkey", may_be_expired=True)
    try:
        return _certificate_pair.read_pair(
            "letsencrypt", str(live / "fullchain.pem"), str(live / "privkey.pem"), asked, _x509.utcnow()
        )
    except PairError:
        return None


def names_of(lineage: str) -> list[str]:
    """The names in a lineage's certificate."""
    try:
        return _x509.read_certificate((LETSENCRYPT / "live" / lineage / "cert.pem").read_text(encoding="ascii")).names
    except (OSError, UnicodeDecodeError, X509Error):
        return []


def requests_for(wanted: list[Wanted], account: Account, renew_days: int, force: bool) -> list[Request]:
    """What has to be asked for now."""
    known = renewals()
    accounts = {path.parent.name for path in (LETSENCRYPT / "accounts").rglob("regr.json")}
    now = _x509.utcnow()
    found = []
    for item in wanted:
        why = _certbot.reasons(
            item, account, known.get(item.lineage, {}), lineage_pair(item), now, renew_days, accounts
        )
        if force and not why:
            why = ["it was asked for by force_renewal"]
        if why:
            found.append(Request(item, why))
    return found


def certbot(module: AnsibleModule, argv: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    """certbot's exit code and words. A CA that never answers must not hold the play; where certbot's own timer holds its lock, wait for that."""
    limited = ["timeout", "--kill-after=10", str(TIMEOUT), *argv]
    code, output = 1, _certbot.LOCKED
    for attempt in range(LOCK_TRIES):
        if _certbot.LOCKED not in output:
            break
        if attempt:
            time.sleep(LOCK_PAUSE)
        code, out, err = module.run_command(limited, environ_update={**environment, "PYTHONWARNINGS": "ignore"})
        output = out + err
    return (code, f"certbot did not end within {TIMEOUT} seconds") if code == 124 else (code, output)


def log_size() -> int:
    """Where certbot's debug log ends now; Debian's certbot appends to it."""
    try:
        return LOG.stat().st_size
    except OSError:
        return 0


def debug_log(begin: int) -> str:
    """What certbot added to its debug log since: it has the headers that certbot does not print."""
    try:
        with open(LOG, "rb") as handle:
            handle.seek(begin if LOG.stat().st_size >= begin else 0)
            return handle.read(4 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def obtain(module: AnsibleModule, requests: list[Request], account: Account) -> tuple[list[str], list[str]]:
    """The lineages that were issued, and a sentence for each that was not."""
    binary = module.get_bin_path("certbot")
    if not binary:
        return [], ["certbot is not installed on this host. Install the package certbot, as the role certificate does"]
    problem = _acme_checks.directory_problem(account.directory, account.ca_bundle)
    if problem:
        return [], [problem]
    domains = list(dict.fromkeys(request.wanted.domain for request in requests))
    unanswered = _acme_checks.challenge_problems(domains, _certbot.LISTEN, account.port)
    problems = list(dict.fromkeys(unanswered.values()))
    issued = []
    for request in requests:
        if request.wanted.domain in unanswered:
            continue
        begin = log_size()
        code, output = certbot(module, _certbot.command(request.wanted, account, binary), account.environment)
        if code == 0:
            issued.append(request.wanted.lineage)
            continue
        words = _certbot.explain(output, debug_log(begin)) + _acme_checks.name_findings(request.wanted.domain)
        problems.append(
            f"{account.directory} issued no {request.wanted.key_type} certificate for {request.wanted.domain}: {'. '.join(words)}"
        )
    return issued, problems


def sync(module: AnsibleModule) -> Result | None:
    """The doors, as the role wrote their configuration; None where it did not."""
    if not _door_sync.CONFIG.exists():
        return None
    config = _door_sync.load_config()
    gid = _door.group_id()
    layout = Layout(gid=gid or 0)
    if module.check_mode:
        return _door_sync.forecast(_door_sync.plan(config, layout, _x509.utcnow(), purge=True))
    if gid is None:
        raise DoorError(f"the group {_door.GROUP} is missing. Run the role certificate, which makes it")
    return _door_sync.sync(config, layout, _x509.utcnow(), purge=True)


def present(module: AnsibleModule) -> None:
    """Ask for what is needed, then bring it to the doors."""
    params = module.params
    account = Account(params["directory"], params["email"], params["ca_bundle"], params["port"])
    wanted = [
        Wanted(site["domain"], kind)
        for site in params["sites"]
        for kind in _x509.KEY_TYPES
        if kind in site["key_types"]
    ]
    requests = requests_for(wanted, account, params["renew_days"], params["force_renewal"])
    if requests:
        for words in _certbot.foreign(renewals(), {name: names_of(name) for name in renewals()}, wanted):
            module.warn(words)
    issued: list[str] = []
    problems: list[str] = []
    if requests and not module.check_mode:
        issued, problems = obtain(module, requests, account)
    result = sync(module)
    answer = {
        "changed": bool(issued or (requests and module.check_mode) or (result and result.changed)),
        "requests": [
            {
                "lineage": r.wanted.lineage,
                "reasons": r.reasons,
                "domain": r.wanted.domain,
                "key_type": r.wanted.key_type,
            }
            for r in requests
        ],
        "issued": issued,
        "doors": result.doors if result else {},
        "reloaded": result.reloaded if result else [],
        "dropped": result.dropped if result else [],
        "diff": difference(requests, account, result),
    }
    if result:
        problems += [problem for problem in result.problems if problem not in problems]
        problems += [
            f"{unit} could not be told of its new certificate: {words}" for unit, words in result.failed_readers.items()
        ]
    if problems:
        kept = "What the proxy serves stays as it was." if not issued else ""
        module.fail_json(msg="\n".join(problems + [kept] * bool(kept)), **answer)
    module.exit_json(**answer)


def difference(requests: list[Request], account: Account, result: Result | None) -> dict[str, str]:
    """What is asked for, and the doors before and after."""
    before = "".join(f"{request.wanted.lineage}: {', '.join(request.reasons)}\n" for request in requests)
    after = "".join(f"{request.wanted.lineage}: asked for at {account.directory}\n" for request in requests)
    if result:
        before += "".join(
            f"{domain}: {json.dumps(said, indent=1, sort_keys=True)}\n"
            for domain, said in sorted(result.before.items())
        )
        before += "".join(f"{domain}: not asked for any more\n" for domain in result.dropped)
        after += "".join(
            f"{domain}: {json.dumps(said, indent=1, sort_keys=True)}\n" for domain, said in sorted(result.doors.items())
        )
    return {"before": before, "after": after}


def absent(module: AnsibleModule) -> None:
    """Delete the lineages that were made here."""
    gone = [name for name in renewals() if name.startswith(_door_sync.LINEAGE_PREFIX)]
    binary = module.get_bin_path("certbot")
    if gone and not binary:
        module.fail_json(
            msg=f"certbot, which can delete the lineages {', '.join(gone)}, is not installed. Install it, or keep them"
        )
    if not module.check_mode:
        for name in gone:
            code, output = certbot(module, [str(binary), "delete", "--non-interactive", "--cert-name", name], {})
            if code != 0:
                module.fail_json(msg=f"certbot could not delete the lineage {name}: {_certbot.explain(output)[0]}")
    module.exit_json(
        changed=bool(gone), removed=gone, diff={"before": "".join(f"{name}\n" for name in gone), "after": ""}
    )


def main() -> None:
    """Arguments in, one call."""
    module = AnsibleModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "domain": {"type": "str", "required": True},
                    "key_types": {"type": "list", "elements": "str", "choices": ["ecdsa", "rsa"], "default": ["ecdsa"]},
                },
            },
            "directory": {"type": "str", "default": "https://acme-v02.api.letsencrypt.org/directory"},
            "email": {"type": "str", "default": ""},
            "ca_bundle": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 888},
            "renew_days": {"type": "int", "default": 0},
            "force_renewal": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    if not 1 <= module.params["port"] <= 1023:
        module.fail_json(
            msg=f"certificate_acme_port is {module.params['port']}: give a port below 1024, so that no local user can answer for you"
        )
    try:
        present(module) if module.params["state"] == "present" else absent(module)
    except PairError as error:
        module.fail_json(msg="\n".join(error.problems))
    except (ConfigError, DoorError, X509Error, OSError) as problem:
        module.fail_json(
            msg=f"The certificate of {', '.join(site['domain'] for site in module.params['sites'])}: {problem}"
        )


if __name__ == "__main__":
    main()
