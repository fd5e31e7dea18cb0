"""Values of the role reverse_proxy that are refused, in words, before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _proxy_values, _site


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trusted_proxies": ["10.0.0.0/33"]}, "no network in CIDR notation"),
        ({"trusted_proxies": ["cdn.example"]}, "no network in CIDR notation"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "Write the network itself: 10.0.0.0/8"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "Name the networks of your own proxies"),
        ({"trusted_proxies": ["::/0"]}, "Name the networks of your own proxies"),
        ({"trusted_proxies": ["0.0.0.0/1"]}, "'0.0.0.0/1': so many addresses are strangers'"),
        ({"trusted_proxies": [f"{n}.0.0.0/8" for n in range(1, 200, 2)]}, "more than two /8 together"),
        ({"trusted_proxies": [10]}, "as text"),
        ({"trusted_proxies": "10.0.0.0/8"}, "give a list"),
        ({"protected_paths": ["metrics"]}, "begins with a slash"),
        ({"protected_paths": ["/a b"]}, "give a path"),
        ({"protected_paths": ["/a`) || Host(`x"]}, "give a path"),
        ({"protected_paths": ["/a/../b"]}, "give a path"),
        ({"protected_paths": ["/"]}, "give a path"),
        ({"csp": "default-src 'self'\nX-Evil: 1"}, "on one line"),
        ({"csp": "default-src 'self'\n"}, "on one line"),
        ({"csp": ["x"]}, "on one line"),
        ({"csp": "default-src {{ env `HOME` }}"}, "Traefik takes for a template"),
        ({"csp": "default-src 'self' }}"}, "Traefik takes for a template"),
        ({"idle_timeout": 30}, "more than 60"),
        ({"idle_timeout": "1h"}, "give seconds"),
    ],
)
def test_a_bad_value_is_named_with_its_cure(values: dict[str, Any], words: str) -> None:
    (said,) = _proxy_values.problems(values)
    assert said.startswith("reverse_proxy_" + next(iter(values)))
    assert words in said


def test_good_values_pass() -> None:
    good = {
        "trusted_proxies": [
            "203.0.113.0/24",
            "192.0.2.7",
            "2001:db8::/32",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "100.64.0.0/10",
            "fc00::/7",
        ],
        "protected_paths": ["/metrics", "/System/Restart", "/api-docs/"],
        "csp": "default-src 'self' https: \"x\" $y 100%",
        "idle_timeout": 3600,
    }
    assert _proxy_values.problems(good) == []
    assert _proxy_values.problems({}) == []


def test_the_sites_check_asks_for_them() -> None:
    values = {"domain": "media.example.org", "server_address": "127.0.0.1", "trusted_proxies": ["nobody"]}
    assert any("reverse_proxy_trusted_proxies" in said for said in _site.problems(values, {}, ["nginx"]))
