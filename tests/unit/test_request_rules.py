"""The table of what a request may be, as expressions on the raw target."""

from __future__ import annotations

import re

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as rules

ACCEPTED = (
    "/", "//", "/web/index.html", "/Items/a%2Fb/Images/Pri%20mary?tag=%C3%A4&x=1", "/Genres/R&B%3F%23%25", "/a..b/..c/.../.d",
    "/a[0];v=1/@me", "/%e2%82%ac/%F0%9F%8E%AC", "/x?a=\\|\"<>`{}^", "/x?", "/x??y", "/a/", "/%2Fa", "/~user/!$&'()*+,;=:", "/a%2eb",
)  # fmt: skip
REFUSED = (
    "", "*", "x", "http://media.example.org/", "/..", "/.", "/a/../b", "/a/./b", "/a/..", "/a/.", "/a%2f..%2fb", "/a/%2e%2e/b", "/.%2E/b",
    "/%2e", "/a#b", "/a?b#c", "/a\\b", "/a%5cb", "/a%5Cb", "/%00", "/%0a", "/%7f", "/%c0%af", "/%c1%81", "/%e0%80%af", "/%ff", "/%80",
    "/%c3", "/%c3/", "/%ed%a0%80", "/%f5%80%80%80", "/%f4%90%80%80", "/%c2%9b", "/%zz", "/%4", "/%", "/\u00e4", "/a b", "/a\tb", '/a"', "/a|b",
    "/a<b>", "/a^b", "/a`b", "/{a}", "/a\n", "/x?a\x00", "/x?a b", "/x?\u00e4", "/x?a\x7f",
)  # fmt: skip


@pytest.mark.parametrize("target", ACCEPTED)
def test_forms_that_are_accepted(target: str) -> None:
    assert re.fullmatch(rules.TARGET, target)


@pytest.mark.parametrize("target", REFUSED)
def test_forms_that_are_refused(target: str) -> None:
    assert not re.fullmatch(rules.TARGET, target)


@pytest.mark.parametrize(
    "target",
    [
        "/metrics", "/METRICS/x", "//metrics?x", "/m%65tric%53", "/emby/metrics", "/jellyfin/metrics", "/emby//jellyfin/mediabrowser/metrics",
        "/%2fmetrics", "/System%2FRestart", "/system/%52estart", "/%C5%BFystem/Restart", "/S\u0079stem//Restart/", "/jelly%66in/System/Restart?a",
    ],
)  # fmt: skip
def test_every_spelling_of_a_protected_path_is_found(target: str) -> None:
    assert re.search(rules.protected(["/metrics", "System/Restart/"], "/jellyfin"), target)


@pytest.mark.parametrize(
    "target", ["/metricsx", "/web/metrics", "/System/RestartX", "/xmetrics", "/", "/System?x=/metrics"]
)
def test_what_only_looks_alike_is_not(target: str) -> None:
    assert not re.search(rules.protected(["/metrics", "/System/Restart"], "/jellyfin"), target)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/Users/AuthenticateByName", True),
        ("/jellyfin/users/authenticatebyname?x", True),
        ("/Users/0f/Authenticate", True),
        ("/Users/ForgotPassword/Pin", True),
        ("/QuickConnect/Connect?secret=1", True),
        ("/Users/Me", False),
        ("/QuickConnect/Enabled", False),
    ],
)
def test_where_credentials_are_tried(target: str, found: bool) -> None:
    assert bool(re.search(rules.login("/jellyfin"), target)) is found


def test_all_that_templates_read() -> None:
    site = {"domain": "media.example.org", "path": ""}
    given = rules.rules([site], ["/metrics"], guard=True)
    assert given["sites"]["media.example.org"] == {"protected": rules.protected(["/metrics"]), "login": rules.login()}
    assert rules.rules([site])["sites"]["media.example.org"] == {"protected": "", "login": ""}
    assert "CONNECT" not in given["lan_methods"] and "TRACE" not in given["lan_methods"]
    assert set(given["lan_methods"]) - set(given["methods"]) == {"SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY"}


def test_no_expression_looks_around_or_captures() -> None:
    for expression in (rules.TARGET, rules.protected(["/metrics"], "/a"), rules.login("/a")):
        assert not re.search(r"[(](?!\?:)", expression.replace("!$&'()*+", ""))


def test_every_expression_is_short_enough_for_nginx() -> None:
    paths = ["/metrics", "/dlna", "/System/Restart", "/System/Shutdown", "/Startup"]
    for expression in (rules.TARGET, rules.protected(paths, "/jellyfin"), rules.login("/jellyfin")):
        assert len(expression) < 3800
