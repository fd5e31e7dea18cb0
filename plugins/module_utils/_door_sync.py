# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings every door to what its source offers: the one piece of code behind site.yml, certbot's hook and the timer.

First all is read and decided (`plan`), then changed (`apply`), so that a bad file changes nothing at all. What a door holds
is only ever replaced by something at least as good: nothing real gives way to a placeholder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from . import _certificate_pair, _door, _door_readers, _x509
from ._certificate_pair import Asked, Pair, PairError
from ._door import Door, Layout
from ._local_ca import LEAF_DAYS, LEAF_DAYS_LIMIT, LocalCA
from ._x509 import X509Error

CONFIG = Path("/etc/jellynet/certificate/current/config.json")
SOURCES = ("letsencrypt", "local_ca", "files")
# Only proxies ever see it, so it may outlive every host; it says what it is to whoever looks.
PLACEHOLDER_DAYS = 3650
# A file's name ends at 255, and certbot's and ours hold more than the domain.
LONGEST_DOMAIN = 230
LINEAGE_PREFIX = "jellynet-"

_DOMAIN = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*$")


class ConfigError(Exception):
    """The configuration cannot be used, as a sentence."""


@dataclass(frozen=True)
class Site:
    """One domain and where its certificate comes from. ``files``: key type to (fullchain path, privkey path)."""

    domain: str
    source: str
    key_types: list[str]
    files: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any], files_rsa: Mapping[str, Any]) -> Site:
        """From the module's arguments or config.json, which have one form."""
        domain, source = str(given.get("domain") or ""), str(given.get("certificate") or "")
        key_types = [kind for kind in _x509.KEY_TYPES if kind in (given.get("key_types") or ["ecdsa"])]
        if not _DOMAIN.match(domain):
            raise ConfigError(f"domain is {domain!r}: give a DNS name in lower case")
        if len(domain) > LONGEST_DOMAIN:
            raise ConfigError(
                f"domain is {domain!r}: longer than {LONGEST_DOMAIN} characters, and files are named after it. Choose a shorter one"
            )
        if source not in SOURCES:
            raise ConfigError(f"certificate of {domain} is {source!r}: give one of {', '.join(SOURCES)}")
        if not key_types:
            raise ConfigError(f"key_types of {domain} is {given.get('key_types')!r}: give ecdsa, rsa or both")
        files = {}
        if source == "files":
            # One pair is of the first kind asked for; the second kind has a pair of its own.
            files = {"rsa": _paths(files_rsa.get(domain) or {}), key_types[0]: _paths(given)}
        return cls(domain, source, key_types, files)


def _paths(given: Mapping[str, Any]) -> list[str]:
    return [str(given.get("fullchain") or ""), str(given.get("privkey") or "")]


@dataclass(frozen=True)
class Config:
    """All sites of the edge."""

    sites: list[Site]
    local_ca_days: int = LEAF_DAYS

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Config:
        """From the module's arguments or config.json."""
        files_rsa = given.get("files_rsa") or {}
        days = int(given.get("local_ca_days") or LEAF_DAYS)
        if not 1 <= days <= LEAF_DAYS_LIMIT:
            raise ConfigError(
                f"certificate_local_ca_days is {days}: give 1 to {LEAF_DAYS_LIMIT}, for clients take no longer ones"
            )
        return cls(
            [Site.of(site, files_rsa) for site in given.get("sites") or []],
            int(given.get("local_ca_days") or LEAF_DAYS),
        )


def load_config(path: Path = CONFIG) -> Config:
    """The configuration that the role wrote."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        return Config.of(given)
    except (OSError, ValueError, AttributeError) as problem:
        raise ConfigError(f"{path} cannot be read ({problem}). Run site.yml, which writes it") from None


@dataclass
class Change:
    """What happens to one door: the pairs it shall hold; None is a pair still to be made."""

    site: Site
    before: Door | None
    pairs: dict[str, Pair | None]
    ca: str | None
    needed: bool = False

    def source_of(self, key_type: str) -> str:
        """Where a pair comes from that is still to be made, too."""
        pair = self.pairs[key_type]
        if pair is not None:
            return pair.source
        return "local_ca" if self.site.source == "local_ca" else "placeholder"


@dataclass
class Plan:
    """All that a sync is going to do."""

    changes: list[Change] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    prepare: bool = False
    owed: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether `apply` would do anything."""
        return bool(self.prepare or self.drop or self.owed or any(change.needed for change in self.changes))


@dataclass
class Result:
    """What a sync did."""

    changed: bool = False
    doors: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    local_ca: dict[str, str] = field(default_factory=dict)
    new_roots: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    reloaded: list[str] = field(default_factory=list)
    failed_readers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def lineage(domain: str, key_type: str) -> str:
    """The name of certbot's lineage. Ours alone: one that the user made for the same domain is left as it is."""
    return f"{LINEAGE_PREFIX}{domain}-{key_type}"


def plan(config: Config, layout: Layout, now: datetime, purge: bool = False) -> Plan:
    """Read everything and decide; changes nothing.

    Without ``purge`` a door keeps what is not asked for any more, because a proxy that runs may still read it.
    """
    made = Plan(prepare=not _door.prepared(layout))
    made.owed = _door_readers.pending(layout.certificates)
    for site in config.sites:
        door = _door.read(layout, site.domain)
        offered, problems = _offer(config, site, door, layout, now)
        made.problems += problems
        made.refused += problems if site.source == "files" else []
        pairs: dict[str, Pair | None] = {
            key_type: offered.get(key_type) or _kept(site, door, key_type) for key_type in site.key_types
        }
        extra = [key_type for key_type in (door.pairs if door else {}) if key_type not in pairs]
        for key_type in extra:
            if not purge:
                pairs[key_type] = door.pairs[key_type] if door else None
                made.leftovers.append(f"{site.domain}/{key_type}")
        change = Change(site, door, pairs, _ca_of(site, door, pairs, layout))
        change.needed = (
            door is None or change.ca is None or None in pairs.values() or not door.same(_whole(pairs), change.ca)
        )
        made.changes.append(change)
    known = {site.domain for site in config.sites}
    strays = [domain for domain in _door.doors(layout) if domain not in known]
    if purge:
        made.drop = strays
    else:
        made.leftovers += strays
    return made


def _whole(pairs: Mapping[str, Pair | None]) -> dict[str, Pair]:
    return {key_type: pair for key_type, pair in pairs.items() if pair is not None}


def _offer(
    config: Config, site: Site, door: Door | None, layout: Layout, now: datetime
) -> tuple[dict[str, Pair], list[str]]:
    """The pairs that the site's source has, checked, and what is wrong with those that are not among them."""
    found: dict[str, Pair] = {}
    problems: list[str] = []
    for key_type in site.key_types:
        try:
            pair = _offered_pair(config, site, key_type, door, layout, now)
        except PairError as error:
            problems += error.problems
            continue
        if pair:
            found[key_type] = pair
    return found, problems


def _offered_pair(
    config: Config, site: Site, key_type: str, door: Door | None, layout: Layout, now: datetime
) -> Pair | None:
    if site.source == "local_ca":
        pair = door.pairs.get(key_type) if door else None
        return (
            pair
            if LocalCA(layout.local_ca, site.domain, config.local_ca_days).still_good(pair, key_type, now)
            else None
        )
    if site.source == "files":
        return _file_pair(site, key_type, now)
    folder = layout.letsencrypt / "live" / lineage(site.domain, key_type)
    if not (folder / "fullchain.pem").exists():
        return None
    fullchain, privkey = str(folder / "fullchain.pem"), str(folder / "privkey.pem")
    # An expired one is still better than a placeholder, and certbot is about to renew it.
    asked = Asked(site.domain, key_type, f"certbot's {fullchain}", f"certbot's {privkey}", may_be_expired=True)
    return _certificate_pair.read_pair("letsencrypt", fullchain, privkey, asked, now)


def _file_pair(site: Site, key_type: str, now: datetime) -> Pair:
    fullchain, privkey = site.files[key_type]
    first = key_type == site.key_types[0]
    names = ("jellyfin_certificate_fullchain", "jellyfin_certificate_privkey")
    if not first:
        names = (f"certificate_files_rsa[{site.domain}].fullchain", f"certificate_files_rsa[{site.domain}].privkey")
    if not fullchain or not privkey:
        missing = names[0] if not fullchain else names[1]
        raise PairError(
            [
                f"{missing} is not set, but {site.domain} has jellyfin_certificate: files and asks for a key of the kind {key_type}. "
                f"Give the absolute path of the PEM file on this host"
                + ("" if first else f", or set jellyfin_certificate_key_types: [{site.key_types[0]}]")
            ]
        )
    called = (f"{names[0]} ({fullchain})", f"{names[1]} ({privkey})")
    return _certificate_pair.read_pair("files", fullchain, privkey, Asked(site.domain, key_type, *called), now)


def _kept(site: Site, door: Door | None, key_type: str) -> Pair | None:
    """What the door already holds, while its source has nothing."""
    pair = door.pairs.get(key_type) if door else None
    if pair is None or site.source == "local_ca":
        return None  # the local CA makes one on the spot
    try:
        leaf = pair.leaf
        good = leaf.key_type == key_type and leaf.public_key == _x509.public_key_of(pair.key)
        return pair if good and _x509.covers(leaf.names, site.domain) else None
    except (X509Error, IndexError):
        return None


def _ca_of(site: Site, door: Door | None, pairs: Mapping[str, Pair | None], layout: Layout) -> str | None:
    """The root that clients need for what the door is going to hold; None while it is still to be made."""
    sources = {pair.source if pair else site.source for pair in pairs.values()}
    if "local_ca" not in sources:
        return ""
    try:
        return LocalCA(layout.local_ca, site.domain).certificate_path.read_text(encoding="ascii")
    except OSError:
        return None if None in pairs.values() else (door.ca if door else "")


def apply(
    config: Config, layout: Layout, made: Plan, now: datetime, runner: _door_readers.Run = _door_readers.run
) -> Result:
    """Do what was planned, then tell the readers; must be called with the layout's lock held."""
    result = Result(leftovers=made.leftovers, problems=list(made.problems))
    if made.prepare:
        _door.prepare(layout)
        result.changed = True
    readers, complaints = _door_readers.registered(layout.certificates)
    result.problems += complaints
    staged = {}
    for change in made.changes:
        domain = change.site.domain
        if change.before:
            result.before[domain] = change.before.description
        if not change.needed:
            continue
        pairs, ca = _made(config, change, layout, now, result)
        staged[domain] = _door.stage(layout, domain, pairs, ca)
        layout.step("staged")
    if staged or made.drop:
        _door_readers.owe(layout.certificates, readers)
        layout.step("owed")
        result.changed = True
    for domain, name in staged.items():
        _door.swap(layout, domain, name)
        layout.step("swapped")
    for domain in made.drop:
        _door.remove(layout, domain)
        result.dropped.append(domain)
        layout.step("dropped")
    result.changed = _refresh_descriptions(layout, made, staged) or result.changed
    told = _door_readers.tell(layout.certificates, readers, runner)
    layout.step("told")
    result.reloaded, result.failed_readers = told.done, told.failed
    result.changed = result.changed or bool(told.done)
    _door.clean(layout)
    layout.step("cleaned")
    _report(layout, made, result)
    return result


def _made(config: Config, change: Change, layout: Layout, now: datetime, result: Result) -> tuple[dict[str, Pair], str]:
    """The pairs of a change, those that were still to be made included."""
    site, pairs = change.site, {}
    authority = LocalCA(layout.local_ca, site.domain, config.local_ca_days)
    for key_type, pair in change.pairs.items():
        if pair is None and site.source == "local_ca":
            if authority.root(now) is None:
                result.new_roots.append(site.domain)
            pair = authority.issue(key_type, now)
        pairs[key_type] = pair or placeholder(site.domain, key_type)
    ca = change.ca
    if any(pair.source == "local_ca" for pair in pairs.values()):
        ca = authority.certificate_path.read_text(encoding="ascii") if authority.certificate_path.exists() else ca
    return pairs, ca or ""


def placeholder(domain: str, key_type: str) -> Pair:
    """A certificate that lets a proxy start, and that nobody should trust."""
    key = _x509.new_key(key_type)
    subject = {"O": "jellynet", "CN": "placeholder until there is a certificate"}
    return Pair("placeholder", _x509.self_signed(key, subject, _x509.server_extensions(domain), PLACEHOLDER_DAYS), key)


def _refresh_descriptions(layout: Layout, made: Plan, staged: Mapping[str, str]) -> bool:
    """door.json of a door that did not change says so too: the trust store, or the time, may have."""
    changed = False
    for change in made.changes:
        if change.site.domain in staged or change.before is None:
            continue
        description = _door.describe(change.site.domain, change.before.pairs)
        if description != change.before.description:
            _door.write_description(layout, layout.certificates / change.site.domain, description)
            changed = True
    return changed


def _report(layout: Layout, made: Plan, result: Result) -> None:
    for change in made.changes:
        door = _door.read(layout, change.site.domain)
        if door:
            result.doors[door.domain] = door.description
            if door.ca:
                result.local_ca[door.domain] = door.ca


def forecast(made: Plan) -> Result:
    """What check mode says: the doors as they would be, without making a key."""
    result = Result(
        changed=made.changed, dropped=list(made.drop), leftovers=made.leftovers, problems=list(made.problems)
    )
    for change in made.changes:
        domain = change.site.domain
        if change.before:
            result.before[domain] = change.before.description
        whole = _whole(change.pairs)
        said: dict[str, Any] = (
            _door.describe(domain, whole) if whole else {"domain": domain, "public": False, "keys": {}}
        )
        for key_type, pair in change.pairs.items():
            if pair is None:
                said["keys"][key_type] = {"source": change.source_of(key_type), "public": False, "serial": "to be made"}
                said["public"] = False
                said.setdefault("source", change.source_of(key_type))
        said["key_types"] = list(change.pairs)
        result.doors[domain] = said
        if not change.needed and change.before and said != change.before.description:
            result.changed = True
        if change.before and change.before.ca:
            result.local_ca[domain] = change.before.ca
    return result


def sync(
    config: Config,
    layout: Layout,
    now: datetime,
    purge: bool = False,
    strict: bool = False,
    runner: _door_readers.Run = _door_readers.run,
) -> Result:
    """Plan and apply under the lock. With ``strict`` a file of the user's that cannot be used leaves everything as it is."""
    with layout.locked():
        made = plan(config, layout, now, purge)
        if strict and made.refused:
            raise PairError(made.refused)
        return apply(config, layout, made, now, runner)
