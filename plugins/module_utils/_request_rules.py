# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request may be: the one table of targets and methods, from which every proxy's rules and the relay's are rendered. Pure.

A rule is judged on the target as it was sent (``/path?query``), because the server gets that very text and reads it in its own way: Kestrel decodes
once, resolves dot segments afterwards, and takes ``%2f`` for no separator (ASP.NET Core, HttpParser, Http1Connection, UrlDecoder, PathNormalizer).
What one reader could understand otherwise than another is no accepted form, and gets 400.

All expressions keep to what RE2 (Caddy, Traefik), PCRE (nginx, Apache, HAProxy) and Python's re have in common: no look-around, no possessive
quantifier. Each alternative begins with another text but for a segment's first dots, so no engine goes back more than three steps. They are
short (nginx takes no word of more than 4,096 characters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# RFC 9110 section 9 and RFC 5789: what Jellyfin, its plugins and its clients use.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# UPnP Device Architecture 1.1, section 4 (GENA): DLNA's control points subscribe to events; only the LAN has any.
LAN_METHODS = (*METHODS, "SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY")

_HEX = "[0-9A-Fa-f]"
_MORE = "%[89ABab]" + _HEX  # a further byte of an encoded character
# RFC 3986, section 3.3 (pchar), without the dot, and the brackets that clients leave as they are.
_PLAIN = r"[A-Za-z0-9_~!$&'()*+,;=:@\[\]-]"
# Encoded ASCII: no control characters, no dot and no slash (they have a meaning of their own), no backslash.
_ASCII = f"2[0-9A-Da-d]|[346]{_HEX}|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e]"
# Encoded UTF-8 (RFC 3629, section 4): no overlong form, no surrogate, nothing above U+10FFFF, and no control character from U+0080 on.
_UTF8 = "|".join(
    [
        f"[cC]2%[abAB]{_HEX}",
        f"(?:[cC][3-9A-Fa-f]|[dD]{_HEX}){_MORE}",
        f"[eE]0%[abAB]{_HEX}{_MORE}",
        f"[eE][1-9A-Ca-cEFef]{_MORE}{_MORE}",
        f"[eE][dD]%[89]{_HEX}{_MORE}",
        f"[fF]0%[9ABab]{_HEX}{_MORE}{_MORE}",
        f"[fF][1-3]{_MORE}{_MORE}{_MORE}",
        f"[fF]4%8{_HEX}{_MORE}{_MORE}",
    ]
)
_LETTER = f"(?:{_PLAIN}|%(?:{_ASCII}|{_UTF8}))"
_DOT = r"(?:[.]|%2[eE])"
# Some readers take an encoded slash for a separator and some do not; a segment of dots is one to either.
_SEPARATOR = "(?:/|%2[fF])"
# Never one or two dots alone (RFC 3986, section 5.2.4).
_SEGMENT = f"(?:{_DOT}?{_DOT}?{_LETTER}|{_DOT}{_DOT}{_DOT})(?:{_LETTER}|{_DOT})*"
_QUERY = r"(?:[?][!-\x22$-~]*)?"

#: The accepted form of a target. The empty query and any doubled slash are part of it, because clients send them.
TARGET = f"^/(?:{_SEGMENT})?(?:{_SEPARATOR}(?:{_SEGMENT})?)*{_QUERY}$"

# Jellyfin up to 10.11 takes these prefixes of its ancestors away (LegacyEmbyRouteRewriteMiddleware), so what stands behind them counts.
LEGACY_PREFIXES = ("emby", "mediabrowser")

#: Where a password, a PIN or a secret of Quick Connect is tried. ``*`` is any one segment. Jellyfin.Api/Controllers: UserController, QuickConnectController.
LOGIN_ROUTES = (
    "/Users/AuthenticateByName",
    "/Users/AuthenticateWithQuickConnect",
    "/Users/*/Authenticate",
    "/Users/ForgotPassword",
    "/QuickConnect/Connect",
    "/QuickConnect/Initiate",
)

# What some readers fold into an ASCII letter when they compare without regard to case.
_FOLDED = {"s": "%[cC]5%[bB][fF]", "k": "%[eE]2%84%[aA][aA]", "i": "%[cC]4%[bB]1"}


def _spelled_letter(letter: str) -> str:
    """All ways to write one ASCII character of a path: as it is, in the other case, percent-encoded."""
    code = f"{ord(letter.lower()):02x}"
    high, plain = code[0], re.escape(letter)
    if letter.isalpha():
        high, plain = f"[{int(code[0]) - 2}{code[0]}]", f"[{letter.upper()}{letter.lower()}]"
    folded = _FOLDED.get(letter.lower())
    return f"(?:{plain}|%{high}{_either(code[1])}{'|' + folded if folded else ''})"


def _either(digit: str) -> str:
    return f"[{digit.upper()}{digit.lower()}]" if digit.isalpha() else digit


def _spelled(path: str) -> str:
    """A path of plain characters in every spelling, from its first separator to the end of its last segment."""
    segments = [segment for segment in path.split("/") if segment]
    return "".join(
        f"{_SEPARATOR}+" + ("[^/?]+" if segment == "*" else "".join(map(_spelled_letter, segment)))
        for segment in segments
    )


def _matcher(paths: Iterable[str], base: str) -> str:
    prefixes = [_spelled(prefix) for prefix in (*LEGACY_PREFIXES, base) if prefix.strip("/")]
    wanted = [_spelled(path) for path in paths if path.strip("/")]
    if not wanted:
        return ""
    return f"^(?:{'|'.join(prefixes)})*(?:{'|'.join(wanted)})(?:{_SEPARATOR}|[?]|$)"


def protected(paths: Iterable[str], base: str = "") -> str:
    """An expression for every target that leads to one of ``paths`` (plain ASCII) or below it, in any spelling, behind any prefix.

    ``base`` is the site's path ('' or /jellyfin). '' where there is nothing to protect.
    """
    return _matcher(paths, base)


def login(base: str = "") -> str:
    """An expression for every target at which credentials are tried."""
    return _matcher(LOGIN_ROUTES, base)


def rules(sites: Iterable[Mapping[str, Any]], paths: Iterable[str] = (), guard: bool = False) -> dict[str, Any]:
    """All that a template needs: ``target``, ``methods``, ``lan_methods``, and by domain ``sites`` with ``protected`` and ``login``."""
    listed = list(paths)
    return {
        "target": TARGET,
        "methods": list(METHODS),
        "lan_methods": list(LAN_METHODS),
        "sites": {
            site["domain"]: {
                "protected": protected(listed, site.get("path") or ""),
                "login": login(site.get("path") or "") if guard else "",
            }
            for site in sites
        },
    }
