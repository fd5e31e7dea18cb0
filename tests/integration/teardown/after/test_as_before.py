"""After the teardown the edge is as it was."""

from __future__ import annotations

import re

import picture
import pytest


@pytest.fixture(scope="module")
def now(edge):
    return picture.take(edge)


@pytest.mark.parametrize("part", ["files", "packages", "units", "active", "listeners", "firewall"])
def test_as_before(now, part):
    before, after = set(picture.kept()[part]), set(now[part])
    gone, new = sorted(before - after), sorted(after - before)
    assert not gone and not new, f"gone: {gone}, new: {new}"


def test_a_second_teardown_finds_nothing_to_do(ansible_playbook):
    done = ansible_playbook("teardown.yml", "--diff")
    changed = re.findall(r"^\S+\s+: ok=\d+\s+changed=(\d+)", done.stdout, re.M)
    assert done.returncode == 0 and changed, done.stdout + done.stderr
    assert set(changed) == {"0"}, done.stdout
