# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a host in memory: both firewalls, on and off, killed at each step."""

from __future__ import annotations

import contextlib
import types

import firewall_fakes
import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_firewalld as firewalld
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_ufw as ufw
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import FirewallError, Rule
from ansible_collections.jellynet.jellyfin.plugins.modules import firewall_ports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LAN = ["10.77.0.0/16", "fd77::/16"]
TUNER = ["10.77.9.9"]


def port(number, proto="tcp", sources=None, comment=""):
    return {"port": str(number), "proto": proto, "sources": sources, "comment": comment}


def reply(number, sources):
    return {"source_port": str(number), "proto": "udp", "sources": sources, "comment": ""}


FIRST = [
    port(80, comment="redirect"),
    port(443),
    port(8096, sources=LAN, comment="Jellyfin"),
    port(7359, "udp", LAN),
    reply(65001, TUNER),
]
SECOND = [
    port(443),
    port(443, "udp"),
    port(8920, sources=LAN),
    port(7359, "udp", LAN[:1]),
    port("49152-65535", "udp", TUNER),
]
MODES = ["firewalld on", "firewalld off", "ufw on", "ufw off"]
LISTENERS = [
    {"proto": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd", "unit": "ssh.service"},
    {"proto": "tcp", "address": "0.0.0.0", "port": 3306, "process": "mariadbd", "unit": "mariadb.service"},
    {"proto": "tcp", "address": "::", "port": 443, "process": "nginx", "unit": "nginx.service"},
]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setattr(_record, "PATH", str(tmp_path / "record.json"))
    monkeypatch.setattr(_record.Record.__init__, "__defaults__", (str(tmp_path / "record.json"),))
    monkeypatch.setattr(firewall_ports, "listeners", lambda: [dict(item) for item in LISTENERS])
    monkeypatch.setattr(firewall_ports, "connection_port", lambda: None)


def host(mode):
    made = firewall_fakes.Host()
    made.programs = {mode.split()[0]}
    if mode == "firewalld on":
        made.bus.on = True
        made.bus.reload()
    if mode == "ufw on":
        made.files[ufw.CONF] = "ENABLED=yes\n"
        made.ufw.load()
    return made


def run(made, ports=(), check=False, **params):
    given_params = {
        "ports": list(ports),
        "backend": "auto",
        "zone": "",
        "enable": False,
        "state": "present",
        "owner": "jellyfin",
    }
    given_params.update(params)
    warnings = []
    module = types.SimpleNamespace(params=given_params, check_mode=check, warn=warnings.append)
    owner = given_params["owner"]
    backends = (firewalld.Firewalld(made, owner, given_params["zone"], made.bus), ufw.Ufw(made, owner))
    result = firewall_ports.Run(module, made, *backends).run()
    result["warnings"] = warnings
    return result


def effective(made, mode, owner="jellyfin"):
    """The rules that hold in the end, read the fake's own way."""
    if mode.startswith("ufw"):
        found = set()
        for version in (4, 6):
            for entry in made.ufw.entries(version):
                if entry.app.startswith("jellynet-" + owner):
                    first, _, last = (entry.sport if entry.sapp else entry.dport).partition(":")
                    source = "" if ufw.is_any(entry.src) else entry.src
                    found.add((version, Rule(entry.proto, int(first), int(last or first), bool(entry.sapp), source)))
        if mode == "ufw on":
            assert made.ufw.kernel == {version: made.ufw.entries(version) for version in (4, 6)}
        return {rule for _, rule in found}
    backend = firewalld.Firewalld(made, owner, bus=made.bus)
    layers = [made.bus.permanent()] + ([made.bus.runtime] if made.bus.on else [])
    # A bare rule does not say that it is a guard.
    rules = [
        {backend.rule_of(item)._replace(guard=False) for item in backend.elements(layer["public"])} for layer in layers
    ]
    assert all(found == rules[0] for found in rules)
    return rules[0]


def declared(ports):
    return set(firewall_ports.wanted(ports).rules)


@pytest.mark.parametrize("mode", MODES)
def test_check_then_change_then_nothing(mode):
    made = host(mode)
    for ports in (FIRST, SECOND, []):
        before = dict(made.files)
        predicted = run(made, ports, check=True)
        assert made.files == before, "check mode changed something"
        done = run(made, ports)
        assert done == predicted
        assert done["changed"] and (done["added"] or done["removed"])
        assert effective(made, mode) == declared(ports)
        again = run(made, ports)
        assert not again["changed"] and not again["added"] and not again["removed"]
        assert again["diff"]["before"] == again["diff"]["after"]
        assert [item.get("port") for item in again["ports"]] == [item.get("port") for item in done["ports"]]


@pytest.mark.parametrize("mode", MODES)
def test_an_unchanged_run_calls_nothing_that_changes(mode):
    made = host(mode)
    run(made, FIRST)
    made.commands.clear()
    made.calls_left = 0
    run(made, FIRST)
    assert {command[0] for command in made.commands} <= {"iptables", "ip6tables"}


def test_ufw_is_called_once_for_each_profile():
    made = host("ufw on")
    run(made, FIRST)
    calls = [command for command in made.commands if command[0] == "ufw"]
    # Anyone, two networks of the LAN, the tuner's answers.
    assert len(calls) == 4 and all(command[1] == "allow" for command in calls)
    made.commands.clear()
    run(made, [*FIRST, port(8080, sources=LAN)])
    assert [command[1:3] for command in made.commands if command[0] == "ufw"] == [["app", "update"], ["app", "update"]]


def test_ufw_loses_a_port_by_one_call_without_closing_its_neighbours():
    made = host("ufw on")
    run(made, FIRST)
    made.commands.clear()
    run(made, FIRST[1:])
    assert [command for command in made.commands if command[0] == "ufw"] == [
        ["ufw", "app", "update", "jellynet-jellyfin"]
    ]


def test_firewalld_opens_before_it_closes_and_forgets_services_last():
    made = host("firewalld on")
    run(made, FIRST)
    backend = firewalld.Firewalld(made, "jellyfin", bus=made.bus)
    found = firewall_ports.wanted(SECOND)
    actions = [step[0] for step in backend.plan(backend.read(), found.rules, found).steps]
    assert set(actions) == {"define", "add", "remove", "undefine"}
    assert actions == sorted(actions, key=["define", "add", "remove", "undefine"].index)


@pytest.mark.parametrize("mode", MODES)
def test_others_are_left_alone(mode):
    made = host(mode)
    run(made, [port(9000)], owner="tv")
    if mode.startswith("ufw"):
        for version, any_source in ((4, "0.0.0.0/0"), (6, "::/0")):
            made.files[ufw.RULES[version]] += (
                f"\n### tuple ### allow tcp 80 {any_source} any {any_source} in comment=6162\n"
            )
        made.ufw.load()
    elif mode == "firewalld on":
        made.bus.change("add", "runtime", "public", "rule", 'rule port port="80" protocol="tcp" accept')
        made.bus.runtime["public"] = made.bus.runtime["public"]._replace(ports=(("5555", "tcp"),))
    run(made, FIRST)
    run(made, state="absent")
    assert effective(made, mode) == set()
    assert effective(made, mode, "tv") == {Rule("tcp", 9000, 9000)}
    if mode.startswith("ufw"):
        assert "allow tcp 80" in made.files[ufw.RULES[4]] and "allow tcp 80" in made.files[ufw.RULES[6]]
    elif mode == "firewalld on":
        assert made.bus.runtime["public"].ports == (("5555", "tcp"),)
        assert 'rule port port="80" protocol="tcp" accept' in made.bus.runtime["public"].rules
        assert "ssh" in made.bus.runtime["public"].services


PORTS = st.lists(
    st.one_of(
        st.builds(
            port,
            st.sampled_from(["80", "443", "8096", "49152-65535"]),
            st.sampled_from(["tcp", "udp"]),
            st.sampled_from([None, [], LAN, LAN[:1], LAN[1:], TUNER]),
            st.sampled_from(["", "a"]),
        ),
        st.builds(reply, st.just("65001"), st.sampled_from([None, TUNER, LAN])),
    ),
    max_size=6,
)


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(before=PORTS, after=PORTS, steps=st.integers(0, 12), reboot=st.booleans())
def test_a_killed_run_is_made_good_by_the_next(mode, before, after, steps, reboot):
    made = host(mode)
    run(made, before)
    made.calls_left = steps
    with contextlib.suppress(firewall_fakes.Killed):
        run(made, after)
    made.calls_left = None
    if reboot and mode == "firewalld on":
        made.bus.reload()
    run(made, after)
    assert effective(made, mode) == declared(after)
    assert not run(made, after)["changed"]


def test_a_rule_that_ufw_stored_but_did_not_load_is_loaded():
    made = host("ufw on")
    run(made, FIRST)
    made.ufw.kernel[6] = []
    assert run(made, FIRST, check=True)["changed"]
    made.commands.clear()
    assert run(made, FIRST)["changed"]
    assert ["ufw", "reload"] in made.commands and made.ufw.kernel[6]


def test_ufw_without_ipv6_gets_no_ipv6_rules_and_says_so():
    made = host("ufw on")
    made.files[ufw.DEFAULTS] = "IPV6=no\nDEFAULT_INPUT_POLICY=DROP\n"
    done = run(made, FIRST)
    assert not made.ufw.entries(6) and not run(made, FIRST)["changed"]
    assert any("IPv6" in sentence for sentence in done["exposed"])


def theirs(made, *lines, before=False):
    """Rules of the admin's, in ufw's own words, after ours or before them."""
    for line in lines:
        path = ufw.RULES[6 if "::" in line else 4]
        text = f"### tuple ### {line}\n"
        made.files[path] = text + "\n" + made.files[path] if before else made.files[path] + "\n" + text
    made.ufw.load()


def test_a_rule_of_ufw_that_refuses_what_we_let_in_is_named_with_the_command_that_removes_it():
    made = host("ufw on")
    theirs(made, "deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in", "deny tcp 443 ::/0 any ::/0 in")
    predicted = run(made, FIRST, check=True)
    for done in (predicted, run(made, FIRST), run(made, FIRST)):
        (said,) = done["warnings"]
        assert "443/tcp from anyone" in said
        assert said.endswith("If that is not meant: ufw delete deny proto tcp from any to any port 443")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("deny any any 0.0.0.0/0 any 0.0.0.0/0 in", "ufw delete deny from any to any"),
        (
            "reject tcp 8000:9000 0.0.0.0/0 any 10.0.0.0/8 in",
            "ufw delete reject proto tcp from 10.0.0.0/8 to any port 8000:9000",
        ),
        ("deny_log tcp 22,80 0.0.0.0/0 any 0.0.0.0/0 in", "ufw delete deny log proto tcp from any to any port 22,80"),
        (
            "deny udp 7359 10.77.0.2 any 0.0.0.0/0 in_eth0",
            "ufw delete deny in on eth0 proto udp from any to 10.77.0.2 port 7359",
        ),
        ("deny tcp 80 0.0.0.0/0 any 0.0.0.0/0 WWW - in", "ufw delete deny from any to any app 'WWW'"),
        ("deny udp any 0.0.0.0/0 65001 0.0.0.0/0 in", "ufw delete deny proto udp from any port 65001 to any"),
    ],
)
def test_each_form_of_a_refusing_rule_is_told_as_it_is_typed(line, command):
    made = host("ufw on")
    theirs(made, line)
    assert [said.partition("not meant: ")[2] for said in run(made, FIRST)["warnings"]] == [command]


@pytest.mark.parametrize(
    "line",
    [
        "deny tcp 443 0.0.0.0/0 any 203.0.113.66 in",  # one sender is kept out on purpose
        "deny tcp 444 0.0.0.0/0 any 0.0.0.0/0 in",
        "deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 out",
        "route:deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in",
        "deny udp 443 0.0.0.0/0 any 0.0.0.0/0 in",
    ],
)
def test_a_rule_that_takes_nothing_from_ours_is_not_mentioned(line):
    made = host("ufw on")
    theirs(made, line)
    assert run(made, FIRST)["warnings"] == []


def test_a_refusing_rule_behind_ours_is_not_mentioned_and_one_put_before_later_is():
    made = host("ufw on")
    run(made, FIRST)
    theirs(made, "deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in")
    assert run(made, FIRST)["warnings"] == []
    theirs(made, "deny tcp 80 0.0.0.0/0 any 0.0.0.0/0 in", before=True)
    (said,) = run(made, FIRST)["warnings"]
    assert "80/tcp from anyone" in said and "port 80" in said


def test_ufw_that_lets_everything_in_says_so():
    made = host("ufw on")
    made.files[ufw.DEFAULTS] = "IPV6=yes\nDEFAULT_INPUT_POLICY=ACCEPT\n"
    assert any("whatever no rule forbids" in sentence for sentence in run(made, FIRST)["exposed"])


def test_rules_on_our_profile_that_somebody_changed_are_put_right():
    made = host("ufw on")
    run(made, [port(80)])
    made.files[ufw.RULES[4]] = made.files[ufw.RULES[4]].replace("tuple ### allow", "tuple ### limit")
    made.ufw.load()
    assert run(made, [port(80)])["changed"]
    assert all(entry.plain for entry in made.ufw.entries(4)) and len(made.ufw.entries(4)) == 1


# firewalld


def test_a_new_port_needs_no_reload_and_is_a_service_after_the_next_start():
    made = host("firewalld on")
    run(made, FIRST)
    public = made.bus.runtime["public"]
    assert not any(name.startswith("jellynet") for name in public.services)
    assert any('port port="8096"' in text for text in public.rules)
    made.bus.reload()
    assert "jellynet-jellyfin-80-tcp" in made.bus.runtime["public"].services
    assert not run(made, FIRST)["changed"]


def test_what_runtime_to_permanent_made_of_a_bare_rule_is_still_ours():
    text = firewalld.bare("jellyfin", Rule("tcp", 80, 80))
    made = host("firewalld off")
    made.files["/etc/firewalld/zones/public.xml"] = (
        '<zone><service name="ssh"/><rule priority="{}"><port port="80" protocol="tcp"/><accept/></rule></zone>'.format(
            firewalld.priority("jellyfin")
        )
    )
    state = firewalld.Firewalld(made, "jellyfin", bus=made.bus).read()
    assert state.permanent["public"].rules == (text,)
    predicted = run(made, check=True)
    assert predicted["removed"] == ["80/tcp from anyone in zone public"]


def zones(made, **more):
    return firewalld.Firewalld(made, "jellyfin", bus=made.bus, **more).zones(
        firewalld.Firewalld(made, "jellyfin", bus=made.bus).read()
    )


def test_rules_go_where_traffic_enters():
    made = host("firewalld on")
    assert zones(made) == ["public"]
    bus = made.bus.runtime
    bus["home"] = bus["home"]._replace(interfaces=("eth1",))
    bus["trusted"] = bus["trusted"]._replace(interfaces=("docker0",))
    bus["drop"] = bus["drop"]._replace(sources=("1.2.3.4",))
    assert zones(made) == ["home", "public"]
    assert zones(made, zone="drop") == ["drop"]
    bus["drop"] = bus["drop"]._replace(interfaces=("eth2",))
    assert zones(made) == ["drop", "home", "public"]
    with pytest.raises(FirewallError, match=r"zone: firewalld has no zone 'lan'; there are: drop, home"):
        zones(made, zone="lan")


def test_a_zone_that_holds_the_lan_by_its_addresses_gets_the_rules_too():
    made = host("firewalld on")
    made.bus.runtime["home"] = made.bus.runtime["home"]._replace(sources=("10.77.0.0/16",))
    done = run(made, [port(8096, sources=LAN[:1])])
    assert done["added"] == [f"8096/tcp from 10.77.0.0/16 in zone {zone}" for zone in ("home", "public")]


def test_another_zone_moves_the_rules():
    made = host("firewalld on")
    run(made, [port(80)], zone="public")
    done = run(made, [port(80)], zone="home")
    assert done["added"] == ["80/tcp from anyone in zone home"] and done["removed"] == [
        "80/tcp from anyone in zone public"
    ]
    assert not run(made, [port(80)], zone="home")["changed"]


def test_a_changed_comment_is_a_change():
    made = host("firewalld on")
    run(made, [port(80, comment="a")])
    done = run(made, [port(80, comment="b & <c>")])
    assert done["changed"] and not done["added"] and "b & <c>" in done["diff"]["after"]
    assert not run(made, [port(80, comment="b & <c>")])["changed"]


def test_a_service_that_somebody_changed_is_put_right_in_the_runtime_too():
    made = host("firewalld on")
    run(made, [port(80)])
    path = "/etc/firewalld/services/jellynet-jellyfin-80-tcp.xml"
    made.files[path] = made.files[path].replace('port="80"', 'port="1-65535"')
    made.bus.reload()
    assert run(made, [port(80)])["changed"]
    assert made.bus.runtime["public"].services == ("ssh", "dhcpv6-client")
    assert made.bus.runtime["public"].rules == (firewalld.bare("jellyfin", Rule("tcp", 80, 80)),)
    assert not run(made, [port(80)])["changed"]


def test_the_zone_file_that_we_caused_goes_with_us():
    made = host("firewalld on")
    run(made, FIRST)
    assert "/etc/firewalld/zones/public.xml" in made.files
    run(made, state="absent")
    assert not [path for path in made.files if path.startswith("/etc/firewalld/") and path.endswith(".xml")]
    assert not _record.load()["firewall"]


# which firewall


def test_nothing_installed_is_reported_not_failed():
    made = host("ufw off")
    made.programs = set()
    done = run(made, FIRST)
    assert done["backend"] == "none" and not done["changed"] and not done["active"]
    assert "Reachable: 3306/tcp (mariadbd) on 0.0.0.0." in done["exposed"]
    with pytest.raises(FirewallError, match="backend: ufw is not installed"):
        run(made, FIRST, backend="ufw")
    assert not run(made, backend="ufw", state="absent")["changed"]


def test_the_one_that_is_on_is_taken_and_the_other_is_cleared():
    made = host("ufw off")
    run(made, FIRST)
    made.programs = {"ufw", "firewalld"}
    made.bus.on = True
    made.bus.reload()
    done = run(made, FIRST)
    assert done["backend"] == "firewalld" and "443/tcp from anyone in ufw" in done["removed"]
    assert effective(made, "ufw off") == set() and effective(made, "firewalld on") == declared(FIRST)
    assert not run(made, FIRST)["changed"]


def test_two_that_are_on_are_refused():
    made = host("ufw on")
    made.programs = {"ufw", "firewalld"}
    made.bus.on = True
    with pytest.raises(FirewallError, match="both on"):
        run(made, FIRST)


def test_none_changes_nothing():
    made = host("ufw off")
    run(made, FIRST)
    made.calls_left = 0
    done = run(made, [], backend="none")
    assert not done["changed"] and done["exposed"] and effective(made, "ufw off") == declared(FIRST)


# turning it on


@pytest.mark.parametrize("mode", ["firewalld off", "ufw off"])
def test_off_stays_off_and_says_what_is_exposed(mode):
    made = host(mode)
    done = run(made, FIRST)
    assert not done["active"] and not done["enabled"] and not done["cut_off"]
    assert done["exposed"][0].startswith(mode.split()[0]) and len(done["exposed"]) == 4
    assert not made.bus.on and made.ufw.kernel is None


@pytest.mark.parametrize("mode", ["firewalld off", "ufw off"])
def test_on_lets_ssh_in_first_and_names_what_is_cut_off(mode, monkeypatch):
    made = host(mode)
    monkeypatch.setattr(firewall_ports, "connection_port", lambda: 2022)
    made.run_before = made.run

    def watched(argv):
        if argv[0] == "systemctl" and argv[1] == "list-sockets":
            return 0, "[::]:2200 ssh.socket ssh.service\n", ""
        if argv[:3] == ["ufw", "--force", "enable"] or argv[:3] == ["systemctl", "enable", "--now"]:
            ours = effective(made, mode)
            assert {rule.first for rule in ours} >= {22, 2022, 2200}, "turned on before SSH was let in"
            assert _record.get("firewall", "turned_on_" + mode.split()[0])
        return made.run_before(argv)

    monkeypatch.setattr(made, "run", watched)
    predicted = run(made, FIRST, check=True, enable=True)
    assert not made.bus.on and made.ufw.kernel is None
    done = run(made, FIRST, enable=True)
    assert done == predicted
    assert done["enabled"] and done["active"] and done["changed"]
    if mode == "firewalld off":
        assert [text for text in done["added"] if "22" in text] == [
            f"{number}/tcp from anyone in zone public" for number in (2022, 22, 2200)
        ]
    assert [item["process"] for item in done["cut_off"]] == ["mariadbd"]
    assert "3306/tcp (mariadbd)" in done["warnings"][0]
    # The rules for SSH are not in the list, and stay.
    monkeypatch.setattr(firewall_ports, "connection_port", lambda: None)
    again = run(made, SECOND)
    assert not any(text.startswith("22") for text in again["removed"])
    assert not run(made, SECOND, enable=True)["changed"]
    # What was off is off again, and nothing is left.
    predicted = run(made, check=True, state="absent")
    done = run(made, state="absent")
    assert done == predicted and done["disabled"] and not done["active"]
    assert effective(made, mode) == set() and not _record.load()["firewall"]
    assert not run(made, state="absent")["changed"]


@pytest.mark.parametrize("mode", ["firewalld off", "ufw off"])
def test_a_firewall_that_others_use_by_now_stays_on_with_ssh(mode, monkeypatch):
    made = host(mode)
    run(made, FIRST, enable=True)
    if mode == "ufw off":
        made.files[ufw.RULES[4]] += "\n### tuple ### allow tcp 25 0.0.0.0/0 any 0.0.0.0/0 in\n"
        made.ufw.load()
    else:
        made.bus.store("home", made.bus.permanent()["home"]._replace(ports=(("25", "tcp"),)))
        made.bus.reload()
    done = run(made, state="absent")
    assert done["active"] and not done["disabled"] and "stays on" in done["warnings"][0]
    assert [item["port"] for item in done["ports"]] == ["22"]
    assert not run(made, state="absent")["changed"]


def test_a_run_killed_while_turning_on_is_finished_by_the_next():
    for steps in range(14):
        for mode in ("firewalld off", "ufw off"):
            made = host(mode)
            made.calls_left = steps
            try:
                run(made, FIRST, enable=True)
            except firewall_fakes.Killed:
                on = made.bus.on or made.ufw.kernel is not None
                assert not on or 22 in {rule.first for rule in effective(made, mode)}
            made.calls_left = None
            assert run(made, FIRST, enable=True)["active"]
            assert not run(made, FIRST, enable=True)["changed"]
            assert run(made, state="absent")["disabled"]


def test_a_firewalld_that_we_installed_does_not_start_at_the_next_boot(monkeypatch):
    made = host("firewalld off")
    unit = {"boot": "enabled"}
    before = made.run

    def watched(argv):
        if argv[:2] == ["systemctl", "is-enabled"]:
            return 0, unit["boot"] + "\n", ""
        if argv[:2] == ["systemctl", "disable"]:
            unit["boot"] = "disabled"
        return before(argv)

    monkeypatch.setattr(made, "run", watched)
    run(made, FIRST)
    assert unit["boot"] == "enabled", "it was there before us"
    _record.remember("packages", "firewalld", "absent")
    predicted = run(made, FIRST, check=True)
    assert predicted["changed"] and unit["boot"] == "enabled"
    assert run(made, FIRST) == predicted and unit["boot"] == "disabled"
    assert not run(made, FIRST)["changed"]
    unit["boot"] = "enabled"
    assert not run(made, FIRST)["changed"], "somebody wanted it"


@pytest.mark.parametrize("mode", ["firewalld on", "ufw on"])
def test_the_only_way_in_for_ssh_is_never_closed(mode):
    made = host(mode)
    made.files["/usr/lib/firewalld/zones/public.xml"] = "<zone/>"
    run(made, [*FIRST, port("20-25", sources=LAN[:1])])
    predicted = run(made, FIRST, check=True)
    done = run(made, FIRST)
    assert done == predicted
    assert "22/tcp from 10.77.0.0/16 stays open" in done["warnings"][0]
    ssh = Rule("tcp", 22, 22, source="10.77.0.0/16")
    assert effective(made, mode) == declared(FIRST) | {ssh}
    assert not run(made, FIRST)["changed"]
    done = run(made, state="absent")
    assert [item["port"] for item in done["ports"]] == ["22"] and not run(made, state="absent")["changed"]


@pytest.mark.parametrize("mode", ["firewalld on", "ufw on"])
def test_ssh_that_others_let_in_needs_nothing_of_ours(mode):
    made = host(mode)
    made.files[ufw.RULES[4]] = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n"
    made.ufw.load()
    run(made, [port(22)])
    done = run(made, [])
    assert not done["warnings"] and not effective(made, mode)


@pytest.mark.parametrize("backend", ["firewalld", "ufw"])
def test_check_mode_on_a_bare_host_says_what_would_be_stored(backend):
    made = host("ufw off")
    made.programs = set()
    made.files = {}
    done = run(made, FIRST, backend=backend, check=True, enable=True)
    assert done["changed"] and "is not installed yet" in done["warnings"][0]
    assert any(text.startswith("443/tcp from anyone") for text in done["added"])


def test_stored_rules_of_others_are_not_cut_off():
    made = host("ufw off")
    made.files[ufw.RULES[4]] = "### tuple ### limit tcp 3000:4000 0.0.0.0/0 any 10.0.0.0/8 in\n"
    assert run(made, FIRST, enable=True, check=True)["cut_off"] == []
    made = host("firewalld off")
    made.files["/usr/lib/firewalld/services/mysql.xml"] = '<service><port port="3306" protocol="tcp"/></service>'
    made.files["/etc/firewalld/zones/public.xml"] = (
        '<zone><rule family="ipv4"><source address="10.0.0.0/8"/><service name="mysql"/><accept/></rule></zone>'
    )
    assert run(made, FIRST, enable=True, check=True)["cut_off"] == []


# firewalld's bus


class Dbus:
    """The part of the dbus library that is used; firewalld answers late, or never."""

    class DBusException(Exception):
        def get_dbus_message(self):
            return str(self)

    Int32 = int

    def __init__(self, owned, states):
        self.owned = owned
        self.states = states

    def SystemBus(self):
        return self

    def name_has_owner(self, name):
        return self.owned

    def get_object(self, name, path, introspect):
        return self

    def get_dbus_method(self, method, interface):
        def call(*arguments, timeout):
            assert self.owned, "a call to a name without owner starts firewalld"
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            if state == "silent":
                raise self.DBusException("NoReply")
            return state

        return call


def bus(monkeypatch, owned=True, states=("RUNNING",), unit="inactive"):
    clock = iter(range(1000))
    monkeypatch.setattr(firewalld.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(firewalld.time, "monotonic", lambda: next(clock))
    made = firewall_fakes.Host()
    made.unit = unit
    return firewalld.Bus(Dbus(owned, list(states)), made)


def test_firewalld_that_is_off_is_not_woken(monkeypatch):
    assert bus(monkeypatch, owned=False).running() is False


def test_firewalld_that_starts_is_waited_for(monkeypatch):
    assert bus(monkeypatch, states=["silent", "INIT", "RUNNING"]).running() is True


def test_firewalld_that_does_not_answer_is_an_error_in_words(monkeypatch):
    with pytest.raises(FirewallError, match=r"does not answer .*journalctl"):
        bus(monkeypatch, states=["silent"]).running()
    with pytest.raises(FirewallError, match="could not load its rules"):
        bus(monkeypatch, states=["FAILED"]).running()
    with pytest.raises(FirewallError, match="not on the bus"):
        bus(monkeypatch, owned=False, unit="activating").running()


@pytest.mark.parametrize("code", ["ALREADY_ENABLED: '80:tcp' already in 'public'", "NOT_ENABLED: x"])
def test_somebody_quicker_is_no_error(code):
    with firewalld.allowed("ALREADY_ENABLED", "NOT_ENABLED"):
        raise FirewallError("firewalld: addService: " + code)
    with pytest.raises(FirewallError), firewalld.allowed("ALREADY_ENABLED"):
        raise FirewallError("INVALID_ZONE: x")


# ufw's words


def test_a_busy_table_is_tried_again(monkeypatch):
    monkeypatch.setattr(ufw.time, "sleep", lambda seconds: None)
    made = firewall_fakes.Host()
    answers = [(1, "", "ERROR: Another app is currently holding the xtables lock"), (0, "Rule added", "")]
    monkeypatch.setattr(made, "run", lambda argv: answers.pop(0))
    ufw.Ufw(made, "tv")._ufw(["reload"])
    assert not answers
    answers += [(1, "", "ERROR: Bad port"), (0, "", "")]
    with pytest.raises(FirewallError, match="Bad port"):
        ufw.Ufw(made, "tv")._ufw(["reload"])


def test_canned_user_rules_are_read():
    text = """*filter
### RULES ###

### tuple ### allow any 22 0.0.0.0/0 any 0.0.0.0/0
-A ufw-user-input -p tcp --dport 22 -j ACCEPT

### tuple ### limit_log tcp 25 0.0.0.0/0 any 10.0.0.0/8 in_eth0 comment=6162
### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in
### tuple ### allow udp any 0.0.0.0/0 65001 10.77.9.9 - jellynet-tv-reply-10.77.9.9 in
### tuple ### route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1
### tuple ### broken
"""
    found = ufw.entries(text, 4)
    assert [(entry.action, entry.app, entry.direction) for entry in found] == [
        ("allow", "", "in"),
        ("limit_log", "", "in_eth0"),
        ("allow", "Nginx Full", "in"),
        ("allow", "jellynet-tv-reply-10.77.9.9", "in"),
        ("route:allow", "", "in_eth0!out_eth1"),
    ]
    assert ufw.undo(found[3]) == (
        "ufw",
        "--force",
        "delete",
        "allow",
        "from",
        "10.77.9.9",
        "app",
        "jellynet-tv-reply-10.77.9.9",
        "to",
        "0.0.0.0/0",
    )


def test_canned_kernel_rules_are_read():
    text = r"""-N ufw-user-input
-A ufw-user-input -p tcp -m tcp --dport 80 -m comment --comment "\'dapp_jellynet-tv\'" -j ACCEPT
-A ufw-user-input -s 10.77.9.9/32 -p udp -m multiport --sports 100:200 -m comment --comment "\'sapp_jellynet-tv-reply-10.77.9.9\'" -j ACCEPT
-A ufw-user-input -s 10.0.0.0/8 -p tcp -m tcp --dport 25 -m comment --comment dapp_jellynet-tvs -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
"""
    assert ufw.kernel_rules(text, 4, "tv") == {
        (4, "tcp", "80", "any", "", "jellynet-tv"),
        (4, "udp", "any", "100:200", "10.77.9.9/32", "jellynet-tv-reply-10.77.9.9"),
    }
