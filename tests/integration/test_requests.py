"""Requests that are meant to be misread, sent raw to every proxy from the Internet, and judged by what the server behind would make of what arrived.

The lab and the deployment are those of test_reverse_proxy.py: name both in one call of pytest, this first, and each proxy is deployed once.
"""

from __future__ import annotations

import re
from pathlib import Path

import attacking
import kestrel
import pytest
import spellings
from attacking import Attack, attack, rules
from reverse_proxy_edge import MEDIA, PATH, Edge

BASES = {MEDIA: "", PATH: "/jellyfin"}
ROUTES = Path(__file__).with_name("jellyfin_routes.txt")
VERSIONS = ("1.1", "2")
# What is no request line at all may end the connection, and a malformed stream may be reset.
OTHER_REFUSALS = (0, -1, 404, 414, 421, 505)


def is_odd(target: bytes) -> bool:
    """Where a refusal need not be a 400: a line that is divided, a target that is too long, another site's name in absolute form."""
    return bool(re.search(rb"[^!-~]", target)) or len(target) > 4000 or not target.startswith(b"/")


@pytest.fixture(scope="module")
def edge(proxied: Edge) -> Edge:
    attacking.prepare(proxied)
    return proxied


def protected(domain: str) -> re.Pattern[str]:
    return re.compile(rules.protected(spellings.PROTECTED, BASES[domain]))


# 1. Targets


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("domain", BASES)
def test_no_spelling_leads_to_a_protected_route(edge: Edge, domain: str, version: str) -> None:
    targets = [target for path in spellings.PROTECTED for target in spellings.of(path, BASES[domain], domain)]
    tries = [attacking.one(version, number, target, domain) for number, target in enumerate(targets)]
    seen = attack(edge, domain, version, tries)
    print(f"\n{edge.proxy}, HTTP/{version}, {domain}: {seen.counts()} in {seen.seconds} s")
    reached, altered, answered = judged(seen, targets, domain)
    print(
        f"reached: {len(reached)}, altered: {len(altered)}, answered otherwise: {len(answered)}, stray: {len(seen.stray)}"
    )
    assert reached == []
    assert altered == []
    assert seen.stray == []
    assert answered == []


def judged(seen: Attack, targets: list[bytes], domain: str) -> tuple[list[str], list[str], list[str]]:
    """What reached a protected route, what arrived otherwise than it was sent, and what was answered otherwise than the rules say."""
    reached, altered, answered = [], [], []
    guarded = protected(domain)
    for number, target in enumerate(targets):
        words = f"{target[:120]!r}"
        arrived = seen.by_try.get(str(number), [])
        for head in arrived:
            route = kestrel.routes_to(head.reading.path, BASES[domain])
            if route or head.reading.status != 200:
                reached.append(f"{words}: {route or 'the server refuses it'}, as {head.reading.raw[:120]!r}")
            if head.reading.raw.encode("latin-1") != target or len(arrived) > 1:
                altered.append(f"{words}: {[head.reading.raw[:120] for head in arrived]}")
        status = seen.answers[str(number)]
        text = target.decode("latin-1")
        if not attacking.accepted(target):
            right = not arrived and (status == 400 or status in OTHER_REFUSALS and is_odd(target))
        elif guarded.search(text):
            right = not arrived and status == 403
        elif BASES[domain] and not re.match(r"/jellyfin(?:/|$|[?])", text):
            right = status in (404, 403, 200) if arrived else status in (404, 403)
        else:
            right = (len(arrived) == 1 and status == 200) or status in (301, 308)
        if not right:
            answered.append(f"{words}: {status}, arrived {len(arrived)} times")
    return reached, altered, answered
