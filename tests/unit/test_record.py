# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record: first writer wins, nothing half-written, nothing readable by others."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _record
from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import Record, RecordError


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(str(tmp_path / "jellynet" / "record.json"))


def test_an_empty_record_has_every_section_and_makes_no_file(record: Record) -> None:
    assert record.load() == {section: {} for section in _record.SECTIONS}
    assert record.get("packages", "nginx") is None
    assert record.get("packages", "nginx", "unknown") == "unknown"
    assert record.forget("packages", "nginx") is None
    assert not os.path.exists(os.path.dirname(record.path))


def test_the_first_writer_wins(record: Record) -> None:
    assert record.remember("unit_states", "nginx.service", {"active": True}) is True
    assert record.remember("unit_states", "nginx.service", {"active": False}) is False
    assert record.get("unit_states", "nginx.service") == {"active": True}


def test_a_remembered_null_counts_as_remembered(record: Record) -> None:
    assert record.remember("network_xml", "BaseUrl", None)
    assert not record.remember("network_xml", "BaseUrl", "/jellyfin")


def test_only_root_reads_it_and_no_scrap_stays(record: Record) -> None:
    record.remember("files", "/etc/x", {"content": "secret"})
    assert stat.S_IMODE(os.stat(record.path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(record.path)) == ["record.json"]


def test_the_last_entry_takes_the_file_along(record: Record) -> None:
    record.remember("packages", "nginx", "absent")
    record.remember("groups", "jellynet-tls", "absent")
    assert record.forget("packages", "nginx") == "absent"
    assert record.load()["groups"] == {"jellynet-tls": "absent"}
    record.forget("groups", "jellynet-tls")
    assert not os.path.exists(record.path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"packages": []}', '"x"'])
def test_a_damaged_record_is_named_and_kept(record: Record, text: str) -> None:
    os.makedirs(os.path.dirname(record.path))
    Path(record.path).write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"record\.json"):
        record.remember("packages", "nginx", "absent")
    assert Path(record.path).read_text(encoding="utf-8") == text


def test_an_unknown_section_is_refused(record: Record) -> None:
    with pytest.raises(RecordError, match="no section 'package'"):
        record.remember("package", "nginx", "absent")


def test_a_failed_write_leaves_the_old_record(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record.remember("packages", "nginx", "absent")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        record.remember("packages", "certbot", "absent")
    monkeypatch.undo()
    assert record.load()["packages"] == {"nginx": "absent"}
    assert os.listdir(os.path.dirname(record.path)) == ["record.json"]


def _remember_many(path: str, who: int) -> None:
    for number in range(20):
        Record(path).remember("packages", f"{who}-{number}", "absent")


def test_writers_at_once_lose_nothing(record: Record) -> None:
    workers = [multiprocessing.Process(target=_remember_many, args=(record.path, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(record.load()["packages"]) == 80


def test_files_of_others_are_never_returned_with_their_content(record: Record) -> None:
    record.remember("network_xml", "/etc/jellyfin/network.xml", {"file": "PENlcnRpZmljYXRlUGFzc3dvcmQ+"})
    record.remember("files", "/etc/nginx/own.conf", {"content": "c2VjcmV0"})
    record.remember("packages", "nginx", "absent")
    told = _record.shown(record.load())
    assert told["network_xml"] == {"/etc/jellyfin/network.xml": None}
    assert told["files"] == {"/etc/nginx/own.conf": None}
    assert told["packages"] == {"nginx": "absent"}


def test_no_module_returns_the_record_as_it_is() -> None:
    modules = Path(_record.__file__).parents[1] / "modules"
    found = [path.name for path in modules.glob("*.py") if "=_record.load()" in path.read_text()]
    assert not found
