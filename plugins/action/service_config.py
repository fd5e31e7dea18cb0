# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the files of a service on the controller and hands them to the module of the same name, in one trip."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import zlib
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.release import __version__ as ansible_version

_SOURCES = ("content", "template", "src", "tree")
_CONTROLLER_ONLY = (*_SOURCES, "vars", "exclude")
# Older cores make structures of what looks like them unless told otherwise; newer ones don't and warn about the option.
_LOOKUP_OPTIONS: dict[str, Any] = {"convert_data": False} if ansible_version.startswith(("2.17.", "2.18.")) else {}
_EXCLUDE = ["__pycache__", "*.pyc", ".*"]


class ActionModule(ActionBase):
    """What the module gets holds no content but in one parameter that is never logged."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.pop("rendered", None) is not None:
            raise AnsibleActionFail("rendered is set by the action plugin: leave it out.")
        if arguments.get("state", "present") == "present":
            arguments.update(self._rendered(arguments, task_vars))
        else:
            arguments = {key: value for key, value in arguments.items() if key not in ("files", "units")}
        result.update(
            self._execute_module(
                module_name="jellynet.jellyfin.service_config", module_args=arguments, task_vars=task_vars
            )
        )
        _silence(result)
        return result

    def _rendered(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        files: dict[str, tuple[dict[str, Any], bytes, bool]] = {}
        explicit: set[str] = set()
        for file in _list(arguments, "files"):
            _one_source(file, "files", "path", _SOURCES)
            if file.get("tree") is not None:
                for found in self._tree(file):
                    # A file that is given by itself beats the one of a tree, wherever it stands.
                    if found[0]["path"] not in explicit:
                        files[found[0]["path"]] = found
                continue
            if file["path"] in explicit:
                raise AnsibleActionFail(f"files: {file['path']} is there twice; keep one.")
            explicit.add(file["path"])
            files[file["path"]] = (_plain(file), self._content(file, task_vars), file.get("src") is not None)
        units = _list(arguments, "units")
        for unit in units:
            _one_source(unit, "units", "name", ("content", "template"))
        packed = {
            "files": [
                {"content": base64.b64encode(content).decode("ascii"), "verbatim": verbatim}
                for _file, content, verbatim in files.values()
            ],
            "units": [self._content(unit, task_vars).decode("utf-8") for unit in units],
        }
        return {
            "files": [file for file, _content, _verbatim in files.values()],
            "units": [_plain(unit) for unit in units],
            "rendered": base64.b64encode(zlib.compress(json.dumps(packed).encode("ascii"))).decode("ascii"),
        }

    def _content(self, file: dict[str, Any], task_vars: dict[str, Any]) -> bytes:
        if file.get("src") is not None:
            return _read(self._loader.get_real_file(self._needle("files", str(file["src"])), decrypt=True))
        if file.get("content") is not None:
            return str(file["content"]).encode("utf-8")
        return self._template(str(file["template"]), file.get("vars") or {}, task_vars).encode("utf-8")

    def _template(self, name: str, more: dict[str, Any], task_vars: dict[str, Any]) -> str:
        """Through the public lookup, which renders alike on every core that we support."""
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        try:
            text = lookup.run([name], variables=task_vars, template_vars=dict(more), **_LOOKUP_OPTIONS)[0]
        except AnsibleError as problem:
            raise AnsibleActionFail(f"The template {name} can't be rendered: {problem}") from problem
        return str(text)

    def _tree(self, file: dict[str, Any]) -> list[tuple[dict[str, Any], bytes, bool]]:
        root = self._needle("files", str(file["tree"]))
        exclude = file.get("exclude")
        found = []
        for where, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not _excluded(where, name, root, exclude))
            for name in sorted(names):
                if _excluded(where, name, root, exclude):
                    continue
                path = os.path.join(where, name)
                inside = os.path.relpath(path, root)
                content = _read(self._loader.get_real_file(path, decrypt=True))
                found.append(({**_plain(file), "path": f"{file['path']}/{inside}"}, content, True))
        if not found:
            raise AnsibleActionFail(f"files: {file['path']}: there are no files in {root}.")
        return found

    def _needle(self, folder: str, name: str) -> str:
        try:
            return str(self._find_needle(folder, name))
        except AnsibleError as problem:
            raise AnsibleActionFail(f"files: {name} is not on the controller: {problem}") from problem


def _list(arguments: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = arguments.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise AnsibleActionFail(f"{key} has to be a list of dictionaries.")
    return found


def _one_source(file: dict[str, Any], option: str, key: str, sources: tuple[str, ...]) -> None:
    name = file.get(key)
    if not name:
        raise AnsibleActionFail(f"{option}: each entry needs a {key}.")
    given = [source for source in sources if file.get(source) is not None]
    if len(given) != 1:
        raise AnsibleActionFail(
            f"{option}: {name} needs exactly one of {', '.join(sources)}; it has {' and '.join(given) or 'none'}."
        )


def _plain(file: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in file.items() if key not in _CONTROLLER_ONLY and value is not None}


def _excluded(where: str, name: str, root: str, exclude: list[str] | None) -> bool:
    inside = os.path.relpath(os.path.join(where, name), root)
    patterns = _EXCLUDE if exclude is None else exclude
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(inside, pattern) for pattern in patterns)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _silence(result: dict[str, Any]) -> None:
    """The invocation repeats the arguments; nobody needs the contents there, and some are secret."""
    arguments = result.get("invocation", {}).get("module_args", {})
    arguments.pop("rendered", None)
    for key in ("files", "units"):
        if key in arguments:
            arguments[key] = [item.get("path") or item.get("name") for item in arguments[key] or []]
