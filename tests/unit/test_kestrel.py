"""The double's reader of requests does what ASP.NET Core's does: a table of targets, and of heads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

DOUBLE = Path(__file__).resolve().parents[1] / "lab" / "double"
sys.path.insert(0, str(DOUBLE))

import kestrel  # noqa: E402

TARGETS = [
    (target.encode("latin-1"), status, path)
    for target, status, path in json.loads((DOUBLE / "targets.json").read_text())
]
HOST = b"Host: a\r\n"


def test_the_table_is_large_enough_and_says_each_target_once():
    assert len(TARGETS) >= 400
    assert len({target for target, _, _ in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_targets_are_read_as_the_table_says(version):
    for target, status, path in TARGETS:
        reading = kestrel.read(target, version)
        if version == "1.1":
            assert (reading.status, reading.path if status == 200 else None) == (status, path), target
        elif target.startswith(b"/") and all(32 < byte < 127 for byte in target):
            assert (reading.status, reading.path) == (status, path or ""), target
        else:
            assert reading.status == 400, target


@pytest.mark.parametrize(
    ("target", "route"),
    [
        (b"/a%2fb/../metrics", "/metrics"),
        (b"/System/y%2fz/../Restart", "/system/restart"),
        (b"/System/x//../../Restart", "/system/restart"),
        (b"/Startup/x//../../Configuration", "/startup"),
        (b"/x#/../metrics", "/metrics"),
        (b"/dlna/x%2f..%2f..%2fweb", "/dlna"),
        (b"/metrics?x=/y", "/metrics"),
        (b"/web/?/../metrics", None),
        (b"//metrics", None),
        (b"/System%2fRestart", None),
        (b"/%53ystem/restart/", "/system/restart"),
        (b"/EMBY/metrics", "/metrics"),
        (b"/embymetrics", None),
        (b"/emby/emby/metrics", None),
        (b"/Users/x%2fy/Authenticate", "/users/*/authenticate"),
        (b"/users/authenticatebyname/", "/users/authenticatebyname"),
        (b"/Items/System/Restart", None),
    ],
)
def test_routes(target, route):
    assert kestrel.routes_to(kestrel.read(target).path) == route


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/jellyfin/metrics", "/metrics"),
        ("/JELLYFIN/emby/metrics", "/metrics"),
        ("/emby/jellyfin/metrics", None),
        ("/metrics", None),
        ("/jellyfinx/metrics", None),
        ("/jellyfin/jellyfin/metrics", None),
    ],
)
def test_routes_below_a_base_url(path, route):
    assert kestrel.routes_to(path, "/jellyfin") == route


@pytest.mark.parametrize(
    ("fields", "status", "length"),
    [
        (b"Content-Length: 3\r\n", 200, 3),
        (b"Content-Length: +3\r\n", 200, 3),
        (b"Content-Length: 9223372036854775808\r\n", 400, 0),
        (b"Content-Length: 18446744073709551616\r\n", 400, 0),
        (b"Content-Length: -3\r\n", 400, 0),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", 400, 0),
        (b"Content_Length: 3\r\n", 200, 0),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 200, None),
        (b"Transfer-Encoding: chunked,\r\n", 200, None),
        (b"Transfer-Encoding: x, Chunked\r\n", 200, None),
        (b"Transfer-Encoding: chunked, x\r\n", 400, 0),
        (b"Transfer-Encoding: xchunked\r\n", 400, 0),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400, 0),
        (b"X: y\r\n Content-Length: 3\r\n", 400, 0),
        (b"Content-Length : 3\r\n", 400, 0),
        (b"X: y\rContent-Length: 3\r\n", 400, 0),
        (b"X: y\nContent-Length: 3\n", 200, 3),
        (b"Host: a\r\n", 400, 0),
    ],
)
def test_heads(fields, status, length):
    head = kestrel.read_head(b"POST /x HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    assert (head.status, head.length) == (status, length)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"a", 200), (b"a:80", 200), (b"", 200), (b"a.", 200), (b"[::1]:80", 200), (b"a_b", 200),
        (b"a:", 400), (b":80", 400), (b"a@b", 400), (b"a:8096@evil", 400), (b"a b", 400), (b"a/b", 400), (b"[::1", 400),
    ],
)  # fmt: skip
def test_hosts(host, status):
    assert kestrel.read_head(b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").status == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /x HTTP/1.1\n", 200), (b"GET /x  HTTP/1.1\r\n", 200), (b"\r\nGET /x HTTP/1.1\r\n", 200), (b"TRACE /x HTTP/1.1\r\n", 200),
        (b"GET /x HTTP/1.2\r\n", 505), (b"GET /x\r\n", 400), (b"GET  /x HTTP/1.1\r\n", 400), (b"G@T /x HTTP/1.1\r\n", 400),
        (b"GET http://a/x HTTP/1.1\r\n", 200), (b"GET http://b/x HTTP/1.1\r\n", 400), (b"CONNECT a HTTP/1.1\r\n", 200),
        (b"CONNECT b HTTP/1.1\r\n", 400), (b"GET /x HTTP/1.1 \r\n", 400),
    ],
)  # fmt: skip
def test_request_lines(line, status):
    assert kestrel.read_head(line + HOST + b"\r\n").status == status
