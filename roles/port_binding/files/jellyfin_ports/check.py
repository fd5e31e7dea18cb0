# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`jellyfin-ports check`: is this configuration right, and can its ports be had?"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from . import config as configuration
from .config import CLIENT_DISCOVERY_PORT, Config, ConfigError
from .holders import holders


@dataclass
class Findings:
    errors: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


# listener, protocol, port, what to set in the inventory to leave the port to its holder
Wanted = tuple[str, str, int, str]


def wanted_ports(config: Config) -> list[Wanted]:
    """The ports that must be ours alone. 1900/udp is shared with whoever else speaks SSDP."""
    ports: list[Wanted] = []
    if config.http.enabled:
        ports.append(("http", "tcp", config.http.port, "jellyfin_http: false"))
    if config.https.enabled:
        ports.append(("https", "tcp", config.https.port, "jellyfin_https: false"))
    if config.description.enabled:
        ports.append(("description", "tcp", config.description.port, "jellyfin_ssdp: false"))
    if config.client_discovery:
        ports.append(("client_discovery", "udp", CLIENT_DISCOVERY_PORT, "jellyfin_discovery: false"))
    if config.guard.enabled:
        ports.append(("guard", "tcp", config.guard.port, "jellyfin_guard: false"))
    if config.metrics_relay:
        ports.append(("metrics.relay", "tcp", config.metrics_relay, "port_binding_metrics_relay: 0"))
    if config.metrics_discovery:
        ports.append(("metrics.discovery", "tcp", config.metrics_discovery, "port_binding_metrics_discovery: 0"))
    return ports


def check_ports(config: Config) -> list[str]:
    taken: list[str] = []
    for name, protocol, port, switch in wanted_ports(config):
        strangers = sorted({str(h) for h in holders(protocol, port) if not h.ours})
        if strangers:
            taken.append(
                f"{port}/{protocol} (listener {name}) is held by {', '.join(strangers)}:"
                f" stop it, or leave the port to it with `{switch}`"
            )
    return taken


def check_certificates(config: Config) -> list[str]:
    if not config.https.enabled:
        return []
    for certificate in config.https.certificates:
        for path in (certificate.fullchain, certificate.privkey):
            if not os.access(path, os.R_OK):
                return [f"listener https: {path} cannot be read; the role certificate puts it there"]
    from .relay.tls import CertificateError, Contexts

    try:
        Contexts(config.https)
    except CertificateError as error:
        return [f"listener https: {error}"]
    return []


def check(path: str, ports: bool = True) -> Findings:
    findings = Findings()
    try:
        config = configuration.load(path)
    except ConfigError as error:
        findings.errors += error.problems
        return findings
    findings.errors += check_certificates(config)
    if config.relay_wanted or config.guard.enabled:
        try:
            from .relay import head  # noqa: F401
        except ImportError as error:
            findings.errors.append(f"the relay and the guard need python3-aiohttp: {error}")
    if ports:
        findings.taken += check_ports(config)
    if not config.lan.networks and (config.relay_wanted or config.discovery_wanted):
        findings.hints.append("lan is empty: nobody is answered")
    if not config.upstreams:
        findings.hints.append("no server is configured: the relay is a stand-in, discovery is silent")
    if config.ssdp and not config.description_port:
        findings.hints.append("ssdp: no HTTP listener of ours serves the description; only a DLNA server is announced")
    return findings
