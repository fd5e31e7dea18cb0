"""What Caddy's template makes of the rules: which of them stand where, in the old program's words and in the new one's."""

from __future__ import annotations

import re

import pytest
from proxy_files import whole

OLD, NEW = "caddy-plain.Caddyfile", "caddy-newer.Caddyfile"


def block(text: str, head: str) -> str:
    """A block of the Caddyfile from its head to the brace that ends it."""
    begin = text.index(head)
    indent = re.match(r"\t*", text[text.rindex("\n", 0, begin) + 1 :])
    assert indent
    return text[begin : text.index(f"\n{indent.group()}}}", begin)]


@pytest.mark.parametrize("name", [OLD, NEW])
def test_the_target_is_judged_before_all_else_on_both_ports(rendered: dict[str, str], name: str) -> None:
    for site in ("http://media.example.org {", "https://media.example.org {"):
        route = block(rendered[name], site).partition("route {\n")[2]
        first = [line.strip() for line in re.sub(r"header {.*?\n\t\t}\n", "", route, flags=re.S).splitlines()]
        assert [line for line in first if line][:2] == ["import target", "import client"]


@pytest.mark.parametrize("name", [OLD, NEW])
def test_no_matcher_looks_at_anything_but_the_raw_target(rendered: dict[str, str], name: str) -> None:
    """`path` and `path_regexp` decode and clean; `vars_regexp` takes braces in what it is given for placeholders."""
    text = rendered[name]
    assert not re.findall(r"path_regexp|vars_regexp", text)
    assert "request_header X-Jellynet-Target {http.request.orig_uri}" in text
    assert "header_up -X-Jellynet-Target" in text


def test_the_plain_form_is_part_of_the_accepted_one(rendered: dict[str, str]) -> None:
    plain, full = re.findall(r"not header_regexp X-Jellynet-Target `(.*)`", block(rendered[OLD], "@jellynet-refused {"))
    for target in ("/", "//a", "/a/b.c/", "/a?", "/a?b=\\..//%zz", "/a-b_c.d", "/a.."):
        assert re.search(plain, target) and re.search(full, target), target
    for target in (
        "/.",
        "/..",
        "/a/../b",
        "/.a",
        "/a%2fb",
        "/a#b",
        "/a?b#c",
        "a",
        "",
        "?a",
        "/a b",
        "/a\\b",
        "/\u00e4",
        "/a\x7f",
        "/a?\x7f",
    ):
        assert not re.search(plain, target), target


@pytest.mark.parametrize("name", [OLD, NEW])
def test_host_and_scheme_towards_the_server_are_the_sites(rendered: dict[str, str], name: str) -> None:
    upstream = block(rendered[name], "(upstream) {")
    argument = "{args[0]}" if name == NEW else "{args.0}"
    for line in (f"Host {argument}", f"X-Forwarded-Host {argument}", "X-Forwarded-Proto https", "-*_*"):
        assert f"\theader_up {line}\n" in upstream, line
    site = block(rendered[name], "https://media.example.org {")
    assert set(re.findall(r"import upstream (.*)", site)) == {"media.example.org"}


@pytest.mark.parametrize("name", [OLD, NEW])
def test_what_a_client_claims_is_looked_for_and_taken_away(rendered: dict[str, str], name: str) -> None:
    passed = block(rendered[name], "(passed) {")
    looked_for = re.findall(r"\theader !(\S+)\n", passed)
    assert looked_for == re.findall(r"\trequest_header -(\S+)", block(passed, "route @jellynet-claims {"))
    assert {"Forwarded", "X-Real-IP", "X-Original-URL", "X-Jellynet-Peer", "X-Jellynet-Chain"} <= set(looked_for)
    site = block(rendered[name], "https://media.example.org {")
    assert site.index("import passed") < site.index("reverse_proxy ")


def test_logins_from_the_internet_go_to_the_guard(rendered: dict[str, str]) -> None:
    text = rendered[OLD]
    assert "not remote_ip 192.168.1.0/24 fd00:1::/64" in block(text, "@jellynet-login {")
    guard = block(text, "reverse_proxy @jellynet-login 127.0.0.1:889 {")
    assert "header_up X-Jellynet-Peer {remote_host}" in guard
    assert text.index("reverse_proxy @jellynet-login") < text.index("reverse_proxy @jellynet-lan")


def test_what_stands_still_ends_and_a_paused_player_does_not(rendered: dict[str, str]) -> None:
    """2.11.7 would cut a paused player off after a minute."""
    assert "\t\t\tread_body_idle 120s\n\t\t\twrite_idle 14400s\n" in rendered[NEW]
    assert "0rtt off" in rendered[NEW]
    old = whole(rendered, "caddy-plain")
    assert not re.search(r"0rtt|write_idle|read_body", old)
    for text in (old, rendered[NEW]):
        assert "\t\t\tread_header 30s\n\t\t\tidle 60s\n" in text
        assert "\tmax_header_size 40KiB\n" in text


def test_the_unit_is_confined(rendered: dict[str, str]) -> None:
    unit = rendered["caddy-plain.jellynet.conf"]
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"):
        assert f"\n{line}\n" in unit
