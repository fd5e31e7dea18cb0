# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA of one's own: one root a domain, able to sign for that domain and nothing else.

Whoever installs such a root on a television gives nothing away: name constraints keep it from signing for any other name,
so even a stolen root key impersonates no bank. One root a domain also means that a new site leaves the roots that are
already installed as they are. The root never enters this host's trust store.
"""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from . import _atomic, _x509
from ._certificate_pair import Pair
from ._x509 import Certificate, X509Error

ROOT_DAYS = 3650
LEAF_DAYS = 180
# Mozilla's guideline and Apple's and Google's clients stop there.
LEAF_DAYS_LIMIT = 366

_NOWHERE = """
[constraints]
permitted;DNS.0 = {domain}
excluded;IP.0 = 0.0.0.0/0.0.0.0
excluded;IP.1 = 0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0
"""


class LocalCA:
    """The root for one domain, in two files: DOMAIN.pem and DOMAIN.key."""

    def __init__(self, folder: Path, domain: str, days: int = LEAF_DAYS) -> None:
        self.folder = folder
        self.domain = domain
        self.days = days

    @property
    def certificate_path(self) -> Path:
        """What clients install."""
        return self.folder / f"{self.domain}.pem"

    @property
    def key_path(self) -> Path:
        """The root's private key."""
        return self.folder / f"{self.domain}.key"

    def root(self, now: datetime) -> Certificate | None:
        """The root, where there is one that can still sign a certificate of full length."""
        try:
            pem = self.certificate_path.read_text(encoding="ascii")
            root = _x509.read_certificate(pem)
            if root.public_key != _x509.public_key_of(self.key_path.read_text(encoding="ascii")):
                return None
        except (OSError, UnicodeDecodeError, X509Error):
            return None
        return root if root.not_after - now > timedelta(days=self.days) else None

    def still_good(self, pair: Pair | None, key_type: str, now: datetime) -> bool:
        """Whether a pair is from the present root, for the right name and kind, and not due for renewal."""
        root = self.root(now)
        if root is None or pair is None or pair.source != "local_ca":
            return False
        try:
            leaf = pair.leaf
            whole = leaf.public_key == _x509.public_key_of(pair.key)
        except (X509Error, IndexError):
            return False
        return (
            whole
            and leaf.key_type == key_type
            and _x509.covers(leaf.names, self.domain)
            and not _x509.due(leaf, now)
            and leaf.not_after - leaf.not_before <= timedelta(days=self.days)
            and _x509.issued_by(leaf.pem, root.pem)
        )

    def issue(self, key_type: str, now: datetime) -> Pair:
        """A fresh certificate; makes the root where it is missing or about to expire."""
        root = self.root(now)
        ca = root.pem if root else self._make_root()
        ca_key = self.key_path.read_text(encoding="ascii")
        key = _x509.new_key(key_type)
        leaf = _x509.signed(
            key,
            {"O": "jellynet local CA", "CN": self.domain[:64]},
            [*_x509.server_extensions(self.domain), "authorityKeyIdentifier = keyid:always"],
            self.days,
            ca,
            ca_key,
        )
        return Pair("local_ca", leaf, key)

    def _make_root(self) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self.folder, 0o700)
        key = _x509.new_key("ecdsa")
        pem = _x509.self_signed(
            key,
            # The random part tells a later root of the same domain from this one.
            {"O": "jellynet local CA", "OU": self.domain[:64], "CN": f"jellynet local CA {secrets.token_hex(4)}"},
            [
                "basicConstraints = critical, CA:TRUE, pathlen:0",
                "keyUsage = critical, keyCertSign, cRLSign",
                "subjectKeyIdentifier = hash",
                "nameConstraints = critical, @constraints",
            ],
            ROOT_DAYS,
            _NOWHERE.format(domain=self.domain),
        )
        # Key first: a root without its key is made anew, and nobody has seen it yet.
        _atomic.write(self.key_path, key, 0o600)
        _atomic.write(self.certificate_path, pem, 0o644)
        return pem
