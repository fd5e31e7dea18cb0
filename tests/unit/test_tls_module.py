"""The module tls_grade_info as Ansible runs it: its arguments and its errors; and the scanner, declared alike everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _tls_sslyze
from ansible_collections.jellynet.jellyfin.plugins.modules import tls_grade_info

ROOT = Path(__file__).resolve().parents[2]


def run(**arguments: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", tls_grade_info.__name__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


class Graded(Exception):
    """What the module asked for."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the module up to the grading and returns what it would grade."""

    def module(**arguments: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def grade(**given: Any) -> dict[str, Any]:
            seen.update(given)
            raise Graded

        class Module:
            def __init__(self, **_spec: Any) -> None:
                self.params = {
                    **{"port": 443, "server_name": None, "ca_path": None, "ca": "", "system_roots": False},
                    **{"timeout": 30.0, "http_port": None, "scanner": "", **arguments},
                }

            @staticmethod
            def get_bin_path(name: str) -> str:
                return f"/usr/bin/{name}"

        monkeypatch.setattr(tls_grade_info, "AnsibleModule", Module)
        monkeypatch.setattr(tls_grade_info._tls_grade, "grade", grade)
        with pytest.raises(Graded):
            tls_grade_info.main()
        return seen

    return module


def test_what_is_graded_by_default(asked: Any) -> None:
    seen = asked(host="media.example.org")
    assert (seen["host"], seen["port"], seen["server_name"]) == ("media.example.org", 443, "media.example.org")
    assert (seen["http_port"], seen["timeout"], seen["ca"]) == (80, 30.0, "")


def test_what_is_graded_as_asked(asked: Any, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("-----BEGIN CERTIFICATE-----\none\n")
    seen = asked(
        host="192.168.1.2", port=8920, server_name="media.example.org", ca_path=str(roots), ca="two", timeout=7.0
    )
    assert (seen["host"], seen["port"], seen["server_name"]) == ("192.168.1.2", 8920, "media.example.org")
    assert seen["timeout"] == 7.0 and "one" in seen["ca"] and "two" in seen["ca"]
    assert seen["http_port"] is None, "another port has no redirect of its own"
    assert asked(host="192.168.1.2", port=8443, http_port=8080)["http_port"] == 8080


def test_a_missing_scanner_is_said_with_the_one_command_that_brings_it() -> None:
    said = run(host="127.0.0.1", scanner="/nonexistent/sslyze")
    assert said["failed"] and said["scanner_missing"] is True
    assert said["msg"].endswith(f"or install it: {_tls_sslyze.INSTALL}")


def test_an_unreachable_host_is_an_error_in_words(tmp_path: Path) -> None:
    scanner = tmp_path / "sslyze"
    scanner.write_text("#!/bin/sh\n")
    scanner.chmod(0o755)
    said = run(host="127.0.0.1", port=1, scanner=str(scanner), timeout=5)
    assert said["failed"] and "grade" not in said
    assert said["msg"].startswith("No grade for 127.0.0.1 port 1: connection refused: see that the server runs")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "ca_path cannot be read: "), ("no certificate", "There is no certificate in ca_path.")],
)
def test_roots_that_are_none(content: str | None, words: str, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_text(content)
    said = run(host="127.0.0.1", ca_path=str(roots))
    assert said["failed"] and said["msg"].startswith(words)


def test_the_scanner_is_declared_alike_everywhere() -> None:
    requirements = " ".join(yaml.safe_load(tls_grade_info.DOCUMENTATION)["requirements"])
    assert _tls_sslyze.INSTALL in requirements
    for page in ("roles/verify/README.md", "docs/verify.md"):
        assert _tls_sslyze.INSTALL in (ROOT / page).read_text(), page
    for page in ("tests/requirements-sslyze.txt", "tests/lab/jellynet_lab/images.py"):
        assert f"sslyze=={_tls_sslyze.VERSION}" in (ROOT / page).read_text(), page
    assert "docs/verify.md#the-grade" in (ROOT / "README.md").read_text()


def test_site_and_teardown_know_nothing_of_the_scanner() -> None:
    for playbook in ("site", "teardown"):
        text = (ROOT / "playbooks" / f"{playbook}.yml").read_text()
        roles = re.findall(r"jellynet\.jellyfin\.(\w+)", text)
        assert roles and "verify" not in roles
    users = [
        path.parts[-3]
        for path in (ROOT / "roles").rglob("tasks/*.yml")
        if "tls_grade_info" in path.read_text() or "sslyze" in path.read_text()
    ]
    assert set(users) == {"verify"}
