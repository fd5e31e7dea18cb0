"""Runs one transaction on the host it lies on, from a description on stdin; may kill itself after a step."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import ServiceFolder
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_removal import Removal
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import build
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_transaction import ServiceError, Transaction
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd

FILE = {
    "mode": "0644",
    "owner": "root",
    "group": "root",
    "sensitive": False,
    "effect": "reload",
    "affects": [],
    "verbatim": False,
}


def main() -> None:
    spec = json.load(sys.stdin)

    def on_step(name: str) -> None:
        if name == spec["kill_after"]:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = ServiceFolder(spec["name"])
    systemd = Systemd(timeout=30)
    try:
        if spec.get("state") == "absent":
            removal = Removal(folder, systemd, restore_units=spec.get("restore_units", False), on_step=on_step)
            result = removal.run(spec.get("check_mode", False))
        else:
            files = spec["files"]
            units = spec.get("units", {})
            params = {
                "name": spec["name"],
                "files": [{**FILE, "path": path, **spec.get("options", {}).get(path, {})} for path in files],
                "units": [{"name": name, "effect": "daemon_reload"} for name in units],
                "services": [{"enabled": None, "state": None, **service} for service in spec["services"]],
                "proof": spec.get("proof", []),
            }
            contents = [
                base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode() for text in files.values()
            ]
            wanted = build(params, contents, [text.encode() for text in units.values()], folder.base)
            transaction = Transaction(
                folder,
                wanted,
                systemd,
                checks=spec.get("check", []),
                trial=spec.get("trial"),
                conflicts=spec.get("conflicts", []),
                timeout=spec.get("timeout", 30),
                on_step=on_step,
            )
            result = transaction.run(spec.get("check_mode", False))
        print(json.dumps(dataclasses.asdict(result)))
    except ServiceError as problem:
        print(json.dumps({"failed": str(problem), "step": problem.step, "rolled_back": problem.rolled_back}))


main()
