# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links that are either the old or the new, also after a crash."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder last."""
    handle = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Put a file in its place by one rename; nobody but its readers ever sees its content."""
    beside = path.with_name(f".new.{secrets.token_hex(8)}")
    handle = os.open(str(beside), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(str(beside), str(path))
    except BaseException:
        beside.unlink()
        raise
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symlink lead to ``target`` by one rename."""
    beside = link.with_name(f".new.{secrets.token_hex(8)}")
    os.symlink(target, str(beside))
    try:
        os.replace(str(beside), str(link))
    except BaseException:
        beside.unlink()
        raise
    sync_folder(link.parent)
