"""Every molecule scenario goes through the same steps, the second check mode among them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = yaml.safe_load((ROOT / ".config" / "molecule" / "config.yml").read_text())
SCENARIOS = sorted(path.parent for path in ROOT.glob("molecule/*/molecule.yml"))
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import reasons  # noqa: E402


def own(scenario: Path) -> dict[str, Any]:
    return yaml.safe_load((scenario / "molecule.yml").read_text()) or {}


def checked_by(scenario: Path) -> set[str]:
    """The test files that molecule gives to pytest, as it finds them."""
    found: set[Path] = set()
    directory = scenario / SHARED["verifier"]["directory"].replace("${MOLECULE_SCENARIO_NAME}", scenario.name)
    for step in own(scenario).get("scenario", SHARED["scenario"])["test_sequence"]:
        if step == "verify":
            found |= set(directory.rglob("test_*.py"))
            for more in SHARED["verifier"]["additional_files_or_dirs"]:
                found |= set(directory.glob(more))
        elif step.startswith("verify "):
            found |= set((scenario / step.split()[1]).rglob("test_*.py"))
    return {path.name for path in found}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_checks_deploys_twice_and_checks_again(scenario: Path) -> None:
    steps = own(scenario).get("scenario", SHARED["scenario"])["test_sequence"]
    order = [step for step in steps if step in ("create", "check", "converge", "idempotence", "destroy")]
    assert order == ["create", "check", "converge", "idempotence", "destroy"]
    found = checked_by(scenario)
    assert "test_nothing_left_to_do.py" in found
    assert len(found) > 1


def test_the_reasons_of_a_failure_are_what_a_log_ends_with() -> None:
    said = """
TASK [Deploy] ****
fatal: [edge]: FAILED! =>
    msg: no
E   AssertionError: assert None
FAILED ../../tests/integration/ufw/test_edge.py::test_ufw_says_what - AssertionError: Status: active
ERROR ../../tests/integration/ufw/test_edge.py::test_other - Failed: no
1 failed, 16 passed in 108.38s (0:01:48)
CRITICAL Idempotence test failed because of the following tasks:
*  => jellynet.jellyfin.certificate : Keep the doors up to date
ERROR    [ufw > verify] Executed: Failed
ok: [localhost]
ERROR    Idempotence test failed because of the following tasks:
*  => jellynet.jellyfin.certificate : Keep the doors up to date
"""
    assert reasons.reasons(said) == [
        "TASK [Deploy]: fatal: [edge]: FAILED!",
        "FAILED ../../tests/integration/ufw/test_edge.py::test_ufw_says_what - AssertionError: Status: active",
        "ERROR ../../tests/integration/ufw/test_edge.py::test_other - Failed: no",
        "not idempotent: jellynet.jellyfin.certificate : Keep the doors up to date",
    ]
    assert reasons.reasons("all is well") == []
