#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Remember what was on a host before this collection changed it
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Keeps values in C(/etc/jellynet/record.json), from which C(teardown) puts things back.
  - The first value of a key stays, because a second run would record this collection's own work.
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    description: Shows the keys that are added or taken out, without their values.
  platform:
    platforms: posix
    support: full
options:
  section:
    description: What kind of thing the entries are.
    type: str
    required: true
    choices: [files, firewall, groups, network_xml, packages, stopped_units, unit_states, wizard_done]
  entries:
    description:
      - The keys and their values.
      - With O(state=absent) only the keys count.
      - Without entries the module only reads.
    type: dict
    default: {}
  overwrite:
    description: Whether a value that differs takes the place of the one that is kept.
    type: bool
    default: false
  state:
    description: Whether the entries are remembered or forgotten.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Remember which packages this run brings
  jellynet.jellyfin.record:
    section: packages
    entries:
      nginx: absent

- name: See which packages were brought
  jellynet.jellyfin.record:
    section: packages
  register: brought

- name: Forget a package that was removed
  jellynet.jellyfin.record:
    section: packages
    entries:
      nginx: absent
    state: absent
"""

RETURN = r"""
recorded:
  description:
    - All entries of the section, after the change.
    - Values of the sections C(files) and C(network_xml) are left out, for they can hold secrets.
  returned: always
  type: dict
  sample:
    nginx: absent
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import SECTIONS, Record, RecordError, shown


def main() -> None:
    """Arguments in, one change of the record, result out."""
    module = AnsibleModule(
        argument_spec={
            "section": {"type": "str", "required": True, "choices": list(SECTIONS)},
            "entries": {"type": "dict", "default": {}},
            "overwrite": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    section, entries = module.params["section"], module.params["entries"]
    record = Record()
    try:
        before = record.load()[section]
        if module.params["state"] == "present":
            overwrite = module.params["overwrite"]
            after = {**before, **entries} if overwrite else {**entries, **before}
            if not module.check_mode:
                for key in sorted(entries):
                    record.remember(section, key, entries[key], overwrite)
        else:
            after = {key: value for key, value in before.items() if key not in entries}
            if not module.check_mode:
                for key in sorted(set(entries) & set(before)):
                    record.forget(section, key)
    except (RecordError, OSError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(
        changed=before != after,
        recorded=shown({section: after})[section],
        diff={
            "before_header": f"{record.path} ({section})",
            "after_header": f"{record.path} ({section})",
            "before": "".join(f"{key}\n" for key in sorted(before)),
            "after": "".join(f"{key}\n" for key in sorted(after)),
        },
    )


if __name__ == "__main__":
    main()
