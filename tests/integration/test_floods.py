"""One visitor takes what he can, at three times what once took the service from everybody; the LAN and a second visitor go on being answered.

Runs alone: what is measured is whether there is an answer, and a busy machine gives fewer. FLOOD_SECONDS says how long each flood lasts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import reverse_proxy_edge as lab
from reverse_proxy_edge import MEDIA, PORTS, Edge
from waiting import until

HERE = Path(__file__).resolve().parent
PROXIES = os.environ.get("JELLYNET_PROXIES", ",".join([*lab.PROXIES, lab.NEW_CADDY])).split(",")
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
    host.deploy(request.param, playbook=HERE / "reverse_proxy_and_ports.yml")
    return host


def test_one_household_behind_one_address_notices_nothing(edge: Edge) -> None:
    edge.wan.put("/root/household.py", (HERE / "household.py").read_text())
    said = json.loads(
        edge.wan.run("python3", "/root/household.py", edge.wan_address, MEDIA, lab.CA, "8", check=True, seconds=180)
    )
    assert {what: number for what, number in said["counts"].items() if what.endswith("bad")} == {}, said
    assert said["counts"]["device good"] >= 90 and said["counts"]["image good"] == 100
    assert said["counts"]["stream good"] + said["counts"]["paused stream good"] == 6


def second_address(edge: Edge) -> str:
    """Another address of the same network for the host that floods: another visitor."""
    other = edge.wan.address.rsplit(".", 1)[0] + ".250"
    device = edge.wan.shell(f"ip -o -4 addr show to {edge.wan.address} | awk '{{print $2}}'").strip()
    edge.wan.shell(f"ip -o -4 addr show | grep -q ' {other}/' || ip addr add {other}/24 dev {device}")
    return other


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
        who = {"lan": (edge.lan, edge.lan.address), "second visitor": (edge.wan, second_address(edge))}
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
        host.deploy(PROXIES[0], playbook=HERE / "reverse_proxy_and_ports.yml")
    url = f"http://{host.lan_address}:8096/"
    other = host.lan.address.rsplit(".", 1)[0] + ".250"
    device = host.lan.shell(f"ip -o -4 addr show to {host.lan.address} | awk '{{print $2}}'").strip()
    host.lan.shell(f"ip -o -4 addr show | grep -q ' {other}/' || ip addr add {other}/24 dev {device}")
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
        seen = {"second device": json.loads(watched.result())}
        came = [json.loads(job.result()) for job in jobs]
    print(flood, came, seen)
    assert unanswered(seen, {url: 200}) == {}
    assert sum(one["most"] for one in came) <= 1024 + 16, came
