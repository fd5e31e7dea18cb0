# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""certbot: what its lineages are, when one has to be asked for, how to ask, and what the CA's refusal means.

Pure: files are read by the caller, commands run by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from . import _x509
from ._certificate_pair import Pair
from ._door_sync import lineage
from ._x509 import Certificate

LISTEN = "127.0.0.1"
LOCKED = "Another instance of Certbot is already running"


@dataclass(frozen=True)
class Wanted:
    """One certificate: a domain and a kind of key."""

    domain: str
    key_type: str

    @property
    def lineage(self) -> str:
        """certbot's name for it."""
        return lineage(self.domain, self.key_type)


@dataclass(frozen=True)
class Account:
    """Whom to ask, and as who."""

    directory: str
    email: str = ""
    ca_bundle: str = ""
    port: int = 888

    @property
    def environment(self) -> dict[str, str]:
        """What certbot needs to trust a private ACME server; it stores no such thing itself."""
        return {"REQUESTS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {}


def renewal_values(text: str) -> dict[str, str]:
    """The name = value lines of a renewal configuration; names occur once across its sections."""
    found = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith(("#", "[")):
            found[name.strip()] = value.strip()
    return found


def reasons(
    wanted: Wanted,
    account: Account,
    renewal: Mapping[str, str],
    pair: Pair | None,
    now: datetime,
    renew_days: int = 0,
    accounts: Collection[str] = (),
) -> list[str]:
    """Why this certificate has to be asked for now; empty when the lineage is right. ``accounts`` are the ids that certbot has."""
    if not renewal or pair is None:
        return ["there is none yet" if not renewal else "its files cannot be used"]
    found = []
    if renewal.get("server") != account.directory:
        found.append(f"it is from {renewal.get('server') or 'an unknown server'}")
    expected = {
        "authenticator": "standalone",
        "http01_address": LISTEN,
        # certbot leaves out what is its default
        "http01_port": "" if account.port == 80 else str(account.port),
    }
    differing = [name for name, value in expected.items() if renewal.get(name, "") != value]
    if renewal.get("account") not in accounts:
        differing.append("account")
    if differing:
        found.append(f"its renewal would fail: wrong {', '.join(differing)}")
    leaf = pair.leaf
    if sorted(leaf.names) != [wanted.domain]:
        found.append(f"it names {', '.join(leaf.names) or 'nothing'}")
    if leaf.key_type != wanted.key_type:
        found.append(f"its key is {leaf.key_type}")
    if leaf.not_after <= now:
        found.append(f"it expired at {_x509.timestamp(leaf.not_after)}")
    elif _due(leaf, now, renew_days):
        found.append(f"it expires at {_x509.timestamp(leaf.not_after)}")
    return found


def _due(leaf: Certificate, now: datetime, renew_days: int) -> bool:
    if renew_days <= 0:
        return _x509.due(leaf, now)
    # Never so early that a fresh one is due again at once: CAs count.
    return leaf.not_after - now < min(timedelta(days=renew_days), (leaf.not_after - leaf.not_before) * 2 / 3)


def command(wanted: Wanted, account: Account, binary: str = "certbot") -> list[str]:
    """Ask for a certificate, whatever the lineage is now; the caller knows that it is needed."""
    argv = [
        *(binary, "certonly", "--non-interactive", "--agree-tos", "--no-eff-email"),
        *(
            "--standalone",
            "--http-01-address",
            LISTEN,
            "--http-01-port",
            str(account.port),
            "--preferred-challenges",
            "http",
        ),
        *("--server", account.directory),
        *("--cert-name", wanted.lineage, "--domain", wanted.domain, "--key-type", wanted.key_type),
        *("--force-renewal", "--renew-with-new-domains"),
    ]
    argv += ["--elliptic-curve", "secp256r1"] if wanted.key_type == "ecdsa" else ["--rsa-key-size", "2048"]
    argv += ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
    if "staging" in account.directory:
        # else certbot refuses to put a test certificate where a real one was
        argv.append("--break-my-certs")
    return argv


def foreign(
    renewals: Mapping[str, Mapping[str, str]], names: Mapping[str, list[str]], wanted: list[Wanted]
) -> list[str]:
    """Lineages of the user's own for our domains: their way of renewing may have ended with our proxy."""
    ours = {item.lineage for item in wanted}
    domains = {item.domain for item in wanted}
    return [
        f"certbot also has the lineage {name} for {', '.join(sorted(domains & set(names.get(name, []))))}, which is not this collection's "
        f"and which nothing here reads. If its renewal ({values.get('authenticator', 'unknown')}) fails from now on: certbot delete --cert-name {name}"
        for name, values in sorted(renewals.items())
        if name not in ours and domains & set(names.get(name, []))
    ]


# How a CA's error types (RFC 8555 §6.7) read to somebody who runs a home server.
_TYPES = {
    "caa": "a CAA record in DNS forbids this CA to certify the name",
    "connection": "the CA could not connect to port 80 under the name",
    "dns": "the CA finds no usable address for the name in DNS",
    "unauthorized": "another server than this one answered the CA under the name",
    "incorrectResponse": "another server than this one answered the CA under the name",
    "rateLimited": "the CA's rate limit is reached",
    "rejectedIdentifier": "the CA does not certify this name",
    "unsupportedIdentifier": "the CA does not certify this name",
    "externalAccountRequired": "the CA wants an account that was made with it before (external account binding), which is not supported",
    "invalidContact": "the CA does not take the e-mail address (jellyfin_acme_email)",
    "unsupportedContact": "the CA does not take the e-mail address (jellyfin_acme_email)",
    "serverInternal": "the CA has a problem of its own; try again later",
    "tls": "the CA could not make a TLS connection under the name",
}
_PROBLEM = re.compile(
    r"^\s*(?:Domain|Identifier): *(?P<domain>\S+)\s*\n\s*Type: *(?P<type>\S+)\s*\n\s*Detail: *(?P<detail>.+?)\s*$",
    re.MULTILINE,
)
_LIMIT = re.compile(
    r"rateLimited|too many (?:requests|certificates|new orders|failed authorizations|registrations|currently pending)|rate limit",
    re.I,
)
_UNTIL = re.compile(r"retry after ([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]+(?: ?UTC|Z)?)", re.I)
_RETRY_AFTER = re.compile(r"^Retry-After: *(.+?)\s*$", re.MULTILINE | re.I)


def explain(output: str, log: str = "") -> list[str]:
    """What certbot's output says went wrong. ``log`` is its debug log of the same run, for what it does not print."""
    found = []
    if "accountDoesNotExist" in output + log:
        # certbot 2.1 stumbles over this answer and prints no more than the name of an exception
        return [
            "the CA does not know this host's account any more. Move its folder in /etc/letsencrypt/accounts away and run again"
        ]
    if _LIMIT.search(output):
        until = _UNTIL.search(output)
        header = _RETRY_AFTER.findall(log)
        when = until.group(1) if until else (_seconds(header[-1]) if header else "")
        found.append(
            f"{_TYPES['rateLimited']}: {_limit_words(output)}. Try again {'after ' + when if when else 'later, the CA does not say when'}"
        )
    for match in _PROBLEM.finditer(output):
        kind = match.group("type").rpartition(":")[2]
        if kind == "rateLimited" and found:
            continue
        found.append(f"{_TYPES.get(kind, 'the CA refused')} ({kind}): {match.group('detail')}")
    return found or [_last_words(output)]


def _seconds(value: str) -> str:
    return f"{value} seconds" if value.isdigit() else value


def _limit_words(output: str) -> str:
    line = next(line for line in output.splitlines() if _LIMIT.search(line))
    return re.sub(r"^.*?:: *", "", line.strip()).rstrip(".")[:300]


def _last_words(output: str) -> str:
    """certbot's own words without its advice and the names of its log files."""
    noise = re.compile(
        r"^(Saving debug log|Ask for help|See the logfile|Account registered|Requesting a cert|Renewing an existing|- - |An unexpected error)",
        re.I,
    )
    lines = [line.strip() for line in output.splitlines() if line.strip() and not noise.match(line.strip())]
    return "certbot says: " + (" ".join(lines)[-600:] if lines else "nothing")
