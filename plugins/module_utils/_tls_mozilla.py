# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mozilla's server-side TLS guideline 6.0 (2026-04-06), and what a server breaks of it. Pure.

A server complies when it offers nothing outside the configuration, and TLS 1.3. Whose suites are preferred and which of the groups are
there is named as a note: the guideline's own generator leaves out groups that a server's library does not know.
"""

from __future__ import annotations

from typing import Any

GUIDELINE = "6.0"
_SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_ECDSA = ("ecdsa-with-SHA256", "ecdsa-with-SHA384", "ecdsa-with-SHA512")
_GROUPS = ("X25519MLKEM768", "X25519", "secp256r1", "secp384r1")

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "modern": {
        "tls_versions": ("TLSv1.3",),
        "ciphersuites": _SUITES_13,
        "ciphers": (),
        "tls_curves": _GROUPS,
        "certificate_types": ("ecdsa",),
        "certificate_curves": ("secp256r1", "secp384r1"),
        "certificate_signatures": _ECDSA,
        "rsa_key_size": None,
        "hsts_min_age": 63072000,
        "maximum_certificate_lifespan": 90,
    },
    "intermediate": {
        "tls_versions": ("TLSv1.2", "TLSv1.3"),
        "ciphersuites": _SUITES_13,
        "ciphers": (
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        "tls_curves": _GROUPS,
        "certificate_types": ("ecdsa", "rsa"),
        "certificate_curves": ("secp256r1", "secp384r1"),
        "certificate_signatures": ("sha256WithRSAEncryption", *_ECDSA),
        "rsa_key_size": 2048,
        "hsts_min_age": 63072000,
        "maximum_certificate_lifespan": 366,
    },
}
# The guideline also has ocsp_staple: true. Public CAs answer OCSP no more, so nobody can comply, and it is not asked for here.


def _certificate(item: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str]]:
    key = item["key"]
    kind = {"EC": "ecdsa", "RSA": "rsa"}.get(key["algorithm"], key["algorithm"].lower())
    found = []
    if kind not in wanted["certificate_types"]:
        found.append(("certificate_types", f"a certificate with a key of type {kind}"))
    elif kind == "ecdsa" and key["curve"] not in wanted["certificate_curves"]:
        found.append(("certificate_curves", f"a certificate's key on {key['curve']}"))
    elif kind == "rsa" and wanted["rsa_key_size"] and key["bits"] < wanted["rsa_key_size"]:
        found.append(("rsa_key_size", f"an RSA key of {key['bits']} bits"))
    if item["signature"]["name"] not in wanted["certificate_signatures"]:
        found.append(("certificate_signatures", f"a certificate signed with {item['signature']['name']}"))
    if item["lifetime_days"] > wanted["maximum_certificate_lifespan"]:
        observed = f"a certificate's lifetime of {item['lifetime_days']} days, at most {wanted['maximum_certificate_lifespan']} are good"
        found.append(("maximum_certificate_lifespan", observed))
    if item["untrusted"]:
        found.append(("trust", f"a certificate that is not trusted: {item['untrusted']}"))
    if not item["name_matches"]:
        found.append(("name", "a certificate for another name"))
    return found


def compare(facts: dict[str, Any], configuration: str) -> dict[str, Any]:
    """``compliant``, ``violations`` (rule and what was observed), ``notes``."""
    wanted = CONFIGURATIONS[configuration]
    found: list[tuple[str, str]] = []
    offered = [name for name, on in facts["protocols"].items() if on]
    for name in offered:
        if name not in wanted["tls_versions"]:
            found.append(("tls_versions", f"{name} is offered"))
    if "TLSv1.3" not in offered:
        found.append(("tls_versions", "TLSv1.3 is not offered"))
    for version, suites in facts["suites"].items():
        allowed = wanted["ciphersuites"] if version == "TLSv1.3" else wanted["ciphers"]
        extra = [suite["name"] for suite in suites if suite["name"] not in allowed]
        if extra and version in wanted["tls_versions"]:
            rule = "ciphersuites" if version == "TLSv1.3" else "ciphers"
            found.append(
                (
                    rule,
                    f"{', '.join(extra[:4])}{f' and {len(extra) - 4} more' if len(extra) > 4 else ''} with {version}",
                )
            )
    groups = [group["name"] for group in facts["groups"]]
    extra = [name for name in groups if name not in wanted["tls_curves"]]
    if extra:
        found.append(("tls_curves", f"{', '.join(extra)} offered"))
    small = {
        suite["ephemeral"]["bits"]
        for listed in facts["suites"].values()
        for suite in listed
        if (suite.get("ephemeral") or {}).get("type") == "DH"
    }
    if small:
        found.append(("ciphers", f"DHE with parameters of {min(small)} bits"))
    for item in facts["certificates"]:
        found += [entry for entry in _certificate(item, wanted) if entry not in found]
    age = facts["hsts"]["max_age"] or 0
    if facts["hsts"]["state"] in ("absent", "invalid", "disabled", "unknown"):
        found.append(("hsts_min_age", facts["hsts"]["problem"]))
    elif age < wanted["hsts_min_age"]:
        found.append(("hsts_min_age", f"HSTS lasts {age} s, {wanted['hsts_min_age']} are wanted"))
    for problem, on in (
        ("compression", facts["compression"]),
        ("heartbleed", facts["heartbleed"]),
        ("openssl_ccs", facts["ccs"]),
        ("robot", facts["robot"]),
    ):
        if on:
            found.append((problem, f"{problem}: vulnerable"))
    notes = [f"{name} is not offered" for name in wanted["tls_curves"] if name not in groups]
    if facts["preference"] == "server":
        notes.append("the server prefers its own order of suites, the guideline leaves it to the client")
    return {
        "compliant": not found,
        "violations": [{"rule": rule, "observed": observed} for rule, observed in found],
        "notes": notes,
    }
