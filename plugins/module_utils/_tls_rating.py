# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSL Labs' Server Rating Guide, version 2009r of 16 May 2025, as a table to hold against it.

Below stand, in the guide's order: the letters, the three scores and their weights, and every rule of the change log that is still in
force, each with the revision that brought it and a function that finds what breaks it (words, or '' where nothing does).
What later revisions took back is left out: BEAST (2009c, dropped by 2009d), the RC4 and forward-secrecy warnings of 2009e (caps since 2009j
and 2009p), TLS_FALLBACK_SCSV (2009h, dropped by 2009r), and the caps that a later, lower one replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

GUIDE = "SSL Labs Server Rating Guide 2009r (2025-05-16)"

if TYPE_CHECKING:
    Facts = dict[str, Any]

# --- Letter by total score. ---
LETTERS = ((80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F"))
# From best to worst. T and M stand outside: there the letter says nothing, because the server cannot be identified.
ORDER = ("A+", "A", "A-", "B", "C", "D", "E", "F")

# --- Weights of the three categories; a zero in any of them makes the total zero. ---
WEIGHTS = {"protocol": 30, "key_exchange": 30, "cipher_strength": 40}

# --- Protocol support: the mean of the best and the worst protocol. ---
PROTOCOLS = {"SSLv2": 0, "SSLv3": 80, "TLSv1.0": 90, "TLSv1.1": 95, "TLSv1.2": 100, "TLSv1.3": 100}

# --- Key or DH parameter strength in bits of RSA; the weakest one counts. Anonymous exchange: 0. Exportable: 40. ---
KEY_EXCHANGE = ((4096, 100), (2048, 90), (1024, 80), (512, 40), (0, 20))
ANONYMOUS_SCORE, EXPORT_SCORE = 0, 40
# Elliptic curves by the RSA key of equal strength (NIST SP 800-57 part 1, table 2): security bits, RSA bits.
RSA_EQUIVALENT = ((256, 15360), (192, 7680), (128, 3072), (112, 2048), (80, 1024), (0, 512))

# --- Cipher strength in bits: the mean of the strongest and the weakest suite. ---
CIPHERS = ((256, 100), (128, 80), (1, 20), (0, 0))

# --- A+ asks for HSTS of at least six months. ---
HSTS_MIN_AGE = 180 * 86400

WARNING = "A-"


class Rule(NamedTuple):
    """``effect``: the best grade that is left (a cap), WARNING for a warning, or T and M."""

    name: str
    revision: str
    effect: str
    text: str
    observe: Callable[[Facts], str]


def _suites(facts: Facts, which: Callable[[dict[str, Any]], bool], *versions: str) -> str:
    """The names of the suites that ``which`` is true of, with their protocols."""
    found: dict[str, Any] = {}
    for version, suites in facts["suites"].items():
        for suite in suites:
            if which(suite) and (not versions or version in versions):
                found.setdefault(suite["name"], []).append(version)
    if not found:
        return ""
    names = sorted(found)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"{name} ({', '.join(found[name])})" for name in names[:3]) + more


def _supported(facts: Facts, *versions: str) -> str:
    found = [version for version in versions if facts["protocols"].get(version)]
    return f"{' and '.join(found)} offered" if found else ""


def _all_rc4(facts: Facts) -> bool:
    suites = [suite for listed in facts["suites"].values() for suite in listed]
    return bool(suites) and all(suite["rc4"] for suite in suites)


def _keys(facts: Facts, below: int, at_least: int = 0) -> str:
    found = [
        f"{item['key']['algorithm']} key of {item['key']['bits']} bits"
        for item in facts["certificates"]
        if at_least <= rsa_equivalent(item["key"]["algorithm"], item["key"]["bits"]) < below
    ]
    return ", ".join(sorted(set(found)))


def _dh(facts: Facts, below: int, at_least: int = 0) -> str:
    found = {
        suite["ephemeral"]["bits"]
        for suites in facts["suites"].values()
        for suite in suites
        if (suite.get("ephemeral") or {}).get("type") == "DH" and at_least <= suite["ephemeral"]["bits"] < below
    }
    return f"DH parameters of {min(found)} bits" if found else ""


def _signed_with(facts: Facts, *hashes: str) -> str:
    found = [
        f"{certificate['subject']} signed with {certificate['signature']['hash'].upper()}"
        for item in facts["certificates"]
        for certificate in item["chain"]
        if certificate["signature"]["hash"] in hashes and not certificate["self_signed"]
    ]
    return ", ".join(sorted(set(found)))


def _distrust(facts: Facts) -> str:
    return "; ".join(sorted({item["untrusted"] for item in facts["certificates"] if item["untrusted"]}))


def _mismatch(facts: Facts) -> str:
    wrong = [item for item in facts["certificates"] if not item["name_matches"]]
    return f"{facts['server_name']} is not among {', '.join(wrong[0]['names']) or 'no names at all'}" if wrong else ""


def _incomplete(facts: Facts) -> str:
    return "; ".join(sorted({f"{item['missing']} is not served" for item in facts["certificates"] if item["missing"]}))


def _lacking(facts: Facts, what: str) -> str:
    """Whether no suite has it, or browsers of today end up with one that has it not."""
    suites = [suite for listed in facts["suites"].values() for suite in listed]
    if suites and not any(suite[what] for suite in suites):
        return "no suite has it"
    bad = [choice for choice in facts["choices"] if choice.get("suite") and not choice[what]]
    return f"{bad[0]['client']} gets {bad[0]['suite']}" if bad else ""


def _hsts(facts: Facts, *states: str) -> str:
    return facts["hsts"]["problem"] if facts["hsts"]["state"] in states else ""


def rsa_equivalent(algorithm: str, bits: int) -> int:
    """The strength of a key as bits of RSA. X25519 and its like count by their field: 253 or 255 bits are as good as 256."""
    if algorithm in ("RSA", "DSA", "DH"):
        return bits
    security = 128 if 250 <= bits < 384 else bits // 2
    return next(rsa for level, rsa in RSA_EQUIVALENT if security >= level)


# fmt: off
RULES = (
    # --- Not identified: the letter is replaced. ---
    Rule("trust", "2009", "T", "The certificate is not trusted.", _distrust),
    Rule("sha1-chain", "2009o", "T", "The chain is signed with SHA-1, which browsers no longer accept.", lambda f: _signed_with(f, "sha1")),
    Rule("symantec", "2009p", "T", "The certificate is of Symantec's distrusted roots.", lambda f: "an anchor of Symantec" if f["symantec"] else ""),
    Rule("name", "2009", "M", "The certificate is for another name.", _mismatch),
    # --- Grade F. ---
    Rule("sslv2", "2009c", "F", "SSL 2.0 is supported (and DROWN with it).", lambda f: _supported(f, "SSLv2")),
    Rule("insecure-renegotiation", "2009c", "F", "Insecure renegotiation is supported.",
         lambda f: "a client may renegotiate without RFC 5746" if f["insecure_renegotiation"] else ""),
    Rule("key-below-1024", "2009e", "F", "The key is shorter than 1024 bits.", lambda f: _keys(f, 1024)),
    Rule("md5-signature", "2009e", "F", "The certificate is signed with MD5 or MD2.", lambda f: _signed_with(f, "md5", "md2")),
    Rule("rsa-exponent", "2009e", "F", "The RSA key's exponent is 1.",
         lambda f: "exponent 1" if any(item["key"].get("exponent") == 1 for item in f["certificates"]) else ""),
    Rule("heartbleed", "2009g", "F", "CVE-2014-0160, Heartbleed.", lambda f: "vulnerable" if f["heartbleed"] else ""),
    Rule("ccs", "2009g", "F", "CVE-2014-0224, OpenSSL CCS injection.", lambda f: "vulnerable" if f["ccs"] else ""),
    Rule("only-sslv3", "2009i", "F", "SSL 3.0 is the best protocol.",
         lambda f: "nothing newer than SSLv3" if not any(f["protocols"].get(v) for v in ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")) else ""),
    Rule("dh-below-1024", "2009j", "F", "DH parameters are shorter than 1024 bits (Logjam).", lambda f: _dh(f, 1024)),
    Rule("only-rc4", "2009k", "F", "Only RC4 is supported.", lambda f: "every suite is RC4" if _all_rc4(f) else ""),
    Rule("export", "2009l", "F", "Export suites are supported (FREAK, Logjam).", lambda f: _suites(f, lambda s: s["export"])),
    Rule("anonymous", "2009l", "F", "Suites without authentication are supported.", lambda f: _suites(f, lambda s: s["anonymous"])),
    Rule("null", "2009l", "F", "Suites without encryption are supported.", lambda f: _suites(f, lambda s: s["null"])),
    Rule("weak-suite", "2009l", "F", "Suites of less than 112 bits are supported.",
         lambda f: _suites(f, lambda s: 0 < s["bits"] < 112 and not s["export"])),
    Rule("robot", "2009p", "F", "ROBOT, an oracle for RSA decryption.", lambda f: f["robot"]),
    # --- Capped at C. ---
    Rule("poodle", "2009g", "C", "POODLE: SSL 3.0 with CBC.", lambda f: _suites(f, lambda s: s["cbc"], "SSLv3")),
    Rule("crime", "2009j", "C", "TLS compression is supported (CRIME).", lambda f: "compression offered" if f["compression"] else ""),
    Rule("rc4-modern", "2009j", "C", "RC4 with TLS 1.1 and newer.", lambda f: _suites(f, lambda s: s["rc4"], "TLSv1.1", "TLSv1.2")),
    Rule("no-tls12", "2009j", "C", "TLS 1.2 is not supported.",
         lambda f: "" if f["protocols"].get("TLSv1.2") or f["protocols"].get("TLSv1.3") else "nothing newer than TLS 1.1"),
    Rule("sweet32", "2009o", "C", "64-bit block ciphers with TLS 1.1 and newer (SWEET32).",
         lambda f: _suites(f, lambda s: s["block64"], "TLSv1.1", "TLSv1.2")),
    # --- Capped at B. ---
    Rule("key-below-2048", "2009e", "B", "The key is shorter than 2048 bits.", lambda f: _keys(f, 2048, 1024)),
    Rule("sslv3", "2009h", "B", "SSL 3.0 is supported.", lambda f: _supported(f, "SSLv3")),
    Rule("rc4", "2009i", "B", "RC4 is supported.", lambda f: _suites(f, lambda s: s["rc4"])),
    Rule("incomplete-chain", "2009i", "B", "The served chain is incomplete.", _incomplete),
    Rule("dh-below-2048", "2009j", "B", "DH parameters are shorter than 2048 bits.", lambda f: _dh(f, 2048, 1024)),
    Rule("no-forward-secrecy", "2009p", "B", "No forward secrecy with browsers of today.", lambda f: _lacking(f, "forward_secrecy")),
    Rule("no-aead", "2009p", "B", "No authenticated encryption (AEAD) with browsers of today.", lambda f: _lacking(f, "aead")),
    Rule("old-tls", "2009q", "B", "TLS 1.0 or TLS 1.1 is supported.", lambda f: _supported(f, "TLSv1.0", "TLSv1.1")),
    # --- Warnings: A- at best. ---
    Rule("no-secure-renegotiation", "2009e", WARNING, "Secure renegotiation is not supported.",
         lambda f: "RFC 5746 is not supported" if f["secure_renegotiation"] is False and not f["insecure_renegotiation"] else ""),
    Rule("no-tls13", "2009r", WARNING, "TLS 1.3 is not supported.", lambda f: "" if f["protocols"].get("TLSv1.3") else "TLS 1.3 is not offered"),
    Rule("hsts-invalid", "2009r", WARNING, "HSTS is disabled or invalid.", lambda f: _hsts(f, "disabled", "invalid")),
    # --- No A+. ---
    Rule("hsts-missing", "2009e", "A", "A+ needs HSTS.", lambda f: _hsts(f, "absent", "unknown")),
    Rule("hsts-short", "2009e", "A", "A+ needs HSTS of at least six months.", lambda f: _hsts(f, "short")),
)
# fmt: on

# Rules of the guide that are not checked here, and why: the report says so, so that nobody takes silence for health.
NOT_CHECKED = (
    ("poodle-tls", "2009g", "POODLE in TLS needs an oracle test against a padding bug of old appliances"),
    ("cve-2016-2107", "2009l", "the padding oracle of OpenSSL before 1.0.2h"),
    ("ticketbleed", "2009o", "a bug of one vendor's appliances"),
    ("cbc-oracles", "2009q", "GOLDENDOODLE, Zombie and Sleeping POODLE: bugs of a few vendors' CBC code"),
    ("revocation", "2009", "asking a CA for revocation needs the Internet, and public CAs have ended OCSP"),
    ("debian-weak-key", "2009", "needs the list of the weak keys of 2008"),
)
