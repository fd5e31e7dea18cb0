"""Limits on real hosts (Debian 12 and 13): what one address can take, who is banned, and that it comes back whoever takes it away.

tests/lab/lab up tests/lab/topologies/ports.toml --name NAME; pytest tests/integration/test_limits.py --lab NAME
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_port_binding import EDGES, Ports, Stream, changed, put
from waiting import listens, until

LIMIT, LAN_LIMIT = 256, 1024
HELD_HEAD = "GET / HTTP/1.1\\r\\nHost: a\\r\\n"
FILM = "GET /Videos/1/stream.mkv HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect("/run/jellyfin-ports-limits/control"); s.sendall(sys.argv[1].encode() + b"\\n"); print(s.makefile().read())
"""


class Limits(Ports):
    """Two edges with a stand-in for a proxy on 80 and 443; `outside` is two visitors from the Internet."""

    def __init__(self, lab: Any) -> None:
        super().__init__(lab)
        self.visitor = self.address("outside", "wan")
        taken = {self.address(name, "wan") for name in (*EDGES, "outside")}
        network = self.visitor.rpartition(".")[0]
        last = max(int(address.rpartition(".")[2]) for address in taken)
        self.other = f"{network}.{last + 1}"
        self.outside = lab.host("outside")
        self.outside.run(f"ip address add {self.other}/28 dev eth1")

    def table(self, edge: str = "edge") -> str:
        return str(self.lab.host(edge).run("nft -s -t list table inet jellynet").stdout)

    def serve(self, edge: str) -> None:
        host = self.lab.host(edge)
        host.run("systemctl stop web.service; systemctl reset-failed web.service")
        words = shlex.quote(json.dumps({"ports": [80, 443]}))
        host.check_output(
            f"systemd-run -q --collect --unit=web -p TasksMax=infinity -p LimitNOFILE=infinity python3 /root/peer.py web {words}"
        )
        listens(host.check_output, 80, 443)

    def asks(self, edge: str = "edge", **request: Any) -> dict[str, Any]:
        done = self.lab.host(edge).run(f"python3 -c {shlex.quote(ASK)} {shlex.quote(json.dumps(request))}")
        assert done.rc == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def crowds(self, host: str, to: str, count: int, port: int = 443, **more: Any) -> dict[str, Any]:
        """What became of so many connections at once."""
        result: dict[str, Any] = self.result(self.begin(host, "crowd", to=to, port=port, count=count, **more))
        return result

    def answered(self, host: str, to: str, port: int = 443, **more: Any) -> bool:
        return bool(self.crowds(host, to, 1, port, **more)["opened"])


@pytest.fixture(scope="module")
def limits(lab: Any) -> Iterator[Limits]:
    found = Limits(lab)
    changed(found.deploy(check=True))
    changed(found.deploy())
    assert set(changed(found.deploy()).values()) == {0}
    for edge in EDGES:
        found.serve(edge)
    yield found
    for edge in EDGES:
        lab.host(edge).run("systemctl stop web.service")


def stood(seen: dict[str, Any], count: int, limit: int) -> None:
    assert seen == {"opened": limit, "refused": count - limit, "silent": 0, "cut": 0}, seen


@pytest.mark.parametrize("edge", EDGES)
def test_it_is_there(limits: Limits, edge: str) -> None:
    host = limits.lab.host(edge)
    assert "ct count over 256" in limits.table(edge) and "ct count over 1024" in limits.table(edge)
    assert limits.status(edge)["processes"]["limits"]["problem"] == ""
    assert "at most 256 connections" in host.check_output("jellyfin-ports status")
    assert host.run("systemctl is-enabled nftables.service").stdout.strip() == "disabled"
    capabilities = host.check_output("grep CapEff /proc/$(systemctl show -P MainPID jellyfin-ports-limits)/status")
    assert int(capabilities.split()[1], 16) == 1 << 12  # CAP_NET_ADMIN
    assert host.check_output("stat -c %U /proc/$(systemctl show -P MainPID jellyfin-ports-limits)") != "root"


@pytest.mark.parametrize("edge", EDGES)
def test_one_address_takes_its_share_and_no_more(limits: Limits, edge: str) -> None:
    wan, lan = limits.address(edge, "wan"), limits.address(edge)
    host = limits.lab.host(edge)
    host.check_output("nft flush set inet jellynet over4; systemctl restart jellyfin-ports-limits")
    invocation = host.check_output("systemctl show -P InvocationID jellyfin-ports-limits")
    limits.serve(edge)  # and no connection of before
    watching = [
        limits.begin("outside", "hammer", to=wan, port=443, seconds=300, source=limits.other),
        limits.begin("client", "hammer", to=lan, port=443, seconds=300),
    ]
    crowds = [
        limits.begin(
            "outside",
            "crowd",
            to=wan,
            port=443,
            count=300,
            say=HELD_HEAD.encode().decode("unicode_escape"),
            source=limits.visitor,
        )
        for _ in range(3)
    ]
    seen = [limits.result(crowd) for crowd in crowds]
    for job in watching:
        done = limits.result(job)
        assert set(done["ended"]) == {"200"}, done
    assert sum(crowd["opened"] for crowd in seen) == LIMIT and sum(crowd["refused"] for crowd in seen) == 900 - LIMIT, (
        seen
    )
    assert not any(crowd["cut"] or crowd["silent"] for crowd in seen), seen
    told = until(lambda: limits.status(edge)["processes"]["limits"]["refused"], lambda found: limits.visitor in found)
    assert told[limits.visitor] > 0 and limits.other not in told
    lines = host.check_output(f"journalctl -o cat _SYSTEMD_INVOCATION_ID={invocation}").splitlines()
    said = [
        line for line in lines if line.startswith(f"{limits.visitor} has 256 connections, the limit for one address")
    ]
    assert len(said) == 1, lines


def test_the_lan_is_one_household(limits: Limits) -> None:
    stood(limits.crowds("client", limits.address("edge"), 1100), 1100, LAN_LIMIT)


def test_datagrams_are_counted_apart(limits: Limits) -> None:
    wan = limits.address("edge", "wan")
    seen = limits.peer("outside", "datagrams", to=wan, port=443, count=300)
    assert seen["answered"] == LIMIT and seen["refused"] > 0, seen
    assert limits.answered("outside", wan, port=80, source=limits.visitor)


def test_whoever_takes_it_away_gets_it_back_and_nothing_is_cut(limits: Limits) -> None:
    host, wan = limits.lab.host("edge"), limits.address("edge", "wan")
    stream = Stream(limits.outside, f"http://{wan}:443/long")
    for away in ("nft flush ruleset", "nft delete table inet jellynet", "nft flush chain inet jellynet arriving"):
        table = limits.table()
        assert "ct state new" in table
        host.check_output(away)
        assert until(limits.table, lambda now, table=table: now == table) == table, away
        stream.goes_on()
    stream.end()
    stood(limits.crowds("outside", wan, 300, port=80, source=limits.other), 300, LIMIT)
    assert limits.status()["processes"]["limits"]["restored"] >= 3


FIREWALLS = {
    "edge": ("ufw", "ufw allow 80,443/tcp; ufw allow 22/tcp; ufw --force enable", "ufw reload", "ufw --force disable"),
    "edge13": (
        "firewalld",
        "systemctl start firewalld; firewall-cmd -q --add-port=80/tcp --add-port=443/tcp --permanent; firewall-cmd -q --reload",
        "firewall-cmd -q --complete-reload",
        "systemctl stop firewalld",
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_beside_a_firewall(limits: Limits, edge: str) -> None:
    """Its rules come and go, and ours are looked at first: a reset, where it might drop."""
    package, on, again, off = FIREWALLS[edge]
    host, wan = limits.lab.host(edge), limits.address(edge, "wan")
    host.check_output(
        f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {package} > /dev/null 2>&1"
    )
    try:
        host.check_output(on)
        table = until(lambda: limits.table(edge), lambda text: "ct state new" in text)
        stood(limits.crowds("outside", wan, 300, port=80, source=limits.visitor), 300, LIMIT)
        host.check_output(again)
        assert until(lambda: limits.table(edge), lambda text: text == table) == table
        limits.serve(edge)
        assert limits.answered("outside", wan, port=80, source=limits.other)
        assert not limits.answered("outside", wan, port=8096, source=limits.other)
    finally:
        host.run(off)


def test_a_ban_ends_no_connection_and_outlives_a_flush(limits: Limits) -> None:
    host, wan = limits.lab.host("edge"), limits.address("edge", "wan")
    limits.serve("edge")
    stream = Stream(limits.outside, f"http://{wan}:80/long --interface {limits.other}")
    try:
        answer = limits.asks(ban=limits.other, seconds=3600, reason="50 different passwords\n\x1b[31m")
        assert answer["enforced"] and answer["address"] == limits.other
        assert not limits.answered("outside", wan, source=limits.other)
        assert limits.answered("client", limits.address("edge"))
        stream.goes_on()
        listed = host.check_output("jellyfin-ports bans")
        assert limits.other in listed and "50 different passwords\\n\\x1b[31m" in listed and "\x1b" not in listed
        host.check_output("nft flush ruleset")
        until(limits.table, lambda text: "ct state new" in text)
        assert not limits.answered("outside", wan, source=limits.other)
        host.check_output("systemctl restart jellyfin-ports-limits")
        assert not limits.answered("outside", wan, source=limits.other)
        stream.goes_on()
    finally:
        stream.end()
        assert host.run(f"jellyfin-ports unban {limits.other}").rc == 0
    assert limits.answered("outside", wan, source=limits.other)
    assert "Nobody is banned" in host.check_output("jellyfin-ports bans")
    assert host.run(f"jellyfin-ports unban {limits.other}").rc == 1 and host.run("jellyfin-ports unban x").rc == 2


def test_who_is_never_banned(limits: Limits) -> None:
    for address, why in ((limits.address("client"), "jellyfin_lan"), (limits.address("edge"), "jellyfin_lan"), ("127.0.0.1", "no address"),
                         (limits.address("edge", "wan"), "own")):  # fmt: skip
        assert why in limits.asks(ban=address, seconds=60)["refused"]
    stranger = limits.lab.host("edge").run("runuser -u nobody -- jellyfin-ports bans")
    assert stranger.rc == 1 and "only root may ask it" in stranger.stderr


def test_a_reboot_keeps_a_ban(limits: Limits) -> None:
    wan = limits.address("edge13", "wan")
    assert limits.asks("edge13", ban=limits.other, seconds=3600)["enforced"]
    subprocess.run(
        [str(Path(__file__).resolve().parents[1] / "lab" / "lab"), "reboot", limits.lab.name, "edge13"],
        check=True,
        capture_output=True,
    )
    until(lambda: limits.table("edge13"), lambda text: "ct state new" in text)
    limits.serve("edge13")
    # firewalld lets nobody in while it starts
    assert until(lambda: limits.answered("outside", wan, source=limits.visitor), bool)
    assert not limits.answered("outside", wan, source=limits.other)
    assert limits.lab.host("edge13").run(f"jellyfin-ports unban {limits.other}").rc == 0
    assert limits.answered("outside", wan, source=limits.other)


def test_a_published_port_of_a_container_counts(limits: Limits) -> None:
    """As an engine publishes one: the address is translated, and no process here has the port."""
    host, wan = limits.lab.host("edge13"), limits.address("edge13", "wan")
    changed(limits.deploy("edge13", jellyfin_http=False))
    words = shlex.quote(json.dumps({"ports": [8096]}))
    try:
        host.check_output(
            "ip netns add box; ip link add box0 type veth peer name eth0 netns box; ip address add 172.30.0.1/24 dev box0; ip link set box0 up;"
            " ip -n box address add 172.30.0.2/24 dev eth0; ip -n box link set eth0 up; ip -n box route add default via 172.30.0.1;"
            " sysctl -q net.ipv4.ip_forward=1; nft add table ip engine;"
            " nft add chain ip engine nat '{ type nat hook prerouting priority dstnat; }';"
            " nft add rule ip engine nat fib daddr type local tcp dport 8096 dnat to 172.30.0.2:8096;"
            " nft add chain ip engine filter '{ type filter hook forward priority filter; policy drop; }';"
            " nft add rule ip engine filter ct status dnat accept; nft add rule ip engine filter ct state established accept"
        )
        host.check_output(f"systemd-run -q --collect --unit=box ip netns exec box python3 /root/peer.py web {words}")
        until(lambda: limits.answered("outside", wan, port=8096, source=limits.visitor), bool)
        stood(limits.crowds("outside", wan, 300, port=8096, source=limits.other), 300, LIMIT)
        assert limits.answered("outside", wan, port=8096, source=limits.visitor)
        assert "containers" in limits.asks("edge13", ban="172.30.0.2", seconds=60)["refused"]
    finally:
        host.run("systemctl stop box; ip netns delete box; ip link delete box0; nft delete table ip engine")
        changed(limits.deploy("edge13"))


def test_other_limits_are_taken_by_a_reload_and_zero_is_none(limits: Limits) -> None:
    wan = limits.address("edge", "wan")
    limits.serve("edge")
    assert changed(limits.deploy("edge", jellyfin_limit_connections=20)) == {"edge": 1}
    stood(limits.crowds("outside", wan, 50, source=limits.visitor), 50, 20)
    assert changed(limits.deploy("edge", jellyfin_limit_connections=0)) == {"edge": 1}
    stood(limits.crowds("outside", wan, 300, source=limits.visitor), 300, 300)
    assert changed(limits.deploy("edge")) == {"edge": 1}


# The relay


ATTACK_SECONDS = 10


@pytest.fixture(scope="module")
def roomy_server(limits: Limits) -> None:
    """The double opens a film for each stream; a real server is allowed enough files."""
    media = limits.lab.host("media")
    put(media, "/run/systemd/system/jellyfin.service.d/files.conf", "[Service]\nLimitNOFILE=4096\n")
    media.check_output("systemctl daemon-reload; systemctl restart jellyfin.service")
    # What discovery says may be of before the restart: the relay answers for a while, and goes on to.
    ask = f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' http://{limits.address('edge')}:8096/health"
    since = time.monotonic()
    while time.monotonic() - since < 6:
        if limits.lab.host("client").run(ask).stdout != "200":
            since = time.monotonic()
        time.sleep(0.5)


def on_8096(limits: Limits, job: Any) -> None:
    """Another client of the LAN is answered as long as the job lasts."""
    watching = limits.begin("upstairs", "hammer", to=limits.address("edge", "vlan"), port=8096, seconds=300)
    try:
        job()
    finally:
        done = limits.result(watching)
    assert set(done["ended"]) == {"200"}, done
    print(f"slowest answer for the other client: {done['slowest']:.2f} s")


@pytest.mark.parametrize(
    ("count", "say"),
    [(4800, HELD_HEAD), (1350, FILM), (1600, "POST /Users/AuthenticateByName HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n\\r\\nx")],
    ids=["half-sent heads", "stalled readers", "slow bodies"],
)  # fmt: skip
def test_one_client_takes_8096_from_nobody(limits: Limits, roomy_server: None, count: int, say: str) -> None:
    """The table stands before the relay, whose own share is as large where it has files enough: all of that, and no more."""
    share = min(LAN_LIMIT, limits.status()["processes"]["relay"]["connection_limit"] // 2)

    def attack() -> None:
        words = say.encode().decode("unicode_escape")
        crowd = limits.begin("client", "crowd", to=limits.address("edge"), port=8096, count=count, say=words)
        time.sleep(ATTACK_SECONDS)
        mine = limits.status()["processes"]["relay"]["connections"]
        seen = limits.result(crowd)
        assert share - 50 < mine <= share + 1, (mine, seen)  # and the other client's
        assert seen["opened"] - seen["cut"] <= share and seen["silent"] == 0, seen

    on_8096(limits, attack)


def test_other_names_are_refused_on_8096(limits: Limits) -> None:
    client, edge = limits.lab.host("client"), limits.address("edge")
    for name, status in (("media.example.org", 200), (f"{edge}:8096", 200), ("jellyfin", 200), ("nas.fritz.box", 200), ("evil.example", 421),
                         ("media.example.org.evil.example", 421), ("evil.box", 421)):  # fmt: skip
        done = client.run(f"curl -s -m 5 -w '%{{http_code}}' -H 'Host: {name}' http://{edge}:8096/health")
        assert done.stdout.endswith(str(status)), (name, done.stdout)
        assert (f'jellyfin_lan_names: ["{name}"]' in done.stdout) == (status == 421)
    assert "evil.box" in limits.lab.host("edge").check_output("jellyfin-ports status")
    assert changed(limits.deploy("edge", jellyfin_lan_names=["nas.example.net", ".evil.example"])) == {"edge": 1}
    for name, status in (("nas.example.net", 200), ("x.evil.example", 200), ("evil.box", 421)):
        assert client.run(
            f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' -H 'Host: {name}' http://{edge}:8096/health"
        ).stdout == str(status), name
    assert changed(limits.deploy("edge", jellyfin_lan_names="any")) == {"edge": 1}
    assert (
        client.run(
            f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' -H 'Host: evil.box' http://{edge}:8096/health"
        ).stdout
        == "200"
    )
    assert changed(limits.deploy("edge")) == {"edge": 1}


def test_the_table_of_requests_holds_on_8096(limits: Limits) -> None:
    client, edge = limits.lab.host("client"), limits.address("edge")
    for target, method, status in (("/health", "GET", 200), ("/a/../health", "GET", 400), ("/x%2f..%2fhealth", "GET", 400), ("/%c0%ae", "GET", 400),
                                   ("/health", "TRACE", 405), ("/health?a=b%5c", "GET", 200)):  # fmt: skip
        done = client.run(
            f"curl -s -m 5 --path-as-is -X {method} -o /dev/null -w '%{{http_code}}' http://{edge}:8096{target}"
        )
        assert done.stdout == str(status), (target, method, done.stdout)


def test_teardown_takes_the_table_away(limits: Limits) -> None:
    tasks = [{"ansible.builtin.include_role": {"name": "jellynet.jellyfin.port_binding", "tasks_from": "teardown"}}]
    changed(limits.play({"hosts": "edge", "gather_facts": False, "tasks": tasks}))
    host = limits.lab.host("edge")
    assert host.run("nft list table inet jellynet").rc != 0
    assert host.run("ls -d /var/lib/*/jellyfin-ports* /var/lib/jellyfin-ports*").stdout.strip() == ""
