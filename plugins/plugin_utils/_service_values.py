# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service jellyfin-ports would refuse in its configuration, asked on the controller before anything is changed.

The service's own reader is asked, so there is one set of rules; what it says is told in the names of the user's variables.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "roles" / "port_binding" / "files" / "jellyfin_ports"
# Under a name of its own, so that nothing else of that name is found in its place.
NAME = "_jellynet_jellyfin_ports"
PUBLISHED_KEYS = ("for", "key", "url", "domain")


def _config() -> Any:
    """The service's module `config`."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{PACKAGE} is no Python package: install the collection again")
        package = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = package
        spec.loader.exec_module(package)
    return importlib.import_module(NAME + ".config")


def _refused(content: Mapping[str, Any]) -> list[str]:
    """The reader's words about a piece of a configuration, each `place: what is wrong`."""
    config = _config()
    try:
        config.parse(json.dumps(content), "")
    except config.ConfigError as error:
        return [re.sub(r"^:\d+: ", "", line) for line in error.problems]
    except TypeError as error:  # of a type that JSON has not
        return [f"the file: {error}"]
    return []


def _published_problems(listed: Any, domains: list[str]) -> list[str]:
    name = "jellyfin_published"
    if not isinstance(listed, (list, tuple)):
        return [f"{name} is {listed!r}: give a list, e.g. [{{for: all, url: 'https://jellyfin.example.com'}}]"]
    found: list[str] = []
    # Each server has a list of its own in the service's configuration.
    groups: dict[str, list[int]] = {}
    for index, entry in enumerate(listed):
        here = f"{name}[{index}]"
        if not isinstance(entry, Mapping):
            found.append(
                f"{here} is {entry!r}: give a mapping such as {{for: all, url: 'https://jellyfin.example.com'}}"
            )
            continue
        unknown = [key for key in entry if key not in PUBLISHED_KEYS]
        if unknown:
            found.append(f"{here} has the key {unknown[0]!r}. An entry takes for, url, domain")
        elif "domain" in entry and entry["domain"] not in domains:
            found.append(
                f"{here}.domain is {entry['domain']!r}, which is no site's. Give one of {', '.join(domains)}, or leave it out for the first"
            )
        else:
            groups.setdefault(str(entry.get("domain", domains[0] if domains else "")), []).append(index)
    for indices in groups.values():
        entries = [
            {"for": listed[index].get("for", listed[index].get("key", "")), "url": listed[index].get("url", "")}
            for index in indices
        ]
        for line in _refused({"upstreams": [{"url": "http://192.0.2.1:8096", "published": entries}]}):
            place = re.match(r"upstreams\[0\]\.published\[(\d+)\]\S*: (.*)", line)
            found.append(f"{name}[{indices[int(place.group(1))]}]: {place.group(2)}" if place else f"{name}: {line}")
    return found


def problems(values: Mapping[str, Any], domains: list[str]) -> list[str]:
    """All that is wrong, each a sentence with the variable, its value and what to do. What is not set is left out."""
    found: list[str] = []
    published = values.get("published")
    if published is not None and published != "":
        found += _published_problems(published, domains)
    limits = values.get("port_binding_limits")
    if limits is not None and limits != "":
        for line in _refused({"limits": limits}):
            place, _colon, said = line.partition(": ")
            found.append(
                f"port_binding_{place} {said}" if place.startswith("limits") else f"port_binding_limits: {line}"
            )
    heard = values.get("port_binding_hdhomerun_relay_for")
    if heard is not None and heard not in ("", "auto"):
        for line in _refused({"listeners": {"hdhomerun": {"relay_for": heard}}}):
            found.append(line.replace("listeners.hdhomerun.", "port_binding_hdhomerun_", 1))
    for process in ("relay", "discovery"):
        port = values.get(f"port_binding_metrics_{process}")
        if port is not None and port != "":
            number = int(port) if str(port).isdigit() else port
            for line in _refused({"metrics": {process: number}}):
                found.append(line.replace("metrics.", "port_binding_metrics_", 1))
    return found
