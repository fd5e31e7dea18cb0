"""Writes a bench's figures into docs/benchmarks.md: one section a bench, replaced as a whole by the next run of it."""

from __future__ import annotations

import platform
import re
import statistics
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Each section is written by the command that it names, all rows of a table in one run on one machine, side by side. Figures depend on the machine,
ratios less so. Nothing here is asserted in a test.
"""


def median(values: Sequence[float]) -> float:
    """The middle of the measured values."""
    return statistics.median(values)


def machine() -> str:
    """What the figures were measured on, in a line."""
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{cores} cores, Linux {platform.release().split('-')[0]}, {date.today().isoformat()}"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are right-aligned by their column's first row."""
    numeric = [bool(rows) and isinstance(rows[0][index], (int, float)) for index in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("---:" if flag else "---" for flag in numeric) + "|"]
    lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(cell: object) -> str:
    """A cell's text: three significant digits for fractions."""
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def write(title: str, command: str, body: str) -> None:
    """Put a section into docs/benchmarks.md, in the place of the one with the same title."""
    section = f"## {title}\n\n`{command}` ({machine()})\n\n{body.strip()}\n"
    text = PAGE.read_text() if PAGE.exists() else HEAD
    parts = re.split(r"(?m)^(?=## )", text)
    kept = [part.rstrip() + "\n" for part in parts[1:] if not part.startswith(f"## {title}\n")]
    PAGE.write_text("\n".join([HEAD.rstrip() + "\n", *sorted([*kept, section])]))
