# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scanner cannot see: post-quantum groups, whose order of suites counts, unknown names, HSTS, redirect, ALPN, HTTP/3."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _probe, _tls_hello, _tls_hsts
from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_hello import SSL3, TLS12, TLS13, HelloError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_suites import properties

ALL_GROUPS = tuple(_tls_hello.GROUPS.values())
BROWSER_GROUPS = tuple(_tls_hello.GROUPS[name] for name in ("X25519MLKEM768", "X25519", "secp256r1", "secp384r1"))
UNKNOWN_NAME = "jellynet-unknown.invalid"
MODERN = (*_tls_hello.SUITES_13.values(), *_tls_hello.BROWSER_SUITES_12)
# IANA's numbers of the suites that browsers offer, for the words of a report.
SUITE_NAMES = {
    **{code: name for name, code in _tls_hello.SUITES_13.items()},
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
}
SUITE_CODES = {name: code for code, name in SUITE_NAMES.items()}

# What a question gets when the time is over already.
LEAST = 0.1


class Target:
    """Whom to ask, how long one question may take, and when the last answer must be here (by ``time.monotonic``)."""

    def __init__(
        self, address: str, port: int, server_name: str, timeout: float, deadline: float = float("inf")
    ) -> None:
        self.address, self.port, self.server_name = address, port, server_name
        self._timeout, self._deadline = timeout, deadline

    @property
    def timeout(self) -> float:
        return max(LEAST, min(self._timeout, self._deadline - time.monotonic()))

    def hello(
        self, suites: Sequence[int], versions: Sequence[int], groups: Sequence[int], server_name: str | None = None
    ) -> dict[str, Any]:
        name = self.server_name if server_name is None else server_name
        return _tls_hello.ask(
            self.address, self.port, _tls_hello.client_hello(suites, versions, groups, name), self.timeout
        )


def together(tasks: Mapping[str, Callable[[], Any]], timeout: float) -> dict[str, Any]:
    """Runs the tasks side by side. What does not come to an end in time is missing from the result."""
    results: dict[str, Any] = {}

    def run(name: str, task: Callable[[], Any]) -> None:
        results[name] = task()

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in tasks.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(results)


def first_contact(target: Target) -> dict[str, Any]:
    """Whether TLS is spoken there at all. HelloError says in words why not."""
    refusal: dict[str, Any] = {}
    for versions in ((TLS13, TLS12), (TLS12,), (SSL3,)):
        try:
            answer = target.hello(_tls_hello.ANY_SUITES, versions, ALL_GROUPS)
        except HelloError as problem:
            # A server that is intolerant of a version closes the connection; one more try tells it from a dead one.
            if problem.kind != "closed" or versions == (SSL3,):
                raise
            continue
        if answer["alert"] is None:
            return answer
        refusal = answer
    if refusal.get("alert_name") == "unrecognized_name":
        raise HelloError("refused", f"it serves no such name as {target.server_name} (alert {refusal['alert_name']})")
    raise HelloError("refused", f"it refuses every handshake (alert {refusal.get('alert_name', 'none')})")


def takes_group(target: Target, group: int) -> bool:
    """With an empty key share, a server that takes the group asks for it in a HelloRetryRequest."""
    try:
        answer = target.hello(tuple(_tls_hello.SUITES_13.values()), (TLS13,), (group,))
    except HelloError:
        return False
    return answer["alert"] is None and answer["group"] == group


def groups_13(target: Target, together_timeout: float) -> list[str]:
    """The groups that TLS 1.3 takes, in the order of this list."""
    tasks = {name: (lambda code=code: takes_group(target, code)) for name, code in _tls_hello.GROUPS.items()}
    taken = together(tasks, together_timeout)
    return [name for name in _tls_hello.GROUPS if taken.get(name)]


def preferred_group(target: Target) -> str:
    """The group that a browser of today gets."""
    try:
        answer = target.hello(tuple(_tls_hello.SUITES_13.values()), (TLS13,), BROWSER_GROUPS)
    except HelloError:
        return ""
    return _tls_hello.GROUP_NAMES.get(answer.get("group") or 0, "")


def choice(target: Target, client: str, versions: Sequence[int]) -> dict[str, Any]:
    """The suite that a client of today ends up with; ``suite`` is '' where there is no handshake."""
    found = {"client": client, "version": "", "suite": "", "forward_secrecy": False, "aead": False}
    try:
        answer = target.hello(MODERN, versions, BROWSER_GROUPS)
    except HelloError:
        return found
    # A server without these versions answers with an older one, and the client then hangs up.
    if answer["alert"] is not None or answer["version"] not in versions:
        return found
    version = _tls_hello.VERSIONS.get(answer["version"], "")
    name = SUITE_NAMES.get(answer["suite"], f"0x{answer['suite']:04X}")
    has = properties(name, 128, version)
    return dict(found, version=version, suite=name, forward_secrecy=has["forward_secrecy"], aead=has["aead"])


def _pick(target: Target, codes: Sequence[int], version: int) -> int | None:
    try:
        answer = target.hello(codes, (version,), BROWSER_GROUPS)
    except HelloError:
        return None
    return int(answer["suite"]) if answer["alert"] is None else None


def preference(target: Target, offered: Sequence[str], version: int) -> tuple[str, list[str]]:
    """client, server or unknown; and the suites in the server's order, where it has one."""
    codes = [SUITE_CODES[name] for name in offered if name in SUITE_CODES]
    if len(codes) < 2:
        return "unknown", []
    forth, back = _pick(target, codes, version), _pick(target, codes[::-1], version)
    if forth is None or back is None:
        return "unknown", []
    if forth != back:
        # Its own order among the suites of one kind of certificate, the client's otherwise, also looks like the client's.
        return "client", []
    order = [forth]
    left = [code for code in codes if code != forth]
    while left:
        picked = _pick(target, left, version)
        if picked is None or picked not in left:
            break
        order.append(picked)
        left.remove(picked)
    return "server", [SUITE_NAMES[code] for code in order]


def name_behaviour(target: Target, server_name: str) -> str:
    """What happens to a client that asks for another name, or for none."""
    try:
        answer = target.hello(MODERN, (TLS13, TLS12), ALL_GROUPS, server_name)
    except HelloError as problem:
        return f"refused ({problem})"
    return "answered" if answer["alert"] is None else f"refused (alert {answer['alert_name']})"


def http_answer(target: Target) -> dict[str, Any]:
    """HSTS and Alt-Svc of the front page. The certificate is looked at elsewhere."""
    port = "" if target.port == 443 else f":{target.port}"
    name = f"[{target.server_name}]" if ":" in target.server_name else target.server_name
    probe = {"url": f"https://{name}{port}/", "address": target.address}
    try:
        seen, _body = _probe.http_exchange(probe, "", target.timeout, check=False, read=0)
    except _probe.ProbeError as problem:
        unknown = dict(_tls_hsts.parse([]), state="unknown", problem=f"HSTS could not be read: {problem}")
        return {"status": None, "hsts": unknown, "alt_svc": "", "error": str(problem)}
    return {
        "status": seen["status"],
        "hsts": _tls_hsts.parse(seen["hsts"]),
        "alt_svc": seen["headers"].get("alt-svc", ""),
        "error": "",
    }


def redirect(target: Target, port: int) -> dict[str, Any]:
    """Where plain HTTP leads to."""
    found: dict[str, Any] = {
        "port": port,
        "status": None,
        "location": "",
        "to_https": False,
        "permanent": False,
        "error": "",
    }
    name = f"[{target.server_name}]" if ":" in target.server_name else target.server_name
    probe = {"url": f"http://{name}{'' if port == 80 else f':{port}'}/", "address": target.address}
    try:
        seen, _body = _probe.http_exchange(probe, "", target.timeout, read=0)
    except _probe.ProbeError as problem:
        return dict(found, error=str(problem))
    location = str(seen["headers"].get("location", ""))
    return dict(
        found,
        status=seen["status"],
        location=location,
        to_https=300 <= seen["status"] < 400 and location.startswith("https://"),
        permanent=seen["status"] in (301, 308),
    )


def alpn(target: Target) -> list[str]:
    """Which of HTTP/2 and HTTP/1.1 are negotiated."""
    found = []
    for protocol in ("h2", "http/1.1"):
        try:
            connection, tls = _probe.open_tls(
                target.address, target.port, target.server_name, "", target.timeout, [protocol], check=False
            )
        except _probe.ProbeError:
            continue
        connection.close()
        if tls["alpn"] == protocol:
            found.append(protocol)
    return found


def http3(target: Target) -> dict[str, Any]:
    """Whether QUIC answers on the same port."""
    try:
        seen = _probe.probe_quic({"address": target.address, "port": target.port}, "", min(1.0, target.timeout))
    except OSError as problem:
        return {"quic": False, "versions": [], "error": _probe.words(problem, False, target.timeout)}
    return {"quic": bool(seen["v1"]), "versions": seen["versions"], "error": ""}
