# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw: an application profile for each distinct source, and one `ufw allow` for each profile.

ufw keeps a single comment per rule, but the name of a profile stays with every rule made from it, in the file and in the
kernel: that name is the owner's mark. `from ADDRESS app NAME` takes the ports of a profile as the sender's ports.
State is read from ufw's files and from the loaded chains; `ufw` itself is called for changes only.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

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

CONF = "/etc/ufw/ufw.conf"
DEFAULTS = "/etc/default/ufw"
RULES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
PROFILES = "/etc/ufw/applications.d"
CHAINS = {4: ("iptables", "ufw-user-input"), 6: ("ip6tables", "ufw6-user-input")}
FAMILIES = ("IPv4", "IPv6")

# ufw passes over a profile whose name or field is longer.
NAME_LIMIT = 64
FIELD_LIMIT = 1024


class Entry(NamedTuple):
    """A `### tuple ###` of user.rules or user6.rules."""

    version: int
    action: str
    proto: str
    dport: str
    dst: str
    sport: str
    src: str
    dapp: str
    sapp: str
    direction: str

    @property
    def app(self) -> str:
        return self.dapp or self.sapp

    @property
    def plain(self) -> bool:
        """Allows what comes in, whatever address or interface it comes to."""
        return self.action == "allow" and self.direction == "in" and is_any(self.dst)


class Profile(NamedTuple):
    name: str
    source: str
    reply: bool
    rules: tuple[Rule, ...]

    @property
    def ports(self) -> str:
        return "|".join(spec(rule) for rule in self.rules)

    @property
    def versions(self) -> tuple[int, ...]:
        return (network(self.source).version,) if self.source else (4, 6)


class State(NamedTuple):
    enabled: bool  # by its configuration
    loaded: bool  # its chains are in the kernel
    ipv6: bool
    policy: str
    profiles: str  # our file in applications.d
    entries: tuple[Entry, ...]
    kernel: set[tuple[Any, ...]] | None  # our rules as they are loaded

    @property
    def active(self) -> bool:
        return self.enabled and self.loaded


def is_any(address: str) -> bool:
    return address in ("any", "0.0.0.0/0", "::/0")


def spec(rule: Rule) -> str:
    return "{}/{}".format(rule.port.replace("-", ":"), rule.proto)


def profile_name(owner: str, rule: Rule, part: int = 1) -> str:
    """The name of the profile that a rule belongs to; it may hold letters, digits and `_ - . +`."""
    name = mark(owner)
    if rule.guard:
        name += "-ssh"
    if rule.reply:
        name += "-reply"
    if rule.source:
        name += "-" + rule.source.replace(":", "-").replace("/", "_")
    if part > 1:
        name += f"-part{part}"
    if len(name) > NAME_LIMIT:
        name = f"{mark(owner)}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def profiles(owner: str, rules: Iterable[Rule]) -> list[Profile]:
    groups: dict[str, list[Rule]] = {}
    for rule in sorted(rules):
        part = 1
        while True:
            name = profile_name(owner, rule, part)
            group = groups.setdefault(name, [])
            if len("|".join(spec(other) for other in [*group, rule])) <= FIELD_LIMIT:
                group.append(rule)
                break
            part += 1
    return [Profile(name, group[0].source, group[0].reply, tuple(group)) for name, group in sorted(groups.items())]


def render(found: list[Profile], wanted: Wanted) -> str:
    """The file of all our profiles."""
    sections = []
    for profile in found:
        words = []
        for rule in profile.rules:
            comment = wanted.comment(rule)
            words.append(f"{spec(rule)} {comment}" if comment else spec(rule))
        whom = f"from {profile.source}" if profile.source else "from anyone"
        sections.append(
            "[{}]\ntitle={}\ndescription={}\nports={}\n".format(
                profile.name,
                ("Replies " if profile.reply else "Let in ") + whom,
                "; ".join(words)[:FIELD_LIMIT],
                profile.ports,
            )
        )
    head = "# Written by the Ansible module jellynet.jellyfin.firewall_ports; changes made by hand are lost.\n"
    return head + "\n".join(sections) if sections else ""


def entries(text: str, version: int) -> list[Entry]:
    """All rules of a user.rules; those of the old short form and malformed ones as ufw reads them."""
    found = []
    for line in text.splitlines():
        if not line.startswith("### tuple ###"):
            continue
        words = line[len("### tuple ###") :].split(" comment=")[0].split()
        if not 6 <= len(words) <= 9:
            continue
        apps = ["" if word == "-" else word.replace("%20", " ") for word in words[6:8]] if len(words) >= 8 else ["", ""]
        direction = words[-1] if len(words) in (7, 9) else "in"
        action, proto, dport, dst, sport, src = words[:6]
        found.append(Entry(version, action, proto, dport, dst, sport, src, apps[0], apps[1], direction))
    return found


def expected(profile: Profile, ipv6: bool) -> set[Entry]:
    found = set()
    for version in profile.versions:
        if version == 6 and not ipv6:
            continue
        everywhere = "0.0.0.0/0" if version == 4 else "::/0"
        for rule in profile.rules:
            port = rule.port.replace("-", ":")
            found.add(
                Entry(
                    version,
                    "allow",
                    rule.proto,
                    "any" if rule.reply else port,
                    everywhere,
                    port if rule.reply else "any",
                    profile.source or everywhere,
                    "" if rule.reply else profile.name,
                    profile.name if rule.reply else "",
                    "in",
                )
            )
    return found


def same_source(entry: Entry) -> Entry:
    """An entry with its source written our way."""
    try:
        found = network(entry.src)
    except ValueError:
        return entry
    text = str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)
    return entry._replace(src=text)


def kernel_key(version: int, proto: str, dport: str, sport: str, src: str, app: str) -> tuple[Any, ...]:
    return (version, proto, dport, sport, "" if is_any(src) else str(network(src)), app)


def kernel_rules(text: str, version: int, owner: str) -> set[tuple[Any, ...]]:
    """Our rules in what `iptables -S` prints."""
    found = set()
    for line in text.splitlines():
        match = re.search(r"[ds]app_([A-Za-z0-9_.+%-]+)", line)
        if not match or not is_ours(match.group(1), owner):
            continue

        def option(name: str, text: str = line) -> str:
            value = re.search(rf"\s--?{name}\s+(\S+)", text)
            return value.group(1) if value else "any"

        found.add(kernel_key(version, option("p"), option("dports?"), option("sports?"), option("s"), match.group(1)))
    return found


def setting(text: str, key: str) -> str:
    match = re.search(rf"(?m)^{key}=\"?'?(\w+)", text)
    return match.group(1).lower() if match else ""


def label_of(entry: Entry) -> str:
    """How a rule of ours that may have been changed by hand is shown."""
    reply = bool(entry.sapp) and not entry.dapp
    port = (entry.sport if reply else entry.dport).replace(":", "-")
    text = "{}{}/{} from {}".format(
        "source port " if reply else "", port, entry.proto, "anyone" if is_any(entry.src) else entry.src
    )
    if not entry.plain:
        text += f" ({entry.action} {entry.direction} to {entry.dst})"
    return text


def rule_of(entry: Entry, owner: str) -> Rule:
    """The rule that an entry of ours stands for; those made from a profile have one port or range each."""
    reply = not entry.dapp
    first, _colon, last = (entry.sport if reply else entry.dport).partition(":")
    return Rule(
        entry.proto,
        int(first),
        int(last or first),
        reply,
        "" if is_any(entry.src) else entry.src,
        entry.app.startswith(mark(owner) + "-ssh"),
    )


class Ufw:
    """The backend: `read`, `plan` and `apply`."""

    name = "ufw"

    def __init__(self, system: System, owner: str) -> None:
        self.system = system
        self.owner = owner
        self.path = f"{PROFILES}/{mark(owner)}"

    def installed(self) -> bool:
        return self.system.find("ufw") is not None and bool(self.system.read(DEFAULTS))

    def present(self) -> bool:
        """Whether anything of ours is stored, by a look at the files alone."""
        return bool(self.system.read(self.path)) or any(is_ours(entry.app, self.owner) for entry in self._stored())

    def active(self) -> bool:
        return setting(self.system.read(CONF), "ENABLED") == "yes"

    def _stored(self) -> list[Entry]:
        return [
            same_source(entry) for version in (4, 6) for entry in entries(self.system.read(RULES[version]), version)
        ]

    def read(self) -> State:
        defaults = self.system.read(DEFAULTS)
        enabled = setting(self.system.read(CONF), "ENABLED") == "yes"
        ipv6 = setting(defaults, "IPV6") == "yes" and bool(self.system.names("/proc/sys/net/ipv6"))
        kernel: set[tuple[Any, ...]] | None = None
        if enabled:
            kernel = set()
            for version in (4, 6) if ipv6 else (4,):
                command, chain = CHAINS[version]
                rc, out, _err = self.system.run([command, "-w", "-S", chain])
                if rc != 0:
                    kernel = None
                    break
                kernel |= kernel_rules(out, version, self.owner)
        return State(
            enabled=enabled,
            loaded=kernel is not None,
            ipv6=ipv6,
            policy=setting(defaults, "DEFAULT_INPUT_POLICY") or "drop",
            profiles=self.system.read(self.path),
            entries=tuple(self._stored()),
            kernel=kernel,
        )

    def owned(self, state: State) -> set[Rule]:
        """All that we let in by now."""
        return {rule_of(entry, self.owner) for entry in state.entries if is_ours(entry.app, self.owner) and entry.plain}

    def plan(self, state: State, rules: Iterable[Rule], wanted: Wanted) -> Plan:
        found = profiles(self.owner, rules)
        plan = Plan(rules=tuple(sorted(rules)))
        ours = {entry for entry in state.entries if is_ours(entry.app, self.owner)}
        goal: set[Entry] = set()
        text = render(found, wanted)
        if text != state.profiles:
            plan.steps.append(("write", self.path, text))
        for profile in found:
            need = expected(profile, state.ipv6)
            goal |= need
            have = {entry for entry in ours if entry.app == profile.name and entry.plain and entry.src in sources(need)}
            if have == need:
                continue
            if {entry.version for entry in have} == {entry.version for entry in need}:
                # All the rules are there, with other ports.
                plan.steps.append(("ufw", "app", "update", profile.name))
            elif need:
                if have:
                    plan.steps.append(("ufw", "app", "update", profile.name))
                plan.steps.append(("ufw", "allow", *clauses(profile.name, profile.source or "any", profile.reply)))
        gone = set()
        for entry in sorted(ours - goal):
            argv = undo(entry)
            kept = any(
                other.app == entry.app and other.src == entry.src and other.version == entry.version for other in goal
            )
            # Rules of a profile that stays have gone with its update.
            if not (kept and entry.plain) and argv not in gone:
                gone.add(argv)
                plan.steps.append(argv)
        if state.kernel is not None and not plan.steps:
            stored = {
                kernel_key(
                    entry.version, entry.proto, entry.dport, entry.sport, entry.src, entry.app.replace(" ", "%20")
                )
                for entry in ours
            }
            if stored != state.kernel:
                plan.steps.append(("ufw", "reload"))
                plan.before.append("loaded rules differ from the stored ones")
        before, after = places(ours), places(goal)
        both = FAMILIES if state.ipv6 else FAMILIES[:1]
        plan.before += shown(before, both) + state.profiles.splitlines()
        plan.after += shown(after, both) + text.splitlines()
        plan.added = sorted(label for label in after if not after[label] <= before.get(label, set()))
        plan.removed = sorted(label for label in before if not before[label] <= after.get(label, set()))
        return plan

    def apply(self, plan: Plan) -> None:
        for step in plan.steps:
            if step[0] == "write":
                self.system.write(step[1], step[2])
            else:
                self._ufw(list(step[1:]))

    def _ufw(self, arguments: list[str]) -> None:
        for attempt in range(6):
            rc, out, err = self.system.run(["ufw", *arguments])
            text = (err or out).strip()
            if rc == 0 and "ERROR" not in text:
                return
            # Another program works on the tables at this moment.
            if not re.search(r"xtables lock|Resource temporarily unavailable|Could not update running firewall", text):
                break
            time.sleep(1 + attempt)
        raise FirewallError("`ufw {}` failed: {}".format(" ".join(arguments), text))

    def enable(self) -> None:
        self._ufw(["--force", "enable"])

    def disable(self) -> None:
        self._ufw(["--force", "disable"])

    def boot_state(self) -> str:
        return "enabled" if self.active() else "disabled"

    def restore(self, boot_state: str) -> None:
        self.disable()

    def notes(self, plan: Plan) -> list[str]:
        return []

    def tidy(self, zones: Iterable[str]) -> None:
        """Nothing is left: our profiles are one file."""

    def others(self, state: State) -> list[str]:
        """What is stored by others, as text that changes when they change something."""
        return sorted(
            " ".join(str(word) for word in entry) for entry in state.entries if not is_ours(entry.app, self.owner)
        )

    def admits(self, state: State, proto: str, port: int) -> bool:
        """Whether any rule of others, or ufw's own before.rules, lets somebody in to a port."""
        if state.policy == "accept" or (proto, port) in (("udp", 68), ("udp", 546), ("udp", 5353)):
            return True
        return any(
            entry.action.split("_")[0] in ("allow", "limit")
            and entry.direction.startswith("in")
            and entry.proto in ("any", proto)
            and covers(entry.dport, port)
            and entry.sport == "any"
            for entry in state.entries
            if not is_ours(entry.app, self.owner)
        )

    def overruled(self, state: State, rules: Iterable[Rule]) -> list[str]:
        """Rules of others that refuse what we let in and stand before ours: ufw takes the first that fits.

        One that refuses single senders only is an exception that somebody made on purpose.
        """
        refused: dict[str, list[str]] = {}
        for profile in profiles(self.owner, rules):
            for version in profile.versions:
                if version == 6 and not state.ipv6:
                    continue
                for entry in state.entries:
                    if entry.version != version:
                        continue
                    if entry.app == profile.name:
                        break  # ours stand together, here
                    hit = [rule.label for rule in profile.rules if refuses(entry, rule)]
                    found = refused.setdefault(removal(entry), []) if hit else []
                    found += [label for label in hit if label not in found]
        return [
            "ufw refuses {} by a rule that stands before ours (`{}`). If that is not meant: {}".format(
                ", ".join(labels), command.replace(" delete", "", 1), command
            )
            for command, labels in refused.items()
        ]

    def gaps(self, state: State) -> list[str]:
        """What an active ufw leaves open by its settings."""
        found = []
        if state.policy == "accept":
            found.append(f"ufw is on, but lets in whatever no rule forbids (DEFAULT_INPUT_POLICY in {DEFAULTS}).")
        if not state.ipv6 and self.system.names("/proc/sys/net/ipv6"):
            found.append(f"ufw does not filter IPv6 (IPV6=no in {DEFAULTS}).")
        return found

    def off(self, state: State) -> str:
        if state.enabled and not state.loaded:
            return "ufw is set to be on, but its rules are not loaded: it does not filter what reaches this host."
        return "ufw is off: it does not filter what reaches this host."


def sources(found: Iterable[Entry]) -> set[str]:
    return {entry.src for entry in found}


def places(found: Iterable[Entry]) -> dict[str, set[str]]:
    result: dict[str, set[str]] = {}
    for entry in found:
        result.setdefault(label_of(entry), set()).add(FAMILIES[0] if entry.version == 4 else FAMILIES[1])
    return result


def shown(found: dict[str, set[str]], families: tuple[str, ...]) -> list[str]:
    limited = {label: here for label, here in found.items() if "from anyone" not in label}
    lines = sorted(limited)
    return presence({label: here for label, here in found.items() if label not in limited}, families) + lines


def covers(ports: str, port: int) -> bool:
    for part in ports.split(","):
        first, _dummy, last = part.partition(":")
        if part == "any" or (first.isdigit() and int(first) <= port <= int(last or first)):
            return True
    return False


def overlap(ports: str, rule: Rule) -> bool:
    """Whether a rule's port or range has one of the ports that an entry names."""
    for part in ports.split(","):
        first, _dummy, last = part.partition(":")
        if part == "any" or (first.isdigit() and int(first) <= rule.last and rule.first <= int(last or first)):
            return True
    return False


def refuses(entry: Entry, rule: Rule) -> bool:
    """Whether an entry refuses all that a rule lets in, or some of its ports, whoever the sender is."""
    if re.split("[:_]", entry.action)[0] not in ("deny", "reject") or not entry.direction.startswith("in"):
        return False
    if entry.proto not in ("any", rule.proto):
        return False
    ours, others = (entry.sport, entry.dport) if rule.reply else (entry.dport, entry.sport)
    if others != "any" or not overlap(ours, rule):
        return False
    if is_any(entry.src):
        return True
    if not rule.source:
        return False
    try:
        wide, narrow = network(entry.src), network(rule.source)
    except ValueError:
        return False
    return bool(wide.version == narrow.version and narrow.subnet_of(wide))


def removal(entry: Entry) -> str:
    """The command that deletes a rule of somebody else's, as he would type it; where it can be, it is the same for IPv4 and IPv6."""
    action, _dash, log = entry.action.partition("_")
    words = ["ufw", "delete", action]
    _way, _dash, interface = entry.direction.partition("_")
    words += ["in", "on", interface] if interface else []
    words += [log] if log else []
    words += ["proto", entry.proto] if entry.proto != "any" and not entry.app else []
    for way, address, port, app in (
        ("from", entry.src, entry.sport, entry.sapp),
        ("to", entry.dst, entry.dport, entry.dapp),
    ):
        words += [way, "any" if is_any(address) else address]
        words += ["app", f"'{app}'"] if app else ["port", port] if port != "any" else []
    return " ".join(words)


def clauses(app: str, src: str, reply: bool, dst: str = "any") -> list[str]:
    return ["from", src] + (["app", app, "to", dst] if reply else ["to", dst, "app", app])


def undo(entry: Entry) -> tuple[str, ...]:
    """The command that deletes a rule of ours, whatever somebody made of it."""
    action, _dash, log = (
        entry.action.partition(":")[2].partition("_") if ":" in entry.action else entry.action.partition("_")
    )
    words = ["ufw", "--force"] + (["route"] if entry.action.startswith("route:") else []) + ["delete", action]
    for part in entry.direction.split("!"):
        way, _dummy, interface = part.partition("_")
        if interface:
            words += [way, "on", interface]
        elif way == "out":
            words += ["out"]
    if log:
        words.append(log)
    # An address of its own family keeps the other family's rule of the same profile.
    everywhere = "0.0.0.0/0" if entry.version == 4 else "::/0"
    src = everywhere if is_any(entry.src) else entry.src
    dst = everywhere if is_any(entry.dst) else entry.dst
    return tuple(words + clauses(entry.app, src, not entry.dapp, dst))
