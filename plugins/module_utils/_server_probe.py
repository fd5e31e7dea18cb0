# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to a Jellyfin server: who are you, and is your first-run wizard done?

GET /System/Info/Public needs no login. The start-up phase of 10.11 and later answers it too, in camelCase
(Jellyfin.Server/ServerSetupApp/SetupServer.cs), and then says nothing about the wizard.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

PRODUCT = "Jellyfin Server"
LIMIT = 65536


def resolve(address: str, port: int) -> list[Any]:
    """What the host's resolver makes of a name or an address; empty when nothing."""
    try:
        return socket.getaddrinfo(address, port, 0, socket.SOCK_DGRAM)
    except OSError:
        return []


def source_address(resolved: list[Any]) -> str:
    """The own address from which packets to the server leave; '' without a route. Nothing is sent."""
    try:
        for family, kind, proto, _name, target in resolved[:1]:
            with socket.socket(family, kind, proto) as probe:
                probe.connect(target)
                return str(probe.getsockname()[0])
    except OSError:
        pass
    return ""


def understand(status: int, body: bytes) -> dict[str, Any]:
    """What an answer to /System/Info/Public says: product, ready, wizard_done, id, name, version."""
    found: dict[str, Any] = {"product": "", "ready": False, "wizard_done": False, "id": "", "name": "", "version": ""}
    try:
        info = json.loads(body)
    except (ValueError, RecursionError):
        return found
    if status != 200 or not isinstance(info, dict):
        return found
    folded = {str(key).lower(): value for key, value in info.items()}
    found["product"] = str(folded.get("productname") or "")
    found["name"] = str(folded.get("servername") or "")
    found["id"] = str(folded.get("id") or "")
    found["version"] = str(folded.get("version") or "")
    # Only the real server writes PascalCase.
    found["ready"] = found["product"] == PRODUCT and "StartupWizardCompleted" in info
    found["wizard_done"] = found["ready"] and info["StartupWizardCompleted"] is True
    return found


def ask(address: str, port: int, path: str, timeout: float) -> dict[str, Any]:
    """Ask the server at address:port, whose BaseUrl is ``path``; unreachable is an answer too."""
    result = understand(0, b"")
    resolved = resolve(address, port)
    result.update(
        reachable=False,
        addresses=sorted({str(item[4][0]) for item in resolved}),
        source_address=source_address(resolved),
        error="",
    )
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        # A server whose BaseUrl is not set yet redirects nothing and answers at the root; so the root is the second try.
        for prefix in dict.fromkeys((path, "")):
            connection.request("GET", prefix + "/System/Info/Public", headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read(LIMIT)
            result["reachable"] = True
            result.update(understand(answer.status, body))
            if result["product"]:
                break
    except (OSError, http.client.HTTPException) as error:
        result["error"] = str(error) or type(error).__name__
    finally:
        connection.close()
    return result
