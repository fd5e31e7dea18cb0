# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the observations of a deployment mean: each check is pass, fail, or not checked, with what was found and what to do.

Pure: ``observed`` holds what the modules returned. A check never passes for want of an observation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify_attacks as attacks
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_edge import check_edge, discovered
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_grade import check_grade
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_hosts import check_hosts
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import (
    FAIL,
    NOT_CHECKED,
    PASS,
    Seat,
    Seen,
    Sheet,
)
from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_site import check_site

__all__ = ["FAIL", "NOT_CHECKED", "PASS", "discovered", "judge"]


def judge(observed: Seen, sites: Sequence[Seen], host: Seen, options: Seen) -> list[dict[str, str]]:
    """Every check of a deployment.

    ``observed``: ``lan`` and ``wan`` (what edge_probe_info returned there, nothing where there is no such seat), ``discovery``,
    ``ssdp``, ``state`` (edge_state_info), ``grades`` by domain, ``installs`` by host (edge_state_info's ``network``).
    ``options``: http_port, https_port, listeners, lan, minimum_grade, mozilla.
    """
    sheet = Sheet()
    lan = [str(item) for item in options.get("lan") or []]
    home, wan = Seat(False, observed.get("lan"), lan, host), Seat(True, observed.get("wan"), lan, host)
    for site in sites:
        check_grade(sheet, site, host, observed.get("grades") or {}, options)
    for seat, name in ((home, "lan"), (wan, "wan")):
        if seat.why_not:
            todo = f"name a host {'outside' if seat.wan else 'of'} your LAN in jellyfin_verify_{name}_host"
            sheet.part(seat.area).skip("All of it", seat.why_not, todo)
            continue
        for site in sites:
            check_site(sheet, seat, site, host)
            attacks.check_site(sheet.part(seat.area, str(site["domain"])), seat, site, options)
        check_edge(sheet, seat, sites, host, observed, options)
        attacks.check_edge(sheet.part(seat.area), seat, options)
    check_hosts(sheet, (home, wan), sites, host, observed)
    return sheet.checks
