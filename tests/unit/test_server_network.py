"""What a media server is told of its edges, and what not where an edge had no part in the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _edges_view
from role_vars import defaults, rendered

OWN = ["127.0.0.1", "::1", "192.168.1.10"]
HOST = {
    "interfaces": [{"addresses": [{"address": address} for address in OWN]}],
    "server_install": {"config_dir": "/etc/jellyfin", "network": {}},
}
ALONE, SEVERAL = ("media",), ("media", "media2")


def edge(address: str = "192.168.1.10", source: str = "192.168.1.2", path: str = "", **server: Any) -> dict[str, Any]:
    """What an edge with one site says of itself."""
    key = f"{address}:8096"
    return {
        "sites": [{"server_address": address, "server_key": key, "path": path}],
        "servers": {key: {"source_address": source, "addresses": [], **server}},
    }


@dataclass
class Case:
    """The edges and the servers of an inventory, and what the settings of network.xml have to be."""

    edges: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    absent: list[str] = field(default_factory=list)
    servers: tuple[str, ...] = ALONE
    user: dict[str, Any] = field(default_factory=dict)

    @property
    def vars(self) -> dict[str, Any]:
        hosts: dict[str, dict[str, Any]] = {name: {"inventory_hostname": name} for name in (*self.edges, *self.servers)}
        for name, said in self.edges.items():
            if said:
                hosts[name]["_jellyfin_edge"] = said
        return {
            **defaults("server_network"),
            "groups": {"jellyfin_edge": list(self.edges), "jellyfin_server": list(self.servers)},
            "hostvars": hosts,
            "inventory_hostname": "media",
            "_jellyfin_host": HOST,
            **self.user,
        }


def proxies(*addresses: str) -> dict[str, Any]:
    return {"KnownProxies": list(addresses), "BaseUrl": ""}


FIXED = {"server_network_base_url": "/y"}
CASES = {
    "one edge": Case({"edge": edge(path="/x")}, {"KnownProxies": ["192.168.1.2"], "BaseUrl": "/x"}),
    "two edges": Case({"a": edge(), "b": edge(source="192.168.1.3")}, proxies("192.168.1.2", "192.168.1.3")),
    # An empty KnownProxies would take away what is right, and restart the server for it.
    "the edge had no part": Case({"edge": {}}, {}, ["edge"]),
    "the edge of several servers had no part": Case({"edge": {}}, {}, ["edge"], SEVERAL),
    "one of two edges had no part": Case({"a": edge(), "b": {}}, proxies("192.168.1.2"), ["b"]),
    "the edge finds no way": Case({"edge": edge(source="")}, {"BaseUrl": ""}),
    "a name that leads elsewhere, several servers": Case(
        {"edge": edge("films.lan", addresses=["192.168.1.11"])}, {}, servers=SEVERAL
    ),
    "a name that leads nowhere, several servers": Case({"edge": edge("films.lan")}, {}, servers=SEVERAL),
    "a name that leads here, several servers": Case(
        {"edge": edge("films.lan", addresses=["192.168.1.10"])}, proxies("192.168.1.2"), servers=SEVERAL
    ),
    "a name, one server": Case({"edge": edge("films.lan")}, proxies("192.168.1.2")),
    "said by the user": Case(
        {"edge": {}},
        {**proxies("10.0.0.1"), "BaseUrl": "/y"},
        user={**FIXED, "server_network_known_proxies": ["10.0.0.1"]},
    ),
    "none, said by the user": Case(
        {"edge": edge()}, {**proxies(), "BaseUrl": "/y"}, user={**FIXED, "server_network_known_proxies": []}
    ),
    "its own edge": Case({"media": edge("127.0.0.1", "127.0.0.1")}, proxies("127.0.0.1"), servers=SEVERAL),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    expression = "[_server_network_settings, _server_network_absent]"
    folder = tmp_path_factory.mktemp("server_network")
    return dict(zip(CASES, rendered(folder, ["server_network"], expression, [case.vars for case in CASES.values()])))


@pytest.mark.parametrize("name", CASES)
def test_what_a_server_is_told(told: dict[str, Any], name: str) -> None:
    assert told[name] == [CASES[name].settings, CASES[name].absent]


@pytest.mark.parametrize(
    ("said", "here"),
    [
        (edge("Media"), True),  # the name in the inventory
        (edge("192.168.1.10"), True),
        (edge("192.168.1.11"), False),
        (edge("127.0.0.1"), False),  # the edge's own, not ours
        (edge("localhost", addresses=["127.0.0.1", "::1"]), False),
        (edge("films.lan", addresses=["127.0.1.1"]), False),
    ],
)
def test_of_several_servers_each_hears_of_its_own_sites(said: dict[str, Any], here: bool) -> None:
    view = _edges_view.view({"edge": said}, "media", OWN, alone=False)
    assert view == {"proxies": ["192.168.1.2"] * here, "paths": [""] * here, "absent": []}
