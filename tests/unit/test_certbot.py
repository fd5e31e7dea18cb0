"""certbot: when a certificate is asked for, how, and what a refusal means."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _certbot
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certbot import Account, Wanted
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certificate_pair import Pair
from certificates import DOMAIN, Issuer, later

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
PRODUCTION = "https://acme-v02.api.letsencrypt.org/directory"
WANTED = Wanted(DOMAIN, "ecdsa")
RENEWAL = f"""# renew_before_expiry = 30 days
version = 2.1.0
archive_dir = /etc/letsencrypt/archive/jellynet-{DOMAIN}-ecdsa
fullchain = /etc/letsencrypt/live/jellynet-{DOMAIN}-ecdsa/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = 1a3c2e70ad7aa62c5d5023c3f4f7eaa6
http01_port = 888
http01_address = 127.0.0.1
key_type = ecdsa
pref_challs = http-01,
server = {PRODUCTION}
authenticator = standalone
"""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair("letsencrypt", *Issuer().issue(days=90))


def reasons(
    pair: Pair | None, days: float = 0, *, text: str = RENEWAL, account: Account | None = None, **given: Any
) -> list[str]:
    values = _certbot.renewal_values(text)
    known = {"1a3c2e70ad7aa62c5d5023c3f4f7eaa6"}
    wanted = given.pop("wanted", WANTED)
    return _certbot.reasons(
        wanted,
        account or Account(PRODUCTION),
        values,
        pair,
        later(days),
        accounts=given.pop("accounts", known),
        **given,
    )


def test_a_right_lineage_is_left_alone(pair: Pair) -> None:
    assert reasons(pair) == [] and reasons(pair, 59) == []


def test_none_yet(pair: Pair) -> None:
    assert reasons(None, text="") == reasons(pair, text="") == ["there is none yet"]
    assert reasons(None) == ["its files cannot be used"]


@pytest.mark.parametrize(
    ("line", "other", "words"),
    [
        (f"server = {PRODUCTION}", f"server = {STAGING}", f"it is from {STAGING}"),
        ("authenticator = standalone", "authenticator = nginx", "its renewal would fail: wrong authenticator"),
        ("http01_port = 888\n", "", "its renewal would fail: wrong http01_port"),
        ("http01_address = 127.0.0.1", "http01_address = 0.0.0.0", "its renewal would fail: wrong http01_address"),
        ("account = 1", "account = 2", "its renewal would fail: wrong account"),
    ],
)
def test_made_otherwise(pair: Pair, line: str, other: str, words: str) -> None:
    assert line in RENEWAL
    assert reasons(pair, text=RENEWAL.replace(line, other)) == [words]


def test_from_staging_to_production_and_back(pair: Pair) -> None:
    assert reasons(pair, account=Account(STAGING)) == [f"it is from {PRODUCTION}"]
    assert "--break-my-certs" in _certbot.command(WANTED, Account(STAGING))
    assert "--break-my-certs" not in _certbot.command(WANTED, Account(PRODUCTION))


def test_dates(pair: Pair) -> None:
    assert "expires at" in reasons(pair, 61)[0]
    assert "expired at" in reasons(pair, 91)[0]
    assert reasons(pair, 61, renew_days=20) == [] and reasons(pair, 69, renew_days=20) == []
    assert "expires at" in reasons(pair, 71, renew_days=20)[0]
    assert reasons(pair, 1, renew_days=1000) == [], "a fresh one must not be due at once"


def test_contents(pair: Pair) -> None:
    assert reasons(pair, wanted=Wanted("other.example.org", "ecdsa")) == [f"it names {DOMAIN}"]
    assert reasons(pair, wanted=Wanted(DOMAIN, "rsa")) == ["its key is ecdsa"]


def test_command() -> None:
    argv = _certbot.command(
        WANTED, Account("https://acme.example/dir", "me@example.org", "/ca.pem", 889), "/usr/bin/certbot"
    )
    text = " ".join(argv)
    for words in (
        "/usr/bin/certbot certonly --non-interactive --agree-tos",
        "--standalone --http-01-address 127.0.0.1 --http-01-port 889",
        "--server https://acme.example/dir",
        f"--cert-name jellynet-{DOMAIN}-ecdsa --domain {DOMAIN} --key-type ecdsa",
        "--force-renewal",
        "--email me@example.org",
    ):
        assert words in text
    assert "--register-unsafely-without-email" not in text
    assert "--register-unsafely-without-email" in _certbot.command(WANTED, Account(PRODUCTION))
    assert "rsa" in _certbot.command(Wanted(DOMAIN, "rsa"), Account(PRODUCTION))
    assert Account(PRODUCTION, ca_bundle="/ca.pem").environment == {"REQUESTS_CA_BUNDLE": "/ca.pem"}
    assert Account(PRODUCTION).environment == {}


def test_a_lineage_of_the_user_s_own_is_named() -> None:
    renewals = {"example.org": {"authenticator": "nginx"}, WANTED.lineage: {"authenticator": "standalone"}, "mail": {}}
    names = {"example.org": ["example.org", DOMAIN], WANTED.lineage: [DOMAIN], "mail": ["mail.example.org"]}
    found = _certbot.foreign(renewals, names, [WANTED])
    assert (
        len(found) == 1
        and "lineage example.org for media.example.org" in found[0]
        and "certbot delete --cert-name example.org" in found[0]
    )


# What a refusal means: as certbot 2.1 and 4.0 print it

FAILED = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for media.example.org

Certbot failed to authenticate some domains (authenticator: standalone). The Certificate Authority reported these problems:
  Domain: media.example.org
  Type:   {kind}
  Detail: 203.0.113.7: Fetching http://media.example.org/.well-known/acme-challenge/x: Timeout during connect

Hint: The Certificate Authority failed to download the challenge files from the temporary standalone webserver started by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile for more details.
"""
LIMIT = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
An unexpected error occurred:
{}
Ask for help or search for solutions at https://community.letsencrypt.org.
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("connection", "could not connect to port 80"),
        ("dns", "no usable address"),
        ("unauthorized", "another server"),
        ("caa", "CAA record"),
        ("urn:ietf:params:acme:error:dns", "no usable address"),
        ("somethingNew", "the CA refused (somethingNew)"),
    ],
)
def test_the_ca_s_words(kind: str, words: str) -> None:
    (said,) = _certbot.explain(FAILED.format(kind=kind))
    assert words in said and said.endswith(
        "203.0.113.7: Fetching http://media.example.org/.well-known/acme-challenge/x: Timeout during connect"
    )
    assert "Hint" not in said


@pytest.mark.parametrize(
    ("line", "log", "when"),
    [
        (
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-11-24 03:12:11 UTC: see https://letsencrypt.org/docs/rate-limits/",
            "",
            "Try again after 2026-11-24 03:12:11 UTC",
        ),
        (
            "There were too many requests of a given type :: Error creating new order :: too many failed authorizations recently",
            "HTTP 429\nRetry-After: 3600\nServer: nginx",
            "Try again after 3600 seconds",
        ),
        ("urn:ietf:params:acme:error:rateLimited :: Service busy; retry later.", "", "does not say when"),
    ],
)
def test_a_rate_limit_and_when_it_ends(line: str, log: str, when: str) -> None:
    (said,) = _certbot.explain(LIMIT.format(line), log)
    assert said.startswith("the CA's rate limit is reached: ") and when in said


def test_an_account_that_the_ca_forgot() -> None:
    assert (
        "does not know this host's account"
        in _certbot.explain("AttributeError: can't set attribute", "... accountDoesNotExist ...")[0]
    )


def test_whatever_else_certbot_says() -> None:
    output = "Saving debug log to /x\nThe requested standalone plugin does not appear to be installed\nAsk for help or search for solutions"
    assert _certbot.explain(output) == ["certbot says: The requested standalone plugin does not appear to be installed"]
    assert _certbot.explain("") == ["certbot says: nothing"]
