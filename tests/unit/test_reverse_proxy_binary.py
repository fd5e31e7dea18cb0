"""A proxy's program from an archive or a file: whole at its place, or not there at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROLE = HERE.parents[1] / "roles" / "reverse_proxy"
PROGRAM = b"#!/bin/sh\n" + b"# a program\n" * 1000

# What a tar leaves that is ended on the way, or that finds the disk full.
BROKEN_TAR = """#!/bin/sh
case " $* " in
*' --extract '*) while [ "$1" != -C ] && [ "$1" != --directory ]; do shift; done; echo half > "$2/some"; exit 2;;
esac
exec /usr/bin/tar "$@"
"""


class Bringing:
    """The role's tasks on this machine, with their place in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "jellynet" / "some-1.0-0123" / "some"
        self.path = os.environ["PATH"]

    def run(self, source: Path, *more: str) -> tuple[int, str]:
        binary = {"source": str(source), "checksum": "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()}
        extra = {
            "role_path": str(ROLE),
            "reverse_proxy_binary": {"version": "1.0", "any": binary},
            "_reverse_proxy_program": str(self.place),
        }
        done = subprocess.run(
            [
                "ansible-playbook",
                "-i",
                "localhost,",
                "-e",
                json.dumps(extra),
                *more,
                str(HERE / "reverse_proxy_binary.yml"),
            ],
            env={**os.environ, "PATH": self.path, "ANSIBLE_LOCAL_TEMP": str(self.folder / "l"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def bringing(tmp_path: Path) -> Bringing:
    return Bringing(tmp_path)


def archive(folder: Path, name: str = "some") -> Path:
    path = folder / "some.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for inside in (name, "README"):
            entry = tarfile.TarInfo(inside)
            entry.size, entry.mode = len(PROGRAM), 0o644
            tar.addfile(entry, io.BytesIO(PROGRAM))
    return path


def whole(bringing: Bringing) -> None:
    assert bringing.place.read_bytes() == PROGRAM and bringing.place.stat().st_mode & 0o777 == 0o755
    assert os.listdir(bringing.place.parent) == ["some"]
    assert os.listdir(bringing.place.parents[1]) == [bringing.place.parent.name], "the staging is gone"


def test_an_archive_whose_unpacking_ends_on_the_way_leaves_no_program(bringing: Bringing, tmp_path: Path) -> None:
    given = archive(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tar").write_text(BROKEN_TAR)
    (tmp_path / "bin" / "tar").chmod(0o755)
    path, bringing.path = bringing.path, f"{tmp_path / 'bin'}:{bringing.path}"
    code, said = bringing.run(given)
    assert code != 0 and "Unpack it" in said, said
    assert not bringing.place.exists(), "the next run would take it for whole"
    bringing.path = path
    code, said = bringing.run(given)
    assert code == 0, said
    whole(bringing)


def test_a_plain_program_is_put_in_place_also_over_what_an_older_run_left(bringing: Bringing, tmp_path: Path) -> None:
    given = tmp_path / "some"
    given.write_bytes(PROGRAM)
    bringing.place.parent.mkdir(parents=True)
    (bringing.place.parent / ".download").write_text("half")
    code, said = bringing.run(given, "--check")
    assert code == 0 and not bringing.place.exists(), said
    code, said = bringing.run(given)
    assert code == 0, said
    whole(bringing)


def test_an_archive_that_has_a_folder_of_that_name_is_refused_in_words(bringing: Bringing, tmp_path: Path) -> None:
    code, said = bringing.run(archive(tmp_path, "some/some"))
    assert code != 0 and "has no program some at its top" in said and not bringing.place.parent.exists(), said
