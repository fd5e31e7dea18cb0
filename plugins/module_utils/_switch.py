# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A value that is true, false or auto, in every spelling that YAML and `-e` have for it. Pure."""

from __future__ import annotations

from typing import Any

# Words and not booleans: before ansible-core 2.19 a template makes a text of either.
ON, OFF, AUTO = "on", "off", "auto"
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1", "y", "t"), ON),
    **dict.fromkeys(("false", "no", "off", "0", "n", "f"), OFF),
}


def read(value: Any) -> str | None:
    """`on`, `off` or `auto`; None for what is none of them."""
    if value == AUTO:
        return AUTO
    if not isinstance(value, (bool, int, str)):
        return None
    return _WORDS.get(str(value).lower())
