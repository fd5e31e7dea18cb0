# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on an edge: what is sent, and what it must have come to. Each check's probes and its judgement stand together. Pure.

Every request is sent raw, because a library would put it in order first. None of them changes anything should it get through: all are GET, but for
two logins of an account that nobody has, which are tried only where the user asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import (
    Part,
    Seat,
    Seen,
    as_dict,
    client_in,
    said,
)

RUN = "run site.yml: it puts the present rules in force"
REBINDING = "rebinding.example.com"
# A proxy's own words of refusal; 0 is a connection that was closed without an answer.
REFUSED = (0, 400, 403, 421, 503)
API_KEY = "make an API key in the server's dashboard and give it in jellyfin_verify_api_key"
NOMINATED = (
    "Connection: close, X-Forwarded-For",
    "Connection: close, X-Forwarded-Proto, X-Forwarded-Host",
    "Connection: X-Forwarded-For, X-Forwarded-Proto, close",
    "Connection: close, x-forwarded-for, Host",
)
FORGED = (
    "X-Forwarded-For: 127.0.0.1",
    "X_Forwarded_For: 127.0.0.1",
    "Forwarded: for=127.0.0.1",
    "X-Real-IP: 127.0.0.1",
    "X-Original-For: 127.0.0.1",
)
LOGIN = "/Users/AuthenticateByName"
NOBODY = "jellynet-verify-nobody"


def _forms(path: str) -> list[str]:
    """Targets that no client needs, and that a server may take for ``path``: each is to be refused, from wherever it comes."""
    plain = path.rstrip("/")
    parent, _slash, last = plain.rpartition("/")
    return [
        f"/a%2fb/..{plain}",
        f"{parent}/x//../../{last}" if parent else f"/x//../..{plain}",
        f"/x#/..{plain}",
        f"/web/..{plain}",
        f"/web/%2e%2e{plain}",
        f"/.%2E/.{plain}",
        f"/web/..%2f{plain[1:]}",
        f"{plain}/.",
        f"/web\\..{plain}",
        f"/web/..%5c{plain[1:]}",
        f"/%c0%ae%c0%ae{plain}",
        f"{plain}/x%2f..%2f..%2fweb",
        f"http://{plan.UNKNOWN_NAME}{plain}",
    ]


def _spellings(path: str) -> list[str]:
    """Targets that say ``path`` in another way, and that a client could mean."""
    plain = path.rstrip("/")
    first = f"/%{ord(plain[1]):02x}{plain[2:]}"
    return [
        plain,
        first,
        f"/{plain}",
        f"/emby{plain}",
        f"/mediabrowser/{plain}",
        plain.replace("/", "/%2f"),
    ]


def paths(options: Mapping[str, Any]) -> list[str]:
    """What the proxy keeps for the LAN."""
    given = options.get("protected_paths")
    return [str(item) for item in (plan.PROTECTED if given is None else given) if str(item).strip("/")]


def _raw(domain: str, what: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{domain}|attack {what}",
        "kind": "raw",
        "address": plan.EDGE,
        "port": 443,
        "server_name": domain,
        **more,
    }


def probes(sites: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All attacks from one vantage point. The rules of all sites are rendered from one table, so every path is tried at the first one alone."""
    found = []
    for index, site in enumerate(sites):
        found += _site_probes(site, options, paths(options)[: 1 if index else None])
    return found + _edge_probes(sites, options)


def _site_probes(site: Mapping[str, Any], options: Mapping[str, Any], tried: Sequence[str]) -> list[dict[str, Any]]:
    domain, base = str(site["domain"]), str(site.get("path") or "")
    probes = []
    for path in tried:
        for kind, found in (("form", _forms(path)), ("spelling", _spellings(path))):
            for target in found:
                prefixed = target if target.startswith("http:") else base + target
                probes.append(_raw(domain, f"{kind} {target}", target=prefixed))
    for method, target in (
        ("CONNECT", f"{domain}:443"),
        ("TRACE", base + "/System/Ping"),
        ("TRACK", base + "/System/Ping"),
    ):
        probes.append(_raw(domain, f"method {method}", method=method, target=target))
    echo = str(options.get("echo_path") or "")
    asked = base + (echo or "/System/Endpoint")
    if echo or options.get("authorized"):
        probes += [
            _raw(domain, f"header {line}", target=asked, lines=[line], authorize=not echo)
            for line in (*NOMINATED, *FORGED)
        ]
    for port, tls in ((443, True), (80, False)):
        probes.append(
            {
                **_raw(domain, f"half-open {port}", target=base + "/System/Info/Public", tls=tls),
                "kind": "half_open",
                "port": port,
            }
        )
    if options.get("attack"):
        for turn in (1, 2):
            body = f'{{"Username":"{NOBODY}","Pw":"wrong-{turn}"}}'
            lines = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
            lines.append(
                f'Authorization: MediaBrowser Client="verify", Device="verify", DeviceId="{NOBODY}", Version="1"'
            )
            probes.append(_raw(domain, f"login {turn}", method="POST", target=base + LOGIN, lines=lines, content=body))
    return probes


def _edge_probes(sites: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attacks on what the edge offers the LAN without TLS."""
    base = str(sites[0].get("path") or "")
    common = {"kind": "raw", "address": plan.EDGE, "port": int(options["http_port"]), "tls": False}
    return [
        {**common, "id": f"attack name {name}", "server_name": name, "target": base + "/System/Info/Public"}
        for name in (REBINDING, f"{REBINDING}:{options['http_port']}", f"127.0.0.1.{REBINDING}")
    ]


def _results(seat: Seat, kind: str, domain: str = "") -> dict[str, Seen]:
    prefix = f"{domain}|attack {kind} " if domain else f"attack {kind} "
    return {key[len(prefix) :]: item for key, item in seat.results.items() if key.startswith(prefix)}


def _refusals(part: Part, title: str, results: Mapping[str, Seen], allowed: Iterable[int], todo: str) -> None:
    """A check that counts how many of its tries were refused; one without an answer is none."""
    statuses = set(allowed)
    through = [
        f"{what} ({said(item)})"
        for what, item in results.items()
        if not item.get("error") and item.get("status") not in statuses
    ]
    silent = [what for what, item in results.items() if item.get("error")]
    refused = len(results) - len(through) - len(silent)
    count = f"{refused} of {len(results)} refused"
    if through:
        shown = ", ".join(through[:8]) + (f" and {len(through) - 8} more" if len(through) > 8 else "")
        part.bad(title, f"{count}; let through: {shown}", todo)
    elif silent or not results:
        part.skip(title, f"{count}; no answer to {', '.join(silent[:3]) or 'any'}", "see above")
    else:
        part.ok(title, count)


def check_site(part: Part, seat: Seat, site: Seen, options: Seen) -> None:
    """What came of the attacks on one site from one vantage point."""
    domain = str(site["domain"])
    _refusals(
        part,
        "Attack: ambiguous targets",
        _results(seat, "form", domain),
        REFUSED if seat.wan else (0, 400, 421),
        RUN,
    )
    if seat.wan:
        _refusals(part, "Attack: spellings of protected paths", _results(seat, "spelling", domain), REFUSED, RUN)
    _refusals(
        part, "Attack: CONNECT, TRACE, TRACK", _results(seat, "method", domain), (0, 400, 403, 405, 501, 503), RUN
    )
    _headers(part, seat, domain)
    _half_open(part, seat, domain)
    _logins(part, seat, domain, options)


def _client_of(item: Seen) -> Any:
    """What the server says of its client: whether it is itself or in its LAN, or, from an echo, the address."""
    fields = as_dict(item.get("body"))
    if "IsLocal" in fields:
        return fields["IsLocal"], fields.get("IsInNetwork")
    return client_in(item.get("body"))


def _headers(part: Part, seat: Seat, domain: str) -> None:
    """Whether the server can be made to see another client than it sees without any such header."""
    title = "Attack: the client's address"
    results = _results(seat, "header", domain)
    plain = next(
        (seat.get(what, domain) for what in ("echo", "endpoint") if seat.get(what, domain).get("status") == 200), {}
    )
    refused = [line for line, item in results.items() if not item.get("error") and item.get("status") in (0, 400)]
    answered = {line: item for line, item in results.items() if item.get("status") == 200}
    silent = [said(item) for line, item in results.items() if line not in answered and line not in refused]
    believed = [line for line, item in answered.items() if _client_of(item) != _client_of(plain)]
    if not results or not plain:
        part.skip(title, "the server tells it only to a caller with an API key", API_KEY)
    elif seat.on_edge:
        part.skip(
            title, "asked from the edge itself, whose address it is", "name another host in jellyfin_verify_lan_host"
        )
    elif believed:
        part.bad(title, f"the server sees another client with {believed[0]!r} ({len(believed)} of {len(results)})", RUN)
    elif silent or not answered:
        part.skip(title, f"the server does not tell: {silent[0] if silent else 'all were refused'}", API_KEY)
    else:
        part.ok(title, f"{len(results)} of {len(results)} forged or nominated headers changed nothing")


def _half_open(part: Part, seat: Seat, domain: str) -> None:
    title = "Attack: half-sent requests"
    results = _results(seat, "half-open", domain)
    failed = [f"{port}: {said(item)}" for port, item in results.items() if item.get("error") or not item.get("status")]
    if failed:
        part.bad(title, "beside ten half-sent requests an ordinary one gets no answer on " + ", ".join(failed), RUN)
    elif results:
        part.ok(title, "an ordinary request is answered beside ten half-sent ones, on " + " and ".join(sorted(results)))
    else:
        part.skip(title, "not asked")


def _logins(part: Part, seat: Seat, domain: str, options: Seen) -> None:
    title = "Attack: wrong passwords"
    if not options.get("attack"):
        part.skip(title, "not tried", "set jellyfin_verify_attack: true; two logins of an account that nobody has")
        return
    results = _results(seat, "login", domain)
    _refusals(
        part,
        title,
        results,
        (0, 400, 401, 403, 404, 429, 503),
        "look at the server's accounts: one without a password lets everybody in",
    )


def check_edge(part: Part, seat: Seat, options: Seen) -> None:
    """Names under which a page in a browser of the LAN could reach 8096 (DNS rebinding)."""
    if seat.wan:
        return
    title = f"Attack: foreign names on port {options['http_port']}"
    who = str((options.get("listeners") or {}).get("http", ""))
    if who != "relay":
        part.skip(
            title,
            "not covered: " + ("Jellyfin itself has the port" if who == "server" else "nothing of ours listens there"),
        )
    elif options.get("lan_names") == "any":
        part.skip(title, "every name is taken (jellyfin_lan_names: any)")
    elif not seat.in_lan:
        part.skip(title, seat.not_lan(), "name a host of the LAN in jellyfin_verify_lan_host")
    else:
        _refusals(part, title, _results(seat, "name"), (0, 400, 403, 421), RUN)
