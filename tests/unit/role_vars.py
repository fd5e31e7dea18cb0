"""The vars/main.yml of roles, rendered by Ansible itself, with groups and other hosts' variables made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROLES = HERE.parents[1] / "roles"
COLLECTIONS = HERE.parents[1] / ".cache" / "collections"


def defaults(*roles: str) -> dict[str, Any]:
    """What the roles' variables are when the user says nothing."""
    found: dict[str, Any] = {}
    for role in roles:
        found.update(yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text()))
    return found


def rendered(folder: Path, roles: Sequence[str], expression: str, cases: Sequence[dict[str, Any]]) -> list[Any]:
    """The expression for each of the cases; a case is all variables besides the roles' own, `groups` and `hostvars` among them."""
    (folder / "cases.json").write_text(json.dumps(list(cases)))
    # Not the beginning of a list: before ansible-core 2.19 such a text was made one on the way.
    (folder / "expression.j2").write_text("= {{ " + expression + " | to_json }}")
    values = {
        "role_vars": [str(ROLES / role / "vars" / "main.yml") for role in roles],
        **{"cases": f"{folder}/cases.json", "expression": f"{folder}/expression.j2", "out": f"{folder}/out"},
    }
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-e", json.dumps(values), str(HERE / "role_vars.yml")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    lines = (folder / "out").read_text().splitlines()
    return [json.loads(line[2:]) for line in lines if line.startswith("= ")]
