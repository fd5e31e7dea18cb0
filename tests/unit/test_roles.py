"""Each role's argument specification is its contract: the defaults agree with it, and so does what the tasks use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "meta" / "main.yml").exists())
SHARED = "jellyfin"


def load(path: Path):
    return yaml.safe_load(path.read_text()) if path.exists() else None


def defaults(name: str) -> dict:
    return load(ROLES / name / "defaults" / "main.yml") or {}


def specs(name: str) -> dict:
    return load(ROLES / name / "meta" / "argument_specs.yml")["argument_specs"]


def test_there_are_roles():
    assert SHARED in NAMES and len(NAMES) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_defaults_and_specification_agree(name):
    options = {key: value for key, value in specs(name)["main"].get("options", {}).items() if not key.startswith("_")}
    given = defaults(name)
    assert set(options) == set(given)
    for key, option in options.items():
        # A default that is worked out has no value to state; its description says it.
        if "{{" not in str(given[key]):
            assert option.get("default") == given[key], key
        assert option.get("description"), f"{key} has no description"


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_point_is_specified(name):
    entries = {
        path.stem
        for path in (ROLES / name / "tasks").glob("*.yml")
        if path.stem in ("main", "issue", "teardown", "packages")
    }
    assert entries <= set(specs(name))


@pytest.mark.parametrize("name", NAMES)
def test_variables_carry_the_role_s_name(name):
    # The variables of the playbook verify.yml carry the name that the user knows.
    prefixes = {SHARED: ("jellyfin_",), "verify": ("jellyfin_verify_",)}.get(name, (f"{name}_",))
    private = ("_jellyfin_",) if name == SHARED else (f"_{name}_",)
    assert [key for key in defaults(name) if not key.startswith(prefixes)] == []
    for path in (ROLES / name / "vars").glob("*.yml"):
        assert [key for key in load(path) or {} if not key.startswith(private)] == [], path


@pytest.mark.parametrize("name", [name for name in NAMES if name != SHARED])
def test_each_role_depends_on_the_shared_values_by_its_short_name(name):
    found = [
        item["role"] if isinstance(item, dict) else item
        for item in load(ROLES / name / "meta" / "main.yml")["dependencies"]
    ]
    assert found == [SHARED]


@pytest.mark.parametrize("name", NAMES)
def test_no_injected_facts(name):
    for path in (ROLES / name).rglob("*"):
        if path.suffix in (".yml", ".j2"):
            found = re.findall(
                r"\bansible_(?!managed|failed_result|failed_task|facts|check_mode|diff_mode|host\b|play|loop|search_path|version|collection_name|role_name|parent_role|connection)\w+",
                path.read_text(),
            )
            assert not found, f"{path} uses {found}"


@pytest.mark.parametrize("name", NAMES)
def test_no_plays_set_shared_values(name):
    for path in (ROLES.parent / "playbooks").glob("*.yml"):
        for play in load(path):
            assert "vars" not in play, f"{path.name}: {play['name']} would beat the inventory"


def test_the_action_group_has_every_module():
    modules = {path.stem for path in (ROLES.parent / "plugins" / "modules").glob("*.py")}
    assert set(load(ROLES.parent / "meta" / "runtime.yml")["action_groups"]["jellyfin"]) == modules
