# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a request tries, and what the server's answer says of it. After Jellyfin's UserController, QuickConnectController and
ExceptionMiddleware. No sockets here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..relay.head import Request
from .attempts import FAILURE, NOTHING, SUCCESS

_LEGACY = ("emby", "mediabrowser")  # prefixes that Jellyfin takes away
# AuthenticationException, SecurityException, ResourceNotFoundException, and what a login plugin throws.
_DENIED = (401, 403, 404, 500)
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)


class BadBody(ValueError):
    """A body that the server could understand otherwise than we do."""


@dataclass(frozen=True)
class Login:
    """`route` is a word for the log."""

    route: str
    name: str = ""  # the user's name as sent
    identifier: str = ""  # or his id
    tried: bytes = b""  # the password or secret
    secret: bool = False
    free: bool = False  # nothing is tried here


def _fold(text: str) -> str:
    """For comparing without regard to case, wider than any reader of ours does it."""
    return text.replace("\u0130", "i").casefold()


def segments(target: str, base: str) -> list[str]:
    """The path's segments as they count, behind every prefix that the server takes away."""
    path = unquote(target.partition("?")[0], errors="replace")
    found = [_fold(part) for part in path.split("/") if part]
    prefix = [_fold(part) for part in base.split("/") if part]
    while found:
        if found[0] in _LEGACY:
            del found[0]
        elif prefix and found[: len(prefix)] == prefix:
            del found[: len(prefix)]
        else:
            break
    return found


def _query(target: str, name: str) -> bytes:
    """The value of a parameter; all of the query where there is not exactly one."""
    query = target.partition("?")[2]
    try:
        values = [
            value for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=64) if _fold(key) == name
        ]
    except ValueError:
        values = []
    return (values[0] if len(values) == 1 else query).encode("utf-8", "surrogatepass")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(_fold(key), value) is not value:
            raise BadBody("it names the same thing twice")
    if len(found) != len(pairs):
        raise BadBody("it names the same thing twice")
    return found


def read_body(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a JSON object, by their folded names. BadBody where the server might read anything else."""
    charset = _CHARSET.search(content_type)
    if charset is not None and charset.group(1).lower() not in ("utf-8", "utf8", "us-ascii"):
        raise BadBody("it is not UTF-8")
    try:
        data = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_pairs, parse_int=str, parse_float=str)
    except BadBody:
        raise
    except (ValueError, RecursionError):
        raise BadBody("it is no JSON in UTF-8") from None
    if not isinstance(data, dict):
        raise BadBody("it is no JSON object")
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items() if value is not None
    }


def read(method: str, target: str, base: str, content_type: str, body: bytes) -> Login:
    """BadBody where a password would pass us unread."""
    if method == "OPTIONS":
        return Login("preflight", free=True)
    parts = segments(target, base)
    if method == "POST" and parts[:1] == ["users"] and len(parts) > 1:
        if parts[1:] == ["authenticatebyname"]:
            fields = read_body(content_type, body)
            return Login("AuthenticateByName", name=fields.get("username", ""), tried=_bytes(fields.get("pw", "")))
        if parts[1:] == ["authenticatewithquickconnect"]:
            fields = read_body(content_type, body)
            return Login("AuthenticateWithQuickConnect", tried=_bytes(fields.get("secret", "")), secret=True)
        if parts[1:] == ["forgotpassword"]:
            fields = read_body(content_type, body)
            return Login("ForgotPassword", tried=_bytes(_fold(fields.get("enteredusername", ""))))
        if parts[1:] == ["forgotpassword", "pin"]:
            fields = read_body(content_type, body)
            return Login("ForgotPassword/Pin", tried=_bytes(fields.get("pin", "")))
        if parts[2:] == ["authenticate"]:
            return Login("Authenticate", identifier=parts[1], tried=_query(target, "pw"))
    if parts[:1] == ["quickconnect"] and len(parts) == 2:
        if parts[1] in ("initiate", "enabled"):
            return Login("QuickConnect/" + parts[1].capitalize(), free=True)
        if parts[1] == "connect" and method == "GET":
            return Login("QuickConnect/Connect", tried=_query(target, "secret"), secret=True)
    # Sent here, so it is one of them in a spelling that we do not know: counted by what it is as a whole.
    return Login("other", tried=target.encode("utf-8", "surrogatepass") + b"\n" + body)


# Fetch Metadata: what a browser says of who asks in its visitor's name (W3C). Other clients send none of it.
_UNASKED = ("no-cors", "navigate")
_OWN_WORDS = (b"authorization", b"x-emby-authorization", b"x-emby-token", b"x-mediabrowser-token")


def from_a_strangers_page(request: Request) -> bool:
    """Whether a page elsewhere has a browser ask, which its visitor knows nothing of: an image, a form, a link, or a request that needed no leave.

    A real client of another origin says who it is in a header that a browser sends only after the server has agreed (CORS preflight).
    """
    mode, site = ("".join(request.values(name)).strip().lower() for name in (b"sec-fetch-mode", b"sec-fetch-site"))
    if mode in _UNASKED:
        return True
    return site == "cross-site" and not any(request.values(name) for name in _OWN_WORDS)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def outcome(login: Login, status: int) -> str | None:
    """What the status alone says; None: the answer's body has to be read (`body_outcome`)."""
    if login.free:
        return NOTHING
    good = 200 <= status < 300
    if login.route in ("AuthenticateByName", "Authenticate"):
        return SUCCESS if good else FAILURE if status in _DENIED else NOTHING
    if login.secret:
        # 401 says that Quick Connect is switched off.
        return FAILURE if status in _DENIED and status != 401 else NOTHING
    if login.route == "ForgotPassword":
        return FAILURE if good or status in _DENIED else NOTHING  # from outside it is always of no use
    if login.route == "ForgotPassword/Pin" and good:
        return None
    return FAILURE if status in _DENIED else NOTHING


def _json(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return {_fold(key): value for key, value in data.items()} if isinstance(data, dict) else {}


def body_outcome(body: bytes) -> str:
    """Of a PIN: a 200 alone is none."""
    return NOTHING if _json(body).get("success") is True else FAILURE


def account_facts(body: bytes) -> tuple[int, str] | None:
    """From the answer to a login: after how many failures Jellyfin locks this account (0: never), and its id."""
    user = _json(body).get("user")
    if not isinstance(user, dict):
        return None
    fields = {_fold(key): value for key, value in user.items()}
    policy = fields.get("policy")
    lockout = None
    if isinstance(policy, dict):
        lockout = next((value for key, value in policy.items() if _fold(key) == "loginattemptsbeforelockout"), None)
    if not isinstance(lockout, int) or isinstance(lockout, bool):
        return None
    identifier = fields.get("id")
    # 0 is what older versions send for their default of three.
    return (3 if lockout == 0 else max(0, lockout)), identifier if isinstance(identifier, str) else ""
