"""A host for the transaction: booted here unless `--lab` names one that is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from jellynet_lab import labs  # noqa: E402
from jellynet_lab.run import podman  # noqa: E402

_LAB = "service-config"
_CODE = "/opt/transaction"
_PACKAGE = f"{_CODE}/ansible_collections/jellynet/jellyfin/plugins/module_utils"


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--lab") and not os.environ.get("MOLECULE_SCENARIO_NAME"):
        labs.up(HERE / "topology.toml", _LAB, fresh=True)
        config.option.lab = _LAB
        config.add_cleanup(lambda: labs.down(_LAB))


class Edge:
    """The host: commands in it, and the transaction run in it by a driver that can kill itself."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.container = f"{lab}-edge"

    def sh(self, script: str, check: bool = True) -> str:
        return podman("exec", self.container, "sh", "-c", script, check=check).stdout

    def write(self, path: str, text: str) -> None:
        podman("exec", "--interactive", self.container, "sh", "-c", f"cat > '{path}'", data=text)

    def reboot(self) -> None:
        labs.reboot(self.lab, "edge")

    def run(self, spec: Mapping[str, Any], kill_after: str = "", **more: Any) -> dict[str, Any]:
        """The transaction; {'killed': step} when it was killed after that step."""
        asked = json.dumps({**spec, **more, "kill_after": kill_after})
        done = podman("exec", "--interactive", self.container, "python3", f"{_CODE}/driver.py", data=asked, check=False)
        if done.returncode in (137, -9):  # as podman passes it on
            return {"killed": kill_after}
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def play(self, play: str, *arguments: str, core: str = "") -> subprocess.CompletedProcess[str]:
        """A playbook of this folder, by the ansible-playbook beside this Python or by another one."""
        program = core or str(Path(sys.executable).parent / "ansible-playbook")
        env = {
            **os.environ,
            # The connection plugin comes with the `ansible` of this Python, also for the other cores.
            "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/.cache/collections:{sysconfig.get_paths()['purelib']}",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "1",
        }
        inventory = labs.room(self.lab) / "inventory.yml"
        argv = [program, "-i", str(inventory), str(HERE / play), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, env=env, check=False)


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Iterator[Edge]:
    edge = Edge(pytestconfig.getoption("--lab"))
    utils = ROOT / "plugins" / "module_utils"
    edge.sh(f"mkdir -p {_PACKAGE}")
    for source in sorted(utils.glob("*.py")):
        edge.write(f"{_PACKAGE}/{source.name}", source.read_text(encoding="utf-8"))
    edge.write(f"{_CODE}/driver.py", (HERE / "driver.py").read_text(encoding="utf-8"))
    yield edge
