"""Real TLS servers of every quality, and the grade that SSL Labs' guide 2009r gives each.

The expected grade and caps of every server are derived from the guide by hand; ``why`` says how. The bank needs the
programs in tls_servers.missing_programs, and sslyze: as the scanner, and as the bringer of an OpenSSL that still speaks what newer ones
cannot (old_openssl.py).
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_grade, _tls_sslyze
from tls_pki import NAME, Pki
from tls_servers import GROUPS, INTERMEDIATE, TWO_YEARS, Bank, Spec, missing_programs

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Case:
    """A server and what the guide says of it."""

    name: str
    grade: str
    why: str
    spec: Spec
    caps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ignoring_trust: str = ""
    known_intermediate: bool = False
    scores: tuple[float, float, float] | None = None
    intermediate: bool | None = None
    modern: bool | None = None
    checks: dict = field(default_factory=dict)


def cases(pki: Pki) -> list[Case]:
    ec = [pki.leaf("ec")]
    rsa = [pki.leaf("rsa", "rsa:2048")]
    weak = f"{INTERMEDIATE}:@SECLEVEL=0"
    old12 = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA:AES128-SHA"
    old_off = ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"]

    def dh(bits: int) -> str:
        path = pki.folder / f"dh{bits}.pem"
        if not path.exists():
            # -dsaparam makes them in no time; for a handshake they are as good as any.
            subprocess.run(
                ["openssl", "dhparam", "-dsaparam", "-out", path, str(bits)], check=True, capture_output=True
            )
        return str(path)

    return [
        # --- as it should be ---
        Case(
            "intermediate-ecdsa",
            "A+",
            "TLS 1.2 and 1.3, AEAD and forward secrecy, P-256, HSTS of two years",
            Spec("nginx", ec),
            scores=(100, 90, 90),
            intermediate=True,
            modern=False,
        ),
        Case(
            "intermediate-rsa",
            "A+",
            "RSA 2048 scores 90 for key exchange like P-256, total 93",
            Spec("nginx", rsa),
            scores=(100, 90, 90),
            intermediate=True,
        ),
        Case(
            "dual",
            "A+",
            "two certificates, both of them good",
            Spec("nginx", [*ec, *rsa]),
            intermediate=True,
            checks={"certificates": 2},
        ),
        Case(
            "modern",
            "A+",
            "TLS 1.3 alone: since 2009r the missing fallback protection costs nothing",
            Spec("nginx", ec, protocols="TLSv1.3"),
            scores=(100, 90, 90),
            intermediate=True,
            modern=True,
        ),
        Case(
            "rsa-4096",
            "A+",
            "the certificate's 4096 bits score 100, but X25519 counts as RSA 3072: 90",
            Spec("nginx", [pki.leaf("rsa4096", "rsa:4096")]),
            scores=(100, 90, 90),
        ),
        Case(
            "all-hundred",
            "A+",
            "P-384 for key and group (as RSA 7680), 256-bit suites only: 100 in all",
            Spec(
                "nginx",
                [pki.leaf("p384", "ec:384")],
                protocols="TLSv1.2 TLSv1.3",
                groups="secp384r1",
                ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305",
                extra={"ssl_conf_command": "Ciphersuites TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"},
            ),
            scores=(100, 100, 100),
        ),
        Case(
            "ed25519",
            "A+",
            "128 bits of security, as P-256; no type that the guideline knows",
            Spec("nginx", [pki.leaf("ed", "ed25519")]),
            intermediate=False,
        ),
        Case(
            "wildcard",
            "A+",
            "*.example.test covers one label",
            Spec("nginx", [pki.leaf("wild", names=("*.example.test",))]),
        ),
        Case(
            "intermediate-ca",
            "A+",
            "a chain with its intermediate",
            Spec("nginx", [pki.leaf("chained", issuer=pki.intermediate, chain=(pki.intermediate,))]),
            checks={"chain": 2},
        ),
        Case(
            "extra-chain",
            "A+",
            "the root and a stranger's certificate are sent along: wasteful, and no cap",
            Spec(
                "nginx", [pki.leaf("extra", issuer=pki.intermediate, chain=(pki.intermediate, pki.root, pki.stranger))]
            ),
        ),
        Case(
            "server-order",
            "A+",
            "whose order of suites counts is not graded",
            Spec("nginx", ec, extra={"ssl_prefer_server_ciphers": "on"}),
            checks={"preference": "server"},
        ),
        Case(
            "haproxy",
            "A+",
            "HAProxy as deployed",
            Spec("haproxy", [*ec, *rsa], extra={"strict_sni": True}),
            intermediate=True,
            checks={"sni": "refused (alert unrecognized_name)"},
        ),
        Case(
            "apache",
            "A+",
            "Apache as deployed",
            Spec("apache", ec, protocols="-all +TLSv1.2 +TLSv1.3"),
            intermediate=True,
        ),
        Case("caddy", "A+", "Caddy's own TLS defaults, with HSTS", Spec("caddy", ec), intermediate=True),
        # --- HSTS ---
        Case(
            "no-hsts",
            "A",
            "no A+ without HSTS (2009e)",
            Spec("nginx", ec, hsts=[]),
            caps=("hsts-missing",),
            intermediate=False,
        ),
        Case("caddy-no-hsts", "A", "Caddy sends no HSTS by itself", Spec("caddy", ec, hsts=[]), caps=("hsts-missing",)),
        Case(
            "hsts-half-a-year",
            "A+",
            "180 days are the least that A+ asks for; Mozilla wants two years",
            Spec("nginx", ec, hsts=["max-age=15552000"]),
            intermediate=False,
        ),
        Case(
            "hsts-short",
            "A",
            "a day less than 180 (2009e)",
            Spec("nginx", ec, hsts=["max-age=15465600"]),
            caps=("hsts-short",),
        ),
        Case(
            "hsts-zero",
            "A-",
            "max-age=0 switches it off (2009r)",
            Spec("nginx", ec, hsts=["max-age=0"]),
            warnings=("hsts-invalid",),
        ),
        Case(
            "hsts-malformed",
            "A-",
            "no max-age (2009r)",
            Spec("nginx", ec, hsts=["includeSubDomains"]),
            warnings=("hsts-invalid",),
        ),
        Case(
            "hsts-twice-in-one",
            "A-",
            "a directive twice is invalid (RFC 6797 6.1)",
            Spec("nginx", ec, hsts=["max-age=63072000; max-age=1"]),
            warnings=("hsts-invalid",),
        ),
        Case(
            "hsts-two-headers",
            "A+",
            "only the first header counts (RFC 6797 8.1)",
            Spec("nginx", ec, hsts=[TWO_YEARS, "max-age=0"]),
        ),
        # --- protocols ---
        Case(
            "tls12-only",
            "A-",
            "no TLS 1.3 (2009r)",
            Spec("nginx", ec, protocols="TLSv1.2"),
            warnings=("no-tls13",),
            intermediate=False,
        ),
        Case(
            "tls10-to-13",
            "B",
            "TLS 1.0 and 1.1 (2009q)",
            Spec("nginx", rsa, protocols="TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", ciphers=weak + ":ECDHE-RSA-AES128-SHA"),
            caps=("old-tls",),
            scores=(95, 90, 90),
            intermediate=False,
        ),
        Case(
            "tls11-only",
            "C",
            "no TLS 1.2 (2009j), and so no AEAD (2009p)",
            Spec("nginx", rsa, protocols="TLSv1.1", ciphers="ECDHE-RSA-AES128-SHA:@SECLEVEL=0"),
            caps=("no-tls12", "old-tls", "no-aead"),
            warnings=("no-tls13",),
        ),
        Case(
            "sslv3-cbc",
            "C",
            "POODLE (2009g), and SSLv3 at all (2009h)",
            Spec("old", rsa, ciphers=old12, extra={"off": ["SSLv2"]}),
            caps=("poodle", "sslv3", "old-tls"),
            warnings=("no-tls13",),
        ),
        Case(
            "sslv3-only",
            "F",
            "SSLv3 is the best protocol (2009i)",
            Spec("old", rsa, ciphers="AES128-SHA", extra={"off": ["SSLv2", "TLSv1.0", "TLSv1.1", "TLSv1.2"]}),
            caps=("only-sslv3", "poodle", "sslv3", "no-tls12", "no-forward-secrecy", "no-aead", "hsts-missing"),
            warnings=("no-tls13",),
        ),
        Case(
            "sslv2",
            "F",
            "SSLv2 beside TLS 1.2 (2009c); the mean of 0 and 100 scores 50",
            Spec(
                "old",
                rsa,
                ciphers="ECDHE-RSA-AES128-GCM-SHA256:DES-CBC3-MD5",
                extra={"off": ["SSLv3", "TLSv1.0", "TLSv1.1"]},
            ),
            caps=("sslv2",),
            scores=(50, 90, 80),
            warnings=("no-tls13",),
        ),
        # --- suites ---
        Case(
            "no-forward-secrecy",
            "B",
            "RSA key exchange alone (2009p)",
            Spec("nginx", rsa, protocols="TLSv1.2", ciphers="AES128-GCM-SHA256"),
            caps=("no-forward-secrecy",),
            warnings=("no-tls13",),
        ),
        Case(
            "no-aead",
            "B",
            "CBC alone (2009p)",
            Spec("nginx", rsa, protocols="TLSv1.2", ciphers="ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA"),
            caps=("no-aead",),
            warnings=("no-tls13",),
        ),
        Case(
            "cbc-too",
            "A+",
            "suites without AEAD or forward secrecy are fine while no client of today gets them (2009p)",
            Spec("nginx", rsa, ciphers=INTERMEDIATE + ":ECDHE-RSA-AES128-SHA:AES128-SHA"),
            intermediate=False,
        ),
        Case(
            "null",
            "F",
            "a suite without encryption (2009l); the mean of 256 and 0 bits scores 50",
            Spec("nginx", rsa, ciphers=INTERMEDIATE + ":NULL-SHA256:@SECLEVEL=0"),
            caps=("null",),
            scores=(100, 90, 50),
        ),
        Case(
            "export",
            "F",
            "RSA of 512 bits and DES of 40 (2009l): key exchange scores 40, the mean of 128 and 40 bits 50; and DES has blocks of 64 bits (2009o)",
            Spec(
                "old",
                rsa,
                ciphers="ECDHE-RSA-AES128-GCM-SHA256:EXP-DES-CBC-SHA",
                extra={"off": old_off, "export": True},
            ),
            caps=("export", "sweet32"),
            warnings=("no-tls13",),
            scores=(100, 40, 50),
        ),
        Case(
            "anonymous",
            "F",
            "anonymous key exchange scores 0, and a zero makes the total zero",
            Spec(
                "nginx",
                rsa,
                ciphers=INTERMEDIATE + ":ADH-AES128-GCM-SHA256:@SECLEVEL=0",
                extra={"ssl_dhparam": dh(2048)},
            ),
            caps=("anonymous",),
        ),
        Case(
            "3des",
            "C",
            "64-bit blocks with TLS 1.1 and newer (2009o)",
            Spec("gnutls", rsa, ciphers="NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3:+3DES-CBC"),
            caps=("sweet32", "hsts-missing"),
        ),
        Case(
            "rc4",
            "C",
            "RC4 with TLS 1.1 and newer (2009j), RC4 at all (2009i)",
            Spec("gnutls", rsa, ciphers="NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3:+ARCFOUR-128"),
            caps=("rc4-modern", "rc4", "hsts-missing"),
        ),
        Case(
            "only-rc4",
            "F",
            "nothing but RC4 (2009k)",
            Spec("gnutls", rsa, ciphers="NONE:+VERS-TLS1.2:+ARCFOUR-128:+SHA1:+RSA:+COMP-ALL:+SIGN-ALL:+CTYPE-ALL"),
            caps=("only-rc4", "rc4-modern", "rc4", "no-forward-secrecy", "no-aead", "hsts-missing"),
            warnings=("no-tls13",),
        ),
        Case(
            "dh-1024",
            "B",
            "DH parameters below 2048 bits (2009j); the guideline has no DHE at all",
            Spec(
                "nginx",
                rsa,
                ciphers=INTERMEDIATE + ":DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0",
                extra={"ssl_dhparam": dh(1024)},
            ),
            caps=("dh-below-2048",),
            scores=(100, 80, 90),
            intermediate=False,
        ),
        Case(
            "dh-2048",
            "A+",
            "DH of 2048 bits is as good as RSA of 2048; the guideline has no DHE at all",
            Spec("nginx", rsa, ciphers=INTERMEDIATE + ":DHE-RSA-AES128-GCM-SHA256", extra={"ssl_dhparam": dh(2048)}),
            intermediate=False,
        ),
        Case(
            "dh-768",
            "F",
            "DH parameters below 1024 bits (2009j)",
            Spec(
                "old",
                rsa,
                ciphers="ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-SHA",
                extra={"off": old_off, "dh": dh(768)},
            ),
            caps=("dh-below-1024",),
            warnings=("no-tls13",),
        ),
        # --- keys and certificates ---
        Case(
            "rsa-1024",
            "B",
            "a key below 2048 bits (2009e)",
            Spec("nginx", [pki.leaf("rsa1024", "rsa:1024")], ciphers=weak),
            caps=("key-below-2048",),
            scores=(100, 80, 90),
            intermediate=False,
        ),
        Case(
            "self-signed",
            "T",
            "signed by itself",
            Spec("nginx", [pki.leaf("selfsigned", self_signed=True)]),
            caps=("trust",),
            ignoring_trust="A+",
            intermediate=False,
        ),
        Case(
            "unknown-root",
            "T",
            "a root that nobody knows",
            Spec("nginx", [pki.leaf("stranger", issuer=pki.stranger)]),
            caps=("trust",),
            ignoring_trust="A+",
        ),
        Case(
            "expired",
            "T",
            "ended ten days ago",
            Spec("nginx", [pki.leaf("expired", starts=-100)]),
            caps=("trust",),
            ignoring_trust="A+",
        ),
        Case(
            "not-yet-valid",
            "T",
            "begins in ten days",
            Spec("nginx", [pki.leaf("future", starts=10)]),
            caps=("trust",),
            ignoring_trust="A+",
        ),
        Case(
            "sha1-leaf",
            "T",
            "signed with SHA-1 (2009o)",
            Spec("nginx", [pki.leaf("sha1", "rsa:2048", issuer=pki.old_root, digest="sha1")], ciphers=weak),
            caps=("sha1-chain",),
            ignoring_trust="A+",
        ),
        Case(
            "sha1-intermediate",
            "T",
            "an intermediate signed with SHA-1 (2009o)",
            Spec(
                "nginx",
                [pki.leaf("sha1i", "rsa:2048", issuer=pki.sha1_intermediate, chain=(pki.sha1_intermediate,))],
                ciphers=weak,
            ),
            caps=("sha1-chain",),
            ignoring_trust="A+",
        ),
        Case(
            "wrong-name",
            "M",
            "for another name",
            Spec("nginx", [pki.leaf("other", names=("other.example.test",))]),
            caps=("name",),
            ignoring_trust="A+",
        ),
        Case(
            "wildcard-too-deep",
            "M",
            "*.test is no wildcard of two labels",
            Spec("nginx", [pki.leaf("deep", names=("*.test",))]),
            caps=("name",),
            ignoring_trust="A+",
        ),
        Case(
            "expired-and-wrong-name",
            "T",
            "what is not trusted is T, whatever its name",
            Spec("nginx", [pki.leaf("both", names=("other.example.test",), starts=-100)]),
            caps=("trust", "name"),
            ignoring_trust="A+",
        ),
        Case(
            "incomplete-chain",
            "B",
            "the intermediate is not served, but clients know it (2009i)",
            Spec("nginx", [pki.leaf("incomplete", issuer=pki.intermediate)]),
            caps=("incomplete-chain",),
            known_intermediate=True,
        ),
        Case(
            "lost-chain",
            "T",
            "the intermediate is not served and nobody knows it",
            Spec("nginx", [pki.leaf("lost", issuer=pki.intermediate)]),
            caps=("trust",),
            ignoring_trust="A+",
        ),
        Case(
            "five-years",
            "A+",
            "the guide has no rule for lifetimes, Mozilla's guideline has",
            Spec("nginx", [pki.leaf("long", days=1825)]),
            intermediate=False,
        ),
        # --- the rest ---
        Case(
            "compression",
            "C",
            "CRIME (2009j)",
            Spec("old", rsa, ciphers="ECDHE-RSA-AES128-GCM-SHA256", extra={"off": old_off, "compression": True}),
            caps=("crime",),
            warnings=("no-tls13",),
        ),
        Case(
            "insecure-renegotiation",
            "F",
            "RFC 5746 is missing, and a client may renegotiate all the same (2009c)",
            Spec("gnutls", rsa, ciphers="NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3:%DISABLE_SAFE_RENEGOTIATION"),
            caps=("insecure-renegotiation", "hsts-missing"),
        ),
        Case(
            "no-secure-renegotiation",
            "A-",
            "RFC 5746 is missing, and nobody may renegotiate (2009e)",
            Spec(
                "old",
                rsa,
                ciphers="ECDHE-RSA-AES128-GCM-SHA256",
                extra={"off": old_off, "no_renegotiation_info": True},
            ),
            warnings=("no-secure-renegotiation", "no-tls13"),
        ),
        Case(
            "openssl-defaults",
            "A",
            "s_server's own defaults: all but HSTS",
            Spec("openssl", ec),
            caps=("hsts-missing",),
        ),
        Case(
            "openssl-tls13",
            "A",
            "s_server with TLS 1.3 alone",
            Spec("openssl", rsa, extra={"argv": ["-tls1_3"]}),
            caps=("hsts-missing",),
        ),
    ]


class Graded:
    """Grades each server once, two at a time, when a test first asks for one."""

    def __init__(self, bank: Bank, listed: list[Case], pki: Pki, scanner: str) -> None:
        self.cases = {case.name: case for case in listed}
        self._pool = ThreadPoolExecutor(2)
        self._results: dict[str, Future] = {}
        for case in listed:
            trusted = (pki.roots_and_known if case.known_intermediate else pki.roots).read_text()
            self._results[case.name] = self._pool.submit(
                _tls_grade.grade,
                "127.0.0.1",
                bank.ports[case.name],
                NAME,
                trusted,
                180,
                scanner,
                "/usr/bin/openssl",
                None,
            )

    def get(self, name: str) -> tuple[Case, dict]:
        return self.cases[name], self._results[name].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def scanner() -> str:
    given = os.environ.get("JELLYNET_SSLYZE") or str(ROOT / ".cache" / "sslyze" / "bin" / "sslyze")
    return _tls_sslyze.find(given if os.path.exists(given) else "")


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory, scanner: str):
    missing = missing_programs()
    assert not missing, (
        f"the bank needs {', '.join(missing)}: apt-get install nginx-light apache2 haproxy caddy gnutls-bin openssl"
    )
    os.environ["PATH"] += ":/usr/sbin"
    python = Path(scanner).resolve().parent / "python"
    assert python.exists(), (
        f"the bank's oldest servers run in the scanner's environment, and {python} is not there: tests/verify/prepare"
    )
    folder = tmp_path_factory.mktemp("bank")
    pki = Pki(folder)
    listed = cases(pki)
    bank = Bank(folder)
    try:
        bank.start({case.name: case.spec for case in listed}, python)
        results = Graded(bank, listed, pki, scanner)
        yield results
        results.close()
    finally:
        bank.stop()


def _names() -> list[str]:
    """The cases' names, read off the source: making the certificates is left to the fixture."""
    return re.findall(r'\bCase\(\s*"([^"]+)"', Path(__file__).read_text(), re.MULTILINE)


NAMES = _names()


def test_the_bank_is_large_enough(graded: Graded) -> None:
    assert sorted(graded.cases) == sorted(NAMES)
    assert len(NAMES) >= 30
    assert {case.spec.kind for case in graded.cases.values()} >= {"openssl", "nginx", "haproxy", "apache", "caddy"}


@pytest.mark.parametrize("name", NAMES)
def test_grade(graded: Graded, name: str) -> None:
    case, seen = graded.get(name)
    assert seen["grade"] == case.grade, (
        f"{case.why}; caps {seen['caps']}, warnings {seen['warnings']}, {seen['scores']}"
    )
    assert {item["rule"] for item in seen["caps"]} == set(case.caps), case.why
    assert {item["rule"] for item in seen["grade_warnings"]} == set(case.warnings), case.why
    assert seen["grade_ignoring_trust"] == (case.ignoring_trust or case.grade)
    assert all(
        item["observed"] and item["revision"].startswith("2009") for item in seen["caps"] + seen["grade_warnings"]
    )
    if case.scores:
        points = seen["scores"]
        assert (points["protocol"], points["key_exchange"], points["cipher_strength"]) == case.scores
    if case.intermediate is not None:
        assert seen["mozilla"]["intermediate"]["compliant"] is case.intermediate, seen["mozilla"]["intermediate"]
    if case.modern is not None:
        assert seen["mozilla"]["modern"]["compliant"] is case.modern, seen["mozilla"]["modern"]
    if "certificates" in case.checks:
        assert len(seen["certificates"]) == case.checks["certificates"]
    if "chain" in case.checks:
        assert [len(item["chain"]) for item in seen["certificates"]] == [case.checks["chain"]]
    if "preference" in case.checks:
        assert seen["preference"] == case.checks["preference"]
    if "sni" in case.checks:
        assert seen["sni"] == {"unknown": case.checks["sni"], "absent": case.checks["sni"]}


def test_groups_and_http_versions(graded: Graded) -> None:
    _case, seen = graded.get("intermediate-ecdsa")
    assert [group["name"] for group in seen["groups"]] == ["X25519", "secp256r1", "secp384r1"]
    assert [group["name"] for group in seen["groups"] if group["preferred"]] == ["X25519"]
    assert seen["alpn"] == ["h2", "http/1.1"]
    assert seen["sni"] == {"unknown": "answered", "absent": "answered"}
    assert GROUPS.startswith("X25519")


def test_certificates_as_they_are_served(graded: Graded) -> None:
    _case, dual = graded.get("dual")
    keys = {(item["key"]["algorithm"], item["key"]["bits"], item["key"]["curve"]) for item in dual["certificates"]}
    assert keys == {("EC", 256, "secp256r1"), ("RSA", 2048, "")}
    for item in dual["certificates"]:
        assert item["names"] == [NAME] and item["name_matches"]
        assert item["lifetime_days"] == 90 and item["not_before"] < item["not_after"]
        assert item["signature"] == {"name": "ecdsa-with-SHA256", "hash": "sha256"}
        assert (item["untrusted"], item["missing"], item["sent_anchor"]) == ("", "", False)
    _case, ed = graded.get("ed25519")
    assert ed["certificates"][0]["key"]["algorithm"] == "Ed25519"
    _case, extra = graded.get("extra-chain")
    assert len(extra["certificates"][0]["chain"]) == 4 and extra["certificates"][0]["sent_anchor"]
    _case, incomplete = graded.get("incomplete-chain")
    assert incomplete["certificates"][0]["missing"] == "the certificate of CN=bank intermediate"
    assert incomplete["certificates"][0]["untrusted"] == ""
    _case, lost = graded.get("lost-chain")
    assert lost["certificates"][0]["untrusted"].startswith("it leads to no root that is trusted")


def test_suites_stand_in_the_servers_order(graded: Graded) -> None:
    _case, seen = graded.get("server-order")
    assert [suite["name"] for suite in seen["suites"]["TLSv1.2"]] == [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ]
    _case, clients = graded.get("intermediate-ecdsa")
    assert clients["preference"] == "client"
