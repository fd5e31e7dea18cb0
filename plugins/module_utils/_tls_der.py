# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few fields of a certificate that are needed where no X.509 library is (RFC 5280 §4.1)."""

from __future__ import annotations

import base64
import binascii
import re

PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
# id-ad-caIssuers, then a URI (context tag 6): where the issuer's certificate lies (RFC 5280 §4.2.2.1).
CA_ISSUERS = bytes.fromhex("06082b06010505073002") + b"\x86"


def blocks(text: str) -> list[str]:
    """Every certificate of a PEM text, each in PEM of its own."""
    return [pem(der) for der in (_decode(body) for body in PEM.findall(text)) if der]


def _decode(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def pem(der: bytes) -> str:
    body = base64.b64encode(der).decode()
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _element(data: bytes, offset: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at ``offset``."""
    tag, length = data[offset], data[offset + 1]
    start = offset + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("a DER element that ends too early")
    return tag, start, start + length


def subject_and_issuer(der: bytes) -> tuple[bytes, bytes]:
    """The two names as they are encoded."""
    _tag, start, _end = _element(der, 0)
    _tag, offset, _end = _element(der, start)
    fields: list[bytes] = []
    while len(fields) < 6:
        tag, content, end = _element(der, offset)
        if tag != 0xA0:  # the version is optional
            fields.append(der[content:end])
        offset = end
    # serial, signature, issuer, validity, subject, key
    return fields[4], fields[2]


def is_self_issued(text: str) -> bool:
    """Whether subject and issuer are the same name: a root, or a self-signed certificate."""
    found = PEM.search(text)
    try:
        subject, issuer = subject_and_issuer(_decode(found.group(1)) if found else b"")
    except (ValueError, IndexError):
        return False
    return subject == issuer


def issuer_address(text: str) -> str:
    """Where the issuer's certificate is to be had over plain HTTP, or ''."""
    found = PEM.search(text)
    der = _decode(found.group(1)) if found else b""
    at = der.find(CA_ISSUERS)
    if at < 0:
        return ""
    size = der[at + len(CA_ISSUERS)]
    url = der[at + len(CA_ISSUERS) + 1 : at + len(CA_ISSUERS) + 1 + size].decode("ascii", "replace")
    return url if size < 128 and url.startswith("http://") and url.isprintable() and " " not in url else ""
