"""What the roles need to know of a host, read from what a host prints."""

from __future__ import annotations

import json

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _debian,
    _interfaces,
    _listeners,
    _network_xml,
    _server_install,
    _server_probe,
)


def link(name, *addresses, kind="", master=None, link_type="ether"):
    found = {
        "ifname": name,
        "link_type": link_type,
        "flags": ["UP", "LOWER_UP"],
        "linkinfo": {"info_kind": kind} if kind else {},
        "addr_info": [{"local": text.split("/")[0], "prefixlen": int(text.split("/")[1])} for text in addresses],
    }
    if master:
        found["master"] = master
    return found


def lan(*links, in_container=False):
    return _interfaces.lan(_interfaces.interfaces(list(links), in_container))


LOOPBACK = link("lo", "127.0.0.1/8", "::1/128", link_type="loopback")


def test_a_home_server_has_its_network_card_as_lan():
    assert lan(LOOPBACK, link("eth0", "192.168.1.2/24", "fd00:1::2/64", "fe80::1/64")) == [
        "192.168.1.0/24",
        "fd00:1::/64",
    ]


def test_a_public_ipv6_prefix_is_lan_only_beside_a_private_ipv4_one():
    assert lan(link("eth0", "192.168.1.2/24", "2001:db8:1::2/64")) == ["192.168.1.0/24", "2001:db8:1::/64"]
    assert lan(link("eth0", "203.0.113.5/24", "2001:db8:1::2/64")) == []


def test_a_providers_private_network_beside_a_public_address_is_no_lan():
    """Where every customer has an address of one private network on the very interface that leads to the Internet."""
    assert lan(link("eth0", "203.0.113.5/24", "192.168.130.7/17", "2001:db8:1::2/64")) == []
    assert lan(link("eth0", "203.0.113.5/32", "10.19.0.5/16")) == []
    # A router with a network card for each side keeps its LAN.
    assert lan(link("eth0", "203.0.113.5/24"), link("eth1", "192.168.1.1/24")) == ["192.168.1.0/24"]
    # Behind a carrier's translation it is a home.
    assert lan(link("eth0", "100.64.3.4/10", "192.168.1.2/24")) == ["192.168.1.0/24"]


def test_bridges_of_containers_and_tunnels_are_no_lan():
    assert (
        lan(
            LOOPBACK,
            link("docker0", "172.17.0.1/16", kind="bridge"),
            link("veth1", kind="veth", master="docker0"),
            link("wg0", "10.8.0.1/24", kind="wireguard", link_type="none"),
            link("tun0", "10.9.0.1/24", kind="tun", link_type="none"),
            link("tailscale0", "100.64.0.1/10", kind="tun", link_type="none"),
            link("vxlan1", "10.10.0.1/24", kind="vxlan"),
        )
        == []
    )


def test_a_bridge_over_a_network_card_is_lan():
    assert lan(
        link("br0", "10.0.0.2/24", kind="bridge"), link("eth0", master="br0"), link("vnet1", kind="tun", master="br0")
    ) == ["10.0.0.0/24"]


def test_vlans_and_bonds_are_lan():
    assert lan(link("eth0.7", "10.7.0.2/24", kind="vlan"), link("bond0", "10.1.0.2/24", kind="bond")) == [
        "10.1.0.0/24",
        "10.7.0.0/24",
    ]


def test_a_veth_is_lan_in_a_container_only():
    assert lan(link("eth0", "10.0.0.2/24", kind="veth")) == []
    assert lan(link("eth0", "10.0.0.2/24", kind="veth"), in_container=True) == ["10.0.0.0/24"]


def test_a_link_that_is_down_or_a_host_route_is_no_lan():
    down = link("eth1", "10.0.0.2/24")
    down["flags"] = []
    assert lan(down, link("eth0", "10.1.0.2/32")) == []


def test_os_release_with_and_without_quotes():
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n# x\n'
    assert _debian.os_release(text) == {
        "id": "debian",
        "version": "12",
        "codename": "bookworm",
        "name": "Debian GNU/Linux 12 (bookworm)",
    }


def test_only_packages_that_are_installed_count():
    status = (
        "Package: a\nStatus: install ok installed\nVersion: 1.2-3\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 9\n\n"
        "Package: c\nStatus: hold ok installed\nVersion: 2\n"
    )
    assert _debian.packages(status.splitlines(keepends=True)) == {"a": "1.2-3", "c": "2"}


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:1FA0 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


def test_listening_sockets_are_read_from_proc():
    assert _listeners.parse(TCP, "tcp") == [{"proto": "tcp", "address": "127.0.0.1", "port": 8096, "inode": "4711"}]
    assert _listeners.parse(TCP6, "tcp") == [{"proto": "tcp", "address": "::1", "port": 443, "inode": "4713"}]


def test_our_own_listener_is_found_and_named():
    import os
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        (found,) = [item for item in _listeners.listeners() if item["port"] == port and item["proto"] == "tcp"]
    with open(f"/proc/{os.getpid()}/comm") as file:
        assert found["process"] == file.read().strip()


def test_the_unit_of_a_process():
    assert _listeners.unit_of("0::/system.slice/nginx.service\n") == "nginx.service"
    assert (
        _listeners.unit_of("1:name=systemd:/system.slice/system-getty.slice/getty@tty1.service\n")
        == "getty@tty1.service"
    )
    assert _listeners.unit_of("0::/user.slice\n") == ""


def test_the_ports_of_a_packaged_server_follow_its_network_xml(tmp_path):
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/jellyfin").write_text('JELLYFIN_CONFIG_DIR="/srv/jf"\n')
    (tmp_path / "srv/jf").mkdir(parents=True)
    text, _ = _network_xml.update(
        "",
        {
            "InternalHttpPort": 8097,
            "AutoDiscovery": False,
            "EnableHttps": True,
            "CertificatePath": "/x.pfx",
            "CertificatePassword": "hush",
        },
    )
    (tmp_path / "srv/jf/network.xml").write_text(text)
    found = _server_install.find({"jellyfin-server": "10.11"}, root=str(tmp_path), run=lambda argv: "")
    assert found["config_dir"] == "/srv/jf"
    assert found["holds"] == {"tcp": [8097, 8920], "udp": []}
    assert "hush" not in json.dumps(found)


def test_a_server_without_a_file_has_the_defaults(tmp_path):
    found = _server_install.find({"jellyfin-server": "10.11"}, root=str(tmp_path), run=lambda argv: "")
    assert found["holds"] == {"tcp": [8096], "udp": [7359]}
    assert found["config_dir"] == "/etc/jellyfin"


def test_a_file_that_jellyfin_would_ignore_counts_as_defaults_and_is_named(tmp_path):
    (tmp_path / "etc/jellyfin").mkdir(parents=True)
    (tmp_path / "etc/jellyfin/network.xml").write_text(
        "<NetworkConfiguration><AutoDiscovery>False</AutoDiscovery></NetworkConfiguration>"
    )
    found = _server_install.find({"jellyfin": "10.11"}, root=str(tmp_path), run=lambda argv: "")
    assert found["holds"]["udp"] == [7359]
    assert "AutoDiscovery" in found["problem"]


def test_no_server_holds_nothing(tmp_path):
    found = _server_install.find({}, root=str(tmp_path), run=lambda argv: "")
    assert found["holds"] == {"tcp": [], "udp": []} and not found["config_dir"]


def container(name, image, bindings=(), network="bridge", ports=None, identity=""):
    """One container as `docker inspect` and `podman inspect` print it."""
    table = {}
    for inside, address, port in bindings:
        table.setdefault(inside, []).append({"HostIp": address, "HostPort": port})
    return {
        "Id": identity or name * 8,
        "Name": "/" + name,
        "Config": {"Image": image},
        "HostConfig": {"NetworkMode": network, "PortBindings": table},
        "NetworkSettings": {"Ports": ports or {}},
    }


def installed(*containers, engine="docker", packages=()):
    """What is found on a host with these containers; the engine answers as it does for containers that are stopped."""

    def run(argv):
        if argv[0] != engine:
            return ""
        if argv[1] == "ps":
            return "".join(item["Id"] + "\n" for item in containers)
        assert argv[1] == "inspect"
        return json.dumps([item for item in containers if item["Id"] in argv])

    return _server_install.find(dict.fromkeys(packages, "1"), root="/nowhere", run=run)


EVERYWHERE = [("8096/tcp", "", "8096"), ("7359/udp", "0.0.0.0", "7359"), ("7359/udp", "::", "7359")]


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_published_container_ports_are_held_also_while_the_container_is_stopped(engine):
    web = container("web", "nginx", [("80/tcp", "", "80")])
    found = installed(container("jf", "docker.io/linuxserver/jellyfin", EVERYWHERE), web, engine=engine)
    assert found["holds"] == {"tcp": [8096], "udp": [7359]}
    assert found["loopback"] == {"tcp": [], "udp": []}
    assert found["containers"] == [
        {
            "name": "jf",
            "host_network": False,
            "ports": [
                {"port": 7359, "proto": "udp", "address": ""},
                {"port": 8096, "proto": "tcp", "address": ""},
            ],
        }
    ]


def test_a_port_of_another_protocol_is_passed_over():
    found = installed(container("jf", "jellyfin/jellyfin", [("8096/sctp", "", "8096"), ("8096/tcp", "", "8097")]))
    assert found["holds"] == {"tcp": [8097], "udp": []}


def test_a_port_that_is_published_on_this_host_alone_is_taken_but_nothing_for_the_lan():
    local = [("8096/tcp", "127.0.0.1", "8096"), ("7359/udp", "::1", "7359"), ("8920/tcp", "192.168.1.2", "8920")]
    found = installed(container("jf", "jellyfin/jellyfin", local))
    assert found["holds"] == {"tcp": [8096, 8920], "udp": [7359]}
    assert found["loopback"] == {"tcp": [8096], "udp": [7359]}
    # Another one that has the port on all addresses, or the server itself, makes it the LAN's.
    found = installed(container("jf", "jellyfin/jellyfin", [*local, ("8096/tcp", "", "8096")]))
    assert found["loopback"] == {"tcp": [], "udp": [7359]}
    assert installed(container("jf", "jellyfin", local), packages=["jellyfin"])["loopback"] == {"tcp": [], "udp": []}


def test_a_port_that_the_engine_chose_counts_while_it_is_there():
    chosen = {"8096/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "7359/udp": None}
    found = installed(container("jf", "jellyfin/jellyfin", [("8096/tcp", "", "")], ports=chosen))
    assert found["holds"] == {"tcp": [32768], "udp": []}


def test_a_container_in_the_network_of_another_one_is_published_by_that_one():
    pod = container("pod", "pause", EVERYWHERE, identity="a1b2")
    assert installed(pod, container("jf", "jellyfin", network="container:a1b2"))["holds"]["tcp"] == [8096]
    pod = container("pod", "pause", network="host", identity="a1b2")
    assert installed(pod, container("jf", "jellyfin", network="container:a1b2"))["holds"]["udp"] == [7359]


def test_an_engine_that_fails_or_prints_something_else_has_no_containers():
    for text in ("", "cannot connect", "{}", "[null]"):
        assert _server_install.published(text) == []


REAL = (
    b'{"LocalAddress":"http://a","ServerName":"media","Version":"10.11.11","ProductName":"Jellyfin Server",'
    b'"OperatingSystem":"","Id":"%s","StartupWizardCompleted":%s}'
)


def test_what_a_real_server_says():
    found = _server_probe.understand(200, REAL % (b"0" * 32, b"true"))
    assert found["ready"] and found["wizard_done"] and found["name"] == "media"
    assert not _server_probe.understand(200, REAL % (b"0" * 32, b"false"))["wizard_done"]


def test_a_starting_server_says_nothing_about_the_wizard():
    found = _server_probe.understand(
        200, b'{"productName":"Jellyfin Server","startupWizardCompleted":false,"id":"x","version":"10.11"}'
    )
    assert found["product"] == "Jellyfin Server" and not found["ready"]


def test_an_answer_without_end_is_no_server():
    assert _server_probe.understand(200, b"[" * 60000)["product"] == ""
    assert _server_probe.understand(200, b'{"a":' * 10000)["product"] == ""


def test_something_else_is_no_server():
    for status, body in ((200, b"<html>"), (404, b"{}"), (200, b"[]"), (200, b'{"StartupWizardCompleted":true}')):
        assert not _server_probe.understand(status, body)["ready"]


def test_the_addresses_behind_a_server_s_name_are_told():
    assert _server_probe.ask("localhost", 9, "", 1)["addresses"] in (["127.0.0.1"], ["127.0.0.1", "::1"], ["::1"])
    assert _server_probe.ask("nobody.invalid", 9, "", 1)["addresses"] == []
