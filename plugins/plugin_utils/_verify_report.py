# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in its three forms: a short table, JSON, and one page. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import FAIL, NOT_CHECKED, PASS

TITLE = 38
MARKS = {PASS: "ok    ", FAIL: "FAIL  ", NOT_CHECKED: "-     "}
GRADE_KEYS = (
    "host",
    "port",
    "server_name",
    "address",
    "grade",
    "grade_ignoring_trust",
    "rating",
    "not_checked",
    "scores",
    "caps",
    "grade_warnings",
    "protocols",
    "suites",
    "preference",
    "choices",
    "groups",
    "certificates",
    "hsts",
    "redirect",
    "alpn",
    "http3",
    "sni",
    "mozilla",
    "scanner",
)


def report(
    name: str,
    checks: Sequence[Mapping[str, str]],
    grades: Mapping[str, Any],
    sites: Sequence[Mapping[str, Any]],
    now: datetime | None = None,
) -> dict[str, Any]:
    """All that the three forms show."""
    counts = {status: sum(1 for item in checks if item["status"] == status) for status in (PASS, FAIL, NOT_CHECKED)}
    moment = now or datetime.now(timezone.utc)
    return {
        "name": name,
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "verdict": FAIL if counts[FAIL] else PASS,
        "counts": counts,
        "sites": [
            {
                "domain": site["domain"],
                "url": f"https://{site['domain']}{site.get('path') or ''}/",
                "certificate": site.get("certificate"),
                "grade": _grade(grades.get(str(site["domain"])) or {}),
            }
            for site in sites
        ],
        "checks": [dict(item) for item in checks],
    }


def _grade(seen: Mapping[str, Any]) -> dict[str, Any]:
    if seen.get("failed") or seen.get("unreachable"):
        return {"error": str(seen.get("msg", "no reason given"))}
    return {key: seen[key] for key in GRADE_KEYS if key in seen}


def as_json(said: Mapping[str, Any]) -> str:
    return json.dumps(said, indent=2, sort_keys=False) + "\n"


def line(check: Mapping[str, str]) -> str:
    """A failed check in one line: where, what, what was found, what to do."""
    where = check["area"] + (f", {check['site']}" if check["site"] else "")
    todo = f" -> {check['todo']}" if check["todo"] else ""
    return f"- {where}: {check['title']}: {check['found']}{todo}"


def table(said: Mapping[str, Any], width: int = 110) -> str:
    """The short form for a terminal."""
    many = len(said["sites"]) > 1
    rows = ["", f"Jellyfin edge {said['name']}, {said['time']}"]
    for site in said["sites"]:
        grade = site["grade"].get("grade")
        rows.append(f"  {site['url']}" + (f"  grade {grade}" if grade else ""))
    area = ""
    first = 8 + TITLE
    for check in said["checks"]:
        heading = check["area"] + (f": {check['site']}" if many and check["site"] else "")
        if heading != area:
            area = heading
            rows += ["", area]
        head = f"  {MARKS[check['status']]}{check['title'][: TITLE - 2]:<{TITLE}}"
        if check["status"] == PASS:
            rows.append(head + textwrap.shorten(check["found"], width - first, placeholder=" ..."))
            continue
        text = check["found"] + (f" -> {check['todo']}" if check["todo"] else "")
        wrapped = textwrap.wrap(text, width - first, break_on_hyphens=False) or [""]
        rows += [head + wrapped[0], *(" " * first + rest for rest in wrapped[1:])]
    counts = said["counts"]
    rows += ["", f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[NOT_CHECKED]} not checked", ""]
    return "\n".join(rows)


def page(said: Mapping[str, Any], template: str) -> str:
    """The page: the template knows how to lay it out, everything in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    areas: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for check in said["checks"]:
        # With one site there is no need to tell its checks from those of the edge.
        areas.setdefault((check["area"], check["site"] if len(said["sites"]) > 1 else ""), []).append(check)
    graded = [site for site in said["sites"] if "grade" in site["grade"]]
    return environment.from_string(template).render(report=said, areas=areas, graded=graded)
