"""Requests that are meant to be misread, sent raw to every proxy from the Internet, and judged by what the server behind would make of what arrived.

The lab and the deployment are those of test_reverse_proxy.py: name both in one call of pytest, this first, and each proxy is deployed once.
"""

from __future__ import annotations

import re
from pathlib import Path

import attacking
import heads
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
    print(f"\n{edge.proxy}, HTTP/{version}, {domain}: {seen.counts()}")
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
        for arrival in arrived:
            route = kestrel.routes_to(arrival.head.reading.path, BASES[domain])
            if route:
                reached.append(f"{words}: {route}, as {arrival.target[:120]!r}")
            if arrival.target != target or seen.doubled(str(number)):
                altered.append(f"{words}: {[arrival.target[:120] for arrival in arrived]}")
        status = seen.answers[str(number)]
        text = target.decode("latin-1")
        if not attacking.accepted(target):
            right = not arrived and (status == 400 or (status in OTHER_REFUSALS and is_odd(target)))
        elif guarded.search(text):
            right = not arrived and status == 403
        elif BASES[domain] and not re.match(r"/jellyfin(?:/|$|[?])", text):
            right = status in (404, 403, 200) if arrived else status in (404, 403)
        else:
            right = (bool(arrived) and status == 200) or status in (301, 308)
        if not right:
            answered.append(f"{words}: {status}, arrived {len(arrived)} times")
    return reached, altered, answered


# 2. What legitimate clients ask for


def routes(domain: str) -> list[tuple[str, str]]:
    """Method and target of all that has to pass, below the site's path; one of each."""
    listed = [line.split("\t") for line in ROUTES.read_text().splitlines() if not line.startswith("#")]
    return [(method, BASES[domain] + target) for method, target, _route in listed]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("domain", BASES)
def test_what_clients_ask_for_arrives_as_it_was_sent(edge: Edge, domain: str, version: str) -> None:
    guarded, login = protected(domain), re.compile(rules.login(BASES[domain]))
    wanted = [
        (method, target) for method, target in routes(domain) if method in rules.METHODS and not login.search(target)
    ]
    tries = [
        attacking.one(version, number, target.encode(), domain, method.encode())
        for number, (method, target) in enumerate(wanted)
    ]
    seen = attack(edge, domain, version, tries)
    passed = [number for number, (_, target) in enumerate(wanted) if not guarded.search(target)]
    print(f"\n{edge.proxy}, HTTP/{version}, {domain}, {len(passed)} of Jellyfin's own: {seen.counts()}")
    missing = [
        f"{wanted[number]}: {seen.answers[str(number)]}, {[arrival.target for arrival in seen.by_try.get(str(number), [])]}"
        for number in passed
        if [arrival.target.decode() for arrival in seen.by_try.get(str(number), [])] != [wanted[number][1]]
    ]
    assert missing == []
    assert seen.stray == []
    assert wrong(seen, edge, domain) == []


# 3. Who it is from, and where it ends


def wrong(seen: Attack, edge: Edge, domain: str) -> list[str]:
    """All that is wrong with what arrived, with the try that it came of."""
    found = []
    for mark, arrivals in seen.by_try.items():
        for arrival in arrivals:
            wrongs = attacking.wrongs(arrival, edge.wan.address, domain, BASES[domain])
            if wrongs or seen.doubled(mark):
                found.append(f"{mark}: {wrongs or 'arrived twice'}; sent {seen.sent(mark)}; arrived {arrival}")
    return found


HEADERS = (*heads.SET, *attacking.DROPPED)
KINDS = {
    "headers": ("1.1", lambda: heads.headers_h1(HEADERS, MEDIA)),
    "headers over HTTP/2": ("2", lambda: heads.headers_h2(HEADERS, MEDIA)),
    "pseudo-fields": ("2", lambda: heads.pseudo(MEDIA)),
    "hosts": ("1.1", lambda: heads.hosts_h1(MEDIA)),
    "framing": ("1.1", lambda: heads.framing(MEDIA)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_a_client_stays_and_a_request_ends_where_it_ends(edge: Edge, kind: str) -> None:
    version, tries = KINDS[kind]
    seen = attack(edge, MEDIA, version, tries())
    found = wrong(seen, edge, MEDIA)
    # A second request on the connection is one of its own, if all that we say of a client is said of it too.
    stray = [
        str(arrival)
        for arrival in seen.arrived
        if str(arrival) in seen.stray and attacking.wrongs(arrival, edge.wan.address, MEDIA)
    ]
    print(f"\n{edge.proxy}, {kind}: {seen.counts()}; wrong: {len(found)}, stray: {len(stray)}")
    assert found == []
    assert stray == []


# 4. Methods


@pytest.mark.parametrize("version", VERSIONS)
def test_methods_are_a_list(edge: Edge, version: str) -> None:
    listed, refused = heads.METHODS, (*heads.LAN_METHODS, *heads.OTHER_METHODS)
    wan = attack(edge, MEDIA, version, heads.methods(MEDIA, version, "/x", (*listed, *refused), "wan"))
    assert [mark for mark in wan.by_try if int(mark.split("-")[1]) >= len(listed)] == []
    assert len(wan.by_try) == len(listed)
    assert wan.stray == []
    refusals = {str(wan.answers[f"wan-{len(listed) + number}"]): method for number, method in enumerate(refused)}
    print(f"\n{edge.proxy}, HTTP/{version}: {wan.counts()}")
    assert set(refusals) <= {"405", "[405]", "400", "[400]", "501", "[501]", "-1", "[]", "0"}, refusals
    lan = attack(
        edge,
        MEDIA,
        version,
        heads.methods(MEDIA, version, "/dlna/x", (*heads.LAN_METHODS, *heads.OTHER_METHODS), "lan"),
        edge.lan,
    )
    assert sorted(lan.by_try) == [f"lan-{number}" for number in range(len(heads.LAN_METHODS))]
    assert lan.stray == []
