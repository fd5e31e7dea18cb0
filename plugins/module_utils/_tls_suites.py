# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cipher suite's IANA name says of it."""

from __future__ import annotations

from typing import Any

AEAD = ("_GCM_", "_CCM", "POLY1305")
BLOCK_64 = ("3DES", "_DES_", "DES40", "IDEA", "RC2", "GOST28147")


def properties(name: str, bits: int, version: str) -> dict[str, Any]:
    """Key exchange, forward secrecy, AEAD and weaknesses of a suite."""
    exchange = _exchange(name, version)
    anonymous = "_anon_" in name.lower() or "_anon" in exchange.lower()
    null = "_WITH_NULL" in name
    return {
        "name": name,
        "bits": 0 if null else bits,
        "exchange": exchange,
        "forward_secrecy": version == "TLSv1.3" or (exchange.startswith(("ECDHE", "DHE")) and not anonymous),
        "aead": version == "TLSv1.3" or any(word in name for word in AEAD),
        "anonymous": anonymous,
        "null": null,
        "export": "EXPORT" in name,
        "rc4": "_RC4_" in name,
        "block64": any(word in name for word in BLOCK_64),
        "cbc": "_CBC_" in name,
    }


def _exchange(name: str, version: str) -> str:
    if version == "TLSv1.3":
        return "ECDHE"
    head = name.split("_WITH_")[0]
    return head[4:] if head.startswith("TLS_") else head
