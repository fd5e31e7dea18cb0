# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transaction: what it does, what it puts back, and that it may be killed at every single change it makes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _proof
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_removal import Removal
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import EMPTY
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_transaction import STEPS, ServiceError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import SystemdError
from service_host import ChildFailed, Host


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of runs; none of them is here to see a power cut or how a program is asked."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(_proof, "_ask_program", lambda argv, _timeout: _said(Path(argv[1])))


def _said(running: Path) -> _proof.Answer:
    said = running.read_text() if running.exists() else ""
    return _proof.Answer(generation=said) if _proof._is_id(said) else _proof.Answer(words=f"says {said!r}.")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def removal(host: Host, **options: Any) -> Removal:
    return Removal(host.folder(), host.systemd, **options)  # type: ignore[arg-type]


# What a run does


def test_first_install_and_a_second_run_that_changes_nothing(host: Host) -> None:
    wanted = host.site("one")
    result = host.run(wanted)
    assert (result.changed, result.previous, result.resumed) == (True, "", False)
    assert host.would_load() == {
        "main.conf": b"include one",
        "site.conf": b"site one",
        "id": wanted.generation.encode(),
    }
    assert (host.units / "web.service").read_text() == "[Unit]\nDescription=Web\n"
    assert not (host.units / "web.service").is_symlink()
    assert sorted(os.listdir(host.base / "web")) == sorted([wanted.generation, "current"])
    state = host.systemd.states(["web.service"])["web.service"]
    assert state.running
    assert state.enabled
    before = host.tree()
    host.systemd.calls.clear()
    again = host.run(wanted)
    assert not again.changed
    assert again.diff == []
    assert again.previous == again.generation == wanted.generation
    assert host.systemd.calls == []
    assert host.tree() == before


def test_all_steps_are_told_in_their_order(host: Host) -> None:
    told: list[str] = []
    host.run(host.site("one"), on_step=told.append)
    assert tuple(told) == STEPS


def test_an_update_reloads_once_and_drops_the_old_set(host: Host) -> None:
    old, new = host.site("one"), host.site("two")
    host.run(old)
    host.systemd.calls.clear()
    result = host.run(new)
    assert result.previous == old.generation
    assert result.actions == ["reload web.service"]
    assert [call for call in host.systemd.calls if call != "daemon-reload"] == ["reload web.service"]
    assert sorted(os.listdir(host.base / "web")) == sorted([new.generation, "current"])


def test_the_strongest_effect_wins_and_who_cannot_reload_restarts(host: Host) -> None:
    host.run(host.site("one"))
    files = {"id": "@GENERATION@", "site.conf": "a", f"{host.conf}/main.conf": "b"}
    units = {"web.service": "[Unit]\nDescription=Web\n"}
    assert host.run(host.set_of(files, units, site_conf={"effect": "restart"})).actions == ["restart web.service"]
    host.systemd.reloads = False
    assert host.run(host.set_of({**files, "site.conf": "c"}, units)).actions == ["restart web.service"]


@pytest.mark.parametrize("effect", ["none", "daemon_reload"])
def test_a_file_that_needs_nothing_touches_no_service(host: Host, effect: str) -> None:
    extra: dict[str, Any] = {"hook_sh": {"effect": effect}, "id": {"effect": "none"}}
    files = {"id": "fixed", f"{host.conf}/main.conf": "b"}
    first = host.set_of({**files, "hook.sh": "1"}, **extra)
    host.has_unit("web.service")
    with pytest.raises(ServiceError):
        host.run(first)  # the fixed id can't be proved: that is what the next two lines work around
    proofless = [host.set_of({**files, "hook.sh": text}, **extra) for text in ("1", "2")]
    for wanted in proofless:
        object.__setattr__(wanted, "proof", ())
    host.run(proofless[0])
    assert host.run(proofless[1]).actions == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda web, host: (web / "current" / "site.conf").write_text("edited"),
        lambda web, host: (web / "current" / "site.conf").unlink(),
        lambda web, host: (web / "current" / "site.conf").chmod(0o600),
        lambda web, host: (web / "current" / "extra.conf").write_text("added"),
        lambda web, host: (web / "current" / ".generation.json").unlink(),
        lambda web, host: (web / "current").resolve().chmod(0o777),
        lambda web, host: (host.conf / "main.conf").unlink(),
        lambda web, host: [(host.conf / "main.conf").unlink(), (host.conf / "main.conf").write_text("edited")],
        lambda web, host: (host.units / "web.service").write_text("[Unit]\n"),
        lambda web, host: (host.units / "web.service").unlink(),
        lambda web, host: (web / "current").unlink(),
        lambda web, host: host.has_unit("web.service", active=False, enabled=True),
        lambda web, host: host.has_unit("web.service", active=True, enabled=False),
    ],
)
def test_damage_by_hand_is_repaired(host: Host, damage: Callable[[Path, Host], Any]) -> None:
    wanted = host.site("one")
    host.run(wanted)
    right = host.would_load()
    damage(host.base / "web", host)
    assert host.transaction(wanted).run(check_mode=True).diff
    result = host.run(wanted)
    assert result.changed
    assert result.generation == wanted.generation
    assert host.would_load() == right
    state = host.systemd.states(["web.service"])["web.service"]
    assert state.running
    assert state.enabled
    assert (host.units / "web.service").read_text() == "[Unit]\nDescription=Web\n"
    assert not host.run(wanted).changed
    # An edit of a file that was ours is not what stood there before us.
    assert host.record.load()["files"] == {}


def test_unchanged_files_keep_their_time(host: Host) -> None:
    files = {"id": "@GENERATION@", "a": "1", f"{host.conf}/main.conf": "b"}
    host.has_unit("web.service")
    host.run(host.set_of(files))
    os.utime(host.base / "web" / "current" / "a", (1, 1))
    host.run(host.set_of({**files, "b": "2"}))
    assert os.stat(host.base / "web" / "current" / "a").st_mtime == 1


def test_a_set_without_services_is_put_there_all_the_same(host: Host) -> None:
    wanted = host.set_of({"hook.sh": "x"}, services=(), hook_sh={"mode": "0755"})
    object.__setattr__(wanted, "proof", ())
    assert host.run(wanted).changed
    assert os.access(host.base / "web" / "current" / "hook.sh", os.X_OK)
    assert not host.run(wanted).changed


@pytest.mark.parametrize("visitors", [3, 0])
def test_a_socket_is_made_although_a_visitor_of_another_starts_the_service(
    host: Host, monkeypatch: pytest.MonkeyPatch, visitors: int
) -> None:
    """systemd refuses a socket whose service runs; a failure of any other kind is one at once."""
    names = ("one.socket", "web.service")
    files = {"id": "@GENERATION@", f"{host.conf}/main.conf": "m"}
    services = [{"name": name, "enabled": True, "state": "started"} for name in names]
    host.run(host.set_of(files, dict.fromkeys(names, "[Unit]\n"), services))
    tries: list[str] = []
    take_up = host.systemd._take_up

    def refuses(verb: str, unit: str) -> None:
        if unit == "two.socket":
            tries.append(unit)
            if len(tries) <= visitors:
                host.systemd._change("web.service", active=True)
            if not visitors or len(tries) <= visitors:
                raise SystemdError("Job for two.socket failed.")
        take_up(verb, unit)

    monkeypatch.setattr(host.systemd, "_take_up", refuses)
    more = [{"name": "two.socket", "enabled": True, "state": "started"}, *services]
    wanted = host.set_of(files, dict.fromkeys((*names, "two.socket"), "[Unit]\n"), more)
    if visitors:
        assert host.run(wanted).changed and len(tries) == 4
        assert all(state.running for state in host.systemd.states([*names, "two.socket"]).values())
    else:
        with pytest.raises(ServiceError, match=r"Job for two\.socket failed"):
            host.run(wanted)
        assert len(tries) == 1


def test_what_is_no_longer_listed_goes_after_the_proof(host: Host) -> None:
    units = {"web.service": "[Unit]\n", "old.socket": "[Unit]\n"}
    services = [{"name": name, "enabled": True, "state": "started"} for name in ("old.socket", "web.service")]
    files = {"id": "@GENERATION@", f"{host.conf}/main.conf": "m", f"{host.conf}/old.conf": "o"}
    host.run(host.set_of(files, units, services))
    seen: dict[str, bool] = {}

    def look(step: str) -> None:
        seen[step] = (host.conf / "old.conf").is_symlink() and (host.units / "old.socket").exists()

    del files[f"{host.conf}/old.conf"], units["old.socket"]
    result = host.run(host.set_of(files, units, services[1:]), on_step=look)
    assert seen["prove"]
    assert not seen["purge"]
    assert "stop old.socket" in result.actions
    assert not os.path.lexists(host.conf / "old.conf")
    assert not (host.units / "old.socket").exists()
    assert "disable old.socket" in host.systemd.calls
    assert not [path for path in host.tree() if "old" in path]


# What stands in the way


def test_a_foreign_file_is_kept_and_comes_back(host: Host) -> None:
    (host.conf / "main.conf").write_text("somebody's own")
    (host.conf / "main.conf").chmod(0o640)
    (host.units / "web.service").write_text("somebody's unit")
    result = host.run(host.site("one"))
    assert sorted(result.replaced) == sorted([f"{host.conf}/main.conf", f"{host.units}/web.service"])
    assert host.run(host.site("two")).replaced == []
    removal(host).run()
    assert (host.conf / "main.conf").read_text() == "somebody's own"
    assert os.stat(host.conf / "main.conf").st_mode & 0o777 == 0o640
    assert (host.units / "web.service").read_text() == "somebody's unit"
    assert host.record.load()["files"] == {}


def test_a_foreign_link_is_kept_and_comes_back(host: Host) -> None:
    (host.conf / "main.conf").symlink_to("/usr/share/theirs.conf")
    host.run(host.site("one"))
    removal(host).run()
    assert os.readlink(host.conf / "main.conf") == "/usr/share/theirs.conf"


def test_a_foreign_file_comes_back_when_its_path_is_dropped(host: Host) -> None:
    (host.conf / "more.conf").write_text("theirs")
    host.run(host.site("one", "more.conf"))
    host.run(host.site("one"))
    assert (host.conf / "more.conf").read_text() == "theirs"
    assert not (host.conf / "more.conf").is_symlink()


def test_a_folder_in_the_way_is_refused_in_words(host: Host) -> None:
    (host.conf / "main.conf").mkdir()
    before = host.tree()
    with pytest.raises(ServiceError, match=r"main\.conf is a folder .* move it away"):
        host.run(host.site("one"))
    assert host.tree() == before


def test_a_service_that_is_not_there_is_refused_and_in_check_mode_named(host: Host) -> None:
    wanted = host.set_of({"id": "x"}, services=[{"name": "nginx.service", "state": "started"}])
    with pytest.raises(ServiceError, match=r"nginx\.service is not on this host: install its package first"):
        host.run(wanted)
    result = host.transaction(wanted).run(check_mode=True)
    assert result.changed
    assert result.unchecked == ["nginx.service is not on this host yet."]
    assert not host.base.exists()


def test_a_missing_owner_is_named_before_anything_happens(host: Host) -> None:
    wanted = host.set_of({"id": "x"}, id={"owner": "nobody-of-that-name"})
    host.has_unit("web.service")
    with pytest.raises(ServiceError, match="'nobody-of-that-name' is not on this host"):
        host.run(wanted)
    assert host.transaction(wanted).run(check_mode=True).changed
    assert not host.base.exists()


# What goes wrong


def broken(host: Host, how: str) -> Any:
    return host.set_of(
        {"id": "@GENERATION@", "site.conf": how, f"{host.conf}/main.conf": "x", f"{host.conf}/new.conf": "y"},
        {"web.service": "[Unit]\nDescription=New\n", "new.service": "[Unit]\n"},
        [{"name": name, "enabled": True, "state": "started"} for name in ("web.service", "new.service")],
    )


@pytest.mark.parametrize(("how", "step"), [("DEAF", "prove"), ("DIES", "apply")])
def test_a_set_that_is_not_taken_up_is_taken_back(host: Host, how: str, step: str) -> None:
    old = host.site("one")
    host.run(old)
    before = host.tree()
    with pytest.raises(ServiceError) as failed:
        host.run(broken(host, how))
    assert (failed.value.step, failed.value.rolled_back) == (step, True)
    assert "the daemon's last words" in str(failed.value)
    advised = "should have answered. `systemctl cat web.service new.service` shows whether" in str(failed.value)
    assert advised is (step == "prove")
    assert f"The files from before are in force again and answer ({old.generation})." in str(failed.value)
    assert host.tree() == before
    assert host.running.read_text() == old.generation
    assert host.systemd.states(["web.service"])["web.service"].running
    assert (
        not host.systemd.states(["new.service"])["new.service"].exists
        or not host.systemd.states(["new.service"])["new.service"].up
    )
    assert not host.run(old).changed


@pytest.mark.parametrize("how", ["DEAF", "DIES"])
def test_a_first_install_that_fails_leaves_nothing(host: Host, how: str) -> None:
    (host.conf / "main.conf").write_text("theirs")
    host.has_unit("apache.service", active=True, enabled=True)
    before = host.tree()
    with pytest.raises(ServiceError) as failed:
        host.run(broken(host, how), conflicts=["apache.service"])
    assert failed.value.rolled_back is True
    assert "this was the first install. apache.service runs again as before." in str(failed.value)
    after = host.tree()
    after.pop("jellynet", None)
    after.pop("jellynet/record.json", None)  # remembers that apache ran, for teardown
    assert after == before
    assert host.record.load()["files"] == {}
    states = host.systemd.states(["apache.service", "web.service"])
    assert states["apache.service"].running
    assert states["apache.service"].enabled
    assert not states["web.service"].up


def test_when_even_the_old_set_fails_the_mark_stays_and_the_next_run_mends_it(host: Host) -> None:
    old = host.site("one")
    host.run(old)
    real = host.systemd._take_up
    host.systemd._take_up = lambda verb, unit: None  # type: ignore[method-assign]
    host.running.write_text("somebody else")
    with pytest.raises(ServiceError) as failed:
        host.run(host.site("two"))
    assert failed.value.rolled_back is False
    assert "could not be proved" in str(failed.value)
    host.systemd._take_up = real  # type: ignore[method-assign]
    result = host.run(old)
    assert (result.changed, result.resumed) == (True, True)
    assert host.running.read_text() == old.generation
    assert not host.run(old).changed


def test_who_is_in_the_way_stops_last_and_is_disabled_after_the_proof(host: Host) -> None:
    host.has_unit("apache.service", active=True, enabled=True)
    seen: dict[str, tuple[bool, bool]] = {}

    def look(step: str) -> None:
        state = host.systemd.states(["apache.service"])["apache.service"]
        seen[step] = (state.up, state.enabled)

    result = host.run(host.site("one"), conflicts=["apache.service"], on_step=look)
    assert seen["daemon_reload"] == (True, True)
    assert seen["prove"] == (False, True)
    assert seen["enable"] == (False, False)
    assert result.actions == ["stop apache.service", "start web.service"]
    assert result.gap_ms is not None
    assert host.record.get("unit_states", "apache.service") == {"active": True, "enabled": True, "by": "web"}
    assert not host.run(host.site("one"), conflicts=["apache.service"]).changed


def test_a_check_that_refuses_leaves_all_as_it_was_and_says_its_words(host: Host) -> None:
    before = host.tree()
    checks = [{"argv": ["sh", "-c", "echo line 7 is wrong; exit 3"], "user": os.environ.get("USER", "root")}]
    for check_mode in (True, False):
        with pytest.raises(ServiceError, match=r"(?s)exit code 3\); nothing was changed.*line 7 is wrong") as failed:
            host.transaction(host.site("one"), checks=checks).run(check_mode=check_mode)
        assert (failed.value.step, failed.value.rolled_back) == ("check", None)
        assert host.tree() == before


def test_check_mode_changes_nothing_at_all(host: Host) -> None:
    (host.conf / "main.conf").write_text("theirs")
    before = host.tree()
    result = host.transaction(host.site("one")).run(check_mode=True)
    assert result.changed
    assert host.tree() == before
    host.run(host.site("one"))
    before = host.tree()
    dry = host.transaction(host.site("two")).run(check_mode=True)
    assert host.tree() == before
    assert host.run(host.site("two")).diff == dry.diff


# The diff


def shown(result: Any) -> str:
    return "".join(f"{part['before_header']}\n-{part['before']}+{part['after']}" for part in result.diff)


def test_the_diff_shows_contents_but_never_a_secret_nor_the_id(host: Host) -> None:
    host.has_unit("web.service")
    files = {"id": "id @GENERATION@", "key": "very secret", f"{host.conf}/main.conf": "m", "blob": b"\x00\xff"}
    extra: dict[str, Any] = {"key": {"sensitive": True}}
    wanted = host.set_of(files, **extra)
    object.__setattr__(wanted, "proof", ())
    first = host.run(wanted)
    assert "very secret" not in shown(first)
    assert shown(first).count("(content not shown) sha256") == 2
    assert "web.service: enabled, started" in shown(first)
    later = host.set_of({**files, "key": "other secret", f"{host.conf}/main.conf": "n"}, **extra)
    object.__setattr__(later, "proof", ())
    second = host.run(later)
    assert "secret" not in shown(second).replace("sensitive", "")
    headers = [part["before_header"] for part in second.diff]
    assert headers == [
        f"{host.base}/web/current/key",
        f"{host.conf}/main.conf",
        "web: modes, links, units and services",
    ]
    assert second.diff[-1]["before"] == f"generation: {wanted.generation}\n"


# Killed


def fresh(tmp_path: Path, prepare: Callable[[Host], Any] = lambda host: None) -> Host:
    """A new host at the same place as the one before, so that all ids and paths are the same."""
    root = tmp_path / "host"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    host = Host(root)
    host.has_unit("apache.service", active=True, enabled=True)
    prepare(host)
    return host


def plain(host: Host) -> dict[str, str]:
    """The host's files, whichever folder the generation in force lies in."""
    name = os.readlink(host.base / "web" / "current")
    return {
        path.replace(name, "CURRENT"): text.replace(name, "CURRENT").replace(name.split(".")[0], "CURRENT")
        for path, text in host.tree().items()
    }


def prepare_first(_host: Host) -> None:
    return


def prepare_update(host: Host) -> None:
    host.run(host.site("one", "old.conf"))


def prepare_foreign(host: Host) -> None:
    (host.conf / "main.conf").write_text("theirs")
    (host.conf / "new.conf").write_text("theirs too")


def prepare_edited(host: Host) -> None:
    host.run(host.site("two", "new.conf"))
    (host.base / "web" / "current" / "site.conf").write_text("edited")


@pytest.mark.parametrize("prepare", [prepare_first, prepare_update, prepare_foreign, prepare_edited])
def test_killed_at_any_change_the_old_or_the_new_set_is_whole_and_the_next_run_converges(
    tmp_path: Path, prepare: Callable[[Host], None]
) -> None:
    def go(host: Host) -> Any:
        return host.run(host.site("two", "new.conf"), conflicts=["apache.service"])

    host = fresh(tmp_path, prepare)
    old = host.would_load()
    total = host.in_child(lambda: go(host))
    new, final = host.would_load(), plain(host)
    assert old != new
    assert total > 20
    for kill_at in range(1, total + 1):
        host = fresh(tmp_path, prepare)
        assert host.in_child(lambda host=host: go(host), kill_at) == -1, f"change {kill_at} of {total} was not reached"
        assert host.would_load() in (old, new), f"a mix after change {kill_at}"
        result = go(host)
        assert host.would_load() == new
        assert host.running.read_bytes() == new["id"], f"not taken up after change {kill_at}"
        states = host.systemd.states(["web.service", "apache.service"])
        assert (states["web.service"].running, states["web.service"].enabled) == (True, True)
        assert (states["apache.service"].up, states["apache.service"].enabled) == (False, False)
        assert result.changed or kill_at == total  # after the last change there is nothing left to do
        assert not go(host).changed
        assert plain(host) == final, f"something else is left after change {kill_at}"


def test_killed_after_the_swap_the_next_run_finishes_the_reload_though_the_files_are_equal(host: Host) -> None:
    host.run(host.site("one"))
    new = host.site("two")

    def die(step: str) -> None:
        if step == "swap":
            os.kill(os.getpid(), 9)

    assert host.in_child(lambda: host.run(new, on_step=die)) == -1
    assert host.running.read_text() == host.site("one").generation
    dry = host.transaction(new).run(check_mode=True)
    assert (dry.changed, dry.resumed) == (True, True)
    result = host.run(new)
    assert (result.changed, result.resumed, result.actions) == (True, True, ["reload web.service"])
    assert host.running.read_text() == new.generation


def test_a_resumed_run_that_cannot_be_proved_goes_back_to_what_was_proved(host: Host) -> None:
    old = host.site("one")
    host.run(old)
    bad = broken(host, "DEAF")

    def die(step: str) -> None:
        if step == "swap":
            os.kill(os.getpid(), 9)

    assert host.in_child(lambda: host.run(bad, on_step=die)) == -1
    with pytest.raises(ServiceError) as failed:
        host.run(bad)
    assert failed.value.rolled_back is True
    assert host.running.read_text() == old.generation
    assert not host.run(old).changed


def test_killed_anywhere_on_the_way_back_the_next_run_converges(tmp_path: Path) -> None:
    def prepare(host: Host) -> None:
        host.run(host.site("one"))

    host = fresh(tmp_path, prepare)
    final = plain(host)
    kill_at = 0
    while True:
        kill_at += 1
        host = fresh(tmp_path, prepare)
        try:
            assert host.in_child(lambda host=host: host.run(broken(host, "DIES")), kill_at) == -1
        except ChildFailed:
            break  # past its last change
        found = host.would_load()
        assert found["site.conf"] in (b"site one", b"DIES")
        assert found["main.conf"] == (b"x" if found["site.conf"] == b"DIES" else b"include one")
        assert ("new.conf" in found) == (found["site.conf"] == b"DIES")
        host.run(host.site("one"))
        assert host.running.read_text() == host.site("one").generation
        assert not host.run(host.site("one")).changed
        assert plain(host) == final, f"something else is left after change {kill_at}"
    assert kill_at > 30


def test_another_set_after_a_killed_run_goes_back_to_the_proved_one_on_failure(host: Host) -> None:
    proved = host.site("one")
    host.run(proved)

    def die(step: str) -> None:
        if step == "apply":
            os.kill(os.getpid(), 9)

    assert host.in_child(lambda: host.run(host.site("two", "two.conf"), on_step=die)) == -1
    with pytest.raises(ServiceError) as failed:
        host.run(broken(host, "DEAF"))
    assert failed.value.rolled_back is True
    assert host.running.read_text() == proved.generation
    assert sorted(path.name for path in host.conf.iterdir()) == ["main.conf"]
    assert not host.run(proved).changed


# Absent


def test_absent_takes_away_everything_and_is_done(host: Host) -> None:
    before = host.tree()
    host.run(host.site("one", "more.conf"))
    dry = removal(host).run(check_mode=True)
    result = removal(host).run()
    assert (dry.changed, result.changed) == (True, True)
    assert dry.diff == result.diff
    assert host.tree() == before | ({"jellynet": "folder"} if host.base.exists() else {})
    assert not host.systemd.states(["web.service"])["web.service"].up
    assert not removal(host).run().changed
    assert not removal(host).run(check_mode=True).changed


def test_absent_restores_units_only_when_told(host: Host) -> None:
    host.has_unit("apache.service", active=True, enabled=True)
    host.has_unit("web.service", active=True, enabled=False)
    wanted = host.set_of({"id": "@GENERATION@", f"{host.conf}/main.conf": "m"})
    host.run(wanted, conflicts=["apache.service"])
    removal(host, units=["apache.service"]).run()
    states = host.systemd.states(["apache.service", "web.service"])
    assert not states["apache.service"].up
    assert not states["web.service"].up
    # The set is gone by now, and the record still knows whom it had stopped.
    removal(host, restore_units=True).run()
    states = host.systemd.states(["apache.service", "web.service"])
    assert (states["apache.service"].running, states["apache.service"].enabled) == (True, True)
    assert (states["web.service"].running, states["web.service"].enabled) == (True, False)
    assert host.record.load()["unit_states"] == {}


def test_absent_restores_whom_it_had_stopped_but_not_whom_another_set_did(host: Host) -> None:
    host.has_unit("apache.service", active=True, enabled=True)
    host.run(host.site("one"), conflicts=["apache.service"])
    (host.base / "other").mkdir()
    host.record.remember("unit_states", "squid.service", {"active": True, "enabled": True, "by": "other"})
    host.has_unit("squid.service")
    removal(host, restore_units=True).run()
    states = host.systemd.states(["apache.service", "squid.service"])
    assert states["apache.service"].running
    assert not states["squid.service"].up
    assert list(host.record.load()["unit_states"]) == ["squid.service"]


def test_absent_killed_anywhere_goes_on_from_there(tmp_path: Path) -> None:
    def prepare(host: Host) -> None:
        (host.conf / "main.conf").write_text("theirs")
        host.run(host.site("one", "more.conf"), conflicts=["apache.service"])

    def go(host: Host) -> Any:
        return removal(host, units=["apache.service"], restore_units=True).run()

    host = fresh(tmp_path, prepare)
    total = host.in_child(lambda: go(host))
    final = host.tree()
    for kill_at in range(1, total + 1):
        host = fresh(tmp_path, prepare)
        assert host.in_child(lambda host=host: go(host), kill_at) == -1
        go(host)
        assert host.tree() == final, f"after change {kill_at}"
        assert host.systemd.states(["apache.service"])["apache.service"].running
        assert not go(host).changed


def test_absent_after_a_first_install_that_was_killed_anywhere(tmp_path: Path) -> None:
    def prepare(host: Host) -> None:
        (host.conf / "main.conf").write_text("theirs")

    host = fresh(tmp_path, prepare)
    before = host.tree()
    total = host.in_child(lambda: host.run(host.site("one")))
    for kill_at in range(1, total + 1):
        host = fresh(tmp_path, prepare)
        assert host.in_child(lambda host=host: host.run(host.site("one")), kill_at) == -1
        removal(host).run()
        left = {path: text for path, text in host.tree().items() if not path.startswith("jellynet")}
        assert left == before, f"after change {kill_at}"
        assert host.record.load()["files"] == {}


def test_the_empty_generation_has_no_name_for_users(host: Host) -> None:
    def die(step: str) -> None:
        if step == "mark":
            os.kill(os.getpid(), 9)

    assert host.in_child(lambda: host.run(host.site("one"), on_step=die)) == -1
    assert os.readlink(host.base / "web" / "current") == EMPTY
    assert host.run(host.site("one")).previous == ""
