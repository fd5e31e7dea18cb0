# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values of the role reverse_proxy: they land in five languages, so only plain ones are let in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _cidr

# \Z and not $, which would let a line's end pass.
_PATH = re.compile(r"^(?:/[A-Za-z0-9._~-]+)+/?\Z")
_POLICY = re.compile(r"^[\x20-\x7e]*\Z")


def _trusted_problem(value: Any) -> str | None:
    return trusted_problem("reverse_proxy_trusted_proxies", value)


def trusted_problem(name: str, value: Any) -> str | None:
    """What is wrong with one network of proxies that are believed, or None."""
    too_wide = "whoever comes would be believed about who he is. Name the networks of your own proxies or of the CDN"
    return _cidr.problem(name, value, "203.0.113.0/24", too_wide)


def _path_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not _PATH.match(value) or "/../" in value + "/" or "/./" in value + "/":
        return (
            f"reverse_proxy_protected_paths holds {value!r}: give a path of letters, digits and . _ ~ - that begins with a slash, "
            "e.g. /System/Restart"
        )
    return None


def problems(values: Mapping[str, Any]) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do."""
    found: list[str | None] = []
    for key, look in (("trusted_proxies", _trusted_problem), ("protected_paths", _path_problem)):
        listed = values.get(key)
        # Before ansible-core 2.19 what is not defined arrives as an empty text.
        if listed is None or listed == "":
            continue
        if isinstance(listed, (str, bytes)) or not isinstance(listed, (list, tuple)):
            found.append(f"reverse_proxy_{key} is {listed!r}: give a list")
        else:
            found += [look(item) for item in listed]
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
