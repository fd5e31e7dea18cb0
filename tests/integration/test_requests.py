"""Requests that are meant to be misread, sent raw to every proxy from the Internet, and judged by what the server behind would make of what arrived.

The lab and the deployment are those of test_reverse_proxy.py: name both in one call of pytest, this first, and each proxy is deployed once.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import attacking
import heads
import kestrel
import pytest
import reverse_proxy_edge as lab
import spellings
from attacking import Attack, attack, rules
from reverse_proxy_edge import MEDIA, PATH, Edge

_SPEC = importlib.util.spec_from_file_location("request_grammar", lab.ROOT / "tests" / "fuzz" / "requests.py")
assert _SPEC is not None and _SPEC.loader is not None
grammar = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(grammar)

SEED, CONNECTIONS = 9, 1200
BASES = {MEDIA: "", PATH: "/jellyfin"}
ROUTES = Path(__file__).with_name("jellyfin_routes.txt")
VERSIONS = ("1.1", "2", "3")
# What is no request line at all may end the connection, and a malformed stream may be reset.
OTHER_REFUSALS = (0, -1, 404, 414, 421, 505)
# What a method that is none gets, on a connection of its own or not.
REFUSED = (405, 400, 501, -1, 0, [405], [400], [501], [])
# Where an encoded letter is all that is odd about a target, Traefik passes it on as the letter (RFC 3986, section 6.2.2.2); and a semicolon in a
# query encoded, always. Over HTTP/3 it knows no more of a target than what it means, and writes that in its own way.
WRITES_PLAINLY = {"traefik"}
# Where a tab divides HTTP/1.1's request line as a space does (RFC 9112, section 3), so that it is no part of the target.
TABS_DIVIDE = {"haproxy"}


@pytest.fixture(scope="module")
def edge(proxied: Edge) -> Iterator[Edge]:
    attacking.prepare(proxied)
    yield proxied
    attacking.done_with(proxied)


def spoken(edge: Edge, version: str) -> bool:
    """Whether the proxy speaks it. HTTP/3 nobody serves on UDP 443 where it is not announced: test_reverse_proxy.py sees to that."""
    return version != "3" or attacking.has_http3(edge)


# 1. Targets


def is_odd(target: bytes) -> bool:
    """Where a refusal need not be a 400: a line that is divided, a target that is too long or no URL, another site's name in absolute form."""
    # Go's HTTP/2 and HTTP/3 reset the stream of a target with a percent sign that encodes nothing, HAProxy's HTTP/2 that of one with a fragment.
    return (
        bool(re.search(rb"[^!-~]|#|%(?![0-9A-Fa-f]{2})", target)) or len(target) > 4000 or not target.startswith(b"/")
    )


def matchers(domain: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    base = BASES[domain]
    return re.compile(rules.protected(spellings.PROTECTED, base)), re.compile(rules.login(base))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("domain", BASES)
def test_no_spelling_leads_past_a_rule(edge: Edge, domain: str, version: str) -> None:
    """To a protected route, or to a login otherwise than through the guard."""
    if not spoken(edge, version):
        return
    paths = (*spellings.PROTECTED, *spellings.LOGIN)
    targets = [target for path in paths for target in spellings.of(path, BASES[domain], domain)]
    tries = [attacking.one(version, number, target, domain) for number, target in enumerate(targets)]
    seen = attack(edge, domain, version, tries)
    if version == "1.1" and edge.proxy in TABS_DIVIDE:
        targets = [target.strip(b"\t") for target in targets]
    plainly = edge.proxy in WRITES_PLAINLY
    reached, altered, answered = judged(seen, targets, domain, plainly, plainly and version == "3")
    print(f"\n{edge.proxy}, HTTP/{version}, {domain}: {seen.counts()}")
    print(f"reached: {len(reached)}, altered: {len(altered)}, otherwise: {len(answered)}, stray: {len(seen.stray)}")
    assert reached == []
    assert altered == []
    assert seen.stray == []
    assert answered == []
    assert wrong(seen, edge, domain) == []


def judged(
    seen: Attack, targets: list[bytes], domain: str, plainly: bool = False, freely: bool = False
) -> tuple[list[str], list[str], list[str]]:
    """What reached a protected route, what arrived otherwise than it was sent, and what was answered otherwise than the rules say."""
    reached, altered, answered = [], [], []
    protected, login = matchers(domain)
    for number, target in enumerate(targets):
        words = f"{target[:120]!r}"
        arrived = seen.by_try.get(str(number), [])
        for arrival in arrived:
            route = kestrel.routes_to(arrival.head.reading.path, BASES[domain])
            if route and not (arrival.at_guard and attacking.is_login(route)):
                reached.append(f"{words}: {route}, as {arrival.target[:120]!r}")
            known = (
                target,
                target.partition(b"?")[0] + b"".join(target.partition(b"?")[1:]).replace(b";", b"%3B"),
                written_plainly(target),
            )
            as_sent = arrival.target in (known if plainly else known[:1]) or (freely and alike(target, arrival.target))
            if not as_sent or seen.doubled(str(number)):
                altered.append(f"{words}: {[arrival.target[:120] for arrival in arrived]}")
        status = seen.answers[str(number)]
        text = target.decode("latin-1")
        inside = not BASES[domain] or re.match(r"/jellyfin(?:/|$|[?])", text) is not None
        if not attacking.accepted(target):
            right = not arrived and (status == 400 or (status in OTHER_REFUSALS and is_odd(target)))
        elif protected.search(text):
            right = not arrived and status in ((403,) if inside else (403, 404))
        elif not inside:
            right = status in (403, 404) or (bool(arrived) and status in (200, 401))
        elif arrived:  # whoever logs in with nothing gets a 401 there
            right = status in (200, 401) and all(arrival.at_guard == bool(login.search(text)) for arrival in arrived)
        else:
            right = status in (301, 308) and text.partition("?")[0] == BASES[domain]
        if not right:
            answered.append(f"{words}: {status}, arrived {len(arrived)} times")
    return reached, altered, answered


def alike(sent: bytes, arrived: bytes) -> bool:
    """Whether the server reads the same path and the same query in both, with an encoded slash in either case."""

    def meant(target: bytes) -> tuple[str, str]:
        reading = kestrel.read(target)
        return reading.path.replace("%2f", "%2F"), reading.query.replace(";", "%3B")

    return meant(sent) == meant(arrived)


def written_plainly(target: bytes) -> bytes:
    """The target with its encoded letters, digits and `-._~` as they are, and with semicolons of the query encoded."""
    unreserved = rb"%(?:[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|2[DdEe]|5[Ff]|7[Ee])"
    path, mark, query = target.partition(b"?")
    return re.sub(unreserved, lambda one: bytes.fromhex(one[0][1:].decode()), path) + mark + query.replace(b";", b"%3B")


# 2. What legitimate clients ask for


def routes(domain: str) -> list[tuple[str, str]]:
    """Method and target of all that has to pass, below the site's path; one of each."""
    listed = [line.split("\t") for line in ROUTES.read_text().splitlines() if not line.startswith("#")]
    return [(method, BASES[domain] + target) for method, target, _route in listed]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("domain", BASES)
def test_what_clients_ask_for_arrives_as_it_was_sent(edge: Edge, domain: str, version: str) -> None:
    if not spoken(edge, version):
        return
    protected, login = matchers(domain)
    wanted = [(method, target) for method, target in routes(domain) if method in rules.METHODS]
    seen = attack(edge, domain, version, asked(wanted, domain, version))
    passed = [number for number, (_, target) in enumerate(wanted) if not protected.search(target)]
    print(f"\n{edge.proxy}, HTTP/{version}, {domain}, {len(passed)} of Jellyfin's own: {seen.counts()}")
    assert len(passed) > 700
    missing = []
    for number in passed:
        arrived = [(arrival.target.decode(), arrival.at_guard) for arrival in seen.by_try.get(str(number), [])]
        if arrived != [(wanted[number][1], bool(login.search(wanted[number][1])))]:
            missing.append(f"{wanted[number]}: {seen.answers[str(number)]}, arrived {arrived}")
    assert missing == []
    assert seen.stray == []
    assert wrong(seen, edge, domain) == []


def test_all_of_them_arrive_from_the_lan_and_none_goes_through_the_guard(edge: Edge) -> None:
    wanted = routes(MEDIA)
    seen = attack(edge, MEDIA, "1.1", asked(wanted, MEDIA, "1.1"), edge.lan)
    arrived = {
        int(mark): [(arrival.target.decode(), arrival.at_guard) for arrival in arrivals]
        for mark, arrivals in seen.by_try.items()
    }
    assert [
        (wanted[n], seen.answers[str(n)]) for n in range(len(wanted)) if arrived.get(n) != [(wanted[n][1], False)]
    ] == []


def asked(wanted: list[tuple[str, str]], domain: str, version: str) -> list[attacking.Try]:
    return [
        attacking.one(version, number, target.encode(), domain, method.encode())
        for number, (method, target) in enumerate(wanted)
    ]


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
    "headers over HTTP/3": ("3", lambda: heads.headers_h2(HEADERS, MEDIA)),
    "pseudo-fields over HTTP/3": ("3", lambda: heads.pseudo(MEDIA)),
    "hosts": ("1.1", lambda: heads.hosts_h1(MEDIA)),
    "framing": ("1.1", lambda: heads.framing(MEDIA)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_a_client_stays_and_a_request_ends_where_it_ends(edge: Edge, kind: str) -> None:
    version, tries = KINDS[kind]
    if not spoken(edge, version):
        return
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
    if not spoken(edge, version):
        return
    listed, refused = heads.METHODS, (*heads.LAN_METHODS, *heads.OTHER_METHODS)
    wan = attack(edge, MEDIA, version, heads.methods(MEDIA, version, "/x", (*listed, *refused), "wan"))
    print(f"\n{edge.proxy}, HTTP/{version}: {wan.counts()}")
    assert sorted(wan.by_try) == sorted(f"wan-{number}" for number in range(len(listed)))
    assert wan.stray == []
    answers = {method: wan.answers[f"wan-{len(listed) + number}"] for number, method in enumerate(refused)}
    assert {method: answer for method, answer in answers.items() if answer not in REFUSED} == {}
    inside = (*heads.LAN_METHODS, *heads.OTHER_METHODS)
    lan = attack(edge, MEDIA, version, heads.methods(MEDIA, version, "/dlna/x", inside, "lan"), edge.lan)
    assert sorted(lan.by_try) == sorted(f"lan-{number}" for number in range(len(heads.LAN_METHODS)))
    assert lan.stray == []


# 5. By a grammar


def test_nobody_disagrees_on_where_a_request_ends(edge: Edge) -> None:
    """Some thousands of tests/fuzz/requests.py: `--through` sends as many as one likes."""
    tries = attacking.connections(grammar.block(SEED, 0), grammar.connection, MEDIA, CONNECTIONS)
    seen = attack(edge, MEDIA, "1.1", tries)
    found = attacking.disagreements(seen, edge.wan.address, MEDIA)
    asked = sum(one["raw"].count("X-Try") for one in tries)
    print(f"\n{edge.proxy}, {asked} requests by a grammar: {seen.counts()}; wrong: {len(found)}")
    assert asked > 2000 and len(seen.arrived) > 400
    assert found == []
