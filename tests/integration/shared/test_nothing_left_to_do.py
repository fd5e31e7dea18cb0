"""Holds for every scenario once it is deployed."""

from __future__ import annotations

import re


def test_check_mode_after_the_deployment_finds_nothing_to_do(ansible_playbook):
    done = ansible_playbook("site.yml", "--check", "--diff")
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", done.stdout, re.M)
    assert done.returncode == 0 and recap, done.stdout + done.stderr
    assert all(figures[1:] == ("0", "0", "0") for figures in recap), done.stdout


def test_no_unit_has_failed(lab):
    for name, host in lab.topology.hosts.items():
        if host.groups:
            failed = lab.host(name).run("systemctl --failed --no-legend --plain").stdout
            assert not failed, f"{name}: {failed}"
