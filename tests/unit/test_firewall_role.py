"""Which ports the role firewall asks for, by what the user chose. A list of sources that is empty opens nothing; no list is anyone."""

from __future__ import annotations

from typing import Any

import pytest
from role_vars import defaults, rendered

NOTHING: dict[str, list[int]] = {"tcp": [], "udp": []}
HOST = {
    "lan": ["192.168.1.0/24"],
    "server_install": {"holds": NOTHING, "loopback": NOTHING},
    "servers": {},
    "record": {},
    "interfaces": [],
    "certificates": {},
}
LAN, TUNERS, RELAYED = ["192.168.1.0/24"], ["192.168.1.60", "192.168.1.61"], ["192.168.2.10"]
PROXY = {"tcp 80": "anyone", "tcp 443": "anyone"}
ON_THE_LAN = ("tcp 8096", "tcp 8920", "udp 1900", "tcp 1900", "udp 7359")
FOR_TUNERS = ("udp from 65001", "udp 49152-65535", "udp 65001")
OFF = dict.fromkeys(
    ("jellyfin_http", "jellyfin_https", "jellyfin_discovery", "jellyfin_ssdp", "jellyfin_hdhomerun"), "off"
)
ALL_ON = {"jellyfin_https": True, "jellyfin_hdhomerun": "on", "jellyfin_hdhomerun_tuners": TUNERS}


def opened(
    lan: list[str], *ports: str, tuners: list[str] | None = None, relayed: list[str] | None = None
) -> dict[str, Any]:
    """By port, who is let in: these from the LAN, those for the tuners, and everyone at the proxy."""
    by_port: dict[str, Any] = {**PROXY, **{key: [] for key in (*ON_THE_LAN, *FOR_TUNERS)}}
    by_port.update(dict.fromkeys(ports, lan))
    by_port.update({"udp from 65001": tuners or [], "udp 49152-65535": tuners or [], "udp 65001": relayed or []})
    return by_port


DEFAULT_ON = ("tcp 8096", "udp 1900", "udp 7359")
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as delivered": ({}, opened(LAN, *DEFAULT_ON)),
    "off": (OFF, opened(LAN)),
    "off, the tuners named": ({**OFF, "jellyfin_hdhomerun_tuners": TUNERS}, opened(LAN)),
    "no LAN": ({"jellyfin_lan": [], "jellyfin_https": True}, opened([])),
    "no tuners": ({"jellyfin_hdhomerun": True}, opened(LAN, *DEFAULT_ON, relayed=RELAYED)),
    "tuners": (ALL_ON, opened(LAN, *DEFAULT_ON, "tcp 8920", tuners=TUNERS, relayed=RELAYED)),
    "tuners, no LAN": ({**ALL_ON, "jellyfin_lan": []}, opened([], tuners=TUNERS, relayed=RELAYED)),
    # 8096 is offered by nobody of ours, so SSDP's description has a port of its own.
    "no HTTP": ({"jellyfin_http": "no"}, opened(LAN, "udp 1900", "tcp 1900", "udp 7359")),
    "HTTP/3": ({"_reverse_proxy_has_http3": True}, {**opened(LAN, *DEFAULT_ON), "udp 443": "anyone"}),
    "HTTP/3 unwanted": ({"_reverse_proxy_has_http3": True, "reverse_proxy_http3": False}, opened(LAN, *DEFAULT_ON)),
    "one more": (
        {"firewall_extra_ports": [{"port": 8443, "sources": ["10.0.0.0/8"]}]},
        {**opened(LAN, *DEFAULT_ON), "tcp 8443": ["10.0.0.0/8"]},
    ),
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    shared = {
        **defaults("jellyfin", "firewall"),
        "groups": {},
        "jellyfin_domain": "media.example.org",
        "jellyfin_server_address": RELAYED[0],
        "_jellyfin_host": HOST,
        "_reverse_proxy_has_http3": False,
    }
    cases = [{**shared, **values} for values, _ports in CASES.values()]
    folder = tmp_path_factory.mktemp("firewall")
    return dict(zip(CASES, rendered(folder, ["jellyfin", "firewall"], "_firewall_ports", cases)))


def by_port(ports: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for item in ports:
        name = str(item["port"]) if "port" in item else f"from {item['source_port']}"
        key = f"{item.get('proto', 'tcp')} {name}"
        assert key not in found
        found[key] = item.get("sources", "anyone")
    return found


@pytest.mark.parametrize("name", CASES)
def test_what_is_opened_to_whom(asked: dict[str, Any], name: str) -> None:
    assert by_port(asked[name]) == CASES[name][1]
