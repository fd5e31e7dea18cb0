# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the command line talks with a running process: one line over a Unix socket, one JSON object back.

The line is a command, or a JSON object for what is the process's own business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

PROCESSES = ("discovery", "relay", "limits", "guard")
_LIMIT = 1 << 22
_REQUEST_LIMIT = 4096


class NotRunning(Exception):
    """Why a process cannot be asked."""


def socket_path(process: str) -> str:
    root = os.environ.get("JELLYFIN_PORTS_RUN", "/run")
    return f"{root}/jellyfin-ports-{process}/control"


async def serve(
    path: str, handle: Callable[[str], dict[str, Any] | Awaitable[dict[str, Any]]]
) -> asyncio.AbstractServer:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 5)
            answer = handle(line.decode("utf-8", "replace").strip())
            if not isinstance(answer, dict):
                answer = await answer
            writer.write(json.dumps(answer).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), 5)
        except (OSError, ValueError, asyncio.TimeoutError):
            pass
        finally:
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    old = os.umask(0o117)
    try:
        return await asyncio.start_unix_server(one, path, limit=_REQUEST_LIMIT)
    finally:
        os.umask(old)


def ask(process: str, command: str, seconds: float = 5.0) -> dict[str, Any]:
    path = socket_path(process)
    received = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(seconds)
        try:
            channel.connect(path)
            channel.sendall(command.encode() + b"\n")
            while not received.endswith(b"\n"):
                part = channel.recv(65536)
                if not part or len(received) > _LIMIT:
                    break
                received += part
        except PermissionError:
            raise NotRunning("only root may ask it") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning("not running") from None
        except OSError as error:
            raise NotRunning(f"does not answer: {error}") from None
    try:
        answer = json.loads(received)
    except ValueError:
        raise NotRunning("does not answer") from None
    return answer if isinstance(answer, dict) else {}
