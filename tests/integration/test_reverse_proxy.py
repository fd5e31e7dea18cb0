"""The contract that every proxy keeps, seen from outside: one suite, on a real host, for each of them.

`pytest tests/integration/test_reverse_proxy.py [-k nginx]` boots a lab of its own and takes it down; with `--lab NAME` it uses the lab of
that name (topology reverse_proxy.toml) and leaves it up. JELLYNET_PROXIES names the proxies to test, JELLYNET_IMAGE the edge's
image (debian12, debian13).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import reverse_proxy_edge as lab
from jellynet_lab import labs
from reverse_proxy_edge import DOWN, MEDIA, NEW, OTHER, PATH, PORTS, Edge
from waiting import until

# Caddy before 2.8 ends every websocket on a reload.
WEBSOCKETS_END_ON_RELOAD = {"caddy"}
# Traefik keeps one certificate a name, the first: the ECDSA one.
ONE_CERTIFICATE_A_NAME = {"traefik"}
SECRET = "s3cr3tT0ken"
IDLE = 61  # seconds, the shortest idle timeout that is taken
HEAD, BODY = 11, 12
CSP = "default-src 'self' https: data:"


@pytest.fixture(scope="module")
def edge(proxied: Edge) -> Edge:
    return proxied


# 1. Sites


def test_a_request_reaches_the_server_as_it_was_sent(edge: Edge) -> None:
    answer = edge.wan.ask(f"https://{MEDIA}/Items/a%2Fb/Images/Pri%20mary?tag=%C3%A4&x=1")
    assert answer.seen["path"] == "/Items/a%2Fb/Images/Pri%20mary?tag=%C3%A4&x=1"
    assert answer.seen["mirror"] == PORTS[MEDIA]
    assert answer.sent("Host") == [MEDIA]


def test_a_path_is_passed_on_with_its_prefix(edge: Edge) -> None:
    answer = edge.wan.ask(f"https://{PATH}/jellyfin/web/index.html?a=1")
    assert answer.seen["path"] == "/jellyfin/web/index.html?a=1"
    assert answer.seen["mirror"] == PORTS[PATH]


@pytest.mark.parametrize(("asked", "location"), [("/jellyfin", "/jellyfin/"), ("/jellyfin?a=b&c", "/jellyfin/?a=b&c")])
def test_a_path_without_its_slash_gets_it(edge: Edge, asked: str, location: str) -> None:
    answer = edge.wan.ask(f"https://{PATH}{asked}")
    assert answer.status in (301, 308)
    assert (answer.one("Location") or "").removeprefix(f"https://{PATH}") == location


@pytest.mark.parametrize("path", ["/", "/jellyfinx/", "/web/", "/jellyfin.txt"])
def test_beside_the_path_there_is_nothing(edge: Edge, path: str) -> None:
    answer = edge.wan.ask(f"https://{PATH}{path}")
    assert answer.status == 404
    assert not answer.reached


# 2. Plain HTTP, unknown names


@pytest.mark.parametrize("path", ["/", "/web/?a=1&b=%2F", "/a%20b/%C3%A4?c"])
def test_plain_http_leads_to_https(edge: Edge, path: str) -> None:
    answer = edge.wan.ask(f"http://{MEDIA}{path}")
    assert answer.status == (301 if edge.proxy == "traefik" else 308)
    assert answer.one("Location") == f"https://{MEDIA}{path}"


@pytest.mark.parametrize("domain", [MEDIA, NEW])
def test_the_challenge_is_answered_over_plain_http(edge: Edge, domain: str) -> None:
    answer = edge.wan.ask(f"http://{domain}/.well-known/acme-challenge/token")
    assert (answer.status, answer.body.strip()) == (200, "proof-of-control")


def test_an_unknown_host_gets_nothing_over_plain_http(edge: Edge) -> None:
    for arguments in (
        (f"http://{OTHER}/",),
        (f"http://{edge.wan_address}/",),
        (f"http://{MEDIA}/", "-H", f"Host: {OTHER}"),
    ):
        answer = edge.wan.ask(*arguments)
        # Refused, or left without a word.
        assert answer.status in (403, 404, 421) or answer.code in (52, 56), answer
        assert not answer.reached
        assert not answer.all("Location")


@pytest.mark.parametrize("name", [OTHER, ""])
def test_an_unknown_name_gets_nothing_over_tls(edge: Edge, name: str) -> None:
    target = name or edge.wan_address
    answer = edge.wan.ask(f"https://{target}/", "-k")
    assert not answer.reached
    assert answer.status in (403, 421) or answer.code == 35, answer  # 35: the handshake
    sni = f"-servername {name}" if name else "-noservername"
    shown = edge.wan.shell(
        f"openssl s_client -connect {edge.wan_address}:443 {sni} </dev/null 2>/dev/null | openssl x509 -noout -text 2>/dev/null",
        check=False,
    )
    assert "example.org" not in shown


def test_a_foreign_host_on_a_known_connection_gets_nothing(edge: Edge) -> None:
    for version in ("--http1.1", "--http2"):
        answer = edge.wan.ask(f"https://{MEDIA}/", "-H", f"Host: {OTHER}", version)
        assert answer.status in (403, 404, 421)
        assert not answer.reached


# 3. TLS


def s_client(edge: Edge, *arguments: str) -> str:
    words = " ".join(arguments)
    return edge.wan.shell(
        f"openssl s_client -connect {MEDIA}:443 -servername {MEDIA} {words} </dev/null 2>&1", check=False
    )


def test_protocols_are_those_of_the_guideline(edge: Edge) -> None:
    weak = "-cipher ALL:@SECLEVEL=0"
    assert "New, TLSv1.3" in s_client(edge, "-tls1_3")
    assert "New, TLSv1.2" in s_client(edge, "-tls1_2")
    for old in ("-tls1_1", "-tls1"):
        assert "Cipher is (NONE)" in s_client(edge, old, weak)


def test_suites_are_those_of_the_guideline(edge: Edge) -> None:
    wanted = guideline()["intermediate"]["ciphers"]
    if edge.proxy in ONE_CERTIFICATE_A_NAME:
        wanted = [suite for suite in wanted if "ECDSA" in suite]
    known = edge.wan.shell("openssl ciphers -tls1_2 -s 'ALL:COMPLEMENTOFALL:@SECLEVEL=0'").strip().split(":")
    script = "\n".join(
        f"openssl s_client -connect {MEDIA}:443 -servername {MEDIA} -tls1_2 -cipher {suite}:@SECLEVEL=0 </dev/null 2>&1 "
        f"| grep -q 'Cipher is {suite}' && echo {suite}"
        for suite in known
    )
    accepted = edge.wan.run("sh", data=script).split()
    assert sorted(accepted) == sorted(wanted)


def test_groups_are_those_of_the_guideline_as_far_as_the_library_has_them(edge: Edge) -> None:
    found = edge.wan.tool("groups", edge.wan_address, MEDIA)["groups"]
    wanted = [
        group for group in guideline()["intermediate"]["groups"] if group != "X25519MLKEM768" or modern_library(edge)
    ]
    assert found == sorted(wanted, key=list(lab_groups()).index)


def test_both_kinds_of_certificate_are_served(edge: Edge) -> None:
    ecdsa = s_client(edge, "-tls1_2", "-cipher ECDHE-ECDSA-AES128-GCM-SHA256")
    rsa = s_client(edge, "-tls1_2", "-cipher ECDHE-RSA-AES128-GCM-SHA256")
    assert "Server public key is 256 bit" in ecdsa
    assert ("Server public key is 2048 bit" in rsa) is (edge.proxy not in ONE_CERTIFICATE_A_NAME)


def test_the_whole_chain_is_sent_and_nothing_is_stapled(edge: Edge) -> None:
    said = s_client(edge, f"-CAfile {lab.CA} -verify_return_error -status -showcerts")
    assert said.count("BEGIN CERTIFICATE") == 2  # the leaf and the one above it
    assert "Verify return code: 0 (ok)" in said
    assert "OCSP response: no response sent" in said


def test_hsts_is_sent_once_with_a_publicly_trusted_certificate(edge: Edge) -> None:
    for path in ("/", "/doubled", "/missing"):
        assert edge.wan.ask(f"https://{MEDIA}{path}").all("Strict-Transport-Security") == ["max-age=63072000"]
    assert not edge.wan.ask(f"http://{MEDIA}/").all("Strict-Transport-Security")


def test_the_grade_as_deployed(edge: Edge) -> None:
    seen = graded(edge)
    assert (seen["grade"], seen["caps"], seen["grade_warnings"]) == ("A+", [], [])
    assert seen["mozilla"]["intermediate"]["violations"] == []
    assert seen["protocols"] == ["TLSv1.2", "TLSv1.3"]
    assert len(seen["certificates"]) == (1 if edge.proxy in ONE_CERTIFICATE_A_NAME else 2)
    assert seen["redirect"]["to_https"] and seen["redirect"]["permanent"]
    assert any(group["post_quantum"] for group in seen["groups"]) is modern_library(edge)


# 4. HTTP versions


def test_http2_and_http1(edge: Edge) -> None:
    assert edge.wan.ask(f"https://{MEDIA}/", "--http2").version == "2"
    assert edge.wan.ask(f"https://{MEDIA}/", "--http1.1").version == "1.1"


def test_http3_is_announced_exactly_where_it_listens(edge: Edge) -> None:
    listens = ":443 " in edge.shell("ss -Hlun")
    debian = edge.shell(". /etc/os-release; echo $VERSION_ID").strip()
    able = {"caddy", lab.NEW_CADDY, "traefik"} | ({"nginx", "haproxy"} if debian != "12" else set())
    assert listens is (edge.proxy in able)
    announced = any("h3=" in value for value in edge.wan.ask(f"https://{MEDIA}/").all("Alt-Svc"))
    assert announced == listens


# 5. Websockets


@pytest.mark.parametrize(
    ("name", "path"),
    [(MEDIA, "/socket?api_key=x"), (MEDIA, "/any/other/path"), (PATH, "/jellyfin/socket"), (MEDIA, "/Audio/socket")],
)
def test_a_websocket_on_every_path(edge: Edge, name: str, path: str) -> None:
    said = edge.wan.tool("websocket", edge.wan_address, name, path, "0")
    assert said == {"status": 101, "said": [f"{path} before", f"{path} after"]}


@pytest.fixture(scope="module")
def minute(edge: Edge) -> Iterator[dict[str, Future[Any]]]:
    """What takes longer than a minute goes on beside the tests that need no time, and is looked at before the next reload."""
    begun = ("/tmp/under-way-quiet", "/tmp/under-way-reload", "/tmp/drip")
    edge.wan.run("rm", "-f", *begun)
    with ThreadPoolExecutor(3) as pool:
        head = ("--http1.1", "-D", begun[2])
        under_way = {
            "stream": pool.submit(edge.wan.ask, f"https://{MEDIA}/LiveTv/drip-long", *head, seconds=110),
            "quiet": pool.submit(edge.wan.tool, "websocket", edge.wan_address, MEDIA, "/quiet", "75", seconds=120),
            "reload": pool.submit(edge.wan.tool, "websocket", edge.wan_address, MEDIA, "/reload", "40", seconds=110),
        }
        edge.wan.wait_for(*begun)
        yield under_way


def test_a_reload_ends_nothing_that_is_under_way(edge: Edge, minute: dict[str, Future[Any]]) -> None:
    if edge.proxy in WEBSOCKETS_END_ON_RELOAD:
        return
    # New certificates are a change, so a proxy that skips an unchanged configuration reloads too.
    before = serial(edge)
    edge.certificates()
    edge.shell("jellynet-certificate-door sync")
    assert until(lambda: serial(edge), lambda now: now not in ("", before)) not in ("", before)
    assert not minute["reload"].done(), "the websocket was over before the reload was"


def test_another_upgrade_is_not_passed_on(edge: Edge) -> None:
    answer = edge.wan.ask(f"https://{MEDIA}/", "--http1.1", "-H", "Upgrade: h2c", "-H", "Connection: Upgrade")
    assert answer.status == 200
    assert not answer.sent("Upgrade")


# 6. Streams


def test_a_live_stream_is_passed_on_as_it_comes(edge: Edge) -> None:
    # Measured on the client, which is asked over a way of its own.
    for path in ("/Audio/1/drip-long", "/LiveTv/drip-long"):
        script = f"date +%s%N; curl -sN --cacert {lab.CA} https://{MEDIA}{path} | head -c 4; echo; date +%s%N"
        begin, said, end = edge.wan.shell(script, seconds=100).split()
        assert said == "drip" and int(end) - int(begin) < 30e9  # the whole takes 72 seconds


def test_a_large_file_arrives_whole(edge: Edge) -> None:
    whole = hashlib.sha256(bytes(range(256)) * (96 * 4096)).hexdigest()
    for version in ("--http1.1", "--http2"):
        said = edge.wan.shell(f"curl -s {version} --cacert {lab.CA} https://{MEDIA}/media | sha256sum", seconds=60)
        assert said.split()[0] == whole


def test_ranges_are_the_servers_to_answer(edge: Edge) -> None:
    answer = edge.wan.ask(f"https://{MEDIA}/media", "-r", "1000-1003")
    assert (answer.status, answer.one("Content-Range")) == (206, f"bytes 1000-1003/{96 * 1024 * 1024}")
    fresh = edge.wan.ask(f"https://{MEDIA}/media", "-r", "0-9", "-H", 'If-Range: "mirror"')
    stale = edge.wan.shell(
        f"curl -sI -X GET --max-filesize 1 -r 0-9 -H 'If-Range: \"old\"' --cacert {lab.CA} https://{MEDIA}/media | head -1",
        check=False,
    )
    assert fresh.status == 206
    assert " 200" in stale


def test_answers_are_not_compressed_on_the_way(edge: Edge) -> None:
    for path in ("/media", "/page"):
        answer = edge.wan.ask(f"https://{MEDIA}{path}", "-H", "Accept-Encoding: gzip", "-r", "0-99")
        assert answer.status in (200, 206)
        assert not answer.all("Content-Encoding")


def test_the_clients_wish_for_compression_reaches_the_server_as_it_is(edge: Edge) -> None:
    assert edge.wan.ask(f"https://{MEDIA}/", "-H", "Accept-Encoding: br").sent("Accept-Encoding") == ["br"]
    plain = edge.wan.ask(f"https://{MEDIA}/page")
    assert plain.body.startswith("<html>word ")
    assert not plain.all("Content-Encoding")


def test_a_large_upload_passes(edge: Edge) -> None:
    said = edge.wan.shell(
        f"head -c 41943040 /dev/zero | curl -s --cacert {lab.CA} -H 'Expect:' -T - -X POST https://{MEDIA}/Items/1/Images",
        seconds=60,
    )
    assert json.loads(said)["body"] == 41943040


def test_an_upload_is_passed_on_as_it_comes(edge: Edge) -> None:
    seen = json.loads(edge.wan.tool("upload", edge.wan_address, MEDIA, "/upload")["answer"])
    assert seen["body"] == 131072
    # The server got the first half two seconds before the second; what it says counts from the same moment.
    assert seen["took"] - seen["first"] >= 1.5, seen


# 7. The client's address, nobody trusted


CLAIMS = (
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
    "X-Real-IP: 192.0.2.1",
    "Forwarded: for=192.0.2.1;proto=http",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Prefix: /evil",
    "X-Original-For: 192.0.2.1",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Server: evil",
    "CF-Connecting-IP: 192.0.2.1",
)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_what_a_client_claims_to_be_counts_for_nothing(edge: Edge, version: str) -> None:
    claims = [word for claim in CLAIMS for word in ("-H", claim)]
    answer = edge.wan.ask(f"https://{MEDIA}/", version, *claims)
    assert answer.sent("X-Forwarded-For") == [edge.wan.address]
    assert answer.sent("X-Forwarded-Proto") == ["https"]
    assert answer.sent("X-Forwarded-Host") == [MEDIA]
    for name in (
        "X-Real-IP",
        "Forwarded",
        "X-Forwarded-Prefix",
        "X-Original-For",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
    ):
        assert answer.sent(name) == []
    assert answer.sent("CF-Connecting-IP") == []


def test_clients_come_over_ipv6_too(edge: Edge) -> None:
    for client, address in ((edge.wan, edge.wan_address6), (edge.lan, edge.lan_address6)):
        there = [word for name in (MEDIA, NEW) for word in ("--resolve", f"{name}:443:[{address}]")]
        assert client.ask(f"https://{MEDIA}/", *there).sent("X-Forwarded-For") == [client.address6]
        assert client.ask(f"https://{MEDIA}/metrics", *there).reached is (client is edge.lan)
        assert client.ask(f"https://{NEW}/", *there).reached is (client is edge.lan)


def test_a_websocket_says_where_it_comes_from_like_any_request(edge: Edge) -> None:
    said = edge.wan.tool("websocket", edge.wan_address, NEW, "/socket", "0")
    assert said["status"] == 503
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "X-Forwarded-For: 192.0.2.1")
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    headers = [word for header in (*upgrade, key) for word in ("-H", header)]
    answer = edge.wan.ask(f"https://{MEDIA}/socket", "--http1.1", *headers, seconds=4)
    assert (answer.status, answer.all("X-Seen-For")) == (101, [edge.wan.address]), answer


# 8. What the Internet does not get


def test_before_the_wizard_is_done_the_internet_waits(edge: Edge) -> None:
    for path in ("/", "/Startup/User", "/System/Info/Public", "/web/", "/.well-known/acme-challenge/x"):
        answer = edge.wan.ask(f"https://{NEW}{path}", "-H", f"X-Forwarded-For: {edge.lan.address}")
        assert answer.status == 503
        assert answer.one("Retry-After") == "120"  # that of a server that is down is another
        assert not answer.reached
    assert edge.wan.ask(f"http://{NEW}/").status == 503


def test_before_the_wizard_is_done_the_lan_passes(edge: Edge) -> None:
    assert edge.lan.ask(f"https://{NEW}/Startup/User").reached


PROTECTED = (
    "/metrics", "/metrics/", "/METRICS", "//metrics", "/metrics?x=1", "/dlna/uuid/description.xml", "/DLNA/x", "/System/Restart",
    "/system/restart", "/System//Restart", "/System/Shutdown", "/%53ystem/%52estart", "/System%2FRestart", "/%2FSystem/Restart",
    "/Startup/User", "/startup", "/STARTUP/Complete", "/emby/System/Restart", "/mediabrowser/Startup/User", "/web/../System/Restart",
    "/./metrics", "/web/%2e%2e/System/Shutdown", "/System/./Restart", "/%6detrics",
)  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/jellyfin"])
def test_protected_paths_are_for_the_lan(edge: Edge, prefix: str) -> None:
    name = PATH if prefix else MEDIA
    answers = {path: edge.wan.ask(f"https://{name}{prefix}{path}") for path in PROTECTED}
    passed = {path: one.status for path, one in answers.items() if one.reached or one.status not in (400, 403, 404)}
    assert passed == {}
    assert edge.wan.ask(f"https://{name}{prefix}/System/Restart", "-X", "POST").status == 403
    assert edge.wan.ask(f"https://{name}{prefix}/metrics").status == 403
    for path in ("/metrics", "/System/Restart", "/Startup/User"):
        assert edge.lan.ask(f"https://{name}{prefix}{path}").reached


def test_paths_that_only_look_alike_pass(edge: Edge) -> None:
    for path in ("/System/RestartX", "/metricsx", "/web/dlna.js", "/System/Info", "/Users/Startup"):
        assert edge.wan.ask(f"https://{MEDIA}{path}").reached, path


# 9. Tokens in logs


def test_no_log_ever_holds_a_token(edge: Edge) -> None:
    stamp = time.time_ns()
    query = f"?api_key={SECRET}&ApiKey={SECRET}&x=1;API_KEY={SECRET}"
    headers = [
        word
        for header in (
            f"Authorization: MediaBrowser Token={SECRET}",
            f"X-Emby-Token: {SECRET}",
            f"X-MediaBrowser-Token: {SECRET}",
            f"Referer: https://{MEDIA}/web/?api_key={SECRET}",
            f"Cookie: token={SECRET}",
        )
        for word in ("-H", header)
    ]
    edge.server(DOWN, "stop")
    for name in (MEDIA, DOWN, NEW, OTHER):
        edge.wan.ask(f"https://{name}/Videos/1/stream.mkv{query}", *headers, "-k")
        edge.wan.ask(f"http://{name}/Videos/1/stream.mkv{query}", *headers)
    edge.wan.ask(f"https://{MEDIA}/Startup/User{query}", *headers)
    for word in ("x%3Fapi_key=", "a;api_key="):
        edge.wan.ask(f"https://{MEDIA}/{word}{SECRET}", *headers)
        edge.wan.ask(f"https://{PATH}/{word}{SECRET}", *headers)  # beside its path
        edge.wan.ask(f"https://{MEDIA}/{word}{SECRET}", *headers, "-H", f"Host: {OTHER}")
        edge.wan.ask(f"http://{OTHER}/{word}{SECRET}", *headers)
        edge.wan.ask(f"http://{MEDIA}/{word}{SECRET}", *headers)
        edge.wan.ask(f"https://{NEW}/{word}{SECRET}", *headers)
        edge.wan.ask(f"http://{MEDIA}/.well-known/acme-challenge/{word}{SECRET}", *headers)
    edge.wan.ask(f"https://{MEDIA}/%zz/{stamp}/..{query}", *headers)
    edge.wan.ask(f"https://{MEDIA}/{'../' * 9}{query}", *headers)
    edge.wan.ask(f"https://{MEDIA}/hang{query}", *headers, seconds=4)  # the client goes away
    edge.wan.ask(f"https://{MEDIA}/media{query}", *headers, "--max-filesize", "1000")
    edge.wan.ask(f"https://{MEDIA}/{'x' * 20000}{query}", *headers)
    for bad in (
        f"GET /a{query} HTTP/1.1\r\nHost: {MEDIA}\r\nHost: {OTHER}\r\n\r\n",
        f"GET /b{query} HTTP/9.9\r\nHost: {MEDIA}\r\n\r\n",
        f"G\x00T /c{query} HTTP/1.1\r\nHost: {MEDIA}\r\n\r\n",
        f"GET /d{query} HTTP/1.1\r\nHost: {MEDIA}\r\nReferer: https://{MEDIA}/{query}\r\nContent-Length: x\r\n\r\n",
        f"GET /e{query} f HTTP/1.1\r\nHost: {MEDIA}\r\n\r\n",
        f"POST /f{query} HTTP/1.1\r\nHost: {MEDIA}\r\nContent-Length: 99\r\nReferer: https://{MEDIA}/{query}\r\n\r\nshort",
    ):
        edge.wan.tool("raw", edge.wan_address, MEDIA, data=bad)
    edge.server(DOWN, "start")
    sign = f"/Videos/{stamp}/stream.mkv"
    edge.wan.ask(f"https://{MEDIA}{sign}{query}", *headers)
    assert until(lambda: sign in edge.logs(), bool, 30), "the log does not hold the requests"
    if edge.proxy == "apache":  # one of its messages quotes the address: it went through the filter
        assert f"/%zz/{stamp}/..?..." in edge.shell("cat /var/log/apache2/jellynet-error.log")
    assert tokens_logged(edge) == []


def tokens_logged(edge: Edge) -> list[str]:
    return [
        line
        for line in edge.logs().splitlines()
        if SECRET in line or "api_key=" in line.lower() or "apikey=" in line.lower()
    ]


def test_the_log_says_who_asked_for_what(edge: Edge) -> None:
    path = f"/Items/logged-at-{time.time_ns()}"
    edge.wan.ask(f"https://{MEDIA}{path}?x=1")

    def said(lines: list[str]) -> bool:
        return any(edge.wan.address in line and MEDIA in line for line in lines)

    lines = until(lambda: [line for line in edge.logs().splitlines() if path in line], said, 30)
    assert said(lines), f"no line with the client's address, the site and the path: {lines[-3:]}"


# 10. Headers, admin interfaces


def test_security_headers_are_there_once(edge: Edge) -> None:
    for path in ("/", "/doubled", "/missing"):
        answer = edge.wan.ask(f"https://{MEDIA}{path}")
        assert answer.all("X-Content-Type-Options") == ["nosniff"]
        assert answer.all("Referrer-Policy") == ["strict-origin-when-cross-origin"]
        for name in ("Content-Security-Policy", "X-Frame-Options", "Permissions-Policy", "X-Powered-By"):
            assert answer.all(name) == []


def test_the_proxy_listens_on_its_two_ports_alone(edge: Edge) -> None:
    processes = {"apache": "apache2", lab.NEW_CADDY: "caddy"}.get(edge.proxy, edge.proxy)
    lines = [line for line in edge.shell("ss -Hltunp").splitlines() if f'"{processes}"' in line]
    ports = {line.split()[4].rsplit(":", 1)[1] for line in lines}
    assert ports == {"80", "443"}


# 11. The server is down


def test_a_server_that_is_down_is_reported_at_once_and_found_again(edge: Edge) -> None:
    edge.server(DOWN, "stop")
    for _turn in range(2):
        answer = edge.wan.ask(f"https://{DOWN}/web/")
        assert answer.status == (502 if edge.proxy == "nginx" else 503)
        assert answer.one("Retry-After") == "5"
        # With our words, where the proxy's own are not all there can be.
        assert ("does not answer" in answer.body) is (edge.proxy != "traefik"), answer
        assert answer.seconds < 3  # a second try, or the time for a connection, takes longer
    edge.server(DOWN, "start")
    assert edge.wan.ask(f"https://{DOWN}/web/").reached


def test_the_servers_own_errors_are_passed_on(edge: Edge) -> None:
    starting = edge.wan.ask(f"https://{MEDIA}/starting")
    assert (starting.status, starting.all("Retry-After")) == (503, ["005"])
    assert "the server's own page" in starting.body
    assert "the server's own 404" in edge.wan.ask(f"https://{MEDIA}/missing").body


def test_a_quiet_websocket_and_a_slow_stream_outlive_a_minute_and_a_reload(
    edge: Edge, minute: dict[str, Future[Any]]
) -> None:
    if edge.proxy not in WEBSOCKETS_END_ON_RELOAD:
        assert minute["reload"].result() == {"status": 101, "said": ["/reload before", "/reload after"]}
    assert minute["quiet"].result() == {"status": 101, "said": ["/quiet before", "/quiet after"]}
    stream = minute["stream"].result()
    assert (stream.code, stream.body.count("drip")) == (0, 36)


# 13. Certificates


def serial(edge: Edge) -> str:
    return edge.wan.shell(
        f"openssl s_client -connect {MEDIA}:443 -servername {MEDIA} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    ).strip()


def test_a_new_certificate_is_served_without_cutting_a_download(edge: Edge) -> None:
    before = serial(edge)
    edge.certificates()
    edge.wan.run("rm", "-f", "/tmp/media")
    download = edge.wan.start(
        f"curl -s --limit-rate 5M --cacert {lab.CA} -o /tmp/media https://{MEDIA}/media; wc -c </tmp/media"
    )
    edge.wan.wait_for("/tmp/media")
    assert serial(edge) == before
    edge.shell("jellynet-certificate-door sync")
    assert until(lambda: serial(edge), lambda now: now not in ("", before)) not in ("", before)
    assert download.poll() is None, "the download was over before the new certificate was served"
    assert int(download.communicate(timeout=180)[0]) == 96 * 1024 * 1024


# The running set


def test_only_the_edge_itself_may_ask_which_set_is_in_force(edge: Edge) -> None:
    assert edge.serving() == edge.shell(f"readlink /etc/jellynet/{edge.jellyfin_proxy}/current").strip()
    for client in (edge.wan, edge.lan):
        for scheme in ("http", "https"):
            answer = client.ask(f"{scheme}://{MEDIA}/.well-known/jellynet-generation")
            assert answer.status == 404
            assert not answer.all("Jellynet-Generation")


def test_a_second_run_changes_nothing(edge: Edge) -> None:
    said = edge.deploy(edge.proxy, "--diff")
    assert lab.changed(said) == 0, said[-3000:]


# 7 again, behind proxies that are trusted


@pytest.fixture(scope="module")
def behind(edge: Edge) -> Iterator[tuple[Edge, str]]:
    """A second address on the Internet's side is a trusted proxy, and so are networks behind it."""
    front, _, last = edge.wan.address.rpartition(".")
    proxy = f"{front}.{int(last) + 3}"
    edge.wan.shell(
        f"ip address add {proxy}/32 dev $(ip -o address show to {edge.wan.address} | cut -d' ' -f2)", check=False
    )
    edge.deploy(
        edge.proxy,
        reverse_proxy_trusted_proxies=[f"{proxy}/32", "198.51.100.0/24", "2001:db8:1::/48"],
        reverse_proxy_log_requests="errors",
        reverse_proxy_csp=CSP,
        reverse_proxy_idle_timeout=IDLE,
        jellyfin_limit_head_seconds=HEAD,
        jellyfin_limit_body_seconds=BODY,
    )
    yield edge, proxy


@pytest.fixture(scope="module")
def idle(behind: tuple[Edge, str]) -> Iterator[tuple[Future[Any], ...]]:
    """What takes longer than the idle timeout, begun before the tests that need no time."""
    edge, _proxy = behind
    with ThreadPoolExecutor(4) as pool:
        paused = ("paused", edge.wan_address, MEDIA, "/media", str(IDLE + 8))
        tool = ("beating", edge.wan_address, MEDIA, "/beating", str(IDLE + 8))
        hang = ("-H", f"X-Emby-Token: {SECRET}")
        yield (
            pool.submit(edge.wan.tool, *tool, seconds=IDLE + 40),
            pool.submit(edge.wan.ask, f"https://{MEDIA}/hang?api_key={SECRET}", *hang, seconds=IDLE + 12),
            pool.submit(edge.wan.tool, *paused, seconds=IDLE + 100),
            pool.submit(edge.wan.tool, "unsent", edge.wan_address, MEDIA, str(IDLE + 20), seconds=IDLE + 60),
        )


def chain(pair: tuple[Edge, str], *lists: str) -> list[str]:
    edge, proxy = pair
    headers = [word for one in lists for word in ("-H", f"X-Forwarded-For: {one}")]
    return edge.wan.ask(f"https://{MEDIA}/", "--interface", proxy, *headers).sent("X-Forwarded-For")


@pytest.mark.parametrize(
    ("lists", "resolved"),
    [
        (("203.0.113.9",), "203.0.113.9"),
        (("192.0.2.66, 203.0.113.9",), "203.0.113.9"),
        (("192.0.2.66, 203.0.113.9, 198.51.100.7",), "203.0.113.9"),
        (("192.0.2.66", "203.0.113.9", "198.51.100.7"), "203.0.113.9"),
        (("203.0.113.9,2001:db8:1::5, 198.51.100.7",), "203.0.113.9"),
        (("::ffff:203.0.113.9",), "203.0.113.9"),
        (("::FFFF:203.0.113.9, ::ffff:198.51.100.7",), "203.0.113.9"),
        (("2001:db8:77::9",), "2001:db8:77::9"),
    ],
)
@pytest.mark.usefixtures("idle")
def test_the_list_is_walked_from_right_to_left(behind: tuple[Edge, str], lists: tuple[str, ...], resolved: str) -> None:
    assert chain(behind, *lists) == [resolved]


def test_text_that_is_no_address_ends_the_walk(behind: tuple[Edge, str]) -> None:
    if behind[0].proxy == lab.NEW_CADDY:  # it would believe what stands left of the text, so there it is refused
        for words in ("203.0.113.9, unknown", "203.0.113.9, unknown, 198.51.100.7"):
            header = ("--interface", behind[1], "-H", f"X-Forwarded-For: {words}")
            assert behind[0].wan.ask(f"https://{MEDIA}/", *header).status == 400
        assert chain(behind) == [behind[1]]
        return
    assert chain(behind, "203.0.113.9, unknown") == [behind[1]]
    assert chain(behind, "203.0.113.9, unknown, 198.51.100.7") == ["198.51.100.7"]
    assert chain(behind) == [behind[1]]


def test_a_peer_that_is_not_trusted_still_counts_for_nothing(behind: tuple[Edge, str]) -> None:
    edge, _proxy = behind
    answer = edge.wan.ask(f"https://{MEDIA}/", "-H", "X-Forwarded-For: 203.0.113.9")
    assert answer.sent("X-Forwarded-For") == [edge.wan.address]


def test_lan_or_internet_is_decided_by_the_resolved_address(behind: tuple[Edge, str]) -> None:
    edge, proxy = behind
    through = ("--interface", proxy, "-H")
    lan, internet = f"X-Forwarded-For: {edge.lan.address}", "X-Forwarded-For: 203.0.113.9"
    disguised = f"X-Forwarded-For: ::{edge.lan.address}"  # IPv4 written in IPv6, and not that address
    mapped = f"X-Forwarded-For: ::ffff:{edge.lan.address}"
    for header in (lan, mapped):
        assert edge.wan.ask(f"https://{MEDIA}/metrics", *through, header).reached, header
    two = edge.wan.ask(f"https://{MEDIA}/metrics", *through, lan, "-H", internet)
    assert two.status == 403
    assert edge.wan.ask(f"https://{NEW}/", *through, lan).reached
    for header in (internet, f"{lan}, 203.0.113.9", f"X-Forwarded-For: {six_to_four(edge.lan.address)}", disguised):
        assert edge.wan.ask(f"https://{MEDIA}/metrics", *through, header).status == 403, header
        assert edge.wan.ask(f"https://{NEW}/", *through, header).status == 503, header
    here = f"https://{MEDIA}/.well-known/jellynet-generation"
    assert edge.wan.ask(here, *through, "X-Forwarded-For: 127.0.0.1").status == 404


def test_a_policy_of_the_users_own_is_sent_once(behind: tuple[Edge, str]) -> None:
    edge, _proxy = behind
    for path in ("/", "/doubled"):
        assert edge.wan.ask(f"https://{MEDIA}{path}").all("Content-Security-Policy") == [CSP]


def test_only_failures_are_logged_unless_asked_for(behind: tuple[Edge, str]) -> None:
    edge, _proxy = behind
    mark = f"{edge.proxy}-{time.time_ns()}"
    old = set(edge.logs().splitlines())
    well, ill, down, nobody = (
        f"/{what}-with-{mark}" for what in ("went-well", "metrics/went-ill", "went-down", "no-site")
    )
    assert edge.wan.ask(f"https://{MEDIA}{well}").reached
    assert edge.wan.ask(f"https://{MEDIA}{ill}").status == 403
    edge.wan.ask(f"http://{OTHER}{nobody}")
    edge.server(DOWN, "stop")
    assert edge.wan.ask(f"https://{DOWN}{down}").status in (502, 503)
    edge.server(DOWN, "start")
    wanted, unwanted = [(ill,), (down,)], [well]
    if edge.proxy == lab.NEW_CADDY:  # only what begins with 5 is an error to it
        wanted, unwanted = [(down,)], [well, ill]
    elif edge.proxy == "traefik":  # no path but that of a request for no site
        wanted = [('"RequestPath":"/.well-known/jellynet-503"', f'"RequestHost":"{DOWN}"'), (nobody,)]
        unwanted = [well, ill]

    def missing(lines: list[str]) -> list[tuple[str, ...]]:
        return [words for words in wanted if not any(all(word in line for word in words) for line in lines)]

    lines = until(
        lambda: [line for line in edge.logs().splitlines() if line not in old], lambda lines: not missing(lines), 30
    )
    assert missing(lines) == []
    assert not [line for line in lines for path in unwanted if path in line]


def test_a_websocket_with_keepalives_outlives_the_idle_timeout_and_a_server_that_hangs_does_not(
    behind: tuple[Edge, str], idle: tuple[Future[Any], ...]
) -> None:
    """Every keepalive starts the idle timeout anew: what lives through it once lives for hours."""
    edge, _proxy = behind
    beating, hangs = (job.result() for job in idle[:2])
    assert (beating["status"], beating["said"][0], beating["said"][-1]) == (101, "/beating before", "/beating after")
    assert set(beating["said"][1:-1]) == {"/beating beat"}
    if edge.unit == "caddy":  # it waits for as long as the client does
        assert (hangs.code, hangs.status) == (28, 0), hangs
    else:
        assert hangs.status in (502, 503, 504) and hangs.seconds >= IDLE - 0.5, hangs
    assert tokens_logged(edge) == []


# Debian's Caddy has no limit on a body. With the newer one and Traefik the request to the server ends; the client, of whose body the length is
# known, is told nothing, and its connection stays.
UNSENT_STAYS = {
    "caddy": {"small body", "large body", "body of no known length"},
    lab.NEW_CADDY: {"small body", "large body"},
    "traefik": {"small body", "large body"},
}


def test_a_head_and_a_body_that_are_never_sent_whole_are_given_up(
    behind: tuple[Edge, str], idle: tuple[Future[Any], ...]
) -> None:
    came = idle[3].result()
    assert set(came) == {"head", "small body", "large body", "body of no known length"}, came
    stays = {what for what, status in came.items() if status == -1}
    assert stays == UNSENT_STAYS.get(behind[0].proxy, set()), came
    assert all(status in (-1, 0) or 400 <= status < 600 for status in came.values()), came


def test_a_player_that_is_paused_for_longer_than_any_other_limit_gets_its_film(
    idle: tuple[Future[Any], ...],
) -> None:
    assert idle[2].result() == {"got": 96 * 1024 * 1024}


def six_to_four(address: str) -> str:
    """The IPv6 address that carries an IPv4 one in it, and is not it."""
    one, two, three, four = (int(part) for part in address.split("."))
    return f"2002:{one:02x}{two:02x}:{three:02x}{four:02x}::1"


# 3 again, with the guideline's other profile; the last set that a proxy gets here


@pytest.fixture(scope="module")
def modern(edge: Edge) -> Edge:
    edge.deploy(edge.proxy, reverse_proxy_tls_profile="modern")
    return edge


def test_the_grade_with_the_modern_profile(modern: Edge) -> None:
    seen = graded(modern)
    assert (seen["grade"], seen["caps"], seen["grade_warnings"]) == ("A+", [], [])
    assert seen["mozilla"]["modern"]["violations"] == []
    assert seen["mozilla"]["intermediate"]["violations"] == []


def test_with_the_modern_profile_another_client_comes_to_tls_13_alone(modern: Edge) -> None:
    said = s_client(modern, "-tls1_3", f"-CAfile {lab.CA} -verify_return_error")
    assert "New, TLSv1.3" in said and "Verify return code: 0 (ok)" in said
    assert "Cipher is (NONE)" in s_client(modern, "-tls1_2", "-cipher ALL:@SECLEVEL=0")
    assert modern.wan.ask(f"https://{MEDIA}/").reached


# Directives of the user's own

OWN = {
    "nginx": (f"nginx/{MEDIA}/own.conf", "add_header X-Own yes always;"),
    "apache": (f"apache/{MEDIA}/own.conf", "Header always set X-Own yes"),
    "caddy": (f"caddy/{MEDIA}/own.caddy", "header X-Own yes"),
    "traefik": (
        "traefik/own.yml",
        f"""http:
  middlewares: {{own: {{headers: {{customResponseHeaders: {{X-Own: "yes"}}}}}}}}
  routers: {{own: {{rule: Host(`{MEDIA}`) && Path(`/own`), entryPoints: [websecure], tls: {{}}, priority: 5000, middlewares: [own], service: site1}}}}
""",
    ),
}


def test_directives_of_the_users_own_survive_runs(modern: Edge) -> None:
    """In the folder that no run touches; HAProxy has only the variable."""
    if modern.proxy == "haproxy":
        own, more = "", {"reverse_proxy_extra": "http-after-response set-header X-Own yes"}
    else:
        path, text = OWN["caddy" if modern.unit == "caddy" else modern.proxy]
        own, more = f"/etc/jellynet/custom/{path}", {}
        modern.put(own, text)
    try:
        modern.deploy(modern.proxy, **more)
        if own:
            modern.shell(f"systemctl reload {modern.unit}")
        answer = until(lambda: modern.wan.ask(f"https://{MEDIA}/own"), lambda answer: bool(answer.all("X-Own")))
        assert answer.reached and answer.all("X-Own") == ["yes"]
        if own:
            assert modern.shell(f"cat {own}").strip() == text.strip()
    finally:
        if own:
            modern.shell(f"rm {own}")


# Helpers


def graded(edge: Edge) -> dict[str, Any]:
    """What tls_grade_info says from a host on the Internet that trusts the lab's CA; its image brings the scanner."""
    arguments = {"host": MEDIA, "ca_path": lab.CA, "scanner": "/opt/sslyze/bin/sslyze", "timeout": 60}
    module = ("-m", "jellynet.jellyfin.tls_grade_info", "-a", json.dumps(arguments))
    done = subprocess.run(
        [lab.program("ansible"), "outside", "-i", str(labs.room(edge.lab) / "inventory.yml"), "--one-line", *module],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(lab.ROOT / ".cache" / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        },
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.partition(" => ")[2])


def guideline() -> dict[str, dict[str, list[str]]]:
    import yaml

    return yaml.safe_load((lab.ROOT / "roles/jellyfin/vars/tls.yml").read_text())["_jellyfin_tls"]["profiles"]


def lab_groups() -> list[str]:
    from reverse_proxy_client import GROUPS

    return list(GROUPS)


def modern_library(edge: Edge) -> bool:
    """Whether the proxy's TLS library knows the post-quantum group."""
    if edge.proxy in ("traefik", lab.NEW_CADDY):
        return True
    if edge.proxy == "caddy":
        return False
    version = edge.shell("openssl version").split()[1]
    return tuple(int(part) for part in version.split(".")[:2]) >= (3, 5)
