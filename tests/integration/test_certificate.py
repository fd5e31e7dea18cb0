"""Certificates on real hosts, against a real ACME server: tests/lab/topologies/certificate.toml, `--lab NAME`.

`edge` (Debian 12) has its certificate from the ACME server, `newer` (Debian 13) plays through the other sources.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host
from waiting import listens, until

ROOT = Path(__file__).resolve().parents[2]
MEDIA, NEW = "media.example.org", "new.example.org"
LINEAGE = f"/etc/letsencrypt/renewal/jellynet-{MEDIA}-ecdsa.conf"
SETTINGS = {
    "directory": "https://acme:14000/dir",
    "ca_bundle": "/etc/ssl/lab-acme-ca.pem",
    "sites": [{"domain": MEDIA}],
}


@pytest.fixture(scope="session")
def newer(lab: Any) -> Host:
    return lab.host("newer")


class Run:
    """What a playbook or module said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.rc, self.words = done.returncode, done.stdout + done.stderr
        assert "PRIVATE KEY" not in self.words, "a key reached the output"

    @property
    def changed(self) -> int:
        return sum(int(count) for count in re.findall(r"\bchanged=(\d+)", self.words))


def call(*argv: str) -> Run:
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
    }
    program = str(Path(sys.executable).parent / argv[0])
    return Run(
        subprocess.run([program, *argv[1:]], capture_output=True, text=True, env=os.environ | settings, cwd=ROOT)
    )


@pytest.fixture(scope="session")
def play(lab: Any) -> Callable[..., Run]:
    def run(host: str, *more: str, fails: bool = False, book: str = "certificate.yml", **values: Any) -> Run:
        path = str(Path(__file__).with_name(book))
        done = call(
            "ansible-playbook",
            "-i",
            str(lab.inventory),
            path,
            "-l",
            host,
            "-e",
            json.dumps(values),
            "-vv",
            "--diff",
            *more,
        )
        assert (done.rc != 0) is fails, done.words[-4000:]
        return done

    return run


@pytest.fixture(scope="session")
def module(lab: Any) -> Callable[..., dict[str, Any]]:
    def run(host: str, name: str, *more: str, **arguments: Any) -> dict[str, Any]:
        argv = [
            "-i",
            str(lab.inventory),
            host,
            "-m",
            f"jellynet.jellyfin.{name}",
            "-a",
            json.dumps(arguments),
            "--one-line",
        ]
        done = call("ansible", *argv, *more)
        line = next(line for line in done.words.splitlines() if " => " in line)
        answer = json.loads(line.split(" => ", 1)[1])
        answer["outcome"] = line.split(" | ")[1].split(" ")[0].rstrip("!")
        return answer

    return run


@pytest.fixture(scope="session")
def converged(play: Callable[..., Run]) -> Run:
    return play("edge")


@pytest.fixture
def letsencrypt(converged: Run, module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def ask(*more: str, **arguments: Any) -> dict[str, Any]:
        return module("edge", "letsencrypt_certificate", *more, **{**SETTINGS, **arguments})

    return ask


def door(host: Host, domain: str) -> dict[str, Any]:
    return json.loads(host.file(f"/etc/jellynet/certificates/{domain}/door.json").content_string)


def served(asker: Host, address: str, domain: str, *more: str) -> str:
    """The serial that a client gets on 443."""
    said = asker.run(
        f"echo | openssl s_client -connect {address}:443 -servername {domain} {' '.join(more)} 2>&1 | openssl x509 -noout -serial"
    )
    return said.stdout.strip().removeprefix("serial=")


def systemctl(host: Host, *words: str) -> int:
    return int(host.run(f"systemctl {' '.join(words)}").rc)


@pytest.fixture
def due(edge: Host) -> Iterator[Callable[[], None]]:
    """Make certbot's own timer think that it is time."""

    def make() -> None:
        edge.check_output(f"sed -i '1i renew_before_expiry = 3000 days' {LINEAGE}")

    yield make
    edge.check_output(f"sed -i '/^renew_before_expiry = 3000 days/d' {LINEAGE}")


@pytest.fixture
def no_ca(lab: Any, edge: Host) -> Iterator[None]:
    """The ACME server is out of reach. (It forgets its accounts when it is stopped.)"""
    edge.check_output(f"ip route add unreachable {lab.address('acme', 'wan')}/32")
    yield
    edge.check_output(f"ip route del unreachable {lab.address('acme', 'wan')}/32")


# From nothing to a certificate, and no further


def test_check_mode_on_a_bare_host(play: Callable[..., Run], edge: Host) -> None:
    if edge.file("/etc/jellynet").exists:
        pytest.skip("this host is not bare any more")
    done = play("edge", "--check", certificate_test_proxy=False)
    assert "asked for at https://acme:14000/dir" in done.words
    assert not edge.file("/etc/jellynet").exists and not edge.file("/etc/letsencrypt").exists
    assert edge.run("getent group jellynet-tls").rc != 0


def test_issued_and_served(converged: Run, lab: Any, acme: Host, edge: Host) -> None:
    said = door(edge, MEDIA)
    assert (said["source"], said["names"], said["key_types"], said["public"]) == (
        "letsencrypt",
        [MEDIA],
        ["ecdsa"],
        False,
    )
    address = lab.address("edge", "wan")
    assert eventually(lambda: served(acme, address, MEDIA) == said["serial"])
    verified = acme.run(
        f"echo | openssl s_client -connect {address}:443 -servername {MEDIA} -verify_hostname {MEDIA} -CAfile /etc/ssl/lab-acme-root.pem -verify_return_error"
    )
    assert verified.rc == 0, verified.stdout[-500:] + verified.stderr[-500:]


def test_public_follows_the_trust_store(converged: Run, edge: Host, module: Callable[..., dict[str, Any]]) -> None:
    edge.check_output(
        "cp /etc/ssl/lab-acme-root.pem /usr/local/share/ca-certificates/test.crt; update-ca-certificates 2>&1"
    )
    try:
        edge.check_output("jellynet-certificate-door sync")
        assert door(edge, MEDIA)["public"] is True
    finally:
        edge.check_output(
            "rm /usr/local/share/ca-certificates/test.crt; update-ca-certificates --fresh 2>&1; jellynet-certificate-door sync"
        )
    assert door(edge, MEDIA)["public"] is False


def test_again_changes_nothing_and_asks_nobody(converged: Run, play: Callable[..., Run], no_ca: None) -> None:
    assert play("edge").changed == 0
    assert play("edge", "--check").changed == 0


def test_who_may_read(converged: Run, edge: Host) -> None:
    key = f"/etc/jellynet/certificates/{MEDIA}/ecdsa/privkey.pem"
    assert edge.run(f"setpriv --reuid nobody --regid nogroup --clear-groups cat {key}").rc != 0
    assert edge.run(f"setpriv --reuid nobody --regid nogroup --groups jellynet-tls cat {key}").rc == 0
    assert (
        edge.run(
            "grep -rl '^-----BEGIN.*PRIVATE KEY' /var/log /etc/jellynet/record.json /etc/jellynet/certificate"
        ).stdout
        == ""
    )


# Renewal


def test_certbots_timer_renews_and_the_proxy_serves_it(
    converged: Run, lab: Any, edge: Host, acme: Host, due: Callable[[], None]
) -> None:
    assert edge.service("certbot.timer").is_enabled and edge.service("certbot.timer").is_running
    before = door(edge, MEDIA)["serial"]
    assert systemctl(edge, "start certbot.service") == 0
    assert door(edge, MEDIA)["serial"] == before, "it was not due"
    due()
    assert systemctl(edge, "start certbot.service") == 0, edge.run(
        "journalctl -u certbot.service -n 30 --no-pager"
    ).stdout
    after = door(edge, MEDIA)["serial"]
    assert after != before and eventually(lambda: served(acme, lab.address("edge", "wan"), MEDIA) == after)


def eventually(true: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def test_a_failed_hook_is_made_good(converged: Run, lab: Any, edge: Host, acme: Host, due: Callable[[], None]) -> None:
    address, before = lab.address("edge", "wan"), door(edge, MEDIA)["serial"]
    edge.check_output("echo 'no such thing;' > /etc/nginx/conf.d/broken.conf")
    try:
        due()
        assert systemctl(edge, "start certbot.service") != 0, "a reload that failed has to show"
        after = door(edge, MEDIA)["serial"]
        assert after != before and served(acme, address, MEDIA) == before
        assert "nginx has not been told of the last change" in edge.check_output("jellynet-certificate-door status")
        assert "nginx.service could not be told" in edge.check_output(
            "journalctl --sync; journalctl -u certbot.service -n 40 --no-pager"
        )
    finally:
        edge.check_output(f"rm /etc/nginx/conf.d/broken.conf; sed -i '/^renew_before_expiry = 3000/d' {LINEAGE}")
    assert systemctl(edge, "start certbot.service") == 0
    assert door(edge, MEDIA)["serial"] == after, "nothing was asked for again"
    assert eventually(lambda: served(acme, address, MEDIA) == after)
    assert "told" not in edge.check_output("jellynet-certificate-door status")


def test_a_forced_renewal(letsencrypt: Callable[..., dict[str, Any]], lab: Any, edge: Host, acme: Host) -> None:
    before = door(edge, MEDIA)["serial"]
    done = letsencrypt(force_renewal=True)
    assert done["changed"] and done["issued"] == [f"jellynet-{MEDIA}-ecdsa"], done
    after = door(edge, MEDIA)["serial"]
    assert after != before and eventually(lambda: served(acme, lab.address("edge", "wan"), MEDIA) == after)
    assert letsencrypt()["changed"] is False


def test_another_way_of_renewing_is_put_right(letsencrypt: Callable[..., dict[str, Any]], edge: Host) -> None:
    edge.check_output(f"sed -i 's/^http01_port = 888/http01_port = 8888/' {LINEAGE}")
    planned = letsencrypt("--check")
    assert planned["changed"] and planned["requests"][0]["reasons"] == ["its renewal would fail: wrong http01_port"]
    assert letsencrypt()["changed"] and "http01_port = 888\n" in edge.file(LINEAGE).content_string
    assert letsencrypt()["changed"] is False


# Failures: the proxy serves what it served, and the words say which check it was


@pytest.fixture
def unharmed(converged: Run, lab: Any, edge: Host, acme: Host) -> Iterator[None]:
    before = door(edge, MEDIA)
    yield
    assert door(edge, MEDIA) == before and served(acme, lab.address("edge", "wan"), MEDIA) == before["serial"]


def test_the_ca_is_down(letsencrypt: Callable[..., dict[str, Any]], edge: Host, no_ca: None) -> None:
    before = door(edge, MEDIA)
    done = letsencrypt(force_renewal=True)
    assert done["outcome"] == "FAILED" and done["changed"] is False and door(edge, MEDIA) == before
    assert done["msg"].startswith(
        "The ACME server https://acme:14000/dir cannot be reached from this host: No route to host"
    )
    assert "What the proxy serves stays as it was" in done["msg"]


def test_the_ca_forgot_the_account(letsencrypt: Callable[..., dict[str, Any]], unharmed: None, edge: Host) -> None:
    accounts = "/etc/letsencrypt/accounts"
    edge.check_output(
        f"cp -a {accounts} /root/; sed -i 's#my-account/[0-9a-f]*#my-account/00#' $(find {accounts} -name regr.json)"
    )
    try:
        done = letsencrypt(force_renewal=True)
    finally:
        edge.check_output(f"rm -r {accounts}; mv /root/accounts {accounts}")
    assert "the CA does not know this host's account any more" in done["msg"]


def test_the_ca_is_not_trusted(letsencrypt: Callable[..., dict[str, Any]], unharmed: None) -> None:
    done = letsencrypt(force_renewal=True, ca_bundle="")
    assert "its certificate is not trusted" in done["msg"] and "set jellyfin_acme_ca_bundle" in done["msg"]
    done = letsencrypt(force_renewal=True, ca_bundle="/nowhere.pem")
    assert "jellyfin_acme_ca_bundle (/nowhere.pem) cannot be used" in done["msg"]


def test_the_directory_is_none(letsencrypt: Callable[..., dict[str, Any]], unharmed: None) -> None:
    assert "answers 404" in letsencrypt(directory="https://acme:14000/nothing")["msg"]
    assert "its name does not resolve here" in letsencrypt(directory="https://nowhere.invalid/dir")["msg"]


def point(lab: Any, name: str, target: str) -> None:
    subprocess.run(
        [str(ROOT / "tests" / "lab" / "lab"), "dns", lab.name, name, target], check=True, capture_output=True
    )


def test_the_name_points_elsewhere(
    letsencrypt: Callable[..., dict[str, Any]], unharmed: None, lab: Any, edge: Host
) -> None:
    # a name that the CA has not validated before; it remembers for a while
    lost = "lost.example.org"
    point(lab, lost, lab.address("acme", "wan"))
    edge.check_output(f"echo '{lab.address('acme', 'wan')} {lost}' >> /etc/hosts")
    done = letsencrypt(sites=[{"domain": lost}, {"domain": MEDIA}])
    assert (
        done["outcome"] == "FAILED"
        and f"https://acme:14000/dir issued no ecdsa certificate for {lost}: " in done["msg"]
    )
    assert "the CA could not connect to port 80 under the name (connection): " in done["msg"]
    assert f"{lost} resolves to {lab.address('acme', 'wan')}, which is no address of this host" in done["msg"]
    assert [request["domain"] for request in done["requests"]] == [lost]


def test_another_server_answers_under_the_name(
    letsencrypt: Callable[..., dict[str, Any]], unharmed: None, lab: Any, acme: Host
) -> None:
    point(lab, "taken.example.org", lab.address("acme", "wan"))
    acme.check_output("systemd-run --unit test-squatter python3 -m http.server --bind 0.0.0.0 80")
    try:
        listens(acme.check_output, 80)
        done = letsencrypt(sites=[{"domain": "taken.example.org"}])
    finally:
        acme.check_output("systemctl stop test-squatter")
    assert "another server than this one answered the CA under the name (unauthorized): " in done["msg"]
    assert "taken.example.org does not resolve on this host" in done["msg"]


def reload(edge: Host, change: str) -> None:
    """Change nginx' configuration; back when none but new workers take connections."""
    workers = "pgrep -fx 'nginx: worker process' || true"  # one that ends says so in its name
    before = set(edge.check_output(workers).split())
    edge.check_output(f"{change}; nginx -s reload")
    now = until(lambda: set(edge.check_output(workers).split()), lambda found: bool(found) and not found & before)
    assert now and not now & before


def test_port_80_leads_elsewhere(letsencrypt: Callable[..., dict[str, Any]], unharmed: None, edge: Host) -> None:
    site = "/etc/nginx/sites-available/default"
    reload(edge, f"cp {site} /root/site; sed -i '/acme-challenge/d' {site}")
    try:
        done = letsencrypt(force_renewal=True)
    finally:
        reload(edge, f"cp /root/site {site}; rm /root/site")
    assert (
        f"Port 80 of this host does not lead http://{MEDIA}/.well-known/acme-challenge/ to certbot: it answers 301"
        in done["msg"]
    )
    edge.check_output("systemctl stop nginx")
    try:
        done = letsencrypt(force_renewal=True)
    finally:
        edge.check_output("systemctl start nginx")
    assert "Nothing listens on port 80 of this host" in done["msg"]


def test_the_responders_port_is_taken(letsencrypt: Callable[..., dict[str, Any]], unharmed: None, edge: Host) -> None:
    edge.check_output("systemd-run --unit test-squatter python3 -m http.server --bind 127.0.0.1 888")
    try:
        listens(edge.check_output, 888)
        done = letsencrypt(force_renewal=True)
    finally:
        edge.check_output("systemctl stop test-squatter")
    assert "127.0.0.1:888 cannot be taken to answer the challenge (Address already in use)" in done["msg"]


def test_a_port_that_anyone_can_open_is_refused(letsencrypt: Callable[..., dict[str, Any]], unharmed: None) -> None:
    assert "give a port below 1024" in letsencrypt(port=8888)["msg"]


# A kill


def test_a_kill_leaves_a_whole_door(converged: Run, edge: Host) -> None:
    link = f"/etc/jellynet/certificates/{MEDIA}"
    script = f"""
    set -e
    n=0
    while n=$((n + 1)); [ $n -le 200 ]; do  # later and later, until a run was over before it was killed
      # damage makes the sync write a new folder
      chmod 0600 {link}/ecdsa/bundle.pem
      timeout -s KILL $(awk "BEGIN {{print $n * 0.04}}") jellynet-certificate-door sync && break
      leaf=$(openssl x509 -in {link}/ecdsa/fullchain.pem -noout -pubkey)
      [ "$leaf" = "$(openssl pkey -in {link}/ecdsa/privkey.pem -pubout)" ]
      cat {link}/ecdsa/privkey.pem {link}/ecdsa/fullchain.pem | cmp - {link}/ecdsa/bundle.pem
    done
    [ $n -gt 2 ]
    [ $n -le 200 ]
    jellynet-certificate-door sync
    [ "$(stat -c %a {link}/ecdsa/bundle.pem)" = 640 ]
    [ "$(ls -A /etc/jellynet/certificates/.store | wc -l)" = 1 ]
    [ -z "$(ls -A /etc/jellynet/certificates/.pending)" ]
    """
    done = edge.run("bash -c %s", script)
    assert done.rc == 0, done.stdout + done.stderr


# The other sources, on Debian 13


@pytest.fixture(scope="session")
def local_ca(play: Callable[..., Run], newer: Host) -> Run:
    return play("newer", jellyfin_certificate="local_ca")


def test_local_ca(local_ca: Run, lab: Any, newer: Host, acme: Host) -> None:
    said = door(newer, NEW)
    assert (said["source"], said["public"]) == ("local_ca", False)
    root = newer.file(f"/etc/jellynet/certificates/{NEW}/ca.pem").content_string
    assert newer.file(f"/etc/jellynet/local_ca/{NEW}.pem").content_string == root
    assert (
        newer.file(f"/etc/jellynet/local_ca/{NEW}.key").mode == 0o600
        and newer.file("/etc/jellynet/local_ca").mode == 0o700
    )
    assert newer.run(f"openssl verify /etc/jellynet/certificates/{NEW}/ca.pem").rc != 0, (
        "it must not be in the trust store"
    )
    address = lab.address("newer", "wan")
    code = "import socket,ssl,sys\nc=ssl.create_default_context(cadata=sys.argv[1])\nc.verify_flags|=ssl.VERIFY_X509_STRICT\n"
    code += "s=c.wrap_socket(socket.create_connection((sys.argv[2],443)),server_hostname=sys.argv[3])\nprint(s.getpeercert()['serialNumber'])"
    got = acme.run("python3 -c %s %s %s %s", code, root, address, NEW)
    assert got.stdout.strip() == said["serial"], got.stderr


def test_local_ca_again(local_ca: Run, play: Callable[..., Run], newer: Host) -> None:
    before = door(newer, NEW)
    assert play("newer", jellyfin_certificate="local_ca").changed == 0
    assert door(newer, NEW) == before


def test_the_daily_timer_works_in_its_sandbox(local_ca: Run, newer: Host) -> None:
    assert (
        newer.service("jellynet-certificate-door.timer").is_enabled
        and newer.service("jellynet-certificate-door.timer").is_running
    )
    before = door(newer, NEW)["serial"]
    newer.check_output(f"rm -r /etc/jellynet/certificates/{NEW}/ecdsa")
    assert systemctl(newer, "start jellynet-certificate-door.service") == 0, newer.run(
        "journalctl -u jellynet-certificate-door -n 30"
    ).stdout
    assert door(newer, NEW)["serial"] != before
    assert "nginx.service: told of it" in newer.check_output(
        "journalctl --sync; journalctl -u jellynet-certificate-door.service --no-pager -n 20"
    )


FILES = r"""
set -e
mkdir -p /etc/ssl/mine; cd /etc/ssl/mine
printf '[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=x\n' > c
ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem 2>&1; }
leaf() { # name, domain, days
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config c -keyout "$1.key" -out "$1.csr" 2>&1
  printf 'subjectAltName=DNS:%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -set_serial 0x$(openssl rand -hex 8) -days "$3" -extfile "$1.ext" -out "$1.leaf" 2>&1
  cat "$1.leaf" ca.pem > "$1.pem"
}
[ -e ca.pem ] || ca
leaf good "*.example.org" 30
leaf next new.example.org 30
leaf other other.example.org 30
leaf old new.example.org 0
"""


@pytest.fixture
def files(local_ca: Run, newer: Host) -> Callable[[str, str], dict[str, Any]]:
    if not newer.file("/etc/ssl/mine/old.pem").exists:
        newer.check_output("bash -c %s", FILES)

    def site(fullchain: str, privkey: str) -> dict[str, Any]:
        paths = {"fullchain": f"/etc/ssl/mine/{fullchain}", "privkey": f"/etc/ssl/mine/{privkey}"}
        return {"sites": [{"domain": NEW, "certificate": "files", **paths}]}

    return site


@pytest.mark.parametrize(
    ("fullchain", "privkey", "words"),
    [
        ("next.pem", "good.key", "the private key does not belong to the certificate"),
        ("other.pem", "other.key", "it is made out for other.example.org, which does not cover new.example.org"),
        ("old.pem", "old.key", "it expired at "),
        ("none.pem", "good.key", "there is no such file on this host"),
        ("c", "good.key", "it holds no certificate in PEM form"),
        ("good.pem", "c", "it holds no private key in PEM form"),
    ],
)
def test_files_that_cannot_be_used(
    files: Callable[..., Any], module: Callable[..., Any], newer: Host, fullchain: str, privkey: str, words: str
) -> None:
    before = newer.check_output("find /etc/jellynet -printf '%p %T@ %l\\n' | sort")
    for mode in ([], ["--check"]):
        done = module("newer", "certificate_door", *mode, **files(fullchain, privkey))
        assert done["outcome"] == "FAILED" and words in done["msg"], done["msg"]
        assert "jellyfin_certificate_" in done["msg"]
    assert newer.check_output("find /etc/jellynet -printf '%p %T@ %l\\n' | sort") == before


def test_files(files: Callable[..., Any], play: Callable[..., Run], lab: Any, newer: Host, acme: Host) -> None:
    files("", "")
    mine = {
        "jellyfin_certificate": "files",
        "jellyfin_certificate_fullchain": "/etc/ssl/mine/mine.pem",
        "jellyfin_certificate_privkey": "/etc/ssl/mine/mine.key",
    }
    newer.check_output("cd /etc/ssl/mine; cp good.pem mine.pem; cp good.key mine.key")
    play("newer", **mine)
    said = door(newer, NEW)
    assert (said["source"], said["names"]) == ("files", ["*.example.org"])
    assert not newer.file(f"/etc/jellynet/certificates/{NEW}/ca.pem").exists
    address = lab.address("newer", "wan")
    assert eventually(lambda: served(acme, address, NEW) == said["serial"])
    newer.check_output(
        "cd /etc/ssl/mine; cp next.pem mine.pem; cp next.key mine.key; systemctl start jellynet-certificate-door.service"
    )
    assert door(newer, NEW)["names"] == [NEW] and eventually(
        lambda: served(acme, address, NEW) == door(newer, NEW)["serial"]
    )
    newer.check_output("cp /etc/ssl/mine/good.key /etc/ssl/mine/mine.key")
    assert systemctl(newer, "start jellynet-certificate-door.service") != 0, "a pair that does not fit has to show"
    assert door(newer, NEW)["names"] == [NEW]
    newer.check_output("cp /etc/ssl/mine/next.key /etc/ssl/mine/mine.key")
    assert play("newer", **mine).changed == 0


def test_both_kinds_of_keys_from_an_acme_server(
    files: Callable[..., Any], play: Callable[..., Run], lab: Any, newer: Host, acme: Host
) -> None:
    both = {"jellyfin_certificate_key_types": ["ecdsa", "rsa"]}
    play("newer", **both)
    said = door(newer, NEW)
    assert (said["source"], said["key_types"]) == ("letsencrypt", ["ecdsa", "rsa"])
    assert {key["source"] for key in said["keys"].values()} == {"letsencrypt"}
    address = lab.address("newer", "wan")
    for key_type, how in (("rsa", "-tls1_2 -cipher aRSA"), ("ecdsa", "-tls1_2 -cipher aECDSA")):
        assert eventually(
            lambda how=how, key_type=key_type: served(acme, address, NEW, how) == said["keys"][key_type]["serial"]
        )
    assert play("newer", **both).changed == 0


def test_a_kind_of_key_and_a_domain_that_are_not_asked_for_any_more(play: Callable[..., Run], newer: Host) -> None:
    newer.check_output(f"cp -a /etc/jellynet/certificates/{NEW} /etc/jellynet/certificates/gone.example.org")
    play("newer")
    assert door(newer, NEW)["key_types"] == ["ecdsa"]
    assert not newer.file(f"/etc/jellynet/certificates/{NEW}/rsa").exists
    assert not newer.file("/etc/jellynet/certificates/gone.example.org").exists
    assert play("newer").changed == 0


# And away again


def test_teardown(play: Callable[..., Run], lab: Any, newer: Host) -> None:
    lineage = f"/etc/letsencrypt/live/jellynet-{NEW}-ecdsa/privkey.pem"
    assert newer.file(lineage).exists
    play("newer", book="certificate_teardown.yml")
    left = newer.check_output("find / -xdev -path /proc -prune -o -name '*jellynet*' -print").split("\n")
    assert [path for path in left if not path.startswith(("/etc/letsencrypt/", "/root/.ansible"))] == ["/etc/jellynet"]
    assert newer.check_output("ls -A /etc/jellynet") == "record.json", "it still has to say which packages to remove"
    assert newer.run("getent group jellynet-tls").rc != 0
    assert newer.file(lineage).exists, "a CA gives only a few a week"
    assert newer.run("systemctl list-unit-files --no-legend 'jellynet*'").stdout == ""
    done = play("newer", book="certificate_teardown.yml", certificate_remove_lineages=True)
    assert not newer.file(f"/etc/letsencrypt/renewal/jellynet-{NEW}-ecdsa.conf").exists and done.changed == 1
