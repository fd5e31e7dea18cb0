# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts themselves say: certificate, renewal, firewall, wizard, KnownProxies. Pure."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import (
    UNFINISHED,
    WIZARD,
    Part,
    Seat,
    Seen,
    Sheet,
)

# Fewer days than this and somebody has to act: certbot renews with 30 days to go (a third of the lifetime from version 4 on).
MIN_DAYS = {"letsencrypt": 3, "local_ca": 14, "files": 14}
EXPIRY = "Certificate's expiry"


def check_hosts(sheet: Sheet, seats: Sequence[Seat], sites: Sequence[Seen], host: Seen, observed: Seen) -> None:
    """What no client can see from outside."""
    state = observed.get("state") or {}
    for site in sites:
        part = sheet.part("On the edge", str(site["domain"]))
        _certificate(part, site, host, seats, int(state.get("time") or time.time()))
        _renewal(part, site, state)
    _firewall(sheet.part("On the edge"), host)
    for site in sites:
        part = sheet.part("At the server", str(site["domain"]))
        _wizard(part, site, host)
        _known_proxies(part, site, host, observed.get("installs") or {})


def seconds(value: Any) -> int:
    """A point in time as seconds since 1970, from a number or a date as modules write it; 0 where it is none."""
    if isinstance(value, (int, float)):
        return int(value)
    for form in ("%Y-%m-%dT%H:%M:%S%z", "%Y%m%d%H%M%S%z", "%b %d %H:%M:%S %Y %Z"):
        try:
            parsed = datetime.strptime(str(value), form)
        except ValueError:
            continue
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp())
    return 0


def _certificate(part: Part, site: Seen, host: Seen, seats: Sequence[Seat], now: int) -> None:
    domain = str(site["domain"])
    door = (host.get("certificates") or {}).get(domain) or {}
    if door.get("source") == "placeholder":
        part.bad(
            "Certificate",
            "still the placeholder: none was issued yet",
            "run site.yml and read what it says of the certificate",
        )
    fronts = [seat.get("front", domain).get("tls") or {} for seat in seats]
    served = next((int(tls["not_after"]) for tls in fronts if tls.get("not_after")), 0)
    expiry = served or seconds(door.get("not_after"))
    if not expiry:
        part.skip(EXPIRY, "neither the edge nor a client says when it ends", "run site.yml")
        return
    days = (expiry - now) // 86400
    where = "as served" if served else "as it lies on the edge"
    ends = f"{datetime.fromtimestamp(expiry, timezone.utc):%Y-%m-%d}"
    how = {
        "letsencrypt": "on the edge: certbot renew; then run site.yml",
        "local_ca": "on the edge: jellynet-certificate-door sync, and see why its timer did not",
    }
    todo = how.get(str(site.get("certificate")), "give new files, then run site.yml")
    if days < 0:
        part.bad(EXPIRY, f"expired on {ends} ({where})", todo)
    elif days < MIN_DAYS.get(str(site.get("certificate")), 14):
        part.bad(EXPIRY, f"ends on {ends}, in {days} days ({where})", todo)
    else:
        part.ok(EXPIRY, f"ends on {ends}, in {days} days ({where})")


def _renewal(part: Part, site: Seen, state: Seen) -> None:
    kind = site.get("certificate")
    timer = state.get("door_timer" if kind == "local_ca" else "timer") or {}
    if kind == "files":
        part.skip("Renewal", "certificates given as files are renewed by whoever brings them")
    elif not timer:
        part.skip("Renewal", str(state.get("msg") or "the edge was not asked"))
    elif timer.get("enabled") and timer.get("active"):
        following = f", next on {timer['next']}" if timer.get("next") else ""
        part.ok("Renewal", f"{timer.get('name')} is enabled and runs{following}")
    else:
        wrong = "missing" if not timer.get("present") else "not running" if timer.get("enabled") else "not enabled"
        why = f": {timer['error']}" if timer.get("error") else ""
        enable = f"on the edge: systemctl enable --now {timer.get('name')}"
        todo = "run site.yml" if kind == "local_ca" and wrong == "missing" else enable
        part.bad("Renewal", f"{timer.get('name')} is {wrong}{why}", todo)


def _server(site: Seen, host: Seen) -> tuple[str, Seen]:
    key = str(site.get("server_key") or "")
    return key, (host.get("servers") or {}).get(key) or {}


def _wizard(part: Part, site: Seen, host: Seen) -> None:
    key, server = _server(site, host)
    why = re.sub(r"^\[Errno -?\d+\] ", "", str(server.get("error") or ""))
    silent = f"no server answers the edge at {key}" + (f" ({why})" if why else "")
    if not server.get("reachable") and site.get("admit_internet"):
        part.bad("First-run wizard", f"{silent}; an earlier run found the wizard done", "start Jellyfin")
    elif not server.get("reachable"):
        part.bad("First-run wizard", f"{silent}, which counts as {UNFINISHED}", "start Jellyfin, " + WIZARD)
    elif not server.get("ready"):
        part.skip(
            "First-run wizard", "the server is still starting and does not say", "verify again when it has started"
        )
    elif server.get("wizard_done"):
        part.ok("First-run wizard", "done")
    else:
        part.bad("First-run wizard", UNFINISHED, WIZARD)


def _known_proxies(part: Part, site: Seen, host: Seen, installs: Seen) -> None:
    """Whether the server believes the edge's X-Forwarded-For: its network.xml, where it is on a managed host."""
    key, server = _server(site, host)
    source, address = str(server.get("source_address") or ""), key.rpartition(":")[0]
    for name, install in sorted(installs.items()):
        here = install.get("is_edge") and site.get("server_is_local")
        if install.get("config_dir") and (here or address == name or address in (install.get("addresses") or [])):
            break
    else:
        todo = (
            f"in the server's dashboard, page Networking: list {source or 'the address of the edge'} as a known proxy"
        )
        part.skip("KnownProxies", f"the folder of the server at {key} is not on a managed host", todo)
        return
    place = f"{install['config_dir']}/network.xml on {name}"
    proxies = [str(item) for item in install.get("KnownProxies") or []]
    if install.get("error"):
        part.bad("KnownProxies", f"{place}: {install['error']}", "mend the file, then run site.yml")
    elif any(_covers(item, source) for item in proxies):
        part.ok("KnownProxies", f"{', '.join(proxies)} in {place}")
    else:
        todo = "run site.yml: it writes network.xml and restarts the server"
        part.bad("KnownProxies", f"{', '.join(proxies) or 'none'} in {place}, but the edge asks from {source}", todo)


def _covers(proxy: str, source: str) -> bool:
    """Jellyfin takes addresses, networks and host names; a name is not resolved here."""
    try:
        return ipaddress.ip_address(source) in ipaddress.ip_network(proxy, strict=False)
    except ValueError:
        return proxy == source


def _firewall(part: Part, host: Seen) -> None:
    walls = host.get("firewalls") or {}
    active = sorted(name for name, state in walls.items() if state.get("active"))
    if active:
        part.ok("Firewall", f"{' and '.join(active)} is on")
        return
    installed = sorted(name for name, state in walls.items() if state.get("installed"))
    exposed = []
    for proto in ("tcp", "udp"):
        for port, who in sorted(plan.open_listeners(host, proto).items()):
            if port not in (80, 443):
                exposed.append(f"{port}/{proto}" + (f" ({who})" if who else ""))
    off = f"{' and '.join(installed)} is installed but off" if installed else "no firewall is installed"
    part.skip(
        "Firewall",
        f"{off}: exposed to whoever reaches this host are {', '.join(exposed) or 'no further ports'}",
        "see that the router forwards 80 and 443 only, or set firewall_enable: true and run site.yml",
    )
