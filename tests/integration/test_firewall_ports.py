"""The module on a real firewalld (Debian 12) and a real ufw (Debian 13), with real packets.

tests/lab/lab up tests/lab/topologies/firewall.toml --name NAME; pytest tests/integration/test_firewall_ports.py --lab NAME
The tests of one firewall go through its life in this order: off, stored, turned on, changed, killed, rebooted, removed.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from firewall_peer import TCP, UDP
from testinfra.host import Host
from waiting import listens

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("firewall_peer.py")
SETTINGS = {
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
    "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
}
SSH = {"firewalld": 22, "ufw": 2200}
# A flow that is open goes on when its rule is gone, as a TCP connection does; the kernel forgets it after 30 or 120 seconds of
# silence. Here after one, so that what is asked again is asked anew.
FORGET_SOON = "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1 net.netfilter.nf_conntrack_udp_timeout_stream=1"


def place(host: Host) -> None:
    text = base64.b64encode(PEER.read_bytes()).decode()
    assert host.run(f"echo {text} | base64 -d > /root/firewall_peer.py").rc == 0


def start(host: Host) -> None:
    host.check_output("systemd-run --unit=peer python3 /root/firewall_peer.py listen")
    listens(host.check_output, *TCP)
    listens(host.check_output, *UDP, kind="udp")


def ask(host: Host, *wanted: dict[str, Any]) -> list[bool]:
    done = host.run("python3 /root/firewall_peer.py ask %s", json.dumps(wanted))
    assert done.rc == 0, done.stderr
    return list(json.loads(done.stdout))


def tcp(address: str, *ports: int) -> list[dict[str, Any]]:
    return [{"proto": "tcp", "address": address, "port": port} for port in ports]


def udp(address: str, *ports: int, **more: int) -> list[dict[str, Any]]:
    return [{"proto": "udp", "address": address, "port": port, **more} for port in ports]


class Target:
    """A host with a firewall, and the module on it."""

    def __init__(self, lab: Any, name: str) -> None:
        self.lab, self.name, self.host = lab, name, lab.host(name)
        found = lab.topology.hosts[name]
        self.lan, self.lan6 = found.addresses["lan"], found.addresses6["lan"]
        self.wan, self.wan6 = found.addresses["wan"], found.addresses6["wan"]
        self.prefixes = [lab.topology.networks["lan"].subnet, lab.topology.networks["lan"].subnet6]
        self.tuner = lab.topology.hosts["tuner"].addresses["lan"]

    @property
    def first(self) -> list[dict[str, Any]]:
        return [
            {"port": 80, "comment": "redirect, <ACME> & 100%"},
            {"port": 443},
            {"port": 443, "proto": "udp"},
            {"port": 8096, "sources": self.prefixes, "comment": "Jellyfin"},
            {"port": 1900, "proto": "udp", "sources": self.prefixes},
            {"port": 7359, "proto": "udp", "sources": self.prefixes},
            {"source_port": 65001, "proto": "udp", "sources": [self.tuner]},
            {"port": "49152-65535", "proto": "udp", "sources": [self.tuner]},
            {"port": 8920, "sources": []},
        ]

    @property
    def second(self) -> list[dict[str, Any]]:
        return [*self.first[:2], *self.first[4:6], {"port": 8920, "sources": self.prefixes[:1]}]

    def argv(self, ports: list[dict[str, Any]], check: bool = False, **more: Any) -> list[str]:
        return [
            str(Path(sys.executable).parent / "ansible"),
            *("-i", str(self.lab.inventory), self.name, "-m", "jellynet.jellyfin.firewall_ports", "--diff"),
            *("-a", json.dumps({"ports": ports, **more})),
            *(["--check"] if check else []),
        ]

    def run(self, ports: list[dict[str, Any]], check: bool = False, **more: Any) -> dict[str, Any]:
        done = subprocess.run(
            self.argv(ports, check, **more), capture_output=True, text=True, env=os.environ | SETTINGS, cwd=ROOT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        play = json.loads(done.stdout[done.stdout.index("{") :])
        result = play["plays"][0]["tasks"][0]["hosts"][self.name]
        return {key: value for key, value in result.items() if not key.startswith("_") and key != "action"}

    def predicted(self, ports: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Check mode, then the run, then once more: the first says what the second does, the third does nothing."""
        before = self.stored()
        foretold = self.run(ports, check=True, **more)
        assert self.stored() == before, "check mode changed a file"
        done = self.run(ports, **more)
        assert done == foretold
        again = self.run(ports, **more)
        assert not again["changed"] and not again["added"] and not again["removed"], again
        return done

    def stored(self) -> str:
        """Every file of the firewall by its content; ufw writes its counters' header anew, which is no content."""
        text = self.host.check_output(
            "find /etc/firewalld /etc/ufw /etc/default/ufw /etc/jellynet -type f 2>/dev/null | sort | xargs -r sha256sum"
        )
        return str(text)

    def shown(self) -> str:
        """What the native tool says."""
        command = (
            "ufw status" if self.name == "ufw" else "firewall-cmd --list-all && firewall-cmd --permanent --list-all"
        )
        return str(self.host.check_output(command))


@pytest.fixture(scope="module", params=["firewalld", "ufw"])
def target(lab: Any, request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(lab, request.param)
    for name in ("client", "tuner", "outside", request.param):
        place(lab.host(name))
    if made.host.run("systemctl is-active peer").rc:
        start(made.host)
    yield made
    made.host.run("systemctl stop peer")  # it would answer broadcasts in the place of the next


@pytest.fixture(scope="module")
def people(lab: Any) -> dict[str, Host]:
    return {name: lab.host(name) for name in ("client", "tuner", "outside")}


@pytest.fixture(scope="module")
def pristine(target: Target) -> str:
    """The firewall's files before the first run."""
    return target.stored()


def test_off_says_what_is_exposed_and_stays_off(target: Target, people: dict[str, Host], pristine: str) -> None:
    done = target.predicted(target.first)
    assert done["backend"] == target.name and not done["active"] and not done["enabled"]
    assert "Reachable: 3306/tcp (python3) on ::." in done["exposed"]
    assert any(f"Reachable: {SSH[target.name]}/tcp" in text for text in done["exposed"])
    assert ask(people["outside"], *tcp(target.wan, 3306, 80)) == [True, True]


def test_turning_on_lets_ssh_in_and_names_what_it_cuts_off(target: Target, people: dict[str, Host]) -> None:
    done = target.predicted(target.first, enable=True)
    assert done["enabled"] and done["active"] and not done["exposed"]
    assert any(text.startswith(f"{SSH[target.name]}/tcp from anyone") for text in done["added"])
    cut = {(item["proto"], item["port"]) for item in done["cut_off"]}
    assert ("tcp", 3306) in cut and ("tcp", 8920) in cut and not {("tcp", SSH[target.name]), ("tcp", 443)} & cut
    assert ask(people["outside"], *tcp(target.wan, SSH[target.name])) == [True]


def matrix(target: Target, people: dict[str, Host], http: int, closed: int, streams: bool) -> None:
    client, outside, tuner = people["client"], people["outside"], people["tuner"]
    target.host.check_output(FORGET_SOON)
    for address in (target.lan, target.lan6):
        v4_only = address == target.lan6 and http == 8920
        assert ask(client, *tcp(address, 80, 443, http, closed, 3306)) == [True, True, not v4_only, False, False]
        assert ask(client, *udp(address, 1900, 7359, 40123, 50123)) == [True, True, False, False]
    for address in (target.wan, target.wan6):
        assert ask(outside, *tcp(address, 80, 443, http, closed, 3306)) == [True, True, False, False, False]
        assert ask(outside, *udp(address, 1900, 7359, 40123, 50123)) == [False] * 4
    # Answers of the tuner, to whatever port; its streams, to the ports for clients; nobody else's.
    assert ask(tuner, *udp(target.lan, 40123, 50123, **{"from": 65001})) == [streams, streams]
    assert ask(tuner, *udp(target.lan, 40123, 50123)) == [False, streams]
    assert ask(client, *udp(target.lan, 40123, **{"from": 65001})) == [False]
    # What comes to everybody is let in as what comes to one.
    assert ask(client, *udp("255.255.255.255", 7359)) == [True]
    assert ask(client, *udp(target.lan.rpartition(".")[0] + ".255", 7359)) == [True]


def test_packets(target: Target, people: dict[str, Host]) -> None:
    matrix(target, people, 8096, 8920, True)
    assert ask(people["outside"], *udp(target.wan, 443), *udp(target.wan6, 443)) == [True, True]


def test_the_native_tool_shows_the_owner(target: Target) -> None:
    text = target.shown()
    if target.name == "ufw":
        assert re.search(r"jellynet-jellyfin +ALLOW +Anywhere", text)
        assert re.search(rf"Anywhere +ALLOW +{re.escape(target.tuner)} jellynet-jellyfin-reply-", text)
        assert "jellynet-jellyfin (v6)" in text
    else:
        for number in ("80-tcp", "443-udp"):
            assert text.count(f"jellynet-jellyfin-{number}") == 2
        assert text.count(f'address="{target.prefixes[0]}" service name="jellynet-jellyfin-8096-tcp" accept') == 2


def test_others_keep_what_they_have(target: Target) -> None:
    host = target.host
    if target.name == "ufw":
        host.check_output("ufw allow from 1.2.3.4 to any port 77 proto tcp comment 'not ours'")
        host.check_output("ufw deny 8096/tcp comment 'not ours either'")
        marks = ["1.2.3.4                    # not ours", "# not ours either"]
    else:
        host.check_output("firewall-cmd --add-port=7777/tcp")
        host.check_output("""firewall-cmd --add-rich-rule='rule family="ipv4" source address="1.2.3.4" drop'""")
        host.check_output("firewall-cmd --permanent --zone=home --add-port=7778/tcp")
        marks = ["7777/tcp", 'source address="1.2.3.4" drop']
    target.predicted(target.second)
    target.predicted(target.first)
    assert all(mark in target.shown() for mark in marks)
    if target.name == "ufw":
        host.check_output("ufw --force delete deny 8096/tcp")
        host.check_output("ufw --force delete allow from 1.2.3.4 to any port 77 proto tcp")
    else:
        assert "7778/tcp" in host.check_output("firewall-cmd --permanent --zone=home --list-ports")
        host.check_output("rm /etc/firewalld/zones/home.xml*")


def test_a_dropped_feature_closes_its_port(target: Target, people: dict[str, Host]) -> None:
    done = target.predicted(target.second)
    assert any(text.startswith("8096/tcp") for text in done["removed"])
    assert any(text.startswith("8920/tcp") for text in done["added"])
    assert not any(text.startswith(f"{SSH[target.name]}/") for text in done["removed"])
    matrix(target, people, 8920, 8096, False)


def test_the_next_start_changes_nothing(target: Target, people: dict[str, Host]) -> None:
    target.host.check_output("ufw reload" if target.name == "ufw" else "firewall-cmd --reload")
    assert not target.run(target.second)["changed"]
    matrix(target, people, 8920, 8096, False)


def test_a_run_that_is_killed_is_made_good(target: Target, people: dict[str, Host]) -> None:
    codes = []
    for number, seconds in enumerate((0.1, 0.3, 0.6)):
        ports = (target.first, target.second)[number % 2]
        running = subprocess.Popen(
            target.argv(ports),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | SETTINGS,
            cwd=ROOT,
        )
        # In the host: waits for the module, then kills it and what it has started.
        target.host.run(
            "for i in $(seq 1200); do p=$(pgrep -f 'python3 .*AnsiballZ_firewall_ports.py$' | tail -1); [ -n \"$p\" ] && break; "
            f"sleep 0.05; done; sleep {seconds}; kill -9 $(pgrep -P $p) $p"
        )
        codes.append(running.wait(300))
        target.run(ports)
        assert not target.run(ports)["changed"]
    assert any(codes), "every run was over before it was killed"
    matrix(target, people, 8096, 8920, True)


def test_after_a_reboot_all_is_as_it_was(target: Target, people: dict[str, Host]) -> None:
    subprocess.run(
        [str(ROOT / "tests/lab/lab"), "reboot", target.lab.name, target.name], check=True, capture_output=True
    )
    start(target.host)
    for host in people.values():  # it has new link addresses
        host.check_output("ip neigh flush all")
    done = target.run(target.first)
    assert done["active"] and not done["changed"]
    matrix(target, people, 8096, 8920, True)


def test_rules_follow_the_interface_into_its_zone(target: Target, people: dict[str, Host]) -> None:
    if target.name == "ufw":
        pytest.skip("ufw has no zones")
    host = target.host
    host.check_output("firewall-cmd --zone=internal --change-interface=eth1")
    assert ask(people["client"], *tcp(target.lan, 8096)) == [False]
    done = target.predicted(target.first)
    assert any("zone internal" in text for text in done["added"])
    assert ask(people["client"], *tcp(target.lan, 80, 8096, 3306)) == [True, True, False]
    assert ask(people["outside"], *tcp(target.wan, 80, 8096)) == [True, False]
    host.check_output("firewall-cmd --zone=internal --remove-interface=eth1")
    assert any("zone internal" in text for text in target.predicted(target.first)["removed"])


def test_absent_brings_back_what_was_there(target: Target, people: dict[str, Host], pristine: str) -> None:
    done = target.predicted([], state="absent")
    assert done["disabled"] and not done["active"]
    assert "jellynet" not in target.host.check_output("grep -rls jellynet /etc/firewalld /etc/ufw || true")
    assert target.host.run("test -e /etc/jellynet/record.json").rc == 1
    assert ask(people["outside"], *tcp(target.wan, 3306)) == [True]
    if target.name == "firewalld":
        assert target.stored() == pristine
        assert target.host.run("systemctl is-enabled firewalld").stdout.strip() == "disabled"
    else:
        assert "inactive" in target.shown()
