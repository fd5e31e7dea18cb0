# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From facts to a grade, by the table in ``_tls_rating``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_rating as guide


def _step(table: Sequence[tuple[int, int]], value: int) -> int:
    return next(score for least, score in table if value >= least)


def protocol_score(protocols: Iterable[str]) -> float:
    """The mean of the best and the worst protocol."""
    scores = [guide.PROTOCOLS[name] for name in protocols]
    return (max(scores) + min(scores)) / 2 if scores else 0


def key_exchange_score(facts: dict[str, Any]) -> int:
    """The weakest of the certificates' keys and the parameters of each suite."""
    scores = [
        _step(guide.KEY_EXCHANGE, guide.rsa_equivalent(item["key"]["algorithm"], item["key"]["bits"]))
        for item in facts["certificates"]
    ]
    for suite in (suite for listed in facts["suites"].values() for suite in listed):
        ephemeral = suite.get("ephemeral")
        if suite["anonymous"]:
            scores.append(guide.ANONYMOUS_SCORE)
        if suite["export"]:
            scores.append(guide.EXPORT_SCORE)
        if ephemeral and ephemeral["bits"]:
            scores.append(_step(guide.KEY_EXCHANGE, guide.rsa_equivalent(ephemeral["type"], ephemeral["bits"])))
    return min(scores) if scores else 0


def cipher_score(bits: Iterable[int]) -> float:
    """The mean of the strongest and the weakest suite."""
    scores = [_step(guide.CIPHERS, value) for value in bits]
    return (max(scores) + min(scores)) / 2 if scores else 0


def scores(facts: dict[str, Any]) -> dict[str, float]:
    """The three categories and the weighted total."""
    found: dict[str, float] = {
        "protocol": protocol_score(name for name, offered in facts["protocols"].items() if offered),
        "key_exchange": key_exchange_score(facts),
        "cipher_strength": cipher_score(suite["bits"] for listed in facts["suites"].values() for suite in listed),
    }
    total = sum(found[name] * weight for name, weight in guide.WEIGHTS.items()) / 100
    found["total"] = 0 if 0 in found.values() else round(total, 1)
    return found


def letter(total: float) -> str:
    return next(name for least, name in guide.LETTERS if total >= least)


def worse(first: str, second: str) -> str:
    return max(first, second, key=guide.ORDER.index)


def grade(facts: dict[str, Any]) -> dict[str, Any]:
    """grade, grade_ignoring_trust, scores, caps and warnings."""
    broken = [(rule, rule.observe(facts)) for rule in guide.RULES]
    broken = [(rule, words) for rule, words in broken if words]
    points = scores(facts)
    found = letter(points["total"])
    caps, warnings = [], []
    identity = []
    for rule, words in broken:
        entry = {"rule": rule.name, "revision": rule.revision, "text": rule.text, "observed": words}
        if rule.effect == guide.WARNING:
            warnings.append(entry)
            continue
        caps.append(dict(entry, cap=rule.effect))
        if rule.effect in ("T", "M"):
            identity.append(rule.effect)
        else:
            found = worse(found, rule.effect)
    if found == "A" and not any(item["cap"] == "A" for item in caps):
        found = "A+"
    if warnings:
        found = worse(found, guide.WARNING)
    return {
        "grade": "T" if "T" in identity else "M" if identity else found,
        "grade_ignoring_trust": found,
        "scores": points,
        "caps": caps,
        "grade_warnings": warnings,
    }
