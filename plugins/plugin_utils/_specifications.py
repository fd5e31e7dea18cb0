# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles' own specifications would refuse as each of them begins, asked before the first has changed anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLES = Path(__file__).resolve().parents[2] / "roles"
# Those that come after the first; `jellyfin` is asked by Ansible itself, as nothing comes before it.
NAMES = ("certificate", "port_binding", "server_network", "reverse_proxy", "firewall")
WORDS = {
    "bool": ("true or false", "booleans"),
    "int": ("a whole number", "whole numbers"),
    "str": ("a text", "texts"),
    "dict": ("a mapping", "mappings"),
}
PARTS = ("type", "elements", "choices")


def _wanted(option: Mapping[str, Any]) -> str:
    if option.get("choices"):
        return f"one of {', '.join(option['choices'])}"
    if option.get("elements"):
        return f"a list of {WORDS[option['elements']][1]}"
    return WORDS[option["type"]][0]


def problems(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> dict[str, str]:
    """By variable, what is wrong with its type or that it is none of the choices. ``template`` works a value out."""
    found = {}
    for role in NAMES:
        text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
        for name, option in yaml.safe_load(text)["argument_specs"]["main"].get("options", {}).items():
            if name not in variables:
                continue
            try:
                value = template(variables[name])
            except Exception:  # it may need what is known only later
                continue
            spec = {name: {part: option[part] for part in PARTS if part in option}}
            if ArgumentSpecValidator(spec).validate({name: value}).error_messages:
                found[name] = f"{name} is {value!r}: give {_wanted(option)}"
    return found
