# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the edge as a whole shows to a client: discovery, ports, unknown names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import (
    FAIL,
    PASS,
    Part,
    Seat,
    Seen,
    Sheet,
    client_in,
    is_server,
    said,
)

LAN_HOST = "name a host of the LAN in jellyfin_verify_lan_host"
DISCOVERY, SSDP = "Client discovery (7359/udp)", "SSDP (1900/udp)"


def check_edge(sheet: Sheet, seat: Seat, sites: Sequence[Seen], host: Seen, observed: Seen, options: Seen) -> None:
    """All that one seat sees of the edge itself."""
    part = sheet.part(seat.area)
    if not seat.wan:
        _discovery(part, seat, host, observed.get("discovery") or {}, options)
        _ssdp(part, seat, host, observed.get("ssdp") or {}, options)
        _direct(part, seat, options)
    _unknown_names(part, seat)
    _ports(part, seat, host, options)


def _who(options: Seen, what: str) -> str:
    """Who offers a port to the LAN: relay, server or nobody."""
    return str((options.get("listeners") or {}).get(what, ""))


def _field(item: Seen, name: str) -> str:
    """Jellyfin's answer has Address, a module may return address."""
    return str(item.get(name) or item.get(name.capitalize()) or "")


def _of_edge(items: Sequence[Any], seat: Seat, host: Seen) -> list[Seen]:
    """The answers that come from this edge: in a LAN there may be other servers, and other devices."""
    mine = {*plan.own_addresses(host), seat.edge}
    ids = {str(server["id"]) for server in (host.get("servers") or {}).values() if server.get("id")}
    found = [item for item in items if isinstance(item, Mapping)]
    return [item for item in found if not item.get("source") or item["source"] in mine or _field(item, "id") in ids]


def discovered(discovery: Seen) -> list[str]:
    """The addresses that clients are given."""
    servers = [item for item in discovery.get("servers") or [] if isinstance(item, Mapping)]
    return sorted({_field(item, "address") for item in servers} - {""})


def _not_asked(part: Part, title: str, seat: Seat, seen: Seen, who: str, switch: str) -> bool:
    """Whether there is nothing to judge; then the sheet says why."""
    if who == "nobody":
        part.skip(title, f"it is off ({switch})")
    elif not seat.in_lan:
        part.skip(title, seat.not_lan(), LAN_HOST)
    elif seen.get("failed") or seen.get("unreachable"):
        part.skip(title, str(seen.get("msg", "the module gave no reason")))
    else:
        return False
    return True


def _discovery(part: Part, seat: Seat, host: Seen, seen: Seen, options: Seen) -> None:
    if _not_asked(part, DISCOVERY, seat, seen, _who(options, "discovery"), "jellyfin_discovery"):
        return
    servers = _of_edge(seen.get("servers") or [], seat, host)
    addresses = discovered({"servers": servers})
    others = sorted({_field(item, "address") for item in seen.get("servers") or []} - set(addresses))
    if not addresses and seat.get(f"udp {plan.DISCOVERY_PORT}").get("state") == "open":
        part.bad(
            DISCOVERY,
            "no answer to the broadcast, though one to a question sent straight to the edge",
            "something in the LAN drops broadcasts: a guest network, or client isolation in the access point",
        )
        return
    if not addresses:
        todo = "run site.yml, and see that no firewall stops 7359/udp"
        if not any(server.get("reachable") for server in (host.get("servers") or {}).values()):
            todo = "start Jellyfin: without a server there is no address to give"
        found = "nobody answers 'Who is JellyfinServer?'"
        if others:
            found = f"the edge does not answer 'Who is JellyfinServer?', though {', '.join(others)} does"
        part.bad(DISCOVERY, found, todo)
        return
    wrong = [
        f"{url} ({said(seat.get('discovered ' + url))})"
        for url in addresses
        if not is_server(seat.get("discovered " + url))
    ]
    if wrong:
        todo = "set jellyfin_published, or mend the server's published address, and run site.yml"
        part.bad(DISCOVERY, "clients are given an address that does not lead to the server: " + ", ".join(wrong), todo)
        return
    names = ", ".join(f"{_field(item, 'name')!r} at {_field(item, 'address')}" for item in servers)
    also = f"; also in this LAN: {', '.join(others)}" if others else ""
    part.ok(DISCOVERY, f"{names}; a client that connects there reaches the server{also}")


def _ssdp(part: Part, seat: Seat, host: Seen, seen: Seen, options: Seen) -> None:
    if _not_asked(part, SSDP, seat, seen, _who(options, "ssdp"), "jellyfin_ssdp"):
        return
    found = _of_edge(seen.get("devices") or [], seat, host)
    if found:
        part.ok(SSDP, ", ".join(sorted({_field(item, "location") for item in found})))
    else:
        others = f", though {len(seen['devices'])} other devices do" if seen.get("devices") else ""
        todo = "run site.yml, and see that no firewall stops 1900/udp"
        part.bad(SSDP, f"the edge does not answer the search{others}", todo)


def _direct(part: Part, seat: Seat, options: Seen) -> None:
    """The LAN's own way in, which does not depend on the certificate."""
    who, port = _who(options, "http"), int(options["http_port"])
    title = f"Jellyfin on port {port}"
    if _not_asked(part, title, seat, {}, who, "jellyfin_http"):
        return
    if is_server(seat.get("direct")):
        part.ok(title, "answers without TLS, so also when a certificate is broken")
    else:
        todo = "run site.yml; on the edge, `jellyfin-ports status` says who holds the port"
        part.bad(title, said(seat.get("direct")), todo)
    echo = seat.get("direct echo")
    if echo.get("status") == 200 and who == "relay":
        seen, mine = client_in(echo.get("body")), str(echo.get("source_address"))
        title = f"Client's address through port {port}"
        if seen == mine or seat.on_edge:
            part.ok(title, f"{seen}, also with a forged X-Forwarded-For")
        else:
            part.bad(
                title,
                f"the server sees {seen} instead of {mine}",
                "run site.yml: the relay must be in the server's KnownProxies",
            )


def _unknown_names(part: Part, seat: Seat) -> None:
    asked = {"http": seat.get("unknown name http"), "https": seat.get("unknown name https")}
    wrong = [
        f"{scheme}://{plan.UNKNOWN_NAME}: {said(result)}"
        for scheme, result in asked.items()
        if not result.get("error") and int(result.get("status") or 0) < 400
    ]
    if wrong:
        part.bad("Unknown names", "answered: " + "; ".join(wrong), "run site.yml: only the configured names are served")
    else:
        part.ok("Unknown names", f"refused ({said(asked['http'])} on 80, {said(asked['https'])} on 443)")


def _state(seat: Seat, what: str) -> str:
    result = seat.get(what)
    return str(result.get("state") or result.get("error"))


def _ports(part: Part, seat: Seat, host: Seen, options: Seen) -> None:
    """What is open from this seat: what should be, what must not be, and what else is."""
    outside = seat.wan or not seat.in_lan
    wanted = {80: "redirect and ACME", 443: "the proxy"}
    unwanted: dict[int, str] = {}
    for what, port in (("http", int(options["http_port"])), ("https", int(options["https_port"]))):
        if outside:
            unwanted[port] = "for the LAN only"
        elif _who(options, what) == "nobody":
            unwanted[port] = "off"
        else:
            wanted[port] = f"{what.upper()} for the LAN"
    for port, what in sorted(wanted.items()):
        if _state(seat, f"tcp {port}") == "open":
            part.ok(f"{port}/tcp open", what)
        else:
            todo = (
                "let it through the router and the firewall"
                if seat.wan
                else "run site.yml; look at the firewall and at who listens there"
            )
            part.bad(f"{port}/tcp open", f"{_state(seat, f'tcp {port}')} ({what})", todo)
    for port, why in sorted(unwanted.items()):
        _closed(part, seat, f"tcp {port}", why)
    if not seat.wan:
        return
    _closed(part, seat, f"udp {plan.DISCOVERY_PORT}", "client discovery is for the LAN only")
    _closed(part, seat, f"udp {plan.SSDP_PORT}", "SSDP is for the LAN only")
    names = plan.open_listeners(host, "tcp")
    others = [
        f"{port}/tcp ({names[port] or 'unknown'})"
        for port in sorted(names)
        if port not in wanted and port not in unwanted and _state(seat, f"tcp {port}") == "open"
    ]
    if others:
        part.ok("Other ports", "also open, not by this collection: " + ", ".join(others))
    else:
        part.ok("Other ports", "nothing else that listens on the edge answers")


def _closed(part: Part, seat: Seat, what: str, why: str) -> None:
    proto, port = what.split()
    state = _state(seat, what)
    todo = "close it: the edge's firewall is off or lets it through, and the router forwards it"
    title = f"{port}/{proto} closed"
    part.say(FAIL if state == "open" else PASS, title, f"{state} ({why})", todo if state == "open" else "")
