# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the user's values on the controller, so that nothing is touched on a host when one is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _site
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _service_values, _specifications

PROXY_ROWS = Path(__file__).resolve().parents[2] / "roles" / "reverse_proxy" / "vars"


def proxy_rows() -> dict[str, Any]:
    """What the role reverse_proxy knows of each proxy: plain data."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")).get("_reverse_proxy_row", {})
        for path in PROXY_ROWS.glob("*.yml")
        if path.stem != "main"
    }


class ActionModule(ActionBase):
    """Collects every problem and fails with all of them at once."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            argument_spec={
                "values": {"type": "dict", "required": True},
                "host": {"type": "dict", "default": {}},
                "edge": {"type": "bool", "default": True},
            }
        )
        found = _site.problems(
            args["values"],
            args["host"],
            proxies=proxy_rows(),
            defined=list(task_vars or {}),
            edge=args["edge"],
        )
        if args["edge"]:
            domains = [str(site.get("domain") or "").lower() for site in _site.raw_sites(args["values"])]
            found += _service_values.problems(args["values"], domains)
            warnings = _site.warnings(args["values"], args["host"])
            if warnings:
                result["warnings"] = warnings
        # Where there are better words than the specification's, those are said.
        said = "\n".join(found)
        found += [
            problem
            for name, problem in _specifications.problems(task_vars or {}, self._templar.template).items()
            if name not in said
        ]
        result["changed"] = False
        if found:
            result["failed"] = True
            count = "One value has" if len(found) == 1 else f"{len(found)} values have"
            result["msg"] = f"Nothing was changed. {count} to be mended first:\n" + "\n".join(
                f"- {line}" for line in found
            )
        return result
