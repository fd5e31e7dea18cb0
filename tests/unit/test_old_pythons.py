"""What runs on the managed hosts keeps to their Python: modules to 3.8, the service jellyfin-ports to 3.9."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "roles" / "port_binding" / "files"
PACKAGE = "ansible_collections.jellynet.jellyfin.plugins"
OURS = {
    (3, 8): [
        *sorted((ROOT / "plugins" / "modules").glob("*.py")),
        *sorted((ROOT / "plugins" / "module_utils").glob("*.py")),
        ROOT / "roles" / "certificate" / "files" / "door.py",
    ],
    (3, 9): sorted(SERVICE.glob("jellyfin_ports/**/*.py")),
}
FILES = [
    pytest.param(path, version, id=str(path.relative_to(ROOT))) for version, paths in OURS.items() for path in paths
]

# What came later, by the name under which it is called; an old Python stumbles over it only when it gets there.
LATER = {
    (3, 9): ("removeprefix", "removesuffix", "to_thread", "is_relative_to", "with_stem", "randbytes", "zoneinfo"),
    (3, 10): ("bit_count", "pairwise", "hardlink_to", "aiter", "anext", "aclosing"),
    (3, 11): ("TaskGroup", "ExceptionGroup", "UTC", "tomllib", "StrEnum", "Barrier", "file_digest", "add_note"),
    (3, 12): ("batched", "is_junction", "itertools_batched"),
}
# Arguments that came later, by the call.
LATER_ARGUMENTS = {("zip", "strict"): (3, 10), ("dataclass", "slots"): (3, 10), ("dataclass", "kw_only"): (3, 10)}


def too_new(text: str, version: tuple[int, int]) -> list[str]:
    """What a Python of that version has not; raises SyntaxError where it could not even read it."""
    found = []
    for node in ast.walk(ast.parse(text, feature_version=version)):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
            if isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("asyncio", "timeout"):
                found.append("asyncio.timeout")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
        elif isinstance(node, ast.Name):
            names = [node.id] if isinstance(node.ctx, ast.Load) else []
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            found += [
                f"{called}({keyword.arg}=)"
                for keyword in node.keywords
                if LATER_ARGUMENTS.get((called, keyword.arg or ""), version) > version
            ]
        found += [name for name in names for since, words in LATER.items() if since > version and name in words]
    return found


@pytest.mark.parametrize(("path", "version"), FILES)
def test_nothing_is_newer_than_the_oldest_python(path: Path, version: tuple[int, int]) -> None:
    assert too_new(path.read_text(encoding="utf-8"), version) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("'a'.removeprefix('b')", (3, 8)),
        ("zip([], [], strict=True)", (3, 9)),
        ("import tomllib", (3, 9)),
        ("from enum import StrEnum", (3, 9)),
        ("async def f():\n  async with asyncio.timeout(1): pass", (3, 9)),
    ],
)
def test_what_is_newer_is_seen(text: str, version: tuple[int, int]) -> None:
    assert too_new(text, version)
    with pytest.raises(SyntaxError):
        too_new("match x:\n  case 1: pass", version)


# Stands for all that is not ours and is imported: any name is a class that may be called, subclassed and looked into.
IMPORT_ALL = """
import importlib, importlib.abc, importlib.machinery, sys

class Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (Exception,), {})

class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ansible", "aiohttp"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def exec_module(self, module):
        module.__getattr__ = lambda name: getattr(Anything("Any", (), {}), name)

sys.meta_path.insert(0, Loader())
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def interpreter(version: tuple[int, int]) -> str:
    """A Python of just that version, `` where there is none."""
    name = "python{}.{}".format(*version)
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (Path("/usr/bin") / name, Path("/usr/local/bin") / name, *versions.glob(f"*/bin/{name}")):
        if candidate.exists():
            return str(candidate)
    return ""


@pytest.mark.parametrize("version", OURS)
def test_a_python_of_that_age_imports_all_of_it(version: tuple[int, int]) -> None:
    program = interpreter(version)
    if not program:
        pytest.skip("no Python {}.{} on this machine".format(*version))
    if version == (3, 9):
        folder = SERVICE
        names = [".".join(path.relative_to(SERVICE).with_suffix("").parts) for path in OURS[version]]
    else:
        folder = ROOT / ".cache" / "collections"
        names = [f"{PACKAGE}.{path.parent.name}.{path.stem}" for path in OURS[version] if path.parent.name != "files"]
    names = [name for name in names if not name.endswith("__main__")]
    done = subprocess.run(
        [program, "-B", "-c", IMPORT_ALL, str(folder), *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
