#!/usr/bin/python
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_config
short_description: Set values in Jellyfin's network.xml
version_added: "1.0.0"
author: The jellynet authors (@jellynet)
description:
  - Writes elements of Jellyfin's C(network.xml) in the form that the server reads, and keeps all the rest of the file.
  - Jellyfin reads the file once at start and may rewrite it while it runs, so a running server is stopped, the file is written, and it is
    started again; only if something differs.
  - What stood there before is remembered, and O(state=absent) puts it back.
  - A run that is killed while the server is stopped leaves a note, and the next one starts the server.
options:
  config_dir:
    description: The server's configuration folder, such as V(/etc/jellyfin).
    type: path
    required: true
  settings:
    description:
      - The elements to set, by their name in C(network.xml). Booleans and numbers in their own type, lists of text as lists.
      - C(KnownProxies) is different. The addresses given are added to those that are there, and ones that an earlier run added and that are no
        longer given are taken away.
    type: dict
    default: {}
  purge_proxies:
    description:
      - Whether addresses in C(KnownProxies) that an earlier run added and that are no longer given are taken away.
      - V(false) where not all that should be given is known.
    type: bool
    default: true
  unit:
    description: The server's systemd unit. Empty when the server is not run by systemd; then it has to be restarted by hand.
    type: str
    default: jellyfin.service
  health_url:
    description:
      - An address that is asked after a restart until the server answers, such as V(http://127.0.0.1:8096/health). Empty, the restart is not waited for.
    type: str
    default: ''
  timeout:
    description: How long to wait for the server after a restart, in seconds.
    type: int
    default: 120
  state:
    description: V(absent) puts back what stood there before the first run.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - jellynet.jellyfin.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
notes:
  - The element names and defaults are those of C(MediaBrowser.Common/Net/NetworkConfiguration.cs), Jellyfin 10.9 to 12.0.
  - A password is never shown, neither in the result nor in the diff.
"""

EXAMPLES = r"""
- name: Let Jellyfin believe the proxy on the same host
  jellynet.jellyfin.network_config:
    config_dir: /etc/jellyfin
    settings:
      KnownProxies: [127.0.0.1]
      BaseUrl: /jellyfin
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: always
  sample: /etc/jellyfin/network.xml
changes:
  description: What differs, by element; before and after.
  type: dict
  returned: always
  sample: {KnownProxies: {before: [], after: ["127.0.0.1"]}}
restarted:
  description: Whether the server was restarted.
  type: bool
  returned: always
restart_needed:
  description: Whether the server has to be restarted by hand.
  type: bool
  returned: always
"""

import base64
import hashlib
import os
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _debian, _network_xml, _record

SECTION = "network_xml"
STOPPED = "stopped_units"


class ServerUnit:
    """The server's systemd unit, which may not exist.

    That it ran is noted in the record before it is stopped: a run that is killed in between leaves the note, and the next one starts it.
    """

    def __init__(self, module: AnsibleModule, name: str) -> None:
        self.module = module
        self.name = name
        self.active = bool(name) and self._systemctl("is-active", "--quiet")[0] == 0
        self.noted = bool(name) and _record.get(STOPPED, name) is not None

    @property
    def wanted(self) -> bool:
        """Whether it runs, or would if an earlier run had come to its end."""
        return self.active or self.noted

    @property
    def owed(self) -> bool:
        """Whether an earlier run left it stopped."""
        return self.noted and not self.active

    def _systemctl(self, *words: str) -> tuple[int, str]:
        code, _out, err = self.module.run_command(["systemctl", *words, self.name])
        return code, err.strip()

    def stop(self) -> None:
        if self.active:
            _record.remember(STOPPED, self.name, True)
            self.noted = True
            # Also after a stop that failed: nobody knows how far it went, and to start what runs does nothing.
            self.active = False
            self._must("stop", "stopped")

    def settle(self) -> None:
        """Have it run again, where it has to."""
        if self.owed:
            self._must("start", "started")
            self.active = True
        if self.noted:
            _record.forget(STOPPED, self.name)
            self.noted = False

    def _must(self, verb: str, done: str) -> None:
        code, err = self._systemctl(verb)
        if code != 0:
            self.module.fail_json(msg=f"{self.name} could not be {done}: {err}. See: journalctl -u {self.name}")


def merged(
    settings: dict[str, Any], current: dict[str, Any], remembered: dict[str, Any], purge: bool
) -> dict[str, Any]:
    """The settings with KnownProxies joined to what the user has there himself, and without ``purge`` to all that is there."""
    if "KnownProxies" not in settings:
        return dict(settings)
    ours = set(remembered.get("known_proxies", []) if purge else [])
    wanted = list(settings["KnownProxies"])
    kept = [item for item in current["KnownProxies"] if item not in ours or item in wanted]
    return dict(settings, KnownProxies=kept + [item for item in wanted if item not in kept])


def added(settings: dict[str, Any], current: dict[str, Any], remembered: dict[str, Any], purge: bool) -> list[str]:
    """Those of KnownProxies that are there because of us. What the user had there himself stays his, also where we want it too."""
    ours = remembered.get("known_proxies", [])
    if "KnownProxies" not in settings:
        return list(ours)
    wanted = list(settings["KnownProxies"])
    kept = [] if purge else [item for item in ours if item not in wanted]
    return kept + [item for item in wanted if item in ours or item not in current["KnownProxies"]]


def restored(current: dict[str, Any], remembered: dict[str, Any]) -> dict[str, Any]:
    """The settings that undo ours, and leave alone what somebody changed since."""
    settings = {}
    for name, values in remembered.get("elements", {}).items():
        if name == "KnownProxies":
            settings[name] = [item for item in current[name] if item not in remembered.get("known_proxies", [])]
        elif current[name] == values["after"]:
            settings[name] = values["before"]
    return settings


def remember(path: str, ours: list[str], changes: dict[str, Any], remembered: dict[str, Any], text: str) -> None:
    """Keep what stood there before the first run: the file as it was and, per element, the value; and what we write now."""
    elements = dict(remembered.get("elements", {}))
    for name, (before, after) in changes.items():
        if name in _network_xml.SECRET:
            continue
        elements[name] = {"before": elements.get(name, {}).get("before", before), "after": after}
    entry = {
        "elements": elements,
        "known_proxies": ours,
        "file": remembered.get("file", read_bytes(path)),
        "wrote": checksum(text),
    }
    _record.remember(SECTION, path, entry, overwrite=True)


def read_bytes(path: str) -> str | None:
    """The file's content in base64, None where there is none: teardown gives it back to the byte."""
    try:
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode("ascii")
    except FileNotFoundError:
        return None


def checksum(text: str) -> str:
    """SHA-256 of a file's text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def untouched(path: str, remembered: dict[str, Any]) -> bool:
    """Whether the file is still what we wrote last: then the old one can come back whole."""
    return os.path.exists(path) and checksum(_debian.read(path)) == remembered.get("wrote")


def give_back(path: str, content: str | None) -> None:
    """The file as it was before the first run; there may have been none."""
    if content is None:
        os.unlink(path)
    else:
        write(path, base64.b64decode(content).decode("utf-8"))


def write(path: str, text: str) -> None:
    """Replace the file by one rename, with the owner and mode it had (or those of its folder)."""
    pattern = os.stat(path if os.path.exists(path) else os.path.dirname(path))
    mode = pattern.st_mode & 0o777 if os.path.exists(path) else 0o640
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".network.xml.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchown(file.fileno(), pattern.st_uid, pattern.st_gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def shown(changes: dict[str, Any], side: int) -> str:
    """One side of the diff; a secret is only said to differ."""
    lines: list[str] = []
    for name in sorted(changes):
        value = changes[name][side]
        text = (
            "(not shown)"
            if name in _network_xml.SECRET
            else ", ".join(value)
            if isinstance(value, list)
            else str(value)
        )
        lines.append(f"{name}: {text}".rstrip())
    return "".join(line + "\n" for line in lines)


def wait_until_up(module: AnsibleModule, url: str, timeout: int) -> None:
    """Until the server answers: `Healthy` (10.8 and later), or a redirect below its BaseUrl."""
    if not url:
        return
    deadline = time.monotonic() + timeout
    answer = "nothing"
    while time.monotonic() < deadline:
        try:
            answer = open_url(url, timeout=5, follow_redirects="all").read(64).decode("utf-8", "replace").strip()
            if answer == "Healthy":
                return
        except Exception as error:
            answer = str(error)
        time.sleep(0.5)
    module.fail_json(
        msg=f"The server was restarted, but {url} did not become Healthy within {timeout} s (last answer: {answer}). See: journalctl -u {module.params['unit']}"
    )


def main() -> None:
    """Compare, and only where something differs stop, write, start."""
    module = AnsibleModule(
        argument_spec={
            "config_dir": {"type": "path", "required": True},
            "settings": {"type": "dict", "default": {}},
            "purge_proxies": {"type": "bool", "default": True},
            "unit": {"type": "str", "default": "jellyfin.service"},
            "health_url": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 120},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    settings = module.params["settings"]
    for name in _network_xml.SECRET:
        if isinstance(settings.get(name), str) and settings[name]:
            module.no_log_values.add(settings[name])
    problems = _network_xml.check_settings(settings)
    if problems:
        module.fail_json(msg="Nothing was changed. " + " ".join(problems))
    folder = module.params["config_dir"]
    if not os.path.isdir(folder):
        module.fail_json(
            msg=f"config_dir is {folder!r}, and there is no such folder on this host. Give the folder that holds (or will hold) "
            "network.xml; a packaged server has it in /etc/jellyfin, an official container in its /config/config"
        )
    path = os.path.join(folder, "network.xml")
    try:
        unit = ServerUnit(module, module.params["unit"])
        try:
            result = run(module, path, unit)
        finally:
            if not module.check_mode:
                unit.settle()
        if result["restarted"] and not module.check_mode:
            wait_until_up(module, module.params["health_url"], module.params["timeout"])
    except _network_xml.NetworkXmlError as error:
        module.fail_json(msg=f"{path} was not changed: {error}")
    except OSError as error:
        module.fail_json(msg=f"{path} could not be changed: {error}")
    except _record.RecordError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def run(module: AnsibleModule, path: str, unit: ServerUnit) -> dict[str, Any]:
    """Compare, and where something differs stop the server and write; the caller starts it."""
    settings = module.params["settings"]
    absent = module.params["state"] == "absent"
    purge = module.params["purge_proxies"]
    remembered = _record.get(SECTION, path) or {}

    def plan() -> tuple[str, dict[str, Any], list[str]]:
        text = _debian.read(path)
        current = _network_xml.parse(text or _network_xml.EMPTY)
        wanted = restored(current, remembered) if absent else merged(settings, current, remembered, purge)
        return (*_network_xml.update(text, wanted), added(settings, current, remembered, purge))

    _text, changes, _ours = plan()
    result: dict[str, Any] = {
        "changed": bool(changes) or bool(absent and remembered) or unit.owed,
        "path": path,
        "changes": {
            name: {"before": before, "after": after}
            for name, (before, after) in changes.items()
            if name not in _network_xml.SECRET
        },
        "diff": {
            "before": shown(changes, 0),
            "after": shown(changes, 1),
            "before_header": path,
            "after_header": path,
        },
        "restarted": False,
        "restart_needed": False,
    }
    if module.check_mode:
        return result
    result["restarted"] = unit.wanted if changes else unit.owed
    if changes:
        unit.stop()
        # The server may have saved the file while it stopped.
        text, changes, ours = plan()
        if not absent:
            remember(path, ours, changes, remembered, text)
        if absent and untouched(path, remembered):
            give_back(path, remembered["file"])
        else:
            write(path, text)
        result["restart_needed"] = not module.params["unit"]
    if absent and remembered:
        _record.forget(SECTION, path)
    return result


if __name__ == "__main__":
    main()
