"""verify.yml on the deployed edge: all passes, an independent client agrees, and what is broken is named."""

from __future__ import annotations

import json

import pytest
from verifying import by_title, negotiated, verify
from waiting import listens, until

NAME = "media.example.org"
NO_GRADE = ["-e", "jellyfin_verify_grade=false"]
OPENSSL = {"TLSv1.0": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}


@pytest.fixture(scope="module")
def report(ansible_playbook, tmp_path_factory):
    done, report = verify(ansible_playbook, tmp_path_factory.mktemp("report"), "-e", "jellyfin_verify_attack=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    return report


def test_the_server_s_api_key_is_in_no_output(ansible_playbook, tmp_path):
    key = "5ecre7" + "0" * 26
    done, report = verify(ansible_playbook, tmp_path, *NO_GRADE, "-e", f"jellyfin_verify_api_key={key}", "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr + json.dumps(report) + (tmp_path / "report.html").read_text()
    assert "edge_probe_info" in said and key not in said


def test_everything_passes(report):
    assert by_title(report, "fail") == {}
    assert {title for _area, title in by_title(report, "not checked")} <= {"HTTP/3"}
    assert report["counts"]["pass"] > 40
    for area in ("From the LAN", "From the Internet"):
        attacks = {title for where, title in by_title(report, "pass") if where == area and title.startswith("Attack")}
        assert len(attacks) == 6, attacks


def test_the_grade(report):
    grade = report["sites"][0]["grade"]
    assert (grade["grade"], grade["caps"], grade["grade_warnings"]) == ("A+", [], [])
    violations = grade["mozilla"]["intermediate"]["violations"]
    # Pebble's certificates are valid for five years, which is Pebble's business.
    assert {item["rule"] for item in violations} <= {"maximum_certificate_lifespan"}


def test_openssl_s_own_client_sees_the_same_protocols(report, outside):
    graded = set(report["sites"][0]["grade"]["protocols"])
    seen = {name for name, flag in OPENSSL.items() if negotiated(outside, NAME, f"{flag} -cipher ALL:@SECLEVEL=0")}
    assert seen == graded


def test_openssl_s_own_client_sees_the_same_suites_and_certificate(report, outside):
    grade = report["sites"][0]["grade"]
    offered = {suite["name"] for suite in grade["suites"]["TLSv1.2"]}
    iana = {
        "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-AES128-SHA": "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "ECDHE-ECDSA-AES256-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    }
    seen = {name for suite, name in iana.items() if negotiated(outside, NAME, f"-tls1_2 -cipher {suite}")}
    assert seen == offered
    serial = outside.check_output(
        f"openssl s_client -connect {NAME}:443 -servername {NAME} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    ).partition("=")[2]
    assert int(grade["certificates"][0]["serial"], 16) == int(serial, 16)


def test_curl_sees_the_same_hsts(report, outside, curl):
    answer = curl(outside, f"https://{NAME}/System/Info/Public")
    assert answer.header("strict-transport-security") == report["sites"][0]["grade"]["hsts"]["header"]


def test_a_jellyfin_client_discovers_what_the_report_says(report, client):
    program = (
        "import json\n"
        "from jellyfin_apiclient_python import JellyfinClient\n"
        "c = JellyfinClient()\n"
        "c.config.app('probe', '0', 'host', 'id')\n"
        "print(json.dumps([s['Address'] for s in c.auth._server_discovery()]))\n"
    )
    command = f'/opt/clients/bin/python -c "{program}"'
    found = until(lambda: json.loads(client.check_output(command).splitlines()[-1]), bool)
    assert found
    said = by_title(report, "pass")["From the LAN", "Client discovery (7359/udp)"]
    assert all(address in said for address in found)


def test_an_open_firewall_and_what_it_lets_in_are_named(edge, ansible_playbook, tmp_path):
    edge.check_output("systemctl stop firewalld")
    edge.check_output("systemd-run --unit rogue python3 -m http.server 8920")
    try:
        listens(edge.check_output, 8920)
        done, report = verify(ansible_playbook, tmp_path, *NO_GRADE)
    finally:
        edge.check_output("systemctl stop rogue; systemctl start firewalld")
    assert done.returncode != 0
    assert by_title(report, "fail")["From the Internet", "8920/tcp closed"].startswith("open")
    exposed = by_title(report, "not checked")["On the edge", "Firewall"]
    assert "firewalld is installed but off" in exposed and "8096/tcp" in exposed and "8920/tcp (python3)" in exposed
    # The second line of defence: the relay itself wants nothing to do with strangers.
    assert by_title(report, "pass")["From the Internet", "8096/tcp closed"].startswith("turned away")


def test_a_server_that_is_down_is_named(media, ansible_playbook, outside, curl, tmp_path):
    media.check_output("systemctl stop jellyfin")
    try:
        done, report = verify(ansible_playbook, tmp_path, *NO_GRADE)
    finally:
        media.check_output("systemctl start jellyfin")
        until(lambda: curl(outside, f"https://{NAME}/System/Info/Public"), lambda answer: answer.status == 200)
    assert done.returncode != 0
    failed = by_title(report, "fail")
    assert "does not reach Jellyfin" in failed["From the Internet", "Server through the proxy"]
    assert "an earlier run found the wizard done" in failed["At the server", "First-run wizard"]


def test_without_seats_nothing_passes_by_itself(ansible_playbook, tmp_path):
    nobody = ["-e", "jellyfin_verify_lan_host=", "-e", "jellyfin_verify_wan_host="]
    done, report = verify(ansible_playbook, tmp_path, *NO_GRADE, *nobody)
    assert done.returncode == 0, done.stdout
    assert not any(area.startswith("From") for area, _title in by_title(report, "pass"))
    assert by_title(report, "not checked")["From the Internet", "All of it"] == "no host to ask from"
