"""The role port_binding and its service on real hosts (Debian 12 and 13), with real packets and real clients.

tests/lab/lab up tests/lab/topologies/ports.toml --name NAME; pytest tests/integration/test_port_binding.py --lab NAME
FLOOD_SECONDS says for how long the edge is flooded (default 10; the full measure is 60).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host
from waiting import listens, until

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("ports_peer.py")
EDGES = ("edge", "edge13")
ROLE = "jellynet.jellyfin.port_binding"
DISCOVER = """
from jellyfin_apiclient_python import JellyfinClient
import json
c = JellyfinClient(); c.config.app("probe", "0", "host", "id"); c.config.data["auth.ssl"] = False
found = c.auth._server_discovery(); state = c.auth.connect(discover=True)
print(json.dumps({"found": found, "state": str(state["State"]), "address": state["Servers"][0]["address"]}))
"""
FAKE_JELLYFIN = """[Unit]
Description=Something that takes Jellyfin's ports
[Service]
ExecStart=/usr/bin/python3 -c 'import socket,time; t=socket.create_server(("0.0.0.0",8096)); u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); \
u.bind(("0.0.0.0",7359)); time.sleep(10000)'
Restart=on-failure
RestartSec=0.2
"""


def put(host: Host, path: str, text: bytes | str) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    done = host.run(
        f"mkdir -p {shlex.quote(str(Path(path).parent))} && echo {base64.b64encode(raw).decode()} | base64 -d > {path}"
    )
    assert done.rc == 0, done.stderr


class Ports:
    """The lab from this test's point of view."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        for name in ("client", "upstairs", "outside", *EDGES):
            put(lab.host(name), "/root/peer.py", PEER.read_bytes())

    def peer(self, host: str, what: str, **arguments: Any) -> Any:
        done = self.lab.host(host).run(f"python3 /root/peer.py {what} {shlex.quote(json.dumps(arguments))}")
        assert done.rc == 0, done.stderr
        return json.loads(done.stdout)

    def begin(self, host: str, what: str, **arguments: Any) -> subprocess.Popen[bytes]:
        """The same, while something else goes on: it has begun when this returns."""
        command = ["podman", "exec", "--interactive", f"{self.lab.name}-{host}"]
        command += ["python3", "/root/peer.py", what, json.dumps(arguments)]
        job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert job.stdout and job.stdout.readline() == b"ready\n"
        return job

    @staticmethod
    def result(job: subprocess.Popen[bytes], seconds: float = 300) -> Any:
        """What it says in the end; those that go on until they are told to end are told."""
        return json.loads(job.communicate(timeout=seconds)[0])

    def answers(self, host: str, address: str) -> list[Any]:
        """The answers of this address to a host's broadcast, asked again until there is one."""

        def ask() -> list[Any]:
            asked = {"question": "python", "to": "255.255.255.255", "seconds": 3, "awaited": address}
            return of(self.peer(host, "ask", **asked), address)

        return until(ask, bool)

    def finds(self, host: str, address: str, target: str, wait: int = 1) -> list[Any]:
        """The answers of this address to a host's search, searched again until there is one."""

        def search() -> list[Any]:
            return of(self.peer(host, "search", target=target, wait=wait, listen=wait + 2), address)

        return until(search, bool)

    def deploy(
        self, hosts: str = "jellyfin_edge", check: bool = False, **values: Any
    ) -> subprocess.CompletedProcess[str]:
        return self.play({"hosts": hosts, "gather_facts": False, "roles": [ROLE]}, check, **values)

    def play(self, play_: dict[str, Any], check: bool = False, **values: Any) -> subprocess.CompletedProcess[str]:
        play = Path(f"/tmp/jellynet-ports-{os.getpid()}.yml")
        play.write_text(json.dumps([play_]))
        environment = os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "ANSIBLE_NOCOLOR": "1",
                                    "ANSIBLE_INJECT_FACT_VARS": "false"}  # fmt: skip
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.lab.inventory), str(play)]
        argv += ["-e", json.dumps(values), *(["--check", "--diff"] if check else [])]
        try:
            return subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=ROOT)
        finally:
            play.unlink()

    def status(self, edge: str = "edge") -> dict[str, Any]:
        return json.loads(self.lab.host(edge).run("jellyfin-ports status --json").stdout)  # type: ignore[no-any-return]

    def address(self, host: str, network: str = "lan") -> str:
        return str(self.lab.address(host, network))


def changed(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stdout[-4000:]
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", done.stdout, re.M)}


@pytest.fixture(scope="module")
def ports(lab: Any) -> Iterator[Ports]:
    ports = Ports(lab)
    changed(ports.deploy(check=True))  # on bare hosts too
    changed(ports.deploy())
    again = ports.deploy()
    assert set(changed(again).values()) == {0}, again.stdout[-4000:]
    for name in EDGES:
        assert ports.answers("client", ports.address(name))
        assert ports.finds("client", ports.address(name), "upnp:rootdevice")
    return ports


def fields(message: str) -> dict[str, str]:
    return {
        n.strip().upper(): v.strip() for n, _, v in (line.partition(":") for line in message.split("\r\n")[1:]) if n
    }


def of(found: list[Any], address: str) -> list[Any]:
    return [item for item in found if item[1][0] == address]


class Stream:
    """A slow download that goes on by itself on a client; it has begun when this is made."""

    def __init__(self, host: Host, url: str) -> None:
        self.host = host
        host.check_output("rm -f /tmp/stream")
        host.check_output(f"systemd-run -q --collect --unit=stream curl -fsk --limit-rate 2M -o /tmp/stream {url}")
        self.goes_on()

    def size(self) -> int:
        return int(self.host.run("stat -c %s /tmp/stream").stdout or 0)

    def goes_on(self) -> None:
        """The same transfer brings more than any buffer on the way may have held."""
        wanted = self.size() + 8_000_000
        assert until(self.size, lambda size: size >= wanted) >= wanted
        assert self.host.run("systemctl is-active stream").stdout.strip() == "active"

    def end(self) -> None:
        self.host.run("systemctl stop stream; rm -f /tmp/stream")


# As deployed


@pytest.mark.parametrize("name", EDGES)
def test_both_processes_run_the_generation_in_force(ports: Ports, name: str) -> None:
    host = ports.lab.host(name)
    generation = host.run("readlink /etc/jellynet/jellyfin-ports/current").stdout.strip()
    assert host.run("jellyfin-ports status --generation").stdout.strip() == Path(generation).name
    report = ports.status(name)
    assert {row["listener"]: row["state"] for row in report["ports"]} == {
        "http": "ours", "https": "off", "description": "off", "client_discovery": "ours", "ssdp": "ours", "hdhomerun": "off",
        "guard": "ours",
    }  # fmt: skip
    assert host.run("jellyfin-ports status").rc == 0 and host.run("jellyfin-ports check").rc == 0


@pytest.mark.parametrize("name", EDGES)
def test_the_sandbox_is_tight(ports: Ports, name: str) -> None:
    for unit in ("relay", "discovery"):
        words = ports.lab.host(name).run(f"systemd-analyze security --no-pager jellyfin-ports-{unit}.service").stdout
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", words)
        assert exposure and float(exposure[1]) <= 1.5, words[-300:]
        user = (
            ports.lab.host(name)
            .run(f"ps -o user= -p $(systemctl show -P MainPID jellyfin-ports-{unit}.service)")
            .stdout
        )
        assert user.strip() not in ("", "root")


@pytest.mark.parametrize("name", EDGES)
def test_start_and_memory(ports: Ports, name: str) -> None:
    """From the start of the process to READY=1, by the unit's own time stamps."""
    host = ports.lab.host(name)
    for unit in ("relay", "discovery"):
        host.run(f"systemctl restart jellyfin-ports-{unit}")
        shown = dict(
            line.split("=", 1)
            for line in host.run(
                f"systemctl show jellyfin-ports-{unit} -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic -p MainPID"
            ).stdout.split()
        )
        seconds = (int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["ExecMainStartTimestampMonotonic"])) / 1e6
        memory = int(host.run(f"awk '/VmRSS/ {{print $2}}' /proc/{shown['MainPID']}/status").stdout) / 1024
        print(f"{name} {unit}: ready after {seconds:.2f} s, {memory:.0f} MB")
        assert memory < 40


def test_a_client_discovers_by_broadcast_and_connects(ports: Ports) -> None:
    """The public client library, on each subnet: the address on its own link."""
    for host, own in (
        ("client", {ports.address(e) for e in EDGES} | {ports.address("media")}),
        ("upstairs", {ports.address("edge", "vlan")}),
    ):
        put(ports.lab.host(host), "/root/discover.py", DISCOVER)
        # The library listens for one second.
        run = ports.lab.host(host).run
        done = until(
            lambda run=run: run("/opt/clients/bin/python /root/discover.py"),  # type: ignore[misc]
            lambda done: done.rc == 0 and bool(json.loads(done.stdout.splitlines()[-1])["found"]),
        )
        assert done.rc == 0, done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        assert seen["state"] == "CONNECTION_STATE.ServerSignIn" and len(seen["found"]) == 1
        assert seen["address"] in {f"http://{address}:8096" for address in own}
        assert seen["found"][0]["EndpointAddress"] is None


@pytest.mark.parametrize(
    ("question", "port", "answered"),
    [
        ("python", 0, True),
        ("roku", 0, True),
        ("newline", 0, True),
        ("python", 7359, True),
        ("spaced", 0, False),
        ("emby", 0, False),
    ],
)
def test_what_clients_send(ports: Ports, question: str, port: int, answered: bool) -> None:
    found = of(
        ports.peer(
            "upstairs", "ask", question=question, to="255.255.255.255", seconds=3 if answered else 0.6, port=port
        ),
        ports.address("edge", "vlan"),
    )
    assert len(found) == answered
    if answered:
        body, peer, _seconds = found[0]
        assert peer[1] == 7359 and len(body) <= 1024
        expected = f'{{"Address":"http://{ports.address("edge", "vlan")}:8096","Id":"'
        assert body.startswith(expected) and body.endswith(',"Name":"media","EndpointAddress":null}')


def test_nobody_outside_hears_anything(ports: Ports) -> None:
    wan = ports.address("edge", "wan")
    assert ports.peer("outside", "ask", question="roku", to=wan, seconds=1) == []
    assert ports.peer("outside", "ask", question="roku", to="255.255.255.255", seconds=1) == []
    assert ports.peer("outside", "search", target="ssdp:all", wait=1) == []
    assert ports.peer("outside", "search", target="ssdp:all", wait=0, to=wan, listen=1) == []
    done = ports.lab.host("outside").run(f"curl -s -m 4 http://{wan}:8096/health")
    assert done.rc != 0 and done.stdout == ""

    # A LAN source that comes in from the Internet is forged.
    def counters() -> dict[str, int]:
        return ports.status()["processes"]["discovery"]["client_discovery"]["counters"]  # type: ignore[no-any-return]

    before = counters()
    ports.peer("outside", "ask", question="roku", to=wan, seconds=0.5, source=ports.address("client"))
    names = "net.ipv4.conf.all.rp_filter net.ipv4.conf.eth3.rp_filter"
    if max(ports.lab.host("edge").check_output(f"sysctl -n {names}").split()) != "1":  # else the kernel drops it
        forged = before.get("wrong_interface", 0)
        assert until(counters, lambda now: now.get("wrong_interface", 0) > forged).get("wrong_interface", 0) > forged
    assert counters()["answered"] == before["answered"]


def test_the_relay_says_who_the_client_is(ports: Ports) -> None:
    edge = ports.address("edge")
    for forged in ("6.6.6.6", "127.0.0.1, 6.6.6.6"):
        headers = f"-H 'X-Forwarded-For: {forged}' -H 'X-Real-IP: 6.6.6.6' -H 'Forwarded: for=6.6.6.6'"
        done = ports.lab.host("client").run(f"curl -s -m 5 {headers} http://{edge}:8096/double/echo")
        assert ports.address("client") in done.stdout and "6.6.6.6" not in done.stdout, done.stdout


def test_a_restart_refuses_no_connection(ports: Ports) -> None:
    job = ports.begin("client", "hammer", to=ports.address("edge"), port=8096, seconds=300)
    for _ in range(4):
        time.sleep(1.5)
        assert ports.lab.host("edge").run("systemctl restart jellyfin-ports-relay.service").rc == 0
    done = ports.result(job)
    assert set(done["ended"]) == {"200"} and done["ended"]["200"] > 50, done


def test_a_reload_takes_a_new_configuration_and_cuts_no_stream(ports: Ports) -> None:
    edge = ports.address("edge")
    stream = Stream(ports.lab.host("client"), f"http://{edge}:8096/Videos/1/stream.mkv")
    pid = ports.lab.host("edge").run("systemctl show -P MainPID jellyfin-ports-relay").stdout
    done = ports.deploy("edge", jellyfin_published=[{"for": "all", "url": "https://media.example.org"}])
    assert changed(done) == {"edge": 1}
    assert ports.lab.host("edge").run("systemctl show -P MainPID jellyfin-ports-relay").stdout == pid
    found = ports.answers("client", edge)
    assert json.loads(found[0][0])["Address"] == "https://media.example.org"
    stream.goes_on()
    stream.end()
    assert changed(ports.deploy("edge")) == {"edge": 1}


def test_a_bad_value_is_refused_before_anything_changes(ports: Ports) -> None:
    before = ports.lab.host("edge").run("jellyfin-ports status --generation").stdout
    done = ports.deploy("edge", jellyfin_published=[{"for": "all", "url": "media.example.org"}])
    assert done.returncode != 0 and "is no full URL" in done.stdout and "published" in done.stdout
    assert ports.lab.host("edge").run("jellyfin-ports status --generation").stdout == before


def test_a_server_that_is_down_is_not_announced_and_is_back_within_five_seconds(ports: Ports) -> None:
    media, vlan = ports.lab.host("media"), ports.address("edge", "vlan")
    assert ports.answers("upstairs", vlan)
    media.run("systemctl stop jellyfin.service")

    def ready() -> bool:
        return any(server["ready"] for server in ports.status()["processes"]["discovery"]["upstreams"])

    assert not until(ready, lambda still: not still)
    assert of(ports.peer("upstairs", "ask", question="python", to="255.255.255.255", seconds=0.4), vlan) == []
    done = ports.lab.host("client").run(f"curl -s -m 5 -D - http://{ports.address('edge')}:8096/web/")
    assert (
        "503" in done.stdout.splitlines()[0] and "Retry-After: 5" in done.stdout and "cannot be reached" in done.stdout
    )
    health = f"http://{ports.address('media')}:8096/health"
    job = ports.begin("client", "back", health=health, source=ports.address("edge"), seconds=60)
    media.run("systemctl start jellyfin.service")
    seconds = ports.result(job)
    assert isinstance(seconds, float) and seconds < 5, seconds
    print(f"announced again after {seconds:.1f} s")
    assert ports.answers("upstairs", vlan)


# SSDP


def test_searches_are_answered_to_the_letter(ports: Ports) -> None:
    edge = ports.address("edge", "vlan")
    found = ports.finds("upstairs", edge, "ssdp:all", wait=2)
    assert {fields(item[0])["ST"].partition(":")[0] for item in found} == {"upnp", "uuid", "urn"} and len(found) == 3
    for item in found:
        seen = fields(item[0])
        assert item[0].startswith("HTTP/1.1 200 OK\r\n") and item[1][1] == 1900
        assert seen["CACHE-CONTROL"] == "max-age=1800" and int(seen["BOOTID.UPNP.ORG"]) > 0
        assert f"http://{edge}:8096/" in seen["LOCATION"]
    own = fields(found[0][0])["USN"].split("::")[0]
    for target in ("upnp:rootdevice", own, "urn:schemas-upnp-org:device:Basic:1"):
        one = ports.finds("upstairs", edge, target)
        assert [fields(item[0])["ST"] for item in one] == [target]
    assert of(ports.peer("upstairs", "search", target="urn:schemas-upnp-org:device:MediaServer:1", wait=1), edge) == []
    assert of(ports.peer("upstairs", "search", target="upnp:rootdevice", wait=0, listen=1), edge) == []  # no MX
    direct = ports.peer("upstairs", "search", target="upnp:rootdevice", wait=0, to=edge, listen=3)
    assert len(direct) == 1 and direct[0][2] < 1


def test_the_description_opens_jellyfin(ports: Ports) -> None:
    edge = ports.address("edge", "vlan")
    found = ports.finds("upstairs", edge, "upnp:rootdevice")
    body = ports.lab.host("upstairs").run(f"curl -s -m 5 {fields(found[0][0])['LOCATION']}").stdout
    assert "<manufacturer>Jellyfin</manufacturer>" in body and "<friendlyName>media</friendlyName>" in body
    assert f"<presentationURL>http://{edge}:8096/</presentationURL>" in body
    icon = re.search(r"<url>(.*?)</url>", body)
    assert (
        icon
        and "image/png"
        in ports.lab.host("upstairs").run(f"curl -s -m 5 -D - -o /dev/null http://{edge}:8096{icon[1]}").stdout
    )


def test_a_dlna_server_is_found_and_read_through_the_relay(ports: Ports) -> None:
    """As a television does: search, read the description where LOCATION says, follow the links in it."""
    edge, media, television = ports.address("edge", "vlan"), ports.lab.host("media"), ports.lab.host("upstairs")
    target = "urn:schemas-upnp-org:device:MediaServer:1"

    def found() -> list[Any]:
        return of(ports.peer("upstairs", "search", target=target, wait=1), edge)

    assert found() == []
    media.run("touch /var/lib/jellyfin/double/dlna")
    try:
        answers = until(found, bool)
        assert answers, ports.status()["processes"]["discovery"]["ssdp"]
        seen = fields(answers[0][0])
        device = seen["USN"].split("::")[0]
        assert seen["ST"] == target and seen["LOCATION"] == f"http://{edge}:8096/dlna/{device[5:]}/description.xml"
        body = television.run(f"curl -s -m 5 {seen['LOCATION']}").stdout
        assert f"<UDN>{device}</UDN>" in body and f"<deviceType>{target}</deviceType>" in body
        links = re.findall(r"<(?:SCPDURL|controlURL|url)>(.*?)<", body)
        assert len(links) == 5 and all(link.startswith(f"http://{edge}:8096/dlna/") for link in links), links
        assert television.run(f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' {links[0]}").stdout == "200"
        # Nobody else reaches it: neither by its own address nor over the Internet.
        assert ports.lab.host("upstairs").run(f"curl -s -m 2 http://{ports.address('media')}:8096/").rc != 0
    finally:
        media.run("rm -f /var/lib/jellyfin/double/dlna")
    ports.lab.host("edge").run("systemctl restart jellyfin-ports-discovery.service")
    assert ports.finds("upstairs", edge, "upnp:rootdevice")
    assert found() == []


def test_1900_is_shared_with_another_daemon(ports: Ports) -> None:
    edge, client = ports.address("edge"), ports.address("client")
    other = ports.begin("edge", "share", seconds=120, source=client)
    assert (
        ports.lab.host("edge").run("systemctl restart jellyfin-ports-ssdp.socket jellyfin-ports-discovery.service").rc
        == 0
    )
    found = ports.finds("client", edge, "upnp:rootdevice", wait=2)
    assert len(found) == 1 and client in ports.result(other)


def test_hello_and_goodbye(ports: Ports) -> None:
    edge = ports.address("edge", "vlan")
    wanted = {"ssdp:byebye": 3, "ssdp:alive": 6}

    def rounds() -> int:
        return int(ports.status()["processes"]["discovery"]["ssdp"]["counters"].get("alive_rounds", 0))

    assert until(rounds, lambda n: n >= 2) >= 2  # those of the start before are over
    job = ports.begin("upstairs", "notifications", seconds=60, source=edge, wanted=wanted)
    ports.lab.host("edge").run("systemctl restart jellyfin-ports-discovery.service")
    kinds = [fields(item[0])["NTS"] for item in of(ports.result(job), edge)]
    assert kinds.count("ssdp:byebye") >= 3 and kinds.count("ssdp:alive") >= 6  # each advertisement, alive twice
    assert kinds.index("ssdp:byebye") < kinds.index("ssdp:alive")


def test_a_new_address_is_announced(ports: Ports) -> None:
    host, prefix = ports.lab.host("edge"), ports.address("edge", "vlan").rsplit(".", 1)[0]
    before = ports.status()["processes"]["discovery"]["ssdp"]["boot_id"]
    old, new = ports.address("edge", "vlan"), f"{prefix}.222"
    job = ports.begin("upstairs", "notifications", seconds=60, wanted={f"http://{new}:8096/": 1})
    host.run(f"ip addr add {new}/24 dev eth2 && ip addr del {old}/24 dev eth2; ip addr add {new}/24 dev eth2 || true")
    try:
        heard = ports.result(job)
        assert any(f"http://{new}:8096/" in fields(item[0]).get("LOCATION", "") for item in heard)
        found = ports.answers("upstairs", new)
        assert json.loads(found[0][0])["Address"] == f"http://{new}:8096"
    finally:
        host.run(f"ip addr add {old}/24 dev eth2; ip addr del {new}/24 dev eth2; ip addr add {old}/24 dev eth2 || true")
    assert ports.answers("upstairs", old)
    boot = ports.status()["processes"]["discovery"]["ssdp"]["boot_id"]
    assert boot > before


# HDHomeRun


def test_tuners_are_found_and_asked_for_a_server_elsewhere(ports: Ports) -> None:
    """The server sits in the other VLAN and looks with Silicondust's own program; the tuner stands in the LAN."""
    server, client = ports.address("upstairs", "vlan"), ports.address("client")
    values = {"jellyfin_hdhomerun": True, "port_binding_hdhomerun_relay_for": [server]}
    assert changed(ports.deploy("edge", **values)) == {"edge": 1}
    job = ports.begin("client", "tuner", device="1234ABCD", seconds=300)
    ports.lab.host("edge").run("systemctl restart jellyfin-ports-discovery.service")
    report = until(
        lambda: ports.status()["processes"]["discovery"].get("hdhomerun") or {}, lambda now: bool(now.get("found"))
    )
    assert [(t["id"], t["address"], t["tuners"]) for t in report["found"]] == [("1234ABCD", client, 2)]
    assert report["port"] not in (0, 65001)
    ask = "hdhomerun_config discover"
    found = until(lambda: ports.lab.host("upstairs").run(ask).stdout, lambda said: "found at" in said)
    assert f"1234ABCD found at {client}" in found, found
    discover = until(lambda: ports.lab.host("edge").run("jellyfin-ports discover").stdout, lambda said: client in said)
    assert f"jellyfin_hdhomerun_tuners: [{client}]" in discover
    asked = ports.result(job)
    assert {peer[0] for peer in asked} == {ports.address("edge")}
    # Exactly the configured server is served.
    assert changed(ports.deploy("edge", **{**values, "port_binding_hdhomerun_relay_for": ["192.0.2.1"]})) == {"edge": 1}
    job = ports.begin("client", "tuner", device="1234ABCD", seconds=300)
    assert "found at" not in ports.lab.host("upstairs").run(ask).stdout
    assert ports.status()["processes"]["discovery"]["hdhomerun"]["counters"].get("not_a_server")
    ports.result(job)
    assert changed(ports.deploy("edge")) == {"edge": 1}
    assert ports.lab.host("edge").run("systemctl is-active jellyfin-ports-hdhomerun.socket").stdout.strip() != "active"


def test_a_firewall_lets_in_what_tuners_and_servers_send_and_no_more(ports: Ports) -> None:
    server, client, edge = ports.address("upstairs", "vlan"), ports.address("client"), ports.lab.host("edge")
    firewall = "jellynet.jellyfin.firewall"
    values = {
        "jellyfin_hdhomerun": True, "jellyfin_hdhomerun_tuners": [client], "port_binding_hdhomerun_relay_for": [server],
        "jellyfin_firewall": "ufw", "firewall_enable": True,
    }  # fmt: skip

    def run(role: str, **changes: Any) -> None:
        changed(ports.play({"hosts": "edge", "gather_facts": False, "roles": [role]}, **{**values, **changes}))

    def finds() -> bool:
        job = ports.begin("client", "tuner", device="1234ABCD", seconds=300)
        said = ports.lab.host("upstairs").run("hdhomerun_config discover").stdout
        ports.result(job)
        return f"1234ABCD found at {client}" in said

    try:
        run(ROLE, jellyfin_hdhomerun_tuners=[])  # asks by broadcast alone, whose answers no firewall knows by itself
        run(firewall)
        assert until(finds, bool), edge.check_output("ufw status")
        # Neither the question of another server nor the answer of another tuner comes in.
        run(firewall, port_binding_hdhomerun_relay_for=["192.0.2.1"])
        assert not finds()
        run(firewall, jellyfin_hdhomerun_tuners=["192.0.2.1"])
        assert not finds()
    finally:
        teardown = {"ansible.builtin.include_role": {"name": "jellynet.jellyfin.firewall", "tasks_from": "teardown"}}
        done = ports.play({"hosts": "edge", "gather_facts": False, "tasks": [teardown]})
        again = ports.deploy("edge")
    assert changed(done) and changed(again) == {"edge": 1}
    assert "inactive" in edge.check_output("ufw status")


# HTTPS


def test_https_from_the_door_and_its_exchange(ports: Ports) -> None:
    edge, host, client = ports.address("edge"), ports.lab.host("edge"), ports.lab.host("client")
    door = "/etc/jellynet/certificates/media.example.org/ecdsa"

    def certificate(name: str) -> None:
        make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN={name} -addext subjectAltName=DNS:media.example.org"
        script = (
            f"groupadd -rf jellynet-tls; mkdir -p {door}; {make} -keyout {door}/privkey.pem -out {door}/fullchain.pem; "
        )
        assert host.run(f"{script} chgrp -R jellynet-tls {door}; chmod 0640 {door}/*.pem").rc == 0

    certificate("first")
    values = {"jellyfin_https": True}
    assert changed(ports.deploy("edge", **values)) == {"edge": 1}
    assert set(changed(ports.deploy("edge", **values)).values()) == {0}
    ask = f"curl -sk -m 5 --resolve media.example.org:8920:{edge} https://media.example.org:8920"
    echo = client.run(f"{ask}/double/echo")
    assert "https" in echo.stdout and ports.address("client") in echo.stdout
    shown = f"openssl s_client -connect {edge}:8920 -servername media.example.org </dev/null 2>/dev/null"
    assert "first" in client.run(f"{shown} | openssl x509 -noout -subject").stdout
    tls = f"openssl s_client -connect {edge}:8920"
    assert client.run(f"{tls} -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256 </dev/null").rc == 0
    # What the client could do, and the guideline does not.
    old = ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "-groups P-521")
    for words in (*old, *(f"-tls1_2 -cipher ECDHE-ECDSA-AES{suite}" for suite in ("256-SHA384", "128-SHA256"))):
        assert client.run(f"{tls} {words} </dev/null").rc != 0, words
    stream = Stream(client, f"https://{edge}:8920/Videos/1/stream.mkv")
    certificate("second")
    assert host.run("systemctl reload jellyfin-ports-relay.service").rc == 0
    assert "second" in client.run(f"{shown} | openssl x509 -noout -subject").stdout
    stream.goes_on()
    stream.end()
    reader = json.loads(host.run("cat /etc/jellynet/certificates/readers.d/jellyfin-ports.json").stdout)
    assert reader == {"unit": "jellyfin-ports-relay.service", "how": "reload"}
    assert changed(ports.deploy("edge")) == {"edge": 1}
    assert client.run(f"curl -sk -m 3 https://{edge}:8920/").rc == 7


# Others on the host


def test_a_port_held_by_another_is_reported_by_its_name(ports: Ports) -> None:
    host = ports.lab.host("edge")
    put(
        host,
        "/usr/local/bin/squatter",
        b'#!/bin/sh\nexec -a squatter python3 /root/peer.py hold \'{"kind": "tcp", "port": 8920, "seconds": 60}\'\n',
    )
    host.run(
        'systemd-run --unit=squatter bash -c "python3 /root/peer.py hold \'{\\"kind\\": \\"tcp\\", \\"port\\": 8097, \\"seconds\\": 600}\'"'
    )
    listens(host.check_output, 8097)
    done = ports.deploy("edge", jellyfin_http_port=8097)
    assert done.returncode != 0 and "8097/tcp is held by python3" in done.stdout and "squatter.service" in done.stdout
    assert "Traceback" not in done.stdout
    config = host.run(
        "sed 's/8096/8097/' /etc/jellyfin-ports/config.json > /tmp/c.json; jellyfin-ports check --config /tmp/c.json"
    )
    assert (
        config.rc == 3
        and "8097/tcp (listener http) is held by python3" in config.stderr
        and "squatter.service" in config.stderr
    )
    host.run("systemctl stop squatter.service")


@pytest.mark.parametrize("unit", ["jellyfin.service", "container-jellyfin.service"])
def test_a_jellyfin_that_comes_later_gets_its_ports(ports: Ports, unit: str) -> None:
    host, vlan = ports.lab.host("edge"), ports.address("edge", "vlan")
    put(host, f"/etc/systemd/system/{unit}", FAKE_JELLYFIN)
    host.run(f"systemctl daemon-reload; systemctl start {unit}")
    try:
        holders = until(
            lambda: host.run("ss -Hlnp '( sport = :8096 or sport = :7359 )'").stdout,
            lambda said: said.count("python3") == 2 and "jellyfin-ports" not in said,
        )
        assert holders.count("python3") == 2 and "jellyfin-ports" not in holders, holders
        # What it does not take goes on.
        found = ports.finds("upstairs", vlan, "ssdp:all", wait=2)
        assert found and host.run(f"systemctl is-active {unit}").stdout.strip() == "active"

        def discovery() -> dict[str, Any]:
            return next(row for row in ports.status()["ports"] if row["listener"] == "client_discovery")

        row = until(discovery, lambda row: bool(row["held_by"]))
        assert row["state"] != "ours" and any("python3" in holder for holder in row["held_by"])
    finally:
        host.run(f"systemctl stop {unit}; rm /etc/systemd/system/{unit}; systemctl daemon-reload")
    # Once it is gone, the next run takes the ports up again.
    assert changed(ports.deploy("edge")) == {"edge": 1}
    assert ports.lab.host("edge").run("jellyfin-ports status").rc == 0


def test_only_services_are_given_way_to(ports: Ports) -> None:
    done = ports.deploy("edge", port_binding_yield_to=["jellyfin", "container-jellyfin.service"])
    assert done.returncode != 0 and "port_binding_yield_to: jellyfin is no unit" in " ".join(done.stdout.split())


# Under fire


@pytest.fixture
def real_time(ports: Ports) -> Iterator[None]:
    """The unit's LimitRTPRIO= is for systemd to raise; the lab's has no right to, but it may give the priority itself."""
    host = ports.lab.host("edge")
    folder = "/run/systemd/system/jellyfin-ports-discovery.service.d"
    put(host, f"{folder}/lab.conf", "[Service]\nCPUSchedulingPolicy=rr\nCPUSchedulingPriority=1\n")
    again = "systemctl daemon-reload; systemctl restart jellyfin-ports-discovery.service"
    assert host.run(again).rc == 0
    yield
    assert host.run(f"rm -r {folder}; {again}").rc == 0


def test_discovery_answers_at_its_priority_while_the_relay_is_busy(ports: Ports, real_time: None) -> None:
    """How soon is for tests/bench/relay.py to say."""
    host = ports.lab.host("edge")
    assert host.check_output("systemctl show -P LimitRTPRIO jellyfin-ports-discovery") == "1"
    pid = host.check_output("systemctl show -P MainPID jellyfin-ports-discovery")
    assert ports.answers("upstairs", ports.address("edge", "vlan"))
    job = ports.begin("client", "busy", to=ports.address("edge"), port=8096, seconds=300)
    seen = ports.peer("upstairs", "patient", to=ports.address("edge", "vlan"), rounds=100, pause=0.1, seconds=3)
    policy = host.check_output(f"chrt -p {pid}")
    assert ports.status()["processes"]["discovery"]["urgent"] and "SCHED_RR" in policy, policy
    passed = ports.result(job)
    assert seen["answered"] == 100 and passed["bytes"] > 1_000_000


def test_a_flood_from_outside_stops_nobody_inside(ports: Ports) -> None:
    seconds = float(os.environ.get("FLOOD_SECONDS", "10"))
    job = ports.begin("outside", "flood", to=ports.address("edge", "wan"), seconds=seconds)
    engaged = until(
        lambda: ports.status()["processes"]["discovery"]["client_discovery"], lambda now: now["flood_filter"], seconds
    )
    assert engaged["flood_filter"], engaged
    rounds = int((seconds - 4) / 0.2)
    seen = ports.peer("upstairs", "patient", to=ports.address("edge", "vlan"), rounds=rounds, pause=0.15, seconds=3)
    flood = ports.result(job, seconds + 60)
    print(
        f"flood: {flood}, the LAN's client: {seen['answered']} of {seen['asked']} answered, filter {engaged['flood_filter']}"
    )
    assert flood["heard"] == 0 and flood["sent"] > 10_000
    assert seen["answered"] >= 0.95 * seen["asked"]
    report = until(
        lambda: ports.status()["processes"]["discovery"]["client_discovery"], lambda now: now["flood_filter"] is False
    )
    assert report["flood_filter"] is False  # it lets go again
    assert ports.lab.host("edge").run("systemctl show -P NRestarts jellyfin-ports-discovery").stdout.strip() == "0"


# The end


def test_teardown_takes_everything_away(ports: Ports) -> None:
    play = Path(f"/tmp/jellynet-ports-down-{os.getpid()}.yml")
    play.write_text(
        "[{hosts: edge13, gather_facts: false, tasks: [{ansible.builtin.include_role: {name: jellynet.jellyfin.port_binding, tasks_from: teardown}}]}]"
    )
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(ports.lab.inventory), str(play)]
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
    }
    for expected in (2, 0):  # the service, and what it kept
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert changed(done) == {"edge13": expected}
    play.unlink()
    host = ports.lab.host("edge13")
    left = host.run(
        "ls -d /etc/jellynet/jellyfin-ports /etc/jellyfin-ports /usr/local/bin/jellyfin-ports /etc/systemd/system/jellyfin*"
        " /var/*/jellyfin-ports* /var/*/private/jellyfin-ports* 2>/dev/null;"
        " systemctl list-units --all --no-legend 'jellyfin-ports*'"
    )
    assert left.stdout.strip() == ""
    assert host.run("ss -Hln '( sport = :8096 or sport = :7359 or sport = :1900 )'").stdout.strip() == ""
