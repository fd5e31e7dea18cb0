"""The openssl wrapper: what it reads, makes and verifies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _x509


@pytest.fixture(scope="module")
def key() -> str:
    return _x509.new_key("ecdsa")


@pytest.fixture(scope="module")
def pem(key: str) -> str:
    return _x509.self_signed(key, {"CN": "test, of a=b"}, _x509.server_extensions("media.example.org"), 90)


def test_reads_what_it_made(key: str, pem: str) -> None:
    said = _x509.read_certificate(pem)
    assert said.names == ["media.example.org"]
    assert (said.key_type, said.key_bits, said.is_ca, said.self_issued) == ("ecdsa", 256, False, True)
    assert said.public_key == _x509.public_key_of(key)
    assert said.not_after - said.not_before == timedelta(days=90)
    assert abs(_x509.utcnow() - said.not_before) < timedelta(minutes=5)
    assert said.subject == said.issuer and "test" in said.subject


def test_rsa_key() -> None:
    key = _x509.new_key("rsa")
    said = _x509.read_certificate(_x509.self_signed(key, {"CN": "x"}, _x509.server_extensions("a.example"), 1))
    assert (said.key_type, said.key_bits) == ("rsa", 2048)


def test_serial_is_as_python_prints_it(tmp_path, key: str, pem: str) -> None:
    import ssl

    path = tmp_path / "a.pem"
    path.write_text(pem)
    decoded = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    assert _x509.read_certificate(pem).serial == decoded["serialNumber"]


def test_signed_by_a_ca(key: str) -> None:
    ca_key = _x509.new_key("ecdsa")
    ca = _x509.self_signed(ca_key, {"CN": "ca"}, ["basicConstraints = critical, CA:TRUE"], 10)
    leaf = _x509.signed(key, {"CN": "leaf"}, _x509.server_extensions("a.example"), 5, ca, ca_key)
    other_key = _x509.new_key("ecdsa")
    other = _x509.self_signed(other_key, {"CN": "ca"}, ["basicConstraints = critical, CA:TRUE"], 10)
    assert _x509.issued_by(leaf, ca)
    assert not _x509.issued_by(leaf, other), "the same name does not make it the issuer"
    said = _x509.read_certificate(leaf)
    assert len(said.serial) == 32 and said.serial[0] == "4"
    assert said.names == ["a.example"] and not said.is_ca


def test_a_private_ca_is_not_public(key: str, pem: str) -> None:
    assert not _x509.publicly_trusted([pem], "media.example.org")


def test_public_means_the_system_store_whatever_the_environment_says(tmp_path, monkeypatch, pem: str) -> None:
    path = tmp_path / "mine.pem"
    path.write_text(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert not _x509.publicly_trusted([pem], "media.example.org")


@pytest.mark.parametrize(
    ("names", "domain", "covered"),
    [
        (["media.example.org"], "media.example.org", True),
        (["example.org"], "media.example.org", False),
        (["*.example.org"], "media.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "a.media.example.org", False),
        (["m*.example.org"], "media.example.org", False),
        (["*."], "media", False),
        ([], "media.example.org", False),
    ],
)
def test_names_cover(names: list[str], domain: str, covered: bool) -> None:
    assert _x509.covers(names, domain) is covered


@pytest.mark.parametrize(
    ("life", "left", "due"),
    [
        (90, 31, False),
        (90, 29, True),
        (6, 3.1, False),
        (6, 2.9, True),
        (90, -1, True),
        (180, 61, False),
        (180, 59, True),
    ],
)
def test_due(life: float, left: float, due: bool, pem: str) -> None:
    now = _x509.utcnow()
    said = _x509.read_certificate(pem)
    end = now + timedelta(days=left)
    from dataclasses import replace

    assert _x509.due(replace(said, not_after=end, not_before=end - timedelta(days=life)), now) is due


def test_split_keeps_order_and_drops_the_rest(key: str, pem: str) -> None:
    text = "some words\r\n" + key + pem.replace("\n", "\r\n") + "more\n" + pem
    assert _x509.split(text) == [pem, pem]


def test_private_key_forms(key: str) -> None:
    traditional = _x509.openssl(["pkey", "-in", "@key", "-traditional"], {"@key": key})
    assert "BEGIN EC PRIVATE KEY" in traditional
    assert _x509.private_key("x\n" + traditional) == traditional
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert _x509.private_key(parameters + key) == key
    with pytest.raises(_x509.X509Error, match="no private key"):
        _x509.private_key("nothing")
    locked = _x509.openssl(["pkey", "-in", "@key", "-aes256", "-passout", "pass:x"], {"@key": key})
    with pytest.raises(_x509.X509Error, match="encrypted"):
        _x509.private_key(locked)


def test_errors_are_words(pem: str) -> None:
    with pytest.raises(_x509.X509Error) as caught:
        _x509.read_certificate(pem.replace("MII", "AAA", 1))
    assert "/proc" not in str(caught.value) and str(caught.value)
