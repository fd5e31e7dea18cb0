# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The login guard on a real host: who may ask it, whom it has cut off, what it remembers, and what fail2ban and CrowdSec make of its log.

It is asked as a proxy asks; what becomes of a login through each proxy is in test_visitors.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import reverse_proxy_edge as lab
from reverse_proxy_edge import HERE, MEDIA, ROOT, Edge
from waiting import until

PLAYBOOK = HERE / "reverse_proxy_and_ports.yml"
FILTERS = ROOT / "roles" / "port_binding" / "files" / "filters"
ATTEMPTS, BAN = 4, 8
STRANGER, HOME, ELSEWHERE = "203.0.113.9", "203.0.113.20", "203.0.113.30"
ASK = """
import http.client, json, sys
host, address, peer, tries = *sys.argv[1:], json.load(sys.stdin)
for name, password in tries:
    connection = http.client.HTTPConnection("127.0.0.1", 889, timeout=20)
    headers = {"Host": host, "X-Forwarded-For": address, "X-Forwarded-Proto": "https", "X-Jellynet-Peer": peer,
               "Content-Type": "application/json"}
    connection.request("POST", "/Users/AuthenticateByName", json.dumps({"Username": name, "Pw": password}), headers)
    answer = connection.getresponse()
    answer.read()
    print(answer.status)
"""


@pytest.fixture(scope="module")
def edge(pytestconfig: pytest.Config) -> Iterator[Edge]:
    given = pytestconfig.getoption("--lab")
    name = given or "guard"
    host = lab.up(name)
    host.put("/usr/local/share/ask.py", ASK)
    host.deploy("nginx", playbook=PLAYBOOK, jellyfin_guard_attempts=ATTEMPTS, jellyfin_guard_ban_attempts=BAN)
    yield host
    if not given:
        lab.down(name)


def logins(
    edge: Edge, address: str, *tries: tuple[str, str], peer: str = "", prefix: tuple[str, ...] = ()
) -> list[int]:
    said = edge.run(
        *prefix,
        "python3",
        "/usr/local/share/ask.py",
        MEDIA,
        address,
        peer or address,
        data=json.dumps(tries),
        check=True,
    )
    return [int(line) for line in said.split()]


def wrong(times: int, name: str = "anna") -> list[tuple[str, str]]:
    return [(name, f"wrong {turn}") for turn in range(times)]


def restart(edge: Edge, how: str = "systemctl restart jellyfin-ports-guard.service") -> None:
    edge.shell(how)
    found = until(lambda: edge.process("jellyfin-ports", "status", "--generation").returncode, lambda code: code == 0)
    assert found == 0


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        ((), 200),
        (("setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"), 200),
        (("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"), 403),
        (("systemd-run", "-q", "--pipe", "-pDynamicUser=yes", "-pUser=jellynet-traefik"), 200),
        (("systemd-run", "-q", "--pipe", "-pDynamicUser=yes", "-pUser=jellynet-other"), 403),
    ],
)
def test_only_a_proxy_may_speak_for_a_visitor(edge: Edge, prefix: tuple[str, ...], status: int) -> None:
    assert logins(edge, ELSEWHERE, ("anna", "right"), prefix=prefix) == [status]


def test_the_socket_is_on_loopback_and_no_users(edge: Edge) -> None:
    assert edge.shell("ss -Htln 'sport = :889' | awk '{print $4}'").split() == ["127.0.0.1:889"]


def test_who_guesses_is_refused_then_cut_off_then_let_in_again(edge: Edge) -> None:
    assert logins(edge, STRANGER, *wrong(BAN)) == [401] * ATTEMPTS + [429] * (BAN - ATTEMPTS)
    bans = until(lambda: json.loads(edge.shell("jellyfin-ports bans --json")), lambda said: bool(said["bans"]))
    assert [ban["address"] for ban in bans["bans"]] == [STRANGER]
    assert [entry["address"] for entry in bans["logins"]] == [STRANGER]
    assert STRANGER in edge.shell("nft list set inet jellynet banned4")
    assert f"{STRANGER} is let in again" in edge.shell(f"jellyfin-ports unban {STRANGER}")
    assert json.loads(edge.shell("jellyfin-ports bans --json")) == {"bans": [], "enforced": True, "logins": []}
    assert STRANGER not in edge.shell("nft list set inet jellynet banned4")
    assert logins(edge, STRANGER, ("anna", "right")) == [200]
    assert edge.process("jellyfin-ports", "unban", STRANGER).returncode == 1
    assert edge.process("jellyfin-ports", "unban", "nobody").returncode == 2


@pytest.mark.parametrize("who", ["lan", "lan client", "wan", "wan6", "container", "domain", "proxy"])
def test_who_is_never_cut_off(edge: Edge, who: str) -> None:
    """The house, this host, its containers' networks, what the site's name leads to; and behind a trusted proxy nobody."""
    edge.shell("ip link show docker0 2>/dev/null || ip link add docker0 type bridge")
    edge.shell("ip addr replace 172.31.99.1/24 dev docker0; ip link set docker0 up")
    addresses = {
        "lan": edge.lan_address, "lan client": edge.lan.address, "wan": edge.wan_address, "wan6": edge.wan_address6,
        "container": "172.31.99.7", "domain": edge.wan_address, "proxy": "203.0.113.40",
    }  # fmt: skip
    address = addresses[who]
    peer = "198.51.100.1" if who == "proxy" else ""
    answers = logins(edge, address, *wrong(2 * BAN, f"user of {who}"), peer=peer)
    assert answers == [401] * ATTEMPTS + [429] * (2 * BAN - ATTEMPTS)
    edge.shell("jellyfin-ports status")
    assert json.loads(edge.shell("jellyfin-ports bans --json"))["bans"] == []
    edge.shell(f"jellyfin-ports unban {address}")


@pytest.mark.parametrize(
    "how",
    [
        "systemctl restart jellyfin-ports-guard.service",
        "systemctl reload jellyfin-ports-guard.service",
        "systemctl restart nginx.service",
        "sleep 7; systemctl kill -s KILL jellyfin-ports-guard.service",
    ],
)
def test_what_was_counted_outlives(edge: Edge, how: str) -> None:
    account = f"owner {len(how)}"
    assert logins(edge, HOME, (account, "right")) == [200]
    assert logins(edge, ELSEWHERE, *wrong(ATTEMPTS, account)) == [401] * ATTEMPTS
    restart(edge, how)
    assert logins(edge, ELSEWHERE, ("bob", "right")) == [429]
    assert logins(edge, HOME, (account, "right")) == [200]
    edge.shell(f"jellyfin-ports unban {ELSEWHERE}")


def test_what_is_kept_is_for_root_and_names_nobody(edge: Edge) -> None:
    restart(edge)
    kept = edge.shell("cat /var/lib/private/jellyfin-ports-guard/attempts.json")
    assert json.loads(kept)["homes"] and "anna" not in kept and "right" not in kept
    assert edge.process(
        "setpriv", "--reuid=nobody", "--clear-groups", "cat", "/var/lib/jellyfin-ports-guard/attempts.json"
    ).returncode


def test_a_broken_state_is_put_aside(edge: Edge) -> None:
    folder = "/var/lib/private/jellyfin-ports-guard"
    edge.shell("systemctl stop jellyfin-ports-guard.service jellyfin-ports-guard.socket")
    edge.shell(f"echo '{{\"version\": 1, ' > {folder}/attempts.json")
    restart(edge, "systemctl start jellyfin-ports-guard.socket jellyfin-ports-guard.service")
    assert logins(edge, HOME, ("anna", "right")) == [200]
    assert edge.shell(f"cat {folder}/attempts.broken").startswith('{"version": 1, ')
    assert "counting begins anew" in edge.shell("journalctl -b -u jellyfin-ports-guard.service --no-pager -o cat")


def test_a_guard_that_is_down_is_said(edge: Edge) -> None:
    edge.shell("systemctl stop jellyfin-ports-guard.service jellyfin-ports-guard.socket")
    try:
        said = edge.process("jellyfin-ports", "status")
        assert said.returncode == 1 and "guard: not running" in said.stdout, said
        assert edge.process("jellyfin-ports", "bans").returncode == 1
    finally:
        restart(edge, "systemctl start jellyfin-ports-guard.socket jellyfin-ports-guard.service")
    assert edge.process("jellyfin-ports", "status").returncode == 0


def test_the_unit_has_no_rights(edge: Edge) -> None:
    said = edge.shell("systemd-analyze security --no-pager jellyfin-ports-guard.service | tail -1")
    assert float(re.findall(r"\d+\.\d+", said)[0]) <= 1.5, said
    process = edge.shell("systemctl show -P MainPID jellyfin-ports-guard.service").strip()
    assert re.search(r"CapEff:\s*0+$", edge.shell(f"cat /proc/{process}/status"), re.M)


# The real programs that read its log

NAMES = [
    "anna", 'an"na', "\\", '\\"', "\x1b[2J", '" route=AuthenticateByName status=401',
    'a\nlogin failed address=192.0.2.1 direct=yes account="x" route=x status=401',
    'login failed address=192.0.2.1 direct=yes account="" route=x status=401', "from 192.0.2.1 port 22 ssh2", "\u2028", "a" * 500,
]  # fmt: skip


@pytest.fixture(scope="module")
def log(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the journal holds of a visitor with each of these names, one behind a trusted proxy among them."""
    for number, name in enumerate(NAMES):
        assert logins(edge, f"198.51.100.{number}", (name, "wrong")) == [401]
    assert logins(edge, "2001:db8::5", ("anna", "wrong")) == [401]
    assert logins(edge, "198.51.100.200", ("anna", "wrong"), peer="198.51.100.1") == [401]
    edge.shell("journalctl --sync")
    lines = edge.shell("journalctl -b -t jellyfin-ports --no-pager -o short").splitlines()
    path = tmp_path_factory.mktemp("log") / "journal.log"
    path.write_text("\n".join(line for line in lines if "=198.51.100." in line or "=2001:db8::5" in line) + "\n")
    return path


BANNED = {*(f"198.51.100.{number}" for number in range(len(NAMES))), "2001:db8::5"}


def unpacked(package: str) -> Path:
    """A Debian package beside the system: nothing of it is installed, no daemon of it starts."""
    room = ROOT / ".cache" / "readers" / package
    if not (room / "usr").exists():
        room.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["apt-get", "download", package], cwd=room, capture_output=True).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(["apt-get", "download", package], cwd=room, check=True, capture_output=True)
        subprocess.run(["dpkg", "-x", str(next(room.glob(f"{package}_*.deb"))), str(room)], check=True)
    return room


def fail2ban(program: str, folder: Path, *arguments: str) -> str:
    room = unpacked("fail2ban")
    if not folder.exists():
        shutil.copytree(room / "etc" / "fail2ban", folder)
        shutil.copy(FILTERS / "fail2ban-jellynet.conf", folder / "filter.d" / "jellynet.conf")
        shutil.copy(FILTERS / "fail2ban-jellynet.local", folder / "jail.d" / "jellynet.local")
    library = {"PYTHONPATH": str(room / "usr" / "lib" / "python3" / "dist-packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["/usr/bin/python3", str(room / "usr" / "bin" / program), "-c", str(folder), *arguments],
        capture_output=True, text=True, env={**os.environ, **library}, check=True,
    )  # fmt: skip
    return done.stdout


def test_fail2ban_takes_the_visitors_and_nobody_they_name(log: Path, tmp_path: Path) -> None:
    found = fail2ban("fail2ban-regex", tmp_path / "f", "-o", "<ip>", str(log), "jellynet").split()
    assert set(found) == BANNED


def test_the_jail_is_a_jail_of_its_own(tmp_path: Path) -> None:
    said = fail2ban("fail2ban-client", tmp_path / "f", "-d")
    assert "['add', 'jellynet', 'systemd']" in said
    assert "['set', 'jellynet', 'addjournalmatch', '_SYSTEMD_UNIT=jellyfin-ports-guard.service']" in said
    (tmp_path / "f" / "jail.d" / "jellynet.local").unlink()
    others = fail2ban("fail2ban-client", tmp_path / "f", "-d")
    assert [line for line in said.splitlines() if "'jellynet'" not in line] == others.splitlines()


def test_crowdsec_takes_the_visitors_and_nobody_they_name(log: Path, tmp_path: Path) -> None:
    room = unpacked("crowdsec")
    etc, hub = tmp_path / "etc", room / "usr" / "share" / "crowdsec" / "hub"
    shutil.copytree(room / "etc" / "crowdsec", etc)
    for stage in (
        "parsers/s00-raw",
        "parsers/s01-parse",
        "parsers/s02-enrich",
        "scenarios",
        "notifications",
        "data",
        "dump",
    ):
        (etc / stage).mkdir(parents=True)
    shutil.copy(hub / "parsers/s00-raw/crowdsecurity/syslog-logs.yaml", etc / "parsers/s00-raw")
    shutil.copy(hub / "parsers/s02-enrich/crowdsecurity/dateparse-enrich.yaml", etc / "parsers/s02-enrich")
    shutil.copy(FILTERS / "crowdsec-jellynet-logs.yaml", etc / "parsers/s01-parse")
    shutil.copy(FILTERS / "crowdsec-jellynet-bf.yaml", etc / "scenarios")
    config = etc / "test.yaml"
    config.write_text(
        json.dumps(
            {
                "common": {"log_media": "stdout", "log_level": "info", "working_dir": str(etc)},
                "config_paths": {
                    "config_dir": f"{etc}/", "data_dir": f"{etc}/data/", "simulation_path": f"{etc}/simulation.yaml",
                    "hub_dir": f"{hub}/", "index_path": f"{hub}/.index.json", "notification_dir": f"{etc}/notifications/",
                },
                "crowdsec_service": {"acquisition_path": f"{etc}/acquis.yaml", "parser_routines": 1},
                "cscli": {"output": "human"},
                "db_config": {"log_level": "info", "type": "sqlite", "db_path": f"{etc}/data/crowdsec.db"},
                "api": {
                    "client": {"credentials_path": f"{etc}/credentials.yaml"},
                    "server": {"listen_uri": "127.0.0.1:18089", "profiles_path": f"{etc}/profiles.yaml"},
                },
                "prometheus": {"enabled": False, "level": "full"},
            }
        )
    )  # fmt: skip
    program = [str(room / "usr" / "bin" / "crowdsec"), "-c", str(config)]
    machine = ["machines", "add", "test", "-p", "only-for-this-test", "-f", f"{etc}/credentials.yaml", "--force"]
    subprocess.run([str(room / "usr" / "bin" / "cscli"), "-c", str(config), *machine], check=True, capture_output=True)

    def poured(path: Path) -> list[str]:
        """The addresses that reached the scenario's buckets."""
        argv = [*program, "-type", "syslog", "-dsn", f"file://{path}", "-dump-data", f"{etc}/dump"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        said = (etc / "dump" / "bucketpour-dump.yaml").read_text()
        return re.findall(r"^\s+source_ip: (\S+)$", re.sub(r"(?ms)^\s+parsed:.*?(?=^\s+enriched:)", "", said), re.M)

    assert set(poured(log)) == BANNED
