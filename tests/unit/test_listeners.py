"""Who offers a port to the LAN, by what the server on the edge is configured to take."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.module_utils.parsing.convert_bool import boolean

VALUES = Path(__file__).resolve().parents[2] / "roles" / "jellyfin" / "vars" / "main.yml"


def listeners(held=(), local=(), **user):
    """`_jellyfin_listeners` with TCP and UDP ports that are held, and those of them that only the edge itself reaches."""
    environment = jinja2.Environment()
    environment.filters["bool"] = boolean
    ports = {"tcp": list(local), "udp": list(local)}
    values = {
        "jellyfin_http": "auto",
        "jellyfin_http_port": 8096,
        "jellyfin_https": False,
        "jellyfin_https_port": 8920,
        "jellyfin_discovery": "auto",
        "jellyfin_ssdp": "auto",
        "jellyfin_hdhomerun": False,
        "_jellyfin_server_tcp": list(held),
        "_jellyfin_server_udp": list(held),
        "_jellyfin_host": {"server_install": {"holds": {"tcp": list(held), "udp": list(held)}, "loopback": ports}},
        **user,
    }
    expressions = yaml.safe_load(VALUES.read_text())["_jellyfin_listeners"]
    return {name: environment.from_string(text).render(values) for name, text in expressions.items()}


def test_what_nobody_holds_is_ours():
    assert listeners() == {
        "http": "relay",
        "https": "nobody",
        "discovery": "relay",
        "ssdp": "relay",
        "hdhomerun": "nobody",
    }
    assert listeners(jellyfin_https=True, jellyfin_hdhomerun=True)["https"] == "relay"


def test_what_the_server_holds_is_left_to_it():
    held = (8096, 8920, 7359, 1900)
    assert listeners(held) == dict.fromkeys(("http", "https", "discovery", "ssdp"), "server") | {"hdhomerun": "nobody"}


@pytest.mark.parametrize("said", [False, "no", "False"])
def test_what_is_off_is_nobodys(said):
    found = listeners((8096, 7359, 1900), jellyfin_http=said, jellyfin_discovery=said, jellyfin_ssdp=said)
    assert set(found.values()) == {"nobody"}


def test_what_is_asked_for_is_ours_whoever_holds_it():
    assert listeners((8096, 7359), jellyfin_http=True, jellyfin_discovery=True)["http"] == "relay"


def test_what_the_server_holds_on_loopback_alone_nobody_offers():
    every = (8096, 8920, 7359, 1900)
    assert set(listeners(every, every, jellyfin_https=True).values()) == {"nobody"}
    found = listeners(every, (8096,))
    assert found["http"] == "nobody" and found["discovery"] == "server"
