"""Values that only one role reads: refused by the first check, in the user's own names, before a role has changed anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _proxy_values, _role_values, _site
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _service_values, _specifications

ROLES = Path(__file__).resolve().parents[2] / "roles"
DOMAINS = ["a.example", "b.example"]
SITE = "media.example.org"
PAIR = {"fullchain": "/etc/a.pem", "privkey": "/etc/a.key"}


@pytest.mark.parametrize(
    ("values", "start", "words"),
    [
        ({"reverse_proxy_tls_profile": "old"}, "reverse_proxy_tls_profile is 'old'", "intermediate, modern"),
        ({"port_binding_tls_profile": "Modern"}, "port_binding_tls_profile is 'Modern'", "intermediate, modern"),
        ({"reverse_proxy_log_requests": "none"}, "reverse_proxy_log_requests is 'none'", "errors, all"),
        ({"port_binding_yield_to": "jellyfin.service"}, "port_binding_yield_to", "give a list"),
        (
            {"port_binding_yield_to": ["a.service", "jellyfin"]},
            "port_binding_yield_to: jellyfin is no unit",
            "services",
        ),
        ({"port_binding_yield_to": ["a.service\n"]}, "port_binding_yield_to", "services"),
        ({"port_binding_dlna": "enabled"}, "port_binding_dlna is 'enabled'", "auto, true or false"),
        ({"certificate_acme_port": 8888}, "certificate_acme_port is 8888", "1 to 1023"),
        ({"certificate_acme_port": "http"}, "certificate_acme_port is 'http'", "1 to 1023"),
        ({"certificate_acme_port": 0}, "certificate_acme_port is 0", "1 to 1023"),
        ({"certificate_renew_days": -1}, "certificate_renew_days is -1", "from 0"),
        ({"certificate_local_ca_days": 0}, "certificate_local_ca_days is 0", "1 to 366"),
        ({"certificate_local_ca_days": 400}, "certificate_local_ca_days is 400", "1 to 366"),
        ({"certificate_files_rsa": ["x"]}, "certificate_files_rsa is ['x']", "mapping"),
        ({"certificate_files_rsa": {SITE: {"fullchain": "/a"}}}, f"certificate_files_rsa[{SITE}]", "exactly"),
        ({"certificate_files_rsa": {SITE: {**PAIR, "privkey": "b"}}}, f"certificate_files_rsa[{SITE}].privkey", "'b'"),
        ({"firewall_zone": "my zone"}, "firewall_zone is 'my zone'", "public"),
        ({"port_binding_trusted_proxies": "10.0.0.0/8"}, "port_binding_trusted_proxies", "give a list"),
        ({"port_binding_trusted_proxies": ["10.0.0.1/8"]}, "port_binding_trusted_proxies", "10.0.0.0/8"),
        ({"port_binding_trusted_proxies": ["0.0.0.0/0"]}, "port_binding_trusted_proxies", "believed"),
        ({"firewall_extra_ports": 8443}, "firewall_extra_ports is 8443", "give a list"),
        ({"firewall_extra_ports": [8443]}, "firewall_extra_ports[0] is 8443", "mapping"),
        ({"firewall_extra_ports": [{"port": 1}, {"prot": 1}]}, "firewall_extra_ports[1]", "'prot'"),
        ({"firewall_extra_ports": [{"comment": "x"}]}, "firewall_extra_ports[0]", "exactly one of"),
        ({"firewall_extra_ports": [{"port": 1, "source_port": 2}]}, "firewall_extra_ports[0]", "exactly one of"),
        ({"firewall_extra_ports": [{"port": 70000}]}, "firewall_extra_ports[0].port", "70000"),
        ({"firewall_extra_ports": [{"source_port": "9-1"}]}, "firewall_extra_ports[0].source_port", "9-1"),
        ({"firewall_extra_ports": [{"port": 1, "proto": "icmp"}]}, "firewall_extra_ports[0].proto", "tcp, udp"),
        ({"firewall_extra_ports": [{"port": 1, "sources": ["lan"]}]}, "firewall_extra_ports[0].sources", "'lan'"),
        ({"firewall_extra_ports": [{"port": 1, "sources": 7}]}, "firewall_extra_ports[0].sources", "list"),
    ],
)
def test_a_bad_value_is_named_with_its_cure(values: dict[str, Any], start: str, words: str) -> None:
    (said,) = _role_values.problems(values)
    assert said.startswith(start) and words in said
    good = {"domain": SITE, "server_address": "127.0.0.1"}
    assert said in _site.problems({**good, **values}, {}, ["nginx"]), "the first check asks for it"


def test_good_values_pass() -> None:
    good = {
        "reverse_proxy_tls_profile": "modern",
        "port_binding_tls_profile": "intermediate",
        "reverse_proxy_log_requests": "all",
        "port_binding_trusted_proxies": ["192.168.1.5/32"],
        "port_binding_yield_to": ["jellyfin.service", "container@media.service"],
        "port_binding_dlna": "no",
        "certificate_acme_port": "889",
        "certificate_renew_days": 0,
        "certificate_local_ca_days": 366,
        "certificate_files_rsa": {SITE: PAIR},
        "firewall_zone": "public",
        "firewall_extra_ports": [
            {"port": 8443},
            {"port": "9000-9010", "proto": "udp", "sources": ["10.0.0.0/8", "fd00::1"], "comment": "x"},
            {"source_port": 5000, "proto": "udp", "sources": "10.0.0.1,10.0.0.2"},
            {"port": 22, "sources": []},
        ],
    }
    assert _role_values.problems(good) == []
    assert _role_values.problems({}) == []
    assert _role_values.problems(dict.fromkeys(good, "")) == [], "not defined, before ansible-core 2.19"


def test_a_second_pair_is_for_a_site() -> None:
    (said,) = _role_values.problems({"certificate_files_rsa": {"Media.example.org": PAIR}}, [SITE])
    assert said.startswith("certificate_files_rsa[Media.example.org] is for no site") and SITE in said
    values = {"domain": SITE, "server_address": "127.0.0.1", "certificate_files_rsa": {"other.example.org": PAIR}}
    assert any("is for no site" in line for line in _site.problems(values, {}, ["nginx"]))
    assert _role_values.problems({"certificate_files_rsa": {SITE: PAIR}}, [SITE]) == []


def test_a_media_server_is_not_asked_for_what_the_edge_has() -> None:
    host = {"firewalls": {"firewalld": {"active": True, "zones": ["public"]}, "ufw": {}}}
    values = {"firewall": "auto", "firewall_zone": "lan", "certificate_files_rsa": {SITE: PAIR}}
    edges = [line for line in _site.problems(values, host, [], edge=True) if "zone" in line or "files_rsa" in line]
    assert len(edges) == 2
    assert not [line for line in _site.problems(values, host, [], edge=False) if "zone" in line or "files_rsa" in line]


@pytest.mark.parametrize(
    ("firewall", "firewalld", "ufw", "refused"),
    [
        ("firewalld", {"active": False}, {"active": False}, True),
        ("auto", {"active": True}, {"active": True}, True),
        ("auto", {"active": False}, {"active": False}, True),
        ("auto", {"active": False}, {"active": True}, False),
        ("ufw", {"active": True}, {"active": False}, False),
        ("none", {"active": True}, {"active": False}, False),
    ],
)
def test_a_zone_is_one_that_firewalld_has(
    firewall: str, firewalld: dict[str, Any], ufw: dict[str, Any], refused: bool
) -> None:
    host = {"firewalls": {"firewalld": {**firewalld, "zones": ["home", "public"]}, "ufw": ufw}}
    values = {"firewall": firewall, "firewall_zone": "lan"}
    found = _role_values.problems(values, [], host)
    assert len(found) == refused and all("home, public" in line for line in found)
    assert _role_values.problems({**values, "firewall_zone": "home"}, [], host) == []
    host["firewalls"]["firewalld"]["zones"] = []
    assert _role_values.problems(values, [], host) == [], "firewalld is not there yet"


def test_the_profiles_are_those_of_the_data_file() -> None:
    data = yaml.safe_load((ROLES / "jellyfin" / "vars" / "tls.yml").read_text())
    assert sorted(data["_jellyfin_tls"]["profiles"]) == sorted(_role_values.TLS_PROFILES)


@pytest.mark.parametrize(
    ("values", "start", "words"),
    [
        ({"published": "all=http://x"}, "jellyfin_published", "give a list"),
        ({"published": ["all=http://x"]}, "jellyfin_published[0]", "mapping"),
        ({"published": [{"for": "all", "uri": "http://x"}]}, "jellyfin_published[0]", "'uri'"),
        ({"published": [{"for": "all", "url": "media.lan:8096"}]}, "jellyfin_published[0]", "no full URL"),
        (
            {"published": [{"for": "all", "url": "http://x"}, {"for": "10.0.0.0/33", "url": "http://x"}]},
            "jellyfin_published[1]",
            "'10.0.0.0/33'",
        ),
        ({"published": [{"url": "http://x"}]}, "jellyfin_published[0]", "none of all, internal"),
        (
            {"published": [{"for": "all", "url": "http://x", "domain": "c.example"}]},
            "jellyfin_published[0].domain",
            "a.example, b.example",
        ),
        (
            {"published": [{"for": "all", "url": "http://x"}, {"for": "all", "url": "ftp://x", "domain": "b.example"}]},
            "jellyfin_published[1]",
            "'ftp://x'",
        ),
        (
            {"published": [{"for": "all", "url": "http://x"}, {"for": "ALL", "url": "http://y"}]},
            "jellyfin_published[1]",
            "there twice",
        ),
        ({"port_binding_limits": {"source_rat": 1}}, "port_binding_limits.source_rat", "not known"),
        ({"port_binding_limits": {"idle_seconds": 0}}, "port_binding_limits.idle_seconds", "greater than 0"),
        ({"port_binding_limits": {"idle_seconds": "75s"}}, "port_binding_limits.idle_seconds", '"75s"'),
        ({"port_binding_limits": [1]}, "port_binding_limits", "not an object"),
        ({"port_binding_hdhomerun_relay_for": ["fd00::1"]}, "port_binding_hdhomerun_relay_for[0]", "no IPv4 address"),
        ({"port_binding_metrics_relay": 70000}, "port_binding_metrics_relay", "70000"),
        ({"port_binding_metrics_discovery": "many"}, "port_binding_metrics_discovery", "many"),
    ],
)
def test_what_the_service_would_refuse_is_told_by_the_variable_s_name(
    values: dict[str, Any], start: str, words: str
) -> None:
    (said,) = _service_values.problems(values, DOMAINS)
    assert said.startswith(start) and words in said


def test_what_the_service_takes_passes() -> None:
    good = {
        "published": [
            {"for": "all", "url": "https://media.example"},
            {"key": "eth0", "url": "http://10.0.0.1:8096/x"},
            {"for": "all", "url": "https://b.example", "domain": "b.example"},
        ],
        "port_binding_limits": {"idle_seconds": 90, "connections": 0},
        "port_binding_hdhomerun_relay_for": ["192.168.1.4"],
        "port_binding_metrics_relay": "9096",
        "port_binding_metrics_discovery": 0,
    }
    assert _service_values.problems(good, DOMAINS) == []
    assert _service_values.problems({}, DOMAINS) == []
    assert _service_values.problems({"port_binding_hdhomerun_relay_for": "auto"}, DOMAINS) == []
    assert _service_values.problems(dict.fromkeys(good, ""), DOMAINS) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("firewall_enable", "maybe", "give true or false"),
        ("reverse_proxy_http3", "enabled", "give true or false"),
        ("reverse_proxy_log_requests", "none", "give one of errors, all"),
        ("server_network_restart_timeout", "soon", "give a whole number"),
        ("reverse_proxy_binary", [1], "give a mapping"),
        ("port_binding_yield_to", {"a": 1}, "give a list of texts"),
    ],
)
def test_what_a_role_s_specification_would_refuse_is_said_before_any_role_runs(
    name: str, value: Any, words: str
) -> None:
    (said,) = _specifications.problems({name: value}, lambda item: item).values()
    assert said.startswith(f"{name} is {value!r}: ") and words in said


def test_what_the_specifications_take_passes() -> None:
    given: dict[str, Any] = {}
    for role in _specifications.NAMES:
        given |= yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())
    for role in _specifications.NAMES:
        options = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
        for option in options["options"].values():
            assert option["type"] == "raw" or _specifications._wanted(option), "there are words for it"
    assert len(given) > 20 and _specifications.problems(given, lambda item: item) == {}
    assert _specifications.problems({"firewall_enable": "yes", "firewall_zone": None}, lambda item: item) == {}
    names = {path.parents[1].name for path in ROLES.glob("*/defaults/main.yml")} - {"jellyfin", "verify"}
    assert names == set(_specifications.NAMES), "each role that site.yml has"

    def unknown(_item: Any) -> Any:
        raise KeyError("_later")

    assert _specifications.problems({"firewall_enable": "{{ _later }}"}, unknown) == {}


def test_every_value_that_the_check_reads_is_handed_to_it() -> None:
    handed = yaml.safe_load((ROLES / "jellyfin" / "vars" / "main.yml").read_text())["_jellyfin_values"]
    modules = (_role_values, _service_values, _site, _proxy_values)
    source = "".join(Path(module.__file__).read_text() for module in modules)
    for role in ("certificate", "firewall", "port_binding", "reverse_proxy", "server_network"):
        options = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
            "options"
        ]
        for name in options:
            if f'"{name}"' in source:
                key = name if name in handed else name.replace("reverse_proxy_", "", 1)
                assert key in handed and json.dumps(handed[key]).find(name) > 0, name
    for name in _site.SWITCHES:
        assert f"jellyfin_{name} " in handed[name]
