"""What HAProxy's template makes of the rules: in which order they stand, and what its expressions take, read off the rendered files."""

from __future__ import annotations

import random
import re

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _request_rules as rules

PLAIN, NEW = "haproxy-plain.haproxy.cfg", "haproxy-new.haproxy.cfg"
PATHS = ("/metrics", "/dlna", "/System/Restart", "/System/Shutdown", "/Startup")
TOKENS = (
    "/", ".", "..", "a", "Z-9", "%2e", "%2F", "%2f", "%c3%a4", "%ff", "%", "%5c", "%20", "?", "#", "\\", "[", "]", '"', "x=1&", " ", "@", "%25",
)  # fmt: skip
SPELLED = (
    *TOKENS,
    "/metrics",
    "/%4Detrics",
    "metrics",
    "/emby",
    "/mediabrowser",
    "System",
    "/Restart",
    "%2fstartup",
    "/Users/AuthenticateByName",
)


def section(text: str, head: str) -> list[str]:
    """The lines of a section, without comments."""
    body = re.split(r"(?m)^(?=\S)", text.split(f"\n{head}", 1)[1].split("\n", 1)[1])[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


def expression(line: str) -> re.Pattern[str]:
    """The quoted expression of a rule, as Python reads it (which has possessive quantifiers since 3.11 only)."""
    found = re.search(r'-m reg "((?:\\.|[^"\\])*)"', line)
    assert found, line
    return re.compile(re.sub(r"([*+?])\+", r"\1", re.sub(r"\\(.)", r"\1", found.group(1))))


def the(lines: list[str], *words: str) -> str:
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, (words, found)
    return found[0]


@pytest.mark.parametrize("name", [PLAIN, NEW])
@pytest.mark.parametrize("frontend", ["jellynet-http", "jellynet-https"])
def test_the_target_is_judged_before_all_that_answers(rendered: dict[str, str], name: str, frontend: str) -> None:
    lines = section(rendered[name], f"frontend {frontend} from")
    rule = re.compile(r"(http-request (deny|return|redirect|reject)|use_backend|http-request set-log)")
    answers = [line for line in lines if rule.match(line)]
    assert "pathq -m reg" in answers[0] and "deny_status 400" in answers[0]
    assert "!{ url_beg / } { fc_http_major 1 }" in answers[0], "the absolute form"
    status = [re.search(r"status (\d+)|(use_backend)|(reject|redirect)", line) for line in answers]
    seen = [found.group(1) or found.group(2) or found.group(3) for found in status if found]
    assert seen[:5] == ["400", "400", "400", "405", "405"], seen
    # What is counted is counted before it is refused.
    assert lines.index(the(lines, "track-sc0")) < lines.index(answers[0])


def texts(tokens: tuple[str, ...], count: int) -> list[str]:
    chance = random.Random(9)
    return [
        "/" * (chance.random() < 0.9) + "".join(chance.choice(tokens) for _ in range(chance.randint(0, 6)))
        for _ in range(count)
    ]


def test_the_form_of_a_target_is_that_of_the_table(rendered: dict[str, str]) -> None:
    wanted = re.compile(rules.TARGET)
    for frontend in ("jellynet-http", "jellynet-https"):
        target = expression(the(section(rendered[PLAIN], f"frontend {frontend} from"), "url_beg / https://"))
        judged = [(bool(target.search(text)), bool(wanted.search(text))) for text in texts(TOKENS, 10_000)]
        assert [one for one, other in judged if one != other] == []
        assert 500 < sum(one for one, _ in judged) < 8_000


@pytest.mark.parametrize(
    ("words", "table"), [(["deny_status 403"], rules.protected(PATHS)), (["use_backend jellynet-guard"], rules.login())]
)
def test_what_is_not_certainly_open_is_refused(rendered: dict[str, str], words: list[str], table: str) -> None:
    """PCRE gives up on some targets, which then match nothing: so the rule is on what does not match."""
    line = the(section(rendered[PLAIN], "frontend jellynet-https from"), *words)
    assert re.search(r"!{ pathq -m reg \"\^\(\?!", line) and line.endswith("!{ var(txn.lan) -m bool }")
    open_to_all, closed = expression(line), re.compile(table)
    judged = [(text, bool(open_to_all.search(text)), bool(closed.search(text))) for text in texts(SPELLED, 20_000)]
    assert [text for text, free, shut in judged if free is shut] == []
    assert sum(shut for _, _, shut in judged) > 100


def test_no_header_of_ours_is_the_clients(rendered: dict[str, str]) -> None:
    lines = section(rendered[PLAIN], "frontend jellynet-https from")
    taken = the(lines, "http-request del-header")
    names = set(re.search(r"\^\((.*)\)\$", taken).group(1).split("|"))  # type: ignore[union-attr]
    assert {"connection", "te", "trailer", "upgrade", "x-forwarded-for", "x-jellynet-peer", "x-original-url"} <= names
    after = lines[lines.index(taken) + 1 :]
    assert after[:4] == [
        "http-request set-header Host %[var(txn.site)] if !{ req.fhdr(Host),strcmp(txn.site) eq 0 }",
        "http-request add-header X-Forwarded-For %[src]",
        "http-request add-header X-Forwarded-Proto https",
        "http-request add-header X-Forwarded-Host %[var(txn.site)]",
    ]
    assert "%[req.fhdr(Host)" not in "".join(line for line in after)
    guard = section(rendered[PLAIN], "backend jellynet-guard from")
    assert "http-request set-header X-Jellynet-Peer %[src]" in guard and "server guard 127.0.0.1:889" in guard


def test_what_may_have_trailers_is_looked_at_and_nothing_else(rendered: dict[str, str]) -> None:
    text = rendered[PLAIN]
    looks = "filter lua.jellynet-trailers"
    assert looks in section(text, "backend jellynet-media.example.org-trailers from")
    assert looks in section(text, "backend jellynet-guard from")
    assert looks not in section(text, "backend jellynet-media.example.org from")
    assert "lua-load-per-thread /etc/jellynet/haproxy/current/trailers.lua" in section(text, "global")


def test_time_limits_are_told_apart_as_far_as_the_version_can(rendered: dict[str, str]) -> None:
    old, new = (section(rendered[name], "defaults jellynet") for name in (PLAIN, NEW))
    for lines in (old, new):
        assert {
            "timeout client 14400s",
            "timeout http-request 30s",
            "timeout server 3600s",
            "timeout tunnel 3600s",
        } <= set(lines)
    assert "timeout client-hs 30s" in new and "timeout client-hs 30s" not in old
    assert "http-request set-timeout client 120s if !{ internal.htx.has_eom }" in section(
        rendered[NEW], "frontend jellynet-https from"
    )
    for name in ("media.example.org", "media.example.org-trailers"):
        assert "http-request set-timeout server 120s if !{ internal.htx.has_eom }" in section(
            rendered[PLAIN], f"backend jellynet-{name} from"
        )


def logged(text: str, what: str) -> list[tuple[re.Pattern[str], str]]:
    """The replacements that a value goes through before it is logged."""
    line = re.search(r"(?m)^    log-format (.*)$", text)
    assert line
    plain = re.sub(r"\\(.)", r"\1", line.group(1))
    steps = re.search(r"%\[" + re.escape(what) + r"((?:,regsub\(\"[^\"]*\",\"[^\"]*\"(?:,i)?\))+)\]", plain)
    assert steps, plain
    return [
        (re.compile(pattern, re.IGNORECASE if flag else 0), by)
        for pattern, by, flag in re.findall(r'regsub\("([^"]*)","([^"]*)"(,i)?\)', steps.group(1))
    ]


def said(steps: list[tuple[re.Pattern[str], str]], value: str) -> str:
    for pattern, by in steps:
        value = pattern.sub(by, value, count=1)
    return value


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("/web/index.html?api_key=" + SECRET, "/web/index.html"),
        ("https://media.example.org/Items/a%20b?x", "/Items/a%20b"),
        ("https://media.example.org:443/x", "/x"),
        ("https://u:" + SECRET + "@media.example.org/x", ""),
        ("http://" + SECRET + "@evil/x", ""),
        ("media.example.org:" + SECRET, ""),
        ("/x%253Fapi_key=" + SECRET, "/x"),
        ("/x/%2541pi_key=" + SECRET, "/x/"),
        ("/x/%61pi_key/" + SECRET, "/x/"),
        ("/x/ap%69%5Fkey/" + SECRET, "/x/ap"),
        ("/x;ApiKey=" + SECRET, "/x"),
        ("/x%3Ftoken/" + SECRET, "/x"),
        ("/x/Token/" + SECRET, "/x/"),
        ("/x/%C3%A4/y", "/x/%C3%A4/y"),
    ],
)
def test_no_token_is_logged(rendered: dict[str, str], asked: str, told: str) -> None:
    assert said(logged(rendered[PLAIN], "capture.req.uri"), asked) == told


@pytest.mark.parametrize(
    ("referer", "told"),
    [
        (f"https://u:{SECRET}@media.example.org/", ""),
        (f"https://media.example.org/web/?api_key={SECRET}", "https://media.example.org"),
        ("https://media.example.org", "https://media.example.org"),
        (f"https://media.example.org;{SECRET}/", ""),
    ],
)  # fmt: skip
def test_of_a_referer_the_origin_is_logged(rendered: dict[str, str], referer: str, told: str) -> None:
    assert said(logged(rendered[PLAIN], "var(txn.referer)"), referer) == told


def test_of_a_method_only_a_known_one_is_logged(rendered: dict[str, str]) -> None:
    steps = logged(rendered[PLAIN], "capture.req.method")
    assert [said(steps, method) for method in ("GET", "NOTIFY", SECRET, f"GET{SECRET}", "get")] == [
        "GET",
        "NOTIFY",
        "-",
        "-",
        "-",
    ]
