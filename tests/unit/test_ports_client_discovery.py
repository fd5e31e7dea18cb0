# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jellyfin_ports.client_discovery import (
    choose_address,
    choose_published,
    is_question,
    json_string,
    parse_identity,
    render_reply,
)
from jellyfin_ports.config import Upstream, parse
from ports_support import SERVER_ID, config_text, info_body


@pytest.mark.parametrize(
    ("datagram", "asked"),
    [
        (b"who is JellyfinServer?", True),
        (b"Who is JellyfinServer?", True),
        (b"WHO IS JELLYFINSERVER?\n", True),
        (b"xx who is jellyfinserver?\0\0", True),
        (b"\xff\xfewho is JellyfinServer?", True),
        (b"who is Jellyfin Server?", False),
        (b"who is EmbyServer?", False),
        (b"who is JellyfinServer", False),
        (b"", False),
        ("wh\u043e is JellyfinServer?".encode(), False),
    ],
)
def test_match_rule(datagram: bytes, asked: bool) -> None:
    assert is_question(datagram) is asked


def test_the_reply_byte_for_byte() -> None:
    assert render_reply("http://192.168.1.10:8096", SERVER_ID, "media") == (
        b'{"Address":"http://192.168.1.10:8096","Id":"0123456789abcdef0123456789abcdef","Name":"media","EndpointAddress":null}'
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a/b", '"a/b"'),
        ('"', '"\\u0022"'),
        ("\\", '"\\\\"'),
        ("<>&'+`", '"\\u003C\\u003E\\u0026\\u0027\\u002B\\u0060"'),
        ("\u00fc", '"\\u00FC"'),
        ("\U0001f3ac", '"\\uD83C\\uDFAC"'),
        ("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
        ("\0\x1f\x7f", '"\\u0000\\u001F\\u007F"'),
        ("\ud800", '"\\uFFFD"'),
        ("~ {}[]", '"~ {}[]"'),
    ],
)
def test_dotnet_escapes(text: str, written: str) -> None:
    assert json_string(text) == written


@given(st.text())
def test_strings_are_ascii_json(text: str) -> None:
    written = json_string(text)
    written.encode("ascii")
    if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert json.loads(written) == text


@given(st.text(max_size=2000), st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=100))
def test_a_reply_fits_the_smallest_client(name: str, path: str) -> None:
    reply = render_reply(f"http://192.168.1.10:8096/{path}", SERVER_ID, name)
    assert len(reply) <= 1024
    fields = json.loads(reply)
    assert list(fields) == ["Address", "Id", "Name", "EndpointAddress"] and fields["EndpointAddress"] is None


def test_identity_in_both_casings() -> None:
    big = parse_identity(info_body(StartupWizardCompleted=True))
    small = parse_identity(
        json.dumps(
            {"serverName": "media", "version": "10.11.0", "productName": "Jellyfin Server", "id": SERVER_ID,
             "startupWizardCompleted": False}
        ).encode()
    )  # fmt: skip
    assert (big.id, big.name) == (small.id, small.name) == (SERVER_ID, "media")
    assert big.wizard_done and not small.wizard_done
    assert (
        parse_identity(b'{"ProductName":"Jellyfin Server","ServerName":"a\\ud800","Id":"%s"}' % SERVER_ID.encode()).name
        == "a\ufffd"
    )
    dashed = parse_identity(info_body(Id="01234567-89AB-CDEF-0123-456789ABCDEF"))
    assert dashed.id == SERVER_ID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"Healthy",
        info_body(ProductName="Emby Server"),
        info_body(Id="1"),
        info_body(Id=None),
        info_body(ServerName=None),
        b"[" * 100000,
    ],
)
def test_what_is_no_jellyfin(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_identity(body)


@given(st.binary(max_size=300))
def test_identity_survives_anything(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_identity(body)


def upstream(*published: str, **changes: object) -> Upstream:
    entry = {"url": "http://192.168.1.5:8096", "published": list(published), **changes}
    return parse(config_text(upstreams=[entry])).upstreams[0]


@pytest.mark.parametrize(
    ("source", "interface", "on_link", "url"),
    [
        ("192.168.1.7", "lan0", True, "http://one"),
        ("192.168.1.8", "lan0", True, "http://subnet"),
        ("192.168.7.8", "lan0", True, "http://wider"),
        ("10.1.1.1", "lan0", True, "http://interface"),
        ("10.1.1.1", "LAN0", True, "http://interface"),
        ("10.1.1.1", "eth9", True, "http://internal"),
        ("198.51.100.1", "eth9", True, "http://internal"),
        ("8.8.8.8", "eth9", False, "http://external"),
    ],
)
def test_the_most_specific_wins(source: str, interface: str, on_link: bool, url: str) -> None:
    entries = upstream(
        "all=http://all", "internal=http://internal", "external=http://external", "lan0=http://interface",
        "192.168.0.0/16=http://wider", "192.168.1.0/24=http://subnet", "192.168.1.7=http://one",
    ).published  # fmt: skip
    assert choose_published(entries, ipaddress.IPv4Address(source), interface, on_link) == url


def test_all_is_the_last_resort() -> None:
    entries = upstream("all=http://all", "external=http://external").published
    assert choose_published(entries, ipaddress.IPv4Address("192.168.1.7"), "lan0", True) == "http://all"
    assert choose_published((), ipaddress.IPv4Address("192.168.1.7"), "lan0", True) == ""


def test_without_an_entry_the_interfaces_address() -> None:
    server = upstream(announce_port=8096, path="/jellyfin")
    assert choose_address(server, "192.168.1.7", "192.168.1.2", "lan0", True) == "http://192.168.1.2:8096/jellyfin"


def test_without_a_relay_the_servers_own_address_unless_nobody_reaches_it() -> None:
    assert (
        choose_address(upstream(path="/j"), "192.168.1.7", "192.168.1.2", "lan0", True) == "http://192.168.1.5:8096/j"
    )
    assert choose_address(upstream(url="http://127.0.0.1:9000"), "192.168.1.7", "192.168.1.2", "lan0", True) == ""
    assert (
        choose_address(upstream(url="http://media:9000"), "192.168.1.7", "192.168.1.2", "l", True)
        == "http://media:9000"
    )
