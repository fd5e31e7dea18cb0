#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_config
short_description: Bring all files of a service into force as one transaction
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Renders all files of a service on the controller and compares them, its units and its services with the host in one trip.
  - Where something differs, the whole set is staged, checked by the service's own checker as if it were in force, started once in a
    network of its own if wanted, put into force by one rename, taken up by reload or restart, and proved by asking
    the running service for the set's id.
  - When the service does not take it up, the set from before is put back, taken up and proved, and the task fails with the reason.
  - A run that is killed leaves the old or the new set in force, never a mix; the next run finishes what is pending.
notes:
  - The files lie in C(/etc/jellynet/NAME/GENERATION/); C(/etc/jellynet/NAME/current) leads to the ones in force.
  - C(@GENERATION@) in O(files[].content), in templates and in O(units[].content) stands for the set's id, C(O(files[].src\)) is left as it is.
  - It needs systemd and root on the host, and Linux namespaces for O(check) and O(trial).
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
  - jellynet.jellyfin.attributes.action
attributes:
  action:
    support: full
    description: Has a corresponding action plugin, which renders the files on the controller.
  async:
    support: none
    description: Supports being run with the C(async) keyword.
  check_mode:
    support: full
    description:
      - Can run in C(check_mode) and return changed status without modifying the host.
      - The staged set is really checked and tried; what could not be, because it is not installed yet, is returned in RV(unchecked).
  diff_mode:
    support: full
    description: Shows every file before and after; of sensitive and binary ones only checksums; and modes, owners, links, units and services.
  platform:
    platforms: posix
    support: full
options:
  name:
    description: The name of the service's folder below C(/etc/jellynet).
    type: str
    required: true
  state:
    description:
      - V(present) brings the set into force.
      - V(absent) stops and disables the services that the set has, removes all that it put there, and puts back what stood in its place.
    type: str
    choices: [present, absent]
    default: present
  files:
    description: All files of the service. What is no longer listed goes away.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - A relative path lies in the generation.
          - At an absolute path a link leads to the file in the generation. What stood there is kept in the record and comes back with O(state=absent).
        type: str
        required: true
      content:
        description: The content itself. One of O(files[].content), O(files[].template), O(files[].src) and O(files[].tree) is needed.
        type: str
      template:
        description: A template, found as by the M(ansible.builtin.template) module.
        type: str
      vars:
        description: More variables for the template.
        type: dict
      src:
        description: A file on the controller, taken verbatim.
        type: str
      tree:
        description: A folder on the controller; all files in it are taken verbatim and lie below O(files[].path).
        type: str
      exclude:
        description: Patterns of names in O(files[].tree) that are left out, each matched with the name alone and with the path in the folder.
        type: list
        elements: str
        default: [__pycache__, '*.pyc', '.*']
      mode:
        description: The mode of the file.
        type: raw
        default: '0644'
      owner:
        description: The owner of the file.
        type: str
        default: root
      group:
        description: The group of the file.
        type: str
        default: root
      sensitive:
        description: The diff shows checksums only.
        type: bool
        default: false
      effect:
        description:
          - What a change of the file needs.
          - A file in C(/etc/systemd) makes systemd read its files again in any case.
        type: str
        choices: [none, daemon_reload, reload, restart]
        default: reload
      affects:
        description:
          - The services that the effect is for.
          - By default the unit whose drop-in the file is, for all other files the services of type service.
        type: list
        elements: str
        default: []
  units:
    description:
      - Unit files of our own, real files in C(/etc/systemd/system).
      - They carry only what never changes (C([Unit] Description), C([Install])); behaviour belongs into a drop-in among the O(files).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name with its suffix.
        type: str
        required: true
      content:
        description: The content itself, or use O(units[].template).
        type: str
      template:
        description: A template.
        type: str
      vars:
        description: More variables for the template.
        type: dict
      effect:
        description: What a change of the unit file needs besides a daemon-reload.
        type: str
        choices: [daemon_reload, reload, restart]
        default: daemon_reload
  services:
    description: The units and the state they are wanted in, in start order. What is no longer listed is stopped and disabled.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The unit; C(.service) may be left out.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. Without a value it is left alone.
        type: bool
      state:
        description: Whether it runs. Without a value it is left alone.
        type: str
        choices: [started, stopped]
  check:
    description: Programs that must accept the staged set; they see it at its live paths, in a mount namespace of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      argv: &argv
        description: The program and its arguments.
        type: list
        elements: str
        required: true
      user: &user
        description: The user that it runs as.
        type: str
        default: root
      groups: &groups
        description: More groups, as a drop-in would give them to the service.
        type: list
        elements: str
        default: []
      environment: &environment
        description: More environment variables.
        type: dict
        default: {}
      tmpfs: &tmpfs
        description: Folders of which it gets an empty copy of its own (their subfolders are there), for logs and PID files.
        type: list
        elements: path
        default: []
      needs: &needs
        description: Paths that earlier roles make. In check mode it is not run while one is missing.
        type: list
        elements: path
        default: []
  trial:
    description:
      - A daemon that is started on the staged set in a mount, PID and network namespace of its own, and asked all URLs of O(proof) there.
      - It must stay in the foreground. When it fails, what it wrote to C(*.log) in its folders of O(trial.tmpfs) is told as well.
    type: dict
    suboptions:
      argv: *argv
      user: *user
      groups: *groups
      environment: *environment
      tmpfs: *tmpfs
      needs: *needs
  proof:
    description: What must answer with the set's id and nothing else before the set counts as taken up. Each entry has a URL or an argv.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: Asked several times in a row over fresh connections. A certificate is not verified.
        type: str
      server_name:
        description: The name for SNI and the Host header; by default the host of the URL.
        type: str
      argv:
        description: A program that prints the id.
        type: list
        elements: str
  conflicts:
    description:
      - Units that hold the same ports. They are stopped at the last moment before ours start, and disabled once ours are proved.
      - When ours fail they are started again.
    type: list
    elements: str
    default: []
  brought_by:
    description:
      - For paths of the set at which a package puts a file of its own, the package's name.
      - Where this collection has installed that package, nothing of anybody's is covered there, and no warning is given.
    type: dict
    default: {}
  restore_units:
    description:
      - With O(state=absent), bring the services that are not ours, and those that were stopped as O(conflicts), back into the state that
        they had before the first run.
    type: bool
    default: false
  timeout:
    description: Seconds that each check, the trial, each start or reload, and the proof may take.
    type: int
    default: 30
  rendered:
    description: What the action plugin rendered. Not for use in a task.
    type: str
"""

EXAMPLES = r"""
- name: Bring nginx's configuration into force
  jellynet.jellyfin.service_config:
    name: nginx
    files:
      - path: site.conf
        template: nginx/site.conf.j2
      - path: /etc/nginx/conf.d/jellynet.conf
        content: "include /etc/jellynet/nginx/current/site.conf;\n"
    services:
      - {name: nginx.service, enabled: true, state: started}
    check:
      - argv: [nginx, -t]
    proof:
      - url: https://127.0.0.1:443/.well-known/jellynet-generation
        server_name: media.example.org
    conflicts: [apache2.service]

- name: A service of our own, its program included
  jellynet.jellyfin.service_config:
    name: ports
    files:
      - {path: lib/jellyfin_ports, tree: jellyfin_ports, effect: restart}
      - {path: config.json, template: config.json.j2}
      - path: /etc/systemd/system/jellyfin-ports.service.d/jellynet.conf
        template: service.conf.j2
        effect: restart
    units:
      - name: jellyfin-ports.service
        content: |
          [Unit]
          Description=Ports for Jellyfin's clients
          [Install]
          WantedBy=multi-user.target
    services:
      - {name: jellyfin-ports.service, enabled: true, state: started}

- name: Take it away again
  jellynet.jellyfin.service_config:
    name: ports
    state: absent
"""

RETURN = r"""
generation:
  description: The id of the set, 16 hex digits. Empty with O(state=absent).
  returned: always
  type: str
  sample: 4f2a0c1be97d3365
previous:
  description: The id of the set that was proved before; empty when there was none.
  returned: always
  type: str
  sample: 9be1c54f0d8a7710
resumed:
  description: Whether the files were in force already and an earlier run's reload and proof were finished.
  returned: always
  type: bool
  sample: false
unchecked:
  description: Sentences about what could not be checked.
  returned: always
  type: list
  elements: str
  sample: ["nginx -t was not run: nginx is not installed."]
replaced:
  description: Paths where something stood that is not ours. It is kept in the record and comes back with O(state=absent).
  returned: always
  type: list
  elements: str
  sample: []
actions:
  description: What was done to units, in order.
  returned: always
  type: list
  elements: str
  sample: [reload nginx.service]
gap_ms:
  description: Milliseconds from the stop of the O(conflicts) until the services were up; null when none was stopped.
  returned: always
  type: int
  sample: 85
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: check
rolled_back:
  description: True when the set from before was put back and proved, false when that did not work, null when nothing in force had been changed.
  returned: failure
  type: bool
  sample: true
"""

import base64
import binascii
import contextlib
import dataclasses
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import ServiceFolder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_removal import Removal
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import (
    EFFECTS,
    SetError,
    build,
    check_name,
    unit_name,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_transaction import ServiceError, Transaction
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd

LOCK_FOLDER = "/run/jellynet"
LOCK_PATIENCE = 120.0

_STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
_PATHS: dict[str, Any] = {"type": "list", "elements": "path", "default": []}
_PROGRAM: dict[str, Any] = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "user": {"type": "str", "default": "root"},
    "groups": _STRINGS,
    "environment": {"type": "dict", "default": {}},
    "tmpfs": _PATHS,
    "needs": _PATHS,
}


def argument_spec() -> dict[str, Any]:
    """The options; what renders them is the action plugin."""
    rendered = {"content": {"type": "str"}, "template": {"type": "str"}, "vars": {"type": "dict"}}
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "files": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "str", "required": True},
                **rendered,
                "src": {"type": "str"},
                "tree": {"type": "str"},
                "exclude": {"type": "list", "elements": "str", "default": ["__pycache__", "*.pyc", ".*"]},
                "mode": {"type": "raw", "default": "0644"},
                "owner": {"type": "str", "default": "root"},
                "group": {"type": "str", "default": "root"},
                "sensitive": {"type": "bool", "default": False},
                "effect": {"type": "str", "choices": list(EFFECTS), "default": "reload"},
                "affects": _STRINGS,
            },
        },
        "units": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                **rendered,
                "effect": {"type": "str", "choices": list(EFFECTS[1:]), "default": "daemon_reload"},
            },
        },
        "services": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "enabled": {"type": "bool"},
                "state": {"type": "str", "choices": ["started", "stopped"]},
            },
        },
        "check": {"type": "list", "elements": "dict", "default": [], "options": _PROGRAM},
        "trial": {"type": "dict", "options": _PROGRAM},
        "proof": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "url": {"type": "str"},
                "server_name": {"type": "str"},
                "argv": {"type": "list", "elements": "str"},
            },
        },
        "conflicts": _STRINGS,
        "brought_by": {"type": "dict", "default": {}},
        "restore_units": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 30},
        "rendered": {"type": "str", "no_log": True},
    }


def somebodys(replaced: list[str], brought_by: dict[str, Any]) -> list[str]:
    """Those of the covered files that were on the host before this collection was."""
    if not any(path in brought_by for path in replaced):
        return replaced
    ours = _record.load()["packages"]
    return [path for path in replaced if brought_by.get(path) not in ours]


def unpack(rendered: str | None) -> dict[str, Any]:
    """The contents that the action plugin packed: bytes, and whether the placeholder in them stays."""
    try:
        packed: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(rendered or "")))
    except (binascii.Error, zlib.error, ValueError):
        raise SetError("service_config runs through its action plugin of the same name: call it as a task.") from None
    for file in packed["files"]:
        file["content"] = base64.b64decode(file["content"])
    return packed


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one run at a time changes services on this host: they share ports, systemd and the record."""
    os.makedirs(LOCK_FOLDER, mode=0o700, exist_ok=True)
    descriptor = os.open(os.path.join(LOCK_FOLDER, "service_config.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SetError(
                        f"Another run has been changing services on this host for {LOCK_PATIENCE:.0f} s: wait for it, then run again."
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def main() -> None:
    """Arguments in, one transaction, result out."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    if os.geteuid() != 0:
        module.fail_json(msg="service_config changes /etc and asks systemd: it has to run as root, set `become: true`.")
    try:
        with contextlib.nullcontext() if module.check_mode else alone():
            result = _run(params, module.check_mode)
        covered = somebodys(result.replaced, params["brought_by"])
    except (SetError, _record.RecordError, OSError) as problem:
        module.fail_json(msg=str(problem))
    except ServiceError as problem:
        module.fail_json(msg=str(problem), step=problem.step, rolled_back=problem.rolled_back)
    for sentence in result.unchecked:
        module.warn(f"{params['name']}: {sentence}")
    for path in covered:
        module.warn(
            f"{params['name']}: {path} was there before; it is kept in the record and comes back with state=absent."
        )
    module.exit_json(**dataclasses.asdict(result))


def _run(params: dict[str, Any], check_mode: bool) -> Any:
    check_name(params["name"])
    folder = ServiceFolder(params["name"])
    systemd = Systemd(timeout=max(params["timeout"], 5))
    conflicts = [unit_name(unit) for unit in params["conflicts"]]
    if params["state"] == "absent":
        return Removal(folder, systemd, units=conflicts, restore_units=params["restore_units"]).run(check_mode)
    packed = unpack(params["rendered"])
    files = [{**file, "verbatim": extra["verbatim"]} for file, extra in zip(params["files"], packed["files"])]
    wanted = build(
        {**params, "files": files},
        [extra["content"] for extra in packed["files"]],
        [unit.encode() for unit in packed["units"]],
        folder.base,
    )
    return Transaction(
        folder,
        wanted,
        systemd,
        checks=params["check"],
        trial=params["trial"],
        conflicts=conflicts,
        timeout=params["timeout"],
    ).run(check_mode)


if __name__ == "__main__":
    main()
