"""Each check of the verdict: a deployment that is well passes all, and one broken thing fails just the check that is about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify, _verify_plan, _verify_report
from verify_sample import DAY, DOMAIN, EDGE, INFO, LAPTOP, NOW, RENTED, deployment, grade, options, site

TEMPLATE = Path(__file__).resolve().parents[2] / "roles" / "verify" / "templates" / "report.html.j2"
LAN, WAN, EDGE_AREA, SERVER = "From the LAN", "From the Internet", "On the edge", "At the server"


def judge(parts: tuple[Any, Any, Any, Any]) -> dict[tuple[str, str], dict[str, str]]:
    return {(item["area"], item["title"]): item for item in _verify.judge(*parts)}


def wrong(checks: dict[tuple[str, str], dict[str, str]]) -> list[tuple[str, str]]:
    return [key for key, item in checks.items() if item["status"] == _verify.FAIL]


def test_all_is_well() -> None:
    checks = judge(deployment())
    assert {key: item["found"] for key, item in checks.items() if item["status"] != _verify.PASS} == {}
    assert len(checks) > 40


def test_every_failure_says_what_to_do() -> None:
    observed, sites, here, given = deployment()
    for seat in ("lan", "wan"):
        for key, result in observed[seat]["seen"].items():
            observed[seat]["seen"][key] = {
                "state": "open",
                "error": "",
                "status": 200,
                "addresses": [],
                "body": "?",
            } | {"kind": result.get("kind", "")}
    checks = _verify.judge(observed, sites, here, given)
    failed = [item for item in checks if item["status"] == _verify.FAIL]
    assert len(failed) > 15
    assert [item for item in failed if not item["todo"]] == []


def broken(seat: str, what: str, result: dict[str, Any], of_site: bool = True) -> Any:
    parts = deployment()
    key = f"{DOMAIN}|{what}" if of_site else what
    assert key in parts[0][seat]["seen"], "a test of a probe that is not in the plan"
    parts[0][seat]["seen"][key] = {**parts[0][seat]["seen"][key], **result}
    return parts


ONE_THING = [
    ("lan", "redirect", {"status": 302}, (LAN, "Redirect from 80 to 443"), "302 is temporary"),
    ("lan", "redirect", {"headers": {"location": f"https://{DOMAIN}/"}}, (LAN, "Redirect from 80 to 443"), "308"),
    (
        "wan",
        "redirect",
        {"headers": {"location": "https://evil.example/web/index.html?verify=1"}},
        (WAN, "Redirect from 80 to 443"),
        "evil.example",
    ),
    ("wan", "acme", {"status": 308}, (WAN, "ACME left through on 80"), "status 308"),
    ("lan", "health", {"body": "Degraded"}, (LAN, "Server's health"), "still starting"),
    ("lan", "health", {"body": "Unhealthy", "status": 503}, (LAN, "Server's health"), "Unhealthy"),
    ("lan", "websocket", {"status": 404}, (LAN, "Websocket"), "404"),
    ("wan", "range0", {"status": 200}, (WAN, "Range requests"), "whole file"),
    ("wan", "range0", {"headers": {"content-range": "bytes 0-99/4711"}}, (WAN, "Range requests"), "bytes 0-99"),
    ("lan", "h2", {"tls": {"alpn": ""}}, (LAN, "HTTP/2"), "not negotiated"),
    ("wan", "generation", {"status": 200}, (WAN, "The proof's address"), "200"),
    ("wan", "protected /metrics", {"status": 200}, (WAN, "Protected paths"), "/metrics (status 200)"),
    ("wan", "protected /System/Restart", {"status": 405}, (WAN, "Protected paths"), "/System/Restart"),
    (
        "wan",
        "echo forged",
        {"body": json.dumps({"client": "203.0.113.7"})},
        (WAN, "Client's address at the server"),
        "believed",
    ),
    ("lan", "dns", {"addresses": []}, (LAN, "DNS of the name"), "does not resolve"),
    (
        "lan",
        "dns",
        {"addresses": ["192.168.1.99"]},
        (LAN, "DNS of the name"),
        "192.168.1.99: not an address of the edge",
    ),
]


@pytest.mark.parametrize(("seat", "what", "result", "check", "words"), ONE_THING)
def test_one_broken_thing_fails_one_check(
    seat: str, what: str, result: dict[str, Any], check: tuple[str, str], words: str
) -> None:
    checks = judge(broken(seat, what, result))
    assert wrong(checks) == [check]
    assert words in checks[check]["found"]


EDGE_THINGS = [
    ("wan", "tcp 8096", {"state": "open"}, (WAN, "8096/tcp closed")),
    ("wan", "tcp 8920", {"state": "open"}, (WAN, "8920/tcp closed")),
    ("lan", "tcp 8920", {"state": "open"}, (LAN, "8920/tcp closed")),
    ("lan", "tcp 8096", {"state": "closed"}, (LAN, "8096/tcp open")),
    ("wan", "tcp 443", {"state": "filtered"}, (WAN, "443/tcp open")),
    ("wan", "udp 7359", {"state": "open"}, (WAN, "7359/udp closed")),
    ("wan", "udp 1900", {"state": "open"}, (WAN, "1900/udp closed")),
    ("wan", "quic", {"v1": False, "state": "silent"}, (WAN, "HTTP/3")),
    ("lan", "direct", {"status": 503, "body": ""}, (LAN, "Jellyfin on port 8096")),
    ("lan", "direct echo", {"body": json.dumps({"client": EDGE})}, (LAN, "Client's address through port 8096")),
    ("wan", "unknown name https", {"error": "", "status": 200}, (WAN, "Unknown names")),
    ("lan", "unknown name http", {"error": "", "status": 308}, (LAN, "Unknown names")),
    ("lan", f"discovered https://{DOMAIN}", {"error": "connection refused"}, (LAN, "Client discovery (7359/udp)")),
]


@pytest.mark.parametrize(("seat", "what", "result", "check"), EDGE_THINGS)
def test_one_broken_thing_of_the_edge(seat: str, what: str, result: dict[str, Any], check: tuple[str, str]) -> None:
    assert wrong(judge(broken(seat, what, result, of_site=False))) == [check]


def test_the_proxys_address_seen_by_the_server() -> None:
    parts = broken("lan", "echo", {"body": json.dumps({"client": "127.0.0.1"})})
    parts[0]["lan"]["seen"][f"{DOMAIN}|echo forged"]["body"] = json.dumps({"client": "127.0.0.1"})
    check = judge(parts)[LAN, "Client's address at the server"]
    assert (check["status"], check["found"]) == ("fail", f"the server sees 127.0.0.1 instead of {LAPTOP}")


@pytest.mark.parametrize(
    ("answer", "forged", "status"),
    [
        ({"IsLocal": False, "IsInNetwork": False}, {"IsLocal": False}, "pass"),
        ({"IsLocal": True, "IsInNetwork": True}, {"IsLocal": True}, "fail"),
        ({"IsLocal": False, "IsInNetwork": False}, {"IsLocal": True}, "fail"),
        ({"IsLocal": False, "IsInNetwork": True}, {"IsLocal": False}, "fail"),
    ],
)
def test_a_real_server_is_asked_with_an_api_key(answer: dict[str, bool], forged: dict[str, bool], status: str) -> None:
    parts = broken("wan", "endpoint", {"body": json.dumps(answer)})
    results = parts[0]["wan"]["seen"]
    results[f"{DOMAIN}|endpoint forged"]["body"] = json.dumps(forged)
    results[f"{DOMAIN}|echo"]["status"] = 404
    parts[0]["wan"]["addresses"] = ["1.1.1.1"]
    assert judge(parts)[WAN, "Client's address at the server"]["status"] == status


def test_without_a_key_the_clients_address_is_not_checked() -> None:
    checks = judge(deployment(given=options(authorized=False, echo_path="")))
    check = checks[LAN, "Client's address at the server"]
    assert check["status"] == "not checked" and "jellyfin_verify_api_key" in check["todo"]


def test_the_plan_has_no_secret_and_asks_for_the_key_by_name() -> None:
    _observed, sites, here, given = deployment()
    probes = _verify_plan.plan(sites, here, given)
    assert all("Authorization" not in (probe.get("headers") or {}) for probe in probes)
    assert [probe["id"] for probe in probes if probe.get("authorize")] == [
        f"{DOMAIN}|websocket", f"{DOMAIN}|endpoint", f"{DOMAIN}|endpoint forged",
    ]  # fmt: skip
    assert len({probe["id"] for probe in probes}) == len(probes)


@pytest.mark.parametrize(
    ("host_addresses", "lan", "told", "expected"),
    [
        (["fd00::2", EDGE, "fe80::1"], ["192.168.1.0/24", "fd00::/64", "fe80::/10"], "", [EDGE, "fd00::2"]),
        ([EDGE, "10.0.0.5"], ["192.168.1.0/24", "10.0.0.0/24"], "", ["10.0.0.5", EDGE]),
        ([EDGE], [], "", [DOMAIN]),
        ([EDGE], ["192.168.1.0/24"], "10.0.0.1", ["10.0.0.1"]),
    ],
)
def test_where_the_lan_finds_the_edge(
    host_addresses: list[str], lan: list[str], told: str, expected: list[str]
) -> None:
    here = {"interfaces": [{"addresses": [{"address": item} for item in host_addresses]}]}
    given = {"lan": lan, "lan_address": told}
    assert _verify_plan.candidates("lan", here, given, DOMAIN) == expected
    assert _verify_plan.candidates("wan", here, given, DOMAIN) == [DOMAIN]


def test_protected_paths_are_the_proxy_s() -> None:
    _observed, sites, here, _given = deployment()
    given = options(protected_paths=["/metrics", "/dlna"])
    asked = [probe["url"] for probe in _verify_plan.plan(sites, here, given) if "protected" in probe["id"]]
    base = f"https://{DOMAIN}"
    assert asked == [base + path for path in ("/metrics", "/METRICS", "//metrics", "/dlna/", "/DLNA/", "//dlna/")]
    checks = judge(deployment(given=options(protected_paths=[])))
    assert checks[WAN, "Protected paths"]["status"] == "not checked"


# --- seats ---


def test_no_seat_on_the_internet_is_no_pass() -> None:
    parts = deployment()
    parts[0]["wan"] = {}
    checks = judge(parts)
    assert checks[WAN, "All of it"]["status"] == "not checked"
    assert "jellyfin_verify_wan_host" in checks[WAN, "All of it"]["todo"]
    assert [key for key in checks if key[0] == WAN] == [(WAN, "All of it")]


def test_an_unreachable_seat_says_why() -> None:
    parts = deployment()
    parts[0]["lan"] = {"unreachable": True, "msg": "no route to laptop"}
    assert "no route to laptop" in judge(parts)[LAN, "All of it"]["found"]


def test_a_controller_outside_the_lan_judges_nothing_of_the_lan() -> None:
    parts = deployment()
    parts[0]["lan"]["addresses"] = ["10.9.9.9"]
    for key in ("tcp 8096", "udp 7359", "direct"):
        parts[0]["lan"]["seen"][key] = {"state": "filtered", "error": "timed out"}
    checks = judge(parts)
    for title in ("Client discovery (7359/udp)", "SSDP (1900/udp)", "Jellyfin on port 8096"):
        assert checks[LAN, title]["status"] == "not checked"
        assert "10.9.9.9 is not in the edge's LAN" in checks[LAN, title]["found"]
    assert wrong(checks) == []


def test_discovery_that_nobody_answers() -> None:
    parts = deployment()
    parts[0]["discovery"] = {"servers": []}
    assert "drops broadcasts" in judge(parts)[LAN, "Client discovery (7359/udp)"]["todo"]
    parts[0]["lan"]["seen"]["udp 7359"]["state"] = "silent"
    assert wrong(judge(parts)) == [(LAN, "Client discovery (7359/udp)")]


def test_other_servers_of_the_lan_are_not_this_edge() -> None:
    parts = deployment()
    neighbour = {"address": "http://192.168.1.77:8096", "id": "c" * 32, "name": "neighbour", "source": "192.168.1.77"}
    parts[0]["discovery"]["servers"].append(neighbour)
    found = judge(parts)[LAN, "Client discovery (7359/udp)"]
    assert found["status"] == "pass" and "also in this LAN: http://192.168.1.77:8096" in found["found"]
    parts[0]["discovery"]["servers"] = [neighbour]
    parts[0]["lan"]["seen"]["udp 7359"]["state"] = "silent"
    parts[0]["ssdp"] = {"devices": [{"location": "http://192.168.1.1/igd.xml", "source": "192.168.1.1"}]}
    checks = judge(parts)
    assert "the edge does not answer" in checks[LAN, "Client discovery (7359/udp)"]["found"]
    assert checks[LAN, "SSDP (1900/udp)"]["found"] == "the edge does not answer the search, though 1 other devices do"


def test_jellyfins_own_spelling_of_a_discovery_answer() -> None:
    parts = deployment()
    parts[0]["discovery"] = {"servers": [{"Address": f"https://{DOMAIN}", "Id": "b" * 32, "Name": "media"}]}
    assert judge(parts)[LAN, "Client discovery (7359/udp)"]["status"] == "pass"


def test_what_is_off_is_not_checked() -> None:
    off = {"http": "nobody", "https": "nobody", "discovery": "nobody", "ssdp": "nobody"}
    parts = deployment(given=options(listeners=off))
    parts[0]["lan"]["seen"]["tcp 8096"]["state"] = "closed"
    checks = judge(parts)
    for title in ("Client discovery (7359/udp)", "SSDP (1900/udp)", "Jellyfin on port 8096"):
        assert checks[LAN, title]["status"] == "not checked"
    assert checks[LAN, "8096/tcp closed"]["status"] == "pass"


# --- the wizard, the firewall, the certificate, KnownProxies ---


def test_wizard_unfinished() -> None:
    parts = deployment(sites=[site(admit_internet=False)])
    parts[0]["wan"]["seen"][f"{DOMAIN}|front"].update(status=503, body="")
    parts[2]["servers"]["127.0.0.1:8096"]["wizard_done"] = False
    checks = judge(parts)
    assert checks[SERVER, "First-run wizard"]["found"] == "wizard unfinished: the Internet gets 503"
    assert checks[SERVER, "First-run wizard"]["todo"] == "finish the wizard from the LAN and run site.yml again"
    assert checks[WAN, "Server through the proxy"]["status"] == "not checked"
    assert wrong(checks) == [(SERVER, "First-run wizard")]


def test_wizard_done_but_the_internet_still_gets_503() -> None:
    checks = judge(broken("wan", "front", {"status": 503, "body": ""}))
    assert "run site.yml again" in checks[WAN, "Server through the proxy"]["todo"]
    assert wrong(checks) == [(WAN, "Server through the proxy")]


def test_no_server_yet_counts_as_unfinished() -> None:
    parts = deployment(sites=[site(admit_internet=False)])
    parts[2]["servers"]["127.0.0.1:8096"] = {"reachable": False, "error": "connection refused"}
    assert (
        "no server answers the edge at 127.0.0.1:8096 (connection refused)"
        in judge(parts)[SERVER, "First-run wizard"]["found"]
    )


def test_a_server_that_is_down_after_the_wizard_was_done() -> None:
    parts = deployment()
    parts[2]["servers"]["127.0.0.1:8096"] = {"reachable": False, "error": "[Errno 111] Connection refused"}
    parts[0]["discovery"] = {"servers": []}
    parts[0]["lan"]["seen"]["udp 7359"]["state"] = "silent"
    checks = judge(parts)
    found = checks[SERVER, "First-run wizard"]["found"]
    assert (
        found
        == "no server answers the edge at 127.0.0.1:8096 (Connection refused); an earlier run found the wizard done"
    )
    assert checks[LAN, "Client discovery (7359/udp)"]["todo"].startswith("start Jellyfin")


def test_firewall_off_says_what_is_exposed() -> None:
    parts = deployment()
    parts[2]["firewalls"]["firewalld"]["active"] = False
    check = judge(parts)[EDGE_AREA, "Firewall"]
    assert check["status"] == "not checked"
    assert "firewalld is installed but off" in check["found"]
    for exposed in ("22/tcp (sshd)", "8096/tcp (jellyfin-ports)", "7359/udp (jellyfin-ports)", "1900/udp"):
        assert exposed in check["found"]
    assert "888" not in check["found"], "what listens on loopback is exposed to nobody"


@pytest.mark.parametrize(
    ("days", "kind", "status"),
    [
        (60, "letsencrypt", "pass"),
        (2, "letsencrypt", "fail"),
        (-1, "letsencrypt", "fail"),
        (13, "files", "fail"),
        (15, "files", "pass"),
    ],
)
def test_expiry(days: int, kind: str, status: str) -> None:
    parts = deployment(sites=[site(certificate=kind)])
    for seat in ("lan", "wan"):
        parts[0][seat]["seen"][f"{DOMAIN}|front"]["tls"]["not_after"] = NOW + days * DAY + 60
    assert judge(parts)[EDGE_AREA, "Certificate's expiry"]["status"] == status


def test_placeholder() -> None:
    parts = deployment()
    parts[2]["certificates"][DOMAIN] = {"source": "placeholder", "public": False, "not_after": "2026-12-20T00:00:00Z"}
    assert (EDGE_AREA, "Certificate") in wrong(judge(parts))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"present": False, "enabled": False}, "missing"),
        ({"enabled": False}, "not enabled"),
        ({"active": False}, "not running"),
    ],
)
def test_renewal_timer(change: dict[str, bool], words: str) -> None:
    parts = deployment()
    parts[0]["state"]["timer"].update(change)
    checks = judge(parts)
    assert wrong(checks) == [(EDGE_AREA, "Renewal")]
    assert words in checks[EDGE_AREA, "Renewal"]["found"]
    assert "systemctl enable --now certbot.timer" in checks[EDGE_AREA, "Renewal"]["todo"]


@pytest.mark.parametrize(
    ("change", "status", "words", "todo"),
    [
        ({}, "pass", "jellynet-certificate-door.timer is enabled and runs", ""),
        ({"present": False, "enabled": False}, "fail", "jellynet-certificate-door.timer is missing", "run site.yml"),
        ({"enabled": False}, "fail", "not enabled", "systemctl enable --now jellynet-certificate-door.timer"),
    ],
)
def test_the_edge_s_own_ca_renews_by_a_timer_of_its_own(
    change: dict[str, bool], status: str, words: str, todo: str
) -> None:
    parts = deployment(sites=[site(hsts="", certificate="local_ca")])
    parts[0]["state"]["timer"].update({"present": False, "enabled": False})
    door = {"name": "jellynet-certificate-door.timer", "present": True, "enabled": True, "active": True, **change}
    parts[0]["state"]["door_timer"] = door
    check = judge(parts)[EDGE_AREA, "Renewal"]
    assert check["status"] == status and words in check["found"] and todo in check["todo"]


@pytest.mark.parametrize(
    ("proxies", "status"),
    [
        (["127.0.0.1"], "pass"),
        (["127.0.0.0/8"], "pass"),
        ([], "fail"),
        (["192.168.1.2"], "fail"),
        (["proxy.lan"], "fail"),
    ],
)
def test_known_proxies(proxies: list[str], status: str) -> None:
    parts = deployment()
    parts[0]["installs"]["edge"]["KnownProxies"] = proxies
    assert judge(parts)[SERVER, "KnownProxies"]["status"] == status


def test_known_proxies_of_a_server_on_another_managed_host() -> None:
    key = "192.168.1.10:8096"
    parts = deployment(sites=[site(server_key=key, server_is_local=False)])
    parts[2]["servers"] = {key: {"reachable": True, "ready": True, "wizard_done": True, "source_address": EDGE}}
    parts[0]["installs"]["media"] = {
        "is_edge": False,
        "config_dir": "/etc/jellyfin",
        "KnownProxies": [EDGE],
        "addresses": ["192.168.1.10"],
    }
    assert "on media" in judge(parts)[SERVER, "KnownProxies"]["found"]
    del parts[0]["installs"]["media"]
    check = judge(parts)[SERVER, "KnownProxies"]
    assert check["status"] == "not checked" and EDGE in check["todo"]


def test_hsts_follows_the_certificate() -> None:
    assert wrong(judge(broken("lan", "front", {"hsts": []}))) == [(LAN, "HSTS")]
    parts = deployment(sites=[site(hsts="", certificate="local_ca")])
    parts[2]["certificates"][DOMAIN] = {"source": "local_ca", "public": False}
    checks = judge(parts)
    assert "lock users out" in checks[LAN, "HSTS"]["found"]


# --- the grade ---


def graded(public: bool, kind: str = "letsencrypt", asked: str = "", **changes: Any) -> dict[str, str]:
    parts = deployment(sites=[site(certificate=kind)], given=options(minimum_grade=asked))
    parts[2]["certificates"][DOMAIN]["public"] = public
    parts[0]["grades"][DOMAIN] = {**grade(), **changes}
    return judge(parts)["TLS grade", "SSL Labs grade"]


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (graded(True), "pass"),
        (graded(True, grade="A"), "fail"),
        (graded(False, grade="A"), "pass"),
        (graded(False, grade="A-"), "fail"),
        (graded(True, asked="B", grade="B"), "pass"),
        (graded(True, asked="A", grade="F"), "fail"),
        (graded(False, "local_ca", grade="T", grade_ignoring_trust="A"), "pass"),
        (graded(False, "local_ca", grade="T", grade_ignoring_trust="B"), "fail"),
        (graded(False, "local_ca", grade="M", grade_ignoring_trust="A+"), "fail"),
        (graded(True, "letsencrypt", grade="T", grade_ignoring_trust="A+"), "fail"),
        (graded(True, failed=True, msg="connection refused"), "fail"),
        (graded(True, failed=True, scanner_missing=True, msg="install it by: ..."), "not checked"),
    ],
)
def test_minimum_grade(check: dict[str, str], status: str) -> None:
    assert check["status"] == status, check


def test_a_tolerated_t_is_named() -> None:
    assert (
        "T to browsers that do not know the edge's own CA, A to those that do"
        in graded(False, "local_ca", grade="T", grade_ignoring_trust="A")["found"]
    )


def test_mozilla() -> None:
    parts = deployment()
    verdict = parts[0]["grades"][DOMAIN]["mozilla"]["intermediate"]
    verdict.update(compliant=False, violations=[{"rule": "hsts_min_age", "observed": "HSTS is not sent"}])
    assert wrong(judge(parts)) == [("TLS grade", "Mozilla's guideline, intermediate")]
    # Without a public certificate HSTS must not be sent, so its absence is no fault.
    parts[2]["certificates"][DOMAIN]["public"] = False
    assert wrong(judge(parts)) == []
    verdict["violations"].append({"rule": "tls_curves", "observed": "X448 offered"})
    assert wrong(judge(parts)) == [("TLS grade", "Mozilla's guideline, intermediate")]


# --- the report ---


def made(parts: Any) -> dict[str, Any]:
    return _verify_report.report("edge", _verify.judge(*parts), parts[0]["grades"], parts[1])


def test_report_counts_and_table() -> None:
    said = made(broken("lan", "websocket", {"status": 404}))
    assert said["verdict"] == "fail" and said["counts"]["fail"] == 1
    text = _verify_report.table(said)
    assert "  FAIL  Websocket  " in text
    assert "-> the upgrade does not reach the server" in " ".join(text.split())
    assert max(len(row) for row in text.splitlines()) <= 110
    assert json.loads(_verify_report.as_json(said))["sites"][0]["grade"]["grade"] == "A+"


def test_page_escapes_what_servers_say() -> None:
    evil = '<script>alert("x")</script>'
    parts = deployment()
    parts[0]["lan"]["seen"][f"{DOMAIN}|front"]["body"] = json.dumps({**INFO, "ServerName": evil})
    parts[0]["grades"][DOMAIN]["hsts"]["header"] = evil
    page = _verify_report.page(made(parts), TEMPLATE.read_text())
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2


def test_page_brings_all_along() -> None:
    page = _verify_report.page(made(deployment()), TEMPLATE.read_text())
    for foreign in ("<link", "@import", "src=", "url(", "<script"):
        assert foreign not in page
    assert "Every check passed" in page


@pytest.mark.parametrize("change", [{"failed": True, "msg": "No grade for x: connection refused"}, None])
def test_page_without_a_grade(change: dict[str, Any] | None) -> None:
    parts = deployment()
    parts[0]["grades"] = {DOMAIN: change} if change else {}
    page = _verify_report.page(made(parts), TEMPLATE.read_text())
    assert ("connection refused" in page) is bool(change)


def test_two_sites_are_told_apart() -> None:
    parts = deployment(sites=[site(), site(domain="films.example.org")])
    said = made(parts)
    assert [item["domain"] for item in said["sites"]] == [DOMAIN, "films.example.org"]
    assert "From the LAN: films.example.org" in _verify_report.table(said)
    assert RENTED  # the sample's name for the seat on the Internet
