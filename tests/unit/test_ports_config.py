# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jellyfin_ports.config import ConfigError, parse
from jellyfin_ports.lines import value_lines
from ports_support import config_text


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.json")
    return caught.value.problems


def test_a_good_one() -> None:
    config = parse(config_text())
    assert config.http.enabled and config.http.port == 8096
    assert config.client_discovery and not config.ssdp
    assert config.upstreams[0].host == "192.168.1.5"
    assert config.relay_wanted and config.discovery_wanted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listeners": {"client_discovery": {"enabled": True, "port": 7360}}}, "cannot be moved"),
        ({"listeners": {"ssdp": {"enabled": True, "port": 1901}}}, "cannot be moved"),
        ({"listeners": {"http": {"enabled": True, "port": 70000}}}, "a port is 1 to 65535"),
        ({"listeners": {"http": {"enabled": "yes"}}}, "not true or false"),
        ({"listeners": {"http": {"enabled": True}, "description": {"enabled": True, "port": 8096}}}, "different ports"),
        ({"listeners": {"https": {"enabled": True}}}, "needs a certificate"),
        ({"listeners": {"telnet": {}}}, "not known here"),
        ({"lan": ["192.168.1.5/24"]}, "is no network"),
        ({"lan": ["192.168.1.0/33"]}, "is no network"),
        ({"lan": "192.168.1.0/24"}, "is not a list"),
        ({"upstreams": [{"url": "192.168.1.5:8096"}]}, "is no full URL"),
        ({"upstreams": [{"url": "http://192.168.1.5:8096/jellyfin"}]}, "the path goes into"),
        ({"upstreams": [{"url": "https://192.168.1.5:8096"}]}, "write http://"),
        ({"upstreams": [{"url": "http://192.168.1.5:99999"}]}, "is no URL"),
        ({"upstreams": [{"url": "http://a:1"}, {"url": "http://a:1"}]}, "is there twice"),
        ({"upstreams": [{"url": "http://a:1", "path": "jellyfin"}]}, "is no path"),
        ({"upstreams": [{"url": "http://a:1", "path": "/jellyfin/"}]}, "is no path"),
        ({"upstreams": [{"url": "http://127.0.0.1:8096"}]}, "its own server"),
        ({"upstreams": [{"url": "http://localhost:8096"}]}, "its own server"),
        ({"upstreams": [{"url": "http://[::1]:8096"}]}, "its own server"),
        ({"listeners": {"hdhomerun": {"enabled": True, "tuners": ["tuner.local"]}}}, "is no IPv4 address"),
        ({"limits": {"source_rate": 0}}, "greater than 0"),
        ({"limits": {"colour": 1}}, "not known here"),
        ({"metrics": {"relay": 8096}}, "taken already"),
        ({"metrics": {"relay": 9100, "discovery": 9100}}, "taken already"),
    ],
)
def test_refused_in_words(changes: dict, said: str) -> None:
    found = problems(config_text(**changes))
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("all=media.example.org", "is no full URL"),
        ("all=https://media.example.org/?a=b", "host, port and path only"),
        ("all=https://user@media.example.org", "host, port and path only"),
        ("all=ftp://media.example.org", "is no full URL"),
        ("media.example.org", "is not KEY=URL"),
        ("192.168.1.0/40=http://a", "is none of"),
        ("300.1.1.1=http://a", "is none of"),
        ("fd00::/8=http://a", "IPv4 only"),
        ({"for": "", "url": "http://a"}, "is none of"),
        ({"for": "all", "address": "http://a"}, "not known here"),
    ],
)
def test_published_refused(entry: object, said: str) -> None:
    upstream = {"url": "http://192.168.1.5:8096", "published": [entry]}
    assert any(said in line for line in problems(config_text(upstreams=[upstream])))


def test_published_understood() -> None:
    entries = [
        "all=https://media.example.org/",
        "internal=http://192.168.1.5:8096",
        "external=https://media.example.org",
        "192.168.1.7=http://a:1/x",
        {"for": "192.168.2.0/24", "url": "http://b"},
        "eth0=http://c",
    ]
    upstream = {"url": "http://192.168.1.5:8096", "published": entries}
    published = parse(config_text(upstreams=[upstream])).upstreams[0].published
    assert [p.key for p in published] == ["all", "internal", "external", "192.168.1.7", "192.168.2.0/24", "eth0"]
    assert published[0].url == "https://media.example.org"
    assert str(published[3].network) == "192.168.1.7/32"


def test_the_line_is_named() -> None:
    text = '{\n "lan": [\n  "192.168.1.0/24",\n  "nonsense"\n ],\n "listeners": {\n  "http": {"port": 0}\n }\n}'
    found = problems(text)
    assert found[0].startswith("c.json:4: lan[1]:")
    assert any(line.startswith("c.json:7: listeners.http.port:") for line in found)


def test_broken_json_names_its_line() -> None:
    assert problems('{\n "lan": [\n}')[0].startswith("c.json:3: not JSON")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_every_value_has_its_line(value: object) -> None:
    """Each value on a line of its own: the line found must hold the value's own text."""
    text = json.dumps(value, indent=1)
    lines = text.split("\n")
    for path, line in value_lines(text).items():
        if path and isinstance(path[-1], str):
            assert json.dumps(path[-1]) in lines[line - 1]


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        assert error.problems


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["lan", "trusted_proxies", "upstreams", "listeners", "limits", "metrics", "generation"]),
        json_like,
    )
)
@settings(max_examples=500, deadline=None)
def test_any_shape_is_read_or_refused(value: object) -> None:
    try:
        parse(json.dumps(value))
    except ConfigError as error:
        assert error.problems


@given(json_like, st.sampled_from(["published", "url", "path", "domains", "name", "announce_port", "dlna"]))
@settings(max_examples=300, deadline=None)
def test_any_upstream_is_read_or_refused(value: object, key: str) -> None:
    try:
        parse(json.dumps({"upstreams": [{"url": "http://a:1", key: value}]}))
    except ConfigError as error:
        assert error.problems
