# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On which line of a JSON text a value stands, so that an error can name it."""

from __future__ import annotations

import re
from typing import Union

Path = tuple[Union[str, int], ...]

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+)')


def value_lines(text: str) -> dict[Path, int]:
    """The line of each value of a text that `json.loads` accepts, by its path of keys and indexes."""
    import json

    lines: dict[Path, int] = {}
    stack: list[list[str | int]] = []  # the path's last part for each open object or list
    expects_key: list[bool] = []
    position = 0
    line = 1
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            return lines
        token = match.group(1)
        line += text.count("\n", position, match.start(1))
        position = match.end()
        if expects_key and expects_key[-1] and token.startswith('"'):
            stack[-1][0] = json.loads(token)
            lines[tuple(part[0] for part in stack)] = line
            expects_key[-1] = False
        elif token in "{[":
            lines.setdefault(tuple(part[0] for part in stack), line)
            stack.append([0 if token == "[" else ""])
            expects_key.append(token == "{")
        elif token in "}]":
            stack.pop()
            expects_key.pop()
        elif token == ",":
            last = stack[-1]
            if isinstance(last[0], int):
                last[0] += 1
            else:
                expects_key[-1] = True
        elif token != ":":
            lines.setdefault(tuple(part[0] for part in stack), line)
