"""Who offers a port to the LAN, by what the server on the edge is configured to take."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.jellynet.jellyfin.plugins.filter.switch import switch

ROLES = Path(__file__).resolve().parents[2] / "roles"


def listeners(held=(), local=(), **user):
    """`_jellyfin_listeners` with TCP and UDP ports that are held, and those of them that only the edge itself reaches."""
    environment = jinja2.Environment()
    environment.filters["jellynet.jellyfin.switch"] = switch
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
    expressions = yaml.safe_load((ROLES / "jellyfin" / "vars" / "main.yml").read_text())["_jellyfin_listeners"]
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


EVERY = ("http", "https", "discovery", "ssdp", "hdhomerun")
OFF = [False, 0, "no", "False", "off", "Off", "0", "n"]
ON = [True, 1, "yes", "True", "on", "ON", "1", "y"]


@pytest.mark.parametrize("said", OFF)
@pytest.mark.parametrize("held", [(), (8096, 7359, 1900)])
def test_what_is_off_is_nobodys(said, held):
    found = listeners(held, **{f"jellyfin_{name}": said for name in EVERY})
    assert set(found.values()) == {"nobody"}


@pytest.mark.parametrize("said", ON)
def test_what_is_asked_for_is_ours_whoever_holds_it(said):
    found = listeners((8096, 7359, 1900), **{f"jellyfin_{name}": said for name in EVERY})
    assert set(found.values()) == {"relay"}


@pytest.mark.parametrize("said", ["enabled", "", None, 2, "Auto", 1.5, ["auto"]])
def test_what_is_neither_auto_nor_a_boolean_is_not_guessed_at(said):
    with pytest.raises(AnsibleFilterError, match="auto, true or false"):
        listeners(jellyfin_http=said)


def test_what_the_server_holds_on_loopback_alone_nobody_offers():
    every = (8096, 8920, 7359, 1900)
    assert set(listeners(every, every, jellyfin_https=True).values()) == {"nobody"}
    found = listeners(every, (8096,))
    assert found["http"] == "nobody" and found["discovery"] == "server"


def announced(local=(), published=(), http="relay"):
    """What the service is told to announce of two sites, by `upstreams.json.j2`."""
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters.update({"to_json": json.dumps, "bool": boolean, "jellynet.jellyfin.switch": switch})
    site = {"server_address": "10.0.0.1", "server_url": "http://10.0.0.1:8096", "path": "/j", "server_is_local": True}
    text = environment.from_string((ROLES / "port_binding" / "templates" / "upstreams.json.j2").read_text()).render(
        _jellyfin_sites=[{**site, "domain": "a.example"}, {**site, "domain": "b.example"}],
        _jellyfin_host={"server_install": {"package": "", "loopback": {"tcp": list(local), "udp": []}}},
        _jellyfin_listeners={"http": http},
        jellyfin_published=list(published),
        jellyfin_http_port=8096,
        port_binding_dlna="auto",
    )
    return [([item["url"] for item in server["published"]], server["announce_port"]) for server in json.loads(text)]


def test_where_the_lan_has_no_plain_http_the_site_s_own_address_is_announced():
    second = (["https://b.example/j"], 0)
    assert announced() == [([], 8096), second]
    assert announced(http="nobody") == [([], 0), second], "the server itself knows where it can be reached"
    assert announced(local=[8096], http="nobody") == [(["https://a.example/j"], 0), second]
    mine = [{"for": "all", "url": "http://x"}]
    assert announced(local=[8096], http="nobody", published=mine)[0] == (["http://x"], 0)
