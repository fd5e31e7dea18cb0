# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a Jellyfin server who it is and whether it is ready. Blocking; run it in a thread."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass

from .client_discovery import Identity, parse_identity
from .config import Upstream

_BODY_LIMIT = 65536


@dataclass(frozen=True)
class Answer:
    """`identity` only when the server is ready; `problem` says why it is not."""

    identity: Identity | None
    problem: str = ""
    slow: bool = False  # it did not answer in the time it was given


class NotReady(Exception):
    """Why a server cannot be announced."""


class TooSlow(NotReady):
    """It may only be busy."""


def fetch(upstream: Upstream, path: str, seconds: float, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of one GET, all of it within `seconds`."""
    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=seconds)
    try:
        connection.request(
            "GET", path, headers={"User-Agent": "jellyfin-ports", "Connection": "close", **(headers or {})}
        )
        response = connection.getresponse()
        body = b""
        while len(body) < _BODY_LIMIT:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooSlow("it answers too slowly")
            if connection.sock is not None:
                connection.sock.settimeout(left)
            part = response.read1(8192)
            if not part:
                break
            body += part
        return response.status, body
    except TimeoutError:
        raise TooSlow(f"no answer within {seconds:g} s") from None
    except OSError as error:
        raise NotReady(f"no connection: {error.strerror or error}") from None
    except (http.client.HTTPException, ValueError) as error:
        raise NotReady(f"it does not speak HTTP ({type(error).__name__})") from None
    finally:
        connection.close()


def ask(upstream: Upstream, seconds: float = 2.0) -> Answer:
    """Who the server is. During its start-up phase it names itself already, but its health is not `Healthy` yet."""
    try:
        status, body = fetch(upstream, f"{upstream.path}/System/Info/Public", seconds)
        if status != 200:
            return Answer(None, f"/System/Info/Public answers {status}")
        identity = parse_identity(body)
        status, body = fetch(upstream, f"{upstream.path}/health", seconds)
        if status != 200 or body.strip() != b"Healthy":
            said = body[:40].decode("ascii", "replace").strip() if status == 200 else str(status)
            return Answer(None, f"it is starting or ill (/health says {said!r})")
    except (NotReady, ValueError) as error:
        return Answer(None, str(error), slow=isinstance(error, TooSlow))
    return Answer(identity)
