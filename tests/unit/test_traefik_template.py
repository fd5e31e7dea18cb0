"""Traefik's rules: who judges a target, and where a request goes after that."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as table

NAMES = ("plain", "bare", "text", "unfinished", "trusted", "all", "open")
OFF = {"accessLogs": False}
# Asked by the proxy itself, and what has no site.
OWN = ("answer-400", "answer-429", "answer-503", "web-unlogged", "websecure-unlogged")


@pytest.fixture(params=NAMES)
def http(rendered: dict[str, str], request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(rendered, request.param)


def read(rendered: dict[str, str], name: str) -> dict[str, Any]:
    return yaml.safe_load(rendered[f"traefik-{name}.dynamic.yml"])["http"]


def test_every_request_for_a_site_is_judged_before_it_is_routed(http: dict[str, Any]) -> None:
    for name, router in http["routers"].items():
        if "parentRefs" in router or name in OWN:
            continue
        chain = router["middlewares"]
        if name.startswith("plain"):
            judges = [one.removesuffix("-lan") for one in chain if one != "requests"]
            assert judges[:3] == ["refused", "origin", "query"], name
            assert router["entryPoints"] == ["websecure"]
        else:
            assert chain[0].startswith("gate-"), name


def test_all_that_is_named_is_there(http: dict[str, Any]) -> None:
    """Traefik leaves out a router that names what is not there, and tells only its log."""
    known = {"noop@internal", "ping@internal", *http["services"]}
    for name, router in http["routers"].items():
        assert set(router.get("middlewares", [])) <= set(http["middlewares"]), name
        assert set(router.get("parentRefs", [])) <= set(http["routers"]), name
        parent = any(name in other.get("parentRefs", []) for other in http["routers"].values())
        assert parent is ("service" not in router), name
        assert router.get("service", "noop@internal") in known, name


def test_plain_targets_are_accepted_targets(http: dict[str, Any]) -> None:
    router = next(router for name, router in http["routers"].items() if name.startswith("plain"))
    plain = re.compile(matcher(router["rule"], "PathRegexp"))
    accepted = re.compile(table.TARGET)
    for path in ("/", "//", "/web/index.html", "/Items/1/Images/Primary", "/a..b/c.", "/a-[b]/~x'(1)"):
        assert plain.search(path) and accepted.search(path), path
    for path in ("/.", "/..", "/a/../b", "/a/.", "/.a", "/a%2fb", "/a b", "/a\\b", "/a;/..", "/ä", "/a#", "a", "/\x7f"):
        assert not plain.search(path), path
    letters = [chr(code) for code in range(256)]
    for path in (f"/x{one}" for one in letters):
        assert not plain.search(path) or accepted.search(path), path


def test_the_query_of_a_plain_target_is_judged(http: dict[str, Any]) -> None:
    given = http["middlewares"]["query"]["redirectRegex"]
    refused = re.compile(given["regex"])
    for url in (
        "https://-/x?a#b",
        "https://-/x?a b",
        "https://-/x?ä",
        "https://media.example.org/x",
        "http://m/x?a",
        "https://-@media.example.org/",
        "https://-ftp://m/",
    ):
        assert refused.fullmatch(url), url  # as a whole: what is put in its place has to be no address
    for url in ("https://-/", "https://-/x?a=\\b|c%zz<>&d;e", "https://-//x?"):
        assert not refused.search(url), url
    assert given["replacement"] == "%"
    assert http["middlewares"]["origin"]["headers"]["customRequestHeaders"] == {"Host": "-"}


def matcher(rule: str, name: str) -> str:
    found = re.search(rf"{name}\(`([^`]*)`\)", rule)
    assert found, rule
    return found.group(1)


def test_what_is_protected_or_a_login_never_passes_beside_the_gate(rendered: dict[str, str]) -> None:
    rule = read(rendered, "plain")["routers"]["plain1"]["rule"]
    for path in ("/metrics", "/emby/System/Restart", "/users/authenticatebyname", "/QuickConnect/Connect"):
        negated = re.findall(r"!PathRegexp\(`([^`]*)`\)", rule)
        assert any(re.search(one.replace("\\x{", "\\x7b"), path) for one in negated), path
    assert "!PathRegexp" in rule and "PathRegexp(`(?i)" not in read(rendered, "plain")["routers"]["plain1-lan"]["rule"]


def test_letters_that_fold_into_ascii_are_those_of_a_decoded_path(http: dict[str, Any]) -> None:
    text = str(http["routers"].get("protected1", http["routers"]["site1"]))
    for encoded in table._FOLDED.values():
        assert encoded not in text
    if "protected1" in http["routers"]:
        assert "\\\\x{17f}" in text and "\\\\x{131}" in text


def test_the_server_is_told_the_sites_name_and_nothing_of_the_clients(http: dict[str, Any]) -> None:
    sent = http["middlewares"]["headers1"]["headers"]["customRequestHeaders"]
    assert (sent["Host"], sent["X-Forwarded-Host"], sent["X-Forwarded-Proto"]) == (*["media.example.org"] * 2, "https")
    assert sent["X-Jellynet-Peer"] == sent["X-Http-Method-Override"] == ""


def test_only_the_guard_hears_of_the_peer_and_only_from_the_gate(rendered: dict[str, str]) -> None:
    for name in ("plain", "trusted"):
        http = read(rendered, name)
        login = http["routers"]["login1"]
        assert login["service"] == "guard" and "headers1-guarded" in login["middlewares"]
        assert "X-Jellynet-Peer" not in http["middlewares"]["headers1-guarded"]["headers"]["customRequestHeaders"]
        assert all("-lan" not in parent and parent.startswith("websecure") for parent in login["parentRefs"])
        users = {one for one, router in http["routers"].items() if "headers1-guarded" in router.get("middlewares", [])}
        assert users == {"login1"}
    http = read(rendered, "open")
    assert "login1" not in http["routers"] and "guard" not in http["services"]


def test_behind_trusted_proxies_the_gate_says_who_is_of_the_lan(rendered: dict[str, str]) -> None:
    http = read(rendered, "trusted")
    gate = http["middlewares"]["gate-proxied"]["plugin"]["gate"]
    assert gate["trusted"] == ["198.51.100.0/24", "2001:db8:1::/48"] and gate["lan"] and gate["requests"] == 256
    for name, router in http["routers"].items():
        if "entryPoints" in router and name not in OWN and "-generation" not in name:
            assert ("!ClientIP(`198.51.100.0/24`)" in router["rule"]) is ("-proxied" not in name), name


def test_requests_of_an_address_are_limited_unless_it_is_of_the_lan(rendered: dict[str, str]) -> None:
    http = read(rendered, "plain")
    assert http["middlewares"]["requests"]["inFlightReq"]["amount"] == 256
    assert "requests" in http["routers"]["plain1"]["middlewares"]
    assert "requests" not in http["routers"]["plain1-lan"]["middlewares"]
    assert "requests" not in http["middlewares"]["gate-lan"]["plugin"]["gate"]
    assert http["middlewares"]["gate-internet"]["plugin"]["gate"]["requests"] == 256
    http = read(rendered, "open")
    assert "requests" not in http["middlewares"] and "requests" not in http["routers"]["plain1"]["middlewares"]


def test_the_log_costs_nothing_where_all_is_not_logged(rendered: dict[str, str]) -> None:
    """Its log costs as much where a filter drops the line."""
    few, every = (read(rendered, name)["routers"] for name in ("plain", "all"))
    for name in ("plain1", "plain1-lan", "websecure-internet"):
        assert few[name]["observability"] == OFF and "observability" not in every[name], name
    for name in ("answer-503", "answer-429"):
        assert "observability" not in few[name]
        assert "@internal" not in few[name]["service"]  # what is for a service of its own it does not log
    assert every["answer-503"]["observability"] == OFF


def test_no_log_holds_what_could_be_a_token(rendered: dict[str, str]) -> None:
    """Traefik cannot cut an address. What follows a protected path may be a token, and so may a word that is no method."""
    http = read(rendered, "trusted")
    for name in ("web-internet", "websecure-lan", "websecure-proxied"):
        twin = http["routers"][f"{name}-unlogged"]
        assert twin["observability"] == OFF and twin["priority"] > http["routers"][name]["priority"]
        for word in ("api_?key", "%25", "!Method(`GET`)", "[Mm]", "acme-challenge"):
            assert word in twin["rule"]
    assert "%25" in http["routers"]["plain1"]["rule"]


def test_entry_points(rendered: dict[str, str]) -> None:
    for name in ("plain", "trusted"):
        static = yaml.safe_load(rendered[f"traefik-{name}.traefik.yml"])
        for entry in static["entryPoints"].values():
            assert entry["http"]["aliasHeadersStrategy"] == "delete"
            assert entry["http"]["sanitizePath"] is False
            assert entry["http2"]["maxConcurrentStreams"] == 128
            times = entry["transport"]["respondingTimeouts"]
            assert (times["readTimeout"], times["writeTimeout"]) == ("30s", "0s")
        assert static["experimental"]["localPlugins"] == {"gate": {"moduleName": "jellynet.invalid/gate"}}
        # On 443 nobody's word about others counts but a trusted proxy's.
        believed = static["entryPoints"]["websecure"].get("forwardedHeaders", {}).get("trustedIPs", [])
        assert "127.0.0.1/32" not in believed and bool(believed) is (name == "trusted")
