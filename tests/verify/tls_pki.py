"""Certificates for the bank of TLS servers: good ones, and every kind of bad one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "media.example.test"

CA_EXTENSIONS = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
LEAF_EXTENSIONS = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName="


def new_key(kind: str):
    """rsa:2048, ec:256, ec:384, ed25519."""
    family, _colon, size = kind.partition(":")
    if family == "rsa":
        return rsa.generate_private_key(65537, int(size))
    if family == "ec":
        return ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1()}[size])
    return ed25519.Ed25519PrivateKey.generate()


def pem_of(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def sign_sha1(folder: Path, key, name: str, issuer: Signer, extensions: str, days: int) -> x509.Certificate:
    """By the program openssl: libraries of today refuse to sign with SHA-1."""
    files = {name: folder / f"sha1-{name}" for name in ("key", "csr", "ca", "ca-key", "extensions", "certificate")}
    files["key"].write_bytes(pem_of(key))
    files["ca"].write_text(issuer.pem)
    files["ca-key"].write_bytes(pem_of(issuer.key))
    files["extensions"].write_text(extensions)
    subprocess.run(
        ["openssl", "req", "-new", "-key", files["key"], "-subj", f"/CN={name}", "-out", files["csr"]],
        check=True,
        capture_output=True,
    )
    argv = ["openssl", "x509", "-req", "-sha1", "-in", files["csr"], "-CA", files["ca"], "-CAkey", files["ca-key"]]
    argv += ["-set_serial", "0x77", "-days", str(days), "-extfile", files["extensions"], "-out", files["certificate"]]
    subprocess.run(argv, check=True, capture_output=True)
    return x509.load_pem_x509_certificate(files["certificate"].read_bytes())


@dataclass
class Signer:
    """A CA: its certificate and key."""

    certificate: x509.Certificate
    key: object

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


class Pki:
    """A root, an intermediate below it, and a root that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self._keys: dict[str, object] = {}
        self.root = self.authority("bank root")
        self.intermediate = self.authority("bank intermediate", self.root)
        self.stranger = self.authority("a root that nobody knows")
        self.old_root = self.authority("bank RSA root", kind="rsa:2048")
        self.sha1_intermediate = self.authority(
            "bank SHA-1 intermediate", self.old_root, kind="rsa:2048", digest="sha1"
        )
        self.roots = folder / "roots.pem"
        self.roots.write_text(self.root.pem + self.old_root.pem)
        # A client that has seen the intermediate before, as browsers have those of public CAs.
        self.roots_and_known = folder / "roots-and-known.pem"
        self.roots_and_known.write_text(self.root.pem + self.old_root.pem + self.intermediate.pem)

    def authority(
        self, name: str, issuer: Signer | None = None, kind: str = "ec:256", digest: str = "sha256"
    ) -> Signer:
        key = new_key(kind)
        if digest == "sha1" and issuer:
            return Signer(sign_sha1(self.folder, key, name, issuer, CA_EXTENSIONS, 3000), key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=400))
            .not_valid_after(self.now + timedelta(days=3000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        )
        return Signer(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)

    def leaf(
        self,
        label: str,
        kind: str = "ec:256",
        issuer: Signer | None = None,
        names: tuple[str, ...] = (NAME,),
        starts: int = -1,
        days: int = 90,
        digest: str = "sha256",
        chain: tuple[Signer, ...] = (),
        self_signed: bool = False,
    ) -> tuple[str, str]:
        """Paths of the chain as it is served and of its key. ``starts`` is counted in days from now."""
        # RSA keys take their time to make, and a key says nothing of its certificate.
        key = self._keys.setdefault(kind, new_key(kind))
        by = issuer or self.root
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else by.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + timedelta(days=starts))
            .not_valid_after(self.now + timedelta(days=starts + days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        signing = key if self_signed else by.key
        if digest == "sha1":
            extensions = LEAF_EXTENSIONS + ",".join(f"DNS:{name}" for name in names) + "\n"
            certificate = sign_sha1(self.folder, key, names[0], by, extensions, days)
        else:
            unhashed = isinstance(signing, ed25519.Ed25519PrivateKey)
            certificate = builder.sign(signing, None if unhashed else hashes.SHA256())
        served, secret = self.folder / f"{label}.pem", self.folder / f"{label}.key"
        own = certificate.public_bytes(serialization.Encoding.PEM).decode()
        served.write_text(own + "".join(signer.pem for signer in chain))
        secret.write_bytes(pem_of(key))
        return str(served), str(secret)
