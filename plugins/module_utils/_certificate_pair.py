# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate with its chain and its private key: what must hold before anything serves it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from datetime import datetime

from . import _x509
from ._x509 import Certificate, X509Error

LIMIT = 1024 * 1024
MINIMAL_BITS = {"ecdsa": 256, "rsa": 2048}


class PairError(Exception):
    """Why a pair cannot be used: whole sentences, each with what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Pair:
    """A chain, leaf first, and the leaf's private key, both as PEM text; ``source`` says where it came from."""

    source: str
    fullchain: str
    key: str = field(repr=False)

    @property
    def chain(self) -> list[str]:
        """The certificates, leaf first."""
        return _x509.split(self.fullchain)

    @property
    def leaf(self) -> Certificate:
        """What the server's own certificate says."""
        return _x509.read_certificate(self.chain[0])


@dataclass(frozen=True)
class Asked:
    """What a pair has to be, and how its two files are called in messages."""

    domain: str
    key_type: str
    fullchain: str
    privkey: str
    may_be_expired: bool = False


def read_text(path: str, called: str) -> str:
    """A PEM file's content, or the sentence that says why not."""
    try:
        with open(path, "rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise PairError([f"{called}: that is no regular file. Give the path of a PEM file on this host"])
            content = handle.read(LIMIT + 1)
    except FileNotFoundError:
        raise PairError([f"{called}: there is no such file on this host. Put it there, or mend the path"]) from None
    except IsADirectoryError:
        raise PairError([f"{called}: that is a folder. Give the path of the PEM file in it"]) from None
    except OSError as problem:
        raise PairError([f"{called}: cannot be read ({problem.strerror}). Mend its permissions or the path"]) from None
    if len(content) > LIMIT:
        raise PairError([f"{called}: larger than 1 MiB, that is no certificate. Mend the path"])
    return content.decode("utf-8", "replace")


def read_pair(source: str, fullchain_path: str, privkey_path: str, asked: Asked, now: datetime) -> Pair:
    """Read a pair of files and check it; raises with everything that is wrong with it."""
    problems: list[str] = []
    texts = []
    for path, called in ((fullchain_path, asked.fullchain), (privkey_path, asked.privkey)):
        try:
            texts.append(read_text(path, called))
        except PairError as error:
            problems += error.problems
    if problems:
        raise PairError(problems)
    return make_pair(source, texts[0], texts[1], asked, now)


def make_pair(source: str, fullchain: str, privkey: str, asked: Asked, now: datetime) -> Pair:
    """A checked pair from two PEM texts."""
    chain = _x509.split(fullchain)
    problems: list[str] = []
    if not chain:
        problems.append(
            f"{asked.fullchain}: it holds no certificate in PEM form. Give the file with the certificate and its chain"
        )
    try:
        key = _x509.private_key(privkey)
    except X509Error as error:
        problems.append(f"{asked.privkey}: {error}. Give the certificate's unencrypted private key as a PEM file")
        raise PairError(problems) from None
    if problems:
        raise PairError(problems)
    pair = Pair(source, "".join(chain), key)
    problems = pair_problems(pair, asked, now)
    if problems:
        raise PairError(problems)
    return pair


def pair_problems(pair: Pair, asked: Asked, now: datetime) -> list[str]:
    """Everything that is wrong with a pair, each a sentence that names the file and what to do."""
    try:
        certificates = [_x509.read_certificate(pem) for pem in pair.chain]
    except X509Error as error:
        return [f"{asked.fullchain}: a certificate in it cannot be parsed ({error}). Ask its issuer for a sound copy"]
    try:
        public_key = _x509.public_key_of(pair.key)
    except X509Error as error:
        return [
            f"{asked.privkey}: the private key cannot be parsed ({error}). Give the key that belongs to the certificate"
        ]
    found = [
        _key_problem(certificates, public_key, asked),
        _kind_problem(certificates[0], asked),
        _name_problem(certificates[0], asked),
        _date_problem(certificates[0], asked, now),
        _chain_problem(certificates, asked),
    ]
    return [problem for problem in found if problem]


def _key_problem(certificates: list[Certificate], public_key: str, asked: Asked) -> str | None:
    matching = [index for index, certificate in enumerate(certificates) if certificate.public_key == public_key]
    if not matching:
        return (
            f"{asked.privkey}: the private key does not belong to the certificate in {asked.fullchain}. "
            "Give the key that the certificate was made for"
        )
    if matching[0] != 0:
        return (
            f"{asked.fullchain}: the server's own certificate is number {matching[0] + 1} in the file. "
            "Put it first, then the intermediates in their order"
        )
    return None


def _kind_problem(leaf: Certificate, asked: Asked) -> str | None:
    if leaf.key_type not in _x509.KEY_TYPES:
        return f"{asked.fullchain}: its key is of the kind {leaf.key_type}, which browsers do not take. Get an ECDSA or RSA certificate"
    if leaf.key_type != asked.key_type:
        return (
            f"{asked.fullchain}: its key is {leaf.key_type.upper()}, but {asked.key_type.upper()} is asked for. "
            f"Set jellyfin_certificate_key_types: [{leaf.key_type}], or give a certificate of the other kind"
        )
    if leaf.key_bits and leaf.key_bits < MINIMAL_BITS[leaf.key_type]:
        return (
            f"{asked.fullchain}: its {leaf.key_type.upper()} key has {leaf.key_bits} bits, too few for today's TLS libraries. "
            f"Get a certificate with at least {MINIMAL_BITS[leaf.key_type]}"
        )
    return None


def _name_problem(leaf: Certificate, asked: Asked) -> str | None:
    if not leaf.names:
        return (
            f"{asked.fullchain}: it has no DNS name in its subjectAltName, and no client looks elsewhere. "
            f"Get a certificate for {asked.domain}"
        )
    if not _x509.covers(leaf.names, asked.domain):
        return (
            f"{asked.fullchain}: it is made out for {', '.join(leaf.names[:5])}, which does not cover {asked.domain}. "
            "Give a certificate for that name, or mend jellyfin_domain"
        )
    return None


def _date_problem(leaf: Certificate, asked: Asked, now: datetime) -> str | None:
    if leaf.not_before > now:
        return (
            f"{asked.fullchain}: it is not valid before {_x509.timestamp(leaf.not_before)}, and this host's clock says "
            f"{_x509.timestamp(now)}. Set the clock, or wait until then"
        )
    if leaf.not_after <= now and not asked.may_be_expired:
        return f"{asked.fullchain}: it expired at {_x509.timestamp(leaf.not_after)}. Give a renewed one"
    return None


def _chain_problem(certificates: list[Certificate], asked: Asked) -> str | None:
    for index in range(len(certificates) - 1):
        upper = certificates[index + 1]
        if certificates[index].issuer != upper.subject or not _x509.issued_by(certificates[index].pem, upper.pem):
            return (
                f"{asked.fullchain}: certificate {index + 2} ({upper.subject}) did not sign certificate {index + 1}, which names "
                f"{certificates[index].issuer} as its issuer. Put the server's certificate first, then each one's issuer after it"
            )
    return None
