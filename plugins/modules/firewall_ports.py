#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_ports
short_description: Open any number of ports in firewalld or ufw with one call
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Reads the state of the firewall once, compares it in memory and applies only what differs.
  - The list O(ports) is all that O(owner) has. A port that is no longer in it is closed. Rules without the owner's mark are never changed.
  - The mark is the name under which the firewall stores a rule. In firewalld that is a service C(jellynet-<owner>-<port>-<protocol>),
    in ufw an application profile C(jellynet-<owner>) or C(jellynet-<owner>-<source>).
  - In firewalld both the permanent and the runtime configuration are changed, without a reload, which would lose what others hold in the
    runtime only. Until firewalld starts the next time, a new port stands in its runtime as a rich rule whose priority is the mark.
  - A firewall that is off stays off unless O(enable=true); until then the rules are stored and RV(exposed) says what is reachable.
  - ufw takes the first rule that fits. Where a rule of somebody else's stands before and refuses what O(ports) lets in, a warning names it.
  - Ports that a container engine publishes do not pass these rules. Neither firewalld nor ufw filters them.
options:
  ports:
    description: What is let in.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port, or a range such as V(49152-65535). Exactly one of O(ports[].port) and O(ports[].source_port) is needed.
        type: str
      source_port:
        description: The port from which a sender's datagrams come. They are let in to all ports, so name the senders in O(ports[].sources).
        type: str
      proto:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      sources:
        description:
          - The addresses and networks (in CIDR notation, IPv4 or IPv6) that are let in.
          - Without this option, or with V(null), anyone is let in.
          - An empty list lets nobody in, so the port is not opened. That is what an empty LAN should lead to.
        type: list
        elements: str
      comment:
        description: What the port is for. It is kept with the service or the profile.
        type: str
        default: ''
  backend:
    description:
      - Which firewall.
      - V(auto) takes the one that is on, or else the one that is installed. Rules of the owner in the other one are removed.
      - V(none) changes nothing and reports RV(exposed).
    type: str
    choices: [auto, firewalld, ufw, none]
    default: auto
  zone:
    description:
      - The zone of firewalld.
      - Without it the rules go to the default zone and to every zone that traffic enters (it has interfaces or sources),
        but not to zones that accept everything, nor to zones that refuse certain sources.
    type: str
    default: ''
  owner:
    description: By whose mark the rules are known.
    type: str
    default: jellyfin
  enable:
    description:
      - Turn the firewall on, now and at each boot, when it is off.
      - Before that, the port of the SSH connection in use and every port that an SSH daemon listens on are let in for anyone.
        These rules stay, whatever O(ports) says.
      - Services that nobody reaches any more are listed in RV(cut_off) and warned about. In check mode they are listed beforehand.
    type: bool
    default: false
  state:
    description:
      - V(present) opens what O(ports) lists and closes whatever else the owner has.
      - V(absent) removes all that the owner has. A firewall that this module turned on is turned off again,
        unless others have changed its rules since then. It then stays on, and the rules for SSH stay with it.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - python3-dbus on the host when firewalld runs (its package depends on it)
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
  platform:
    support: full
    platforms: Debian
"""

EXAMPLES = r"""
- name: Let everyone in to the proxy, and the LAN to Jellyfin
  jellynet.jellyfin.firewall_ports:
    ports:
      - port: 80
        comment: redirect to HTTPS, ACME
      - port: 443
      - port: 443
        proto: udp
        comment: HTTP/3
      - port: 8096
        sources: [192.168.1.0/24, 'fd00:1::/64']
        comment: Jellyfin
      - port: 7359
        proto: udp
        sources: [192.168.1.0/24]
        comment: client discovery

- name: Let the answers of one HDHomeRun tuner in
  jellynet.jellyfin.firewall_ports:
    owner: tuner
    ports:
      - source_port: 65001
        proto: udp
        sources: [192.168.1.40]

- name: See what turning the firewall on would cut off
  jellynet.jellyfin.firewall_ports:
    ports:
      - port: 443
    enable: true
  check_mode: true
  register: preview

- name: Take all rules away again
  jellynet.jellyfin.firewall_ports:
    state: absent
"""

RETURN = r"""
backend:
  description: The firewall that was used, or V(none).
  returned: always
  type: str
  sample: firewalld
active:
  description: Whether the firewall filters, after this run.
  returned: always
  type: bool
added:
  description: What was opened, in words.
  returned: always
  type: list
  elements: str
  sample: [443/tcp from anyone in zone public]
removed:
  description: What was closed, in words.
  returned: always
  type: list
  elements: str
  sample: [8920/tcp from 192.168.1.0/24 in zone public]
ports:
  description: All that the owner has after this run, in the form of the argument.
  returned: always
  type: list
  elements: dict
  sample:
    - port: '443'
      proto: tcp
      sources:
      comment: ''
enabled:
  description: Whether this run turned the firewall on.
  returned: always
  type: bool
disabled:
  description: Whether this run turned the firewall off.
  returned: always
  type: bool
exposed:
  description: What is reachable because no firewall is on, or because of the firewall's settings; a list of sentences.
  returned: always
  type: list
  elements: str
  sample:
    - "ufw is off: it does not filter what reaches this host."
    - "Reachable: 22/tcp (sshd) on 0.0.0.0, ::."
cut_off:
  description: The listening services that nobody reaches any more once this run has turned the firewall on.
  returned: always
  type: list
  elements: dict
  sample:
    - proto: tcp
      port: 3306
      addresses: [0.0.0.0]
      process: mariadbd
"""

import hashlib
import json
import traceback
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import (
    FirewallError,
    Plan,
    Rule,
    System,
    Wanted,
    as_ports,
    check_owner,
    guards,
    wanted,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall_exposure import (
    connection_port,
    cut_off,
    describe,
    ephemeral_start,
    reachable,
    sentences,
    ssh_ports,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall_firewalld import Bus, Firewalld
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall_ufw import Ufw
from ansible_collections.jellynet.jellyfin.plugins.module_utils._listeners import listeners

INTERPRETERS = ("/usr/bin/python3", "/usr/libexec/platform-python")
ATTEMPTS = 3
ZONE_FILE = "zone_file_"
KEPT_OFF = "kept_off_firewalld"

DBUS_ERROR = ""
try:
    import dbus
except ImportError:
    dbus = None
    DBUS_ERROR = traceback.format_exc()


class Run:
    """One run: pick the firewall, compare, and unless it is a check, apply."""

    def __init__(self, module: AnsibleModule, system: System, firewalld: Firewalld, ufw: Ufw) -> None:
        self.module = module
        self.params = module.params
        self.system = system
        self.backends: dict[str, Any] = {"firewalld": firewalld, "ufw": ufw}
        self.result: dict[str, Any] = {
            "changed": False,
            "backend": "none",
            "active": False,
            "added": [],
            "removed": [],
            "ports": [],
            "enabled": False,
            "disabled": False,
            "exposed": [],
            "cut_off": [],
            "diff": {"before": "", "after": ""},
        }

    def pick(self) -> str:
        choice = self.params["backend"]
        installed = [name for name in ("firewalld", "ufw") if self.backends[name].installed()]
        if choice == "none" or (choice == "auto" and not installed):
            return "none"
        if choice != "auto":
            if choice not in installed:
                if self.params["state"] == "absent":
                    return "none"
                if self.module.check_mode:
                    self.module.warn(f"{choice} is not installed yet; this is what would be stored in it.")
                    return str(choice)
                raise FirewallError(
                    f"backend: {choice} is not installed; install the package {choice}, or use backend=auto"
                )
            return str(choice)
        if len(installed) == 1:
            return installed[0]
        active = [name for name in installed if self.backends[name].active()]
        if len(active) == 2:
            raise FirewallError(
                "backend: firewalld and ufw are both on, and a packet has to pass both; turn one of them off"
            )
        return (active or [name for name in installed if self.backends[name].present()] or installed)[0]

    def run(self) -> dict[str, Any]:
        declared = wanted(self.params["ports"])
        absent = self.params["state"] == "absent"
        name = self.pick()
        self.result["backend"] = name
        if self.params["backend"] != "none":
            for other, backend in self.backends.items():
                if other != name and backend.installed() and backend.present():
                    self._clear(backend)
        if name == "none":
            self.result["exposed"] = sentences("No firewall is managed on this host.", self._services())
        elif absent:
            self._remove(self.backends[name], Wanted((), {}))
        else:
            self._open(self.backends[name], declared)
        return self.result

    def _open(self, backend: Any, declared: Wanted) -> None:
        state = backend.read()
        rules = set(declared.rules) | kept_for_ssh(backend.owned(state))
        services: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        enabling = self.params["enable"] and not state.active
        if enabling or not state.active:
            found = listeners()
            services = self._services(found)
        if enabling:
            rules |= set(guards(self._ssh_ports(found)))
        elif state.active:
            rules |= self._only_way_in(backend, state, rules)
        plan = backend.plan(state, rules, declared)
        for sentence in backend.overruled(state, plan.rules):
            self.module.warn(sentence)
        if enabling:
            self.result["cut_off"] = cut_off(
                services, plan.rules, lambda proto, port: backend.admits(state, proto, port)
            )
            if self.result["cut_off"]:
                self.module.warn(
                    "Nobody will reach {} through {}: open what is needed, or stop it.".format(
                        ", ".join(describe(item) for item in self.result["cut_off"]), backend.name
                    )
                )
            plan.before.append(f"{backend.name} is off")
            plan.after.append(f"{backend.name} is on")
        quiet = not enabling and not state.active and self._started_by_its_package(backend)
        if quiet:
            plan.before.append(f"{backend.name} starts at the next boot")
            plan.after.append(f"{backend.name} stays off at the next boot")
        self._report(backend, plan, declared)
        self.result["enabled"] = enabling
        self.result["changed"] = self.result["changed"] or bool(plan.steps) or enabling or quiet
        self.result["active"] = state.active or enabling
        if not self.module.check_mode:
            self._apply(backend, plan, rules, declared)
            if quiet:
                backend.stay_off()
                # Once: who enables it later means it.
                _record.remember("firewall", KEPT_OFF, True)
            if enabling:
                # First the note, then the deed: a run that ends in between leaves a note too many, never one too few.
                # What such a run noted of the boot is what was there before.
                key = "turned_on_" + backend.name
                boot = (_record.get("firewall", key) or {}).get("boot") or backend.boot_state()
                note = {"boot": boot, "others": fingerprint(backend.others(state))}
                _record.remember("firewall", key, note, overwrite=True)
                backend.enable()
                self._apply(backend, backend.plan(backend.read(), rules, declared), rules, declared)
        self.result["exposed"] = (
            backend.gaps(state) if state.active or enabling else sentences(backend.off(state), services)
        )

    def _ssh_ports(self, found: list[dict[str, Any]]) -> list[int]:
        _rc, listing, _err = self.system.run(["systemctl", "list-sockets", "--plain", "--no-legend", "--full"])
        return ssh_ports(found, listing, connection_port())

    def _only_way_in(self, backend: Any, state: Any, rules: set[Rule]) -> set[Rule]:
        """What of ours lets SSH in, is not declared any more, and has no other rule beside it: it stays."""
        lost = {rule for rule in backend.owned(state) - rules if rule.proto == "tcp" and not rule.reply}
        if not lost:
            return set()
        ports = [
            port
            for port in self._ssh_ports(listeners())
            if not any(rule.covers("tcp", port) for rule in rules) and not backend.admits(state, "tcp", port)
        ]
        kept = {
            Rule("tcp", port, port, source=rule.source, guard=True)
            for port in ports
            for rule in lost
            if rule.covers("tcp", port)
        }
        for rule in sorted(kept):
            self.module.warn(f"{rule.label} stays open in {backend.name}: it is the only way in for SSH.")
        return kept

    def _started_by_its_package(self, backend: Any) -> bool:
        """Whether a firewalld that we installed is to start at the next boot, which nobody asked for."""
        return (
            backend.name == "firewalld"
            and _record.get("packages", "firewalld") is not None
            and _record.get("firewall", KEPT_OFF) is None
            and backend.boot_state() == "enabled"
        )

    def _remove(self, backend: Any, nothing: Wanted) -> None:
        state = backend.read()
        note = _record.get("firewall", "turned_on_" + backend.name)
        turn_off = bool(note) and state.active and note["others"] == fingerprint(backend.others(state))
        # As long as the firewall is on, nobody may lose the way in.
        kept: set[Rule] = set()
        if state.active and not turn_off:
            kept = kept_for_ssh(backend.owned(state))
            kept |= self._only_way_in(backend, state, kept)
        plan = backend.plan(state, kept, nothing)
        if turn_off:
            plan.before.append(f"{backend.name} is on")
            plan.after.append(f"{backend.name} is off")
        elif kept:
            self.module.warn(
                f"{backend.name} stays on: this module did not turn it on, or others have changed its rules since. "
                "So the rules for SSH stay too."
            )
        self._report(backend, plan, nothing)
        self.result["changed"] = self.result["changed"] or bool(plan.steps) or turn_off
        self.result["disabled"] = turn_off
        self.result["active"] = state.active and not turn_off
        if not self.module.check_mode:
            if turn_off:
                backend.restore(note["boot"])
                state = backend.read()
                plan = backend.plan(state, kept, nothing)
            self._apply(backend, plan, kept, nothing)
            if note and not kept:
                _record.forget("firewall", "turned_on_" + backend.name)
            if backend.name == "firewalld":
                _record.forget("firewall", KEPT_OFF)
        if not self.result["active"]:
            self.result["exposed"] = sentences(backend.off(state), self._services())

    def _clear(self, backend: Any) -> None:
        """Takes our rules out of the firewall that is not used."""
        state = backend.read()
        kept = kept_for_ssh(backend.owned(state)) if state.active else set()
        plan = backend.plan(state, kept, Wanted((), {}))
        self._report(backend, plan, None)
        self.result["changed"] = self.result["changed"] or bool(plan.steps)
        if not self.module.check_mode:
            self._apply(backend, plan, kept, Wanted((), {}))

    def _apply(self, backend: Any, plan: Plan, rules: Any, declared: Wanted) -> None:
        """Applies the plan and looks again: others work on the same files, and a killed command may have left half."""
        for _dummy in range(ATTEMPTS):
            if not plan.steps:
                break
            for zone in backend.notes(plan):
                _record.remember("firewall", ZONE_FILE + zone, "absent")
            backend.apply(plan)
            plan = backend.plan(backend.read(), rules, declared)
        if plan.steps:
            raise FirewallError(
                "{} did not keep what was set; something else changes it at the same time. Still missing: {}".format(
                    backend.name, ", ".join(plan.added + plan.removed) or plan.steps
                )
            )
        if not rules:
            noted = [key for key in _record.load()["firewall"] if key.startswith(ZONE_FILE)]
            if backend.name == "firewalld" and noted:
                backend.tidy(key[len(ZONE_FILE) :] for key in noted)
                for key in noted:
                    _record.forget("firewall", key)

    def _report(self, backend: Any, plan: Plan, declared: Any) -> None:
        suffix = "" if declared is not None else f" in {backend.name}"
        self.result["added"] += [text + suffix for text in plan.added]
        self.result["removed"] += [text + suffix for text in plan.removed]
        if declared is not None:
            self.result["ports"] = as_ports(plan.rules, declared.comment)
        for side, text in plan.diff.items():
            self.result["diff"][side] += text
            self.result["diff"][side + "_header"] = "rules of {} in {}".format(self.params["owner"], backend.name)

    def _services(self, found: Any = None) -> list[dict[str, Any]]:
        start = ephemeral_start(self.system.read("/proc/sys/net/ipv4/ip_local_port_range"))
        return reachable(listeners() if found is None else found, start)


def kept_for_ssh(rules: set[Rule]) -> set[Rule]:
    return {rule for rule in rules if rule.guard}


def fingerprint(lines: list[str]) -> str:
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def need_dbus(module: AnsibleModule, firewalld: Firewalld) -> None:
    needed = module.params["backend"] in ("auto", "firewalld") or firewalld.present()
    if dbus is not None or module.params["backend"] == "none" or not (needed and firewalld.installed()):
        return
    if not has_respawned():
        interpreter = probe_interpreters_for_module(INTERPRETERS, "dbus")
        if interpreter:
            respawn_module(interpreter)
    module.fail_json(
        msg=missing_required_lib("dbus", reason="to talk to firewalld (package python3-dbus)"), exception=DBUS_ERROR
    )


def arguments() -> dict[str, Any]:
    ports = {
        "port": {"type": "str"},
        "source_port": {"type": "str"},
        "proto": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "sources": {"type": "list", "elements": "str"},
        "comment": {"type": "str", "default": ""},
    }
    return {
        "ports": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": ports,
            "mutually_exclusive": [("port", "source_port")],
            "required_one_of": [("port", "source_port")],
        },
        "backend": {"type": "str", "choices": ["auto", "firewalld", "ufw", "none"], "default": "auto"},
        "zone": {"type": "str", "default": ""},
        "owner": {"type": "str", "default": "jellyfin"},
        "enable": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Arguments in, one comparison, result out."""
    module = AnsibleModule(argument_spec=arguments(), supports_check_mode=True)
    system = System(module)
    try:
        owner = check_owner(module.params["owner"])
        firewalld = Firewalld(system, owner, module.params["zone"], Bus(dbus, system))
        need_dbus(module, firewalld)
        result = Run(module, system, firewalld, Ufw(system, owner)).run()
    except (FirewallError, _record.RecordError, OSError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
