# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin: renders as Ansible's own template does, packs everything into one parameter, repeats nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible_collections.jellynet.jellyfin.plugins.action.service_config import ActionModule
from ansible_collections.jellynet.jellyfin.plugins.modules.service_config import SetError, argument_spec, unpack


class Controller:
    """A role's folder, and the plugin with the module call cut off."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("templates", "files"):
            (root / name).mkdir()
        self.sent: dict[str, Any] = {}

    def run(self, variables: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        task = MagicMock(args=arguments, async_val=0, check_mode=False, diff=False, environment=None, collections=[])
        task.get_search_path.return_value = [str(self.root)]
        task.action = "jellynet.jellyfin.service_config"
        loader = DataLoader()
        task_vars = {"ansible_search_path": [str(self.root)], **(variables or {})}
        plugin = ActionModule(
            task=task,
            connection=MagicMock(),
            play_context=MagicMock(),
            loader=loader,
            templar=Templar(loader=loader, variables=task_vars),
            shared_loader_obj=None,
        )

        def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert module_name == "jellynet.jellyfin.service_config"
            self.sent = module_args
            return {"changed": True, "invocation": {"module_args": json.loads(json.dumps(module_args))}}

        plugin._execute_module = execute
        return plugin.run(task_vars=task_vars)

    def contents(self) -> dict[str, bytes]:
        packed = unpack(self.sent["rendered"])
        return {file["path"]: extra["content"] for file, extra in zip(self.sent["files"], packed["files"])}

    def refused(self, **arguments: Any) -> str:
        with pytest.raises(AnsibleError) as failed:
            self.run(name="x", **arguments)
        return str(failed.value)


@pytest.fixture(scope="module", autouse=True)
def loader() -> None:
    init_plugin_loader([])


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_templates_render_as_the_template_module_renders(controller: Controller) -> None:
    (controller.root / "templates" / "proxy").mkdir()
    (controller.root / "templates" / "proxy" / "site.j2").write_text(
        "{{ ansible_managed | comment }}\n{% for port in ports %}\nlisten {{ port }};  \n{% endfor %}\n\nname {{ domain }}\\n;\n\n"
    )
    controller.run(
        {"domain": "media.example.org"},
        name="x",
        files=[{"path": "a", "template": "proxy/site.j2", "vars": {"ports": [80, 443]}}],
    )
    text = controller.contents()["a"].decode()
    assert text.endswith("\nlisten 80;  \nlisten 443;  \n\nname media.example.org\\n;\n\n")
    assert text.startswith("#\n# Ansible managed")


@pytest.mark.parametrize("text", ['{"a": [1, 2]}\n', "[1, 2]", "true", "1.0", "{}"])
def test_what_looks_like_a_structure_stays_text(controller: Controller, text: str) -> None:
    (controller.root / "templates" / "c.j2").write_text(text)
    controller.run(name="x", files=[{"path": "c", "template": "c.j2"}])
    assert controller.contents()["c"] == text.encode()


def test_templates_include_each_other_and_see_nested_values(controller: Controller) -> None:
    (controller.root / "templates" / "part.j2").write_text("part of {{ item.name }}")
    (controller.root / "templates" / "whole.j2").write_text("{% include 'part.j2' %}")
    controller.run(name="x", files=[{"path": "c", "template": "whole.j2", "vars": {"item": {"name": "it"}}}])
    assert controller.contents()["c"] == b"part of it"


def test_an_undefined_value_is_named(controller: Controller) -> None:
    (controller.root / "templates" / "c.j2").write_text("{{ not_there }}")
    words = controller.refused(files=[{"path": "c", "template": "c.j2"}])
    assert "not_there" in words
    assert "c.j2" in words


def test_sources_verbatim_whatever_they_hold(controller: Controller) -> None:
    (controller.root / "files" / "blob").write_bytes(b"\x00\xff@GENERATION@{{ x }}\r\n")
    controller.run(name="x", files=[{"path": "b", "src": "blob"}, {"path": "c", "content": "ü\n"}])
    assert controller.contents() == {"b": b"\x00\xff@GENERATION@{{ x }}\r\n", "c": "ü\n".encode()}
    assert [extra["verbatim"] for extra in unpack(controller.sent["rendered"])["files"]] == [True, False]


def test_a_tree_is_all_its_files_but_the_excluded(controller: Controller) -> None:
    package = controller.root / "files" / "package"
    for path in ("__init__.py", "sub/b.py", "sub/__pycache__/b.pyc", "a.pyc", ".hidden", "sub/data.json"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(path)
    controller.run(
        name="x",
        files=[
            {"path": "lib/p/__init__.py", "content": "mine", "mode": "0755"},
            {"path": "lib/p", "tree": "package", "effect": "restart"},
        ],
    )
    assert controller.contents() == {
        "lib/p/__init__.py": b"mine",
        "lib/p/sub/b.py": b"sub/b.py",
        "lib/p/sub/data.json": b"sub/data.json",
    }
    assert controller.sent["files"][1] == {"path": "lib/p/sub/b.py", "effect": "restart"}
    first = controller.sent["rendered"]
    controller.run(name="x", files=[{"path": "lib/p", "tree": "package", "exclude": ["sub", "*.pyc"]}])
    assert sorted(controller.contents()) == ["lib/p/.hidden", "lib/p/__init__.py"]
    assert controller.sent["rendered"] != first


def test_the_same_task_packs_the_same_bytes(controller: Controller) -> None:
    files = [{"path": name, "content": name * 100} for name in "abc"]
    controller.run(name="x", files=files)
    first = controller.sent
    controller.run(name="x", files=files)
    assert controller.sent == first


def test_no_content_is_sent_in_the_clear_nor_repeated(controller: Controller) -> None:
    result = controller.run(
        name="x",
        files=[{"path": "key", "content": "very secret", "sensitive": True, "vars": {"a": "very secret"}}],
        units=[{"name": "x.service", "content": "very secret"}],
    )
    assert "very secret" not in json.dumps(controller.sent)
    assert "very secret" not in json.dumps(result)
    assert result["invocation"]["module_args"]["files"] == ["key"]
    assert "rendered" not in result["invocation"]["module_args"]
    assert argument_spec()["rendered"]["no_log"] is True


def test_absent_renders_nothing(controller: Controller) -> None:
    controller.run(name="x", state="absent", files=[{"path": "a", "template": "not there"}])
    assert controller.sent == {"name": "x", "state": "absent"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"files": [{"path": "a"}]}, "files: a needs exactly one of content, template, src, tree; it has none."),
        ({"files": [{"path": "a", "src": "b", "content": "c"}]}, "it has content and src."),
        ({"files": [{"content": "a"}]}, "files: each entry needs a path."),
        ({"files": {"path": "a"}}, "files has to be a list of dictionaries."),
        ({"files": [{"path": "a", "content": ""}, {"path": "a", "content": ""}]}, "files: a is there twice"),
        ({"files": [{"path": "a", "src": "nowhere"}]}, "files: nowhere is not on the controller"),
        ({"files": [{"path": "a", "tree": "nowhere"}]}, "files: nowhere is not on the controller"),
        ({"files": [{"path": "a", "template": "nowhere"}]}, "nowhere"),
        ({"units": [{"name": "a.service", "src": "b"}]}, "units: a.service needs exactly one of content, template"),
        ({"rendered": "x"}, "rendered is set by the action plugin"),
    ],
)
def test_bad_input_is_refused_in_words(controller: Controller, arguments: dict[str, Any], words: str) -> None:
    assert words in controller.refused(**arguments)


@pytest.mark.parametrize("rendered", [None, "", "x", "eJw="])
def test_the_module_alone_is_refused_in_words(rendered: str | None) -> None:
    with pytest.raises(SetError, match="through its action plugin"):
        unpack(rendered)
