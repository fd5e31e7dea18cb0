# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict-Transport-Security, read as RFC 6797 §6.1 has it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_rating import HSTS_MIN_AGE

_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_AGE = re.compile(r'^(?:"(\d+)"|(\d+))$')


def parse(headers: Sequence[str]) -> dict[str, Any]:
    """``state`` is ok, absent, short, disabled (max-age=0) or invalid; a client reads the first header only."""
    found: dict[str, Any] = {
        "state": "absent",
        "header": "",
        "max_age": None,
        "include_subdomains": False,
        "preload": False,
        "problem": "",
    }
    if not headers:
        return dict(found, problem="HSTS is not sent")
    found["header"] = headers[0]
    given: dict[str, str] = {}
    for part in headers[0].split(";"):
        name, _sign, value = (piece.strip() for piece in part.strip().partition("="))
        if not name and not value:
            continue
        if not _TOKEN.match(name):
            return dict(found, state="invalid", problem=f"HSTS is malformed: {headers[0]!r}")
        if name.lower() in given:
            return dict(found, state="invalid", problem=f"HSTS names {name} twice: {headers[0]!r}")
        given[name.lower()] = value
    age = _AGE.match(given.get("max-age", ""))
    if not age:
        return dict(found, state="invalid", problem=f"HSTS has no valid max-age: {headers[0]!r}")
    seconds = int(age.group(1) or age.group(2))
    found.update(max_age=seconds, include_subdomains="includesubdomains" in given, preload="preload" in given)
    if seconds == 0:
        return dict(found, state="disabled", problem="HSTS is switched off by max-age=0")
    if seconds < HSTS_MIN_AGE:
        return dict(
            found, state="short", problem=f"HSTS lasts {seconds // 86400} days, A+ needs {HSTS_MIN_AGE // 86400}"
        )
    return dict(found, state="ok")
