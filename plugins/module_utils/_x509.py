# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""X.509 by the openssl command, which every Debian host has.

All functions take and give PEM text. What openssl reads goes to it in memory files (memfd), so a private key touches no
disk but the one place it is meant for. Part of the host's own script too: relative imports only, Python 3.8.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

KEY_TYPES = ("ecdsa", "rsa")

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN (?:RSA |EC )?PRIVATE KEY-----[^-]+-----END (?:RSA |EC )?PRIVATE KEY-----")
_ENCRYPTED_KEY = re.compile(r"-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED")
_READ = "x509 -in @certificate -noout -text -certopt no_sigdump -nameopt RFC2253 -serial -subject -issuer -startdate -enddate -pubkey"
_SIGN = "x509 -req -sha256 -in @request -CA @ca -CAkey @ca_key -extfile @settings -extensions extensions"
_ALGORITHMS = {"id-ecPublicKey": "ecdsa", "rsaEncryption": "rsa"}


class X509Error(Exception):
    """What is wrong with a certificate or key, as half a sentence."""


@dataclass(frozen=True)
class Certificate:
    """What a certificate says."""

    pem: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    names: list[str]
    is_ca: bool
    key_type: str
    key_bits: int
    public_key: str

    @property
    def self_issued(self) -> bool:
        """Whether it names itself as its issuer, as a root does."""
        return self.subject == self.issuer


def utcnow() -> datetime:
    """The time now, with its zone."""
    return datetime.now(timezone.utc)


def timestamp(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, such as 2027-02-20T14:09:00Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def openssl(argv: Sequence[str], files: Mapping[str, str] | None = None) -> str:
    """Run openssl and return what it printed. ``files`` maps words of ``argv`` such as ``@key`` to a file's content."""
    code, out, err = _run(argv, files or {})
    if code != 0:
        raise X509Error(_words(err) or f"openssl {argv[0]} returned {code}")
    return out


def _run(argv: Sequence[str], files: Mapping[str, str]) -> tuple[int, str, str]:
    # The trust store has to be the system's own, whatever the caller's environment says.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    environment["LC_ALL"] = "C"
    handles: dict[str, int] = {}
    try:
        for word, content in files.items():
            handles[word] = os.memfd_create(word.strip("@"))
            os.write(handles[word], content.encode("utf-8"))
        words = [f"/proc/self/fd/{handles[word]}" if word in handles else word for word in argv]
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
            ["openssl", *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            pass_fds=tuple(handles.values()),
            timeout=120,
        )
    except FileNotFoundError:
        raise X509Error("the command openssl is missing: install the package openssl") from None
    except subprocess.TimeoutExpired:
        raise X509Error(f"openssl {argv[0]} did not end within two minutes") from None
    finally:
        for handle in handles.values():
            os.close(handle)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def _words(text: str) -> str:
    """openssl's own words without its error codes and file handles."""
    lines = [re.sub(r"^[0-9A-F]+:error:[0-9A-F]+:|/proc/self/fd/\d+", "", line).strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line)[:300]


def split(text: str) -> list[str]:
    """The certificates in a PEM text, in its order; whatever else it holds is left out."""
    return [match.group(0) + "\n" for match in _CERTIFICATE.finditer(text.replace("\r\n", "\n"))]


def private_key(text: str) -> str:
    """The first private key in a PEM text."""
    if _ENCRYPTED_KEY.search(text):
        raise X509Error("the private key is encrypted, and nobody is there to type its passphrase at the next start")
    found = _KEY.search(text.replace("\r\n", "\n"))
    if not found:
        raise X509Error("it holds no private key in PEM form")
    return found.group(0) + "\n"


@functools.lru_cache(maxsize=64)
def read_certificate(pem: str) -> Certificate:
    """Parse one certificate."""
    out = openssl(_READ.split(), {"@certificate": pem})
    # -text comes first and is indented; what was asked for by name follows, one `name=value` a line.
    said = dict(
        line.split("=", 1)
        for line in out.splitlines()
        if re.match(r"^(serial|subject|issuer|notBefore|notAfter)=", line)
    )
    algorithm = re.search(r"Public Key Algorithm: (\S+)", out)
    bits = re.search(r"Public-Key: \((\d+) bit", out)
    names = re.search(r"X509v3 Subject Alternative Name:[^\n]*\n\s+([^\n]+)", out)
    public = re.search(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", out, re.DOTALL)
    if len(said) < 5 or not algorithm or not public:
        raise X509Error("openssl printed a certificate in a form that is not understood")
    return Certificate(
        pem=pem,
        subject=said["subject"],
        issuer=said["issuer"],
        serial=said["serial"],
        not_before=_moment(said["notBefore"]),
        not_after=_moment(said["notAfter"]),
        names=[name[4:].lower() for name in re.split(r",\s*", names.group(1)) if name.startswith("DNS:")]
        if names
        else [],
        is_ca="CA:TRUE" in out,
        key_type=_ALGORITHMS.get(algorithm.group(1), algorithm.group(1)),
        key_bits=int(bits.group(1)) if bits else 0,
        public_key=public.group(0),
    )


def _moment(text: str) -> datetime:
    # This one knows openssl's English months in every locale, which strptime does not.
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), timezone.utc)


def public_key_of(key: str) -> str:
    """The public half of a private key, as PEM."""
    return openssl(["pkey", "-in", "@key", "-passin", "pass:", "-pubout"], {"@key": key}).strip()


def covers(names: Sequence[str], domain: str) -> bool:
    """Whether one of a certificate's names is the domain, or a wildcard for exactly its first label (RFC 9525)."""
    return any(
        name == domain or (name.startswith("*.") and domain.partition(".")[2] == name[2:] != "") for name in names
    )


def due(certificate: Certificate, now: datetime) -> bool:
    """Whether it is time for a new one: a third of its life is left, or half where it lives less than ten days."""
    life = certificate.not_after - certificate.not_before
    return certificate.not_after - now < life / (2 if life < timedelta(days=10) else 3)


def issued_by(certificate: str, issuer: str) -> bool:
    """Whether ``issuer`` really signed ``certificate``; dates are not looked at."""
    code, _out, _err = _run(
        ["verify", "-partial_chain", "-no_check_time", "-trusted", "@issuer", "@certificate"],
        {"@issuer": issuer, "@certificate": certificate},
    )
    return code == 0


def publicly_trusted(chain: Sequence[str], domain: str) -> bool:
    """Whether a client with this system's trust store takes the chain for the domain, now."""
    words = ["verify", "-purpose", "sslserver", "-verify_hostname", domain]
    files = {"@leaf": chain[0]}
    if len(chain) > 1:
        words += ["-untrusted", "@rest"]
        files["@rest"] = "".join(chain[1:])
    code, _out, _err = _run([*words, "@leaf"], files)
    return code == 0


def new_key(key_type: str) -> str:
    """A private key: P-256 or RSA 2048, what Mozilla's guideline asks of servers."""
    if key_type == "rsa":
        return openssl(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
    return openssl(
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
    )


def _settings(subject: Mapping[str, str], extensions: Sequence[str], sections: str = "") -> str:
    """A whole openssl configuration, so that the host's own plays no part."""
    lines = [
        "[req]",
        "prompt = no",
        "string_mask = utf8only",
        "distinguished_name = subject",
        "x509_extensions = extensions",
    ]
    lines += ["[subject]", *(f"{name} = {value}" for name, value in subject.items())]
    lines += ["[extensions]", *extensions]
    return "\n".join(lines) + "\n" + sections


def self_signed(key: str, subject: Mapping[str, str], extensions: Sequence[str], days: int, sections: str = "") -> str:
    """A certificate signed by its own key."""
    return openssl(
        ["req", "-x509", "-new", "-sha256", "-key", "@key", "-days", str(days), "-config", "@settings"],
        {"@key": key, "@settings": _settings(subject, extensions, sections)},
    )


def signed(key: str, subject: Mapping[str, str], extensions: Sequence[str], days: int, ca: str, ca_key: str) -> str:
    """A certificate for ``key`` signed by a CA."""
    settings = _settings(subject, extensions)
    request = openssl(
        ["req", "-new", "-sha256", "-key", "@key", "-config", "@settings"], {"@key": key, "@settings": settings}
    )
    return openssl(
        [*_SIGN.split(), "-days", str(days), "-set_serial", "0x" + _serial()],
        {"@request": request, "@ca": ca, "@ca_key": ca_key, "@settings": settings},
    )


def _serial() -> str:
    # Positive, 127 random bits, and no leading zero: every client prints it the same.
    return "4" + secrets.token_hex(16)[1:]


def server_extensions(domain: str) -> list[str]:
    """What a server's certificate carries."""
    return [
        "basicConstraints = critical, CA:FALSE",
        "keyUsage = critical, digitalSignature",
        "extendedKeyUsage = serverAuth",
        "subjectKeyIdentifier = hash",
        f"subjectAltName = DNS:{domain}",
    ]
