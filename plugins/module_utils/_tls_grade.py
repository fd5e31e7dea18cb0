# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server, graded: the scanner and our own probes side by side, then trust, then the rating."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _tls_hello,
    _tls_mozilla,
    _tls_probe,
    _tls_rating,
    _tls_robot,
    _tls_score,
    _tls_sslyze,
    _tls_trust,
)

# Debian's and most others' place, where OpenSSL was told of a folder only.
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


class GradeError(Exception):
    """No grade can be given; the message says why, in words."""


def _read(path: str) -> str:
    """A file with roots; none where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def addresses(host: str) -> list[str]:
    """The addresses of a host, IPv4 first: many a home has no IPv6 route."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as problem:
        raise GradeError(f"{host} does not resolve: give a name that DNS knows, or an address") from problem
    listed = sorted(found, key=lambda item: item[0] != socket.AF_INET)
    return list(dict.fromkeys(str(item[4][0]) for item in listed))


def _contact(
    host: str, port: int, server_name: str, timeout: float, deadline: float
) -> tuple[_tls_probe.Target, dict[str, Any]]:
    """The first address that speaks TLS."""
    problems = []
    for address in addresses(host):
        target = _tls_probe.Target(address, port, server_name, timeout, deadline)
        try:
            return target, _tls_probe.first_contact(target)
        except _tls_hello.HelloError as problem:
            problems.append(problem)
            if problem.kind != "unreachable":
                break
    last = problems[-1]
    hint = {
        "unreachable": "see that the server runs and that no firewall is in between",
        "stalled": "the server accepts the connection and then says nothing, or too little",
        "plain_http": "give the port that speaks TLS",
    }.get(last.kind, "")
    where = f"{host} port {port}" if host == server_name else f"{server_name} at {host} port {port}"
    raise GradeError(f"No grade for {where}: {last}{': ' + hint if hint else ''}")


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def _certificates(
    scans: dict[str, Any], server_name: str, openssl: str, roots: str, given: str, deadline: float
) -> list[dict[str, Any]]:
    found = []
    for chain in _tls_sslyze.deployments(scans):
        leaf = chain[0]
        fetch_timeout = max(0.5, min(3.0, deadline - time.monotonic()))
        trust = _tls_trust.judge(openssl, chain, roots, given, fetch_timeout)
        shown = [{key: value for key, value in item.items() if key != "pem"} for item in chain]
        found.append(
            dict(
                shown[0],
                chain=shown,
                lifetime_days=(_moment(leaf["not_after"]) - _moment(leaf["not_before"])).days,
                name_matches=_tls_trust.matches(server_name, leaf["names"]),
                untrusted=trust["untrusted"],
                missing=trust["missing"],
                sent_anchor=any(item["self_signed"] for item in shown[1:]),
            )
        )
    return found


def _order(target: _tls_probe.Target, suites: dict[str, list[dict[str, Any]]]) -> str:
    """Puts each protocol's suites in the server's order where it has one. Returns whose order counts."""
    whose = "unknown"
    for version, code in (("TLSv1.3", _tls_hello.TLS13), ("TLSv1.2", _tls_hello.TLS12)):
        listed = suites.get(version) or []
        decided, order = _tls_probe.preference(target, [suite["name"] for suite in listed], code)
        if order:
            rank = {name: index for index, name in enumerate(order)}
            listed.sort(key=lambda suite: rank.get(suite["name"], len(rank)))
        if decided != "unknown":
            whose = decided  # TLS 1.2 is asked last and has the last word: the guideline's field is about its list
    return whose


def _own_probes(
    target: _tls_probe.Target, http_port: int | None, left: float, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What our own probes see; of what is ``known`` from an earlier turn, only what had no answer is asked."""
    had = {name: seen for name, seen in (known or {}).items() if name != "http" or seen["status"] is not None}
    tasks: dict[str, Any] = {
        "groups": lambda: _tls_probe.groups_13(target, left),
        "preferred": lambda: _tls_probe.preferred_group(target),
        "modern": lambda: _tls_probe.choice(target, "a browser of today", (_tls_hello.TLS13, _tls_hello.TLS12)),
        "tls12": lambda: _tls_probe.choice(target, "a client with TLS 1.2", (_tls_hello.TLS12,)),
        "http": lambda: _tls_probe.http_answer(target),
        "alpn": lambda: _tls_probe.alpn(target),
        "http3": lambda: _tls_probe.http3(target),
        "unknown": lambda: _tls_probe.name_behaviour(target, _tls_probe.UNKNOWN_NAME),
        "absent": lambda: _tls_probe.name_behaviour(target, ""),
    }
    if http_port:
        tasks["redirect"] = lambda: _tls_probe.redirect(target, http_port)
    return {**had, **_tls_probe.together({name: task for name, task in tasks.items() if name not in had}, left)}


def _robot(
    target: _tls_probe.Target, scans: dict[str, Any], suites: dict[str, list[dict[str, Any]]], deadline: float
) -> tuple[str, list[tuple[str, str, str]]]:
    """What is known of ROBOT, and the entry among what is not checked where it stays open."""
    found = _tls_sslyze.robot(scans)
    if found is not None:
        return found, []
    key = _tls_sslyze.rsa_key(scans)
    versions = {name: code for code, name in _tls_hello.VERSIONS.items() if code <= _tls_hello.TLS12}
    able = [
        versions[version]
        for version, listed in suites.items()
        if version in versions and any(suite["name"].startswith("TLS_RSA_WITH_") for suite in listed)
    ]
    if key is None or not able:
        return "", []
    found, why = _tls_robot.probe(target, max(able), key, deadline)
    return found, [("robot", "2009p", f"ROBOT: {why}")] if why else []


def _groups(scans: dict[str, Any], own: dict[str, Any], has_13: bool) -> list[dict[str, Any]]:
    """TLS 1.3's groups as our own probe saw them, and those of older protocols as the scanner did."""
    names = list(own.get("groups") or [])
    if not has_13:
        names = []
    names += [name for name in _tls_sslyze.curves(scans) if name not in names]
    first = own.get("preferred") or ""
    return [
        {"name": name, "post_quantum": name in _tls_hello.POST_QUANTUM, "preferred": name == first} for name in names
    ]


def grade(
    host: str,
    port: int,
    server_name: str,
    ca: str,
    timeout: float,
    scanner: str,
    openssl: str,
    http_port: int | None,
    system_roots: bool = False,
) -> dict[str, Any]:
    """Everything that ``tls_grade_info`` returns. GradeError, ScannerMissing and ScanError say why there is no grade."""
    deadline = time.monotonic() + timeout
    program = _tls_sslyze.find(scanner)
    target, _first = _contact(host, port, server_name, min(5.0, timeout / 3), deadline)

    def start(wanted: Sequence[str] = (), patient: bool = False) -> _tls_sslyze.Scan:
        return _tls_sslyze.Scan(program, target.address, port, server_name, wanted, patient)

    first = start()
    try:
        own = _own_probes(target, http_port, max(1.0, min(10.0, deadline - time.monotonic())))
        scans = _tls_sslyze.collect(start, first, deadline)
        # The scanner keeps the server and this machine busy; now there is time for what got no answer beside it.
        own = _own_probes(target, http_port, min(10.0, deadline - time.monotonic()), own)
    except _tls_sslyze.ScanError as problem:
        raise GradeError(f"No grade for {server_name} at {host} port {port}: {problem}") from problem
    finally:
        first.close()
    roots = _read(_tls_sslyze.mozilla_store(scans))
    if system_roots:
        roots += _read(ssl.get_default_verify_paths().cafile or "") or _read(SYSTEM_ROOTS)
    suites = _tls_sslyze.suites(scans)
    protocols = {name: name in suites for name in _tls_rating.PROTOCOLS}
    if not any(protocols.values()):
        raise GradeError(
            f"No grade for {server_name} at {host} port {port}: the scan found no protocol that it accepts"
        )
    absent = {
        "status": None,
        "hsts": {"state": "unknown", "problem": "HSTS could not be read", "max_age": None},
        "alt_svc": "",
        "error": "stalled",
    }
    answer = own.get("http") or absent
    choices = [own[name] for name in ("modern", "tls12") if name in own]
    facts: dict[str, Any] = {
        "server_name": server_name,
        "protocols": protocols,
        "suites": suites,
        "choices": choices,
        "certificates": _certificates(scans, server_name, openssl, roots, ca, deadline),
        "groups": _groups(scans, own, protocols["TLSv1.3"]),
        "hsts": answer["hsts"],
        "preference": _order(target, suites),
        **_tls_sslyze.weaknesses(scans),
    }
    facts["robot"], undecided = _robot(target, scans, suites, deadline)
    if time.monotonic() > deadline:
        raise GradeError(
            f"No grade for {server_name} at {host} port {port}: {timeout:g} s were not enough for all the questions: "
            "the server answers too slowly, or timeout is too short"
        )
    rated = _tls_score.grade(facts)
    return dict(
        rated,
        rating=_tls_rating.GUIDE,
        not_checked=[
            {"rule": rule, "revision": revision, "why": why}
            for rule, revision, why in (*_tls_rating.NOT_CHECKED, *undecided)
        ],
        host=host,
        port=port,
        server_name=server_name,
        address=target.address,
        protocols=[name for name, offered in protocols.items() if offered],
        suites=suites,
        preference=facts["preference"],
        choices=choices,
        groups=facts["groups"],
        certificates=facts["certificates"],
        hsts=facts["hsts"],
        redirect=own.get("redirect") or {},
        alpn=own.get("alpn") or [],
        http3=dict(own.get("http3") or {"quic": False, "versions": [], "error": "stalled"}, alt_svc=answer["alt_svc"]),
        sni={"unknown": own.get("unknown", "stalled"), "absent": own.get("absent", "stalled")},
        secure_renegotiation=facts["secure_renegotiation"],
        mozilla=dict(
            {name: _tls_mozilla.compare(facts, name) for name in _tls_mozilla.CONFIGURATIONS},
            guideline=_tls_mozilla.GUIDELINE,
        ),
        scanner={"program": program, "version": _tls_sslyze.VERSION},
    )
