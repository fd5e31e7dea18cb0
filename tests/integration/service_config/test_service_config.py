"""The transaction on a real host: real nginx and apache2, real systemd, killed and rebooted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Edge
from waiting import listens, until

STEPS = (
    "stage", "check", "trial", "place", "units", "links", "mark", "swap",
    "daemon_reload", "apply", "prove", "enable", "clear", "purge",
)  # fmt: skip

WORDS = re.compile(r"SET-(\w+)")


def nginx(word: str, *more: str, port: int = 8088, **changes: Any) -> dict[str, Any]:
    """A set for nginx in several parts, each of which says its word: a mix would show."""
    files = {
        "site.conf": (
            f"server {{ listen 127.0.0.1:{port}; server_name media.example.org;\n"
            '  location = /.well-known/jellynet-generation { return 200 "@GENERATION@"; }\n'
            f'  location / {{ return 200 "SET-{word} $jellynet_map\\n"; }}\n}}\n'
        ),
        "/etc/nginx/conf.d/jellynet.conf": f"# SET-{word}\ninclude /etc/jellynet/nginx/current/site.conf;\n",
        "/etc/nginx/conf.d/jellynet-map.conf": f'map $host $jellynet_map {{ default "SET-{word}"; }}\n',
        "/etc/systemd/system/nginx.service.d/jellynet.conf": f"[Service]\nEnvironment=WORD=SET-{word}\n",
        **{f"/etc/nginx/conf.d/{name}.conf": f"# SET-{word}\n" for name in more},
    }
    return {
        "name": "nginx",
        "files": files,
        "services": [{"name": "nginx.service", "enabled": True, "state": "started"}],
        "check": [{"argv": ["nginx", "-t"]}],
        "proof": [{"url": f"http://127.0.0.1:{port}/.well-known/jellynet-generation"}],
        **changes,
    }


TRIAL = {"argv": ["nginx", "-g", "daemon off;"], "tmpfs": ["/run", "/var/log/nginx"]}


@pytest.fixture(scope="module", autouse=True)
def packages(host: Edge) -> None:
    host.sh("DEBIAN_FRONTEND=noninteractive apt-get install -y -q nginx apache2 curl >/dev/null 2>&1")
    host.sh("systemctl disable --now apache2 nginx; rm -f /etc/nginx/sites-enabled/default")


@pytest.fixture
def clean(host: Edge) -> Iterator[None]:
    yield
    host.run({"name": "nginx"}, state="absent")
    folders = "ls -A /etc/jellynet 2>/dev/null | grep -v record.json; ls /etc/nginx/conf.d"
    left = host.sh(f"{folders}; ls -d /etc/systemd/system/nginx.service.d 2>/dev/null", check=False)
    assert left == ""


def answer(host: Edge, port: int = 8088) -> set[str]:
    return set(WORDS.findall(host.sh(f"curl -s -m 15 http://127.0.0.1:{port}/", check=False)))


def answers(host: Edge, wanted: set[str]) -> set[str]:
    """A worker of the set from before may take a last connection after a reload."""
    return until(lambda: answer(host), lambda words: words == wanted)


def would_load(host: Edge) -> set[str]:
    """The words in all that nginx and systemd would load now; nginx has to find it sound."""
    return set(
        WORDS.findall(host.sh("nginx -T 2>&1 && cat /etc/systemd/system/nginx.service.d/*.conf 2>/dev/null || true"))
    )


def loads_at_all(host: Edge) -> None:
    host.sh("nginx -t")


def no_trace_of_trials(host: Edge) -> None:
    masters = host.sh("pgrep -fc '^nginx: master' || true").strip()
    assert masters in ("0", "1"), f"{masters} nginx masters run"


@pytest.mark.usefixtures("clean")
def test_life_of_a_set(host: Edge) -> None:
    dry = host.run(nginx("one", trial=TRIAL), check_mode=True)
    assert (dry["changed"], dry["unchecked"]) == (True, [])
    assert host.sh("ls -A /etc/nginx/conf.d /etc/jellynet 2>/dev/null | grep jellynet", check=False) in (
        "",
        "/etc/jellynet:\n",
    )
    first = host.run(nginx("one", trial=TRIAL))
    assert first["actions"] == ["start nginx.service"]
    assert first["diff"] == dry["diff"]
    assert answers(host, {"one"}) == would_load(host) == {"one"}
    assert host.sh("systemctl show -p Environment nginx.service") == "Environment=WORD=SET-one\n"
    assert not host.run(nginx("one", trial=TRIAL))["changed"]
    second = host.run(nginx("two", trial=TRIAL))
    assert second["actions"] == ["reload nginx.service"]
    assert second["previous"] == first["generation"]
    assert answers(host, {"two"}) == would_load(host) == {"two"}
    assert host.sh("systemctl show -p NeedDaemonReload nginx.service") == "NeedDaemonReload=no\n"
    no_trace_of_trials(host)


@pytest.mark.usefixtures("clean")
def test_an_unchanged_run_touches_nothing(host: Edge) -> None:
    """No reload (nginx' workers would be others), no new folder, no trial."""
    host.run(nginx("one"))
    look = "pgrep nginx; ls -lid --time-style=full-iso /etc/jellynet/nginx /etc/jellynet/nginx/*; journalctl --sync; journalctl -b -u nginx | wc -l"
    before = host.sh(look)
    assert not host.run(nginx("one"))["changed"]
    assert host.sh(look) == before


@pytest.mark.usefixtures("clean")
def test_a_broken_file_is_refused_in_the_checkers_words(host: Edge) -> None:
    host.run(nginx("one"))
    bad = nginx("two")
    bad["files"]["site.conf"] = "server { lisssten 80; }\n"
    for check_mode in (True, False):
        failed = host.run(bad, check_mode=check_mode)
        assert failed["step"] == "check"
        assert failed["rolled_back"] is None
        assert 'unknown directive "lisssten" in /etc/jellynet/nginx/current/site.conf:1' in re.sub(
            r"/etc/jellynet/nginx/[0-9a-f]{16}", "/etc/jellynet/nginx/current", failed["failed"]
        )
    assert answers(host, {"one"}) == would_load(host) == {"one"}
    assert not host.run(nginx("one"))["changed"]


@pytest.mark.usefixtures("clean")
def test_a_new_absolute_path_is_seen_by_the_check(host: Edge) -> None:
    bad = nginx("one")
    bad["files"]["/etc/nginx/conf.d/bad.conf"] = "nonsense;\n"
    failed = host.run(bad)
    assert failed["step"] == "check"
    assert "nonsense" in failed["failed"]
    assert host.sh("ls /etc/nginx/conf.d; ls -A /etc/jellynet | grep -v record", check=False) == ""


@pytest.mark.usefixtures("clean")
def test_a_trial_finds_what_the_checker_misses_and_leaves_no_trace(host: Edge) -> None:
    host.run(nginx("one", trial=TRIAL))
    before = host.sh("cat /run/nginx.pid; pgrep -c nginx")
    bad = nginx("two", trial=TRIAL, timeout=15)
    bad["files"]["site.conf"] = bad["files"]["site.conf"].replace("@GENERATION@", "0123456789abcdef")
    for check_mode in (True, False):
        failed = host.run(bad, check_mode=check_mode)
        assert failed["step"] == "trial"
        assert "answers with another set (0123456789abcdef)" in failed["failed"]
    assert host.sh("cat /run/nginx.pid; pgrep -c nginx") == before
    bad["files"]["site.conf"] = "server { listen 127.0.0.1:8088; access_log /nowhere/at/all.log; }\n"
    bad["check"] = []
    failed = host.run(bad)
    assert failed["step"] == "trial"
    assert "/nowhere/at/all.log" in failed["failed"]
    assert answers(host, {"one"}) == would_load(host) == {"one"}


@pytest.mark.usefixtures("clean")
def test_a_foreign_listener_on_the_new_port_is_named_and_the_old_set_put_back(host: Edge) -> None:
    old = host.run(nginx("one"))
    host.sh("systemd-run --unit squatter python3 -m http.server 8090 --bind 127.0.0.1")
    try:
        listens(host.sh, 8090)
        failed = host.run(nginx("two", trial=TRIAL, port=8090), timeout=15)
    finally:
        host.sh("systemctl stop squatter")
    assert (failed["step"], failed["rolled_back"]) == ("prove", True)
    assert "Port 8090 is held by python3 (squatter.service)" in failed["failed"]
    assert "Address already in use" in failed["failed"] or "The journal says" in failed["failed"]
    assert old["generation"] in failed["failed"]
    assert answers(host, {"one"}) == would_load(host) == {"one"}
    assert not host.run(nginx("one"))["changed"]


@pytest.mark.usefixtures("clean")
def test_a_failed_first_install_leaves_nothing_and_the_one_in_the_way_runs_again(host: Edge) -> None:
    host.write("/etc/apache2/ports.conf", "Listen 127.0.0.1:8088\n")
    host.sh("systemctl enable --now apache2 2>/dev/null")
    bad = nginx("one", conflicts=["apache2.service"], timeout=15)
    bad["files"]["site.conf"] = bad["files"]["site.conf"].replace("@GENERATION@", "0123456789abcdef")
    try:
        failed = host.run(bad)
        assert (failed["step"], failed["rolled_back"]) == ("prove", True)
        assert host.sh("systemctl is-active apache2; systemctl is-enabled apache2 2>/dev/null") == "active\nenabled\n"
        assert host.sh("systemctl is-active nginx", check=False) == "inactive\n"
        assert host.sh("ls /etc/nginx/conf.d; ls -A /etc/jellynet | grep -v record", check=False) == ""
        good = host.run(nginx("one", conflicts=["apache2.service"], trial=TRIAL))
        assert good["actions"] == ["stop apache2.service", "start nginx.service"]
        print("gap_ms", good["gap_ms"])
        assert 0 < good["gap_ms"] < 10000
        assert answers(host, {"one"}) == {"one"}
        assert (
            host.sh("systemctl is-active apache2; systemctl is-enabled apache2 2>/dev/null", check=False)
            == "inactive\ndisabled\n"
        )
        assert not host.run(nginx("one", conflicts=["apache2.service"]))["changed"]
    finally:
        host.sh("systemctl disable --now apache2 2>/dev/null")


@pytest.mark.usefixtures("clean")
def test_a_full_disk_leaves_all_untouched(host: Edge) -> None:
    host.run(nginx("one"))
    host.sh(
        "cp -a /etc/jellynet /tmp/jellynet-copy && mount -t tmpfs -o size=64k tmpfs /etc/jellynet && cp -a /tmp/jellynet-copy/. /etc/jellynet/"
    )
    try:
        before = host.sh("cd /etc/jellynet && find . | sort")
        big = nginx("two")
        big["files"]["big.bin"] = "x" * 200_000
        failed = host.run(big)
        assert (failed["step"], failed["rolled_back"]) == ("stage", None)
        assert "No space left on device (/etc/jellynet/nginx" in failed["failed"]
        assert host.sh("cd /etc/jellynet && find . | sort") == before
        assert answers(host, {"one"}) == would_load(host) == {"one"}
        assert not host.run(nginx("one"))["changed"]
    finally:
        host.sh("umount /etc/jellynet; rm -rf /tmp/jellynet-copy")


@pytest.mark.usefixtures("clean")
def test_units_of_our_own_with_a_socket(host: Edge) -> None:
    def hello(word: str, port: int = 8091) -> dict[str, Any]:
        drop_in = "/etc/systemd/system/hello{}.d/jellynet.conf"
        return {
            "name": "hello",
            "files": {
                "answer.py": (
                    "import socket\n"
                    "listener = socket.socket(fileno=3)\n"
                    "while True:\n"
                    "    peer, _ = listener.accept()\n"
                    "    peer.recv(1000)\n"
                    '    peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n@GENERATION@")\n'
                    f"    peer.close()  # SET-{word}\n"
                ),
                drop_in.format(".socket"): f"[Socket]\nListenStream=127.0.0.1:{port}\n",
                drop_in.format(
                    ".service"
                ): "[Service]\nExecStart=python3 /etc/jellynet/hello/current/answer.py\nDynamicUser=yes\n",
            },
            "options": {
                "answer.py": {"effect": "restart"},
                **{drop_in.format(kind): {"effect": "restart"} for kind in (".socket", ".service")},
            },
            "units": {
                "hello.socket": "[Unit]\nDescription=Hello\n[Install]\nWantedBy=sockets.target\n",
                "hello.service": "[Unit]\nDescription=Hello\n",
            },
            "services": [
                {"name": "hello.socket", "enabled": True, "state": "started"},
                {"name": "hello.service", "state": "started"},
            ],
            "proof": [{"url": f"http://127.0.0.1:{port}/"}],
        }

    try:
        assert host.run(hello("one"))["actions"] == ["start hello.socket", "start hello.service"]
        assert not host.run(hello("one"))["changed"]
        assert host.run(hello("two"))["actions"] == ["restart hello.service"]
        moved = host.run(hello("two", 8092))
        assert moved["actions"] == ["stop hello.service", "restart hello.socket", "start hello.service"]
        host.reboot()
        assert host.sh("systemctl is-active hello.socket") == "active\n"
        assert host.run({"name": "hello"}, state="absent", kill_after="disable") == {"killed": "disable"}
    finally:
        host.run({"name": "hello"}, state="absent")
    assert (
        host.sh("ls -d /etc/systemd/system/hello*; systemctl list-units --all --no-legend 'hello*'", check=False) == ""
    )


PREVIOUS = {"first install": (), "update": ("gone",)}


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("reboot", [False, True], ids=["", "rebooted"])
@pytest.mark.parametrize("kind", ["first install", "update"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_after_each_step(host: Edge, step: str, kind: str, reboot: bool) -> None:
    old = set()
    if kind == "update":
        host.run(nginx("old", "gone"))
        old = {"old"}
    new = nginx("new", "fresh", trial=TRIAL)
    assert host.run(new, kill_after=step) == {"killed": step}
    assert would_load(host) in (old, {"new"})
    loads_at_all(host)
    assert answer(host) in (old, {"new"})
    if reboot:
        host.reboot()
        assert would_load(host) in (old, {"new"})
        assert answer(host) in (old, {"new"})
    result = host.run(new)
    assert result["changed"] is (step != "purge")
    assert result["resumed"] is (step in ("swap", "daemon_reload", "apply", "prove", "enable"))
    assert answers(host, {"new"}) == would_load(host) == {"new"}
    assert host.sh("systemctl is-enabled nginx 2>/dev/null") == "enabled\n"
    assert sorted(host.sh("ls /etc/nginx/conf.d").split()) == ["fresh.conf", "jellynet-map.conf", "jellynet.conf"]
    assert host.sh("ls -A /etc/jellynet/nginx").split() == sorted([result["generation"], "current"])
    assert not host.run(new)["changed"]
    no_trace_of_trials(host)


def apache(curves: str) -> dict[str, Any]:
    return {
        "name": "apache",
        "files": {
            "site.conf": (
                "Listen 127.0.0.1:8443\n<VirtualHost 127.0.0.1:8443>\nServerName media.example.org\nSSLEngine on\n"
                "SSLCertificateFile /etc/ssl/certs/ssl-cert-snakeoil.pem\nSSLCertificateKeyFile /etc/ssl/private/ssl-cert-snakeoil.key\n"
                f"SSLOpenSSLConfCmd Curves {curves}\n"
                "Alias /.well-known/jellynet-generation /etc/jellynet/apache/current/id\n"
                "<Directory /etc/jellynet/apache>\nRequire local\n</Directory>\n</VirtualHost>\n"
            ),
            "id": "@GENERATION@\n",
            "/etc/apache2/conf-enabled/jellynet.conf": "Include /etc/jellynet/apache/current/site.conf\n",
        },
        "options": {"id": {"effect": "none"}},
        "services": [{"name": "apache2.service", "enabled": True, "state": "started"}],
        "check": [{"argv": ["apache2ctl", "-t"]}],
        "trial": {"argv": ["apache2ctl", "-D", "FOREGROUND"], "tmpfs": ["/run", "/var/log/apache2"]},
        "proof": [
            {"url": "https://127.0.0.1:8443/.well-known/jellynet-generation", "server_name": "media.example.org"}
        ],
        "timeout": 30,
    }


def test_apache_with_a_bad_group_passes_its_own_check_and_fails_the_trial(host: Edge) -> None:
    host.write("/etc/apache2/ports.conf", "Listen 127.0.0.1:8080\n")
    host.sh("a2enmod -q ssl; a2dissite -q 000-default")
    try:
        good = host.run(apache("X25519:prime256v1"))
        assert good.get("actions") == ["start apache2.service"], good.get("failed")
        before = host.sh("cat /run/apache2/apache2.pid; pgrep -c apache2; ls -l /var/log/apache2 | wc -l")
        bad = host.run(apache("X25519:no-such-group"))
        assert bad["step"] == "trial"
        assert "it ended with exit code" in bad["failed"]
        assert host.sh("cat /run/apache2/apache2.pid; pgrep -c apache2; ls -l /var/log/apache2 | wc -l") == before
        assert not host.run(apache("X25519:prime256v1"))["changed"]
        assert host.run(apache("prime256v1"))["actions"] == ["reload apache2.service"]
    finally:
        host.run({"name": "apache"}, state="absent")
