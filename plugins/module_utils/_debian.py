# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Debian host says of itself in files: its release, its packages, its SELinux state."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable


def read(path: str) -> str:
    """A small text file's content, or '' where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def os_release(text: str) -> dict[str, str]:
    """os-release(5): id, version, codename and name."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            try:
                fields[name.strip()] = "".join(shlex.split(value))
            except ValueError:
                continue
    return {
        "id": fields.get("ID", ""),
        "version": fields.get("VERSION_ID", ""),
        "codename": fields.get("VERSION_CODENAME", ""),
        "name": fields.get("PRETTY_NAME", ""),
    }


def packages(lines: Iterable[str]) -> dict[str, str]:
    """dpkg's status file: the packages that are fully installed, with their versions."""
    found: dict[str, str] = {}
    name = version = status = ""
    for line in lines:
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Status: "):
            status = line[8:].strip()
        elif line.startswith("Version: "):
            version = line[9:].strip()
        elif line in ("\n", ""):
            if name and status.endswith(" ok installed"):
                found[name] = version
            name = version = status = ""
    if name and status.endswith(" ok installed"):
        found[name] = version
    return found


def selinux(root: str = "/") -> str:
    """enforcing, permissive or disabled."""
    value = read(os.path.join(root, "sys/fs/selinux/enforce")).strip()
    return {"1": "enforcing", "0": "permissive"}.get(value, "disabled")
