"""The site's values: each wrong one is named with its variable, its value and what to do."""

from __future__ import annotations

import pytest
from ansible_collections.jellynet.jellyfin.plugins.action import check_site
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _site

PROXIES = ("nginx", "caddy")
GOOD = {
    "domain": "jellyfin.example.com",
    "path": "",
    "sites": [],
    "server_address": "192.168.1.10",
    "server_port": 8096,
    "http": "auto",
    "http_port": 8096,
    "https": False,
    "https_port": 8920,
    "hdhomerun_tuners": [],
    "proxy": "nginx",
    "certificate": "letsencrypt",
    "certificate_key_types": ["ecdsa"],
    "certificate_fullchain": "",
    "certificate_privkey": "",
    "acme_directory": _site.LETSENCRYPT,
    "acme_email": "",
    "acme_ca_bundle": "",
    "firewall": "auto",
    "lan": "auto",
    "allow_untested": False,
}
HOST = {
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12"},
    "selinux": "disabled",
    "interfaces": [{"name": "eth0", "addresses": [{"address": "192.168.1.2", "prefix": 24}]}],
}


def problems(host=None, defined=(), edge=True, **changed):
    return _site.problems({**GOOD, **changed}, host or {}, PROXIES, defined, edge)


def test_good_values_have_no_problem():
    assert problems() == []
    assert problems(host=HOST) == []


@pytest.mark.parametrize(
    ("changed", "variable", "word"),
    [
        ({"domain": ""}, "jellyfin_domain", "not set"),
        ({"domain": "a.example\nserver_name evil"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "a.example\n"}, "jellyfin_domain", "not a DNS name"),
        ({"path": "/jellyfin\n"}, "jellyfin_path", "letters"),
        ({"server_address": "media\n"}, "jellyfin_server_address", "neither an IP address"),
        ({"server_address": "fe80::1%eth0;"}, "jellyfin_server_address", "port apart"),
        ({"acme_directory": "https://ca.example/dir\n"}, "jellyfin_acme_directory", "https://"),
        ({"acme_email": "me@a.example\n"}, "jellyfin_acme_email", "not an e-mail address"),
        ({"acme_ca_bundle": "/etc/ca.pem\nExecStart=/bin/true"}, "jellyfin_acme_ca_bundle", "absolute path"),
        ({"domain": "a b.example"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "a{b.example"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "a.example;"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "*.example.com"}, "jellyfin_domain", "wildcard"),
        ({"domain": "https://a.example"}, "jellyfin_domain", "bare name"),
        ({"domain": "192.0.2.1"}, "jellyfin_domain", "address"),
        ({"domain": "müller.example"}, "jellyfin_domain", "xn--"),
        ({"domain": "-a.example"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "a" * 64 + ".example"}, "jellyfin_domain", "not a DNS name"),
        ({"domain": "a.example."}, "jellyfin_domain", "not a DNS name"),
        ({"path": "jellyfin"}, "jellyfin_path", "begin with a slash"),
        ({"path": "/jellyfin/"}, "jellyfin_path", "drop the slash"),
        ({"path": "/"}, "jellyfin_path", "drop the slash"),
        ({"path": "/a b"}, "jellyfin_path", "'a b'"),
        ({"path": "/../etc"}, "jellyfin_path", "'..'"),
        ({"path": "/.well-known/x"}, "jellyfin_path", "renewal"),
        ({"server_address": "http://10.0.0.1"}, "jellyfin_server_address", "only the address"),
        ({"server_address": "10.0.0.1:8096"}, "jellyfin_server_address", "jellyfin_server_port"),
        ({"server_address": "0.0.0.0"}, "jellyfin_server_address", "127.0.0.1"),
        ({"server_address": "a;b"}, "jellyfin_server_address", "neither"),
        ({"server_port": 0}, "jellyfin_server_port", "1 to 65535"),
        ({"server_port": "80x"}, "jellyfin_server_port", "1 to 65535"),
        ({"http_port": 70000}, "jellyfin_http_port", "1 to 65535"),
        ({"http_port": 8920}, "jellyfin_https_port", "both 8920"),
        ({"http_port": 443}, "jellyfin_http_port", "the proxy"),
        ({"lan": ["192.168.1.0/33"]}, "jellyfin_lan", "no network"),
        ({"lan": ["192.168.1.7/24"]}, "jellyfin_lan", "192.168.1.0/24"),
        ({"lan": ["0.0.0.0/0"]}, "jellyfin_lan", "are the Internet's"),
        ({"lan": ["::/0"]}, "jellyfin_lan", "are the Internet's"),
        ({"lan": ["0.0.0.0/1", "128.0.0.0/1"]}, "jellyfin_lan", "'128.0.0.0/1': so many addresses are the Internet's"),
        ({"lan": ["10.0.0.0/7"]}, "jellyfin_lan", "are the Internet's"),
        ({"lan": [f"{n}.0.0.0/8" for n in range(0, 224, 2)]}, "jellyfin_lan", "together"),
        ({"lan": ["2000::/3"]}, "jellyfin_lan", "are the Internet's"),
        ({"lan": ["::ffff:0:0/96"]}, "jellyfin_lan", "Write them as IPv4"),
        ({"lan": "192.168.1.0/24"}, "jellyfin_lan", "list"),
        ({"proxy": "lighttpd"}, "jellyfin_proxy", "caddy, nginx"),
        ({"certificate": "zerossl"}, "jellyfin_certificate", "letsencrypt"),
        ({"certificate": "files"}, "jellyfin_certificate_fullchain", "absolute path"),
        ({"certificate_key_types": ["dsa"]}, "jellyfin_certificate_key_types", "ecdsa"),
        ({"domain": "media.lan"}, "jellyfin_certificate", "local_ca"),
        ({"domain": "media"}, "jellyfin_certificate", "local_ca"),
        ({"acme_directory": "http://ca.example/dir"}, "jellyfin_acme_directory", "https://"),
        ({"acme_email": "me at home"}, "jellyfin_acme_email", "not an e-mail"),
        ({"acme_ca_bundle": "ca.pem"}, "jellyfin_acme_ca_bundle", "absolute"),
        ({"firewall": "nftables"}, "jellyfin_firewall", "firewalld"),
        ({"hdhomerun_tuners": ["192.168.1.0/24"]}, "jellyfin_hdhomerun_tuners", "own IPv4 addresses"),
        ({"hdhomerun_tuners": ["fd00::1"]}, "jellyfin_hdhomerun_tuners", "own IPv4 addresses"),
        ({"sites": [{"domain": "a.example"}, {"domain": "A.example"}]}, "jellyfin_sites", "twice"),
        ({"sites": [{"domian": "a.example"}]}, "jellyfin_sites[0]", "domian"),
        ({"sites": ["a.example"]}, "jellyfin_sites[0]", "mapping"),
    ],
)
def test_a_wrong_value_is_named(changed, variable, word):
    found = problems(**changed)
    assert any(variable in line and word in line for line in found), found


def test_all_problems_come_at_once():
    assert len(problems(domain="", path="x", proxy="y", http_port=0)) == 4


def test_a_relay_that_would_be_its_own_server():
    for address in ("127.0.0.1", "localhost", "::1", "192.168.1.2"):
        (found,) = problems(host=HOST, server_address=address, http=True)
        assert "own server" in found and "jellyfin_http" in found
    for said in ("True", "yes", "1"):  # as `-e jellyfin_http=True` gives it
        assert problems(host=HOST, server_address="127.0.0.1", http=said)
    assert problems(host=HOST, server_address="192.168.1.2") == []  # auto leaves the port to it
    assert problems(host=HOST, server_address="127.0.0.1", http=True, http_port=8097) == []
    (found,) = problems(host=HOST, server_address="127.0.0.1", server_port=8920, https=True)
    assert "jellyfin_https: false" in found


def resolved(*addresses, name="media.lan", port=8096):
    return {**HOST, "servers": {f"{name}:{port}": {"addresses": list(addresses)}}}


@pytest.mark.parametrize("address", ["192.168.1.2", "127.0.1.1", "::ffff:192.168.1.2"])
def test_a_name_that_leads_to_the_edge_is_the_edge(address):
    host = resolved("192.168.1.77", address)
    (found,) = problems(host=host, server_address="Media.lan", http=True)
    assert "own server" in found and "jellyfin_http" in found
    assert problems(host=host, server_address="media.lan") == []  # auto leaves the port to it
    (site,) = _site.sites({**GOOD, "server_address": "media.lan"}, host)
    assert site["server_is_local"]


def test_a_name_that_leads_elsewhere_or_nowhere_is_not_the_edge():
    for host in (resolved("192.168.1.77"), resolved(), HOST, resolved("192.168.1.2", name="other.lan")):
        assert problems(host=host, server_address="media.lan", http=True) == []


@pytest.mark.parametrize(
    ("addresses", "own"),
    [
        ((), True),
        (("1.1.1.1",), True),
        (("192.168.1.2",), True),
        (("192.168.1.77",), False),
        (("1.1.1.1", "10.0.0.9"), False),
    ],
)
def test_a_site_s_own_domain_is_the_edge_unless_the_edge_finds_a_host_of_the_lan_behind_it(addresses, own):
    host = resolved(*addresses, name="jellyfin.example.com")
    found = problems(host=host, server_address="jellyfin.example.com", http=True)
    assert len(found) == own and all("own server" in line for line in found)
    (site,) = _site.sites({**GOOD, "server_address": "Jellyfin.example.com"}, host)
    assert site["server_is_local"] is own


def test_a_site_s_own_domain_is_not_judged_before_the_edge_was_asked():
    assert problems(server_address="jellyfin.example.com", http=True) == []


def test_a_proxy_that_would_be_its_own_server():
    for port in (80, 443):
        (found,) = problems(host=HOST, server_address="192.168.1.2", server_port=port)
        assert "the proxy would be its own server" in found and "jellyfin_server_port" in found
        assert problems(host=HOST, server_address="192.168.1.10", server_port=port) == []


@pytest.mark.parametrize("key", ["http", "https", "discovery", "ssdp", "hdhomerun"])
@pytest.mark.parametrize("said", ["enabled", "", None, 2, "Auto", ["auto"]])
def test_a_switch_is_auto_or_a_boolean(key, said):
    (found,) = problems(**{key: said})
    assert found.startswith(f"jellyfin_{key} is {said!r}: give ") and "true or false" in found


@pytest.mark.parametrize("said", [True, False, 1, 0, "yes", "NO", "on", "off", "1", "0", "y", "n", "True", "false"])
def test_every_spelling_of_a_boolean_is_one(said):
    assert problems(**dict.fromkeys(("http", "https", "discovery", "ssdp", "hdhomerun"), said)) == []


def test_auto_is_an_answer_where_there_is_something_to_find_out():
    assert problems(http="auto", discovery="auto", ssdp="auto") == []
    for key in ("https", "hdhomerun"):
        (found,) = problems(**{key: "auto"})
        assert found == f"jellyfin_{key} is 'auto': give true or false"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"http_port": 888}, "jellyfin_http_port is 888: that port belongs to certbot"),
        ({"https_port": 888}, "jellyfin_https_port is 888: that port belongs to certbot"),
        ({"http_port": 900, "certificate_acme_port": "900"}, "jellyfin_http_port is 900: that port belongs to certbot"),
        (
            {"server_address": "127.0.0.1", "server_port": 888},
            "jellyfin_server_port is 888: that port belongs to certbot",
        ),
        ({"http_port": 1900}, "jellyfin_http_port is 1900: that port belongs to SSDP's description"),
        ({"certificate_acme_port": 443}, "certificate_acme_port is 443: that port belongs to the proxy"),
    ],
)
def test_a_port_that_is_taken_on_the_edge_is_refused(changed, words):
    (found,) = problems(host=HOST, **changed)
    assert words in found


def test_a_port_is_taken_where_it_is_needed_only():
    assert problems(host=HOST, server_port=888) == [], "on another host"
    assert problems(host=HOST, http_port=888, certificate_acme_port=889) == []


def two(**second):
    first = {"domain": "a.example.com", "path": "/jellyfin"}
    return {"sites": [first, {"domain": "b.example.com", **second}]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.168.1.10", {}),
        ("192.168.1.10", {"path": "/media"}),
        ("fd00::1", {"server_address": "[fd00:0::1]"}),
        ("Media.lan", {"server_address": "media.lan"}),
        ("localhost", {"server_address": "127.0.0.1"}),
    ],
)
def test_one_server_has_one_path(first, second):
    (found,) = problems(server_address=first, **two(**second))
    assert "a.example.com" in found and "b.example.com" in found and "jellyfin_sites[1].path" in found
    assert "BaseUrl" in found and "'/jellyfin'" in found


def test_two_servers_have_a_path_each_and_one_may_have_two_names():
    for second in ({"server_port": 8097}, {"server_address": "192.168.1.11"}, {"path": "/jellyfin"}):
        assert problems(**two(**second)) == []
    assert problems(server_address="127.0.0.1", **two(server_address="127.0.0.2")) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"server_network_known_proxies": "192.168.1.2"}, "give auto, or a list"),
        ({"server_network_known_proxies": ["http://192.168.1.2"]}, "holds 'http://192.168.1.2'"),
        ({"server_network_known_proxies": [7]}, "holds 7"),
        ({"server_network_known_proxies": ["0.0.0.0/0"]}, "believed"),
        ({"server_network_known_proxies": ["192.168.1.2/24"]}, "192.168.1.0/24"),
        ({"server_network_config_dir": "config"}, "server_network_config_dir is 'config'"),
        ({"server_network_base_url": "jellyfin"}, "server_network_base_url is 'jellyfin'"),
    ],
)
def test_what_the_server_is_told_is_checked_with_the_rest(changed, words):
    for edge in (True, False):
        (found,) = problems(edge=edge, **changed)
        assert next(iter(changed)) in found and words in found


def test_what_a_server_may_be_told():
    for proxies in ("auto", "", None, [], ["192.168.1.2", "fd00::1", "10.0.0.0/8", "edge.lan"]):
        assert problems(server_network_known_proxies=proxies) == []
    assert problems(server_network_config_dir="/etc/jellyfin", server_network_base_url="/x") == []


CHECKSUM = "sha256:" + "0" * 64
BINARY = {"version": "3.7.15", "x86_64": {"source": "traefik.tar.gz", "checksum": CHECKSUM}}
ROWS = {
    "nginx": {},
    "traefik": {"binary": "required", "minimum": "3.7.12"},
    "caddy": {"binary": "optional", "minimum": "2.8"},
}


def with_binary(binary, proxy="traefik", **host):
    return _site.problems({**GOOD, "proxy": proxy, "reverse_proxy_binary": binary}, host and {**HOST, **host}, ROWS)


@pytest.mark.parametrize(
    "binary",
    [
        None,
        {},
        {"version": "3.7.15"},
        {"x86_64": BINARY["x86_64"]},
        {"version": "3.7.15", "x86_64": {"source": "traefik.tar.gz"}},
        {"version": "3.7.15", "x86_64": {"source": "traefik.tar.gz", "checksum": "md5:1"}},
        {"version": "3.7.15", "x86_64": {"checksum": CHECKSUM}},
    ],
)
def test_a_proxy_without_a_package_needs_its_program_named(binary):
    (found,) = with_binary(binary)
    assert "jellyfin_proxy is traefik, which needs its program named. Set reverse_proxy_binary to a version" in found


def test_a_program_is_named_for_the_host_s_architecture():
    assert with_binary(BINARY) == [] and with_binary(BINARY, architecture="x86_64") == []
    (found,) = with_binary(BINARY, architecture="aarch64")
    assert "aarch64 (this host's architecture)" in found


def test_a_program_that_is_too_old_is_refused():
    for version in ("3.1.0", "v3.6.99", "2", "3.7.11"):
        (found,) = with_binary({**BINARY, "version": version})
        assert f"reverse_proxy_binary.version is {version}; the configuration needs 3.7.12 or newer" in found
    for version in ("3.7.12", "v3.10.1", "4", "3.8.0-rc1"):
        assert with_binary({**BINARY, "version": version}) == []
    (found,) = with_binary({**BINARY, "version": "latest"})
    assert "'latest'" in found
    (found,) = with_binary("3.7.15")
    assert found.startswith("reverse_proxy_binary is '3.7.15'")


def test_a_program_is_asked_for_where_the_proxy_takes_one():
    assert with_binary({}, proxy="caddy") == [] and with_binary({"version": 1}, proxy="nginx") == []
    assert "2.8 or newer" in with_binary({**BINARY, "version": "2.6.2"}, proxy="caddy")[0]
    assert "needs its program named" in with_binary({"version": "2.11.0"}, proxy="caddy")[0]


def test_the_rows_of_the_role_say_which_proxy_needs_a_program():
    rows = check_site.proxy_rows()
    assert set(rows) == {"apache", "caddy", "haproxy", "nginx", "traefik"}
    assert {name: row.get("binary") for name, row in rows.items() if row.get("binary")} == {
        "traefik": "required",
        "caddy": "optional",
    }
    assert rows["traefik"]["minimum"] == "3.7.12"


def test_on_a_media_server_its_own_address_is_right():
    assert problems(host=HOST, edge=False, domain="", server_address="192.168.1.2", http=True) == []


def container(port, proto="tcp"):
    local = {"tcp": [], "udp": [], proto: [port]}
    ports = [{"port": port, "proto": proto, "address": "127.0.0.1"}]
    return {**HOST, "server_install": {"loopback": local, "containers": [{"name": "jf", "ports": ports}]}}


def test_a_container_that_publishes_to_the_edge_alone_is_named():
    (said,) = _site.warnings(GOOD, container(8096))
    assert said.startswith("The container jf publishes 8096/tcp on a loopback address alone")
    assert "-p 127.0.0.1:8097:8096" in said and "jellyfin_server_port: 8097" in said and "jellyfin_http: false" in said
    (said,) = _site.warnings(GOOD, container(7359, "udp"))
    assert "client discovery" in said and "jellyfin_discovery: false" in said


def test_a_container_that_publishes_to_the_edge_alone_is_not_named_where_nobody_wants_the_port():
    assert _site.warnings({**GOOD, "http": False}, container(8096)) == []
    assert _site.warnings(GOOD, container(9999)) == []
    assert _site.warnings(GOOD, container(8920)) == []  # https is off
    assert _site.warnings(GOOD, {}) == [] and _site.warnings(GOOD, HOST) == []


@pytest.mark.parametrize(
    "name",
    ["jellyfin_discovery_port", "jellyfin_ssdp_port", "port_binding_discovery_port", "jellyfin_client_discovery_port"],
)
def test_the_fixed_ports_cannot_be_moved(name):
    (found,) = problems(defined=[name, "jellyfin_http_port"])
    assert name in found and "cannot be moved" in found


@pytest.mark.parametrize(
    "system",
    [{"id": "debian", "version": "11", "name": "Debian 11"}, {"id": "fedora", "version": "12", "name": "Fedora"}],
)
def test_an_untested_system_is_refused_with_an_override(system):
    (found,) = problems(host={**HOST, "os": system})
    assert system["name"] in found and "jellyfin_allow_untested" in found
    assert problems(host={**HOST, "os": system}, allow_untested=True) == []


def test_selinux_enforcing_is_refused():
    (found,) = problems(host={**HOST, "selinux": "enforcing"})
    assert "SELinux" in found


def test_a_media_server_needs_no_domain():
    assert problems(domain="", edge=False) == []


def test_a_private_acme_server_may_certify_private_names():
    assert problems(domain="media.lan", acme_directory="https://ca.lan/dir") == []


def test_one_site_from_the_scalars():
    (site,) = _site.sites({**GOOD, "domain": "Jellyfin.Example.com", "path": "/jellyfin"}, {})
    assert site["domain"] == "jellyfin.example.com"
    assert site["door"] == "/etc/jellynet/certificates/jellyfin.example.com"
    assert site["server_url"] == "http://192.168.1.10:8096"
    assert site["path"] == "/jellyfin"
    assert site["admit_internet"] is False
    assert site["hsts"] == ""


def test_several_sites_take_what_they_do_not_say_from_the_scalars():
    first, second = _site.sites(
        {
            **GOOD,
            "sites": [
                {"domain": "a.example", "server_address": "fd00::1"},
                {"domain": "b.example", "certificate": "local_ca"},
            ],
        },
        {},
    )
    assert first["server_url"] == "http://[fd00::1]:8096" and first["certificate"] == "letsencrypt"
    assert second["server_address"] == "192.168.1.10" and second["certificate"] == "local_ca"


def server(**what):
    return {"servers": {"192.168.1.10:8096": what}}


@pytest.mark.parametrize(
    ("found", "remembered", "admitted"),
    [
        ({"ready": True, "wizard_done": True}, False, True),
        ({"ready": True, "wizard_done": False}, True, False),  # a server that was set up anew
        ({"ready": False}, True, True),  # down or starting: what an earlier run found holds
        ({"ready": False}, False, False),
        ({}, False, False),
    ],
)
def test_the_internet_is_admitted_once_the_wizard_is_done(found, remembered, admitted):
    host = {**server(**found), "record": {"wizard_done": {"192.168.1.10:8096": remembered}}}
    (site,) = _site.sites(GOOD, host)
    assert site["admit_internet"] is admitted
    assert site["wizard_changed"] is (admitted != remembered)


def test_hsts_only_with_a_publicly_trusted_certificate():
    def hsts(**more):
        public = more.pop("public", True)
        (site,) = _site.sites({**GOOD, **more}, {"certificates": {"jellyfin.example.com": {"public": public}}})
        return site["hsts"]

    assert hsts(public=False) == ""
    assert hsts() == "max-age=63072000"
    assert hsts(hsts_subdomains=True, hsts_preload=True) == "max-age=63072000; includeSubDomains; preload"
