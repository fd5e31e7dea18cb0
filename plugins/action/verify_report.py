# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges on the controller, prints the table as it is, and writes the report beside the user's playbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify, _verify_report
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_plan as plan

PAGE = Path(__file__).resolve().parents[2] / "roles" / "verify" / "templates" / "report.html.j2"


def seen(registered: Any) -> dict[str, Any]:
    """What a task registered, or nothing where it was skipped."""
    return dict(registered) if isinstance(registered, Mapping) and not registered.get("skipped") else {}


def grades(registered: Mapping[str, Any]) -> dict[str, Any]:
    """The loop's results by domain."""
    results = [item for item in registered.get("results") or [] if not item.get("skipped")]
    return {str(item["item"]["domain"]): item for item in results}


def installs(task_vars: Mapping[str, Any], servers: list[str]) -> dict[str, Any]:
    """What network.xml says on each host: this one and the media servers."""
    here = str(task_vars.get("inventory_hostname"))
    found = {}
    for name in {here, *servers}:
        known = task_vars["hostvars"][name] if name in task_vars.get("hostvars", {}) else {}
        network = (known.get("_verify_state") or {}).get("network") or {}
        addresses = plan.own_addresses(known.get("_jellyfin_host") or {})
        found[name] = dict(network, is_edge=name == here, addresses=addresses)
    return found


class ActionModule(ActionBase):
    """One task: the verdict, the table, the files."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            argument_spec={
                "observed": {"type": "dict", "required": True},
                "sites": {"type": "list", "elements": "dict", "required": True},
                "host": {"type": "dict", "required": True},
                "options": {"type": "dict", "required": True},
                "name": {"type": "str", "required": True},
                "servers": {"type": "list", "elements": "str", "default": []},
                "folder": {"type": "str", "default": ""},
            }
        )
        observed = {key: seen(value) for key, value in args["observed"].items()}
        observed["grades"] = grades(observed.get("grades") or {})
        observed["installs"] = installs(task_vars or {}, args["servers"])
        checks = _verify.judge(observed, args["sites"], args["host"], args["options"])
        report = _verify_report.report(args["name"], checks, observed["grades"], args["sites"])
        Display().display(_verify_report.table(report))
        files = []
        if args["folder"]:
            folder = Path(args["folder"]).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in (
                ("report.json", _verify_report.as_json(report)),
                ("report.html", _verify_report.page(report, PAGE.read_text(encoding="utf-8"))),
            ):
                (folder / name).write_text(text, encoding="utf-8")
                files.append(str(folder / name))
        result.update(changed=False, checks=checks, counts=report["counts"], files=files)
        wrong = [item for item in checks if item["status"] == _verify.FAIL]
        if wrong:
            result["failed"] = True
            # The table has said it all; a failed task is printed with everything that it returns.
            del result["checks"]
            result["msg"] = f"{len(wrong)} of {len(checks)} checks failed:\n" + "\n".join(
                _verify_report.line(item) for item in wrong
            )
        else:
            result["msg"] = (
                f"{report['counts'][_verify.PASS]} checks passed, {report['counts'][_verify.NOT_CHECKED]} were not made."
            )
        return result
