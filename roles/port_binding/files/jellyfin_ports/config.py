# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration: read once, checked as a whole, every problem named with its line."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .addresses import Networks
from .lines import Path, value_lines

DEFAULT_PATH = "/etc/jellyfin-ports/config.json"
SSDP_PORT = 1900
CLIENT_DISCOVERY_PORT = 7359
HDHOMERUN_PORT = 65001

_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
_INTERFACE = re.compile(r"^[^\s/:]{1,15}$")
_PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)*$")


class ConfigError(Exception):
    """One or more problems; each says where and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Published:
    """Who is told which URL: `key` is all, internal, external, an address or network, or an interface's name."""

    key: str
    url: str
    network: ipaddress.IPv4Network | None = None


@dataclass(frozen=True)
class Upstream:
    """A Jellyfin server."""

    name: str
    url: str
    host: str
    port: int
    path: str = ""
    domains: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    announce_port: int = 0  # 0: nothing of ours leads there, so only `published` or the server's own URL is announced
    dlna: bool = True


@dataclass(frozen=True)
class Certificate:
    fullchain: str
    privkey: str
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tls:
    minimum: str = "TLSv1.2"
    ciphers: str = ""


@dataclass(frozen=True)
class TcpListener:
    enabled: bool = False
    port: int = 0
    certificates: tuple[Certificate, ...] = ()
    tls: Tls = Tls()


@dataclass(frozen=True)
class HdHomeRun:
    enabled: bool = False
    tuners: tuple[str, ...] = ()
    relay_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    source_rate: float = 10.0
    source_burst: float = 20.0
    total_rate: float = 1000.0
    total_burst: float = 2000.0
    connections: int = 0  # 0: as many as the file descriptors allow
    head_seconds: float = 15.0
    idle_seconds: float = 75.0
    body_seconds: float = 60.0
    stall_seconds: float = 14400.0  # a paused player takes nothing
    response_seconds: float = 600.0
    tunnel_seconds: float = 3600.0


@dataclass(frozen=True)
class Connections:
    """How many one address may have at once, for the process `limits`. 0: any number."""

    enabled: bool = False
    internet: int = 0
    lan: int = 0
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    exempt: Networks = field(default_factory=Networks)


@dataclass(frozen=True)
class Names:
    """Under which names a LAN client may reach us, besides those that need no mention; `.example.net` is all below it."""

    any: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requests:
    """What a request may be: an expression for its target as sent, and its methods. None is no rule beyond the relay's own."""

    target: re.Pattern[bytes] | None = None
    methods: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Guard:
    """Logins from the Internet: so many failed ones in so many minutes, then none for as long."""

    enabled: bool = False
    port: int = 889
    attempts: int = 5
    minutes: int = 10
    ban_attempts: int = 50  # 0: nobody is cut off
    ban_seconds: int = 14400
    users: tuple[str, ...] = ("root",)  # whose processes may ask


@dataclass(frozen=True)
class Config:
    generation: str = ""
    lan: Networks = field(default_factory=Networks)
    trusted_proxies: Networks = field(default_factory=Networks)
    upstreams: tuple[Upstream, ...] = ()
    http: TcpListener = TcpListener(port=8096)
    https: TcpListener = TcpListener(port=8920)
    description: TcpListener = TcpListener(port=1900)
    client_discovery: bool = False
    ssdp: bool = False
    hdhomerun: HdHomeRun = HdHomeRun()
    limits: Limits = Limits()
    connections: Connections = field(default_factory=Connections)
    names: Names = Names()
    requests: Requests = Requests()
    guard: Guard = Guard()
    metrics_relay: int = 0
    metrics_discovery: int = 0

    @property
    def relay_wanted(self) -> bool:
        return self.http.enabled or self.https.enabled or self.description.enabled

    @property
    def discovery_wanted(self) -> bool:
        return self.client_discovery or self.ssdp or self.hdhomerun.enabled

    @property
    def description_port(self) -> int:
        """Where the LAN reaches the SSDP description by plain HTTP; 0 where nothing of ours serves it."""
        if self.http.enabled:
            return self.http.port
        return self.description.port if self.description.enabled else 0


class _Reader:
    """Walks the parsed JSON and collects problems instead of stopping at the first."""

    def __init__(self, lines: Mapping[Path, int], source: str) -> None:
        self._lines = lines
        self._source = source
        self.problems: list[str] = []

    def problem(self, path: Path, message: str) -> None:
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        name = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".") or "the file"
        self.problems.append(f"{self._source}:{self._lines.get(at, 1)}: {name}: {message}")

    def mapping(self, value: Any, path: Path, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.problem(path, "is not an object ({...})")
            return {}
        for key in value:
            if key not in known:
                self.problem((*path, key), f"is not known here; known are: {', '.join(known)}")
        return value

    def items(self, value: Any, path: Path) -> list[Any]:
        if isinstance(value, list):
            return value
        self.problem(path, "is not a list ([...])")
        return []

    def get(self, source: dict[str, Any], key: str, kind: type, default: Any, path: Path) -> Any:
        value = source.get(key, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
            names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
            self.problem((*path, key), f"is {json.dumps(value)}, not {names.get(kind, kind.__name__)}")
            return default
        return value

    def port(self, source: dict[str, Any], default: int, path: Path, key: str = "port", zero: bool = False) -> int:
        value = int(self.get(source, key, int, default, path))
        if not (0 if zero else 1) <= value <= 65535:
            self.problem((*path, key), f"is {value}; a port is 1 to 65535")
            return default
        return value

    def networks(self, value: Any, path: Path) -> Networks:
        good: list[str] = []
        for index, text in enumerate(self.items(value, path)):
            try:
                if not isinstance(text, str):
                    raise ValueError(f"{json.dumps(text)} is no string")
                ipaddress.ip_network(text)
                good.append(text)
            except (ValueError, TypeError) as error:
                self.problem((*path, index), f"is no network ({error}); write it like 192.168.1.0/24")
        return Networks(good)

    def url(self, text: str, path: Path) -> str:
        """A full URL without a trailing slash; '' after a problem."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            self.problem(path, f"{text!r} is no URL ({error})")
            return ""
        host = parts.hostname or ""
        wrong = ""
        if any(c <= " " or c == "\x7f" for c in text):
            wrong = "holds a space or a control character"
        elif parts.scheme not in ("http", "https") or not parts.netloc:
            wrong = "is no full URL; write http://HOST:PORT/PATH or https://..."
        elif "@" in parts.netloc or parts.query or parts.fragment or "?" in text or "#" in text:
            wrong = "may hold host, port and path only"
        elif not (_HOST.match(host) or _is_address(host)):
            wrong = f"has no usable host name ({host!r})"
        elif port == 0:
            wrong = "has port 0"
        if wrong:
            self.problem(path, f"{text!r} {wrong}")
            return ""
        return text.rstrip("/")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _published(reader: _Reader, value: Any, path: Path) -> tuple[Published, ...]:
    found: list[Published] = []
    for index, entry in enumerate(reader.items(value, path)):
        here = (*path, index)
        if isinstance(entry, str):  # Jellyfin's own form
            key, equals, url = entry.partition("=")
            if not equals:
                reader.problem(here, f"{entry!r} is not KEY=URL")
                continue
        else:
            fields = reader.mapping(entry, here, ("for", "url"))
            key, url = str(fields.get("for", "")), str(fields.get("url", ""))
        key = key.strip()
        url = reader.url(url.strip(), here)
        network = None
        if key.lower() in ("all", "internal", "external"):
            key = key.lower()
        else:
            try:
                parsed = ipaddress.ip_network(key)
                if not isinstance(parsed, ipaddress.IPv4Network):
                    reader.problem(here, f"{key!r} is IPv6; client discovery is IPv4 only")
                    continue
                network = parsed
                if parsed.prefixlen == 0:
                    key, network = "all", None
            except ValueError as error:
                if "/" in key or not _INTERFACE.match(key) or re.fullmatch(r"[0-9.]+", key):
                    reader.problem(
                        here,
                        f"{key!r} is none of all, internal, external, an address, a network"
                        f" or an interface's name ({error})",
                    )
                    continue
        if any(other.key.lower() == key.lower() for other in found):
            reader.problem(here, f"{key!r} is there twice; keep one")
        elif url:
            found.append(Published(key, url, network))
    return tuple(found)


def _upstreams(reader: _Reader, value: Any) -> tuple[Upstream, ...]:
    found: list[Upstream] = []
    known = ("name", "url", "path", "domains", "published", "announce_port", "dlna")
    for index, entry in enumerate(reader.items(value, ("upstreams",))):
        here: Path = ("upstreams", index)
        fields = reader.mapping(entry, here, known)
        url = reader.url(reader.get(fields, "url", str, "", here), (*here, "url"))
        if not url:
            continue
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.path:
            reader.problem((*here, "url"), f"{url!r}: write http://ADDRESS:PORT, the path goes into `path`")
            continue
        path = reader.get(fields, "path", str, "", here)
        if not _PATH.match(path):
            reader.problem((*here, "path"), f"{path!r} is no path; write '' or /jellyfin, without a slash at the end")
            path = ""
        name = reader.get(fields, "name", str, "", here) or parts.netloc
        domains = tuple(str(d).lower() for d in reader.items(fields.get("domains", []), (*here, "domains")))
        if any(other.name == name for other in found):
            reader.problem((*here, "name"), f"{name!r} is there twice; each server needs a name of its own")
        found.append(
            Upstream(
                name=name,
                url=url,
                host=parts.hostname or "",
                port=parts.port or 80,
                path=path,
                domains=domains,
                published=_published(reader, fields.get("published", []), (*here, "published")),
                announce_port=reader.port(fields, 0, here, "announce_port", zero=True),
                dlna=reader.get(fields, "dlna", bool, True, here),
            )
        )
    return tuple(found)


def _tcp(reader: _Reader, listeners: dict[str, Any], name: str, default: int) -> TcpListener:
    here: Path = ("listeners", name)
    known = ("enabled", "port") + (("certificates", "tls") if name == "https" else ())
    fields = reader.mapping(listeners.get(name, {}), here, known)
    certificates: list[Certificate] = []
    for index, entry in enumerate(reader.items(fields.get("certificates", []), (*here, "certificates"))):
        at: Path = (*here, "certificates", index)
        item = reader.mapping(entry, at, ("fullchain", "privkey", "domains"))
        domains = tuple(str(d).lower() for d in reader.items(item.get("domains", []), (*at, "domains")))
        chain, key = (reader.get(item, k, str, "", at) for k in ("fullchain", "privkey"))
        if not chain or not key:
            reader.problem(at, "needs fullchain and privkey, the paths of two PEM files")
        else:
            certificates.append(Certificate(chain, key, domains))
    tls = reader.mapping(fields.get("tls", {}), (*here, "tls"), ("minimum", "ciphers"))
    minimum = reader.get(tls, "minimum", str, "TLSv1.2", (*here, "tls"))
    if minimum not in ("TLSv1.2", "TLSv1.3"):
        reader.problem((*here, "tls", "minimum"), f"is {minimum!r}; it can be TLSv1.2 or TLSv1.3")
        minimum = "TLSv1.2"
    listener = TcpListener(
        enabled=reader.get(fields, "enabled", bool, False, here),
        port=reader.port(fields, default, here),
        certificates=tuple(certificates),
        tls=Tls(minimum, reader.get(tls, "ciphers", str, "", (*here, "tls"))),
    )
    if name == "https" and listener.enabled and not certificates:
        reader.problem(
            (*here, "certificates"), "is empty; HTTPS needs a certificate (role certificate) or enabled: false"
        )
    return listener


def _fixed(reader: _Reader, listeners: dict[str, Any], name: str, port: int) -> bool:
    here: Path = ("listeners", name)
    fields = reader.mapping(listeners.get(name, {}), here, ("enabled", "port"))
    if reader.get(fields, "port", int, port, here) != port:
        reader.problem((*here, "port"), f"is {fields['port']}; clients ask {port}/udp only, so it cannot be moved")
    return bool(reader.get(fields, "enabled", bool, False, here))


def _hdhomerun(reader: _Reader, listeners: dict[str, Any]) -> HdHomeRun:
    here: Path = ("listeners", "hdhomerun")
    fields = reader.mapping(listeners.get("hdhomerun", {}), here, ("enabled", "tuners", "relay_for"))
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("tuners", "relay_for"):
        good: list[str] = []
        for index, text in enumerate(reader.items(fields.get(key, []), (*here, key))):
            try:
                good.append(str(ipaddress.IPv4Address(str(text))))
            except ValueError:
                reader.problem((*here, key, index), f"{text!r} is no IPv4 address")
        lists[key] = tuple(good)
    return HdHomeRun(reader.get(fields, "enabled", bool, False, here), lists["tuners"], lists["relay_for"])


def _connections(reader: _Reader, value: Any) -> Connections:
    here: Path = ("connections",)
    fields = reader.mapping(value, here, tuple(Connections.__dataclass_fields__))
    counts = {name: reader.get(fields, name, int, 0, here) for name in ("internet", "lan")}
    for name, count in counts.items():
        if count < 0:
            reader.problem((*here, name), f"is {count}; it is a number of connections, or 0 for any number")
    ports: dict[str, tuple[int, ...]] = {}
    for protocol in ("tcp", "udp"):
        good: list[int] = []
        for index, port in enumerate(reader.items(fields.get(protocol, []), (*here, protocol))):
            if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
                reader.problem((*here, protocol, index), f"is {json.dumps(port)}; a port is 1 to 65535")
            else:
                good.append(port)
        ports[protocol] = tuple(good)
    return Connections(
        enabled=reader.get(fields, "enabled", bool, False, here),
        internet=counts["internet"],
        lan=counts["lan"],
        tcp=ports["tcp"],
        udp=ports["udp"],
        exempt=reader.networks(fields.get("exempt", []), (*here, "exempt")),
    )


def _names(reader: _Reader, value: Any) -> Names:
    here: Path = ("names",)
    fields = reader.mapping(value, here, ("any", "allowed"))
    allowed: list[str] = []
    for index, name in enumerate(reader.items(fields.get("allowed", []), (*here, "allowed"))):
        if isinstance(name, str) and _HOST.match(name[name.startswith(".") :]):
            allowed.append(name.lower())
        else:
            reader.problem(
                (*here, "allowed", index), f"is {json.dumps(name)}; a name, or .example.net for all below it"
            )
    return Names(reader.get(fields, "any", bool, False, here), tuple(allowed))


def _requests(reader: _Reader, value: Any) -> Requests:
    here: Path = ("requests",)
    fields = reader.mapping(value, here, ("target", "methods"))
    target = None
    text = reader.get(fields, "target", str, "", here)
    try:
        target = re.compile(text.encode("ascii")) if text else None
    except (re.error, UnicodeError) as error:
        reader.problem((*here, "target"), f"is no regular expression ({error})")
    methods = reader.items(fields.get("methods", []), (*here, "methods"))
    return Requests(target, frozenset(str(method).encode("ascii", "replace") for method in methods))


def _guard(reader: _Reader, value: Any) -> Guard:
    here: Path = ("guard",)
    fields = reader.mapping(value, here, tuple(Guard.__dataclass_fields__))
    numbers: dict[str, int] = {}
    for name, least, most in (
        ("attempts", 1, 1000), ("minutes", 1, 1440), ("ban_attempts", 0, 10000), ("ban_seconds", 1, 30 * 86400)
    ):  # fmt: skip
        numbers[name] = reader.get(fields, name, int, getattr(Guard, name), here)
        if not least <= numbers[name] <= most:
            reader.problem((*here, name), f"is {numbers[name]}; it can be {least} to {most}")
    users = reader.items(fields.get("users", list(Guard.users)), (*here, "users"))
    for index, user in enumerate(users):
        if not isinstance(user, str) or not user:
            reader.problem((*here, "users", index), f"is {json.dumps(user)}, not the name of a user")
    return Guard(
        enabled=reader.get(fields, "enabled", bool, False, here),
        port=reader.port(fields, Guard.port, here),
        users=tuple(map(str, users)),
        **numbers,
    )


def _conflicts(reader: _Reader, config: Config) -> None:
    tcp: dict[int, str] = {}
    for name in ("http", "https", "description"):
        listener: TcpListener = getattr(config, name)
        if listener.enabled:
            if listener.port in tcp:
                message = f"is {listener.port} as for {tcp[listener.port]}; give them different ports"
                reader.problem(("listeners", name, "port"), message)
            tcp[listener.port] = name
    if config.guard.enabled:
        if config.guard.port in tcp:
            reader.problem(("guard", "port"), f"is {config.guard.port} as for {tcp[config.guard.port]}; choose another")
        tcp[config.guard.port] = "guard"
    metrics = {"relay": config.metrics_relay, "discovery": config.metrics_discovery}
    for name, port in metrics.items():
        if port and (port in tcp or (name == "discovery" and port == config.metrics_relay)):
            reader.problem(("metrics", name), f"is {port}, which is taken already; choose another")
    for index, upstream in enumerate(config.upstreams):
        local = upstream.host == "localhost" or (
            _is_address(upstream.host)
            and (ipaddress.ip_address(upstream.host).is_loopback or ipaddress.ip_address(upstream.host).is_unspecified)
        )
        if local and upstream.port in tcp:
            reader.problem(
                ("upstreams", index, "url"),
                f"{upstream.url} is our own listener `{tcp[upstream.port]}`: the relay would be its own server."
                " Let the server listen on another port (jellyfin_server_port), or switch this listener off",
            )


def parse(text: str, source: str = "config.json") -> Config:
    """The configuration, or a ConfigError with every problem found."""
    try:
        data = json.loads(text)
        lines = value_lines(text)
    except json.JSONDecodeError as error:
        raise ConfigError([f"{source}:{error.lineno}: not JSON: {error.msg}"]) from None
    except RecursionError:
        raise ConfigError([f"{source}:1: nested too deeply"]) from None
    reader = _Reader(lines, source)
    known = ("generation", "lan", "trusted_proxies", "upstreams", "listeners", "limits", "connections", "names",
             "requests", "guard", "metrics")  # fmt: skip
    top = reader.mapping(data, (), known)
    names = ("http", "https", "description", "client_discovery", "ssdp", "hdhomerun")
    listeners = reader.mapping(top.get("listeners", {}), ("listeners",), names)
    limit_names = tuple(Limits.__dataclass_fields__)
    given = reader.mapping(top.get("limits", {}), ("limits",), limit_names)
    limits: dict[str, int | float] = {}
    for name in limit_names:
        default = getattr(Limits, name)
        limits[name] = reader.get(given, name, type(default), default, ("limits",))
        if limits[name] < 0 or (limits[name] == 0 and name != "connections"):
            reader.problem(("limits", name), f"is {limits[name]}; it must be greater than 0")
    metrics = reader.mapping(top.get("metrics", {}), ("metrics",), ("relay", "discovery"))
    config = Config(
        generation=reader.get(top, "generation", str, "", ()),
        lan=reader.networks(top.get("lan", []), ("lan",)),
        trusted_proxies=reader.networks(top.get("trusted_proxies", []), ("trusted_proxies",)),
        upstreams=_upstreams(reader, top.get("upstreams", [])),
        http=_tcp(reader, listeners, "http", 8096),
        https=_tcp(reader, listeners, "https", 8920),
        description=_tcp(reader, listeners, "description", 1900),
        client_discovery=_fixed(reader, listeners, "client_discovery", CLIENT_DISCOVERY_PORT),
        ssdp=_fixed(reader, listeners, "ssdp", SSDP_PORT),
        hdhomerun=_hdhomerun(reader, listeners),
        limits=Limits(**limits),  # type: ignore[arg-type]
        connections=_connections(reader, top.get("connections", {})),
        names=_names(reader, top.get("names", {})),
        requests=_requests(reader, top.get("requests", {})),
        guard=_guard(reader, top.get("guard", {})),
        metrics_relay=reader.port(metrics, 0, ("metrics",), "relay", zero=True),
        metrics_discovery=reader.port(metrics, 0, ("metrics",), "discovery", zero=True),
    )
    _conflicts(reader, config)
    if reader.problems:
        raise ConfigError(reader.problems)
    return config


def load(path: str = DEFAULT_PATH) -> Config:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    return parse(text, path)
