# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one site shows to a client: name, TLS, redirect, the server behind it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import (
    LOOPBACK,
    UNFINISHED,
    WIZARD,
    Part,
    Seat,
    Seen,
    Sheet,
    as_dict,
    client_in,
    is_public,
    is_server,
    said,
)

API_KEY = "make one in the server's dashboard and give it in jellyfin_verify_api_key"
PROXIES = "run site.yml: the edge must be in the server's KnownProxies, and the server restarted since"
OVERWRITE = "run site.yml: the proxy has to overwrite the header"
FRONT = "Server through the proxy"


def check_site(sheet: Sheet, seat: Seat, site: Seen, host: Seen) -> None:
    """All that one seat sees of one site."""
    part = sheet.part(seat.area, str(site["domain"]))
    _dns(part, seat, site, host)
    _tls(part, seat, site)
    _redirect(part, seat, site)
    _http_versions(part, seat, site, host)
    _hsts(part, seat, site)
    if _front(part, seat, site):
        _application(part, seat, site)
        _client_address(part, seat, site)
        _guarded(part, seat, site)
    else:
        part.skip("Health, websocket, ranges, client's address", "the server does not answer here", "see above")


def _front(part: Part, seat: Seat, site: Seen) -> bool:
    """The server through the proxy. Returns whether it answered."""
    domain = str(site["domain"])
    front = seat.get("front", domain)
    body = as_dict(str(front.get("body")))
    if is_server(front):
        part.ok(FRONT, f"Jellyfin {body.get('Version', '')} answers as {body.get('ServerName', '')!r}")
        return True
    if front.get("status") == 503 and not site.get("admit_internet") and not seat.in_lan:
        part.skip(FRONT, UNFINISHED, WIZARD)
    elif front.get("status") == 503 and not seat.in_lan:
        part.bad(
            FRONT,
            "503, although the server's first-run wizard is done",
            "run site.yml again: it admits the Internet once it finds the wizard done",
        )
    elif front.get("status") in (502, 503, 504):
        key = str(site.get("server_key") or "")
        part.bad(
            FRONT,
            f"{said(front)}: the proxy does not reach Jellyfin at {key}",
            "start Jellyfin, or mend jellyfin_server_address and jellyfin_server_port",
        )
    elif front.get("error"):
        part.bad(FRONT, str(front["error"]), "look at the proxy's unit on the edge: systemctl status, and its journal")
    else:
        part.bad(
            FRONT,
            f"{said(front)}, and not Jellyfin's own answer",
            "something else answers under this name; run site.yml, and look for another site in the proxy's configuration",
        )
    return False


def _dns(part: Part, seat: Seat, site: Seen, host: Seen) -> None:
    domain = str(site["domain"])
    found = [str(item) for item in seat.get("dns", domain).get("addresses") or []]
    mine = plan.own_addresses(host)
    if not found:
        part.bad(
            "DNS of the name",
            f"{domain} does not resolve here: {seat.get('dns', domain).get('error') or 'no address'}",
            f"add an address record for {domain}" + ("" if seat.wan else " in your router or DNS server"),
        )
    elif any(item in mine or item == seat.edge for item in found):
        part.ok("DNS of the name", f"{', '.join(found)}: the edge itself")
    elif all(plan.in_networks(item, LOOPBACK) for item in found):
        if seat.on_edge:
            part.ok("DNS of the name", f"{', '.join(found)}: the edge itself")
        else:
            part.bad("DNS of the name", f"{', '.join(found)}: this host itself", f"point {domain} to the edge")
    elif seat.wan or is_public(found):
        # The probes of this seat went to the name or the address given; whether a router leads there, the next checks show.
        part.ok(
            "DNS of the name",
            f"{', '.join(found)}"
            + ("" if seat.wan else ": the public address, so clients in the LAN go through the router"),
        )
    else:
        part.bad(
            "DNS of the name",
            f"{', '.join(found)}: not an address of the edge ({', '.join(mine) or 'unknown'})",
            f"point {domain} to the edge",
        )


def _tls(part: Part, seat: Seat, site: Seen) -> None:
    domain = str(site["domain"])
    tls = seat.get("front", domain).get("tls")
    if not tls:
        part.bad(
            "Certificate chain",
            f"no TLS: {seat.get('front', domain).get('error')}",
            "look at the proxy's unit on the edge",
        )
    elif tls.get("trusted"):
        by = (
            "the edge's own CA, which every client has to import"
            if site.get("certificate") == "local_ca"
            else "a trusted root"
        )
        part.ok("Certificate chain", f"leads to {by}; {tls.get('version', '')}")
    else:
        todo = {
            "letsencrypt": "see why Let's Encrypt's certificate was not issued: run site.yml and read what it says of ACME",
            "local_ca": "run site.yml; the proxy serves another certificate than that of the edge's own CA",
        }.get(
            str(site.get("certificate")),
            "give the whole chain in jellyfin_certificate_fullchain, and set jellyfin_verify_ca for a root of your own",
        )
        part.bad("Certificate chain", str(tls.get("untrusted")), todo)


def _redirect(part: Part, seat: Seat, site: Seen) -> None:
    domain, path = str(site["domain"]), str(site.get("path") or "")
    result = seat.get("redirect", domain)
    location = str((result.get("headers") or {}).get("location", ""))
    target = urlsplit(location)
    wanted = f"https://{domain}{path}/web/index.html?verify=1"
    same = (
        target.scheme == "https"
        and target.netloc in (domain, domain + ":443")
        and f"{target.path}?{target.query}" == f"{path}/web/index.html?verify=1"
    )
    if result.get("status") in (301, 308) and same:
        part.ok("Redirect from 80 to 443", f"{result['status']} to the same address under https")
    elif result.get("status") in (302, 303, 307) and same:
        part.bad(
            "Redirect from 80 to 443",
            f"{result['status']} is temporary",
            "run site.yml: the redirect should be 301 or 308",
        )
    else:
        part.bad(
            "Redirect from 80 to 443",
            said(result),
            f"port 80 should answer 308 to {wanted}; run site.yml, and let port 80 through router and firewall",
        )
    acme = seat.get("acme", domain)
    if acme.get("error"):
        part.bad(
            "ACME left through on 80",
            str(acme["error"]),
            "let port 80 through router and firewall: certificates are renewed by it",
        )
    elif 300 <= int(acme.get("status") or 0) < 400:
        part.bad(
            "ACME left through on 80",
            said(acme),
            "run site.yml: the challenge must be answered on port 80 and not redirected",
        )
    else:
        part.ok("ACME left through on 80", f"not redirected ({said(acme)} while no challenge is open)")


def _hsts(part: Part, seat: Seat, site: Seen) -> None:
    domain = str(site["domain"])
    front = seat.get("front", domain)
    sent = [str(item) for item in front.get("hsts") or []]
    wanted = str(site.get("hsts") or "")
    if front.get("error"):
        part.skip("HSTS", str(front["error"]))
    elif wanted and sent == [wanted]:
        part.ok("HSTS", wanted)
    elif wanted:
        part.bad("HSTS", f"{' and '.join(sent) if sent else 'not sent'}, expected {wanted}", "run site.yml again")
    elif sent:
        part.bad(
            "HSTS",
            f"sent ({sent[0]}) with a certificate that is not publicly trusted: browsers would lock users out",
            "run site.yml again",
        )
    else:
        part.ok("HSTS", "not sent, since the certificate is not publicly trusted")


def _http_versions(part: Part, seat: Seat, site: Seen, host: Seen) -> None:
    domain = str(site["domain"])
    h2 = seat.get("h2", domain)
    if (h2.get("tls") or {}).get("alpn") == "h2":
        part.ok("HTTP/2", "negotiated")
    else:
        part.bad(
            "HTTP/2",
            str(h2.get("error") or "not negotiated"),
            "run site.yml; the proxy's listener on 443 should offer h2",
        )
    quic = seat.get("quic")
    on = 443 in plan.open_listeners(host, "udp")
    if not on:
        part.skip("HTTP/3", "it is not on: nothing listens on 443/udp")
    elif quic.get("v1"):
        part.ok("HTTP/3", "QUIC version 1 answers on 443/udp")
    else:
        part.bad(
            "HTTP/3",
            f"the edge listens on 443/udp, but QUIC gets no answer ({quic.get('error') or quic.get('state')})",
            "let 443/udp through router and firewall",
        )


def _application(part: Part, seat: Seat, site: Seen) -> None:
    """Health, websocket and ranges: only worth asking where the server answered."""
    domain = str(site["domain"])
    health = seat.get("health", domain)
    body = str(health.get("body", "")).strip()
    if health.get("status") == 200 and body == "Healthy":
        part.ok("Server's health", "Healthy")
    elif body == "Degraded":
        part.bad(
            "Server's health",
            "Degraded: the server is still starting, or migrating its database",
            "wait until it has started, then verify again",
        )
    else:
        part.bad("Server's health", f"{said(health)} {body[:40]!r}", "look at the server's log")
    socket = seat.get("websocket", domain)
    if socket.get("status") in (101, 401, 403):
        how = "upgraded" if socket["status"] == 101 else "the upgrade reaches the server, which asks for a login"
        part.ok("Websocket", how)
    else:
        part.bad(
            "Websocket",
            said(socket),
            "the upgrade does not reach the server; run site.yml, and look for a proxy in between",
        )
    ranges = [seat.results[key] for key in sorted(seat.results) if key.startswith(f"{domain}|range")]
    partial = next((item for item in ranges if item.get("status") == 206), None)
    whole = next((item for item in ranges if item.get("status") == 200), None)
    if partial:
        got = str((partial.get("headers") or {}).get("content-range", ""))
        if got.startswith("bytes 0-15/") and partial.get("length") == 16:
            part.ok("Range requests", got)
        else:
            part.bad(
                "Range requests",
                f"206 with {got or 'no Content-Range'} and {partial.get('length')} bytes",
                "something on the way rewrites ranges",
            )
    elif whole:
        part.bad(
            "Range requests",
            "the whole file came instead of the 16 bytes asked for: seeking in films will not work",
            "something on the way drops the Range header",
        )
    else:
        part.skip(
            "Range requests",
            "no file to ask for: the server has no web client",
            "name a file in jellyfin_verify_range_path",
        )


def _client_address(part: Part, seat: Seat, site: Seen) -> None:
    domain = str(site["domain"])
    title = "Client's address at the server"
    if seat.get("echo", domain).get("status") == 200:
        _echoed(part, title, seat, seat.get("echo", domain), seat.get("echo forged", domain))
    elif seat.get("endpoint", domain).get("status") == 200:
        _endpoint(part, title, seat, seat.get("endpoint", domain), seat.get("endpoint forged", domain))
    elif seat.get("endpoint", domain).get("status") in (401, 403):
        part.skip(title, "the server refused the API key", API_KEY)
    else:
        part.skip(title, "the server tells it only to a caller with an API key", API_KEY)


def _echoed(part: Part, title: str, seat: Seat, echo: Seen, forged: Seen) -> None:
    """A server that repeats the caller's address."""
    seen, lied, mine = client_in(echo.get("body")), client_in(forged.get("body")), str(echo.get("source_address"))
    if lied == plan.FORGED:
        part.bad(title, f"a forged X-Forwarded-For ({plan.FORGED}) is believed", OVERWRITE)
    elif lied != seen:
        part.bad(title, f"{seen}, but {lied or said(forged)} with a forged X-Forwarded-For", OVERWRITE)
    elif seen == mine or (seat.on_edge and plan.in_networks(seen, LOOPBACK)):
        part.ok(title, f"{seen}, also with a forged X-Forwarded-For")
    elif seat.wan and not plan.in_networks(seen, LOOPBACK):
        part.ok(title, f"{seen}, also with a forged X-Forwarded-For; this host has {mine}, so a router is in between")
    else:
        part.bad(title, f"the server sees {seen or 'nothing'} instead of {mine}", PROXIES)


def _endpoint(part: Part, title: str, seat: Seat, answer: Seen, forged: Seen) -> None:
    """A real server says only whether the caller is itself, and whether it is in its LAN."""
    fields, lied = as_dict(answer.get("body")), as_dict(forged.get("body"))
    if seat.on_edge:
        todo = "name another host in jellyfin_verify_lan_host"
        part.skip(title, "asked from the edge itself, which has the proxy's address anyway", todo)
    elif fields.get("IsLocal"):
        part.bad(title, "the server takes this client for itself: it sees the proxy's address", PROXIES)
    elif lied.get("IsLocal"):
        part.bad(title, "a forged X-Forwarded-For (127.0.0.1) is believed", OVERWRITE)
    elif seat.wan and fields.get("IsInNetwork") and is_public(seat.addresses):
        part.bad(title, "the server takes a client on the Internet for one of the LAN", PROXIES)
    else:
        where = "in its LAN" if fields.get("IsInNetwork") else "outside its LAN"
        part.ok(title, f"the server sees a client {where} and not the proxy, also with a forged X-Forwarded-For")


def _guarded(part: Part, seat: Seat, site: Seen) -> None:
    domain = str(site["domain"])
    generation = seat.get("generation", domain)
    if not seat.on_edge:
        if generation.get("error") or generation.get("status") in (403, 404):
            part.ok("The proof's address", f"closed ({said(generation)})")
        else:
            part.bad(
                "The proof's address",
                f"{plan.GENERATION_PATH}: {said(generation)}",
                "run site.yml: it is for the edge alone",
            )
    if not seat.wan:
        return
    prefix = f"{domain}|protected "
    answers = {key[len(prefix) :]: seat.results[key] for key in seat.results if key.startswith(prefix)}
    if not answers:
        part.skip("Protected paths", "none is kept for the LAN (reverse_proxy_protected_paths)")
        return
    open_ones = [
        f"{path} ({said(item)})" for path, item in answers.items() if item.get("status") not in (403, 404, 410)
    ]
    if open_ones:
        part.bad(
            "Protected paths",
            "the Internet gets an answer from " + ", ".join(open_ones),
            "run site.yml: the proxy keeps these for the LAN",
        )
    else:
        part.ok("Protected paths", f"refused, in {len(answers)} spellings: " + ", ".join(list(answers)[::3]))
