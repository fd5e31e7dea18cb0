"""What verify makes of attacks: held against edges of 1.0.0, of which each was recorded from the Internet and from the LAN with the holes it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify, _verify_attacks
from verify_sample import DOMAIN, deployment, options, site

RECORDED = json.loads((Path(__file__).resolve().parent / "data" / "edges_1_0_0.json").read_text())
LAN, WAN = "From the LAN", "From the Internet"
TARGETS, SPELLINGS, METHODS = (
    "Attack: ambiguous targets",
    "Attack: spellings of protected paths",
    "Attack: CONNECT, TRACE, TRACK",
)
HEADERS, HALF_OPEN, LOGINS, NAMES = (
    "Attack: the client's address",
    "Attack: half-sent requests",
    "Attack: wrong passwords",
    "Attack: foreign names on port 8096",
)


def judge(parts: tuple[Any, Any, Any, Any]) -> dict[tuple[str, str], dict[str, str]]:
    return {(item["area"], item["title"]): item for item in _verify.judge(*parts) if item["title"].startswith("Attack")}


def recorded(proxy: str) -> dict[tuple[str, str], dict[str, str]]:
    """What is said of an edge of 1.0.0."""
    parts = deployment()
    for seat, seen in RECORDED[proxy].items():
        probes = parts[0][seat]["seen"]
        asked = {key for key in probes if "attack" in key}
        assert asked == {key for key in seen if "attack" in key}, "record the edges again: other attacks are sent now"
        probes.update({key: {"error": "", "headers": {}, **value} for key, value in seen.items()})
        probes.pop(f"{DOMAIN}|echo", None)
    return judge(parts)


def test_a_good_edge_refuses_all() -> None:
    checks = judge(deployment())
    assert {item["status"] for item in checks.values()} == {_verify.PASS}
    assert checks[WAN, TARGETS]["found"] == "65 of 65 refused"
    assert checks[WAN, SPELLINGS]["found"] == "30 of 30 refused"
    assert {title for area, title in checks if area == LAN} == {TARGETS, METHODS, HEADERS, HALF_OPEN, LOGINS, NAMES}


@pytest.mark.parametrize(
    ("proxy", "check", "word"),
    [
        ("nginx", (WAN, TARGETS), "/a%2fb/../metrics (status 404)"),
        ("nginx", (LAN, NAMES), "rebinding.example.com (status 200)"),
        ("apache", (WAN, TARGETS), "43 of 65 refused"),
        ("apache", (WAN, HEADERS), "Connection: close, X-Forwarded-For"),
        ("apache", (WAN, METHODS), "CONNECT"),
        ("caddy", (WAN, TARGETS), "/a%2fb/../metrics"),
        ("caddy", (WAN, METHODS), "TRACE (status 200)"),
        ("haproxy", (WAN, METHODS), "TRACE (status 200)"),
    ],
)
def test_the_holes_of_1_0_0_are_found(proxy: str, check: tuple[str, str], word: str) -> None:
    said = recorded(proxy)[check]
    assert said["status"] == _verify.FAIL and word in said["found"] + said["todo"] and said["todo"], said


def one(kind: str, result: dict[str, Any], seat: str = "wan", **given: Any) -> dict[tuple[str, str], dict[str, str]]:
    """A good edge on which one attack of a kind comes through."""
    parts = deployment(given=options(**given))
    probes = parts[0][seat]["seen"]
    key = next(key for key in probes if f"attack {kind} " in key)
    probes[key] = {**probes[key], **result}
    return judge(parts)


@pytest.mark.parametrize(
    ("kind", "result", "check"),
    [
        ("form", {"status": 404}, TARGETS),
        ("spelling", {"status": 401}, SPELLINGS),
        ("spelling", {"status": 404}, SPELLINGS),
        ("method", {"status": 302}, METHODS),
        ("header", {"body": '{"client": "127.0.0.1"}'}, HEADERS),
        ("header", {"body": '{"client": "192.0.2.1"}'}, HEADERS),
        ("half-open", {"status": 0}, HALF_OPEN),
        ("half-open", {"error": "no complete answer within 5 s"}, HALF_OPEN),
        ("login", {"status": 200}, LOGINS),
    ],
)
def test_one_that_comes_through_fails(kind: str, result: dict[str, Any], check: str) -> None:
    checks = one(kind, result)
    assert [title for (area, title), item in checks.items() if item["status"] == _verify.FAIL] == [check]


def test_no_answer_is_no_refusal() -> None:
    assert one("form", {"error": "no route to host"})[WAN, TARGETS]["status"] == _verify.NOT_CHECKED
    assert one("name", {"error": "connection refused"}, "lan")[LAN, NAMES]["status"] == _verify.NOT_CHECKED


def test_what_is_not_tried_is_not_checked() -> None:
    parts = deployment(given=options(attack=False, listeners={**options()["listeners"], "http": "server"}))
    checks = judge(parts)
    assert (
        checks[WAN, LOGINS]["status"] == _verify.NOT_CHECKED and "jellyfin_verify_attack" in checks[WAN, LOGINS]["todo"]
    )
    assert checks[LAN, NAMES]["status"] == _verify.NOT_CHECKED and "not covered" in checks[LAN, NAMES]["found"]
    assert not any("login" in key for key in parts[0]["wan"]["seen"])
    checks = judge(deployment(given=options(lan_names="any")))
    assert "jellyfin_lan_names: any" in checks[LAN, NAMES]["found"]
    checks = judge(deployment(given=options(echo_path="", authorized=False)))
    assert checks[WAN, HEADERS]["status"] == _verify.NOT_CHECKED and "API key" in checks[WAN, HEADERS]["todo"]


def test_a_second_site_costs_little_and_nothing_is_locked_out() -> None:
    two = [site(), site(domain="two.example.org", path="/jellyfin")]
    probes = _verify_attacks.probes(two, options())
    first, second = ([probe for probe in probes if probe["id"].startswith(one["domain"])] for one in two)
    assert len(second) < len(first) / 2
    assert all(probe["target"].startswith(("/jellyfin/", "http://", "two.example.org:")) for probe in second)
    logins = [probe for probe in first if "login" in probe["id"]]
    assert len(logins) == 2 and all("jellynet-verify-nobody" in probe["content"] for probe in logins)
    assert all(
        probe.get("method", "GET") in ("GET", "CONNECT", "TRACE", "TRACK") for probe in first if probe not in logins
    )
