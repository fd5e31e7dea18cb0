# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's values: what is wrong with them, and the one form that every template reads.

Pure: no host is asked and nothing is written. ``values`` are the user's variables without their ``jellyfin_`` prefix;
``host`` is what the module ``host_info`` returned, or ``{}`` before the host was looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _cidr, _proxy_values, _role_values, _switch

LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETSENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

DOORS = "/etc/jellynet/certificates"
CERTIFICATES = ("letsencrypt", "local_ca", "files")
FIREWALLS = ("auto", "firewalld", "ufw", "none")
TESTED = {"debian": ("12", "13")}

# Names that no public CA may certify (RFC 6761, RFC 6762, RFC 8375, ICANN's .internal).
NOT_PUBLIC = ("local", "localhost", "lan", "internal", "home.arpa", "home", "test", "invalid", "example", "corp")

# Ports that the edge itself needs on TCP, and for what; besides the one on which certbot answers the CA.
RESERVED_TCP = {80: "the proxy's redirect and ACME", 443: "the proxy", 22: "SSH", 1900: "SSDP's description"}
ACME_PORT = 888
ACME_IS = "certbot, which answers the CA there"

# What the LAN is offered, and whether `auto` is an answer.
SWITCHES = {"http": True, "discovery": True, "ssdp": True, "https": False, "hdhomerun": False}

# Values of one site that `jellyfin_sites` may give; each is the same word as its scalar without `jellyfin_`.
SITE_KEYS = (
    "domain",
    "path",
    "server_address",
    "server_port",
    "certificate",
    "certificate_fullchain",
    "certificate_privkey",
    "certificate_key_types",
)

LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")

# \Z and not $, which would let a line's end pass.
_LABEL = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_SEGMENT = re.compile(r"^[A-Za-z0-9._~-]+\Z")
_HOST_LABEL = re.compile(r"^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_ZONE = re.compile(r"^[^%]*(?:%[A-Za-z0-9_.-]{1,15})?\Z")
_EMAIL = re.compile(r"^[^@\s,;<>\"'\\]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+\Z")
_URL = re.compile(r"^https://[A-Za-z0-9.\-\[\]:]+(/[^\s\"'\\;{}]*)?\Z")
_MOVED = re.compile(r"^(?:jellyfin|port_binding)_(?:\w*_)?(?:discovery|ssdp|1900|7359|autodiscovery)\w*_?port$")


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def domain_problem(name: str, value: Any) -> str | None:
    """What is wrong with a DNS name (RFC 1123 labels), as a sentence, or None."""
    if not isinstance(value, str) or not value:
        return f"{name} is not set. Give the name under which Jellyfin is reached, e.g. {name}: jellyfin.example.com"
    said = f"{name} is {value!r}"
    if "*" in value:
        return f"{said}: a wildcard is no name to serve. Give one name, e.g. jellyfin.example.com"
    if "://" in value or "/" in value:
        return f"{said}: give the bare name without scheme and path, e.g. jellyfin.example.com"
    if is_address(value.strip("[]")):
        return f"{said}: an address is no name. Give a DNS name that points to it, e.g. jellyfin.example.com"
    if any(ord(character) > 127 for character in value):
        return f"{said}: write it in its ASCII form (xn--...), as DNS and the certificate carry it"
    labels = value.lower().split(".")
    bad = [label for label in labels if not _LABEL.match(label)]
    if bad or len(value) > 253:
        return f"{said}: not a DNS name (labels of letters, digits and inner hyphens, joined by dots). Mend the value of {name}"
    if labels[-1].isdigit():
        return f"{said}: the last label is a number. Give a DNS name, e.g. jellyfin.example.com"
    return None


def path_problem(name: str, value: Any) -> str | None:
    """What is wrong with a URL path prefix, or None. Empty means none."""
    if value == "":
        return None
    if not isinstance(value, str):
        return f"{name} is {value!r}: give a path such as /jellyfin, or '' for none"
    said = f"{name} is {value!r}"
    if not value.startswith("/"):
        return f"{said}: it has to begin with a slash, e.g. /jellyfin"
    if value.endswith("/"):
        return f"{said}: drop the slash at the end (write '' for no path, /jellyfin for a path)"
    for segment in value[1:].split("/"):
        if not _SEGMENT.match(segment) or segment in (".", ".."):
            return f"{said}: the part {segment!r} is not letters, digits or . _ ~ -. Give a path such as /jellyfin"
    if value.lower().startswith("/.well-known"):
        return f"{said}: /.well-known belongs to the certificate's renewal. Give another path, e.g. /jellyfin"
    return None


def port_problem(name: str, value: Any) -> str | None:
    """What is wrong with a TCP port number, or None."""
    try:
        port = int(value)
    except (TypeError, ValueError):
        return f"{name} is {value!r}: give a port number from 1 to 65535"
    if isinstance(value, bool) or str(port) != str(value).strip() or not 1 <= port <= 65535:
        return f"{name} is {value!r}: give a port number from 1 to 65535"
    return None


def address_problem(name: str, value: Any) -> str | None:
    """What is wrong with the server's address (an IP address or a host name), or None."""
    if not isinstance(value, str) or not value:
        return f"{name} is {value!r}: give the address of the Jellyfin server, e.g. 127.0.0.1 or 192.168.1.10"
    said = f"{name} is {value!r}"
    if "://" in value or "/" in value:
        return f"{said}: give only the address, without scheme, port or path (the port goes into {name[: -len('address')]}port)"
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if is_address(bare) and _ZONE.match(bare):
        if ipaddress.ip_address(bare).is_unspecified:
            return f"{said}: that is no address to connect to. Use 127.0.0.1 for a server on the edge itself"
        return None
    if ":" in bare:
        return f"{said}: give the port apart, in {name[: -len('address')]}port"
    if not all(_HOST_LABEL.match(label) for label in bare.rstrip(".").split(".")) or len(bare) > 253:
        return f"{said}: neither an IP address nor a host name. Give e.g. 127.0.0.1 or 192.168.1.10"
    return None


def _lan_problems(value: Any) -> list[str]:
    if value == "auto":
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [f"jellyfin_lan is {value!r}: give auto, or a list of networks such as [192.168.1.0/24]"]
    too_wide = "so many addresses are the Internet's, and visitors would count as LAN. Name your own networks, e.g. 192.168.1.0/24"
    found = [_cidr.problem("jellyfin_lan", item, "192.168.1.0/24", too_wide) for item in value]
    found.append(_cidr.together("jellyfin_lan", value, too_wide))
    return [problem for problem in found if problem]


def _acme_problems(values: Mapping[str, Any], sites: list[dict[str, Any]]) -> list[str]:
    problems = []
    directory = str(values.get("acme_directory") or LETSENCRYPT)
    if not _URL.match(directory):
        problems.append(
            f"jellyfin_acme_directory is {directory!r}: give the https:// address of an ACME directory, e.g. {LETSENCRYPT}"
        )
    email = values.get("acme_email") or ""
    if email and not _EMAIL.match(str(email)):
        problems.append(f"jellyfin_acme_email is {email!r}: not an e-mail address. Mend it, or leave it empty")
    bundle = str(values.get("acme_ca_bundle") or "")
    if bundle and (not bundle.startswith("/") or re.search(r"[\s\"'\\;{}]", bundle)):
        problems.append(f"jellyfin_acme_ca_bundle is {bundle!r}: give the absolute path of a PEM file on the edge")
    if directory in (LETSENCRYPT, LETSENCRYPT_STAGING):
        for site in sites:
            domain = str(site.get("domain", "")).lower()
            suffix = next((s for s in NOT_PUBLIC if domain == s or domain.endswith("." + s)), None)
            if domain and site.get("certificate") == "letsencrypt" and (suffix or "." not in domain):
                problems.append(
                    f"{site['_name']}domain is {domain!r}: Let's Encrypt certifies public names only. "
                    f"Use a name of a domain that you own, or set {site['_name']}certificate: local_ca"
                )
    return problems


def raw_sites(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sites as the user gave them, each with all of SITE_KEYS, and `_name`: how its variables are called."""
    scalars = {key: values.get(key) for key in SITE_KEYS}
    listed = values.get("sites") or []
    if not listed:
        return [dict(scalars, _name="jellyfin_")]
    sites = []
    for index, given in enumerate(listed):
        site = dict(scalars, domain="", path="")
        site.update(given if isinstance(given, Mapping) else {})
        site["_name"] = f"jellyfin_sites[{index}]."
        sites.append(site)
    return sites


def _site_problems(site: dict[str, Any], edge_required: bool) -> list[str]:
    name = site["_name"]
    problems: list[str | None] = []
    if edge_required or site.get("domain"):
        problems.append(domain_problem(name + "domain", site.get("domain")))
    problems += [
        path_problem(name + "path", site.get("path")),
        address_problem(name + "server_address", site.get("server_address")),
        port_problem(name + "server_port", site.get("server_port")),
    ]
    kind = site.get("certificate")
    if kind not in CERTIFICATES:
        problems.append(f"{name}certificate is {kind!r}: give one of {', '.join(CERTIFICATES)}")
    if kind == "files":
        for key in ("certificate_fullchain", "certificate_privkey"):
            path = str(site.get(key) or "")
            if not path.startswith("/") or re.search(r"[\s\"';{}]", path):
                problems.append(
                    f"{name}{key} is {path!r}: with certificate: files give the absolute path of the PEM file on the edge"
                )
    types = site.get("certificate_key_types")
    if not isinstance(types, (list, tuple)) or not types or set(types) - {"ecdsa", "rsa"}:
        problems.append(f"{name}certificate_key_types is {types!r}: give [ecdsa], [rsa] or [ecdsa, rsa]")
    return [problem for problem in problems if problem]


def _port_problems(
    values: Mapping[str, Any], sites: list[dict[str, Any]], host: Mapping[str, Any], edge: bool
) -> list[str]:
    problems = []
    ports = {}
    acme = acme_port(values)
    taken = {acme: ACME_IS, **RESERVED_TCP}
    for key in ("http_port", "https_port"):
        problem = port_problem("jellyfin_" + key, values.get(key))
        if problem:
            problems.append(problem)
            continue
        port = ports[key] = int(values[key])
        if port in taken:
            problems.append(
                f"jellyfin_{key} is {port}: that port belongs to {taken[port]}. Choose another, e.g. 8096 or 8920"
            )
    if acme in RESERVED_TCP:
        problems.append(
            f"certificate_acme_port is {acme}: that port belongs to {RESERVED_TCP[acme]}. Choose another below 1024, e.g. {ACME_PORT}"
        )
    if len(ports) == 2 and ports["http_port"] == ports["https_port"]:
        problems.append(
            f"jellyfin_http_port and jellyfin_https_port are both {ports['http_port']}: one port cannot be both. "
            "Set them apart, e.g. 8096 and 8920"
        )
    offered = {"http_port": values.get("http", "auto"), "https_port": values.get("https", False)}
    domains = [str(site.get("domain") or "").lower() for site in sites]
    # On a media server the server's address is its own, as it should be.
    for site in sites if edge else []:
        if port_problem("", site.get("server_port")):
            continue
        if not is_own_address(str(site.get("server_address") or ""), host, domains):
            continue
        if int(site["server_port"]) in (80, 443):
            problems.append(
                f"{site['_name']}server_address is {site['server_address']!r}, which is the edge itself, and {site['_name']}server_port "
                f"is {site['server_port']}: the proxy would be its own server. Give the port on which Jellyfin listens, e.g. 8096"
            )
        if int(site["server_port"]) == acme:
            problems.append(
                f"{site['_name']}server_address is {site['server_address']!r}, which is the edge itself, and {site['_name']}server_port "
                f"is {acme}: that port belongs to {ACME_IS}. Have Jellyfin listen on another, e.g. 8096, or set certificate_acme_port"
            )
        for key, port in ports.items():
            if int(site["server_port"]) == port and _switch.read(offered[key]) == _switch.ON:
                switch = "jellyfin_" + key[: -len("_port")]
                problems.append(
                    f"{site['_name']}server_port and jellyfin_{key} are both {port} on the edge itself: the relay would be its "
                    f"own server. Set jellyfin_{key} to another port, or {switch}: {'auto' if key == 'http_port' else 'false'}"
                )
    return problems


def acme_port(values: Mapping[str, Any]) -> int:
    """Where certbot answers; a value that is none is told of elsewhere."""
    given = values.get("certificate_acme_port")
    return ACME_PORT if port_problem("", given) else int(given or 0)


def _switch_problems(values: Mapping[str, Any]) -> list[str]:
    found = []
    for key, auto in SWITCHES.items():
        said = _switch.read(values.get(key, False))
        if said is None or (said == _switch.AUTO and not auto):
            found.append(
                f"jellyfin_{key} is {values[key]!r}: give {'auto, true or false' if auto else 'true or false'}"
            )
    return found


def _one_server(site: Mapping[str, Any]) -> tuple[str, int] | None:
    """The server of a site in one spelling, as far as that is known without asking; None where its values are no good."""
    if address_problem("", site.get("server_address")) or port_problem("", site.get("server_port")):
        return None
    bare = str(site["server_address"]).strip("[]").lower().rstrip(".")
    if bare in (*LOCAL_NAMES, "::1"):
        bare = "127.0.0.1"
    return str(_plain(bare) or bare) + "".join(bare.partition("%")[1:]), int(site["server_port"])


def _base_url_problems(sites: list[dict[str, Any]]) -> list[str]:
    """A Jellyfin has one BaseUrl, so all sites that lead to it have the same path."""
    first: dict[tuple[str, int], dict[str, Any]] = {}
    found = []
    for site in sites:
        server = _one_server(site)
        if server is None:
            continue
        other = first.setdefault(server, site)
        if (other.get("path") or "") != (site.get("path") or ""):
            found.append(
                f"{site['_name']}path is {site.get('path') or ''!r} ({site.get('domain')}) and {other['_name']}path is "
                f"{other.get('path') or ''!r} ({other.get('domain')}), but both lead to the server {server_key(*server)}, and a Jellyfin has one "
                "path (its BaseUrl). Give both sites the same path, or each a server of its own"
            )
    return found


def _server_network_problems(values: Mapping[str, Any]) -> list[str]:
    found: list[str | None] = []
    name, proxies = "server_network_known_proxies", values.get("server_network_known_proxies")
    if proxies not in (None, "", "auto"):
        if not isinstance(proxies, (list, tuple)):
            found.append(f"{name} is {proxies!r}: give auto, or a list of addresses such as [192.168.1.2]")
        else:
            found += [_known_proxy_problem(name, item) for item in proxies]
    folder = values.get("server_network_config_dir")
    if folder not in (None, "") and (not str(folder).startswith("/") or re.search(r"[\x00-\x1f]", str(folder))):
        found.append(
            f"server_network_config_dir is {folder!r}: give the absolute path of the server's configuration folder, e.g. /etc/jellyfin, or '' "
            "for the one that the package or the unit names"
        )
    path = values.get("server_network_base_url")
    if path not in (None, "", "auto"):
        found.append(path_problem("server_network_base_url", path))
    return [problem for problem in found if problem]


def _known_proxy_problem(name: str, item: Any) -> str | None:
    """Jellyfin takes addresses, networks and host names; anything else it passes over without a word."""
    if isinstance(item, str) and "/" in item and "://" not in item:
        too_wide = "so many addresses are strangers', and each would be believed about who it is. Name the address of your own proxy"
        return _cidr.problem(name, item, "192.168.1.0/24", too_wide)
    if isinstance(item, str) and (is_address(item) or all(_HOST_LABEL.match(label) for label in item.split("."))):
        return None
    return f"{name} holds {item!r}: give the addresses from which the edge talks to the server, e.g. [192.168.1.2]"


def is_own_address(address: str, host: Mapping[str, Any], domains: Iterable[str] = ()) -> bool:
    """Whether a server at ``address`` is on the edge itself; a name is what the edge resolved it to.

    The ``domains`` of the sites lead to the edge, also where the edge finds nothing behind them or its router's public address.
    """
    bare = address.strip("[]").lower()
    if bare in LOCAL_NAMES:
        return True
    behind = [bare]
    if not is_address(bare):
        answers = host.get("servers", {}).items()
        behind = [item for key, found in answers if server_name(key) == bare for item in found.get("addresses", [])]
    parsed = [found for found in map(_plain, behind) if found is not None]
    if bare in domains and "servers" in host and all(found.is_global for found in parsed):
        return True
    own = {_plain(item["address"]) for link in host.get("interfaces", []) for item in link.get("addresses", [])}
    return any(found.is_loopback or found in own for found in parsed)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address without its zone, IPv4 also where it is written as IPv6."""
    if not is_address(text.partition("%")[0]):
        return None
    parsed = ipaddress.ip_address(text.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _host_problems(values: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    if not host or values.get("allow_untested"):
        return []
    problems = []
    system = host.get("os", {})
    if system.get("version") not in TESTED.get(system.get("id", ""), ()):
        problems.append(
            f"This host runs {system.get('name') or 'an unknown system'}; the collection is tested on Debian 12 and 13. "
            "Set jellyfin_allow_untested: true to go on at your own risk"
        )
    if host.get("selinux") == "enforcing":
        problems.append(
            "SELinux is enforcing on this host and the collection brings no policy for it. "
            "Set jellyfin_allow_untested: true to go on at your own risk"
        )
    return problems


def problems(
    values: Mapping[str, Any],
    host: Mapping[str, Any],
    proxies: Iterable[str],
    defined: Iterable[str] = (),
    edge: bool = True,
) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do.

    ``proxies`` are the rows that the role reverse_proxy has, by name; ``defined`` the names of all variables of the host.
    """
    sites = raw_sites(values)
    found = []
    for index, given in enumerate(values.get("sites") or []):
        if not isinstance(given, Mapping):
            found.append(f"jellyfin_sites[{index}] is {given!r}: give a mapping with at least a domain")
            continue
        for key in given:
            if key not in SITE_KEYS:
                found.append(f"jellyfin_sites[{index}] has the key {key!r}. A site takes {', '.join(SITE_KEYS)}")
    for site in sites:
        found += _site_problems(site, edge)
    names = [str(site.get("domain") or "").lower() for site in sites]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        found.append(f"jellyfin_sites names {name!r} twice: one domain leads to one server. Drop or rename one of them")
    found += _base_url_problems(sites)
    found += _switch_problems(values)
    found += _port_problems(values, sites, host, edge)
    found += _lan_problems(values.get("lan", "auto"))
    found += _proxy_values.problems(values)
    rows = proxies if isinstance(proxies, Mapping) else {}
    found += _proxy_values.binary_problems(values, rows.get(values.get("proxy")) or {}, host) if edge else []
    # A media server has neither the edge's sites nor its firewall.
    found += _role_values.problems(values, names, host) if edge else _role_values.problems(values)
    found += _server_network_problems(values)
    found += _acme_problems(values, sites)
    choices = sorted(proxies)
    if values.get("proxy") not in choices:
        found.append(f"jellyfin_proxy is {values.get('proxy')!r}: give one of {', '.join(choices)}")
    if values.get("firewall") not in FIREWALLS:
        found.append(f"jellyfin_firewall is {values.get('firewall')!r}: give one of {', '.join(FIREWALLS)}")
    for tuner in values.get("hdhomerun_tuners") or []:
        if not isinstance(tuner, str) or not is_address(tuner) or ":" in tuner:
            found.append(
                f"jellyfin_hdhomerun_tuners holds {tuner!r}: give the tuners' own IPv4 addresses, e.g. [192.168.1.60] "
                "(`jellyfin-ports discover` on the edge prints them)"
            )
    for name in sorted(defined):
        if _MOVED.match(name):
            found.append(
                f"{name} is set, but 1900/udp and 7359/udp cannot be moved: clients ask on these ports only. Remove {name}"
            )
    return found + _host_problems(values, host)


def _hsts(values: Mapping[str, Any], certificate: Mapping[str, Any]) -> str:
    """HSTS binds every port of a name for two years, so only a publicly trusted certificate may carry it (RFC 6797 §11)."""
    if not certificate.get("public"):
        return ""
    parts = ["max-age=63072000"]
    if values.get("hsts_subdomains"):
        parts.append("includeSubDomains")
    if values.get("hsts_preload"):
        parts.append("preload")
    return "; ".join(parts)


def server_key(address: str, port: Any) -> str:
    """How `host_info.servers` names a server."""
    return f"{address.strip('[]')}:{int(port)}"


def server_name(key: str) -> str:
    """The address in a key of `host_info.servers`."""
    return key.rpartition(":")[0].lower()


def warnings(values: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """What is allowed, but is hardly meant: a container that publishes a port of the LAN's to the edge alone."""
    local = host.get("server_install", {}).get("loopback", {})
    found = []
    for variable, proto, port, what in (
        ("http", "tcp", values.get("http_port"), "plain HTTP"),
        ("https", "tcp", values.get("https_port"), "HTTPS"),
        ("discovery", "udp", 7359, "client discovery"),
        ("ssdp", "udp", 1900, "SSDP"),
    ):
        if (
            _switch.read(values.get(variable, "auto")) == _switch.OFF
            or port_problem("", port)
            or int(port or 0) not in local.get(proto, [])
        ):
            continue
        names = [
            container["name"]
            for container in host["server_install"].get("containers", [])
            if any(item["port"] == int(port or 0) and item["proto"] == proto for item in container["ports"])
        ]
        todo = f"Publish it on all addresses (-p {port}:{port}{'/udp' if proto == 'udp' else ''})"
        if variable == "http":
            free = int(port or 0) + 1
            todo += f", or elsewhere (-p 127.0.0.1:{free}:8096) with jellyfin_server_port: {free}, and the relay takes {port}"
        elif proto == "udp":
            todo += ", or not at all, and jellyfin-ports takes it"
        found.append(
            f"The container {', '.join(names)} publishes {port}/{proto} on a loopback address alone, so the LAN gets no {what} there; and "
            f"beside it nothing else can listen on {port}/{proto} on all addresses. {todo}. Or say that it is meant, by jellyfin_{variable}: false"
        )
    return found


def wizard_done(server: Mapping[str, Any], remembered: bool) -> bool:
    """Whether the first-run wizard is known to be done.

    A server that does not answer, or is only starting up, says nothing; then what an earlier run found holds.
    """
    if server.get("ready"):
        return bool(server.get("wizard_done"))
    return remembered


def sites(values: Mapping[str, Any], host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The normalised list that every template loops over; docs/architecture.md has its keys."""
    remembered = host.get("record", {}).get("wizard_done", {})
    given = raw_sites(values)
    domains = [str(raw.get("domain") or "").lower() for raw in given]
    found = []
    for raw in given:
        domain = str(raw.get("domain") or "").lower()
        address = str(raw.get("server_address") or "").strip("[]")
        port = int(raw.get("server_port") or 8096)
        key = server_key(address, port)
        admitted = wizard_done(host.get("servers", {}).get(key, {}), bool(remembered.get(key)))
        certificate = host.get("certificates", {}).get(domain, {})
        bracketed = f"[{address}]" if ":" in address else address
        found.append(
            {
                "domain": domain,
                "path": raw.get("path") or "",
                "server_address": address,
                "server_port": port,
                "server_key": key,
                "server": {"address": address, "port": port, "path": raw.get("path") or ""},
                "server_url": f"http://{bracketed}:{port}",
                "server_is_local": is_own_address(address, host, domains),
                "certificate": raw.get("certificate"),
                "fullchain": raw.get("certificate_fullchain") or "",
                "privkey": raw.get("certificate_privkey") or "",
                "key_types": list(raw.get("certificate_key_types") or ["ecdsa"]),
                "door": f"{DOORS}/{domain}",
                "admit_internet": admitted,
                "wizard_changed": admitted != bool(remembered.get(key)),
                "hsts": _hsts(values, certificate),
            }
        )
    return found
