# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLS grade against what was asked for. Pure."""

from __future__ import annotations

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils._verify_sheet import FAIL, PASS, Part, Seen, Sheet

GRADES = ("A+", "A", "A-", "B", "C", "D", "E", "F", "T", "M")
AREA = "TLS grade"


def check_grade(sheet: Sheet, site: Seen, host: Seen, grades: Seen, options: Seen) -> None:
    domain = str(site["domain"])
    part = sheet.part(AREA, domain)
    seen = grades.get(domain)
    if seen is None:
        part.skip("SSL Labs grade", "grading is off (jellyfin_verify_grade)")
    elif seen.get("scanner_missing"):
        part.skip("SSL Labs grade", "the scanner is missing on the host that grades", str(seen.get("msg", "")))
    elif seen.get("failed") or seen.get("unreachable") or "grade" not in seen:
        part.bad("SSL Labs grade", str(seen.get("msg", "no reason given")), "look at port 443 of the edge")
    else:
        public = bool(((host.get("certificates") or {}).get(domain) or {}).get("public"))
        _grade(part, site, seen, public, str(options.get("minimum_grade") or ""))
        _mozilla(part, seen, public, str(options.get("mozilla") or "intermediate"))


def at_least(grade: str, minimum: str) -> bool:
    return grade in GRADES and GRADES.index(grade) <= GRADES.index(minimum)


def reasons(seen: Seen) -> str:
    """What kept the grade down, in words."""
    return "; ".join(str(item["observed"]) for item in [*(seen.get("caps") or []), *(seen.get("grade_warnings") or [])])


def _grade(part: Part, site: Seen, seen: Seen, public: bool, asked: str) -> None:
    """A+ is asked of a public certificate. Without one HSTS must not be sent, and there is no A+ without HSTS."""
    minimum = asked or ("A+" if public else "A")
    grade, ignoring = str(seen["grade"]), str(seen.get("grade_ignoring_trust") or "")
    tolerated = minimum if public or minimum != "A+" else "A"
    why = reasons(seen)
    if grade == "T" and site.get("certificate") == "local_ca" and at_least(ignoring, tolerated):
        part.ok("SSL Labs grade", f"T to browsers that do not know the edge's own CA, {ignoring} to those that do")
    elif at_least(grade, minimum):
        part.ok("SSL Labs grade", f"{grade}, at least {minimum} asked for" + (f" ({why})" if why else ""))
    else:
        todo = "mend what is named; site.yml brings A+ once the certificate is a public one"
        part.bad("SSL Labs grade", f"{grade}, at least {minimum} asked for: {why or 'see the scores'}", todo)


def _mozilla(part: Part, seen: Seen, public: bool, wanted: str) -> None:
    verdict = (seen.get("mozilla") or {}).get(wanted) or {}
    title = f"Mozilla's guideline, {wanted}"
    if verdict.get("compliant"):
        part.ok(title, f"complies with version {seen['mozilla'].get('guideline')}")
        return
    violations = [dict(item) for item in verdict.get("violations") or []]
    # A lifetime is the CA's choice. Trust and HSTS follow from whose certificate it is, and that was the user's choice.
    excused = {"maximum_certificate_lifespan"} | (set() if public else {"hsts_min_age", "trust"})
    blamed = [item for item in violations if item.get("rule") not in excused]
    found = "; ".join(str(item["observed"]) for item in violations)
    if blamed:
        part.say(FAIL, title, found, "run site.yml")
    else:
        part.say(PASS, title, f"complies but for what comes with the certificate: {found}")
