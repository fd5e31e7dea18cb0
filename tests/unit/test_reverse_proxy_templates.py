"""What the templates make of values and versions; whether a daemon likes it is for the tests on real hosts."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from proxy_files import CSP, HERE, PROXIES, whole


@pytest.mark.parametrize("proxy", ["nginx", "apache", "haproxy"])
def test_the_post_quantum_group_is_offered_only_by_a_library_that_has_it(rendered: dict[str, str], proxy: str) -> None:
    assert "X25519MLKEM768:X25519:prime256v1:secp384r1" in whole(rendered, f"{proxy}-new")
    for name in ("plain", "nothing-installed"):
        text = whole(rendered, f"{proxy}-{name}")
        assert "MLKEM" not in text
        assert "X25519:prime256v1:secp384r1" in text


def test_go_programs_have_names_of_their_own_for_groups(rendered: dict[str, str]) -> None:
    assert "curves x25519 secp256r1 secp384r1" in rendered["caddy-plain.Caddyfile"]
    options = yaml.safe_load(rendered["traefik-plain.dynamic.yml"])["tls"]["options"]["default"]
    assert options["curvePreferences"] == ["X25519MLKEM768", "X25519", "CurveP256", "CurveP384"]


def test_nginx_speaks_http2_in_the_form_that_it_takes(rendered: dict[str, str]) -> None:
    old, new = rendered["nginx-plain.sites.conf"], rendered["nginx-new.sites.conf"]
    assert "listen 443 ssl http2;" in old
    assert "http2 on;" not in old
    assert "listen 443 ssl;" in new
    assert "http2 on;" in new
    assert "ssl_session_tickets off;" in rendered["nginx-plain.tls.conf"]
    assert "ssl_session_tickets" not in rendered["nginx-new.tls.conf"]


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_http3_is_offered_by_builds_that_have_it(rendered: dict[str, str], proxy: str) -> None:
    old, new = whole(rendered, f"{proxy}-plain"), whole(rendered, f"{proxy}-new")
    assert "quic" not in old
    assert "Alt-Svc" not in old.replace("proxy_hide_header Alt-Svc", "").replace("del-header Alt-Svc", "")
    assert "quic" in new
    assert "h3=" in new


def test_no_file_holds_the_word_for_nothing(rendered: dict[str, str]) -> None:
    """What a template that says nothing at a place may come out as."""
    for file, text in rendered.items():
        assert not re.search(r"(?m)^\s*(None|Undefined)\b|\bNone\s*$", text), file


@pytest.mark.parametrize("proxy", PROXIES)
def test_modern_is_tls_13_with_ecdsa_alone(rendered: dict[str, str], proxy: str) -> None:
    text = whole(rendered, f"{proxy}-modern")
    for word in ("TLSv1.2", "tls1.2", "VersionTLS12", "ECDHE-", "TLS_ECDHE", "/rsa/"):
        assert word not in text
    assert "/ecdsa/" in text
    assert re.search(r"TLSv1\.3|tls1\.3|VersionTLS13", text)


@pytest.mark.parametrize("proxy", PROXIES)
def test_without_lan_and_ipv6_nobody_is_lan_and_nothing_listens_on_ipv6(rendered: dict[str, str], proxy: str) -> None:
    text = whole(rendered, f"{proxy}-bare")
    assert "192.168.1.0" not in text
    if proxy in ("nginx", "haproxy"):
        assert "[::]" not in text


@pytest.mark.parametrize("proxy", PROXIES)
def test_text_of_the_users_stays_what_it_is(rendered: dict[str, str], proxy: str) -> None:
    text = whole(rendered, f"{proxy}-text")
    assert "max-age=63072000; includeSubDomains" in text
    assert "# mine" in text
    if proxy == "traefik":
        headers = yaml.safe_load(rendered["traefik-text.dynamic.yml"])["http"]["middlewares"]["headers1"]["headers"]
        assert headers["customResponseHeaders"]["Content-Security-Policy"] == CSP


@pytest.mark.parametrize("proxy", PROXIES)
def test_hsts_is_not_sent_without_a_value(rendered: dict[str, str], proxy: str) -> None:
    assert "max-age=63072000" not in whole(rendered, f"{proxy}-plain")


def test_a_long_name_gets_the_room_that_it_needs(rendered: dict[str, str]) -> None:
    assert "server_names_hash_bucket_size 128;" in rendered["nginx-long.http.conf"]
    assert "server_names_hash_bucket_size" not in rendered["nginx-plain.http.conf"]


@pytest.mark.parametrize("name", ["plain", "new", "modern", "bare", "text", "unfinished"])
def test_traefiks_files_are_yaml(rendered: dict[str, str], name: str) -> None:
    for file in ("traefik.yml", "dynamic.yml"):
        assert isinstance(yaml.safe_load(rendered[f"traefik-{name}.{file}"]), dict)


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_site_is_proved_on_both_ports(rendered: dict[str, str], proxy: str) -> None:
    plan = json.loads(rendered[f"{proxy}-unfinished.plan"])
    asked = {(proof["url"].split(":")[0], proof["server_name"]) for proof in plan["proof"]}
    assert asked == {
        (scheme, name) for scheme in ("http", "https") for name in ("media.example.org", "two.example.org")
    }
    reader = next(file for file in plan["files"] if "/readers.d/" in file["path"])
    assert set(json.loads(reader["content"])) == {"unit", "how"}


def test_whoever_has_the_ports_is_found_unless_it_is_ours_or_shares_them(rendered: dict[str, str]) -> None:
    assert [item["unit"] for item in json.loads(rendered["haproxy-taken.plan"])["foreign"]] == ["nginx.service"]
    over = json.loads(rendered["haproxy-takes-over.plan"])
    assert (over["foreign"], over["conflicts"]) == ([], ["nginx.service"])
    assert json.loads(rendered["nginx-lives-beside.plan"])["foreign"] == []
    assert [item["unit"] for item in json.loads(rendered["caddy-tunnel.plan"])["foreign"]] == ["wg.service"]
    assert json.loads(rendered["caddy-tunnel-lives-on.plan"])["foreign"] == []
    assert [item["port"] for item in json.loads(rendered["caddy-own.plan"])["foreign"]] == [8080]
    assert json.loads(rendered["caddy-ours.plan"])["foreign"] == []


def test_a_newer_caddy_knows_trusted_proxies_and_lan_in_both_spellings(rendered: dict[str, str]) -> None:
    new, old = rendered["caddy-newer.Caddyfile"], rendered["caddy-plain.Caddyfile"]
    assert "trusted_proxies static 198.51.100.0/24 2001:db8:1::/48 ::ffff:198.51.100.0/120\n" in new
    assert "not client_ip 192.168.1.0/24 fd00:1::/64 ::ffff:192.168.1.0/120\n" in new
    assert "header_up Host {args[0]}\n" in new
    assert "not remote_ip 192.168.1.0/24 fd00:1::/64\n" in old
    assert "header_up Host {args.0}\n" in old


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_a_server_with_a_name_is_waited_for(rendered: dict[str, str], proxy: str) -> None:
    """Both look the name up once, when they start, and the network may come up later."""
    assert "Restart=on-failure" in rendered[f"{proxy}-named.jellynet.conf"] or "Restart=on-failure" in whole(
        rendered, f"{proxy}-named"
    )
    assert "Restart=on-failure" not in whole(rendered, f"{proxy}-plain")


def test_while_the_wizard_is_unfinished_apache_excepts_the_challenge_over_plain_http_alone(
    rendered: dict[str, str],
) -> None:
    plain, tls = rendered["apache-unfinished.sites.conf"].split("ServerName media.example.org")[1:3]
    challenge = 'RewriteCond %{ENV:JELLYNET_TARGET} "!^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$"'
    assert challenge in plain
    assert "RewriteRule ^ - [R=503" in plain
    assert challenge not in tls
    assert "RewriteRule ^ - [R=503" in tls


def test_what_a_staged_set_goes_through_names_the_program_and_the_doors(rendered: dict[str, str]) -> None:
    tests = {proxy: json.loads(rendered[f"{proxy}-plain.plan"])["tests"] for proxy in PROXIES}
    program = f"/usr/local/lib/jellynet/traefik-3.7.15-{'a' * 12}/traefik"
    assert tests["caddy"]["check"][0]["argv"][:2] == ["/usr/bin/caddy", "validate"]
    assert tests["traefik"]["check"][0]["argv"] == [program, "version"]
    assert program in tests["traefik"]["trial"]["argv"][-1]
    assert "{{" not in str(tests)
    for proxy in PROXIES:
        last = tests[proxy].get("trial", tests[proxy]["check"][0])
        assert "/etc/jellynet/certificates/media.example.org" in last["needs"]


def test_nothing_is_written_in_the_order_of_a_set() -> None:
    """Ansible's filters for sets give another order in each process, and a second run would change the file."""
    for path in (HERE.parents[1] / "roles").glob("*/templates/**/*.j2"):
        for found in re.findall(r"\|\s*(?:difference|intersect|union|symmetric_difference)\(.*", path.read_text()):
            assert "sort" in found, f"{path}: {found}"


@pytest.mark.parametrize("proxy", ["caddy", "traefik"])
def test_programs_in_go_collect_garbage_less_often(rendered: dict[str, str], proxy: str) -> None:
    assert "Environment=GOGC=400 GOMEMLIMIT=512MiB\n" in rendered[f"{proxy}-plain.jellynet.conf"]


def test_a_header_is_set_or_deleted_by_caddy_never_both(rendered: dict[str, str]) -> None:
    """It deletes last: what is in both lists would be gone."""
    for name in ("plain", "text", "newer"):
        for block in re.findall(r"defer\n(.*?)\n\t\t}", rendered[f"caddy-{name}.Caddyfile"], re.S):
            words = [line.split()[0] for line in block.splitlines()]
            assert len(words) == len({word.lstrip("-") for word in words}), block


def test_haproxy_compares_names_before_it_looks_for_a_port(rendered: dict[str, str]) -> None:
    text = rendered["haproxy-unfinished.haproxy.cfg"]
    assert "str(media.example.org) if { req.fhdr(Host) -m str -i media.example.org }" in text
    assert "-m reg -i ^(media\\.example\\.org|two\\.example\\.org):[0-9]{1,5}$ }" in text
    assert "default_backend jellynet-two.example.org" in text


def test_default_sites_that_are_the_distributions_own_go_out_of_the_way(rendered: dict[str, str]) -> None:
    files = json.loads(rendered["nginx-plain.plan"])["files"]
    assert {"path": "/etc/nginx/sites-enabled/default", "content": "", "effect": "reload"} in files


def test_a_limit_of_0_given_as_text_is_none(rendered: dict[str, str]) -> None:
    for proxy in PROXIES:
        text = whole(rendered, f"{proxy}-unlimited")
        assert not re.search(r"gt 0\b|amount: 0\b|limit_conn ", text), proxy
    assert "conn_cur gt 256" in whole(rendered, "haproxy-plain") and "limit_conn " in whole(rendered, "nginx-plain")
