# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a served chain is trusted, complete, and for the name: asked of OpenSSL's own verifier.

It is asked at security level 0: a weak key or digest has rules of its own in the guide and must not hide behind "not trusted".
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _probe, _tls_der

# X509_V_ERR_*: the chain could not be built up to a root.
NO_ISSUER = (2, 20, 21)
WORDS = {
    10: "it has expired",
    9: "it is not valid yet",
    18: "it is self-signed",
    19: "it leads to a root that nobody trusts",
    20: "it leads to no root that is trusted",
    21: "it leads to no root that is trusted",
    2: "it leads to no root that is trusted",
}
MAX_CHAIN = 12


def verify(
    openssl: str, chain: Sequence[str], roots: str, helpers: Sequence[str], timeout: float = 5
) -> tuple[int, int, str]:
    """OpenSSL's error number, the depth where it arose, and its words; number 0 means trusted."""
    with tempfile.TemporaryDirectory(prefix="jellynet-trust-") as folder:
        paths = {}
        for name, content in (("roots", roots), ("helpers", "".join([*chain[1:], *helpers])), ("leaf", chain[0])):
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "w", encoding="ascii") as handle:
                handle.write(content)
        argv = [openssl, "verify", "-auth_level", "0", "-no-CApath", "-no-CAstore", "-CAfile", paths["roots"]]
        if chain[1:] or helpers:
            argv += ["-untrusted", paths["helpers"]]
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
            [*argv, paths["leaf"]], capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    if done.returncode == 0:
        return 0, 0, ""
    found = re.search(r"error (\d+) at (\d+) depth lookup: ?(.*)", done.stderr + done.stdout)
    if not found:
        return 1, 0, (done.stderr.strip().splitlines() or ["it cannot be read"])[-1]
    return int(found.group(1)), int(found.group(2)), found.group(3)


def fetch_issuer(certificate: str, timeout: float) -> str:
    """The issuer's certificate from where the certificate says it lies, as browsers and SSL Labs fetch it; '' without."""
    url = _tls_der.issuer_address(certificate)
    if not url:
        return ""
    try:
        answer = _probe.fetch(url, timeout)
    except _probe.ProbeError:
        return ""
    if answer[:1] == b"\x30":
        return _tls_der.pem(answer)
    return "".join(_tls_der.blocks(answer.decode("ascii", "replace"))[:1])


def judge(
    openssl: str, chain: Sequence[dict[str, Any]], roots: str, given: str, fetch_timeout: float
) -> dict[str, str]:
    """``untrusted``: why, or ''. ``missing``: the issuer that should have been served, or ''.

    ``given`` are the user's certificates: the self-issued ones are roots, the others intermediates that a client may know.
    """
    served = [item["pem"] for item in chain][:MAX_CHAIN]
    mine = _tls_der.blocks(given)
    anchors = roots + "".join(item for item in mine if _tls_der.is_self_issued(item))
    known = [item for item in mine if not _tls_der.is_self_issued(item)]
    number, depth, words = verify(openssl, served, anchors, [])
    if number == 0:
        return {"untrusted": "", "missing": ""}
    if number in NO_ISSUER and not chain[-1]["self_signed"]:
        helpers = list(known)
        for _step in range(2):
            fetched = fetch_issuer(helpers[-1] if helpers and helpers[-1] not in known else served[-1], fetch_timeout)
            if fetched:
                helpers.append(fetched)
            if helpers and verify(openssl, served, anchors, helpers)[0] == 0:
                return {"untrusted": "", "missing": f"the certificate of {chain[-1]['issuer']}"}
            if not fetched:
                break
    subject = "" if depth == 0 else f" (at its issuer, depth {depth})"
    return {"untrusted": WORDS.get(number, words) + subject, "missing": ""}


def matches(name: str, patterns: Sequence[str]) -> bool:
    """RFC 6125 §6.4: exact, or a wildcard that stands for one whole leftmost label. Common names do not count."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    wanted = name.lower().rstrip(".")
    for pattern in patterns:
        if address is not None:
            try:
                if ipaddress.ip_address(pattern) == address:
                    return True
            except ValueError:
                pass
            continue
        given = pattern.lower().rstrip(".")
        if given == wanted:
            return True
        first, _dot, rest = given.partition(".")
        if first == "*" and rest.count(".") >= 1 and wanted.partition(".")[2] == rest and wanted.partition(".")[0]:
            return True
    return False
