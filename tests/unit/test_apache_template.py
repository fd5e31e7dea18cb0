"""The expressions in Apache's templates; that Apache does what they say is for the tests on real hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as rules
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined
from test_request_rules import ACCEPTED, REFUSED

ROLE = Path(__file__).resolve().parents[2] / "roles" / "reverse_proxy"
TEXT = (ROLE / "templates" / "apache" / "common.conf.j2").read_text()
WORDS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["_reverse_proxy_token_words"]
TOKEN = "s3cr3tT0ken"


def expression(sign: str) -> str:
    """The first expression in quotes on the line that `sign` is on."""
    line = next(line for line in TEXT.splitlines() if sign in line)
    found = re.search(r'"([^"]+)"', line.partition(sign)[2])
    assert found, line
    return found[1].replace("{{ _reverse_proxy_token_words }}", WORDS).removeprefix("!")


PLAIN = expression("RewriteCond %{ENV:JELLYNET_TARGET}")


@given(st.from_regex(PLAIN.replace("$", ""), fullmatch=True))
def test_a_plain_target_is_an_accepted_one(target: str) -> None:
    """The short look may only take what the whole expression takes: what it takes is judged no further."""
    assert re.fullmatch(rules.TARGET, target)


@pytest.mark.parametrize("target", REFUSED)
def test_what_is_refused_is_not_plain(target: str) -> None:
    assert not re.fullmatch(PLAIN, target)


def test_the_short_look_spares_most_of_what_clients_ask_for() -> None:
    assert re.fullmatch(PLAIN, "/web/main.jellyfin.bundle.js?x=%zz")
    assert re.fullmatch(PLAIN, "/Users/8c0d/Items/Latest?api_key=1&Fields=a,b")
    assert len([target for target in ACCEPTED if re.fullmatch(PLAIN, target)]) < len(ACCEPTED)


def test_the_target_is_judged_before_any_other_rule() -> None:
    kept = [line for line in TEXT.splitlines() if line.startswith("RewriteRule") and "jellynet-" not in line]
    assert kept[:2] == ["RewriteRule ^ - [E=JELLYNET_TARGET:%1]", "RewriteRule ^ - [R=400,L]"]


@pytest.mark.parametrize(
    "path",
    [
        f"/x/api_key={TOKEN}", f"/x/ApiKey={TOKEN}", f"/x%3Fapi_key={TOKEN}", f"/x%253Fapi_key={TOKEN}", f"/x/%2541pi_key={TOKEN}",
        f"/x/%61pi_key={TOKEN}", f"/x/a%70i_key/{TOKEN}", f"/x;a={TOKEN}", f"/x&t={TOKEN}", f"/x#{TOKEN}", f"/x\\{TOKEN}", f"/token/{TOKEN}",
    ],
)  # fmt: skip
def test_the_log_cuts_a_path_where_a_token_could_begin(path: str) -> None:
    found = re.match(expression("SetEnvIfNoCase Request_URI"), path, re.IGNORECASE)
    assert found
    logged = found[1]
    assert TOKEN not in logged
    assert path.startswith(logged)


@pytest.mark.parametrize("path", ["/Items/8c0d/PlaybackInfo", "/web/index.html", "/a..b/c", "/metrics"])
def test_the_log_keeps_an_ordinary_path(path: str) -> None:
    found = re.match(expression("SetEnvIfNoCase Request_URI"), path, re.IGNORECASE)
    assert found and found[1] == path


@pytest.mark.parametrize(
    ("referer", "logged"),
    [
        ("https://media.example.org/web/?api_key=1", "https://media.example.org"),
        (f"https://user:{TOKEN}@media.example.org/web", "https://media.example.org"),
        (f"https://{TOKEN}@a@media.example.org:8443/", "https://media.example.org:8443"),
        (f"https://media.example.org\\{TOKEN}", None),
        (f"https://{TOKEN}=x/", None),
        (f"javascript:{TOKEN}", None),
    ],
)
def test_of_the_page_before_the_log_has_the_host_alone(referer: str, logged: str | None) -> None:
    found = re.match(expression("SetEnvIfNoCase Referer"), referer, re.IGNORECASE)
    assert (found[1] + found[2] if found else None) == logged


@pytest.mark.parametrize("sandboxed", [True, False])
def test_where_sites_of_the_users_own_live_neither_workers_nor_sandbox_are_set(sandboxed: bool) -> None:
    environment = Environment(undefined=StrictUndefined)
    environment.filters |= {"comment": str, "bool": bool}
    said = {
        name: environment.from_string((ROLE / "templates" / "apache" / name).read_text()).render(
            ansible_managed="managed", _reverse_proxy_sandboxed=sandboxed
        )
        for name in ("unit.conf.j2", "limits.conf.j2")
    }
    assert ("ProtectSystem=strict" in said["unit.conf.j2"]) is sandboxed
    assert ("MaxRequestWorkers 1024" in said["limits.conf.j2"]) is sandboxed
    assert "ServerTokens Prod" in said["limits.conf.j2"]
