# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an edge from a client's seat and says what was seen. It judges nothing: that is ``_verify``.

A peer may be hostile: every probe has one deadline for all of it, and reads a bounded amount.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable
from urllib.parse import urlsplit

MAX_BODY = 65536
WEBSOCKET_HEADERS = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}

DISCOVERY = b"Who is JellyfinServer?"
M_SEARCH = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'
)
UDP_PAYLOADS = {"discovery": DISCOVERY, "ssdp": M_SEARCH, "": b"\x00"}


EDGE = "@EDGE@"
# SSL_OP_LEGACY_SERVER_CONNECT, which the module ssl names since Python 3.12: OpenSSL 3 hangs up on a server without RFC 5746.
LEGACY_SERVER = 0x4
# Who turns strangers away does it within these seconds of the connection.
TURNS_AWAY_WITHIN = 0.4
# What a firewall on the way, or a route that is missing, looks like.
FILTERED = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ETIMEDOUT)


class ProbeError(Exception):
    """What went wrong, in words for the report."""


class Connection:
    """One TCP connection that is cut at its deadline, whatever the peer does."""

    def __init__(self, address: str, port: int, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self.timed_out = False
        self.sock: Any = socket.create_connection((address, port), timeout=timeout)
        self.source = str(self.sock.getsockname()[0])
        # A second descriptor of the same connection: shutting it down wakes a blocked handshake or read.
        self._guard = socket.socket(fileno=os.dup(self.sock.fileno()))
        self._timer = threading.Timer(max(0.05, self.deadline - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.timed_out = True
        with contextlib.suppress(OSError):
            self._guard.shutdown(socket.SHUT_RDWR)

    def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> ssl.SSLSocket:
        wrapped = context.wrap_socket(self.sock, server_hostname=server_name, do_handshake_on_connect=False)
        self.sock = wrapped
        wrapped.do_handshake()
        return wrapped

    def close(self) -> None:
        self._timer.cancel()
        for sock in (self._guard, self.sock):
            with contextlib.suppress(OSError):
                sock.close()


def words(problem: BaseException, timed_out: bool, timeout: float) -> str:
    """An exception of the network as a sentence part."""
    if timed_out or isinstance(problem, socket.timeout):
        return f"no complete answer within {timeout:g} s"
    if isinstance(problem, ConnectionRefusedError):
        return "connection refused"
    if isinstance(problem, socket.gaierror):
        return "the name does not resolve"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return str(problem.verify_message)
    if isinstance(problem, ssl.SSLError):
        return "TLS: " + (problem.reason or str(problem)).lower().replace("_", " ")
    if isinstance(problem, (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
        return "the peer closed the connection"
    if isinstance(problem, http.client.HTTPException):
        return f"no valid HTTP answer ({type(problem).__name__})"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror.lower()
    return str(problem) or type(problem).__name__


def tls_context(verify: bool, ca: str, alpn: list[str] | None = None) -> ssl.SSLContext:
    """A client's context: the system's roots, and those in the PEM text ``ca``."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cadata=ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # What the peer offers is to be seen, however old it is.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.options |= LEGACY_SERVER
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _tls_facts(sock: ssl.SSLSocket) -> dict[str, Any]:
    facts: dict[str, Any] = {"version": sock.version() or "", "alpn": sock.selected_alpn_protocol() or ""}
    served = sock.getpeercert()
    if served:
        facts["not_after"] = int(ssl.cert_time_to_seconds(str(served["notAfter"])))
        facts["names"] = [str(entry[1]) for entry in served.get("subjectAltName", ())]
    return facts


def open_tls(
    address: str,
    port: int,
    server_name: str | None,
    ca: str,
    timeout: float,
    alpn: list[str] | None = None,
    check: bool = True,
) -> tuple[Connection, dict[str, Any]]:
    """A TLS connection and what is known of it. An untrusted certificate is reported, not an error."""
    untrusted = ""
    for verify in (True, False) if check else (False,):
        try:
            connection = Connection(address, port, timeout)
        except OSError as problem:
            raise ProbeError(words(problem, False, timeout)) from problem
        try:
            sock = connection.start_tls(tls_context(verify, ca, alpn), server_name)
        except ssl.SSLCertVerificationError as problem:
            connection.close()
            untrusted = words(problem, False, timeout)
        except Exception as problem:
            timed_out = connection.timed_out
            connection.close()
            raise ProbeError(words(problem, timed_out, timeout)) from problem
        else:
            return connection, dict(_tls_facts(sock), trusted=verify, untrusted=untrusted)
    raise ProbeError("TLS: no handshake")


def _request_headers(probe: Mapping[str, Any], host: str) -> dict[str, str]:
    headers = {"Host": host, "User-Agent": "jellynet-verify", "Accept": "*/*", "Connection": "close"}
    if probe.get("websocket"):
        headers.update(WEBSOCKET_HEADERS)
        headers["Sec-WebSocket-Key"] = base64.b64encode(secrets.token_bytes(16)).decode()
    headers.update({str(key): str(value) for key, value in (probe.get("headers") or {}).items()})
    return headers


def http_exchange(
    probe: Mapping[str, Any], ca: str, timeout: float, check: bool = True, read: int = MAX_BODY
) -> tuple[dict[str, Any], bytes]:
    """One request, redirects not followed. ``url`` names the site, ``address`` (optional) where to connect to.

    ``check``: whether the certificate is looked at; ``read``: how much of the body.
    """
    url = urlsplit(str(probe["url"]))
    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    address = str(probe.get("address") or host)
    tls: dict[str, Any] | None = None
    if secure:
        name = str(probe.get("server_name") or host)
        connection, tls = open_tls(address, port, name, ca, timeout, ["http/1.1"], check)
    else:
        try:
            connection = Connection(address, port, timeout)
        except OSError as problem:
            raise ProbeError(words(problem, False, timeout)) from problem
    bracketed = f"[{host}]" if ":" in host else host
    client = http.client.HTTPConnection(bracketed, port)
    client.sock = connection.sock
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    named = bracketed if port == (443 if secure else 80) else f"{bracketed}:{port}"
    try:
        client.request(str(probe.get("method") or "GET"), target, headers=_request_headers(probe, named))
        answer = client.getresponse()
        body = b"" if answer.status == 101 or not read else answer.read(read)
        if connection.timed_out:
            raise ProbeError(words(socket.timeout(), True, timeout))
    except ProbeError:
        raise
    except Exception as problem:
        raise ProbeError(words(problem, connection.timed_out, timeout)) from problem
    finally:
        connection.close()
    seen = {
        "status": answer.status,
        "headers": {key.lower(): value for key, value in answer.getheaders()},
        "hsts": answer.headers.get_all("Strict-Transport-Security") or [],
        "source_address": connection.source,
        "tls": tls,
    }
    return seen, body


def probe_http(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    seen, body = http_exchange(probe, ca, timeout)
    return dict(seen, body=body.decode("utf-8", "replace")[:4096], length=len(body))


def fetch(url: str, timeout: float) -> bytes:
    """A small file over HTTP."""
    seen, body = http_exchange({"url": url}, "", timeout)
    if seen["status"] != 200:
        raise ProbeError(f"status {seen['status']}")
    return body


def _connected(probe: Mapping[str, Any], timeout: float) -> Connection:
    """A connection to where a raw request goes: TLS with the name of the site, or plain where the port is not TLS's."""
    address, port = str(probe["address"]), int(probe.get("port") or 443)
    if not probe.get("tls", True):
        try:
            return Connection(address, port, timeout)
        except OSError as problem:
            raise ProbeError(words(problem, False, timeout)) from problem
    return open_tls(address, port, str(probe.get("server_name") or "") or None, "", timeout, ["http/1.1"], check=False)[
        0
    ]


def raw_request(probe: Mapping[str, Any]) -> bytes:
    """The text of a request as it is to be sent: no library puts its target or its headers in order."""
    given = [str(line) for line in probe.get("lines") or []]
    host = (
        [] if any(line.lower().startswith("host:") for line in given) else [f"Host: {probe.get('server_name') or ''}"]
    )
    closing = [] if any(line.lower().startswith("connection:") for line in given) else ["Connection: close"]
    lines = [f"{probe.get('method') or 'GET'} {probe.get('target') or '/'} HTTP/1.1", *host, *given, *closing, "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + str(probe.get("content") or "").encode()


def _answer_of(connection: Connection, method: str, timeout: float) -> tuple[dict[str, Any], bytes]:
    answer = http.client.HTTPResponse(connection.sock, method=method)
    try:
        answer.begin()
        body = b"" if answer.status == 101 else answer.read(4096)
    except (OSError, http.client.HTTPException) as problem:
        raise ProbeError(words(problem, connection.timed_out, timeout)) from problem
    return {"status": answer.status, "headers": {key.lower(): value for key, value in answer.getheaders()}}, body


def probe_raw(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """One request in exactly the given words. A peer that hangs up without an answer has refused it: ``status`` 0."""
    connection = _connected(probe, timeout)
    try:
        connection.sock.sendall(raw_request(probe))
        seen, body = _answer_of(connection, str(probe.get("method") or "GET"), timeout)
    except ProbeError:
        if connection.timed_out:
            raise
        return {"status": 0, "headers": {}, "body": "", "source_address": connection.source}
    except OSError:
        return {"status": 0, "headers": {}, "body": "", "source_address": connection.source}
    finally:
        connection.close()
    return dict(seen, body=body.decode("utf-8", "replace"), source_address=connection.source)


HALF_OPEN = 10


def probe_half_open(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """What an ordinary request gets while ten others from the same address are half sent."""
    held: list[Connection] = []
    half = raw_request(probe)[:-2]
    try:
        for _turn in range(HALF_OPEN):
            connection = _connected(probe, timeout)
            held.append(connection)
            connection.sock.sendall(half)
        return dict(probe_raw(probe, ca, timeout), held=len(held))
    finally:
        for connection in held:
            connection.close()


def probe_tls(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """A handshake alone, offering ``alpn``; ``server_name`` '' sends no SNI."""
    name = str(probe.get("server_name") or "") or None
    address, port = str(probe["address"]), int(probe.get("port") or 443)
    context = tls_context(False, ca, list(probe.get("alpn") or []) or None)
    connection = Connection(address, port, timeout)
    try:
        sock = connection.start_tls(context, name)
        facts = _tls_facts(sock)
    except Exception as problem:
        raise ProbeError(words(problem, connection.timed_out, timeout)) from problem
    finally:
        connection.close()
    return {"tls": facts, "source_address": connection.source}


def probe_tcp(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """``state``: open; turned away (it connects, and is cut off at once); closed (refused); filtered (no answer, or a firewall's)."""
    try:
        connection = Connection(str(probe["address"]), int(probe["port"]), timeout)
        try:
            connection.sock.settimeout(min(TURNS_AWAY_WITHIN, timeout))
            # Other servers speak first, or wait for the client.
            greeted = connection.sock.recv(1)
        except socket.timeout:
            greeted = b"waits"
        finally:
            connection.close()
    except ConnectionRefusedError:
        return {"state": "closed"}
    except (ConnectionResetError, BrokenPipeError):
        return {"state": "turned away"}
    except socket.gaierror as problem:
        raise ProbeError(words(problem, False, timeout)) from problem
    except OSError as problem:
        if problem.errno == errno.ENOTCONN:
            return {"state": "turned away"}
        if isinstance(problem, socket.timeout) or problem.errno in FILTERED:
            return {"state": "filtered"}
        raise
    return {"state": "open" if greeted else "turned away", "source_address": connection.source}


def _ask_udp(address: str, port: int, payload: bytes, timeout: float) -> tuple[str, bytes]:
    family, kind, proto, _name, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, proto) as sock:
        sock.connect(target)
        until = time.monotonic() + timeout
        # UDP may lose a packet: ask three times within the deadline.
        for turn in range(3):
            try:
                sock.settimeout(max(0.05, (until - time.monotonic()) / (3 - turn)))
                sock.send(payload)
                return "open", sock.recv(4096)
            except socket.timeout:
                continue
            except ConnectionRefusedError:
                return "closed", b""
            except OSError as problem:
                if problem.errno in FILTERED:
                    return "filtered", b""
                raise
    return "silent", b""


def probe_udp(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """``state``: open (it answered), closed (refused), filtered, or silent (no answer: nothing there, or not for us)."""
    payload = UDP_PAYLOADS[str(probe.get("payload") or "")]
    state, answer = _ask_udp(str(probe["address"]), int(probe["port"]), payload, timeout)
    return {"state": state, "answer": answer.decode("utf-8", "replace")[:1024]}


def probe_quic(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """Whether QUIC answers: a version nobody has makes a server name those it has (RFC 9000 §6)."""
    ours, theirs = secrets.token_bytes(8), secrets.token_bytes(8)
    head = b"\xc0\x1a\x2a\x3a\x4a" + bytes([8]) + theirs + bytes([8]) + ours
    state, answer = _ask_udp(str(probe["address"]), int(probe.get("port") or 443), head.ljust(1200, b"\0"), timeout)
    versions: list[str] = []
    if len(answer) >= 7 and answer[0] & 0x80 and answer[1:5] == b"\0\0\0\0":
        skip = 6 + answer[5]
        skip += 1 + answer[skip] if skip < len(answer) else 0
        listed = answer[skip:]
        versions = [listed[i : i + 4].hex() for i in range(0, len(listed) - 3, 4)]
    return {
        "state": state if versions or state != "open" else "silent",
        "versions": versions,
        "v1": "00000001" in versions,
    }


def probe_dns(probe: Mapping[str, Any], ca: str, timeout: float) -> dict[str, Any]:
    """Every address of a name, as this host's resolver says."""
    try:
        found = socket.getaddrinfo(str(probe["name"]), None, type=socket.SOCK_STREAM)
    except socket.gaierror as problem:
        return {"addresses": [], "error": words(problem, False, timeout)}
    return {"addresses": sorted({str(item[4][0]) for item in found})}


KINDS: dict[str, Callable[[Mapping[str, Any], str, float], dict[str, Any]]] = {
    "http": probe_http,
    "raw": probe_raw,
    "half_open": probe_half_open,
    "tls": probe_tls,
    "tcp": probe_tcp,
    "udp": probe_udp,
    "quic": probe_quic,
    "dns": probe_dns,
}


def _one(probe: Mapping[str, Any], ca: str, timeout: float, into: dict[str, Any]) -> None:
    began = time.monotonic()
    try:
        seen = KINDS[str(probe["kind"])](probe, ca, timeout)
    except ProbeError as problem:
        seen = {"error": str(problem)}
    except Exception as problem:  # a probe must never take the others down
        seen = {"error": words(problem, False, timeout)}
    seen["seconds"] = round(time.monotonic() - began, 3)
    into.update(seen, done=True)


def run(
    probes: Sequence[Mapping[str, Any]], ca: str = "", timeout: float = 5.0, at_once: int = 16
) -> dict[str, dict[str, Any]]:
    """Runs all probes side by side, a bounded number at once. Returns what each saw, by its id."""
    results: dict[str, dict[str, Any]] = {}
    gate = threading.Semaphore(at_once)
    threads = []

    def guarded(probe: Mapping[str, Any], into: dict[str, Any]) -> None:
        with gate:
            _one(probe, ca, timeout, into)

    for probe in probes:
        into = results[str(probe["id"])] = {"kind": probe["kind"], "error": "", "done": False}
        # Daemon threads: a resolver that hangs must not keep the module alive.
        thread = threading.Thread(target=guarded, args=(probe, into), daemon=True)
        thread.start()
        threads.append(thread)
    # A trusted and an untrusted handshake may follow each other, so a probe takes up to two deadlines.
    until = time.monotonic() + (2 * timeout + 1) * (1 + len(probes) // at_once)
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    seen = {key: dict(value) for key, value in results.items()}
    for value in seen.values():
        if not value.pop("done"):
            value["error"] = f"no complete answer within {timeout:g} s"
    return seen


def answers(address: str, port: int, timeout: float) -> bool:
    """Whether anything at all comes back from there, a refusal too."""
    try:
        Connection(address, port, timeout).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def reachable(candidates: list[str], timeout: float) -> str:
    """The first of the candidates that answers on port 443 or 80; the first of all where none does."""
    for address in candidates if len(candidates) > 1 else []:
        if any(answers(address, port, min(1.0, timeout)) for port in (443, 80)):
            return address
    return candidates[0] if candidates else ""


def aimed(probe: Mapping[str, Any], edge: str) -> dict[str, Any]:
    """The probe with the edge's address in place of its mark; in a URL an IPv6 address stands in brackets."""
    found = dict(probe)
    if found.get("address") == EDGE:
        found["address"] = edge
    if found.get("url"):
        found["url"] = str(found["url"]).replace(EDGE, f"[{edge}]" if ":" in edge else edge)
    return found
