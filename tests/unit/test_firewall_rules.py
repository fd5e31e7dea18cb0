# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared list, its names, and what listens."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_exposure as exposure
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_firewalld as firewalld
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_ufw as ufw
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import (
    FirewallError,
    Rule,
    as_ports,
    check_owner,
    guards,
    is_ours,
    wanted,
)


def item(port="80", proto="tcp", sources=None, comment="", **more):
    return {"port": port, "proto": proto, "sources": sources, "comment": comment, **more}


def test_no_sources_is_anyone_and_an_empty_list_is_nobody():
    assert wanted([item("80")]).rules == (Rule("tcp", 80, 80),)
    assert wanted([item("80", sources=[])]).rules == ()


def test_sources_take_one_form():
    rules = wanted([item(sources=["192.168.1.7/24", "10.0.0.1/32", "FD00:0:0::1/64", "2001:db8::5"])]).rules
    assert {rule.source for rule in rules} == {"192.168.1.0/24", "10.0.0.1", "fd00::/64", "2001:db8::5"}


def test_anyone_makes_single_networks_needless():
    assert wanted([item("80"), item("80", sources=["10.0.0.0/8"])]).rules == (Rule("tcp", 80, 80),)


def test_a_source_port_is_another_thing_than_a_port():
    rules = wanted([item("65001", "udp"), item(None, "udp", ["10.0.0.9"], source_port="65001")]).rules
    assert [rule.label for rule in rules] == ["65001/udp from anyone", "source port 65001/udp from 10.0.0.9"]


def test_ranges():
    (rule,) = wanted([item("49152-65535", "udp")]).rules
    assert (rule.first, rule.last, rule.port) == (49152, 65535, "49152-65535")
    assert rule.covers("udp", 50000) and not rule.covers("udp", 1900) and not rule.covers("tcp", 50000)


@pytest.mark.parametrize("port", ["0", "65536", "90-80", "http", "", "80,443", "-1", "1-70000"])
def test_bad_ports_are_named(port):
    with pytest.raises(FirewallError, match=r"ports\[1\]\.port: .*1 to 65535"):
        wanted([item(), item(port)])


@pytest.mark.parametrize("source", ["", "host.example", "10.0.0.0/33", "10.0.0", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_bad_sources_are_named(source):
    with pytest.raises(FirewallError, match=r"ports\[0\]\.sources: "):
        wanted([item(sources=[source])])


def test_comments_of_one_port_are_joined_and_flattened():
    found = wanted([item(sources=["10.0.0.0/8"], comment="a\n b"), item(sources=["fd00::/8"], comment="c")])
    assert {found.comment(rule) for rule in found.rules} == {"a b; c"}


def test_what_is_opened_reads_like_the_argument():
    found = wanted([item("8096", sources=["10.0.0.0/8", "fd00::/8"], comment="Jellyfin"), item("443")])
    assert as_ports(found.rules, found.comment) == [
        {"port": "443", "proto": "tcp", "sources": None, "comment": ""},
        {"port": "8096", "proto": "tcp", "sources": ["10.0.0.0/8", "fd00::/8"], "comment": "Jellyfin"},
    ]


def test_names_of_one_owner_are_not_those_of_another():
    assert is_ours("jellynet-tv-80-tcp", "tv") and is_ours("jellynet-tv", "tv")
    assert not is_ours("jellynet-tvs-80-tcp", "tv") and not is_ours("ssh", "tv")
    for owner in ("tv-80", "", "Tv", "a" * 17, "tv/x"):
        with pytest.raises(FirewallError, match="owner"):
            check_owner(owner)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("tcp", 80, 80),
        Rule("udp", 49152, 65535),
        Rule("udp", 65001, 65001, reply=True),
        Rule("udp", 1000, 2000, reply=True),
        Rule("tcp", 22, 22, guard=True),
    ],
)
def test_the_name_of_a_service_says_all(rule):
    assert firewalld.named_rule("tv", firewalld.service_name("tv", rule)) == rule
    assert firewalld.named_rule("other", firewalld.service_name("tv", rule)) is None


@pytest.mark.parametrize("source", ["10.0.0.0/8", "fd00::/64", "192.168.1.40", ""])
@pytest.mark.parametrize("reply", [False, True])
def test_rich_rules_are_read_back(source, reply):
    rule = Rule("udp", 65001, 65001, reply, source)
    assert firewalld.parse_rule("tv", firewalld.bare("tv", rule)) == rule
    assert firewalld.parse_rule("tv", firewalld.rich("tv", rule)) == rule
    assert firewalld.parse_rule("other", firewalld.bare("tv", rule)) is None


def test_a_rich_rule_of_somebody_else_is_never_ours():
    for text in (
        'rule port port="80" protocol="tcp" accept',
        'rule priority="5" port port="80" protocol="tcp" accept',
        'rule family="ipv4" source address="10.0.0.0/8" service name="ssh" accept',
        'rule family="ipv4" source address="1.2.3.4" drop',
    ):
        assert not firewalld.mentions("tv", text)


def test_names_of_profiles_fit_ufw():
    sources = ["10.77.0.0/16", "fd12:3456:789a:1:2:3:4:5", "fd12:3456:789a:1:2:3:4:4/127", ""]
    names = {
        ufw.profile_name("a" * 16, Rule("tcp", 1, 1, reply, source), part)
        for source in sources
        for reply in (False, True)
        for part in (1, 2)
    }
    assert len(names) == len(sources) * 4
    for name in names:
        assert len(name) <= 64 and is_ours(name, "a" * 16)
        assert ufw.re.match(r"^[a-zA-Z0-9][a-zA-Z0-9 _\-.+]*$", name)


def test_a_profile_that_grows_too_long_goes_on_in_another():
    rules = [Rule("tcp", port, port) for port in range(10000, 10300)]
    found = ufw.profiles("tv", rules)
    assert len(found) > 1 and sorted(rule for profile in found for rule in profile.rules) == rules
    assert all(len(profile.ports) <= 1024 for profile in found)


LISTENERS = [
    {"proto": "tcp", "address": "0.0.0.0", "port": 2222, "process": "sshd", "unit": "ssh.service"},
    {"proto": "tcp", "address": "::", "port": 2222, "process": "sshd", "unit": "ssh.service"},
    {"proto": "tcp", "address": "127.0.0.1", "port": 6010, "process": "sshd", "unit": "session-1.scope"},
    {"proto": "tcp", "address": "::", "port": 22, "process": "systemd", "unit": "init.scope"},
    {"proto": "tcp", "address": "0.0.0.0", "port": 3306, "process": "mariadbd", "unit": "mariadb.service"},
    {"proto": "udp", "address": "0.0.0.0", "port": 45000, "process": "dhclient", "unit": ""},
    {"proto": "udp", "address": "0.0.0.0", "port": 7359, "process": "", "unit": ""},
    {"proto": "tcp", "address": "::1", "port": 631, "process": "cupsd", "unit": ""},
    {"proto": "tcp", "address": "::ffff:127.0.0.1", "port": 632, "process": "x", "unit": ""},
]
SOCKETS = """[::]:22              ssh.socket          ssh.service
/run/dbus/socket     dbus.socket         dbus.service
0.0.0.0:631          cups.socket         cups.service
2200                 sshd.socket         sshd.service
"""


def test_ssh_ports_come_from_daemons_socket_units_and_the_connection():
    assert exposure.ssh_ports(LISTENERS, "", None) == [2222]
    assert exposure.ssh_ports(LISTENERS, SOCKETS, 8022) == [22, 2200, 2222, 8022]


def test_the_connection_is_found_in_an_ancestor():
    code = (
        "import os, subprocess, sys\n"
        "env = {k: v for k, v in os.environ.items() if k != 'SSH_CONNECTION'}\n"
        "print(subprocess.run([sys.executable, '-c', sys.argv[1]], env=env, capture_output=True, text=True, check=True).stdout)"
    )
    inner = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall_exposure import connection_port\n"
        "print(connection_port())"
    )
    env = dict(os.environ, SSH_CONNECTION="10.0.0.9 50000 10.0.0.1 2022")
    done = subprocess.run([sys.executable, "-c", code, inner], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2022"


def test_reachable_is_what_the_network_sees():
    found = exposure.reachable(LISTENERS)
    assert [(entry["proto"], entry["port"]) for entry in found] == [
        ("tcp", 22),
        ("tcp", 2222),
        ("tcp", 3306),
        ("udp", 7359),
    ]
    assert found[1]["addresses"] == ["0.0.0.0", "::"]


def test_what_is_cut_off():
    rules = [*guards([22, 2222]), Rule("udp", 7359, 7359, source="10.0.0.0/8")]
    found = exposure.cut_off(exposure.reachable(LISTENERS), rules, lambda proto, port: False)
    assert [entry["process"] for entry in found] == ["mariadbd"]
    assert exposure.cut_off(exposure.reachable(LISTENERS), rules, lambda proto, port: port == 3306) == []


def test_sentences_say_what_is_open():
    found = exposure.sentences("ufw is off.", exposure.reachable(LISTENERS))
    assert found[0] == "ufw is off." and "Reachable: 3306/tcp (mariadbd) on 0.0.0.0." in found
    assert exposure.sentences("x", []) == ["x", "No service listens on any but the loopback addresses."]
