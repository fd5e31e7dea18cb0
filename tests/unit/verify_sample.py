"""A deployment as the modules would report it when all is well; tests break one thing at a time."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_attacks as attacks
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan

DOMAIN = "media.example.org"
EDGE = "192.168.1.2"
PUBLIC = "198.51.100.7"
LAPTOP, RENTED = "192.168.1.23", "192.0.2.44"
NOW = 1_795_000_000
DAY = 86400
INFO = {
    "LocalAddress": "",
    "ServerName": "media",
    "Version": "10.11.11",
    "ProductName": "Jellyfin Server",
    "Id": "a" * 32,
}


def site(**changes: Any) -> dict[str, Any]:
    return {
        "domain": DOMAIN,
        "path": "",
        "server_key": "127.0.0.1:8096",
        "server_is_local": True,
        "certificate": "letsencrypt",
        "admit_internet": True,
        "hsts": "max-age=63072000",
        **changes,
    }


def host() -> dict[str, Any]:
    listener = {"address": "0.0.0.0", "unit": ""}
    return {
        "interfaces": [
            {"name": "lo", "addresses": [{"address": "127.0.0.1"}]},
            {"name": "eth0", "addresses": [{"address": EDGE}, {"address": "fe80::1"}]},
        ],
        "listeners": [
            {**listener, "proto": "tcp", "port": 22, "process": "sshd"},
            {**listener, "proto": "tcp", "port": 80, "process": "nginx"},
            {**listener, "proto": "tcp", "port": 443, "process": "nginx"},
            {**listener, "proto": "tcp", "port": 8096, "process": "jellyfin-ports"},
            {**listener, "proto": "tcp", "port": 888, "process": "certbot", "address": "127.0.0.1"},
            {**listener, "proto": "udp", "port": 7359, "process": "jellyfin-ports"},
            {**listener, "proto": "udp", "port": 1900, "process": "jellyfin-ports"},
            {**listener, "proto": "udp", "port": 443, "process": "nginx"},
        ],
        "servers": {
            "127.0.0.1:8096": {
                "reachable": True,
                "ready": True,
                "wizard_done": True,
                "source_address": "127.0.0.1",
                "error": "",
            }
        },
        "certificates": {DOMAIN: {"source": "letsencrypt", "public": True, "not_after": "2026-12-20T00:00:00Z"}},
        "firewalls": {"firewalld": {"installed": True, "active": True}, "ufw": {"installed": False, "active": False}},
    }


def options(**changes: Any) -> dict[str, Any]:
    return {
        "http_port": 8096,
        "https_port": 8920,
        "listeners": {"http": "relay", "https": "nobody", "discovery": "relay", "ssdp": "relay"},
        "lan": ["192.168.1.0/24"],
        "lan_address": "",
        "wan_address": PUBLIC,
        "authorized": True,
        "echo_path": "/echo",
        "attack": True,
        "lan_names": [],
        "range_path": "",
        "minimum_grade": "",
        "mozilla": "intermediate",
        **changes,
    }


def _answer(status: int = 200, body: Any = "", source: str = LAPTOP, **more: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    found = {
        "kind": "http",
        "error": "",
        "status": status,
        "headers": {},
        "hsts": [],
        "body": text,
        "length": len(text),
    }
    return {**found, "source_address": source, "tls": None, **more}


def probe_result(probe: dict[str, Any], wan: bool) -> dict[str, Any]:
    """What a good edge answers to a probe of the plan."""
    source = RENTED if wan else LAPTOP
    what = probe["id"].split("|")[-1]
    tls = {"version": "TLSv1.3", "alpn": "http/1.1", "trusted": True, "untrusted": "", "not_after": NOW + 60 * DAY}
    http = {
        "redirect": lambda: _answer(
            308, source=source, headers={"location": f"https://{DOMAIN}/web/index.html?verify=1"}
        ),
        "acme": lambda: _answer(502, source=source),
        "front": lambda: _answer(body=INFO, source=source, tls=tls, hsts=["max-age=63072000"]),
        "health": lambda: _answer(body="Healthy", source=source),
        "websocket": lambda: _answer(403, source=source),
        "generation": lambda: _answer(404, source=source),
        "range0": lambda: _answer(206, "x" * 16, source, headers={"content-range": "bytes 0-15/4711"}),
        "range1": lambda: _answer(404, source=source),
        "endpoint": lambda: _answer(body={"IsLocal": False, "IsInNetwork": not wan}, source=source),
        "endpoint forged": lambda: _answer(body={"IsLocal": False, "IsInNetwork": not wan}, source=source),
        "echo": lambda: _answer(body={"client": source}, source=source),
        "echo forged": lambda: _answer(body={"client": source}, source=source),
        "direct echo": lambda: _answer(body={"client": source}, source=source),
        "direct": lambda: {"error": "no complete answer within 5 s"} if wan else _answer(body=INFO, source=source),
        "direct tls": lambda: {"error": "connection refused"},
        "unknown name http": lambda: {"error": "the peer closed the connection"},
        "unknown name https": lambda: {"error": "TLS: tlsv1 unrecognized name"},
    }
    if what.startswith("attack "):
        return attack_result(what.split()[1], source)
    if what.startswith("protected "):
        return _answer(403 if wan else 200, source=source)
    if what.startswith("discovered "):
        return _answer(body=INFO, source=source)
    if what in http:
        return http[what]()
    if what == "dns":
        return {"addresses": [PUBLIC]}
    if what == "h2":
        return {"tls": {"version": "TLSv1.3", "alpn": "h2"}}
    if what == "no sni":
        return {"error": "TLS: tlsv1 unrecognized name"}
    if what == "quic":
        return {"state": "open", "versions": ["00000001"], "v1": True}
    kind, port = what.split()
    if kind == "udp":
        return {"state": "silent" if wan else "open"}
    ours = {"80", "443"} if wan else {"22", "80", "443", "8096"}
    return {"state": "open" if port in ours else "filtered" if wan else "closed"}


def attack_result(kind: str, source: str) -> dict[str, Any]:
    """What a good edge answers to an attack."""
    if kind == "header":
        return _answer(body={"client": source}, source=source)
    if kind == "half-open":
        return _answer(body=INFO, source=source, held=10)
    return _answer({"form": 400, "spelling": 403, "method": 405, "login": 401, "name": 421}[kind], source=source)


def grade() -> dict[str, Any]:
    suite = {"forward_secrecy": True, "aead": True, "bits": 128}
    return {
        "host": EDGE, "port": 443, "server_name": DOMAIN, "address": EDGE,
        "grade": "A+", "grade_ignoring_trust": "A+", "rating": "SSL Labs Server Rating Guide 2009r (2025-05-16)",
        "not_checked": [{"rule": "ticketbleed", "revision": "2009o", "why": "a bug of one vendor's appliances"}],
        "scores": {"protocol": 100.0, "key_exchange": 90, "cipher_strength": 90.0, "total": 93.0},
        "caps": [], "grade_warnings": [], "protocols": ["TLSv1.2", "TLSv1.3"], "preference": "client",
        "suites": {
            "TLSv1.2": [dict(suite, name=f"TLS_ECDHE_ECDSA_WITH_{name}") for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")],
            "TLSv1.3": [dict(suite, name=f"TLS_{name}") for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")],
        },
        "groups": [
            {"name": name, "post_quantum": "MLKEM" in name, "preferred": "MLKEM" in name}
            for name in ("X25519MLKEM768", "X25519", "secp256r1", "secp384r1")
        ],
        "certificates": [
            {
                "names": [DOMAIN], "issuer": "CN=YE1,O=Let's Encrypt,C=US", "lifetime_days": 64, "untrusted": "", "missing": "",
                "key": {"algorithm": "EC", "bits": 256, "curve": "secp256r1"}, "signature": {"name": "ecdsa-with-SHA384", "hash": "sha384"},
                "not_before": "2026-11-01T00:00:00Z", "not_after": "2027-01-04T00:00:00Z", "chain": [{}, {}], "name_matches": True,
            }
        ],
        "hsts": {"state": "ok", "header": "max-age=63072000", "max_age": 63072000, "problem": ""},
        "redirect": {}, "alpn": ["h2", "http/1.1"], "http3": {"quic": True, "versions": ["00000001"]},
        "sni": {"unknown": "refused (alert unrecognized_name)", "absent": "refused (alert unrecognized_name)"},
        "mozilla": {
            "guideline": "6.0",
            "intermediate": {"compliant": True, "violations": [], "notes": []},
            "modern": {"compliant": False, "violations": [{"rule": "tls_versions", "observed": "TLSv1.2 is offered"}], "notes": []},
        },
        "scanner": {"program": "sslyze", "version": "6.3.1"},
    }  # fmt: skip


def deployment(
    sites: list[dict[str, Any]] | None = None, given: dict[str, Any] | None = None
) -> tuple[Any, Any, Any, Any]:
    """observed, sites, host, options: everything passes."""
    sites, given, here = sites or [site()], given or options(), host()
    discovered = [f"https://{DOMAIN}"]

    def seat(name: str) -> dict[str, Any]:
        wan = name == "wan"
        probes = plan.plan(sites, here, given, [] if wan else discovered) + attacks.probes(sites, given)
        return {
            "seen": {probe["id"]: probe_result(probe, wan) for probe in probes},
            "addresses": [RENTED if wan else LAPTOP],
            "edge": PUBLIC if wan else EDGE,
        }

    observed = {
        "lan": seat("lan"),
        "wan": seat("wan"),
        "discovery": {"servers": [{"address": discovered[0], "id": "a" * 32, "name": "media", "source": EDGE}]},
        "ssdp": {"devices": [{"location": f"http://{EDGE}:8096/ssdp/description.xml", "source": EDGE}]},
        "state": {
            "time": NOW,
            "timer": {
                "name": "certbot.timer",
                "present": True,
                "enabled": True,
                "active": True,
                "next": "",
                "error": "",
            },
        },
        "grades": {item["domain"]: grade() for item in sites},
        "installs": {
            "edge": {"is_edge": True, "config_dir": "/etc/jellyfin", "KnownProxies": ["127.0.0.1"], "addresses": [EDGE]}
        },
    }
    return observed, sites, here, given
