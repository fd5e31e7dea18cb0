# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values of the role reverse_proxy: they land in five languages, so only plain ones are let in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _cidr

# \Z and not $, which would let a line's end pass.
_PATH = re.compile(r"^(?:/[A-Za-z0-9._~-]+)+/?\Z")
_CHECKSUM = re.compile(r"^sha256:[0-9a-f]{64}\Z")
_NUMBERED = re.compile(r"^v?(\d+(?:\.\d+)*)[A-Za-z0-9.+~-]*\Z")
_POLICY = re.compile(r"^[\x20-\x7e]*\Z")


TOO_WIDE = "so many addresses are strangers', and each would be believed about who it is. Name the networks of your own proxies or of the CDN"


def trusted_problems(name: str, listed: Sequence[Any]) -> list[str | None]:
    """What is wrong with the networks of proxies that are trusted."""
    found = [_cidr.problem(name, item, "203.0.113.0/24", TOO_WIDE) for item in listed]
    return [*found, _cidr.together(name, listed, TOO_WIDE)]


def _path_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not _PATH.match(value) or "/../" in value + "/" or "/./" in value + "/":
        return (
            f"reverse_proxy_protected_paths holds {value!r}: give a path of letters, digits and . _ ~ - that begins with a slash, "
            "e.g. /System/Restart"
        )
    return None


def binary_problems(values: Mapping[str, Any], row: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """What is wrong with reverse_proxy_binary, where the row of the chosen proxy needs or takes one.

    ``host`` says the architecture; before it was looked at, any that is named will do.
    """
    binary = values.get("reverse_proxy_binary") or {}
    kind = row.get("binary")
    if kind not in ("required", "optional"):
        return []
    if not isinstance(binary, Mapping):
        return [f"reverse_proxy_binary is {binary!r}: give a version and, by architecture, a source and its checksum"]
    version = str(binary.get("version") or "")
    if kind == "optional" and not version:
        return []
    architecture = str(host.get("architecture") or "")
    named = [binary.get(architecture)] if architecture else [item for key, item in binary.items() if key != "version"]
    if not version or not any(_is_program(item) for item in named):
        where = (
            f"{architecture} (this host's architecture)" if architecture else "the host's architecture (e.g. x86_64)"
        )
        return [
            f"jellyfin_proxy is {values.get('proxy')}, which needs its program named. Set reverse_proxy_binary to a version and, below "
            f"{where}, the source (an https:// address, or a file on the controller; a binary, .tar.gz or .zip) and its checksum as "
            f"sha256:<64 digits>. An example is in docs/proxies/{values.get('proxy')}.md"
        ]
    minimum = str(row.get("minimum") or "0")
    if not _NUMBERED.match(version):
        return [f"reverse_proxy_binary.version is {version!r}: give a number such as {minimum}.0"]
    if _numbers(version) < _numbers(minimum):
        return [
            f"reverse_proxy_binary.version is {version}; the configuration needs {minimum} or newer. Name a newer one"
        ]
    return []


def _is_program(item: Any) -> bool:
    return (
        isinstance(item, Mapping)
        and isinstance(item.get("source"), str)
        and item["source"] != ""
        and _CHECKSUM.match(str(item.get("checksum") or "")) is not None
    )


def _numbers(version: str) -> list[int]:
    """The numbers that a version begins with, those at the end that are 0 left out."""
    numbers = [int(part) for part in re.findall(r"\d+", _NUMBERED.match(version).group(1))]  # type: ignore[union-attr]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def problems(values: Mapping[str, Any]) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do."""
    found: list[str | None] = []
    for key in ("trusted_proxies", "protected_paths"):
        listed = values.get(key)
        # Before ansible-core 2.19 what is not defined arrives as an empty text.
        if listed is None or listed == "":
            continue
        if isinstance(listed, (str, bytes)) or not isinstance(listed, (list, tuple)):
            found.append(f"reverse_proxy_{key} is {listed!r}: give a list")
        elif key == "trusted_proxies":
            found += trusted_problems(f"reverse_proxy_{key}", listed)
        else:
            found += [_path_problem(item) for item in listed]
    policy = values.get("csp")
    if policy is not None and (not isinstance(policy, str) or not _POLICY.match(policy)):
        found.append(
            f"reverse_proxy_csp is {policy!r}: a header is one line of plain characters. Write the policy on one line"
        )
    if isinstance(policy, str) and ("{{" in policy or "}}" in policy):
        found.append(
            f"reverse_proxy_csp is {policy!r}: it has {{{{ or }}}}, which Traefik takes for a template. No policy needs them; drop them"
        )
    timeout = values.get("idle_timeout")
    if timeout not in (None, "") and (not str(timeout).isdigit() or not 60 < int(timeout) <= 604800):
        found.append(
            f"reverse_proxy_idle_timeout is {timeout!r}: give seconds, more than 60 (the server's own patience with a quiet websocket) "
            "and at most 604800"
        )
    return [problem for problem in found if problem]
