"""The scorer against the guide: scores, letters, and each rule by the one fact that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_mozilla, _tls_rating, _tls_score
from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_suites import properties

GCM = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


def suite(name: str = GCM, strength: int = 128, version: str = "TLSv1.2", **ephemeral: Any) -> dict[str, Any]:
    key = {"type": "ECDH", "bits": 253, "group": "X25519", **ephemeral}
    return dict(properties(name, strength, version), ephemeral=key)


def certificate(**changes: Any) -> dict[str, Any]:
    one = {"subject": "CN=a", "self_signed": False, "signature": {"name": "ecdsa-with-SHA256", "hash": "sha256"}}
    found = {
        "key": {"algorithm": "EC", "bits": 256, "curve": "secp256r1", "exponent": None},
        "signature": one["signature"],
        "chain": [one],
        "untrusted": "",
        "missing": "",
        "name_matches": True,
        "names": ["a.test"],
        "lifetime_days": 90,
    }
    return {**found, **changes}


def facts(**changes: Any) -> dict[str, Any]:
    found = {
        "server_name": "a.test",
        "protocols": {name: name in ("TLSv1.2", "TLSv1.3") for name in _tls_rating.PROTOCOLS},
        "suites": {
            "TLSv1.2": [suite(), suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 256)],
            "TLSv1.3": [
                suite("TLS_AES_128_GCM_SHA256", 128, "TLSv1.3"),
                suite("TLS_AES_256_GCM_SHA384", 256, "TLSv1.3"),
            ],
        },
        "choices": [
            {"client": "a browser of today", "suite": "TLS_AES_128_GCM_SHA256", "forward_secrecy": True, "aead": True}
        ],
        "certificates": [certificate()],
        "groups": [
            {"name": name, "post_quantum": False, "preferred": False} for name in ("X25519", "secp256r1", "secp384r1")
        ],
        "hsts": {"state": "ok", "max_age": 63072000, "problem": ""},
        "preference": "client",
        "compression": False,
        "heartbleed": False,
        "ccs": False,
        "robot": "",
        "secure_renegotiation": True,
        "insecure_renegotiation": False,
        "symantec": False,
    }
    return {**found, **changes}


def with_protocols(*names: str) -> dict[str, Any]:
    return {"protocols": {name: name in names for name in _tls_rating.PROTOCOLS}}


def with_suite(added: dict[str, Any], version: str = "TLSv1.2") -> dict[str, Any]:
    listed = facts()["suites"]
    return {"suites": {**listed, version: [*listed.get(version, []), added]}}


def test_a_good_server() -> None:
    seen = _tls_score.grade(facts())
    assert (seen["grade"], seen["caps"], seen["grade_warnings"]) == ("A+", [], [])
    assert seen["scores"] == {"protocol": 100.0, "key_exchange": 90, "cipher_strength": 90.0, "total": 93.0}


@pytest.mark.parametrize(
    ("total", "letter"),
    [
        (100, "A"),
        (80, "A"),
        (79.9, "B"),
        (65, "B"),
        (64, "C"),
        (50, "C"),
        (49, "D"),
        (35, "D"),
        (34, "E"),
        (20, "E"),
        (19.9, "F"),
        (0, "F"),
    ],
)
def test_letters(total: float, letter: str) -> None:
    assert _tls_score.letter(total) == letter


@pytest.mark.parametrize(
    ("names", "score"),
    [
        (("TLSv1.2", "TLSv1.3"), 100),
        (("TLSv1.0", "TLSv1.2"), 95),
        (("TLSv1.1", "TLSv1.3"), 97.5),
        (("SSLv3", "TLSv1.2"), 90),
        (("SSLv2", "SSLv3"), 40),
        (("SSLv2",), 0),
    ],
)
def test_protocol_score(names: tuple[str, ...], score: float) -> None:
    assert _tls_score.protocol_score(names) == score


@pytest.mark.parametrize(
    ("algorithm", "bits", "rsa"),
    [
        ("RSA", 2048, 2048), ("RSA", 1024, 1024), ("DH", 1024, 1024), ("EC", 256, 3072), ("EC", 384, 7680), ("EC", 521, 15360),
        ("EC", 224, 2048), ("EC", 160, 1024), ("ECDH", 253, 3072), ("Ed25519", 256, 3072), ("DSA", 1024, 1024),
    ],
)  # fmt: skip
def test_rsa_equivalent(algorithm: str, bits: int, rsa: int) -> None:
    assert _tls_rating.rsa_equivalent(algorithm, bits) == rsa


@pytest.mark.parametrize(
    ("key", "score"),
    [
        (("RSA", 4096), 90),
        (("RSA", 2048), 90),
        (("RSA", 1536), 80),
        (("RSA", 1024), 80),
        (("RSA", 768), 40),
        (("RSA", 384), 20),
        (("EC", 384), 90),
    ],
)
def test_key_exchange_is_the_weakest(key: tuple[str, int], score: int) -> None:
    # X25519, as strong as RSA 3072, holds the two strongest keys at 90.
    given = facts(certificates=[certificate(key={"algorithm": key[0], "bits": key[1], "curve": "", "exponent": 65537})])
    assert _tls_score.key_exchange_score(given) == score


@pytest.mark.parametrize(
    ("bits", "score"), [([128, 256], 90), ([256], 100), ([128], 80), ([0, 256], 50), ([56, 256], 60), ([168, 256], 90)]
)
def test_cipher_score(bits: list[int], score: float) -> None:
    assert _tls_score.cipher_score(bits) == score


def key(algorithm: str, bits: int, exponent: int | None = 65537) -> dict[str, Any]:
    return {
        "certificates": [certificate(key={"algorithm": algorithm, "bits": bits, "curve": "", "exponent": exponent})]
    }


def signed(digest: str) -> dict[str, Any]:
    one = {"subject": "CN=a", "self_signed": False, "signature": {"name": digest, "hash": digest}}
    return {"certificates": [certificate(chain=[one], signature=one["signature"])]}


BREAKS = {
    "trust": ({"certificates": [certificate(untrusted="it is self-signed")]}, "T"),
    "sha1-chain": (signed("sha1"), "T"),
    "symantec": ({"symantec": True}, "T"),
    "name": ({"certificates": [certificate(name_matches=False)]}, "M"),
    "sslv2": (with_protocols("SSLv2", "TLSv1.2", "TLSv1.3"), "F"),
    "insecure-renegotiation": ({"secure_renegotiation": False, "insecure_renegotiation": True}, "F"),
    "key-below-1024": (key("RSA", 768), "F"),
    "md5-signature": (signed("md5"), "F"),
    "rsa-exponent": (key("RSA", 2048, 1), "F"),
    "heartbleed": ({"heartbleed": True}, "F"),
    "ccs": ({"ccs": True}, "F"),
    "dh-below-1024": (with_suite(suite("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 128, type="DH", bits=768)), "F"),
    "export": (with_suite(suite("TLS_RSA_EXPORT_WITH_RC2_CBC_40_MD5", 40), "TLSv1.0"), "F"),
    "anonymous": (with_suite(suite("TLS_ECDH_anon_WITH_AES_128_CBC_SHA")), "F"),
    "null": (with_suite(suite("TLS_RSA_WITH_NULL_SHA256", 128)), "F"),
    "weak-suite": (with_suite(suite("TLS_RSA_WITH_DES_CBC_SHA", 56), "TLSv1.0"), "F"),
    "robot": ({"robot": "a strong oracle"}, "F"),
    "crime": ({"compression": True}, "C"),
    "sweet32": (with_suite(suite("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", 168)), "C"),
    "key-below-2048": (key("RSA", 1024), "B"),
    "incomplete-chain": ({"certificates": [certificate(missing="the certificate of CN=b")]}, "B"),
    "dh-below-2048": (with_suite(suite("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 128, type="DH", bits=1024)), "B"),
    "no-forward-secrecy": ({"choices": [{"client": "x", "suite": "y", "forward_secrecy": False, "aead": True}]}, "B"),
    "no-aead": ({"choices": [{"client": "x", "suite": "y", "forward_secrecy": True, "aead": False}]}, "B"),
    "old-tls": (with_protocols("TLSv1.0", "TLSv1.2", "TLSv1.3"), "B"),
    "no-secure-renegotiation": ({"secure_renegotiation": False}, "A-"),
    "no-tls13": (with_protocols("TLSv1.2"), "A-"),
    "hsts-invalid": ({"hsts": {"state": "invalid", "max_age": None, "problem": "HSTS is malformed"}}, "A-"),
    "hsts-missing": ({"hsts": {"state": "absent", "max_age": None, "problem": "HSTS is not sent"}}, "A"),
    "hsts-short": ({"hsts": {"state": "short", "max_age": 86400, "problem": "HSTS lasts 1 day"}}, "A"),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_alone(rule: str) -> None:
    change, grade = BREAKS[rule]
    seen = _tls_score.grade(facts(**change))
    assert seen["grade"] == grade
    assert [item["rule"] for item in seen["caps"] + seen["grade_warnings"]] == [rule]


TOGETHER = {
    "only-sslv3": (
        {**with_protocols("SSLv3"), "suites": {"SSLv3": [suite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")]}},
        "F",
    ),
    "poodle": (
        {
            **with_protocols("SSLv3", "TLSv1.2", "TLSv1.3"),
            **with_suite(suite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"), "SSLv3"),
        },
        "C",
    ),
    "sslv3": (
        {**with_protocols("SSLv3", "TLSv1.2", "TLSv1.3"), **with_suite(suite("TLS_RSA_WITH_RC4_128_SHA"), "SSLv3")},
        "B",
    ),
    "only-rc4": ({"suites": {"TLSv1.2": [suite("TLS_RSA_WITH_RC4_128_SHA")]}}, "F"),
    "rc4-modern": (with_suite(suite("TLS_RSA_WITH_RC4_128_SHA")), "C"),
    "rc4": (with_suite(suite("TLS_RSA_WITH_RC4_128_SHA"), "TLSv1.0"), "B"),
    "no-tls12": (
        {**with_protocols("TLSv1.1"), "suites": {"TLSv1.1": [suite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")]}},
        "C",
    ),
}


@pytest.mark.parametrize("rule", TOGETHER)
def test_rules_that_bring_others_along(rule: str) -> None:
    change, grade = TOGETHER[rule]
    seen = _tls_score.grade(facts(**change))
    assert seen["grade"] == grade
    assert rule in [item["rule"] for item in seen["caps"]]


def test_every_rule_is_tested() -> None:
    assert {rule.name for rule in _tls_rating.RULES} == set(BREAKS) | set(TOGETHER)
    assert {rule.effect for rule in _tls_rating.RULES} <= {*_tls_rating.ORDER, "T", "M"}


def test_trust_goes_before_the_name_and_both_before_the_letter() -> None:
    bad = [certificate(untrusted="it has expired", name_matches=False)]
    seen = _tls_score.grade(facts(certificates=bad, **with_protocols("TLSv1.0", "TLSv1.2", "TLSv1.3")))
    assert (seen["grade"], seen["grade_ignoring_trust"]) == ("T", "B")


def test_sha1_of_a_root_is_nobodys_business() -> None:
    root = {"subject": "CN=root", "self_signed": True, "signature": {"name": "x", "hash": "sha1"}}
    assert _tls_score.grade(facts(certificates=[certificate(chain=[certificate()["chain"][0], root])]))["grade"] == "A+"


# --- Mozilla ---


def test_complies() -> None:
    assert _tls_mozilla.compare(facts(), "intermediate") == {
        "compliant": True,
        "violations": [],
        "notes": ["X25519MLKEM768 is not offered"],
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (with_protocols("TLSv1.1", "TLSv1.2", "TLSv1.3"), "tls_versions"),
        (with_protocols("TLSv1.2"), "tls_versions"),
        (with_suite(suite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")), "ciphers"),
        (with_suite(suite("TLS_AES_128_CCM_SHA256", 128, "TLSv1.3"), "TLSv1.3"), "ciphersuites"),
        ({"groups": [{"name": "X448"}]}, "tls_curves"),
        ({"certificates": [certificate(lifetime_days=367)]}, "maximum_certificate_lifespan"),
        ({"certificates": [certificate(key={"algorithm": "RSA", "bits": 1024, "curve": ""})]}, "rsa_key_size"),
        (
            {"certificates": [certificate(key={"algorithm": "EC", "bits": 521, "curve": "secp521r1"})]},
            "certificate_curves",
        ),
        ({"certificates": [certificate(key={"algorithm": "Ed25519", "bits": 256, "curve": ""})]}, "certificate_types"),
        (
            {"certificates": [certificate(signature={"name": "sha384WithRSAEncryption", "hash": "sha384"})]},
            "certificate_signatures",
        ),
        ({"certificates": [certificate(untrusted="no")]}, "trust"),
        ({"certificates": [certificate(name_matches=False)]}, "name"),
        ({"hsts": {"state": "ok", "max_age": 31536000, "problem": ""}}, "hsts_min_age"),
        ({"compression": True}, "compression"),
    ],
)
def test_violations(change: dict[str, Any], rule: str) -> None:
    verdict = _tls_mozilla.compare(facts(**change), "intermediate")
    assert [item["rule"] for item in verdict["violations"]] == [rule]
    assert not verdict["compliant"]


def test_modern_is_tls13_and_ecdsa_alone() -> None:
    modern = {**with_protocols("TLSv1.3"), "suites": {"TLSv1.3": facts()["suites"]["TLSv1.3"]}}
    assert _tls_mozilla.compare(facts(**modern), "modern")["compliant"]
    assert not _tls_mozilla.compare(facts(), "modern")["compliant"]
    rsa = certificate(key={"algorithm": "RSA", "bits": 4096, "curve": ""})
    assert not _tls_mozilla.compare(facts(**modern, certificates=[rsa]), "modern")["compliant"]
