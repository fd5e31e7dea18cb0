"""The certificate's door: what comes into it, when it changes, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import certificates
import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import (
    _door,
    _door_cli,
    _door_readers,
    _door_sync,
    _x509,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._certificate_pair import PairError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door import Layout
from certificates import DOMAIN, Issuer, config, later, lineage, site


class Systemd:
    """Takes what would be asked of systemd."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.states: dict[str, str] = {}
        self.broken: dict[str, str] = {}

    def __call__(self, argv: Sequence[str]) -> tuple[int, str]:
        unit = argv[-1]
        if argv[1] == "show":
            return 0, self.states.get(unit, "active")
        self.asked.append(f"{argv[1]} {unit}")
        return (1, self.broken[unit]) if unit in self.broken else (0, "")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # no test pulls the plug, and a busy disk takes its time
    return certificates.layout(tmp_path)


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


def register(at: Layout, name: str, text: str) -> None:
    folder = at.certificates / "readers.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text)


@pytest.fixture
def nginx(at: Layout) -> None:
    register(at, "nginx", '{"unit": "nginx.service", "how": "reload"}')


@pytest.fixture
def sync(at: Layout, systemd: Systemd) -> Any:
    def call(
        *sites: dict[str, Any], days: float = 0, purge: bool = False, strict: bool = False, **given: Any
    ) -> _door_sync.Result:
        wanted = config(*(sites or [site()]), **given)
        forecast = _door_sync.forecast(_door_sync.plan(wanted, at, later(days), purge))
        result = _door_sync.sync(wanted, at, later(days), purge, strict, systemd)
        assert forecast.changed == result.changed, "check mode has to say what comes"
        assert forecast.leftovers == result.leftovers and forecast.dropped == result.dropped
        again = _door_sync.plan(wanted, at, later(days), purge)
        assert not again.changed or result.failed_readers, "a second sync has nothing to do"
        return result

    return call


def door(at: Layout, domain: str = DOMAIN) -> Path:
    return at.certificates / domain


def serial(at: Layout, key_type: str = "ecdsa", domain: str = DOMAIN) -> str:
    return _x509.read_certificate(_x509.split((door(at, domain) / key_type / "fullchain.pem").read_text())[0]).serial


def said(at: Layout, domain: str = DOMAIN) -> dict[str, Any]:
    return json.loads((door(at, domain) / "door.json").read_text())


# What comes into the door


def test_a_placeholder_comes_first(at: Layout, sync: Any) -> None:
    result = sync(site(key_types=["rsa", "ecdsa"]))
    assert result.changed and result.doors[DOMAIN] == said(at)
    assert (said(at)["source"], said(at)["public"], said(at)["key_types"]) == ("placeholder", False, ["ecdsa", "rsa"])
    for key_type in ("ecdsa", "rsa"):
        leaf = _x509.read_certificate((door(at) / key_type / "fullchain.pem").read_text())
        assert leaf.key_type == key_type and leaf.names == [DOMAIN] and leaf.self_issued


def test_folders_and_files_are_closed(at: Layout, sync: Any) -> None:
    sync()
    assert os.readlink(door(at)).startswith(".store/media.example.org,")
    for path in [at.certificates, at.store, *at.store.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
    key, chain = ((door(at) / "ecdsa" / name).read_text() for name in ("privkey.pem", "fullchain.pem"))
    assert (door(at) / "ecdsa" / "bundle.pem").read_text() == key + chain
    assert "PRIVATE" not in (door(at) / "door.json").read_text()


def test_a_name_as_long_as_names_get(at: Layout, sync: Any) -> None:
    long = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 39, "example"])
    assert len(long) == _door_sync.LONGEST_DOMAIN
    sync(site(domain=long), site(domain="l" + long[1:], certificate="local_ca"))
    assert said(at, long)["names"] == [long]


def test_the_real_one_replaces_the_placeholder(
    at: Layout, sync: Any, issuer: Issuer, nginx: None, systemd: Systemd
) -> None:
    sync()
    lineage(at, issuer.issue())
    before = serial(at)
    systemd.asked.clear()
    assert sync().reloaded == ["nginx.service"]
    assert said(at)["source"] == "letsencrypt" and serial(at) != before
    assert said(at)["serial"] == serial(at) and said(at)["names"] == [DOMAIN] and said(at)["public"] is False
    assert systemd.asked == ["reload nginx.service"]


def test_nothing_to_do_touches_nothing(at: Layout, sync: Any, issuer: Issuer, nginx: None, systemd: Systemd) -> None:
    lineage(at, issuer.issue())
    sync()
    systemd.asked.clear()
    before = {path: path.lstat().st_mtime_ns for path in at.certificates.rglob("*")}
    result = sync()
    assert not result.changed and not systemd.asked
    assert before == {path: path.lstat().st_mtime_ns for path in at.certificates.rglob("*")}


def test_a_renewal_comes_through(at: Layout, sync: Any, issuer: Issuer) -> None:
    lineage(at, issuer.issue())
    sync()
    before = serial(at)
    lineage(at, issuer.issue())
    assert sync().changed and serial(at) != before
    assert len(list(at.store.iterdir())) == 1, "older folders go"


def test_nothing_real_gives_way_to_a_placeholder(at: Layout, sync: Any, issuer: Issuer) -> None:
    live = lineage(at, issuer.issue())
    sync()
    before = serial(at)
    (live / "fullchain.pem").unlink()
    assert not sync(days=3000).changed and serial(at) == before


def test_a_second_kind_of_key_gets_a_placeholder_until_it_is_issued(at: Layout, sync: Any, issuer: Issuer) -> None:
    lineage(at, issuer.issue())
    sync()
    before = serial(at)
    sync(site(key_types=["ecdsa", "rsa"]))
    assert serial(at) == before
    assert said(at)["source"] == "letsencrypt" and said(at)["public"] is False
    assert said(at)["keys"]["rsa"]["source"] == "placeholder"
    lineage(at, issuer.issue(key_type="rsa"), key_type="rsa")
    sync(site(key_types=["ecdsa", "rsa"]))
    assert said(at)["keys"]["rsa"]["source"] == "letsencrypt" and serial(at) == before


def test_a_half_written_lineage_is_left_alone(at: Layout, sync: Any, issuer: Issuer) -> None:
    lineage(at, issuer.issue())
    sync()
    before = serial(at)
    lineage(at, (issuer.issue()[0], issuer.issue()[1]))
    result = sync()
    assert serial(at) == before and "does not belong to the certificate" in result.problems[0]
    assert not result.changed


def test_an_expired_lineage_beats_a_placeholder(at: Layout, sync: Any, issuer: Issuer) -> None:
    lineage(at, issuer.issue(days=1))
    sync(days=2)
    assert said(at)["source"] == "letsencrypt"


def test_public_is_what_the_system_trusts(
    at: Layout, sync: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage(at, issuer.issue())
    sync()
    asked = []
    monkeypatch.setattr(_x509, "publicly_trusted", lambda chain, domain: asked.append((len(chain), domain)) is None)
    folder = os.readlink(door(at))
    assert sync().changed and said(at)["public"] is True
    assert os.readlink(door(at)) == folder, "what the trust store says changes no certificate"
    assert asked[0] == (2, DOMAIN)


def test_a_local_ca_and_a_placeholder_are_never_public(at: Layout, sync: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_x509, "publicly_trusted", lambda chain, domain: True)
    sync(site(), site(domain="b.example", certificate="local_ca"))
    assert said(at)["public"] is False and said(at, "b.example")["public"] is False


def test_damage_is_mended(at: Layout, sync: Any, issuer: Issuer) -> None:
    lineage(at, issuer.issue())
    sync()
    for damage in (
        lambda: os.chmod(door(at) / "ecdsa" / "privkey.pem", 0o644),
        lambda: (door(at) / "ecdsa" / "bundle.pem").write_text("x"),
        lambda: (door(at) / "ecdsa" / "privkey.pem").unlink(),
        lambda: (door(at) / "door.json").unlink(),
        lambda: os.chmod(door(at) / "ecdsa", 0o755),
    ):
        damage()
        assert sync().changed and said(at)["source"] == "letsencrypt"


# Files


def test_files(at: Layout, sync: Any, issuer: Issuer, tmp_path: Path) -> None:
    pair = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    mine = site(certificate="files", fullchain=str(pair[0]), privkey=str(pair[1]))
    for path, text in zip(pair, issuer.issue()):
        path.write_text(text)
    sync(mine)
    before = serial(at)
    assert said(at)["source"] == "files"
    for path, text in zip(pair, issuer.issue()):
        path.write_text(text)
    assert sync(mine).changed and serial(at) != before


def test_a_bad_file_changes_nothing(at: Layout, sync: Any, issuer: Issuer, tmp_path: Path, systemd: Systemd) -> None:
    (tmp_path / "cert.pem").write_text(issuer.issue()[0])
    (tmp_path / "key.pem").write_text(issuer.issue()[1])
    mine = site(certificate="files", fullchain=str(tmp_path / "cert.pem"), privkey=str(tmp_path / "key.pem"))
    with pytest.raises(PairError, match=r"jellyfin_certificate_privkey \(.*key.pem\): the private key does not belong"):
        _door_sync.sync(
            config(site(domain="b.example", certificate="local_ca"), mine), at, later(0), strict=True, runner=systemd
        )
    assert not at.certificates.exists() and not at.local_ca.exists()
    result = sync(site(domain="b.example", certificate="local_ca"), mine)
    assert said(at, "b.example")["source"] == "local_ca", "the timer goes on with the other sites"
    assert said(at)["source"] == "placeholder" and result.problems


def test_two_pairs_of_files(at: Layout, sync: Any, issuer: Issuer, tmp_path: Path) -> None:
    mine = site(certificate="files", key_types=["ecdsa", "rsa"])
    second: dict[str, str] = {}
    for key_type, given in (("ecdsa", mine), ("rsa", second)):
        for name, text in zip(("fullchain", "privkey"), issuer.issue(key_type=key_type)):
            given[name] = str(tmp_path / f"{name}-{key_type}")
            Path(given[name]).write_text(text)
    sync(mine, strict=True, files_rsa={DOMAIN: second})
    assert said(at)["key_types"] == ["ecdsa", "rsa"]
    del second["privkey"]
    with pytest.raises(PairError, match=r"certificate_files_rsa\[media.example.org\].privkey is not set"):
        _door_sync.sync(config(mine, files_rsa={DOMAIN: second}), at, later(0), strict=True)


# The local CA


def test_local_ca(at: Layout, sync: Any, tmp_path: Path) -> None:
    mine = site(certificate="local_ca", key_types=["ecdsa", "rsa"])
    result = sync(mine)
    assert result.new_roots == [DOMAIN]
    root = at.local_ca / f"{DOMAIN}.pem"
    assert result.local_ca[DOMAIN] == root.read_text() == (door(at) / "ca.pem").read_text()
    assert stat.S_IMODE((at.local_ca / f"{DOMAIN}.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(at.local_ca.stat().st_mode) == 0o700
    assert (at.local_ca / f"{DOMAIN}.key").read_text() not in "".join(
        p.read_text() for p in at.store.rglob("*") if p.is_file()
    )
    for key_type in ("ecdsa", "rsa"):
        leaf = door(at) / key_type / "fullchain.pem"
        assert verify(root, leaf, DOMAIN) == 0
        said_leaf = _x509.read_certificate(leaf.read_text())
        assert (said_leaf.not_after - said_leaf.not_before).days == 180


def verify(root: Path, leaf: Path, name: str) -> int:
    argv = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        name,
        "-no-CApath",
        "-no-CAfile",
    ]
    return subprocess.run([*argv, "-CAfile", str(root), str(leaf)], capture_output=True).returncode


def test_local_ca_renews_by_itself_and_keeps_its_root(at: Layout, sync: Any) -> None:
    mine = site(certificate="local_ca")
    sync(mine)
    root, before = (at.local_ca / f"{DOMAIN}.pem").read_text(), serial(at)
    assert not sync(mine, days=119).changed
    result = sync_later(at, mine, 121)
    assert serial(at) != before and (at.local_ca / f"{DOMAIN}.pem").read_text() == root
    assert not result.new_roots


def sync_later(at: Layout, mine: dict[str, Any], days: float) -> _door_sync.Result:
    # openssl stamps today's date on what it makes, so a second sync at `days` would renew again
    return _door_sync.sync(config(mine), at, later(days), runner=Systemd())


def test_local_ca_makes_a_new_root_in_time(at: Layout, sync: Any) -> None:
    mine = site(certificate="local_ca")
    sync(mine)
    root = (at.local_ca / f"{DOMAIN}.pem").read_text()
    result = sync_later(at, mine, 3650 - 100)
    assert result.new_roots == [DOMAIN] and (at.local_ca / f"{DOMAIN}.pem").read_text() != root
    assert verify(at.local_ca / f"{DOMAIN}.pem", door(at) / "ecdsa" / "fullchain.pem", DOMAIN) == 0


def test_the_root_signs_for_its_domain_alone(at: Layout, sync: Any, tmp_path: Path) -> None:
    sync(site(certificate="local_ca"))
    root, key = ((at.local_ca / f"{DOMAIN}.{end}").read_text() for end in ("pem", "key"))
    for name, good in (("bank.example", False), ("deep.media.example.org", True)):
        leaf = tmp_path / name
        leaf.write_text(
            _x509.signed(_x509.new_key("ecdsa"), {"CN": name}, _x509.server_extensions(name), 10, root, key)
        )
        assert (verify(at.local_ca / f"{DOMAIN}.pem", leaf, name) == 0) is good, name
    address = tmp_path / "address"
    extensions = [*_x509.server_extensions(DOMAIN)[:-1], "subjectAltName = IP:192.0.2.1"]
    address.write_text(_x509.signed(_x509.new_key("ecdsa"), {"CN": "x"}, extensions, 10, root, key))
    assert verify(at.local_ca / f"{DOMAIN}.pem", address, "") != 0


@pytest.mark.parametrize("days", [-1, 367])
def test_a_leaf_lives_no_longer_than_guidelines_allow(days: int) -> None:
    with pytest.raises(_door_sync.ConfigError, match="certificate_local_ca_days"):
        config(site(), local_ca_days=days)
    assert config(site(), local_ca_days=366).local_ca_days == 366


def test_from_local_ca_to_letsencrypt_and_back(at: Layout, sync: Any, issuer: Issuer) -> None:
    sync(site(certificate="local_ca"))
    before = serial(at)
    assert not sync(site()).changed and serial(at) == before, "kept until there is a better one"
    lineage(at, issuer.issue())
    sync(site())
    assert said(at)["source"] == "letsencrypt" and not (door(at) / "ca.pem").exists()
    sync(site(certificate="local_ca"))
    assert said(at)["source"] == "local_ca"


# What is not asked for any more


def test_a_running_proxy_keeps_its_old_door_until_purge(at: Layout, sync: Any, nginx: None, systemd: Systemd) -> None:
    sync(site(key_types=["ecdsa"]), site(domain="old.example"))
    first = serial(at)
    result = sync(site(key_types=["rsa"]))
    assert result.leftovers == [f"{DOMAIN}/ecdsa", "old.example"]
    assert serial(at) == first and (door(at) / "rsa").is_dir() and door(at, "old.example").is_symlink()
    systemd.asked.clear()
    result = sync(site(key_types=["rsa"]), purge=True)
    assert result.dropped == ["old.example"] and not result.leftovers
    assert sorted(os.listdir(at.certificates)) == [".pending", ".store", DOMAIN, "readers.d"]
    assert not (door(at) / "ecdsa").exists() and said(at)["key_types"] == ["rsa"]
    assert systemd.asked == ["reload nginx.service"]


# Readers


def test_a_failed_reload_is_owed_until_it_works(
    at: Layout, sync: Any, issuer: Issuer, nginx: None, systemd: Systemd
) -> None:
    register(at, "caddy", '{"unit": "caddy.service", "how": "restart"}')
    systemd.broken["nginx.service"] = "Job for nginx.service failed."
    result = sync()
    assert result.failed_readers == {"nginx.service": "Job for nginx.service failed."} and result.reloaded == [
        "caddy.service"
    ]
    assert _door_readers.pending(at.certificates) == ["nginx"]
    systemd.broken.clear()
    systemd.asked.clear()
    result = sync()
    assert result.reloaded == ["nginx.service"] and result.changed and systemd.asked == ["reload nginx.service"]
    assert _door_readers.pending(at.certificates) == [] and not sync().changed


def test_a_reader_that_does_not_run_reads_at_its_start(at: Layout, sync: Any, nginx: None, systemd: Systemd) -> None:
    systemd.states["nginx.service"] = "inactive"
    assert sync().reloaded == [] and systemd.asked == [] and _door_readers.pending(at.certificates) == []


def test_a_file_can_be_touched(at: Layout, sync: Any, tmp_path: Path) -> None:
    watched = tmp_path / "traefik.yml"
    watched.write_text("")
    os.utime(watched, (1, 1))
    register(at, "traefik", json.dumps({"unit": "traefik.service", "how": f"touch:{watched}"}))
    sync()
    assert watched.stat().st_mtime > 1
    watched.unlink()
    lineage(at, Issuer().issue())
    assert "cannot be touched" in sync().failed_readers["traefik.service"]


def test_a_stub_is_no_reader_and_nonsense_is_reported(at: Layout, sync: Any, systemd: Systemd) -> None:
    register(at, "stub", "")
    (at.certificates / "readers.d" / "gone.json").symlink_to("/nowhere")
    assert sync().problems == []
    register(at, "bad", "[]")
    register(at, "worse", '{"unit": "--help", "how": "reload"}')
    register(at, "worst", '{"unit": "a.service", "how": "poweroff"}')
    lineage(at, Issuer().issue())
    problems = sync().problems
    assert len(problems) == 3 and systemd.asked == []


def test_a_reader_that_went_is_not_owed(at: Layout, sync: Any, nginx: None, systemd: Systemd) -> None:
    systemd.broken["nginx.service"] = "no"
    sync()
    (at.certificates / "readers.d" / "nginx.json").unlink()
    _door_sync.sync(config(site()), at, later(0), runner=systemd)
    assert _door_readers.pending(at.certificates) == []


# A kill


STEPS = ("written", "staged", "owed", "swapped", "told", "cleaned")


def whole(at: Layout) -> str:
    """The serial behind the door, which must be complete; '' where no door is yet."""
    if not door(at).is_symlink():
        return ""
    found = _door.read(at, DOMAIN)
    assert found and found.intact, "half a door"
    pair = found.pairs["ecdsa"]
    assert pair.leaf.public_key == _x509.public_key_of(pair.key)
    return pair.leaf.serial


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("first", [True, False])
def test_a_kill_leaves_the_old_or_the_new(at: Layout, issuer: Issuer, nginx: None, step: str, first: bool) -> None:
    if not first:
        lineage(at, issuer.issue())
        _door_sync.sync(config(site()), at, later(0), runner=Systemd())
    old = whole(at)
    lineage(at, issuer.issue())
    told = at.certificates.parent / "told"

    def kill(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    class Noted(Systemd):
        def __call__(self, argv: Sequence[str]) -> tuple[int, str]:
            if argv[1] == "reload":
                told.write_text(whole(at))
            return super().__call__(argv)

    child = os.fork()
    if child == 0:
        try:
            _door_sync.sync(config(site()), replace(at, step=kill), later(0), runner=Noted())
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the step was never reached"
    after = whole(at)
    assert (after == old) is (step in ("written", "staged", "owed"))
    _door_sync.sync(config(site()), at, later(0), runner=Noted())
    new = whole(at)
    assert new != old and told.read_text() == new, "the reader learns of it in the end"
    assert len(list(at.store.iterdir())) == 1 and not _door_sync.plan(config(site()), at, later(0)).changed


def test_a_link_that_was_not_renamed_yet_is_cleared_away(at: Layout, sync: Any) -> None:
    sync()
    (at.certificates / ".new.abcd").symlink_to(".store/x")
    lineage(at, Issuer().issue())
    sync()
    assert not os.path.lexists(at.certificates / ".new.abcd")


def test_two_at_once_wait_for_each_other(at: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_door, "LOCK_TIMEOUT", 0.2)
    with at.locked(), pytest.raises(_door.DoorError, match="another door sync"), at.locked():
        pass
    with at.locked():
        pass


# The command


def test_command(at: Layout, tmp_path: Path, issuer: Issuer, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "config.json"
    written.write_text(json.dumps({"generation": "x", "sites": [site(certificate="local_ca")], "local_ca_days": 90}))
    argv = ["--config", str(written)]
    assert _door_cli.main([*argv, "check"], at) == 0
    assert _door_cli.main([*argv, "sync"], at) == 0
    printed = capsys.readouterr().out
    assert (
        printed.startswith("media.example.org: local_ca, serial ")
        and "new root, which every client has to install" in printed
    )
    assert _door_cli.main([*argv, "sync"], at) == 0
    assert capsys.readouterr() == ("", "")
    assert _door_cli.main(["status"], at) == 0
    assert "media.example.org: local_ca (ecdsa), not publicly trusted, until " in capsys.readouterr().out
    assert _door_cli.main(["status", "--json"], at) == 0
    assert json.loads(capsys.readouterr().out) == {"doors": {DOMAIN: said(at)}, "pending": []}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Run site.yml"),
        ("{", "Run site.yml"),
        ('{"sites": [{"domain": "../x", "certificate": "files"}]}', "give a DNS name"),
        ('{"sites": [{"domain": "' + "a." * 115 + 'example"}]}', "Choose a shorter one"),
        ('{"sites": [{"domain": "a.example", "certificate": "magic"}]}', "letsencrypt, local_ca, files"),
        ('{"sites": [{"domain": "a.example", "certificate": "files", "key_types": ["dsa"]}]}', "ecdsa, rsa or both"),
    ],
)
def test_a_config_that_is_none(at: Layout, tmp_path: Path, content: str | None, words: str, capsys: Any) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    assert _door_cli.main(["--config", str(path), "check"], at) == 1
    assert words in capsys.readouterr().err
