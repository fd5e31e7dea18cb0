# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TLS contexts of the HTTPS listener: one for each certificate, chosen by the name the client asks for."""

from __future__ import annotations

import os
import ssl
from typing import Any

from ..config import Certificate, TcpListener, Tls


class CertificateError(Exception):
    pass


def _context(certificate: Certificate, tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = getattr(ssl.TLSVersion, tls.minimum.replace(".", "_"))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All suites of the list are strong; the client knows best which one its hardware likes.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
        context.load_cert_chain(certificate.fullchain, certificate.privkey)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        message = f"{certificate.fullchain}, {certificate.privkey}: cannot be used: {reason}"
        if isinstance(error, PermissionError):
            message += "; the service reads it through the group jellynet-tls"
        raise CertificateError(message) from None
    return context


def _marks(listener: TcpListener) -> tuple[Any, ...]:
    """What changes when a certificate is exchanged."""
    found: list[Any] = []
    for certificate in listener.certificates:
        for path in (certificate.fullchain, certificate.privkey):
            try:
                info = os.stat(path)
                found.append((path, info.st_ino, info.st_mtime_ns, info.st_size))
            except OSError:
                found.append((path,))
    return tuple(found)


class Contexts:
    """`default` is for connections; by SNI it turns to the certificate of that name."""

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._marks = _marks(listener)
        self._by_name: dict[str, ssl.SSLContext] = {}
        self.default: ssl.SSLContext | None = None
        for certificate in listener.certificates:
            context = _context(certificate, listener.tls)
            for domain in certificate.domains:
                self._by_name.setdefault(domain, context)
            if self.default is None:
                self.default = context
        if self.default is not None and len(listener.certificates) > 1:
            self.default.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        context = self._by_name.get((name or "").lower())
        if context is not None:
            connection.context = context

    def outdated(self) -> bool:
        return _marks(self._listener) != self._marks
