# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an owner lets in, as plain values: rules, their names, and what a run is going to do about them.

Nothing here touches a host. A rule belongs to its owner by the name under which the firewall stores it (``jellynet-<owner>``
and ``jellynet-<owner>-...``), so that what others have put there can never be mistaken for ours.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PREFIX = "jellynet"
PROTOCOLS = ("tcp", "udp")
GUARD_COMMENT = "SSH, so that nobody is locked out"


class FirewallError(Exception):
    """Something the user has to know; the text says what to do next."""


class Rule(NamedTuple):
    """One thing that is let in."""

    proto: str
    first: int
    last: int
    reply: bool = False  # the port is the sender's
    source: str = ""  # a network or an address; '' is anyone
    guard: bool = False  # an SSH port, open so that nobody is locked out; it stays

    @property
    def port(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def label(self) -> str:
        return "{}{}/{} from {}".format(
            "source port " if self.reply else "", self.port, self.proto, self.source or "anyone"
        )

    @property
    def family(self) -> int:
        """4 or 6, or 0 for both."""
        return network(self.source).version if self.source else 0

    def covers(self, proto: str, port: int) -> bool:
        return not self.reply and self.proto == proto and self.first <= port <= self.last


def network(text: str) -> Any:
    """The network that a source names."""
    return ipaddress.ip_network(text, strict=False)


def source(text: str) -> str:
    """A source in the one form in which it is stored: a bare address where it is one host."""
    try:
        found = network(text.strip())
    except ValueError as error:
        raise FirewallError(f"{text!r} is neither an IP address nor a network in CIDR notation") from error
    if found.version == 6 and (found.network_address.ipv4_mapped or "%" in text):
        raise FirewallError(f"{text!r} has to be written as plain IPv4, or as IPv6 without a zone")
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def port_range(text: str) -> tuple[int, int]:
    """'80' or '49152-65535'."""
    match = re.match(r"^\s*(\d{1,5})(?:\s*[-:]\s*(\d{1,5}))?\s*$", text)
    first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise FirewallError(f"{text!r} is neither a port from 1 to 65535 nor a range such as 49152-65535")
    return first, last


class Wanted(NamedTuple):
    """The declared list: its rules, and the comments by (reply, port, proto)."""

    rules: tuple[Rule, ...]
    comments: dict[tuple[bool, str, str], str]

    def comment(self, rule: Rule) -> str:
        return GUARD_COMMENT if rule.guard else self.comments.get((rule.reply, rule.port, rule.proto), "")


def wanted(ports: Sequence[Mapping[str, Any]]) -> Wanted:
    """The rules of the declared list. No ``sources`` is anyone, an empty list is nobody."""
    rules: set[Rule] = set()
    comments: dict[tuple[bool, str, str], str] = {}
    for index, item in enumerate(ports):
        reply = item.get("port") is None
        key = "source_port" if reply else "port"
        try:
            first, last = port_range(str(item[key]))
        except FirewallError as error:
            raise FirewallError(f"ports[{index}].{key}: {error}") from error
        sources = [""] if item.get("sources") is None else []
        for text in item.get("sources") or []:
            try:
                sources.append(source(str(text)))
            except FirewallError as error:
                raise FirewallError(f"ports[{index}].sources: {error}") from error
        found = {Rule(item["proto"], first, last, reply, text) for text in sources}
        rules |= found
        words = " ".join(str(item.get("comment") or "").split())
        place = (reply, Rule(item["proto"], first, last).port, item["proto"])
        if found and words and words not in comments.get(place, "").split("; "):
            comments[place] = "; ".join(filter(None, (comments.get(place, ""), words)))
    # Who lets anyone in need not let single networks in.
    open_to_all = {rule for rule in rules if not rule.source}
    rules = {rule for rule in rules if not rule.source or rule._replace(source="") not in open_to_all}
    return Wanted(tuple(sorted(rules)), comments)


def guards(ports: Iterable[int]) -> tuple[Rule, ...]:
    return tuple(sorted(Rule("tcp", port, port, guard=True) for port in set(ports)))


def check_owner(owner: str) -> str:
    # No dash: otherwise the names of the owner `a` would begin like those of an owner `a-b`.
    if not re.match(r"^[a-z][a-z0-9_]{0,15}$", owner):
        raise FirewallError(f"owner: {owner!r} has to be 1 to 16 of a-z, 0-9 and _, a letter first")
    return owner


def mark(owner: str) -> str:
    return f"{PREFIX}-{owner}"


def is_ours(name: str, owner: str) -> bool:
    return name == mark(owner) or name.startswith(mark(owner) + "-")


def as_ports(rules: Iterable[Rule], comment: Any) -> list[dict[str, Any]]:
    """Rules in the form of the module's argument."""
    found: dict[tuple[str, int, int, bool, bool], dict[str, Any]] = {}
    for rule in sorted(rules):
        key = (rule.proto, rule.first, rule.last, rule.reply, rule.guard)
        item = found.setdefault(
            key,
            {
                "source_port" if rule.reply else "port": rule.port,
                "proto": rule.proto,
                "sources": None if not rule.source else [],
                "comment": comment(rule),
            },
        )
        if rule.source:
            item["sources"].append(rule.source)
    return list(found.values())


@dataclass
class Plan:
    """What a run is going to do; empty steps mean that nothing has to change."""

    steps: list[tuple[Any, ...]] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rules: tuple[Rule, ...] = ()

    @property
    def diff(self) -> dict[str, str]:
        return {
            "before": "".join(line + "\n" for line in self.before),
            "after": "".join(line + "\n" for line in self.after),
        }


def presence(found: Mapping[str, set[str]], places: Sequence[str]) -> list[str]:
    """A line for each label; where it is not in all of its places, the line names those that have it."""
    lines = []
    for label in sorted(found):
        here = [place for place in places if place in found[label]]
        lines.append(label if len(here) == len(places) else "{} ({} only)".format(label, ", ".join(here)))
    return lines


class System:
    """The host, as the backends see it; tests put a fake in its place."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        rc, out, err = self.module.run_command(list(argv), environ_update={"LC_ALL": "C", "LANGUAGE": "C"})
        return rc, out, err

    def call(self, argv: Sequence[str]) -> str:
        rc, out, err = self.run(argv)
        if rc != 0:
            raise FirewallError("`{}` failed: {}".format(" ".join(argv), (err or out).strip()))
        return out

    def find(self, name: str) -> str | None:
        for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"):
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                return path
        return None

    def read(self, path: str) -> str:
        """The text of a file; '' where there is none."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as handle:
                return handle.read()
        except FileNotFoundError:
            return ""

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def write(self, path: str, text: str) -> None:
        """Puts a whole file there by one rename; an empty text takes it away."""
        if not text:
            if os.path.exists(path):
                os.unlink(path)
            return
        # A leading dot: neither ufw nor firewalld reads what a killed run may leave.
        staged = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.jellynet")
        with open(staged, "w", encoding="utf-8", errors="surrogateescape") as handle:
            handle.write(text)
            handle.flush()
            os.fchmod(handle.fileno(), 0o644)
            os.fsync(handle.fileno())
        os.rename(staged, path)
