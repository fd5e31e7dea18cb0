# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a checker sees in its namespaces, and that nobody outside sees anything of it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _isolated
from ansible_collections.jellynet.jellyfin.plugins.module_utils._isolated import Missing, Program, View

# A sleep of so many seconds is a process of this run of the tests, and no other's.
FOREVER = 1_000_000 + os.getpid() % (1 << 22) * 10


def gone(seconds: int) -> bool:
    """Whether nobody sleeps so long any more: what the kernel kills is gone a moment later."""
    deadline = time.monotonic() + 30
    while subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], check=False, capture_output=True).stdout:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _possible() -> bool:
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not _possible(), reason="needs root and namespaces")


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A service with an old set in force, and a staged one that only root can reach."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    service, staging = tmp_path / "service", tmp_path / "staging"
    (service / "old").mkdir(parents=True)
    (service / "old" / "site").write_text("old")
    (service / "current").symlink_to("old")
    (staging / "new").mkdir(parents=True)
    (staging / "new" / "site").write_text("new")
    staging.chmod(0o700)
    return View(str(service), str(staging / "new"))


def sh(view: View, script: str, **options: str) -> str:
    code, said = _isolated.check(view, Program(["sh", "-c", script], **options), 10)
    assert code == 0, said
    return said


def test_the_staged_set_is_seen_in_place_of_the_live_one_also_by_a_plain_user(view: View) -> None:
    script = f"id -un; cat {view.folder}/current/site"
    assert sh(view, script) == "root\nnew"
    assert sh(view, script, user="nobody") == "nobody\nnew"
    assert Path(view.folder, "current", "site").read_text() == "old"


def test_without_a_live_set_and_even_without_the_folder(view: View, tmp_path: Path) -> None:
    view.folder = str(tmp_path / "not" / "there")
    assert sh(view, f"cat {view.folder}/current/site") == "new"
    assert not (tmp_path / "not").exists()


def test_links_are_seen_at_new_paths_beside_what_is_there_and_over_foreign_files(view: View, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    (conf / "sub").mkdir(parents=True)
    (conf / "theirs").write_text("theirs")
    (conf / "link").symlink_to("theirs")
    (conf / "sub" / "deep").write_text("deep")
    (conf / "taken").write_text("foreign")
    target = f"{view.folder}/current/site"
    view.links = {str(conf / name): target for name in ("fresh", "taken", "link2", "more/below")}
    seen = sh(view, f"cd {conf}; cat fresh taken link theirs sub/deep more/below; echo; ls")
    assert seen == "newnewtheirstheirsdeepnew\nfresh\nlink\nlink2\nmore\nsub\ntaken\ntheirs"
    assert sorted(path.name for path in conf.iterdir()) == ["link", "sub", "taken", "theirs"]
    assert (conf / "taken").read_text() == "foreign"


def test_private_folders_are_empty_but_for_their_folders(view: View, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "nginx").mkdir(parents=True)
    (logs / "nginx" / "access.log").write_text("busy")
    os.chown(logs / "nginx", 65534, 65534)
    view.tmpfs = [str(logs), str(tmp_path / "absent")]
    script = f"cd {logs} && find . && echo x > nginx/own && cd {tmp_path}/absent && echo y > own && echo fine"
    assert sh(view, script, user="nobody") == ".\n./nginx\nfine"
    assert os.listdir(logs / "nginx") == ["access.log"]
    assert not (tmp_path / "absent").exists()


def test_a_checkers_code_and_words(view: View) -> None:
    assert _isolated.check(view, Program(["sh", "-c", "echo out; echo err >&2; exit 7"]), 5) == (7, "out\nerr")


def test_a_checker_that_hangs_is_stopped_with_all_that_it_started(view: View) -> None:
    script = f"echo begun; setsid sleep {FOREVER} & sleep {FOREVER}"
    code, said = _isolated.check(view, Program(["sh", "-c", script]), 2)
    assert code == 124
    assert said.startswith("begun")
    assert gone(FOREVER)


def test_what_is_not_there_is_missing(view: View) -> None:
    with pytest.raises(Missing, match="/no/such/checker is not installed"):
        _isolated.check(view, Program(["/no/such/checker"]), 5)
    with pytest.raises(Missing, match="no-such-user is not there"):
        _isolated.check(view, Program(["true"], user="no-such-user"), 5)
    with pytest.raises(Missing, match="no-such-group is not there"):
        _isolated.check(view, Program(["true"], groups=["no-such-group"]), 5)


def test_a_long_output_keeps_its_end(view: View) -> None:
    _code, said = _isolated.check(view, Program(["sh", "-c", "seq 1 100000; echo the end"]), 10)
    assert said.endswith("the end")
    assert len(said) < 10000


def test_environment_and_groups(view: View) -> None:
    assert sh(view, "echo $WORD; env | grep -c ANSIBLE || true", environment={"WORD": "x"}) == "x\n0"  # type: ignore[arg-type]
    assert "adm" in sh(view, "id -Gn", user="nobody", groups=["adm"]).split()  # type: ignore[arg-type]


SERVER = (
    "import http.server, sys\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'0123456789abcdef')\n"
    "    def log_message(self, *a): pass\n"
    "print('up', flush=True)\n"
    "http.server.HTTPServer(('10.99.99.99', 80), Handler).serve_forever()\n"
)


def connect(address: str, port: int) -> _isolated.Ask:
    def ask(seconds: float, dead: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((address, port), 1).close()
                return
            except OSError:
                if dead() or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    return ask


def content(_seconds: float, _dead: Callable[[], str]) -> None:
    """Asks nothing."""


def test_a_trial_binds_any_address_and_port_as_a_plain_user_unseen_from_outside(view: View) -> None:
    outside = socket.create_server(("127.0.0.1", 0))
    port = outside.getsockname()[1]
    server = SERVER.replace("'10.99.99.99', 80", f"'127.0.0.1', {port}")
    program = Program(["python3", "-c", server], user="nobody")
    assert _isolated.trial(view, program, connect("127.0.0.1", port), 60, 0.1) == ""
    outside.close()
    low = Program(["python3", "-c", SERVER.replace("10.99.99.99", "127.0.0.1")], user="nobody")
    assert _isolated.trial(view, low, connect("127.0.0.1", 80), 60, 0.1) == ""
    far = Program(["sh", "-c", f'python3 -c "{SERVER}" || echo failed'])
    assert "failed" not in _isolated.trial(view, far, content, 3, 0.5)


def test_a_daemon_that_dies_is_told_with_its_words_at_once(view: View) -> None:
    begun = time.monotonic()
    why = _isolated.trial(view, Program(["sh", "-c", "echo bad group >&2; exit 1"]), connect("127.0.0.1", 80), 60)
    assert why == "it ended with exit code 1.\nbad group"
    assert time.monotonic() - begun < 30


def test_what_a_daemon_that_dies_wrote_to_its_log_is_told(view: View, tmp_path: Path) -> None:
    """The log is a private one, and gone with the trial."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "old.log").write_text("of yesterday")
    private = View(view.folder, view.staged, tmpfs=[str(logs)])
    script = f"echo bad group | cat >> {logs}/error.log; : > {logs}/access.log; exit 1"
    why = _isolated.trial(private, Program(["sh", "-c", script]), connect("127.0.0.1", 80), 60)
    assert why == f"it ended with exit code 1.\n{logs}/error.log:\nbad group"
    assert not (logs / "error.log").exists()


def test_a_daemon_that_dies_soon_did_not_stand(view: View) -> None:
    why = _isolated.trial(view, Program(["sh", "-c", "sleep 0.4; exit 3"]), content, 5, 30)
    assert why == "it ended with exit code 3 soon after its start."


def test_a_daemon_that_answers_wrongly_until_the_end(view: View) -> None:
    why = _isolated.trial(view, Program(["sh", "-c", "echo deaf; sleep 100"]), connect("127.0.0.1", 80), 2)
    assert why == "[Errno 111] Connection refused\ndeaf"


def test_nothing_of_a_trial_is_left_even_if_it_ignores_signals_and_forks_away(view: View) -> None:
    long = FOREVER + 1
    script = f"trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep {long}; sleep {long}' & sleep {long}; sleep {long}"
    assert _isolated.trial(view, Program(["sh", "-c", script]), content, 2, 0.1) == ""
    assert gone(long)


def test_nothing_of_a_trial_is_left_when_the_run_is_killed(view: View) -> None:
    long = FOREVER + 2
    child = os.fork()
    if child == 0:
        _isolated.trial(view, Program(["sleep", str(long)]), connect("127.0.0.1", 80), 120)
        os._exit(0)
    for _turn in range(300):
        if subprocess.run(["pgrep", "-f", f"^sleep {long}$"], check=False, capture_output=True).stdout:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the trial did not start")
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert gone(long)
