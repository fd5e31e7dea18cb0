"""What a proxy comes back from, on a real host: a set that is not taken up, a boot before names can be looked up, a teardown.

The proxies follow each other in a row, by switches. `--lab NAME` as in test_reverse_proxy.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import reverse_proxy_edge as lab
from reverse_proxy_edge import MEDIA, PATH, PROXIES, UNITS, Edge
from waiting import until

sys.path.insert(0, str(lab.HERE / "teardown"))
import picture

SERVER = "jellyfin.internal"  # the server of MEDIA, by a name that only /etc/hosts knows
LOOK_UP_AT_START = ("nginx", "haproxy")
OLD, NEW = "default-src 'self'", "default-src 'self' https:"  # the value that changes, as visitors see it
PATIENCE = 20  # seconds until a proof is given up in a run that is meant to fail

# An own file beside the unit with which neither a reload nor a restart takes up what is new: it has kept the set from before.
DEAF = """[Service]
ExecReload=
ExecReload=/bin/true
BindReadOnlyPaths=/srv/kept:/etc/jellynet/{proxy}/current
"""
# Another one, with which something else starts in the proxy's place.
STAND_IN = """[Service]
Type=exec
PIDFile=
ExecStartPre=
ExecStart=
ExecStart=/usr/bin/python3 -m http.server 443
ExecReload=
ExecReload=/bin/true
ExecStop=
"""

ACCOUNTS = ("/etc/passwd ", "/etc/group ", "/etc/shadow ", "/etc/gshadow ")
APT = ("/var/log/apt/", "/var/log/dpkg.log")

# What was on the host before, for two of the proxies; the others were not.
BEFORE = {
    "haproxy": """
apt-get install -y -qq haproxy >/dev/null 2>&1
cat >> /etc/haproxy/haproxy.cfg <<END
listen own
    bind 127.0.0.1:8404
    http-request return status 200 content-type text/plain string mine
END
systemctl restart haproxy
""",
    "apache": """
apt-get install -y -qq apache2 >/dev/null 2>&1
systemctl disable -q --now nginx 2>/dev/null
systemctl enable -q --now apache2
""",
}


@pytest.fixture(scope="module")
def host(pytestconfig: pytest.Config) -> Iterator[Edge]:
    given = pytestconfig.getoption("--lab")
    pytestconfig.option.lab = given or "setbacks"
    edge = lab.up(pytestconfig.option.lab)
    named(edge, True)
    yield edge
    if not given:
        lab.down(pytestconfig.option.lab)


def named(edge: Edge, known: bool) -> None:
    """Whether the server's name can be looked up; /etc/hosts is mounted, so it is written and not replaced."""
    line = f"127.0.0.1 {SERVER}" if known else ""
    edge.shell(f"hosts=$(grep -v {SERVER} /etc/hosts); printf '%s\\n' \"$hosts\" '{line}' > /etc/hosts")
    assert bool(edge.shell(f"getent hosts {SERVER}", check=False)) is known


def values(edge: Edge, proxy: str, policy: str) -> dict[str, Any]:
    """Two sites, one of them with its server by name. The idle timeout is what Traefik has to restart for."""
    sites = [site for site in edge.values(proxy)["jellyfin_sites"] if site["domain"] in (MEDIA, PATH)]
    next(site for site in sites if site["domain"] == MEDIA)["server_address"] = SERVER
    idle = 3600 + (policy == NEW)
    return {"jellyfin_sites": sites, "reverse_proxy_csp": policy, "reverse_proxy_idle_timeout": idle}


def deploy(edge: Edge, proxy: str, policy: str) -> str:
    return edge.deploy(proxy, **values(edge, proxy, policy))


def fails(edge: Edge, proxy: str, policy: str) -> str:
    """A run whose proof fails; its words on one line."""
    in_force = edge.proxy, edge.vars
    code, said = edge.play(proxy, patience=PATIENCE, **values(edge, proxy, policy))
    edge.proxy, edge.vars = in_force
    words = " ".join(said.split())
    assert code != 0 and "the proof that the new files are in force failed" in words, said[-6000:]
    return words


@contextmanager
def beside(edge: Edge, proxy: str, text: str) -> Iterator[None]:
    """A file of the user's own beside the proxy's unit."""
    path = f"/etc/systemd/system/{UNITS[proxy]}.service.d/zz-own.conf"
    edge.put(path, text)
    edge.shell("systemctl daemon-reload")
    try:
        yield
    finally:
        edge.shell(f"rm {path}; rmdir --ignore-fail-on-non-empty {path.rpartition('/')[0]}; systemctl daemon-reload")


def policy(edge: Edge) -> list[str]:
    """What a visitor from the Internet gets, both from the proxy and from the server."""
    answer = edge.wan.ask(f"https://{MEDIA}/still")
    assert answer.reached, answer
    return answer.all("Content-Security-Policy")


def files(edge: Edge) -> str:
    """All that belongs to our sets, with what leads into them."""
    return edge.shell(
        "cd /etc; find jellynet systemd/system nginx apache2 haproxy caddy -not -name zz-own.conf -printf '%p %y %m %l\\n' 2>/dev/null | sort; "
        "find jellynet systemd/system nginx apache2 haproxy caddy -type f -not -name zz-own.conf -exec sha256sum {} + 2>/dev/null | sort",
        check=False,
    )


def half_done(edge: Edge) -> str:
    """What only an unfinished run has."""
    return edge.shell("find /etc/jellynet -name 'pending*' -o -name '.staging*' -o -name '*.new'")


# Teardown, first: there the host is as it was.


@pytest.mark.parametrize("proxy", ["haproxy", "caddy", "traefik", "apache"])
def test_a_teardown_brings_back_what_was_there_before(host: Edge, proxy: str) -> None:
    if host.shell("ls -d /etc/jellynet 2>/dev/null", check=False):  # a lab that is not fresh
        deploy(host, "nginx", OLD)
        host.teardown()
    host.shell(BEFORE.get(proxy, "true"))
    look = SimpleNamespace(check_output=host.shell)
    before = picture.take(look)
    try:
        deploy(host, proxy, OLD)
        assert policy(host) == [OLD]
        host.teardown()
        after = picture.take(look)
        for part, lines in before.items():
            gone, new = sorted(set(lines) - set(after[part])), sorted(set(after[part]) - set(lines))
            # Debian's caddy leaves its user behind when it is purged; and apt writes down what it does.
            passing = (*APT, *(ACCOUNTS if proxy == "caddy" else ()))
            gone, new = ([line for line in lines if not line.startswith(passing)] for lines in (gone, new))
            assert not gone and not new, f"{part}: gone: {gone}, new: {new}"
    finally:
        if proxy in BEFORE:
            host.shell(
                f"apt-get purge -y -qq {UNITS[proxy]} >/dev/null 2>&1; apt-get autoremove --purge -y -qq >/dev/null 2>&1"
            )


# The row


@pytest.fixture(scope="module", params=PROXIES)
def edge(host: Edge, request: pytest.FixtureRequest) -> Edge:
    """The edge with this proxy in force."""
    if host.proxy != request.param or host.vars.get("reverse_proxy_csp") != OLD:
        deploy(host, request.param, OLD)
    return host


def test_a_server_whose_name_is_not_found_at_boot_is_found_later(edge: Edge) -> None:
    """The proxy starts before names can be looked up, as after a power cut. Nobody runs anything afterwards."""
    named(edge, False)
    try:
        edge.shell(f"systemctl restart {edge.unit}", check=False)
        if edge.proxy in LOOK_UP_AT_START:
            assert edge.wan.ask(f"https://{MEDIA}/").code == 7  # nobody listens
            tried = until(lambda: show(edge, "NRestarts"), lambda said: said != "0", seconds=30)
            assert int(tried) >= 1
            assert show(edge, "SubState") in ("auto-restart", "start-pre", "start")
        else:
            answer = until(lambda: edge.wan.ask(f"https://{MEDIA}/"), lambda answer: answer.status != 0)
            assert answer.status == 503, answer
            assert SERVER not in answer.body
            assert answer.one("Retry-After"), answer.headers
            assert edge.wan.ask(f"https://{PATH}/jellyfin/").reached  # whose server has an address
            assert show(edge, "ActiveState") == "active"
    finally:
        named(edge, True)
    later = until(lambda: edge.wan.ask(f"https://{MEDIA}/"), lambda answer: answer.reached, seconds=30)
    assert later.reached, later


def show(edge: Edge, name: str) -> str:
    return edge.shell(f"systemctl show -P {name} {edge.unit}").strip()


def test_a_set_that_is_not_taken_up_leaves_the_one_from_before(edge: Edge) -> None:
    """Check and trial pass; on the live socket the set from before goes on answering."""
    before = edge.serving()
    assert policy(edge) == [OLD]
    edge.shell(f"rm -rf /srv/kept; cp -a /etc/jellynet/{edge.proxy}/{before} /srv/kept")
    with beside(edge, edge.proxy, DEAF.format(proxy=edge.proxy)):
        was = files(edge)
        said = fails(edge, edge.proxy, NEW)
        assert f"https://127.0.0.1 for {MEDIA} still answers with the set from before." in said, said[-3000:]
        expected = re.search(r"The set ([0-9a-f]{16}) should have answered", said)
        assert expected and expected.group(1) != before, said[-3000:]
        assert f"`systemctl cat {edge.unit}.service` shows whether" in said and "mend that and run again" in said
        assert f"The files from before are in force again and answer ({before})." in said, said[-3000:]
        assert (edge.serving(), policy(edge), half_done(edge)) == (before, [OLD], "")
        assert files(edge) == was
    done = deploy(edge, edge.proxy, NEW)
    assert lab.changed(done) > 0
    assert policy(edge) == [NEW]
    assert edge.serving() == expected.group(1)
    assert half_done(edge) == ""
    again = deploy(edge, edge.proxy, NEW)
    assert lab.changed(again) == 0, again[-3000:]


@pytest.mark.parametrize("edge", PROXIES[:-1], indirect=True)
def test_a_proxy_that_does_not_take_its_set_up_leaves_the_one_from_before(edge: Edge) -> None:
    """The switch to the next proxy of the row: it starts and answers, but not with its set."""
    old, before = edge.proxy, edge.serving()
    was = policy(edge)
    new = PROXIES[PROXIES.index(old) + 1]
    with beside(edge, new, STAND_IN):
        said = fails(edge, new, OLD)
        assert f"https://127.0.0.1 for {MEDIA} fails the TLS handshake" in said, said[-3000:]
        assert re.search(r"The set [0-9a-f]{16} should have answered", said), said[-3000:]
        assert f"`systemctl cat {UNITS[new]}.service` shows whether" in said
        assert f"{UNITS[old]}.service runs again as before." in said, said[-3000:]
        assert (edge.serving(), policy(edge), half_done(edge)) == (before, was, "")
        states = f"systemctl is-active {UNITS[old]} {UNITS[new]}; systemctl is-enabled {UNITS[old]}; systemctl is-enabled {UNITS[new]}"
        active, other, enabled, *rest = edge.shell(states, check=False).split()
        assert (active, enabled) == ("active", "enabled")
        # Else the next boot would start both.
        assert other in ("inactive", "failed") and rest in (["disabled"], ["not-found"], []), (other, rest)
        assert (
            edge.shell(
                f"ls -d /etc/jellynet/{new}; find /etc -lname '*jellynet/{new}/*' -o -xtype l -lname '*jellynet*'",
                check=False,
            )
            == ""
        )
    deploy(edge, new, OLD)
    assert policy(edge) == [OLD]
    assert edge.shell(f"systemctl is-active {UNITS[old]}", check=False).strip() in ("inactive", "failed")
