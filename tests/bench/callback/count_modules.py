"""Counts module executions: each is a trip to the host, and trips are what a run costs.

Wraps the one method through which every module reaches a host. The workers are forked after this plugin is loaded, so they
carry the wrapper; each execution appends a line to the file that JELLYNET_COUNT_FILE names.
"""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_modules
type: aggregate
short_description: Counts module executions
description: Appends host and module to the file in JELLYNET_COUNT_FILE for each module execution.
"""


class CallbackModule(CallbackBase):
    """Installs the wrapper when it is loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        path = os.environ["JELLYNET_COUNT_FILE"]
        execute = ActionBase._execute_module

        def counted(action, module_name=None, *given, **named):
            host = (named.get("task_vars") or {}).get("inventory_hostname", "?")
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{host} {module_name or action._task.action}\n")
            return execute(action, module_name, *given, **named)

        ActionBase._execute_module = counted
