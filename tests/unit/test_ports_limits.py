# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process `limits`: what its table says, whom it bans, and that the table comes back."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jellyfin_ports import control
from jellyfin_ports.addresses import Networks, parse_address
from jellyfin_ports.config import ConfigError, parse
from jellyfin_ports.limits import never, ruleset, service
from jellyfin_ports.limits.bans import LONGEST, Bans
from jellyfin_ports.limits.ruleset import Rules
from jellyfin_ports.limits.table import NftError, Table, parse_over, took_away
from jellyfin_ports.runtime import Process
from jellyfin_ports.status import render_bans
from ports_support import config_text, until

VISITOR = ipaddress.ip_network("203.0.113.7/32")
HOUSE = ipaddress.ip_network("2001:db8:7:1::/64")


def rules(**changes: Any) -> Rules:
    values: dict[str, Any] = {
        "internet": 256,
        "lan": 1024,
        "tcp": (80, 443, 8096),
        "udp": (443,),
        "lan_networks": Networks(["192.168.1.0/24", "fd00::/8"]),
        "exempt": Networks(["198.51.100.0/24"]),
    }
    return Rules(**{**values, **changes})


def chain(text: str, name: str) -> list[str]:
    found = re.search(rf"^  chain {name} \{{\n(.*?)^  \}}", text, re.M | re.S)
    assert found, f"no chain {name}"
    return [line.strip() for line in found.group(1).splitlines()]


# The text


def test_one_transaction_replaces_the_whole_table() -> None:
    text = ruleset.render(rules())
    assert text.startswith("add table inet jellynet\ndelete table inet jellynet\ntable inet jellynet {\n")
    assert text.count("{") == text.count("}")


def test_only_what_begins_a_connection_to_our_ports_is_looked_at() -> None:
    lines = chain(ruleset.render(rules()), "arriving")
    assert "priority mangle + 10; policy accept;" in lines[0] and "hook prerouting" in lines[0]
    assert lines[1:] == [
        "ct state new fib daddr type local tcp dport { 80, 443, 8096 } jump internet_tcp",
        "ct state new fib daddr type local udp dport { 443 } jump internet_udp",
    ]


def test_the_order_of_judgement() -> None:
    """Loopback and proxies first, then the LAN, which no ban can reach, then bans, then the count."""
    assert chain(ruleset.render(rules()), "internet_tcp") == [
        'iifname "lo" return',
        "ip saddr @exempt4 return",
        "ip6 saddr @exempt6 return",
        "ip saddr @lan4 goto lan_tcp",
        "ip6 saddr @lan6 goto lan_tcp",
        "ip saddr @banned4 goto refuse",
        "ip6 saddr and ffff:ffff:ffff:ffff:: @banned6 goto refuse",
        "add @internet_tcp4 { ip saddr ct count over 256 } goto over4",
        "add @internet_tcp6 { ip6 saddr and ffff:ffff:ffff:ffff:: ct count over 256 } goto over6",
    ]
    assert chain(ruleset.render(rules()), "lan_tcp")[0] == "add @lan_tcp4 { ip saddr ct count over 1024 } goto over4"


def test_nothing_is_dropped_in_silence() -> None:
    text = ruleset.render(rules())
    assert chain(text, "refuse") == ["meta l4proto tcp reject with tcp reset", "reject"]
    assert "drop" not in text and chain(text, "over4")[-1] == "goto refuse"


def test_zero_is_no_limit_and_bans_still_hold() -> None:
    text = ruleset.render(rules(internet=0, lan=0))
    assert "ct count" not in text and "@banned4 goto refuse" in text


def test_a_chain_stands_before_it_is_named() -> None:
    text = ruleset.render(rules())
    for target in re.findall(r"(?:goto|jump) (\w+)", text):
        assert text.index(f"chain {target} {{") < min(
            m.start() for m in re.finditer(rf"(?:goto|jump) {target}\b", text)
        )


def test_bans_come_with_the_table() -> None:
    text = ruleset.render(rules(), [(VISITOR, 90), (HOUSE, 30)])
    assert "set banned4 { type ipv4_addr; flags timeout; elements = { 203.0.113.7 timeout 90s }; }" in text
    assert "set banned6 { type ipv6_addr; flags timeout; elements = { 2001:db8:7:1:: timeout 30s }; }" in text


def test_the_fingerprint_tells_rules_apart_but_not_bans() -> None:
    assert ruleset.fingerprint(rules()) == ruleset.fingerprint(rules())
    for changes in ({"internet": 255}, {"lan": 0}, {"tcp": (80,)}, {"udp": ()}, {"lan_networks": Networks(["10.0.0.0/8"])},
                    {"exempt": Networks()}):  # fmt: skip
        assert ruleset.fingerprint(rules(**changes)) != ruleset.fingerprint(rules()), changes


@pytest.mark.parametrize(
    ("address", "key"),
    [("203.0.113.7", "203.0.113.7/32"), ("2001:db8:7:1::abc", "2001:db8:7:1::/64"), ("::ffff:203.0.113.7", "203.0.113.7/32")],
)  # fmt: skip
def test_an_ipv6_household_counts_as_one(address: str, key: str) -> None:
    assert str(ruleset.key_of(parse_address(address))) == key


# Who is never banned


AROUND = never.Surroundings(
    own=[ipaddress.ip_interface("203.0.113.20/24"), ipaddress.ip_interface("172.17.0.1/16"), ipaddress.ip_interface("2001:db8:9:1::2/64")],
    gateways=[parse_address("203.0.113.1"), parse_address("fe80::1")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "no address of the Internet"),
        ("::1", "no address of the Internet"),
        ("fe80::9", "no address of the Internet"),
        ("192.168.1.44", "jellyfin_lan"),
        ("fd12::5", "jellyfin_lan"),
        ("198.51.100.9", "trusted proxy"),
        ("203.0.113.20", "this host's own"),
        ("2001:db8:9:1::77", "this host's own"),
        ("203.0.113.1", "router"),
        ("172.17.0.5", "containers"),
        ("198.18.0.1", "own name leads to it"),
    ],
)
def test_never_banned(address: str, said: str) -> None:
    lan, exempt = Networks(["192.168.1.0/24", "fd00::/8"]), Networks(["198.51.100.0/24"])
    assert said in never.reason(parse_address(address), lan, exempt, AROUND, [parse_address("198.18.0.1")])


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:7:1::abc", "8.8.8.8", "192.168.9.9"])
def test_others_can_be_banned(address: str) -> None:
    lan, exempt = Networks(["192.168.1.0/24"]), Networks()
    assert never.reason(parse_address(address), lan, exempt, AROUND) == ""


def test_a_lan_that_is_part_of_a_64_saves_all_of_it() -> None:
    assert never.reason(parse_address("2001:db8:7:1::5"), Networks(["2001:db8:7:1:8000::/80"]), Networks(), AROUND)


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + b"\0" * (-len(body) % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def test_addresses_and_routers_are_read_from_netlink() -> None:
    found = never.Surroundings()
    four, six = ipaddress.ip_address("192.168.1.2").packed, ipaddress.ip_address("2001:db8::2").packed
    router = ipaddress.ip_address("192.168.1.1").packed
    hop = struct.pack("=HBBi", 16, 0, 0, 2) + _attribute(5, ipaddress.ip_address("10.0.0.1").packed)
    data = _message(20, struct.pack("=BBBBi", 2, 24, 0, 0, 2) + _attribute(1, b"\1\1\1\1") + _attribute(2, four))
    data += _message(20, struct.pack("=BBBBi", 10, 64, 0, 0, 2) + _attribute(1, six))
    data += _message(24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0) + _attribute(5, router))
    data += _message(24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0) + _attribute(9, hop))
    assert not never.parse(data, found)
    assert never.parse(_message(3, b""), found)
    assert [str(own) for own in found.own] == ["192.168.1.2/24", "2001:db8::2/64"]
    assert [str(gateway) for gateway in found.gateways] == ["192.168.1.1", "10.0.0.1"]


def test_this_machine_can_be_read() -> None:
    assert any(own.ip.is_loopback for own in never.look().own)


# What is kept


def test_bans_outlive_the_process(tmp_path: Path) -> None:
    Bans(str(tmp_path)).put(VISITOR, 600, "guessed")
    again = Bans(str(tmp_path))
    assert [(ban.network, ban.seconds, ban.reason) for ban in again.all()] == [(VISITOR, 600, "guessed")]
    assert again.drop(VISITOR) and not again.drop(VISITOR)
    assert len(Bans(str(tmp_path))) == 0


def test_a_ban_ends_and_no_clock_makes_it_longer(tmp_path: Path) -> None:
    bans = Bans(str(tmp_path))
    ban = bans.put(VISITOR, 600, "")
    assert ban.left(ban.since + 100) == 500 and ban.left(ban.since - 86400) == 600
    assert not bans.expire(ban.since + 599) and bans.expire(ban.since + 600) == [ban]
    assert len(Bans(str(tmp_path))) == 0


def test_what_is_asked_for_is_bounded(tmp_path: Path) -> None:
    ban = Bans(str(tmp_path)).put(VISITOR, 10**9, "x" * 10000)
    assert ban.seconds == LONGEST and len(ban.reason) <= 200


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"network": "x", "since": 1, "seconds": 1, "reason": ""}]', "[" * 100000]
)
def test_a_broken_file_bans_nobody_and_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "bans.json").write_text(text)
    bans = Bans(str(tmp_path))
    assert len(bans) == 0
    bans.put(VISITOR, 600, "")
    assert len(Bans(str(tmp_path))) == 1


# The log


def test_one_line_an_address_in_ten_minutes() -> None:
    excess = service.Excess()
    assert excess.take({"203.0.113.7": 5}, 0.0) == [("203.0.113.7", 5)]
    assert excess.take({"203.0.113.7": 9}, 10.0) == []
    assert excess.take({"203.0.113.7": 9}, 599.0) == []
    assert excess.take({"203.0.113.7": 10}, 601.0) == [("203.0.113.7", 5)]  # 4 and 1 since the last line
    assert excess.counts == {"203.0.113.7": 10}


def test_the_kernel_forgets_and_counts_from_the_start() -> None:
    excess = service.Excess()
    excess.take({"203.0.113.7": 5}, 0.0)
    excess.take({}, 100.0)
    excess.take({"203.0.113.7": 2}, 200.0)
    assert excess.counts == {"203.0.113.7": 7}


def test_many_addresses_do_not_flood_the_log() -> None:
    excess = service.Excess()
    many = {f"203.0.{n // 256}.{n % 256}": 1 for n in range(4000)}
    lines = excess.take(many, 0.0)
    assert len(lines) == service.LINES_A_MINUTE and len(excess.counts) <= 64
    assert excess.take(many, 30.0) == [] and len(excess.take(many, 61.0)) == service.LINES_A_MINUTE


# The process


class FakeNft:
    """Stands in for the program: keeps one table, as text, and the banned."""

    def __init__(self) -> None:
        self.table = ""
        self.banned: dict[str, int] = {}
        self.over: dict[str, int] = {}
        self.puts = 0
        self.missing = ""

    def __call__(self, arguments: list[str], text: str) -> str:
        if self.missing:
            raise NftError(self.missing)
        if arguments == ["-f", "-"]:
            return self._load(text)
        if not self.table:
            raise NftError("Error: No such file or directory")
        if arguments[-1] in ("over4", "over6"):
            elements = [
                {"elem": {"val": a, "counter": {"packets": n}}}
                for a, n in self.over.items()
                if (":" in a) == (arguments[-1] == "over6")
            ]
            return json.dumps({"nftables": [{"metainfo": {}}, {"set": {"name": arguments[-1], "elem": elements}}]})
        return self.table

    def _load(self, text: str) -> str:
        if text.startswith("add table"):
            self.table, self.puts = re.sub(r" elements = \{[^}]*\};", "", text), self.puts + 1
            self.banned = {}
        elif not self.table:
            raise NftError("Error: No such file or directory")
        for verb, elements in re.findall(r"(add|delete|set) (?:element inet jellynet )?banned\d \{(.*?)\}", text):
            for address, seconds in re.findall(
                r"([0-9a-f:.]*[0-9a-f:][0-9a-f:.]*)(?: timeout (\d+)s)?\s*(?:,|$|\}})",
                elements.partition("elements = {")[2] or elements,
            ):
                if verb == "delete":
                    self.banned.pop(address, None)
                elif address:
                    self.banned[address] = int(seconds or 0)
        return ""


async def running(nft: FakeNft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> service.LimitsService:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(service.LimitsService, "_watch", lambda self: None)
    process = service.LimitsService(Table(nft))
    await process.start(config(), {})
    return process


def config(**changes: Any) -> Any:
    return parse(config_text(connections={"enabled": True, "internet": 256, "lan": 1024, "tcp": [80, 443], **changes}))


def with_process(
    test: Callable[[service.LimitsService, FakeNft], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nft: FakeNft | None = None,
) -> FakeNft:
    nft = nft or FakeNft()

    async def go() -> None:
        process = await running(nft, tmp_path, monkeypatch)
        try:
            await test(process, nft)
        finally:
            await process.stop()

    asyncio.run(go())
    return nft


async def turn(process: service.LimitsService) -> None:
    """A check and a look at the counters, now."""
    await process._turn(True, True)


def test_a_table_that_stands_is_kept_with_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(process: service.LimitsService, nft: FakeNft) -> None:
        await turn(process)

    nft = with_process(nothing, tmp_path, monkeypatch)
    assert nft.puts == 1
    with_process(nothing, tmp_path, monkeypatch, nft)  # a restart
    assert nft.puts == 1

    async def changes(process: service.LimitsService, nft: FakeNft) -> None:
        await process.reload(config())
        assert nft.puts == 1
        await process.reload(config(internet=100))
        assert nft.puts == 2 and "ct count over 100" in nft.table

    with_process(changes, tmp_path, monkeypatch, nft)


def test_a_ban_is_in_force_kept_and_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bans(process: service.LimitsService, nft: FakeNft) -> None:
        answer = await process.request({"ban": "203.0.113.7", "seconds": 600, "reason": "50 logins\n\x1b[31mfailed"})
        assert answer["enforced"] and answer["address"] == "203.0.113.7" and answer["until"] - answer["since"] == 600
        assert answer["reason"] == "50 logins\\n\\x1b[31mfailed"
        assert nft.banned == {"203.0.113.7": 600}
        assert (await process.request({"ban": "2001:db8:7:1::abc", "seconds": 60}))["network"] == "2001:db8:7:1::/64"

    nft = with_process(bans, tmp_path, monkeypatch)
    nft.table = ""  # a reboot

    async def later(process: service.LimitsService, nft: FakeNft) -> None:
        assert set(nft.banned) == {"203.0.113.7", "2001:db8:7:1::"}
        listed = await process.request({"bans": True})
        assert [ban["address"] for ban in listed["bans"]] == ["203.0.113.7", "2001:db8:7:1::/64"]
        assert "203.0.113.7" in render_bans(listed) and "\x1b" not in render_bans(listed)
        assert (await process.request({"unban": "2001:db8:7:1::/64"}))["unbanned"]
        assert (await process.request({"unban": "203.0.113.7"}))["unbanned"]
        assert not (await process.request({"unban": "203.0.113.7"}))["unbanned"]
        assert nft.banned == {}

    with_process(later, tmp_path, monkeypatch, nft)


def test_the_lan_is_not_banned_and_nonsense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asks(process: service.LimitsService, nft: FakeNft) -> None:
        assert "jellyfin_lan" in (await process.request({"ban": "192.168.1.9", "seconds": 60}))["refused"]
        assert "jellyfin_lan" in (await process.request({"ban": "::ffff:192.168.1.9", "seconds": 60}))["refused"]
        for asked in ({}, {"ban": 5, "seconds": 1}, {"ban": "x", "seconds": 1}, {"ban": "203.0.113.0/24", "seconds": 1}, {"ban": "203.0.113.7"},
                      {"ban": "203.0.113.7", "seconds": 0}, {"ban": "203.0.113.7", "seconds": True}, {"ban": "203.0.113.7", "seconds": "9"},
                      {"unban": "203.0.113.7; flush ruleset"}):  # fmt: skip
            assert "error" in await process.request(asked), asked
        assert nft.banned == {}

    with_process(asks, tmp_path, monkeypatch)


def test_the_table_comes_back_with_its_bans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flushed(process: service.LimitsService, nft: FakeNft) -> None:
        await process.request({"ban": "203.0.113.7", "seconds": 600})
        nft.table, nft.banned = "", {}
        await turn(process)
        assert nft.puts == 2 and 0 < nft.banned["203.0.113.7"] <= 600
        assert process.status()["restored"] == 1
        nft.table = nft.table.replace("policy accept", "policy drop")  # somebody edits it
        process._restores.clear()
        await turn(process)
        assert nft.puts == 3

    with_process(flushed, tmp_path, monkeypatch)


def test_a_ban_that_the_kernel_did_not_take_is_put_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def once(process: service.LimitsService, nft: FakeNft) -> None:
        nft.missing = "nft took too long"
        assert not (await process.request({"ban": "203.0.113.7", "seconds": 600}))["enforced"]
        nft.missing = ""
        assert nft.banned == {} and nft.table, "the table itself is as it was"
        await turn(process)
        assert nft.banned.keys() == {"203.0.113.7"}

    with_process(once, tmp_path, monkeypatch)


def test_an_address_that_has_become_ours_is_banned_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def moves(process: service.LimitsService, nft: FakeNft) -> None:
        await process.request({"ban": "203.0.113.7", "seconds": 600})
        await process.request({"ban": "203.0.113.8", "seconds": 600})
        process._names["media.example.org"] = {parse_address("203.0.113.7")}
        await process._lift_what_is_ours()
        assert nft.banned.keys() == {"203.0.113.8"}

    with_process(moves, tmp_path, monkeypatch)


def test_two_owners_do_not_fight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fight(process: service.LimitsService, nft: FakeNft) -> None:
        for _turn in range(50):
            nft.table = ""
            await process._check()
        assert nft.puts == 2 and process._check_at > process._loop.time()

    with_process(fight, tmp_path, monkeypatch)


def test_a_kernel_without_it_is_told_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nft = FakeNft()
    nft.missing = "Error: Could not process rule: Operation not supported"

    async def without(process: service.LimitsService, nft: FakeNft) -> None:
        assert "not supported" in process.status()["problem"] and "not limited" in process.headline()
        answer = await process.request({"ban": "203.0.113.7", "seconds": 600})
        assert answer["enforced"] is False
        assert "NOT IN FORCE" in render_bans(await process.request({"bans": True}))
        nft.missing = ""  # the module is there now
        await turn(process)
        assert process.status()["problem"] == "" and nft.banned["203.0.113.7"]

    with_process(without, tmp_path, monkeypatch, nft)


def test_who_has_too_many_is_told_with_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def excess(process: service.LimitsService, nft: FakeNft) -> None:
        nft.over = {"203.0.113.7": 44, "2001:db8:7:1::": 3, "192.168.1.9": 2}
        await turn(process)
        assert process.status()["refused"] == nft.over

    with_process(excess, tmp_path, monkeypatch)
    assert "203.0.113.7 has 256 connections, the limit for one address; 44 more were refused" in caplog.text
    assert "2001:db8:7:1::/64 has 256 connections" in caplog.text
    assert "192.168.1.9 has 1024 connections, the limit for an address of the LAN" in caplog.text


def test_notices_of_nftables_are_understood() -> None:
    deleted, added, rule_gone = (
        struct.pack("=IHHII", 20, (10 << 8) | kind, 0, 1, 0) + b"\1\0\0\0" for kind in (2, 0, 8)
    )
    assert took_away(deleted) and took_away(added + rule_gone)
    assert not took_away(added) and not took_away(b"") and not took_away(deleted[:10])
    assert not took_away(struct.pack("=IHHII", 20, (1 << 8) | 2, 0, 1, 0) + b"\0" * 4)  # connection tracking's own


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"set": {"elem": ["10.0.0.1"]}}]}'])
def test_an_answer_of_nft_that_is_none(text: str) -> None:
    with pytest.raises(NftError):
        parse_over(text)


# How it is asked


def test_asked_over_the_control_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELLYFIN_PORTS_RUN", str(tmp_path))
    (tmp_path / "jellyfin-ports-limits").mkdir()

    async def talk(limits: service.LimitsService, nft: FakeNft) -> None:
        process = Process(limits, "")
        server = await control.serve(control.socket_path("limits"), process._handle)
        loop = asyncio.get_running_loop()

        async def ask(text: str) -> Any:
            return await loop.run_in_executor(None, control.ask, "limits", text)

        assert (await ask(json.dumps({"ban": "203.0.113.7", "seconds": 600, "reason": "x" * 900})))["enforced"]
        assert (await ask('{"bans": true}'))["bans"][0]["address"] == "203.0.113.7"
        assert (await ask("{"))["error"] and (await ask("generation")) == {"generation": ""}
        assert (await ask("status"))["banned"] == 1
        server.close()

    with_process(talk, tmp_path, monkeypatch)


def test_others_take_no_requests() -> None:
    async def go() -> None:
        class Mute:
            name = "relay"

        answer = Process(Mute(), "")._handle('{"ban": "203.0.113.7"}')  # type: ignore[arg-type]
        assert isinstance(answer, dict) and "no requests" in answer["error"]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"internet": -1}, "a number of connections"),
        ({"lan": "many"}, "not a whole number"),
        ({"tcp": [0]}, "1 to 65535"),
        ({"udp": ["443"]}, "1 to 65535"),
        ({"exempt": ["10.0.0.1/8"]}, "is no network"),
        ({"colour": 1}, "not known here"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert len(caught.value.problems) == 1 and said in caught.value.problems[0]


def test_an_expired_ban_is_gone_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def expires(process: service.LimitsService, nft: FakeNft) -> None:
        await process.request({"ban": "203.0.113.7", "seconds": 60})
        now = time.time()
        monkeypatch.setattr(service.time, "time", lambda: now + 61)
        process.tick()
        await until(lambda: not process.status()["banned"])

    with_process(expires, tmp_path, monkeypatch)
