# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewalld: a service for each port; the service's name is the owner's mark, its name alone says what it holds.

Who may reach a port: anyone, then the zone gets the service; a network, then the zone gets a rich rule on the service. No
source is ever bound to a zone: that would take from it all that its old zone admits, SSH too.

The permanent state is read from firewalld's files, whether it runs or not. The runtime is asked and changed over D-Bus. A
running firewalld learns of a new service by a reload alone, and a reload throws away what others (container engines,
fail2ban) hold in the runtime only. So until the next start a new port stands in the runtime as a rich rule without a service;
these carry the mark in their priority, which also lets every rule that forbids something go first.
"""

from __future__ import annotations

import contextlib
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import (
    FirewallError,
    Plan,
    Rule,
    System,
    Wanted,
    is_ours,
    mark,
    network,
    presence,
)

ETC = "/etc/firewalld"
LIB = "/usr/lib/firewalld"
LAYERS = ("permanent", "runtime")
ACCEPT = "ACCEPT"
# Its --remove-service is an option of an older tool, and means the default zone.
OFFLINE = {
    ("add", "service"): "--add-service",
    ("remove", "service"): "--remove-service-from-zone",
    ("add", "rule"): "--add-rich-rule",
    ("remove", "rule"): "--remove-rich-rule",
}
REFUSING = ("DROP", "%%REJECT%%", "REJECT")


class Zone(NamedTuple):
    """What matters of a zone in one layer."""

    target: str = "default"
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ports: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()


class Service(NamedTuple):
    short: str = ""
    description: str = ""
    ports: tuple[tuple[str, str], ...] = ()
    source_ports: tuple[tuple[str, str], ...] = ()


class State(NamedTuple):
    running: bool
    default_zone: str
    permanent: dict[str, Zone]
    services: dict[str, Service]  # ours, as stored
    runtime: dict[str, Zone]
    known: dict[str, Service]  # ours, as the running firewalld knows them

    @property
    def active(self) -> bool:
        return self.running


def service_name(owner: str, rule: Rule) -> str:
    middle = "-ssh" if rule.guard else "-from" if rule.reply else ""
    return f"{mark(owner)}{middle}-{rule.port}-{rule.proto}"


def named_rule(owner: str, name: str) -> Rule | None:
    """The rule that a service's name stands for; None if it was not named by us."""
    match = re.match(rf"^{re.escape(mark(owner))}(-ssh|-from)?-(\d+)(?:-(\d+))?-(tcp|udp)$", name)
    if not match:
        return None
    first = int(match.group(2))
    return Rule(
        match.group(4), first, int(match.group(3) or first), match.group(1) == "-from", guard=match.group(1) == "-ssh"
    )


def definition(rule: Rule, comment: str) -> Service:
    pair = (rule.port, rule.proto)
    return Service(
        short="{}{}/{}".format("Replies from port " if rule.reply else "", rule.port, rule.proto),
        description=comment,
        ports=() if rule.reply else (pair,),
        source_ports=(pair,) if rule.reply else (),
    )


def service_xml(service: Service) -> str:
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<service>"]
    lines.append(f"  <short>{escape(service.short)}</short>")
    lines.append(f"  <description>{escape(service.description)}</description>")
    for tag, pairs in (("port", service.ports), ("source-port", service.source_ports)):
        for port, proto in pairs:
            lines.append(f"  <{tag} port={quoteattr(port)} protocol={quoteattr(proto)}/>")
    return "\n".join([*lines, "</service>", ""])


def parse_service(text: str) -> Service:
    root = ElementTree.fromstring(text)

    def pairs(tag: str) -> tuple[tuple[str, str], ...]:
        return tuple((item.get("port", ""), item.get("protocol", "")) for item in root.findall(tag))

    return Service(
        short=(root.findtext("short") or "").strip(),
        description=(root.findtext("description") or "").strip(),
        ports=pairs("port"),
        source_ports=pairs("source-port"),
    )


def priority(owner: str) -> int:
    """The mark of a rich rule that names no service: positive, so that it comes after the rules of others."""
    return 10001 + zlib.crc32(mark(owner).encode()) % 20000


def _limit(rule: Rule) -> str:
    if not rule.source:
        return ""
    return f' family="ipv{network(rule.source).version}" source address="{rule.source}"'


def rich(owner: str, rule: Rule) -> str:
    """The rich rule on the service of a rule with a source."""
    return f'rule{_limit(rule)} service name="{service_name(owner, rule)}" accept'


def bare(owner: str, rule: Rule) -> str:
    """The rich rule that stands for it in the runtime while firewalld does not know the service."""
    return 'rule priority="{}"{} {} port="{}" protocol="{}" accept'.format(
        priority(owner), _limit(rule), "source-port" if rule.reply else "port", rule.port, rule.proto
    )


def parse_rule(owner: str, text: str) -> Rule | None:
    """The rule that a rich rule of exactly one of our two forms stands for."""
    match = re.match(
        r'^rule(?: priority="(\d+)")?(?: family="ipv[46]" source address="([^"]+)")?'
        r'(?: service name="([^"]+)"| (source-)?port port="(\d+)(?:-(\d+))?" protocol="(tcp|udp)") accept$',
        text,
    )
    if not match:
        return None
    number, address, service, reply, first, last, proto = match.groups()
    if service:
        rule = None if number else named_rule(owner, service)
        return rule._replace(source=address or "") if rule else None
    if number != str(priority(owner)):
        return None
    return Rule(proto, int(first), int(last or first), bool(reply), address or "")


def mentions(owner: str, text: str) -> bool:
    """Whether a rich rule of whatever form is on a service of ours, or is one of our bare ones."""
    match = re.search(r'service name="([^"]+)"', text)
    return bool(match and is_ours(match.group(1), owner)) or parse_rule(owner, text) is not None


def parse_zone(text: str) -> Zone:
    root = ElementTree.fromstring(text)

    def names(tag: str, key: str) -> tuple[str, ...]:
        return tuple(item.get(key, "") for item in root.findall(tag) if item.get(key))

    return Zone(
        target=root.get("target", "default"),
        interfaces=names("interface", "name"),
        sources=names("source", "address") + names("source", "mac") + names("source", "ipset"),
        services=names("service", "name"),
        ports=tuple((item.get("port", ""), item.get("protocol", "")) for item in root.findall("port")),
        rules=tuple(rule_text(item) for item in root.findall("rule")),
    )


def rule_text(element: Any) -> str:
    """A rich rule of a zone's file as firewalld prints it, as far as we need it: ours are exact, others are recognisable."""
    text = "rule"
    if element.get("priority", "0") != "0":
        text += ' priority="{}"'.format(element.get("priority"))
    if element.get("family"):
        text += ' family="{}"'.format(element.get("family"))
    order = ("source", "destination")
    actions = ("accept", "reject", "drop", "mark")
    children = [child for child in element if child.tag in order]
    children += [child for child in element if child.tag not in order + actions]
    children += [child for child in element if child.tag in actions]
    for child in children:
        negated = child.get("invert", "").lower() in ("yes", "true", "1")
        text += " {}{}".format(child.tag, " NOT" if negated else "")
        # firewalld writes and prints the attributes in this order.
        keys = sorted(child.attrib, key=lambda key: (("name", "address", "port", "protocol", key)).index(key))
        text += "".join(f' {key}="{child.get(key)}"' for key in keys if key != "invert")
        text += "".join(" limit" for limit in child)
    return text


def comment_of(services: Mapping[str, Service], owner: str) -> Any:
    return lambda rule: services.get(service_name(owner, rule), Service()).description


class Firewalld:
    """The backend: `read`, `plan` and `apply`."""

    name = "firewalld"

    def __init__(self, system: System, owner: str, zone: str = "", bus: Any = None) -> None:
        self.system = system
        self.owner = owner
        self.zone = zone
        self.bus = bus

    def installed(self) -> bool:
        return self.system.find("firewalld") is not None

    def present(self) -> bool:
        """Whether anything of ours is stored, by a look at the files alone."""
        if self._service_files():
            return True
        return any(mark(self.owner) in self.system.read(path) for path in self._zone_files([ETC]).values())

    def active(self) -> bool:
        return bool(self.bus.running())

    def _service_files(self) -> dict[str, str]:
        """Service of ours: its file."""
        names = [file[: -len(".xml")] for file in self.system.names(ETC + "/services") if file.endswith(".xml")]
        return {name: f"{ETC}/services/{name}.xml" for name in names if is_ours(name, self.owner)}

    def _zone_files(self, folders: Iterable[str] = (LIB, ETC)) -> dict[str, str]:
        """Zone: its file; /etc goes before /usr/lib."""
        return {
            name[: -len(".xml")]: f"{folder}/zones/{name}"
            for folder in folders
            for name in self.system.names(folder + "/zones")
            if name.endswith(".xml") and not name.startswith(".")
        }

    def read(self) -> State:
        match = re.search(r"(?m)^DefaultZone\s*=\s*(\S+)", self.system.read(ETC + "/firewalld.conf"))
        permanent = {}
        for name, path in self._zone_files().items():
            try:
                permanent[name] = parse_zone(self.system.read(path))
            except ElementTree.ParseError as error:
                raise FirewallError(f"{path} is no XML ({error}): mend it, or move it away") from error
        services = {}
        for name, path in self._service_files().items():
            try:
                services[name] = parse_service(self.system.read(path))
            except ElementTree.ParseError:
                services[name] = Service()
        running = self.bus.running()
        known: dict[str, Service] = {}
        if running:
            known = {name: self.bus.service(name) for name in self.bus.service_names() if is_ours(name, self.owner)}
        return State(
            running=running,
            default_zone=self.bus.default_zone() if running else (match.group(1) if match else "public"),
            permanent=permanent,
            services=services,
            runtime=self.bus.zones() if running else {},
            known=known,
        )

    def zones(self, state: State) -> list[str]:
        """The zones that our rules belong in: those that traffic enters, and the default zone."""
        names = set(state.permanent) | set(state.runtime)
        if self.zone:
            if self.zone not in names:
                raise FirewallError(
                    "zone: firewalld has no zone {!r}; there are: {}".format(self.zone, ", ".join(sorted(names)))
                )
            return [self.zone]
        found = {state.default_zone}
        for name in names:
            layers = [layer[name] for layer in (state.permanent, state.runtime) if name in layer]
            target = layers[0].target
            # A zone that refuses certain sources is meant to (a block list); one that accepts all needs nothing.
            by_source = any(zone.sources for zone in layers) and target not in REFUSING
            if target != ACCEPT and (any(zone.interfaces for zone in layers) or by_source):
                found.add(name)
        return sorted(found)

    def owned(self, state: State) -> set[Rule]:
        """All that we let in by now, wherever it is stored."""
        zones = [*state.permanent.values(), *state.runtime.values()]
        found = {self.rule_of(element) for zone in zones for element in self.elements(zone)}
        return {rule for rule in found if rule}

    def elements(self, zone: Zone) -> set[tuple[str, str]]:
        """What of a zone is ours: ('service', name) and ('rule', rich rule)."""
        found = {("service", name) for name in zone.services if is_ours(name, self.owner)}
        return found | {("rule", text) for text in zone.rules if mentions(self.owner, text)}

    def rule_of(self, element: tuple[str, str]) -> Rule | None:
        kind, text = element
        return named_rule(self.owner, text) if kind == "service" else parse_rule(self.owner, text)

    def form(self, rule: Rule) -> tuple[str, str]:
        return ("rule", rich(self.owner, rule)) if rule.source else ("service", service_name(self.owner, rule))

    def plan(self, state: State, rules: Iterable[Rule], wanted: Wanted) -> Plan:
        rules = sorted(rules)
        plan = Plan(rules=tuple(rules))
        zones = self.zones(state) if rules else []
        definitions = {service_name(self.owner, rule): definition(rule, wanted.comment(rule)) for rule in rules}
        for name, service in sorted(definitions.items()):
            if state.services.get(name) != service:
                plan.steps.append(("define", name, service))
        # Open first, then close; the definitions go last, when nothing refers to them any more.
        closing: list[tuple[Any, ...]] = []
        before: dict[str, set[str]] = {}
        after: dict[str, set[str]] = {}
        for name in sorted({*state.permanent, *state.runtime, *zones}):
            goal = rules if name in zones else []
            have = self.elements(state.permanent.get(name, Zone()))
            need = {self.form(rule) for rule in goal}
            plan.steps += [("add", "permanent", name, *element) for element in sorted(need - have)]
            closing += [("remove", "permanent", name, *element) for element in sorted(have - need)]
            self._note(before, name, "permanent", have)
            self._note(after, name, "permanent", need)
            if not state.running:
                continue
            have = self.elements(state.runtime.get(name, Zone()))
            need = {self._runtime_form(rule, state, definitions) for rule in goal}
            plan.steps += [("add", "runtime", name, *element) for element in sorted(need - have)]
            closing += [("remove", "runtime", name, *element) for element in sorted(have - need)]
            self._note(before, name, "runtime", have, state.known)
            self._note(after, name, "runtime", need)
        plan.steps += closing
        plan.steps += [("undefine", name) for name in sorted(set(state.services) - set(definitions))]
        layers = LAYERS if state.running else LAYERS[:1]
        plan.before = presence(before, layers) + _comments(state.services)
        plan.after = presence(after, layers) + _comments(definitions)
        plan.added = sorted(label for label in after if not after[label] <= before.get(label, set()))
        plan.removed = sorted(label for label in before if not before[label] <= after.get(label, set()))
        return plan

    def _runtime_form(self, rule: Rule, state: State, definitions: Mapping[str, Service]) -> tuple[str, str]:
        name = service_name(self.owner, rule)
        if name in state.known and _same_ports(state.known[name], definitions[name]):
            return self.form(rule)
        return ("rule", bare(self.owner, rule))

    def _note(
        self,
        found: dict[str, set[str]],
        zone: str,
        layer: str,
        elements: Iterable[tuple[str, str]],
        known: Mapping[str, Service] | None = None,
    ) -> None:
        for element in elements:
            rule = self.rule_of(element)
            label = rule.label if rule else " ".join(element)
            if rule and known is not None and element == self.form(rule):
                name = service_name(self.owner, rule)
                if not _same_ports(known.get(name, Service()), definition(rule, "")):
                    label = f"{label} (as {known.get(name, Service()).ports})"
            found.setdefault(f"{label} in zone {zone}", set()).add(layer)

    def apply(self, plan: Plan) -> None:
        if not self.bus.running():
            self._apply_offline(plan)
            return
        for step in plan.steps:
            if step[0] == "define":
                self.bus.define(step[1], step[2])
            elif step[0] == "undefine":
                self.bus.undefine(step[1])
            else:
                action, layer, zone, kind, text = step
                self.bus.change(action, layer, zone, kind, text)

    def _apply_offline(self, plan: Plan) -> None:
        """Services are files of our own; the zones' files are left to firewalld's command, which takes one kind a call."""
        calls: dict[tuple[str, str], list[str]] = {}
        for step in plan.steps:
            if step[0] == "define":
                self.system.write(f"{ETC}/services/{step[1]}.xml", service_xml(step[2]))
            elif step[0] in ("add", "remove"):
                action, _layer, zone, kind, text = step
                option = OFFLINE[(action, kind)]
                calls.setdefault((zone, option), []).append(f"{option}={text}")
        for (zone, _option), options in calls.items():
            self.system.call(["firewall-offline-cmd", f"--zone={zone}", *options])
        for step in plan.steps:
            if step[0] == "undefine":
                for end in ("", ".old"):
                    self.system.write(f"{ETC}/services/{step[1]}.xml{end}", "")

    def enable(self) -> None:
        # A package that was installed without starting anything (policy-rc.d) left the bus without the policies for
        # polkit's new user: polkit could not start then, and firewalld would wait for it at each call.
        self.system.run(["systemctl", "reload", "dbus.service"])
        self.system.call(["systemctl", "enable", "--now", "firewalld.service"])
        self.bus.wait()

    def boot_state(self) -> str:
        _rc, out, _err = self.system.run(["systemctl", "is-enabled", "firewalld.service"])
        return out.strip() or "disabled"

    def stay_off(self) -> None:
        self.system.call(["systemctl", "disable", "firewalld.service"])

    def restore(self, boot_state: str) -> None:
        self.system.call(["systemctl", "stop", "firewalld.service"])
        if boot_state == "disabled":
            self.stay_off()
        self.bus.forget()

    def notes(self, plan: Plan) -> list[str]:
        """The zones that get a file in /etc by this plan."""
        zones = {step[2] for step in plan.steps if step[:2] in (("add", "permanent"), ("remove", "permanent"))}
        return sorted(zone for zone in zones if not self.system.read(f"{ETC}/zones/{zone}.xml"))

    def tidy(self, zones: Iterable[str]) -> None:
        """Takes away the files that `notes` named, where they say no more than the package's own."""
        for zone in zones:
            ours, packaged = (self.system.read(f"{folder}/zones/{zone}.xml") for folder in (ETC, LIB))
            if ours and packaged and same_xml(ours, packaged):
                if self.bus.running():
                    self.bus.load_defaults(zone)
                self.system.write(f"{ETC}/zones/{zone}.xml", "")
                self.system.write(f"{ETC}/zones/{zone}.xml.old", "")

    def others(self, state: State) -> list[str]:
        """What is stored by others, as text that changes when they change something."""
        found = []
        for name, zone in sorted(state.permanent.items()):
            services = [item for item in zone.services if not is_ours(item, self.owner)]
            rules = [item for item in zone.rules if not mentions(self.owner, item)]
            found.append(f"{name} {zone.target} {zone.interfaces} {zone.sources} {zone.ports} {services}")
            found += [f"{name} {item}" for item in sorted(rules)]
        return found

    def admits(self, state: State, proto: str, port: int) -> bool:
        """Whether any rule of others, in a zone that traffic enters, lets somebody in to a port."""
        for name in self.zones(state):
            zone = state.permanent.get(name, Zone())
            if zone.target == ACCEPT:
                return True
            services = [item for item in zone.services if not is_ours(item, self.owner)]
            pairs = list(zone.ports)
            for text in zone.rules:
                match = re.search(r'service name="([^"]+)"', text)
                if not text.endswith("accept") or mentions(self.owner, text):
                    continue
                if match:
                    services.append(match.group(1))
                pairs += re.findall(r' port port="([^"]+)" protocol="([^"]+)"', text)
            for service in services:
                pairs += self._service_ports(service)
            if any(proto == other and _covers(ports, port) for ports, other in pairs):
                return True
        return False

    def _service_ports(self, name: str, depth: int = 3) -> list[tuple[str, str]]:
        text = self.system.read(f"{ETC}/services/{name}.xml") or self.system.read(f"{LIB}/services/{name}.xml")
        if not text:
            return []
        found = list(parse_service(text).ports)
        for include in re.findall(r'<include\s+service="([^"]+)"', text) if depth else []:
            found += self._service_ports(include, depth - 1)
        return found

    def overruled(self, state: State, rules: Iterable[Rule]) -> list[str]:
        """Nothing to say: in a zone the order is by priority, and who wrote a rich rule that refuses saw to that."""
        return []

    def gaps(self, state: State) -> list[str]:
        """What an active firewalld leaves open by its settings."""
        return [
            "firewalld lets in whatever comes through {} (zone {} has the target ACCEPT).".format(
                ", ".join(zone.interfaces), name
            )
            for name, zone in sorted(state.runtime.items())
            if zone.interfaces and state.permanent.get(name, zone).target == ACCEPT
        ]

    def off(self, state: State) -> str:
        return "firewalld does not run: it does not filter what reaches this host."


def same_xml(one: str, other: str) -> bool:
    """Whether two files hold the same elements, in whatever order."""

    def flat(text: str) -> list[str]:
        root = ElementTree.fromstring(text)
        for element in root.iter():
            element.text, element.tail = (element.text or "").strip(), ""
        return [str(root.attrib), *sorted(ElementTree.tostring(child, encoding="unicode") for child in root)]

    return flat(one) == flat(other)


def _same_ports(one: Service, other: Service) -> bool:
    return (one.ports, one.source_ports) == (other.ports, other.source_ports)


def _comments(services: Mapping[str, Service]) -> list[str]:
    return [
        "service {}: {}".format(name, " - ".join(filter(None, (service.short, service.description))))
        for name, service in sorted(services.items())
    ]


def _covers(ports: str, port: int) -> bool:
    first, _dummy, last = ports.partition("-")
    return first.isdigit() and int(first) <= port <= int(last or first)


@contextlib.contextmanager
def allowed(*codes: str) -> Iterator[None]:
    """Passes over firewalld's word that there is nothing to do."""
    try:
        yield
    except FirewallError as error:
        if not re.search(r"\b({})\b".format("|".join(codes)), str(error)):
            raise


class Bus:
    """The running firewalld, over D-Bus. Nothing here may start one that is off."""

    NAME = "org.fedoraproject.FirewallD1"
    PATH = "/org/fedoraproject/FirewallD1"

    def __init__(self, dbus: Any, system: System) -> None:
        self.dbus = dbus
        self.system = system
        self._objects: dict[str, Any] = {}
        self._system_bus: Any = None
        self._running: bool | None = None

    def forget(self) -> None:
        """It has been stopped."""
        self._running = None
        self._objects.clear()

    def running(self) -> bool:
        if self._running is None:
            self._running = self._owned() or self._starting()
            if self._running:
                self.wait()
        return self._running

    def _owned(self) -> bool:
        if self.dbus is None:
            return False
        try:
            self._system_bus = self._system_bus or self.dbus.SystemBus()
            # Asking the bus, not the name: a call to the name could start firewalld.
            return bool(self._system_bus.name_has_owner(self.NAME))
        except self.dbus.DBusException:
            return False

    def _starting(self) -> bool:
        _rc, out, _err = self.system.run(["systemctl", "is-active", "firewalld.service"])
        return out.strip() in ("active", "activating", "reloading")

    def wait(self, seconds: int = 60) -> None:
        """It owns its name some time before it answers."""
        state = "is not on the bus"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._owned():
                try:
                    state = str(self._call("org.freedesktop.DBus.Properties", "Get", self.NAME, "state", timeout=5))
                except FirewallError as error:
                    state = str(error)
                if state in ("RUNNING", "FAILED"):
                    break
            time.sleep(0.5)
        if state == "FAILED":
            raise FirewallError("firewalld runs, but could not load its rules: see `journalctl -u firewalld`")
        if state != "RUNNING":
            raise FirewallError(f"firewalld does not answer ({state}): see `journalctl -u firewalld -u polkit -u dbus`")
        self._running = True

    def _call(self, interface: str, method: str, *arguments: Any, path: str = "", timeout: int = 30) -> Any:
        path = path or self.PATH
        if path not in self._objects:
            self._objects[path] = self._system_bus.get_object(self.NAME, path, introspect=False)
        try:
            return self._objects[path].get_dbus_method(method, interface)(*arguments, timeout=timeout)
        except self.dbus.DBusException as error:
            raise FirewallError(f"firewalld: {method}: {error.get_dbus_message() or error}") from error

    def default_zone(self) -> str:
        return str(self._call(self.NAME, "getDefaultZone"))

    def service_names(self) -> list[str]:
        return [str(name) for name in self._call(self.NAME, "listServices")]

    def service(self, name: str) -> Service:
        found = self._call(self.NAME, "getServiceSettings2", name)
        return Service(
            short=str(found.get("short", "")),
            description=str(found.get("description", "")),
            ports=tuple((str(port), str(proto)) for port, proto in found.get("ports", [])),
            source_ports=tuple((str(port), str(proto)) for port, proto in found.get("source_ports", [])),
        )

    def zones(self) -> dict[str, Zone]:
        return {str(name): self._zone(str(name)) for name in self._call(self.NAME + ".zone", "getZones")}

    def _zone(self, name: str) -> Zone:
        found = self._call(self.NAME + ".zone", "getZoneSettings2", name)

        def texts(key: str) -> tuple[str, ...]:
            return tuple(str(item) for item in found.get(key, []))

        return Zone(
            target=str(found.get("target", "default")),
            interfaces=texts("interfaces"),
            sources=texts("sources"),
            services=texts("services"),
            ports=tuple((str(port), str(proto)) for port, proto in found.get("ports", [])),
            rules=texts("rules_str"),
        )

    def _settings(self, service: Service) -> Any:
        def pairs(found: tuple[tuple[str, str], ...]) -> Any:
            return self.dbus.Array([self.dbus.Struct(pair, signature="ss") for pair in found], signature="(ss)")

        return self.dbus.Dictionary(
            {
                "short": service.short,
                "description": service.description,
                "ports": pairs(service.ports),
                "source_ports": pairs(service.source_ports),
            },
            signature="sv",
        )

    def _config(self, method: str, name: str) -> str:
        return str(self._call(self.NAME + ".config", method, name, path=self.PATH + "/config"))

    def define(self, name: str, service: Service) -> None:
        settings = self._settings(service)
        names = [str(item) for item in self._call(self.NAME + ".config", "getServiceNames", path=self.PATH + "/config")]
        if name in names:
            path = self._config("getServiceByName", name)
            self._call(self.NAME + ".config.service", "update2", settings, path=path)
        else:
            self._call(self.NAME + ".config", "addService2", name, settings, path=self.PATH + "/config")

    def undefine(self, name: str) -> None:
        with allowed("INVALID_SERVICE"):
            path = self._config("getServiceByName", name)
            self._call(self.NAME + ".config.service", "remove", path=path)
        # firewalld keeps what it removes.
        self.system.write(f"{ETC}/services/{name}.xml.old", "")

    def change(self, action: str, layer: str, zone: str, kind: str, text: str) -> None:
        method = action + ("Service" if kind == "service" else "RichRule")
        # Somebody else was quicker.
        with allowed("ALREADY_ENABLED", "NOT_ENABLED"):
            if layer == "permanent":
                path = self._config("getZoneByName", zone)
                if kind == "rule" and action == "remove":
                    text = self._stored_rule(path, text)
                self._call(self.NAME + ".config.zone", method, text, path=path)
            elif action == "add":
                self._call(self.NAME + ".zone", method, zone, text, self.dbus.Int32(0))
            else:
                self._call(self.NAME + ".zone", method, zone, text)

    def load_defaults(self, zone: str) -> None:
        with allowed("NO_DEFAULTS"):
            self._call(self.NAME + ".config.zone", "loadDefaults", path=self._config("getZoneByName", zone))

    def _stored_rule(self, path: str, text: str) -> str:
        """The rich rule as firewalld prints it, where ours is only a likeness (somebody changed it by hand)."""
        stored = [str(item) for item in self._call(self.NAME + ".config.zone", "getRichRules", path=path)]
        if text in stored:
            return text
        match = re.search(r'service name="([^"]+)"', text)
        likely = [item for item in stored if match and match.group(0) in item and not item.endswith("accept")]
        return (likely or [text])[0]
