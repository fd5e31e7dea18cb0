"""A certificate of a real ACME server behind each proxy, renewed by force while a download goes on.

`--lab NAME` is a running lab of the scenario default's topology (molecule/default/topology.toml); site.yml is run here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import reverse_proxy_edge as proxies
from testinfra.host import Host
from waiting import until

NAME = "media.example.org"
LINES, SIZE = 140, 64  # the download that a renewal may not cut: half a second a line


def serial(outside: Host) -> str:
    return str(
        outside.check_output(
            f"openssl s_client -connect {NAME}:443 -servername {NAME} </dev/null 2>/dev/null | openssl x509 -noout -serial"
        )
    )


@pytest.mark.parametrize("proxy", proxies.PROXIES)
def test_a_forced_renewal_changes_the_served_certificate_and_cuts_nothing(
    proxy: str, ansible_playbook: Callable[..., Any], curl: Callable[..., Any], outside: Host
) -> None:
    values = {"jellyfin_proxy": proxy} | (proxies.traefik_archive() if proxy == "traefik" else {})
    done = ansible_playbook("site.yml", "-e", json.dumps(values))
    assert done.returncode == 0, done.stdout + done.stderr
    before = serial(outside)
    assert curl(outside, f"https://{NAME}/System/Info/Public").status == 200  # by a chain that the client trusts
    with ThreadPoolExecutor(1) as pool:
        slow = f"https://{NAME}/double/slow?count={LINES}&every=0.5&size={SIZE}"
        download = pool.submit(outside.run, f"curl -sS -o /dev/null -w '%{{http_code}} %{{size_download}}' '{slow}'")
        values["certificate_force_renewal"] = True
        done = ansible_playbook("site.yml", "--tags", "certificate", "-e", json.dumps(values))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not download.done(), "the download ended before the certificate was there"
        after = until(lambda: serial(outside), lambda now: now != before)
        assert after != before
        ended = download.result()
    assert (ended.rc, ended.stdout) == (0, f"200 {LINES * SIZE}"), ended
    second = ansible_playbook("site.yml", "-e", json.dumps({**values, "certificate_force_renewal": False}))
    assert second.returncode == 0, second.stdout
    assert proxies.changed(second.stdout) == 0, second.stdout[-3000:]
