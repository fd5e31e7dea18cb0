"""JSON as System.Text.Json writes it by default: no spaces, and everything unusual as \\uXXXX."""

from __future__ import annotations

from typing import Any

ESCAPED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
UNSAFE = set("\"&'+<>`")


def dumps(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(str(key))}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(character, value)) + '"'
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def character(letter: str) -> str:
    if letter in ESCAPED:
        return ESCAPED[letter]
    if letter in UNSAFE or not " " <= letter <= "~":
        units = letter.encode("utf-16-be")
        return "".join(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))
    return letter
