# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd gives and wants: sockets, readiness, the watchdog, directories, the journal."""

from __future__ import annotations

import logging
import os
import socket
import sys

_FIRST_FD = 3
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def passed_sockets() -> dict[str, socket.socket]:
    """The sockets of our .socket units by their FileDescriptorName; none when not started by systemd."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, socket.socket] = {}
    for offset in range(int(os.environ.get("LISTEN_FDS", "0"))):
        fd = _FIRST_FD + offset
        os.set_inheritable(fd, False)
        found[names[offset] if offset < len(names) else str(fd)] = socket.socket(fileno=fd)
    for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(key, None)
    return found


def notify(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            logging.getLogger(__name__).warning("cannot notify systemd: %s", error)


def watchdog_seconds() -> float:
    """How often the watchdog wants to hear from us, or 0."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 2


def state_directory() -> str:
    return os.environ.get("STATE_DIRECTORY", "").partition(":")[0]


def runtime_directory() -> str:
    return os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]


def noted(**fields: object) -> dict[str, dict[str, object]]:
    """For `extra=` of a message: the journal gets each value as a field of its own, JELLYFIN_PORTS_<NAME>."""
    return {"fields": fields}


class JournalHandler(logging.Handler):
    """Writes to the journal with fields of its own (JELLYFIN_PORTS_*), so that a filter need not parse text."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect("/run/systemd/journal/socket")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {
                "MESSAGE": self.format(record),
                "PRIORITY": str(_PRIORITY.get(record.levelno, 6)),
                "SYSLOG_IDENTIFIER": "jellyfin-ports",
                "CODE_FUNC": record.funcName or "",
                "LOGGER": record.name,
            }
            for key, value in getattr(record, "fields", {}).items():
                fields[f"JELLYFIN_PORTS_{key.upper()}"] = str(value)
            parts: list[bytes] = []
            for key, text in fields.items():
                value_bytes = text.encode("utf-8", "replace")
                parts.append(key.encode() + b"\n" + len(value_bytes).to_bytes(8, "little") + value_bytes + b"\n")
            self._socket.send(b"".join(parts))
        except Exception:
            self.handleError(record)


def set_up_logging(verbose: bool = False) -> None:
    """To the journal under systemd, else to standard error."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if os.environ.get("JOURNAL_STREAM"):
        try:
            handler = JournalHandler()
            handler.setFormatter(logging.Formatter("%(message)s"))
        except OSError:
            handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
