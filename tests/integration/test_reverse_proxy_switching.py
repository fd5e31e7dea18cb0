"""Changing from one proxy to another, and what happens when the new set is broken, on a real host.

Every proxy is the old one and the new one once in each run; JELLYNET_ALL_PAIRS=1 goes through all twenty ordered pairs. `--lab NAME` as in
test_reverse_proxy.py.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator

import pytest
import reverse_proxy_edge as lab
from reverse_proxy_edge import MEDIA, PROXIES, UNITS, Edge
from waiting import listens

# A value that only this proxy's language takes amiss.
BROKEN = {
    "nginx": "no_such_directive on;",
    "apache": "NoSuchDirective on",
    "haproxy": "no-such-keyword",
    "caddy": "no_such_directive",
    "traefik": "http: [",
}
# How the word of each proxy's own checker comes through.
CHECKERS_WORDS = {
    "nginx": "unknown directive",
    "apache": "Invalid command",
    "haproxy": "unknown keyword",
    "caddy": "unrecognized directive",
    "traefik": "yaml: line",
}


@pytest.fixture(scope="module")
def host(pytestconfig: pytest.Config) -> Iterator[Edge]:
    given = pytestconfig.getoption("--lab")
    pytestconfig.option.lab = given or "proxies"
    yield lab.up(pytestconfig.option.lab)
    if not given:
        lab.down(pytestconfig.option.lab)
    pytestconfig.option.lab = given


def ring() -> list[tuple[str, str]]:
    if os.environ.get("JELLYNET_ALL_PAIRS"):
        return list(itertools.permutations(PROXIES, 2))
    return [*itertools.pairwise(PROXIES), (PROXIES[-1], PROXIES[0])]


def serial(edge: Edge) -> str:
    return edge.wan.shell(
        f"openssl s_client -connect {MEDIA}:443 -servername {MEDIA} -sigalgs ECDSA+SHA256 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    ).strip()


@pytest.mark.parametrize(("old", "new"), ring())
def test_from_any_proxy_to_any_other(host: Edge, old: str, new: str) -> None:
    if host.proxy != old:
        host.deploy(old)
    before = serial(host)
    host.deploy(new)
    assert host.wan.ask(f"https://{MEDIA}/after").reached
    assert serial(host) == before
    left = host.shell(
        f"systemctl is-active {UNITS[old]}; systemctl is-enabled {UNITS[old]}; ls -d /etc/jellynet/{old} 2>/dev/null; "
        f"systemctl is-enabled {UNITS[new]}",
        check=False,
    ).split()
    links = host.shell("find /etc -lname '*/etc/jellynet/" + old + "/*' -o -xtype l -lname '*jellynet*'")
    programs = host.shell(
        f"ls -d /usr/local/lib/jellynet/{old}-* /etc/systemd/system/{UNITS[old]}.service.d 2>/dev/null", check=False
    )
    assert (links, programs) == ("", "")
    assert left[0] in ("inactive", "failed")
    assert left[-1] == "enabled"
    assert f"/etc/jellynet/{old}" not in left
    assert left[1] in ("disabled", "not-found", "masked") or len(left) == 2, left
    second = host.deploy(new)
    assert lab.changed(second) == 0, second[-3000:]


@pytest.mark.parametrize("proxy", BROKEN)
def test_a_broken_value_leaves_what_served_before(host: Edge, proxy: str) -> None:
    """The checker's words come out, and neither the set in force nor the proxy from before is touched."""
    other = "haproxy" if proxy == "nginx" else "nginx"
    for standing in (proxy, other):
        host.deploy(standing)
        before = host.serving()
        code, said = host.play(proxy, reverse_proxy_extra=BROKEN[proxy])
        assert code != 0
        assert CHECKERS_WORDS[proxy] in said, said[-3000:]
        assert host.serving() == before
        assert host.wan.ask(f"https://{MEDIA}/still").reached
        assert host.shell(f"systemctl is-active {UNITS[standing]}").strip() == "active"


@pytest.mark.parametrize("proxy", ["apache", "traefik", "nginx", "haproxy"])
def test_what_the_checker_misses_is_found_by_the_trial(host: Edge, proxy: str) -> None:
    """A group that no library knows: apache2 -t and Traefik pass it; the others' own checkers do not."""
    host.deploy("caddy")
    before = host.serving()
    code, said = host.play(proxy, _reverse_proxy_groups=["NoSuchGroup"])
    assert code != 0
    words = " ".join(said.split())
    assert ("did not stand a trial start" in words) is (proxy in ("apache", "traefik")), said[-3000:]
    assert "NoSuchGroup" in words, said[-3000:]
    assert host.serving() == before
    assert host.shell("systemctl is-active caddy").strip() == "active"


def test_somebody_elses_listener_is_named_and_left_alone(host: Edge) -> None:
    host.deploy("nginx")
    host.shell("systemctl stop nginx")
    host.shell("systemd-run -q --collect --unit somebody python3 -m http.server 443")
    listens(host.shell, 443)
    try:
        code, said = host.play("haproxy")
        assert code != 0
        assert re.search(r"Port 443 is held by python3.*somebody\.service", said), said[-3000:]
        assert host.shell("systemctl is-active somebody").strip() == "active"
    finally:
        host.shell("systemctl stop somebody; systemctl start nginx")


def test_a_site_of_the_users_own_lives_on_beside_ours(host: Edge) -> None:
    host.shell("systemctl stop nginx apache2 haproxy caddy jellynet-traefik 2>/dev/null; true", check=False)
    host.deploy("haproxy")
    for kind in ("pem", "key"):
        host.shell(f"cp {lab.CERTIFICATES}/{MEDIA}-ecdsa.{kind} /etc/ssl/own.{kind}")
    host.put(
        "/etc/nginx/sites-enabled/own.conf",
        """server {
    listen 80; listen 443 ssl; server_name own.example.org;
    ssl_certificate /etc/ssl/own.pem; ssl_certificate_key /etc/ssl/own.key;
    location / { return 200 "my own site"; }
}
""",
    )
    try:
        host.deploy("nginx")
        resolve = f"own.example.org:443:{host.wan_address}"
        own = host.wan.ask("https://own.example.org/", "-k", "--resolve", resolve)
        assert own.body.strip() == "my own site"
        assert host.wan.ask(f"https://{MEDIA}/").reached
        # What that site needs nobody knows: the unit is sandboxed only by the user's own wish (and sees nothing in /root and /home then).
        assert exposure(host, "nginx") > 9
        host.deploy("nginx", jellyfin_harden=True)
        assert exposure(host, "nginx") < 5
        assert host.wan.ask("https://own.example.org/", "-k", "--resolve", resolve).body.strip() == "my own site"
        host.deploy("nginx")
        assert exposure(host, "nginx") > 9
        host.shell("sed -i 's/listen 443 ssl;/listen 443 ssl default_server;/' /etc/nginx/sites-enabled/own.conf")
        before = host.serving()
        code, said = host.play("nginx", reverse_proxy_idle_timeout=3601)
        assert code != 0
        assert "duplicate default server" in said
        assert "reverse_proxy_default_server: false" in said
        assert host.serving() == before
        host.deploy("nginx", reverse_proxy_default_server=False)
        assert host.wan.ask("https://own.example.org/", "-k", "--resolve", resolve).body.strip() == "my own site"
        assert host.wan.ask(f"https://{MEDIA}/").reached
        # Another proxy would stop nginx, and that site with it.
        code, said = host.play("haproxy")
        assert code != 0
        assert "/etc/nginx/sites-enabled/own.conf" in said and "would go dark" in said, said[-3000:]
        assert host.wan.ask("https://own.example.org/", "-k", "--resolve", resolve).body.strip() == "my own site"
    finally:
        host.shell("rm /etc/nginx/sites-enabled/own.conf")


def exposure(host: Edge, unit: str) -> float:
    """What systemd makes of a unit's sandbox: from 0 to 10, none at all."""
    said = host.shell(f"systemctl daemon-reload; systemd-analyze security --no-pager {unit} | tail -1")
    return float(said.split("service:")[1].split()[0])


def test_nginx_has_room_for_many_connections_unless_its_main_file_is_the_users_own(host: Edge) -> None:
    main = "/etc/nginx/nginx.conf"
    host.deploy("haproxy")
    host.shell(
        f"test ! -e {main} || apt-get -qq purge nginx nginx-common >/dev/null 2>&1; rm -rf /etc/nginx /var/log/nginx"
    )
    host.deploy("nginx")
    assert "worker_connections 16384;" in host.shell("nginx -T 2>&1")
    assert exposure(host, "nginx") < 5
    assert host.shell("stat -c '%a %G' /var/log/nginx/jellynet.log").strip() == "640 adm"
    assert lab.changed(host.deploy("nginx")) == 0
    host.deploy("haproxy")  # nginx' set goes, and the distribution's file comes back
    assert host.shell(f"dpkg --verify nginx-common | grep -c {main}; test ! -L {main}", check=False).strip() == "0"
    host.shell(f"echo '# mine' >> {main}")
    host.deploy("nginx")
    try:
        assert host.shell(f"tail -1 {main}").strip() == "# mine"
        assert host.wan.ask(f"https://{MEDIA}/").reached
    finally:
        host.deploy("haproxy")
        host.shell(f"sed -i '/^# mine$/d' {main}")


def test_a_caddy_that_serves_something_already_is_not_taken_over(host: Edge) -> None:
    host.deploy("nginx")
    host.shell("apt-get -qq install caddy >/dev/null 2>&1; systemctl stop caddy", check=False)
    own = "{\n\tadmin off\n}\nhttp://:8080 {\n\trespond mine\n}\n"
    before = host.shell("cat /etc/caddy/Caddyfile 2>/dev/null", check=False)
    host.put("/etc/caddy/Caddyfile", own)
    host.shell("systemctl restart caddy")
    try:
        code, said = host.play("caddy")
        assert code != 0
        assert "Port 8080 is held by caddy" in said, said[-3000:]
        assert host.shell("curl -s http://127.0.0.1:8080/") == "mine"
    finally:
        host.put("/etc/caddy/Caddyfile", before)
        host.shell("systemctl stop caddy")


def test_a_binary_that_is_not_what_it_should_be_is_not_installed(host: Edge) -> None:
    host.deploy("nginx")
    before = host.serving()
    good = lab.traefik_archive()["reverse_proxy_binary"]
    architecture = next(key for key in good if key != "version")
    wrong = {"version": "3.7.99", architecture: {**good[architecture], "checksum": "sha256:" + "0" * 64}}
    for given, words in (
        (wrong, "It was not installed"),
        ({}, "needs its program named"),
        ({**good, "version": "3.1.0"}, "needs 3.7.12 or newer"),
    ):
        code, said = host.play("traefik", reverse_proxy_binary=given)
        assert code != 0
        assert words in said, said[-2000:]
    assert host.shell("ls -d /usr/local/lib/jellynet/traefik-3.7.99-*/traefik 2>/dev/null; true") == ""
    assert host.serving() == before


def test_check_mode_says_what_would_be_done_and_does_nothing(host: Edge) -> None:
    """On a host that has none of it yet, for the proxies that are not in force."""
    host.deploy("nginx")
    files = "find . /usr/local/lib/jellynet -type f -exec sha256sum {} + 2>/dev/null | sort"
    look = f"dpkg-query -W; cd /etc; {files}; systemctl list-unit-files --no-legend"
    before = host.serving(), host.shell(look)
    for proxy in PROXIES:
        host.deploy(proxy, "--check", "--diff")
    assert (host.serving(), host.shell(look)) == before
