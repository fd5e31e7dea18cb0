# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be tested here before a CA is asked: each failed attempt there counts against a limit.

Every check returns a sentence, or '' when it has nothing to say.
"""

from __future__ import annotations

import http.client
import http.server
import json
import secrets
import socket
import ssl
import threading
import urllib.error
from collections.abc import Iterable

from ansible.module_utils.urls import open_url

CHALLENGE = "/.well-known/acme-challenge/"
TIMEOUT = 15


def directory_problem(directory: str, ca_bundle: str = "", timeout: float = TIMEOUT) -> str:
    """Whether the ACME server answers with a directory."""
    said = f"The ACME server {directory}"
    try:
        ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError) as problem:
        return f"jellyfin_acme_ca_bundle ({ca_bundle}) cannot be used ({problem}). Give a PEM file on this host with the CA of {directory}"
    try:
        with open_url(
            directory, timeout=timeout, ca_path=ca_bundle or None, http_agent="jellynet-letsencrypt-certificate"
        ) as answer:
            found = json.loads(answer.read(1 << 20))
    except urllib.error.HTTPError as problem:
        return f"{said} answers {problem.code} {problem.reason}. Mend jellyfin_acme_directory, or try again later"
    except urllib.error.URLError as problem:
        return f"{said} cannot be reached from this host: {_cause(problem.reason, ca_bundle)}"
    except (OSError, http.client.HTTPException) as problem:
        return f"{said} cannot be reached from this host: {_cause(problem, ca_bundle)}"
    except ValueError:
        found = None
    if not isinstance(found, dict) or "newOrder" not in found:
        return f"{said} answers, but not with an ACME directory. Mend jellyfin_acme_directory"
    return ""


def _cause(problem: object, ca_bundle: str) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        advice = (
            f"jellyfin_acme_ca_bundle ({ca_bundle}) does not hold its CA"
            if ca_bundle
            else "for a private CA set jellyfin_acme_ca_bundle"
        )
        return f"its certificate is not trusted ({problem.verify_message}); {advice}"
    if isinstance(problem, socket.gaierror):
        return "its name does not resolve here. Look at this host's DNS (/etc/resolv.conf)"
    if isinstance(problem, (socket.timeout, TimeoutError)):
        return "it does not answer in time. Look at this host's way out, or try again later"
    return f"{getattr(problem, 'strerror', None) or problem}. Look at this host's way out, or try again later"


def own_addresses(addresses: Iterable[str]) -> set[str]:
    """The ones that this host can bind, that is, that are its own."""
    own = set()
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((address, 0))
        except OSError:
            continue
        own.add(address)
    return own


def name_findings(domain: str) -> list[str]:
    """What the name resolves to as seen from here. The CA looks from outside, so this judges nothing by itself."""
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(domain, 80, type=socket.SOCK_STREAM)})
    except OSError:
        return [
            f"{domain} does not resolve on this host. If it does not elsewhere either: make an A or AAAA record for it"
        ]
    elsewhere = [address for address in found if address not in own_addresses(found)]
    if not elsewhere:
        return []
    return [
        f"{domain} resolves to {', '.join(elsewhere)}, which is no address of this host. "
        "That is right if the router there forwards port 80 to this host; else mend the DNS record or the router"
    ]


class Responder:
    """Stands where certbot's own server is going to stand, and answers one path with one random word."""

    def __init__(self, address: str, port: int) -> None:
        self.path = CHALLENGE + secrets.token_urlsafe(24)
        word = self.word = secrets.token_urlsafe(24)
        path = self.path

        class Handler(http.server.BaseHTTPRequestHandler):
            """One answer."""

            def do_GET(self) -> None:
                body = word.encode() if self.path == path else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is logged."""

        self._server = http.server.ThreadingHTTPServer((address, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Responder:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def challenge_problems(
    domains: Iterable[str], listen: str, port: int, http_port: int = 80, timeout: float = TIMEOUT
) -> dict[str, str]:
    """By domain, why a challenge that comes in on port 80 would not reach certbot; domains without a problem are not in it."""
    try:
        responder = Responder(listen, port)
    except OSError as problem:
        words = f"{listen}:{port} cannot be taken to answer the challenge ({problem.strerror}). See what holds it: ss -ltnp 'sport = :{port}'"
        return dict.fromkeys(domains, words)
    with responder:
        found = {domain: _ask_proxy(domain, responder, http_port, timeout) for domain in domains}
    return {domain: problem for domain, problem in found.items() if problem}


def _ask_proxy(domain: str, responder: Responder, http_port: int, timeout: float) -> str:
    said = f"Port {http_port} of this host does not lead http://{domain}{CHALLENGE} to certbot"
    remedy = "Run site.yml with its tag reverse_proxy, and see which service holds the port"
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=timeout)
    try:
        connection.request("GET", responder.path, headers={"Host": domain})
        answer = connection.getresponse()
        body = answer.read(4096)
    except ConnectionRefusedError:
        return f"Nothing listens on port {http_port} of this host, where the CA asks. Start the proxy: run site.yml with its tag reverse_proxy"
    except (OSError, http.client.HTTPException) as problem:
        return f"{said}: asking it failed ({getattr(problem, 'strerror', None) or problem}). {remedy}"
    finally:
        connection.close()
    if answer.status == 200 and body == responder.word.encode():
        return ""
    location = answer.getheader("Location", "")
    server = answer.getheader("Server", "")
    words = (
        f"it answers {answer.status}"
        + (f" to {location}" if location else "")
        + (f" (server {server})" if server else "")
    )
    return f"{said}: {words}. {remedy}"
