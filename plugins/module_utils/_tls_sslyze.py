# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scanner sslyze, run as a program in an environment of its own, and its JSON turned into the facts that are rated.

Its exit code says nothing (0 also for a host that does not exist), so what counts is its JSON: ``connectivity_status``,
``scan_status`` and the ``status`` of every single scan.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_der
from ansible_collections.jellynet.jellyfin.plugins.module_utils._tls_suites import properties

VERSION = "6.3.1"
HOME = "~/.local/share/jellynet/sslyze"
PLACES = (HOME + "/bin/sslyze", "/opt/sslyze/bin/sslyze", "~/.local/bin/sslyze", "/usr/local/bin/sslyze")
INSTALL = f"python3 -m venv {HOME} && {HOME}/bin/pip install sslyze=={VERSION}"

PROTOCOLS = {
    "ssl_2_0_cipher_suites": "SSLv2",
    "ssl_3_0_cipher_suites": "SSLv3",
    "tls_1_0_cipher_suites": "TLSv1.0",
    "tls_1_1_cipher_suites": "TLSv1.1",
    "tls_1_2_cipher_suites": "TLSv1.2",
    "tls_1_3_cipher_suites": "TLSv1.3",
}
# Asked for by name: the default set compares with Mozilla's guideline 5.7 and its own HSTS check is switched off in its code.
SCANS = {
    "certificate_info": "--certinfo",
    "ssl_2_0_cipher_suites": "--sslv2",
    "ssl_3_0_cipher_suites": "--sslv3",
    "tls_1_0_cipher_suites": "--tlsv1",
    "tls_1_1_cipher_suites": "--tlsv1_1",
    "tls_1_2_cipher_suites": "--tlsv1_2",
    "tls_1_3_cipher_suites": "--tlsv1_3",
    "tls_compression": "--compression",
    "heartbleed": "--heartbleed",
    "openssl_ccs_injection": "--openssl_ccs",
    "robot": "--robot",
    "session_renegotiation": "--reneg",
    "elliptic_curves": "--elliptic_curves",
}
# Without these there is no grade. ROBOT has a probe of our own to fall back on, the groups are seen by TLS 1.3 too.
NEEDED = tuple(name for name in SCANS if name not in ("robot", "elliptic_curves"))
ROBOT = {
    "NOT_VULNERABLE_NO_ORACLE": "",
    "NOT_VULNERABLE_RSA_NOT_SUPPORTED": "",
    "VULNERABLE_WEAK_ORACLE": "a weak oracle",
    "VULNERABLE_STRONG_ORACLE": "a strong oracle",
}
# How often a scan is begun, and with how many seconds left there is a point in it.
TURNS, LEAST_TIME = 3, 2.0
# The names of groups in OpenSSL's old spelling.
CURVES = {"prime256v1": "secp256r1", "prime192v1": "secp192r1"}


class ScannerMissing(Exception):
    """The scanner is not installed; the message says the one command that does it."""


class ScanError(Exception):
    """The scan did not come to an end; the message says why."""


def find(given: str = "") -> str:
    """The scanner's path: the one given, on PATH, or in the usual places."""
    if given:
        path = os.path.expanduser(given)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        raise ScannerMissing(
            f"scanner is {given!r}, and there is no program. Give sslyze's path, or install it: {INSTALL}"
        )
    found = shutil.which("sslyze") or next(
        (os.path.expanduser(place) for place in PLACES if os.access(os.path.expanduser(place), os.X_OK)), None
    )
    if not found:
        raise ScannerMissing(f"the scanner sslyze is not on this host. Install it by: {INSTALL}")
    return found


class NotConnected(ScanError):
    """The scanner did not get a handshake, while others did."""


class Scan:
    """One run of the scanner, in the background. Whatever happens, nothing of it is left behind."""

    def __init__(
        self, scanner: str, address: str, port: int, server_name: str, wanted: Sequence[str] = (), patient: bool = False
    ) -> None:
        self.wanted = tuple(wanted or SCANS)
        self.folder = tempfile.mkdtemp(prefix="jellynet-grade-")
        self.output = os.path.join(self.folder, "scan.json")
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        argv = [
            scanner,
            *(SCANS[name] for name in self.wanted),
            *(["--slow_connection"] if patient else []),
            "--mozilla_config",
            "disable",
            "--json_out",
            self.output,
            "--quiet",
            "--sni",
            server_name,
        ]
        # A session of its own: the scanner has threads and may have children, and all of them end with it.
        self.process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # no module here
            [*argv, target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self.folder,
        )

    def result(self, timeout: float) -> dict[str, Any]:
        """The scans of the one server; those that the connection failed for are without a result."""
        try:
            _out, error = self.process.communicate(timeout=max(0.1, timeout))
        except subprocess.TimeoutExpired:
            raise ScanError(
                "the scan did not come to an end in time: the server stalls or answers too slowly"
            ) from None
        try:
            with open(self.output, encoding="utf-8") as handle:
                return server_result(json.load(handle), self.wanted)
        except (OSError, ValueError) as problem:
            words = error.decode("utf-8", "replace").strip().splitlines()
            raise ScanError(f"the scanner wrote no report: {words[-1] if words else problem}") from problem

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        # Children may live a moment longer than their parent, and write.
        for _turn in range(20):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not os.path.exists(self.folder):
                break
            time.sleep(0.05)


def server_result(report: dict[str, Any], wanted: Sequence[str] = tuple(SCANS)) -> dict[str, Any]:
    """The scans of the one server that was asked for; ScanError where it is no use to ask again."""
    results = report.get("server_scan_results") or []
    if not results:
        said = [str(item.get("error_message")) for item in report.get("invalid_server_strings") or []]
        raise ScanError(f"the scanner did not accept the server: {'; '.join(said) or 'no reason given'}")
    server = results[0]
    if server.get("connectivity_status") != "COMPLETED":
        trace = str(server.get("connectivity_error_trace") or "").strip().splitlines()
        raise NotConnected(f"the scanner could not connect: {trace[-1] if trace else 'no reason given'}")
    if server.get("scan_status") != "COMPLETED" or not server.get("scan_result"):
        raise ScanError(f"the scan ended as {server.get('scan_status')}")
    return {name: dict(server["scan_result"].get(name) or {}) for name in wanted}


def broken_off(scans: dict[str, Any]) -> list[str]:
    """Which scans lost their connection or waited for it in vain: on a busy machine the next try may have it."""
    return [name for name, scan in scans.items() if scan.get("error_reason") == "CONNECTIVITY_ISSUE"]


def demand(scans: dict[str, Any]) -> None:
    """ScanError unless all that a grade needs is there."""
    for name in NEEDED:
        scan = scans.get(name) or {}
        if scan.get("status") != "COMPLETED":
            if name == "session_renegotiation" and not any(
                scans[key]["result"]["accepted_cipher_suites"] for key in PROTOCOLS if key != "tls_1_3_cipher_suites"
            ):
                continue  # there is none in TLS 1.3
            raise ScanError(f"the scan {name} failed: {scan.get('error_reason') or 'NOT RUN'}")


def collect(start: Callable[..., Scan], first: Scan, deadline: float) -> dict[str, Any]:
    """The result of the first run, with what it had no luck with asked again while there is time, more gently."""
    scans: dict[str, Any] = {}
    scan, wanted = first, list(SCANS)
    for turn in range(1, TURNS + 1):
        try:
            scans.update(scan.result(deadline - time.monotonic()))
        except NotConnected:
            if turn == TURNS or deadline - time.monotonic() < LEAST_TIME:
                raise
        except ScanError:
            if not scans:
                raise
            break  # the second try took too long, and what is there may be enough
        finally:
            scan.close()
        if scans:
            # Our own probe answers this one better than the same question again.
            wanted = [name for name in broken_off(scans) if name != "robot"]
        if not wanted or turn == TURNS or deadline - time.monotonic() < LEAST_TIME:
            break
        scan = start(wanted, True)
    demand(scans)
    return scans


def _ephemeral(suite: dict[str, Any]) -> dict[str, Any] | None:
    key = suite.get("ephemeral_key")
    if not key:
        return None
    name = str(key.get("curve_name") or "")
    return {"type": str(key["type_name"]), "bits": int(key["size"]), "group": CURVES.get(name, name)}


def suites(scans: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The accepted suites of each protocol that is offered."""
    found = {}
    for key, version in PROTOCOLS.items():
        result = scans[key]["result"]
        accepted = [
            dict(
                properties(item["cipher_suite"]["name"], int(item["cipher_suite"]["key_size"]), version),
                ephemeral=_ephemeral(item),
            )
            for item in result["accepted_cipher_suites"]
        ]
        if accepted or result["is_tls_version_supported"]:
            found[version] = accepted
    return found


def curves(scans: dict[str, Any]) -> list[str]:
    """The groups that a server without TLS 1.3 takes, as far as the scanner knows them."""
    result = (scans.get("elliptic_curves") or {}).get("result") or {}
    return [CURVES.get(item["name"], item["name"]) for item in result.get("supported_curves") or []]


def _certificate(item: dict[str, Any]) -> dict[str, Any]:
    key = item["public_key"]
    algorithm = str(key["algorithm"])
    return {
        "subject": item["subject"]["rfc4514_string"] if item.get("subject") else "",
        "issuer": item["issuer"]["rfc4514_string"] if item.get("issuer") else "",
        "names": [*item["subject_alternative_name"]["dns_names"], *item["subject_alternative_name"]["ip_addresses"]],
        "serial": format(int(item["serial_number"]), "x"),
        "not_before": item["not_valid_before"],
        "not_after": item["not_valid_after"],
        "fingerprint": item["fingerprint_sha256"],
        "self_signed": _tls_der.is_self_issued(item["as_pem"]),
        "signature": {
            "name": item["signature_algorithm_oid"]["name"],
            "hash": str((item.get("signature_hash_algorithm") or {}).get("name") or ""),
        },
        "key": {
            "algorithm": {"ECPublicKey": "EC", "RSAPublicKey": "RSA", "_EllipticCurvePublicKey": "EC"}.get(
                algorithm, algorithm.strip("_").replace("PublicKey", "")
            ),
            "bits": int(key.get("key_size") or 256),
            "curve": CURVES.get(str(key.get("ec_curve_name") or ""), str(key.get("ec_curve_name") or "")),
            "exponent": key.get("rsa_e"),
        },
        "pem": item["as_pem"],
    }


def deployments(scans: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Each served chain, leaf first: a server may have one for ECDSA and one for RSA."""
    result = scans["certificate_info"]["result"]
    return [
        [_certificate(item) for item in deployment["received_certificate_chain"]]
        for deployment in result["certificate_deployments"]
    ]


def symantec(scans: dict[str, Any]) -> bool:
    listed = scans["certificate_info"]["result"]["certificate_deployments"]
    return any(item.get("verified_chain_has_legacy_symantec_anchor") for item in listed)


def mozilla_store(scans: dict[str, Any]) -> str:
    """The file with Mozilla's roots that the scanner brings along."""
    for deployment in scans["certificate_info"]["result"]["certificate_deployments"]:
        for validation in deployment["path_validation_results"]:
            if validation["trust_store"]["name"] == "Mozilla":
                return str(validation["trust_store"]["path"])
    return ""


def robot(scans: dict[str, Any]) -> str | None:
    """What the scanner found of ROBOT, '' for nothing, None where it could not decide."""
    result = scans["robot"].get("result") or {}
    return ROBOT.get(str(result.get("robot_result")))


def rsa_key(scans: dict[str, Any]) -> tuple[int, int] | None:
    """Modulus and exponent of the server's RSA certificate, if it has one."""
    for deployment in scans["certificate_info"]["result"]["certificate_deployments"]:
        key = deployment["received_certificate_chain"][0]["public_key"]
        if key.get("rsa_n"):
            return int(key["rsa_n"]), int(key["rsa_e"])
    return None


def weaknesses(scans: dict[str, Any]) -> dict[str, Any]:
    """What is rated besides protocols, suites and certificates."""
    renegotiation = scans["session_renegotiation"].get("result") or {}  # none where there is TLS 1.3 alone
    secure = renegotiation.get("supports_secure_renegotiation")
    return {
        "compression": bool(scans["tls_compression"]["result"]["supports_compression"]),
        "heartbleed": bool(scans["heartbleed"]["result"]["is_vulnerable_to_heartbleed"]),
        "ccs": bool(scans["openssl_ccs_injection"]["result"]["is_vulnerable_to_ccs_injection"]),
        "robot": robot(scans) or "",
        "secure_renegotiation": secure,
        "insecure_renegotiation": secure is False
        and int(renegotiation.get("client_renegotiations_success_count") or 0) > 0,
        "symantec": symantec(scans),
    }


def names(chain: Sequence[dict[str, Any]]) -> list[str]:
    return list(chain[0]["names"]) if chain else []
