"""Why a run of molecule or pytest failed, in a few lines, out of all that it said."""

from __future__ import annotations

import re

_LINE = re.compile(
    r"(?P<task>TASK \[.*\])[ *]*|(?P<fatal>fatal: \[[^]]*\].*?)(?: =>.*)?|(?P<test>(?:FAILED|ERROR) \S+::.*)"
    r"|\*  => (?P<again>.*)"
)


def reasons(said: str) -> list[str]:
    """The tests that failed, the tasks that failed (one that is rescued too) and the ones that change something twice."""
    found: dict[str, None] = {}
    task = ""
    for line in said.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            continue
        if match["task"]:
            task = match["task"]
        elif match["fatal"]:
            found[f"{task}: {match['fatal']}"] = None
        elif match["again"]:
            found[f"not idempotent: {match['again']}"] = None
        else:
            found[match["test"]] = None
    return list(found)
