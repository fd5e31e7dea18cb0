"""Who the client is, and under which address it is told to come: as the real server decides both."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE6 = ("::1/128", "fe80::/10", "fc00::/7")


def plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def endpoint(text: str) -> Address | None:
    """An address with or without a port, as .NET's IPEndPoint.TryParse takes it."""
    text = text.strip()
    if text.startswith("["):
        inner, _, port = text[1:].partition("]")
        if port and not (port.startswith(":") and port[1:].isdigit()):
            return None
        text = inner
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdigit():
            return None
    try:
        return plain(ipaddress.ip_address(text))
    except ValueError:
        return None


@dataclass
class Networks:
    """A list of addresses and networks, as KnownProxies and LocalNetworkSubnets are."""

    items: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = field(default_factory=list)
    excluded: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = field(default_factory=list)

    @classmethod
    def of(cls, texts: Sequence[str], *, names: bool = False, ipv6: bool = False) -> Networks:
        found = cls()
        for text in texts:
            bare = text.strip()
            target = found.excluded if bare.startswith("!") else found.items
            try:
                entries = [ipaddress.ip_network(bare.lstrip("!"), strict=False)]
            except ValueError:
                entries = [ipaddress.ip_network(item) for item in resolved(bare)] if names and bare else []
            target += [entry for entry in entries if ipv6 or entry.version == 4]
        return found

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return False
        return any(address in net for net in self.items) and not any(address in net for net in self.excluded)

    def __bool__(self) -> bool:
        return bool(self.items)


def resolved(name: str) -> list[str]:
    """Host names among the KnownProxies are asked for once, at start."""
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None)})
    except OSError:
        return []


@dataclass
class Seen:
    """What is left of a request once the forwarding headers were judged."""

    client: Address
    scheme: str
    host: str
    peer: Address
    unknown_proxy: str = ""  # the hop that ended the walk


def judge(peer: Address, scheme: str, host: str, headers: Any, known: Networks) -> Seen:
    """Right to left, as long as the hop in hand is known. Without known proxies the headers count for nothing.

    (.NET would also take loopback for known as soon as the list has any entry; this is stricter, so that
    a missing entry shows.)
    """
    seen = Seen(plain(peer), scheme, host, plain(peer))
    if not known:
        return seen
    hops, protocols, hosts = (split(headers, f"X-Forwarded-{name}") for name in ("For", "Proto", "Host"))
    for number in range(max(len(hops), len(protocols), len(hosts))):
        if seen.client not in known:
            seen.unknown_proxy = str(seen.client)
            break
        if number < len(hops):
            address = endpoint(hops[number])
            if address is None:
                break
            seen.client = address
        if number < len(protocols) and protocols[number].isalpha():
            seen.scheme = protocols[number]
        if number < len(hosts) and hosts[number]:
            seen.host = hosts[number]
    return seen


def split(headers: Any, name: str) -> list[str]:
    return [part.strip() for value in headers.getall(name, []) for part in value.split(",")][::-1]


@dataclass
class Interface:
    name: str
    address: Address
    network: ipaddress.IPv4Network | ipaddress.IPv6Network


def interfaces(ignored: Sequence[str], ipv6: bool) -> list[Interface]:
    said = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    found = []
    for link in json.loads(said):
        if any(name and link["ifname"].lower().startswith(name.lower()) for name in ignored):
            continue
        for entry in link.get("addr_info", []):
            both = ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}")
            if both.version == 4 or ipv6:
                found.append(Interface(link["ifname"], both.ip, both.network))
    return found


@dataclass
class Neighbourhood:
    """The server's place in the network: which clients are internal, and what address each is told."""

    settings: dict[str, Any]
    published: str  # JELLYFIN_PublishedServerUrl
    interfaces: list[Interface]
    https: bool = False

    @property
    def lan(self) -> Networks:
        ipv6 = self.settings["EnableIPv6"]
        texts = self.settings["LocalNetworkSubnets"] or [*PRIVATE, *(PRIVATE6 if ipv6 else ())]
        return Networks.of(texts, ipv6=ipv6)

    def internal(self, client: Address) -> bool:
        return client.is_loopback or client in self.lan

    def url(self, client: Address) -> str:
        if self.published:
            return self.published.strip("/")
        host = self.override(client) or self.bound(client)
        if "://" in host:
            return host.rstrip("/")
        scheme, port = ("https", "InternalHttpsPort") if self.https else ("http", "InternalHttpPort")
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{self.settings[port]}{self.settings['BaseUrl']}"

    def override(self, client: Address) -> str | None:
        """PublishedServerUriBySubnet: an entry for a subnet counts only where the server has an address in it."""
        best: tuple[int, str] | None = None
        for entry in self.settings["PublishedServerUriBySubnet"]:
            parts = entry.split("=")
            if len(parts) != 2:
                return None  # one bad entry, and the list is abandoned
            key, value = parts[0].strip(), parts[1].strip()
            if key.lower() == "all":
                return value
            for network, everywhere in self.meant(key, client):
                fits = everywhere or any(
                    face.address in network for face in self.interfaces if face.network.version == network.version
                )
                if client in network and fits and (best is None or network.prefixlen > best[0]):
                    best = (network.prefixlen, value)
        return best[1] if best else None

    def meant(self, key: str, client: Address) -> list[tuple[Any, bool]]:
        everyone = ipaddress.ip_network("0.0.0.0/0" if client.version == 4 else "::/0")
        if key.lower() == "external":
            return [] if self.internal(client) else [(everyone, True)]
        if key.lower() == "internal":
            return [(network, False) for network in self.lan.items]
        named = [(face.network, False) for face in self.interfaces if face.name.lower() == key.lower()]
        if named:
            return named
        try:
            return [(ipaddress.ip_network(key, strict=False), False)]
        except ValueError:
            return []

    def bound(self, client: Address) -> str:
        """The own address nearest to the client."""
        chosen = self.settings["LocalNetworkAddresses"]
        faces = [face for face in self.interfaces if not chosen or str(face.address) in chosen]
        near = [face for face in faces if face.network.version == client.version and client in face.network]
        lan = [face for face in faces if self.internal(face.address) and not face.address.is_loopback]
        outer = [face for face in faces if not self.internal(face.address)]
        for face in near if self.internal(client) else outer + near:
            return str(face.address)
        for face in sorted(lan, key=lambda face: -face.network.prefixlen):
            return str(face.address)
        return "127.0.0.1"
