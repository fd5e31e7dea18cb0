"""The request rules against the server's reader: what legitimate clients ask for is accepted, and no accepted spelling leads past a rule."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as rules

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lab" / "double"), str(TESTS / "integration")]

import kestrel  # noqa: E402
import spellings  # noqa: E402

TARGET = re.compile(rules.TARGET)
ROUTES = [
    line.split("\t")
    for line in (TESTS / "integration" / "jellyfin_routes.txt").read_text().splitlines()
    if not line.startswith("#")
]
BASES = ("", "/jellyfin")
MANY = 4000


def accepted(target: bytes) -> bool:
    return TARGET.search(target.decode("latin-1")) is not None


def test_what_clients_ask_for_is_accepted_at_each_base():
    assert len(ROUTES) > 700
    assert [target for _, target, _ in ROUTES for base in BASES if not accepted((base + target).encode())] == []
    assert {method for method, _, _ in ROUTES} <= set(rules.LAN_METHODS)


def test_what_clients_ask_for_is_read_by_the_server_as_it_is_meant():
    """No accepted target is refused by the server, and none is resolved to another one."""
    for _, target, _ in ROUTES:
        reading = kestrel.read(target.encode())
        assert reading.status == 200, target
        assert reading.path.count("/") == target.partition("?")[0].count("/"), target


def test_only_what_is_protected_looks_protected():
    guarded = re.compile(rules.protected(spellings.PROTECTED))
    for _, target, route in ROUTES:
        protected = guarded.search(target) is not None
        below = re.match(r"(?i)/(?:metrics|dlna|system/restart|system/shutdown|startup)(?:/|$)", target) is not None
        assert protected == below, (target, route)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("path", spellings.PROTECTED)
def test_an_accepted_spelling_of_a_protected_route_is_protected(path: str, base: str):
    guarded = re.compile(rules.protected(spellings.PROTECTED, base))
    targets = spellings.of(path, base, count=MANY)
    assert len(set(targets)) >= MANY
    past = [
        target
        for target in targets
        if accepted(target) and not guarded.search(target.decode("latin-1")) and _route(target, base)
    ]
    assert past == []
    # The generator does what it is there for: much of it would lead there, and much of that in forms that are refused.
    leading = [target for target in targets if _route(target, base)]
    assert len(leading) > MANY / 20 and sum(not accepted(target) for target in leading) > MANY / 40


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("path", spellings.LOGIN)
def test_an_accepted_spelling_of_a_login_route_is_one(path: str, base: str):
    login = re.compile(rules.login(base))
    for target in spellings.of(path, base, count=MANY):
        if accepted(target) and _route(target, base):
            assert login.search(target.decode("latin-1")), target


def test_no_target_of_the_table_that_is_accepted_is_another_ones_path():
    """What is accepted, the server reads as it is written: no dot segment, nothing cut off, nothing refused."""
    table = json.loads((TESTS / "lab" / "double" / "targets.json").read_text())
    checked = 0
    for target, status, path in table:
        if accepted(target.encode("latin-1")):
            checked += 1
            assert status == 200, target
            assert path.count("/") == target.partition("?")[0].count("/"), target
    assert checked > 100


def _route(target: bytes, base: str) -> str | None:
    reading = kestrel.read(target)
    return kestrel.routes_to(reading.path, base) if reading.status == 200 else None
