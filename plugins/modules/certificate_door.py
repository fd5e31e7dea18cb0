#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_door
short_description: The one place from which every proxy reads its certificate
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Keeps C(/etc/jellynet/certificates/DOMAIN), a symbolic link that changes by one rename, with a folder a key type in it that holds
    C(fullchain.pem), C(privkey.pem) and C(bundle.pem).
  - Puts there what the source offers. Where there is nothing yet, a self-signed placeholder lets the proxy start; nothing real is ever
    replaced by a placeholder.
  - Tells every daemon that is registered in C(/etc/jellynet/certificates/readers.d) of a change, and remembers who could not be told.
  - Files of the user's own are checked before anything changes.
options:
  sites:
    description: The domains of this host. Doors of other domains are leftovers.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: The DNS name, in lower case.
        type: str
        required: true
      certificate:
        description:
          - Where the certificate comes from.
          - V(letsencrypt) is certbot's lineage C(jellynet-DOMAIN-KEYTYPE), once there is one.
          - V(local_ca) is a CA on this host, made at need. Its root can sign for O(sites[].domain) only and enters no trust store.
          - V(files) are O(sites[].fullchain) and O(sites[].privkey).
        type: str
        required: true
        choices: [letsencrypt, local_ca, files]
      key_types:
        description: The kinds of keys, each with a folder behind the door.
        type: list
        elements: str
        choices: [ecdsa, rsa]
        default: [ecdsa]
      fullchain:
        description: The certificate and its intermediates, a PEM file on the host.
        type: str
        default: ''
      privkey:
        description: The private key, a PEM file on the host.
        type: str
        default: ''
  files_rsa:
    description:
      - Where O(sites[].certificate=files) and O(sites[].key_types) asks for both kinds, the second pair by domain, each with C(fullchain)
        and C(privkey).
    type: dict
    default: {}
  local_ca_days:
    description: How many days a certificate of the local CA is valid. It is renewed when a third of them is left.
    type: int
    default: 180
  purge:
    description:
      - Whether doors and key types that O(sites) does not name are removed.
      - Not before the proxy was told to read something else.
    type: bool
    default: false
  reload_errors:
    description: Whether a daemon that cannot be told of a change is a warning or a failure. Either way the next sync tries again.
    type: str
    choices: [warn, fail]
    default: fail
  keep_local_ca:
    description: Whether O(state=absent) leaves the local CA, whose roots clients may have installed.
    type: bool
    default: false
  state:
    description: Whether there are doors.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status without modifying the host. User's files are checked all the same.
    support: full
  diff_mode:
    description: Shows what is known of each door before and after, never a key.
    support: full
  platform:
    support: full
    platforms: Debian
"""

EXAMPLES = r"""
- name: A certificate of the host's own CA
  jellynet.jellyfin.certificate_door:
    sites:
      - domain: media.example.org
        certificate: local_ca
  register: door

- name: Fetch the root that clients have to trust
  ansible.builtin.copy:
    content: "{{ door.local_ca['media.example.org'] }}"
    dest: media.example.org-root.pem
    mode: "0644"
  delegate_to: localhost

- name: A certificate from elsewhere
  jellynet.jellyfin.certificate_door:
    sites:
      - domain: media.example.org
        certificate: files
        key_types: [rsa]
        fullchain: /etc/ssl/media/fullchain.pem
        privkey: /etc/ssl/media/privkey.pem
"""

RETURN = r"""
doors:
  description: What stands behind each door, the content of its C(door.json). In check mode as it would be.
  returned: O(state=present)
  type: dict
  sample:
    media.example.org:
      domain: media.example.org
      source: letsencrypt
      public: true
      serial: 0469BD8E2A2A4E0F7C0C5B1F5B1C7A4D2F11
      not_after: '2027-02-20T14:09:00Z'
      names: [media.example.org]
      key_types: [ecdsa]
local_ca:
  description: By domain, the root certificate (PEM) that clients need to trust the door's certificate.
  returned: O(state=present)
  type: dict
new_roots:
  description: Domains for which the local CA got a new root, which clients have to install.
  returned: O(state=present)
  type: list
  elements: str
leftovers:
  description: Doors, and key types behind doors, that are not asked for any more and that O(purge) would remove.
  returned: O(state=present)
  type: list
  elements: str
dropped:
  description: Doors that were removed.
  returned: always
  type: list
  elements: str
reloaded:
  description: Units that were told of a change.
  returned: O(state=present)
  type: list
  elements: str
pending:
  description: Readers that have not been told of a change.
  returned: O(state=present)
  type: list
  elements: str
"""

import grp
import json
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _door, _door_readers, _door_sync, _record, _x509
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certificate_pair import PairError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door import DoorError, Layout
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door_sync import Config, ConfigError, Result
from ansible_collections.jellynet.jellyfin.plugins.module_utils._x509 import X509Error

SITE = {
    "domain": {"type": "str", "required": True},
    "certificate": {"type": "str", "required": True, "choices": ["letsencrypt", "local_ca", "files"]},
    "key_types": {"type": "list", "elements": "str", "choices": ["ecdsa", "rsa"], "default": ["ecdsa"]},
    "fullchain": {"type": "str", "default": ""},
    "privkey": {"type": "str", "default": "", "no_log": False},
}


def make_group(module: AnsibleModule) -> int:
    """The group that lets daemons read the doors."""
    _record.remember("groups", _door.GROUP, "absent")
    module.run_command(["groupadd", "--system", _door.GROUP], check_rc=True)
    return grp.getgrnam(_door.GROUP).gr_gid


def remove_group(module: AnsibleModule) -> bool:
    """Only where it was made here."""
    if _record.get("groups", _door.GROUP) != "absent":
        return False
    if not module.check_mode:
        if _door.group_id() is not None:
            module.run_command(["groupdel", _door.GROUP], check_rc=True)
        _record.forget("groups", _door.GROUP)
    return True


def text(descriptions: dict[str, Any]) -> str:
    """Descriptions of doors for a diff."""
    return "".join(
        f"{domain}: {json.dumps(said, indent=1, sort_keys=True)}\n" for domain, said in sorted(descriptions.items())
    )


def present(module: AnsibleModule) -> None:
    """Bring the doors to what their sources offer."""
    params = module.params
    config = Config.of(params)
    if not shutil.which("openssl"):
        if not module.check_mode:
            module.fail_json(
                msg="The command openssl is missing on this host. Install the package openssl, as the role certificate does"
            )
        module.warn(
            "openssl is not installed yet: what is behind the doors, and the files that shall come there, were not looked at"
        )
        finish(module, Result(changed=True), True)
    gid = _door.group_id()
    layout = Layout(gid=gid or 0)
    now = _x509.utcnow()
    if module.check_mode or gid is None:
        # Files that cannot be used leave the host as it is, its groups too.
        made = _door_sync.plan(config, layout, now, params["purge"])
        if made.refused:
            raise PairError(made.refused)
    if module.check_mode:
        result = _door_sync.forecast(made)
    else:
        if gid is None:
            layout = Layout(gid=make_group(module))
        result = _door_sync.sync(config, layout, now, params["purge"], strict=True)
    finish(module, result, gid is None)


def finish(module: AnsibleModule, result: Result, new_group: bool) -> None:
    """Say what happened."""
    for problem in result.problems:
        module.warn(problem)
    for domain in result.new_roots:
        module.warn(f"{domain} has a new local root, {Layout().local_ca}/{domain}.pem: install it on every client")
    after = {domain: said for domain, said in result.doors.items() if domain not in result.dropped}
    answer = {
        "changed": result.changed or new_group,
        "doors": result.doors,
        "local_ca": result.local_ca,
        "new_roots": result.new_roots,
        "leftovers": result.leftovers,
        "dropped": result.dropped,
        "reloaded": result.reloaded,
        "pending": _door_readers.pending(Layout().certificates),
        "diff": {
            "before_header": str(Layout().certificates),
            "after_header": str(Layout().certificates),
            "before": text({**result.before, **dict.fromkeys(result.dropped, "a door that is not asked for")}),
            "after": text(after),
        },
    }
    words = [f"{unit} could not be told of its new certificate: {said}" for unit, said in result.failed_readers.items()]
    if words and module.params["reload_errors"] == "fail":
        module.fail_json(
            msg="\n".join(
                [*words, "The door is changed and the next sync tries again; mend the service and run again"]
            ),
            **answer,
        )
    for word in words:
        module.warn(f"{word}. It is tried again at the next sync")
    module.exit_json(**answer)


def absent(module: AnsibleModule) -> None:
    """Take away the doors and all that belongs to them."""
    layout = Layout()
    gone = _door.doors(layout)
    paths = [layout.certificates] + ([] if module.params["keep_local_ca"] else [layout.local_ca])
    found = [path for path in paths if path.exists()]
    if not module.check_mode:
        for path in found:
            shutil.rmtree(str(path))
        if layout.lock.exists():
            layout.lock.unlink()
    changed = remove_group(module) or bool(found)
    module.exit_json(
        changed=changed,
        dropped=gone,
        diff={
            "before": "".join(f"{path}\n" for path in [*found, *(layout.certificates / name for name in gone)]),
            "after": "",
        },
    )


def main() -> None:
    """Arguments in, one call."""
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "dict", "default": [], "options": SITE},
            "files_rsa": {"type": "dict", "default": {}},
            "local_ca_days": {"type": "int", "default": 180},
            "purge": {"type": "bool", "default": False},
            "reload_errors": {"type": "str", "choices": ["warn", "fail"], "default": "fail"},
            "keep_local_ca": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        present(module) if module.params["state"] == "present" else absent(module)
    except PairError as error:
        module.fail_json(msg="\n".join(error.problems))
    except (ConfigError, DoorError, X509Error, _record.RecordError, OSError) as problem:
        module.fail_json(msg=f"The certificate's door: {problem}")


if __name__ == "__main__":
    main()
