"""The whole way: playbook, action plugin, module, host; on each ansible-core that is here."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import ROOT, Edge

CORES = [venv for venv in ("venv-core-2.17", "venv", "venv-core-2.21") if (ROOT / ".cache" / venv).is_dir()]


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    return str(ROOT / ".cache" / request.param / "bin" / "ansible-playbook")


@pytest.fixture
def clean(host: Edge) -> Iterator[None]:
    host.run({"name": "nginx"}, state="absent")
    yield
    host.run({"name": "nginx"}, state="absent")


def recap(said: str) -> dict[str, int]:
    line = next(line for line in said.splitlines() if re.match(r"edge\s+: ok=", line))
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.usefixtures("clean")
def test_bare_host_then_installed_then_unchanged_then_gone(host: Edge, core: str) -> None:
    away = {
        "/usr/sbin/nginx": "/root/nginx",
        "/lib/systemd/system/nginx.service": "/root/unit",
        "/etc/init.d/nginx": "/root/init",
    }
    host.sh(
        "systemctl stop nginx; "
        + "; ".join(f"mv {old} {new}" for old, new in away.items())
        + "; systemctl daemon-reload"
    )
    try:
        bare = host.play("play.yml", "--check", "--diff", core=core)
        assert bare.returncode == 0, bare.stdout + bare.stderr
        assert recap(bare.stdout)["changed"] == 1
        said = re.sub(r"\s+", " ", bare.stdout + bare.stderr)
        assert "nginx -t was not run: nginx is not installed." in said
        assert "nginx.service is not on this host yet." in said
        refused = host.play("play.yml", core=core)
        assert "install its package first" in refused.stdout + refused.stderr
    finally:
        host.sh("; ".join(f"mv {new} {old}" for old, new in away.items()) + "; systemctl daemon-reload")
    dry = host.play("play.yml", "--check", "--diff", core=core)
    assert recap(dry.stdout) | {"ok": 1, "changed": 1, "failed": 0} == recap(dry.stdout)
    assert host.sh("ls -A /etc/jellynet | grep -v record", check=False) == ""
    real = host.play("play.yml", "--diff", core=core)
    assert real.returncode == 0, real.stdout + real.stderr
    assert re.sub(r"(?s)PLAY RECAP.*", "", real.stdout) == re.sub(r"(?s)PLAY RECAP.*", "", dry.stdout)
    assert "SET-one" in host.sh("curl -s http://127.0.0.1:8088/")
    assert host.sh("cat /etc/jellynet/nginx/current/lib/package/sub/part.py") == 'WORD = "@GENERATION@"\n'
    for arguments in ((), ("--check", "--diff")):
        again = host.play("play.yml", *arguments, core=core)
        assert recap(again.stdout)["changed"] == 0, again.stdout
    gone = host.play("play.yml", "--extra-vars", "wanted_state=absent", core=core)
    assert recap(gone.stdout)["changed"] == 1
    assert recap(host.play("play.yml", "--extra-vars", "wanted_state=absent", core=core).stdout)["changed"] == 0


@pytest.mark.usefixtures("clean")
def test_a_secret_is_in_no_output_at_any_verbosity_nor_in_the_journal(host: Edge, core: str) -> None:
    for secret in ("s3cret-of-the-first-run", "s3cret-of-the-second-run"):
        done = host.play("play.yml", "--diff", "-vvv", "--extra-vars", f'{{"wanted_secret": "{secret}"}}', core=core)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout + done.stderr
        assert "s3cret" not in said.replace(f'{{"wanted_secret": "{secret}"}}', "")
        assert "(content not shown) sha256" in said
        assert host.sh("cat /etc/jellynet/nginx/current/key") == secret
    failed = host.play(
        "play.yml",
        "--diff",
        "-vvv",
        "--extra-vars",
        '{"wanted_secret": "s3cret-of-the-last-run", "wanted_word": "\\"; broken"}',
        core=core,
    )
    assert failed.returncode == 2
    assert "s3cret-of-the-last" not in (failed.stdout + failed.stderr).replace(
        '"wanted_secret": "s3cret-of-the-last-run"', ""
    )
    assert host.sh("journalctl --no-pager | grep -c s3cret", check=False) == "0\n"


@pytest.mark.usefixtures("clean")
def test_check_mode_waits_for_what_other_roles_make(host: Edge, core: str) -> None:
    dry = host.play("play.yml", "--check", "--extra-vars", "wanted_needs=/etc/not/there/yet", core=core)
    assert dry.returncode == 0
    said = re.sub(r"\s+", " ", dry.stdout + dry.stderr)
    assert "nginx -t was not run: /etc/not/there/yet is not there yet." in said
