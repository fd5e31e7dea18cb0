"""While the server's first-run wizard is unfinished it is not for the Internet; a run that finds it done opens it."""

from __future__ import annotations

import pytest
from waiting import until

SITE = "https://media.example.org"
SWITCH = "/var/lib/jellyfin/double/wizard_done"


@pytest.fixture
def unfinished(media, ansible_playbook):
    """The server as new, and a run that saw it so; afterwards all as before."""
    media.check_output(f"mv {SWITCH} /root/wizard_done")
    try:
        done = ansible_playbook("site.yml")
        assert done.returncode == 0, done.stdout
        yield done
    finally:
        media.check_output(f"mv /root/wizard_done {SWITCH}")
        done = ansible_playbook("site.yml")
        assert done.returncode == 0, done.stdout


def test_the_internet_waits_for_the_wizard(lab, unfinished, outside, client, curl):
    assert "wizard" in unfinished.stdout and "503" in unfinished.stdout  # the run says so
    for path in ("/", "/web/", "/Startup/Configuration", "/socket", "/System/Info/Public"):
        answer = curl(outside, SITE + path, insecure=True)
        assert answer.status == 503 and answer.header("retry-after"), f"{path}: {answer}"
        forged = curl(outside, SITE + path, "-H", f"X-Forwarded-For: {lab.address('client', 'lan')}", insecure=True)
        assert forged.status == 503, f"{path}: {forged}"
    assert curl(outside, "http://media.example.org/").status == 503
    # A challenge gets past the gate; nobody answers one now.
    assert curl(outside, "http://media.example.org/.well-known/acme-challenge/x").status in (404, 502, 503)
    assert curl(client, f"{SITE}/System/Info/Public", insecure=True).status == 200
    assert curl(client, f"http://{lab.address('edge', 'lan')}:8096/Startup/Configuration").status == 200


def test_a_run_that_finds_it_done_opens_it(outside, curl):
    assert curl(outside, f"{SITE}/System/Info/Public", insecure=True).status == 200


def test_a_server_that_is_down_does_not_close_the_site_on_a_run(media, ansible_playbook, outside, curl):
    media.check_output("systemctl stop jellyfin")
    try:
        done = ansible_playbook("site.yml", "--tags", "reverse_proxy")
        assert done.returncode == 0, done.stdout
        down = curl(outside, f"{SITE}/System/Info/Public", insecure=True)
        assert down.status in (502, 503) and down.header("retry-after"), down
    finally:
        media.check_output("systemctl start jellyfin")
    back = until(
        lambda: curl(outside, f"{SITE}/System/Info/Public", insecure=True), lambda answer: answer.status == 200
    )
    assert back.status == 200
