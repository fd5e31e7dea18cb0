"""A certificate file is checked before use, and what is wrong is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _certificate_pair, _x509
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certificate_pair import Asked, PairError
from certificates import DOMAIN, Issuer, later


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


class Files:
    def __init__(self, folder: Path) -> None:
        self.fullchain, self.privkey = folder / "cert.pem", folder / "key.pem"

    def write(self, fullchain: str, key: str) -> None:
        self.fullchain.write_text(fullchain)
        self.privkey.write_text(key)

    def read(self, key_type: str = "ecdsa", domain: str = DOMAIN, days: float = 0) -> _certificate_pair.Pair:
        asked = Asked(domain, key_type, f"FULLCHAIN ({self.fullchain})", f"PRIVKEY ({self.privkey})")
        return _certificate_pair.read_pair("files", str(self.fullchain), str(self.privkey), asked, later(days))

    def refused(self, **given: object) -> str:
        with pytest.raises(PairError) as caught:
            self.read(**given)  # type: ignore[arg-type]
        message = str(caught.value)
        assert "PRIVATE KEY-----" not in message
        return message


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_sound_pair_passes(files: Files, issuer: Issuer) -> None:
    fullchain, key = issuer.issue()
    files.write("bag attributes\n" + fullchain + issuer.root, key)
    pair = files.read()
    assert pair.fullchain == fullchain + issuer.root and pair.key == key
    assert key.splitlines()[1] not in repr(pair), "a key must not reach a log by way of repr"


def test_a_combined_file_gives_no_key_to_the_chain(files: Files, issuer: Issuer) -> None:
    fullchain, key = issuer.issue()
    files.write(key + fullchain, key + fullchain)
    assert "PRIVATE" not in files.read().fullchain


def test_missing_files_are_both_named(files: Files) -> None:
    message = files.refused()
    assert f"FULLCHAIN ({files.fullchain}): there is no such file" in message
    assert f"PRIVKEY ({files.privkey}): there is no such file" in message


def test_a_folder_is_no_file(files: Files, issuer: Issuer) -> None:
    files.fullchain.mkdir()
    files.privkey.write_text(issuer.key)
    assert "FULLCHAIN" in files.refused() and "folder" in files.refused()


def test_a_pipe_is_no_file(files: Files, issuer: Issuer) -> None:
    files.fullchain.symlink_to("/dev/null")
    files.privkey.write_text(issuer.key)
    assert "no regular file" in files.refused()


def test_garbage(files: Files, issuer: Issuer) -> None:
    files.write("nothing", issuer.key)
    assert "it holds no certificate" in files.refused()
    files.write(issuer.root.replace("MII", "AAA", 1), issuer.key)
    assert "cannot be parsed" in files.refused()
    fullchain, key = issuer.issue()
    files.write(fullchain, "nothing")
    assert "PRIVKEY" in files.refused() and "no private key" in files.refused()
    files.write(fullchain, key.replace("MIG", "AAA", 1))
    assert "private key cannot be parsed" in files.refused()
    files.write(fullchain, "x" * (1024 * 1024 + 1))
    assert "larger than 1 MiB" in files.refused()


def test_an_encrypted_key(files: Files, issuer: Issuer) -> None:
    fullchain, key = issuer.issue()
    files.write(fullchain, _x509.openssl(["pkey", "-in", "@key", "-aes256", "-passout", "pass:x"], {"@key": key}))
    assert "encrypted" in files.refused() and "passphrase" in files.refused()


def test_another_key(files: Files, issuer: Issuer) -> None:
    files.write(issuer.issue()[0], _x509.new_key("ecdsa"))
    assert "does not belong to the certificate" in files.refused()


def test_another_name(files: Files, issuer: Issuer) -> None:
    files.write(*issuer.issue("other.example.org"))
    assert "made out for other.example.org, which does not cover media.example.org" in files.refused()


def test_a_wildcard_covers_one_label(files: Files, issuer: Issuer) -> None:
    files.write(*issuer.issue("*.example.org"))
    assert files.read().leaf.names == ["*.example.org"]
    assert "does not cover" in files.refused(domain="a.b.example.org")


def test_no_name_at_all(files: Files) -> None:
    key = _x509.new_key("ecdsa")
    files.write(_x509.self_signed(key, {"CN": DOMAIN}, ["basicConstraints = CA:FALSE"], 5), key)
    assert "subjectAltName" in files.refused()


def test_dates(files: Files, issuer: Issuer) -> None:
    files.write(*issuer.issue(days=10))
    assert "it expired at" in files.refused(days=11)
    assert "not valid before" in files.refused(days=-1)
    assert files.read(days=9)


def test_order(files: Files, issuer: Issuer) -> None:
    fullchain, key = issuer.issue()
    leaf, intermediate = _x509.split(fullchain)
    files.write(intermediate + leaf, key)
    assert "server's own certificate is number 2" in files.refused()
    files.write(leaf + issuer.root + intermediate, key)
    assert "did not sign certificate 1" in files.refused()
    stranger = Issuer()
    files.write(leaf + stranger.intermediate, key)
    assert "did not sign certificate 1" in files.refused(), "the right name alone is not enough"


def test_kinds(files: Files, issuer: Issuer) -> None:
    files.write(*issuer.issue(key_type="rsa"))
    assert "jellyfin_certificate_key_types: [rsa]" in files.refused()
    assert files.read("rsa")
    weak = _x509.openssl(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"])
    files.write(*issuer.issue(key=weak))
    assert "1024 bits" in files.refused(key_type="rsa")
    files.write(*issuer.issue(key=_x509.openssl(["genpkey", "-algorithm", "ED25519"])))
    assert "browsers do not take" in files.refused()


def test_all_that_is_wrong_is_said_at_once(files: Files, issuer: Issuer) -> None:
    files.write(issuer.issue("other.example.org", days=1)[0], _x509.new_key("ecdsa"))
    message = files.refused(days=2)
    assert "does not belong" in message and "does not cover" in message and "expired" in message
