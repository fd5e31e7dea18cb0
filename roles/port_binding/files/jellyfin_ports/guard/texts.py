# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the guard says in the log. One form, for fail2ban and CrowdSec too; docs/jellyfin-ports.md documents it.

    login failed address=203.0.113.9 direct=yes account="anna" route=AuthenticateByName status=401

The account is whatever a stranger sent, so it is a JSON string of visible ASCII, and stands behind the address.
"""

from __future__ import annotations

import json

_NAME_LIMIT = 64


def quoted(name: str) -> str:
    text = json.dumps(name[:_NAME_LIMIT] + ("..." if len(name) > _NAME_LIMIT else ""), ensure_ascii=True)
    return text.replace("\x7f", "\\u007f")


def failed(address: str, direct: bool, name: str, route: str, status: int) -> str:
    return (
        f"login failed address={address} direct={'yes' if direct else 'no'}"
        f" account={quoted(name)} route={route} status={status}"
    )
