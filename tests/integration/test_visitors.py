"""What one visitor can take and guess, behind each proxy with the service jellyfin-ports beside it.

A flood is three times what once took the service from everybody; the LAN and a second visitor go on being answered. Runs alone: a busy machine
answers less, and whether there is an answer is what is looked at. FLOOD_SECONDS says how long each flood lasts.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import reverse_proxy_edge as lab
from reverse_proxy_edge import MEDIA, PORTS, Client, Edge
from waiting import until

HERE = Path(__file__).resolve().parent
PROXIES = os.environ.get("JELLYNET_PROXIES", ",".join([*lab.PROXIES, lab.NEW_CADDY])).split(",")
PLAYBOOK = HERE / "reverse_proxy_and_ports.yml"
# Wrong tries before 429, and before an address is cut off.
TRIES, BAN = 4, 8
GUARD = {"jellyfin_guard_attempts": TRIES, "jellyfin_guard_ban_attempts": BAN}
# Further addresses, from the end of the network: a second visitor, one who guesses, a proxy that is trusted.
SECOND, GUESSER, TRUSTED = 2, 3, 4
SECONDS = float(os.environ.get("FLOOD_SECONDS", "10"))
# Kind and port: how many. Three times 1,600 half-sent heads, 12 connections of 128 uploads, 150 stalled readers.
FLOODS = {
    "half-sent heads on 80": [("heads", 80, 2400), ("heads", 80, 2400)],
    "half-sent heads on 443": [("heads", 443, 2400), ("heads", 443, 2400)],
    "slow uploads over HTTP/2": [("posts", 443, 36)],
    "stalled readers": [("readers", 443, 450)],
}
PORTS_FLOODS = {
    "half-sent heads on 8096": [("heads", 8096, 2400), ("heads", 8096, 2400)],
    "stalled readers on 8096": [("readers", 8096, 450)],
}


@pytest.fixture(scope="module")
def host(pytestconfig: pytest.Config) -> Iterator[Edge]:
    given = pytestconfig.getoption("--lab")
    pytestconfig.option.lab = given or "floods"
    made = lab.up(pytestconfig.option.lab)
    for client in (made.lan, made.wan):
        for name in ("flood_attacker.py", "bystander.py"):
            client.put(f"/root/{name}", (HERE / name).read_text())
    yield made
    if not given:
        lab.down(pytestconfig.option.lab)
    pytestconfig.option.lab = given


@pytest.fixture(scope="module", params=PROXIES)
def edge(host: Edge, request: pytest.FixtureRequest) -> Edge:
    for domain in PORTS:
        host.server(domain, "start")
    host.deploy(
        request.param, playbook=PLAYBOOK, **GUARD, reverse_proxy_trusted_proxies=[f"{another(host.wan, TRUSTED)}/32"]
    )
    return host


# Guessing passwords


def another(client: Client, last: int) -> str:
    """A further address of a host: another visitor of the same network, this one from its end."""
    _, device, _, own, *_ = client.shell(f"ip -o -4 addr show to {client.address}").split()
    network = ipaddress.ip_interface(own).network
    address = str(network[-last])
    client.shell(
        f"ip -o -4 addr show | grep -q ' {address}/' || ip addr add {address}/{network.prefixlen} dev {device}"
    )
    return address


def login(client: Client, source: str, user: str, password: str, *more: str, seconds: float = 12) -> lab.Answer:
    body = json.dumps({"Username": user, "Pw": password})
    headers = (
        "-H",
        "Content-Type: application/json",
        "-H",
        'Authorization: MediaBrowser Client="t", Device="t", DeviceId="t", Version="1"',
    )
    return client.ask(
        f"https://{MEDIA}/Users/AuthenticateByName", "--interface", source, *headers, "-d", body, *more, seconds=seconds
    )


def unban(edge: Edge, *addresses: str) -> None:
    for address in addresses:
        edge.shell(f"jellyfin-ports unban {address}", check=False)


def test_guessing_passwords_is_answered_with_429_and_locks_nobody_else_out(edge: Edge) -> None:
    guesser = another(edge.wan, GUESSER)
    tries = [login(edge.wan, guesser, "owner", f"wrong-{edge.proxy}-{turn}").status for turn in range(TRIES + 1)]
    assert tries == [401] * TRIES + [429], tries
    refused = login(edge.wan, guesser, "owner", "right")
    assert (refused.status, bool(refused.one("Retry-After"))) == (429, True), refused
    assert login(edge.wan, edge.wan.address, "owner", "right").status == 200, "a stranger has locked the owner out"
    assert login(edge.lan, edge.lan.address, "owner", "right").status == 200
    assert edge.wan.ask(f"https://{MEDIA}/", "--interface", guesser).reached, "only logins are refused"
    unban(edge, guesser)
    assert login(edge.wan, guesser, "owner", "right").status == 200


def test_the_same_wrong_password_counts_once(edge: Edge) -> None:
    guesser = another(edge.wan, GUESSER)
    assert [login(edge.wan, guesser, "television", f"old-{edge.proxy}").status for _turn in range(2 * BAN)] == [
        401
    ] * 2 * BAN
    assert login(edge.wan, guesser, "owner", "right").status == 200


def test_who_goes_on_guessing_is_cut_off_for_a_time(edge: Edge) -> None:
    guesser = another(edge.wan, GUESSER)
    for turn in range(BAN + 2):
        login(edge.wan, guesser, f"user-{turn}", f"wrong-{edge.proxy}-{turn}", seconds=4)
    cut = until(
        lambda: edge.wan.ask(f"https://{MEDIA}/", "--interface", guesser, seconds=4), lambda one: one.code != 0, 20
    )
    assert (cut.status, cut.code in (7, 35, 56)) == (0, True), cut
    assert guesser in edge.shell("jellyfin-ports bans")
    assert edge.wan.ask(f"https://{MEDIA}/").reached and edge.lan.ask(f"https://{MEDIA}/").reached
    edge.shell(f"jellyfin-ports unban {guesser}")
    assert guesser not in edge.shell("jellyfin-ports bans")
    assert until(lambda: edge.wan.ask(f"https://{MEDIA}/", "--interface", guesser).reached, bool, 20)


def test_behind_a_trusted_proxy_a_visitor_gets_429_and_nobody_is_cut_off(edge: Edge) -> None:
    proxy = another(edge.wan, TRUSTED)
    visitor = ("-H", "X-Forwarded-For: 203.0.113.77")
    answers = [
        login(edge.wan, proxy, f"user-{turn}", f"wrong-{edge.proxy}-{turn}", *visitor).status for turn in range(BAN + 2)
    ]
    assert answers[-1] == 429 and 401 in answers, answers
    assert login(edge.wan, proxy, "owner", "right", "-H", "X-Forwarded-For: 203.0.113.78").status == 200
    said = edge.shell("jellyfin-ports bans --json")
    assert not [one for one in json.loads(said)["bans"] if one["address"] in ("203.0.113.77", proxy)], said
    unban(edge, "203.0.113.77")


def test_what_a_visitor_says_of_its_peer_counts_for_nothing(edge: Edge) -> None:
    """Else a guesser could pass for a visitor behind a trusted proxy, or have another cut off."""
    guesser, victim = another(edge.wan, GUESSER), edge.wan.address
    claims = (
        "-H",
        f"X-Jellynet-Peer: {victim}",
        "-H",
        f"X-Forwarded-For: {victim}",
        "-H",
        "Connection: X-Jellynet-Peer",
    )
    for turn in range(BAN + 2):
        login(edge.wan, guesser, f"user-{turn}", f"wrong-{edge.proxy}-{turn}", *claims, seconds=4)
    bans = until(lambda: edge.shell("jellyfin-ports bans"), lambda said: guesser in said, 20)
    assert guesser in bans and victim not in bans
    assert login(edge.wan, victim, "owner", "right").status == 200
    unban(edge, guesser)


def test_without_the_guard_logins_from_the_internet_fail_and_those_of_the_lan_go_on(edge: Edge) -> None:
    edge.shell("systemctl stop jellyfin-ports-guard.socket jellyfin-ports-guard.service")
    try:
        assert login(edge.wan, edge.wan.address, "owner", "right", seconds=8).status in (502, 503)
        assert login(edge.lan, edge.lan.address, "owner", "right").status == 200
        assert edge.wan.ask(f"https://{MEDIA}/").reached
        assert "guard" in edge.shell("jellyfin-ports status", check=False)
    finally:
        edge.shell("systemctl start jellyfin-ports-guard.socket jellyfin-ports-guard.service")
    assert (
        until(lambda: login(edge.wan, edge.wan.address, "owner", "right").status, lambda status: status == 200, 20)
        == 200
    )


# Taking the service from the others


# Whose stock build counts the requests under way.
COUNTS_REQUESTS = {"nginx", "haproxy", "traefik"}


def under_way(client: Client, count: int) -> dict[str, int]:
    """Requests that the server does not answer, all at once over few connections; how many of them got which status (000: none)."""
    said = client.shell(
        f"curl -s -Z --parallel-max {count} --cacert {lab.CA} -o /dev/null -w '%{{http_code}}\\n' -m 6 "
        f"'https://{MEDIA}/hang?[1-{count}]' | sort | uniq -c",
        seconds=60,
    )
    return {status: int(number) for number, status in map(str.split, said.splitlines())}


def test_requests_under_way_of_one_visitor_have_a_limit_and_those_given_up_do_not_count(edge: Edge) -> None:
    if edge.proxy not in COUNTS_REQUESTS:
        return
    assert under_way(edge.wan, 290) == {"000": 256, "429": 34}
    assert until(lambda: edge.wan.ask(f"https://{MEDIA}/").status, lambda status: status == 200, 20) == 200
    assert under_way(edge.lan, 290) == {"000": 290}


def test_one_household_behind_one_address_notices_nothing(edge: Edge) -> None:
    edge.wan.put("/root/household.py", (HERE / "household.py").read_text())
    said = json.loads(
        edge.wan.run("python3", "/root/household.py", edge.wan_address, MEDIA, lab.CA, "8", check=True, seconds=180)
    )
    assert {what: number for what, number in said["counts"].items() if what.endswith("bad")} == {}, said
    assert said["counts"]["device good"] >= 90 and said["counts"]["image good"] == 100
    assert said["counts"]["stream good"] + said["counts"]["paused stream good"] == 6


def flooded(
    edge: Edge, attackers: list[Any], floods: list[tuple[str, int, int]], urls: dict[str, list[str]]
) -> tuple[list[Any], dict[str, Any]]:
    """What came of the floods, and what the bystanders got meanwhile, by who they are and what they asked."""
    attacker, target = attackers
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(
                attacker.run, "python3", "/root/flood_attacker.py", kind, target, MEDIA, str(port), str(count), str(SECONDS),
                check=True, seconds=SECONDS + 60,
            )
            for kind, port, count in floods
        ]  # fmt: skip
        who = {"lan": (edge.lan, edge.lan.address), "second visitor": (edge.wan, another(edge.wan, SECOND))}
        watch = {
            name: pool.submit(
                who[name][0].run, "python3", "/root/bystander.py", str(SECONDS - 1), who[name][1], lab.CA, *asked,
                check=True, seconds=SECONDS + 120,
            )
            for name, asked in urls.items()
        }  # fmt: skip
        seen = {name: json.loads(job.result()) for name, job in watch.items()}
        return [json.loads(job.result()) for job in jobs], seen


def unanswered(seen: dict[str, Any], wanted: dict[str, int]) -> dict[str, Any]:
    """Every time that a bystander did not get what they always get."""
    assert all(times for urls in seen.values() for times in urls.values()), seen
    return {
        f"{who}: {url}": times
        for who, urls in seen.items()
        for url, times in urls.items()
        if any(status != wanted[url] for status, _seconds in times)
    }


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_from_one_address_takes_the_service_from_nobody_else(edge: Edge, flood: str) -> None:
    secure, plain = f"https://{MEDIA}/", f"http://{MEDIA}/"
    wanted = {secure: 200, plain: 301 if edge.proxy == "traefik" else 308}
    came, seen = flooded(
        edge, [edge.wan, edge.wan_address], FLOODS[flood], {"lan": list(wanted), "second visitor": list(wanted)}
    )
    print(
        edge.proxy,
        flood,
        came,
        {who: max(s for times in urls.values() for _status, s in times) for who, urls in seen.items()},
    )
    # It was a flood: each of its connections was tried.
    assert all(one["opened"] + one["refused"] >= count for one, (_kind, _port, count) in zip(came, FLOODS[flood])), came
    assert unanswered(seen, wanted) == {}
    # And it was held to the limit of one address.
    assert sum(one["most"] for one in came) <= 256 + 16, came
    assert limits_logged(edge, edge.wan.address)


def limits_logged(edge: Edge, address: str) -> bool:
    """Whether the log names the address that came to its limit."""
    return until(
        lambda: address in edge.shell("journalctl -b -u jellyfin-ports-limits -o cat --no-pager", check=False), bool, 20
    )


@pytest.mark.parametrize("flood", PORTS_FLOODS)
def test_a_flood_of_the_plain_port_from_one_device_leaves_it_to_the_others(host: Edge, flood: str) -> None:
    if not host.proxy:
        host.deploy(PROXIES[0], playbook=PLAYBOOK)
    url = f"http://{host.lan_address}:8096/"
    other = another(host.lan, SECOND)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(
                host.lan.run,
                "python3",
                "/root/flood_attacker.py",
                kind,
                host.lan_address,
                MEDIA,
                str(port),
                str(count),
                str(SECONDS),
                check=True,
                seconds=SECONDS + 60,
            )
            for kind, port, count in PORTS_FLOODS[flood]
        ]
        watched = pool.submit(
            host.lan.run,
            "python3",
            "/root/bystander.py",
            str(SECONDS - 1),
            other,
            lab.CA,
            url,
            check=True,
            seconds=SECONDS + 120,
        )
        # Counted at the edge: the one who floods sees late which of its connections were reset.
        most = 0
        while not watched.done():
            open_now = f"ss -Htn state established '( sport = :8096 and dst = {host.lan.address} )' | wc -l"
            most = max(most, int(host.shell(open_now)))
            time.sleep(0.5)
        seen = {"second device": json.loads(watched.result())}
        came = [json.loads(job.result()) for job in jobs]
    print(flood, came, most, seen)
    assert unanswered(seen, {url: 200}) == {}
    # It was a flood, and it was held to the limit of one address of the LAN.
    assert all(
        one["opened"] + one["refused"] >= count for one, (_kind, _port, count) in zip(came, PORTS_FLOODS[flood])
    ), came
    assert 0 < most <= 1024
