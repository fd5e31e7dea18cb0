# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table in the kernel: put there, looked after, read. Blocking; run it in a thread."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

from ..addresses import Network
from . import ruleset
from .ruleset import Rules

NFT = "/usr/sbin/nft"
_SECONDS = 10
_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10
# NFT_MSG_DELTABLE, DELCHAIN, DELRULE, DELSET of include/uapi/linux/netfilter/nf_tables.h
_TAKEN_AWAY = frozenset((2, 5, 8, 11))


class NftError(Exception):
    """Why nftables did not do it."""


Run = Callable[[list[str], str], str]


def run_nft(arguments: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            [NFT, *arguments], input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise NftError(f"{NFT} is missing; the package nftables has it") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NftError(str(error)) from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip()), f"exit status {done.returncode}")
        raise NftError(said.strip())
    return done.stdout


class Table:
    def __init__(self, run: Run = run_nft) -> None:
        self._run = run
        self._listing = ""

    def _listed(self) -> str:
        """The table without what changes by itself; '' where it is not there."""
        try:
            return self._run(["-s", "-t", "list", "table", *ruleset.TABLE.split()], "")
        except NftError as error:
            if "No such file" in str(error):
                return ""
            raise

    def put(self, rules: Rules, bans: Iterable[tuple[Network, int]]) -> None:
        self._run(["-f", "-"], ruleset.render(rules, bans))
        self._listing = self._listed()

    def adopt(self, rules: Rules) -> bool:
        """Whether the table of these rules is there already: then what it has counted so far stays."""
        listed = self._listed()
        if f'comment "{ruleset.fingerprint(rules)}"' not in listed or "hook prerouting" not in listed:
            return False
        self._listing = listed
        return True

    def intact(self) -> bool:
        """Whether it is as it was put there."""
        return bool(self._listing) and self._listed() == self._listing

    def ban(self, network: Network, seconds: int) -> None:
        self._run(["-f", "-"], ruleset.ban_commands(network, seconds))

    def unban(self, network: Network) -> None:
        self._run(["-f", "-"], ruleset.unban_commands(network))

    def over(self) -> dict[str, int]:
        """How many connections of each address were refused lately because it had too many."""
        found: dict[str, int] = {}
        for name in ruleset.OVER.values():
            found.update(parse_over(self._run(["-j", "list", "set", *ruleset.TABLE.split(), name], "")))
        return found


def parse_over(text: str) -> dict[str, int]:
    """The elements of a set with counters, as `nft -j list set` shows them."""
    found: dict[str, int] = {}
    try:
        for entry in json.loads(text)["nftables"]:
            for item in entry.get("set", {}).get("elem", []):
                element: Any = item["elem"]
                found[str(element["val"])] = int(element["counter"]["packets"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NftError("the answer of nft is not understood") from None
    return found


def watch_socket() -> socket.socket:
    """Becomes readable when somebody changes nftables."""
    netlink = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    try:
        netlink.bind((0, 1 << (_GROUP_NFTABLES - 1)))
    except OSError:
        netlink.close()
        raise
    return netlink


def took_away(data: bytes) -> bool:
    """Whether these netlink messages tell of a table, chain, rule or set that was taken away."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16 or offset + length > len(data):
            return False
        if kind >> 8 == _SUBSYSTEM_NFTABLES and kind & 0xFF in _TAKEN_AWAY:
            return True
        offset += (length + 3) & ~3
    return False
