"""After the teardown the edge is as it was."""

from __future__ import annotations

import picture
import pytest


@pytest.fixture(scope="module")
def now(edge):
    return picture.take(edge)


@pytest.mark.parametrize("part", ["files", "packages", "units", "active", "listeners", "firewall"])
def test_as_before(now, part):
    before, after = set(picture.kept()[part]), set(now[part])
    gone, new = sorted(before - after), sorted(after - before)
    assert not gone and not new, f"gone: {gone}\nnew: {new}"
