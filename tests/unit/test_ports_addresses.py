# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jellyfin_ports.addresses import Networks, plain, resolve_client
from jellyfin_ports.interfaces import Interface, admit, parse_messages
from jellyfin_ports.rates import RateLimiter

TRUSTED = Networks(["10.0.0.1/32", "10.0.1.0/24", "::1/128"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4, 10.0.1.7"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.1.8, 10.0.1.7"], "10.0.1.8"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, nonsense, 10.0.1.7"], "10.0.1.7"),
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("::ffff:203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("::1", ["1.2.3.4"], "1.2.3.4"),
        ("fe80::1%eth0", ["1.2.3.4"], "fe80::1"),
    ],
)
def test_the_one_client(peer: str, forwarded: list[str], client: str) -> None:
    assert resolve_client(peer, forwarded, TRUSTED) == client


def test_nobody_is_trusted_by_default() -> None:
    assert resolve_client("127.0.0.1", ["1.2.3.4"], Networks()) == "127.0.0.1"


@given(st.lists(st.text(max_size=30), max_size=4), st.ip_addresses().map(str))
def test_a_stranger_gains_nothing(forwarded: list[str], peer: str) -> None:
    if peer not in TRUSTED:
        assert resolve_client(peer, forwarded, TRUSTED) == plain(peer)


@given(st.lists(st.text(alphabet="0123456789.:,[]abcdef% \t", max_size=30), max_size=4))
def test_a_trusted_hop_yields_an_address_whatever_it_says(forwarded: list[str]) -> None:
    ipaddress.ip_address(resolve_client("10.0.0.1", forwarded, TRUSTED))


@given(
    st.ip_addresses(), st.lists(st.ip_addresses(v=4).map(lambda a: f"{a}/32") | st.just("192.168.0.0/16"), max_size=5)
)
def test_networks_hold_what_they_hold(address: object, cidrs: list[str]) -> None:
    networks = Networks(cidrs)
    meant: Any = getattr(address, "ipv4_mapped", None) or address  # ::ffff:192.168.1.7 is 192.168.1.7
    expected = any(meant in ipaddress.ip_network(c) for c in cidrs if ipaddress.ip_network(c).version == meant.version)
    assert (str(address) in networks) == expected
    assert (str(address) in networks) == expected  # from memory


LAN = Networks(["192.168.1.0/24", "192.168.9.0/24"])


def links() -> dict[int, Interface]:
    def one(index: int, name: str, *addresses: str) -> Interface:
        return Interface(index, name, 0x1 | 0x1000, [ipaddress.IPv4Interface(a) for a in addresses])

    return {
        1: Interface(1, "lo", 0x1 | 0x8, [ipaddress.IPv4Interface("127.0.0.1/8")]),
        2: one(2, "lan0", "192.168.1.2/24"),
        3: one(3, "wan0", "203.0.113.2/28"),
        4: one(4, "docker0", "172.17.0.1/16"),
    }


@pytest.mark.parametrize(
    ("source", "index", "reason"),
    [
        ("192.168.1.77", 2, ""),
        ("192.168.1.77", 3, "wrong_interface"),  # a forged LAN source that came in from the Internet
        ("192.168.1.77", 4, "wrong_interface"),
        ("203.0.113.5", 3, "not_lan"),
        ("8.8.8.8", 3, "not_lan"),
        ("172.17.0.5", 4, "not_lan"),  # a bridge is no LAN by itself
        ("192.168.9.5", 2, ""),  # a listed VLAN behind a router
        ("192.168.9.5", 3, "wrong_interface"),
        ("192.168.8.5", 2, "not_lan"),
        ("127.0.0.1", 1, "not_lan"),
        ("192.168.1.77", 99, "unknown_interface"),
        ("192.168.1.2", 1, ""),  # ourselves, by loopback
        ("192.168.1.2", 2, ""),  # ourselves, our own broadcast
        ("192.168.1.2", 3, "wrong_interface"),  # our own address from outside is forged
        ("nonsense", 2, "not_lan"),
    ],
)
def test_source_and_interface_together(source: str, index: int, reason: str) -> None:
    assert admit(source, index, links(), LAN).reason == reason


def test_a_bridge_of_containers_that_is_listed_is_answered_from_its_own_address() -> None:
    found = admit("172.17.0.5", 4, links(), Networks(["172.17.0.0/16"]))
    assert (found.reason, found.local, found.on_link) == ("", "172.17.0.1", True)
    assert admit("172.17.0.5", 2, links(), Networks(["172.17.0.0/16"])).reason == "wrong_interface"


def test_the_address_on_the_requesters_link() -> None:
    interfaces = links()
    interfaces[2].addresses.append(ipaddress.IPv4Interface("192.168.9.2/24"))
    assert admit("192.168.9.5", 2, interfaces, LAN).local == "192.168.9.2"
    assert admit("192.168.1.5", 2, interfaces, LAN).local == "192.168.1.2"


@given(st.binary(max_size=300))
def test_netlink_survives_anything(data: bytes) -> None:
    with contextlib.suppress(OSError):
        parse_messages(data, {})


def test_a_flood_from_one_takes_nothing_from_another() -> None:
    limiter = RateLimiter(10, 20, 1000, 2000, sources=100)
    answered = sum(limiter.refuses("192.168.1.5", 1.0) == "" for _ in range(10_000))
    assert answered == 20
    assert limiter.refuses("192.168.1.6", 1.0) == ""
    assert limiter.refuses("192.168.1.5", 1.1) == ""  # one token is back
    assert limiter.refuses("192.168.1.5", 1.1) == "source"


def test_all_together_are_limited_and_memory_is_bounded() -> None:
    limiter = RateLimiter(10, 20, 100, 200, sources=50)
    answered = sum(limiter.refuses(f"10.0.{i // 250}.{i % 250}", 1.0) == "" for i in range(5000))
    assert answered == 200
    assert len(limiter) <= 50


@given(st.lists(st.floats(min_value=0, max_value=100, allow_nan=False), max_size=200))
def test_never_more_than_rate_and_burst(times: list[float]) -> None:
    times.sort()
    limiter = RateLimiter(5, 10, 1e9, 1e9)
    answered = sum(limiter.refuses("a", t) == "" for t in times)
    span = times[-1] - times[0] if times else 0
    assert answered <= 10 + 5 * span + 1
