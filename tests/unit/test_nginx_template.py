"""What nginx' expressions make of requests, read off the rendered files."""

from __future__ import annotations

import random
import re

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as rules
from proxy_files import whole

WORD = 4096  # nginx' limit for one word of its configuration


def maps(text: str, name: str) -> list[tuple[re.Pattern[str], str]]:
    """The expressions of a map, in order, as Python reads them."""
    body = re.search(rf"(?ms)^map \S+ \${name} {{\n(.*?)^}}", text)
    assert body, name
    found = []
    for flags, pattern, value in re.findall(r'(?m)^    "~(\*?)(.*)" (\S+);$', body.group(1)):
        plain = re.sub(r'\\([\\"])', r"\1", pattern).replace("(?<", "(?P<").replace("(?P<!", "(?<!")
        # Python has possessive quantifiers since 3.11 only.
        plain = re.sub(r"([*+?])\+", r"\1", plain)
        found.append((re.compile(plain, re.IGNORECASE if flags else 0), value))
    assert found, name
    return found


def matched(patterns: list[tuple[re.Pattern[str], str]], text: str) -> re.Match[str] | None:
    return next((found for pattern, _value in patterns if (found := pattern.search(text))), None)


TOKENS = (
    "/", ".", "..", "a", "Z-9", "%2e", "%2F", "%2f", "%c3%a4", "%ff", "%", "%5c", "%20", "?", "#", "\\", "[", "]", '"', "x=1&", " ", "@", "%25",
)  # fmt: skip


def test_the_form_of_a_request_is_that_of_the_table(rendered: dict[str, str]) -> None:
    target = maps(rendered["nginx-plain.http.conf"], "jellynet_target")
    chance = random.Random(9)
    accepted = 0
    for _turn in range(20_000):
        text = "/" * (chance.random() < 0.9) + "".join(chance.choice(TOKENS) for _ in range(chance.randint(0, 6)))
        right = bool(re.fullmatch(rules.TARGET, text))
        assert bool(matched(target, f"GET {text} HTTP/1.1")) is right, text
        assert not (matched(target[:1], f"GET {text} HTTP/1.1") and not right), text
        accepted += right
    assert 1000 < accepted < 15_000


@pytest.mark.parametrize(
    "line",
    [
        "GET http://media.example.org/ HTTP/1.1", "GET media.example.org:443 HTTP/1.1", "OPTIONS * HTTP/1.1", "GET  / HTTP/1.1", "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ", "GET /", "G T / HTTP/1.1", "GET / HTTP/1.10", "GET / HTTP/0.9", "",
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_refused(rendered: dict[str, str], line: str) -> None:
    assert not matched(maps(rendered["nginx-plain.http.conf"], "jellynet_target"), line)


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        ("/Items/1/Images/Primary?tag=1", "/Items/1/Images/Primary"),
        ("/a%20b/%C3%A4", "/a%20b/%C3%A4"),
        ("/x/api_key=s", "/x/"),
        ("/x/%61pi_key=s", "/x/"),
        ("/x/API%5FKEY=s", "/x/"),
        ("/x/a%50iKey=s", "/x/"),
        ("/x/%2541pi_key=s", "/x/"),
        ("/x%253Fapi_key=s", "/x"),
        ("/x%3fq=s", "/x"),
        ("/x%26q=s", "/x"),
        ("/x%3Bq=s", "/x"),
        ("/x%23q=s", "/x"),
        ("/x#s", "/x"),
        ("/%74oken/s", "/"),
        ("/Authorization/s", "/"),
    ],
)
def test_no_token_of_a_path_is_logged(rendered: dict[str, str], target: str, logged: str) -> None:
    found = matched(maps(rendered["nginx-plain.http.conf"], "jellynet_log_path"), target)
    assert found and found.group("jellynet_path") == logged


@pytest.mark.parametrize(
    ("referer", "logged"),
    [
        ("https://media.example.org/web/?api_key=s", "https://media.example.org"),
        ("http://[::1]:8096", "http://[::1]:8096"),
        ("https://user:s@media.example.org/", None),
        ("https://s@media.example.org", None),
        ("https://h\\@s/", None),
        ("app://s", None),
    ],
)
def test_of_a_referer_the_origin_alone_is_logged(rendered: dict[str, str], referer: str, logged: str | None) -> None:
    found = matched(maps(rendered["nginx-plain.http.conf"], "jellynet_log_referer"), referer)
    assert (found.group("jellynet_origin") if found else None) == logged


def test_only_known_methods_are_logged(rendered: dict[str, str]) -> None:
    method = maps(rendered["nginx-plain.http.conf"], "jellynet_log_method")
    assert all(matched(method, name) for name in (*rules.LAN_METHODS, "TRACE"))
    assert not any(matched(method, name) for name in ("API_KEY_X", "GETX", "get", ""))


def test_nothing_is_too_long_a_word_for_nginx(rendered: dict[str, str]) -> None:
    for file, text in rendered.items():
        if file.startswith("nginx-") and file.endswith(".conf"):
            assert (
                max(len(word) for line in text.splitlines() for word in re.findall(r'"[^"]*"|\S+', line) or [""])
                < WORD - 100
            ), file


def test_what_is_protected_and_where_credentials_are_tried_is_judged_as_sent(rendered: dict[str, str]) -> None:
    text = rendered["nginx-plain.sites.conf"]
    closed, login = maps(text, "jellynet_protected_1"), maps(text, "jellynet_internet_1")
    assert matched(closed, "/emby/%53ystem%2FRestart?x") and not matched(closed, "/System/RestartX")
    assert matched(login, "/users/%41uthenticateByName") and not matched(login, "/Users/Me")
    assert {value for _pattern, value in login} == {"jellynet-guard"}
    proxy = rendered["nginx-plain.proxy.conf"]
    assert "proxy_set_header X-Jellynet-Peer $jellynet_peer;" in proxy
    assert "proxy_set_header Host $server_name;" in proxy and "$host" not in whole(rendered, "nginx-plain")


def test_a_paused_player_lives_longer_than_a_quiet_websocket(rendered: dict[str, str]) -> None:
    proxy = rendered["nginx-plain.proxy.conf"]
    assert "send_timeout 14400s;" in proxy.replace("proxy_send_timeout", "")
    assert "proxy_read_timeout 3600s;" in proxy and "client_body_timeout 120s;" in proxy
    assert "client_header_timeout 30s;" in rendered["nginx-plain.connection.conf"]
