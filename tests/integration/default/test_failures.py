"""What goes wrong is said in words, and what worked goes on working."""

from __future__ import annotations

import json
import re

import pytest
from jellynet_lab.acme import point

SITE = "https://media.example.org"
RENEW = ["--tags", "certificate", "-e", "certificate_force_renewal=true"]


def serial(outside) -> str:
    done = outside.check_output(
        "openssl s_client -connect media.example.org:443 -servername media.example.org </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    return str(done)


def set_of(edge) -> str:
    """All that the collection has on the edge: what may not change when a value is refused."""
    return str(
        edge.check_output(
            "cd /etc/jellynet && find . -type f | sort | xargs sha256sum; find . -type l -printf '%p %l\\n' | sort"
        )
    )


@pytest.mark.parametrize(
    ("value", "variable", "fix"),
    [
        ("jellyfin_domain=bad;name.example.org", "jellyfin_domain", "not a DNS name"),
        ("jellyfin_proxy=lighttpd", "jellyfin_proxy", "nginx"),
        ("jellyfin_https_port=8096", "jellyfin_https_port", "Set them apart"),
        ("jellyfin_path=/jellyfin/", "jellyfin_path", "drop the slash"),
        ("jellyfin_ssdp_port=1901", "jellyfin_ssdp_port", "cannot be moved"),
        ('{"jellyfin_lan": ["10.0.0.0/99"]}', "jellyfin_lan", "CIDR"),
        ('{"jellyfin_server_address": "127.0.0.1", "jellyfin_http": true}', "jellyfin_server_port", "own server"),
        ("firewall_zone=nowhere", "firewall_zone", "public"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_changed(ansible_playbook, edge, value, variable, fix):
    before = set_of(edge)
    done = ansible_playbook("site.yml", "-e", value)
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert done.returncode != 0
    assert "Nothing was changed" in said and variable in said and fix in said, said
    assert set_of(edge) == before


def test_values_that_only_later_roles_read_are_refused_before_anything_is_changed(ansible_playbook, edge):
    wrong = {
        "jellyfin_http": ("enabled", "auto, true or false"),
        "jellyfin_https_port": (888, "certbot"),
        "reverse_proxy_binary": ({}, "needs its program named"),
        "reverse_proxy_log_requests": ("none", "errors, all"),
        "certificate_acme_port": (888888, "1 to 1023"),
        "certificate_local_ca_days": (0, "1 to 366"),
        "certificate_files_rsa": ({"other.example.org": {}}, "is for no site"),
        "port_binding_yield_to": (["jellyfin"], "Name services"),
        "port_binding_dlna": ("maybe", "auto, true or false"),
        "server_network_known_proxies": ("10.0.0.1", "give auto, or a list"),
        "server_network_config_dir": ("config", "absolute path"),
        "firewall_enable": ("maybe", "give true or false"),
    }
    before = set_of(edge)
    values = {"jellyfin_proxy": "traefik", **{name: value for name, (value, _fix) in wrong.items()}}
    done = ansible_playbook("site.yml", "-e", json.dumps(values))
    words = done.stdout + done.stderr
    assert done.returncode != 0 and "Nothing was changed" in words, words
    said = [re.sub(r"\s+", " ", line) for line in re.split(r"\n\s*- ", words)]
    for name, (_value, fix) in wrong.items():
        assert any(name in line and fix in line for line in said), (name, said)
    assert set_of(edge) == before


def test_a_key_that_is_not_the_certificate_s_is_refused_before_anything_is_changed(
    ansible_playbook, edge, outside, curl
):
    folder = "/root/own"
    for name in ("one", "other"):
        edge.check_output(
            f"mkdir -p {folder} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=media.example.org "
            f"-addext subjectAltName=DNS:media.example.org -keyout {folder}/{name}.key -out {folder}/{name}.pem 2>&1"
        )
    before = set_of(edge), serial(outside)
    files = {"fullchain": f"{folder}/one.pem", "privkey": f"{folder}/other.key"}
    values = {"jellyfin_certificate": "files", **{f"jellyfin_certificate_{key}": path for key, path in files.items()}}
    try:
        done = ansible_playbook("site.yml", "-e", json.dumps(values))
    finally:
        edge.check_output(f"rm -r {folder}")
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert done.returncode != 0
    assert "jellyfin_certificate_privkey" in said and files["privkey"] in said and "does not belong" in said, said
    assert re.search(r"edge : ok=\d+ changed=0 .* failed=1 ", said), said[-500:]
    assert (set_of(edge), serial(outside)) == before
    assert curl(outside, f"{SITE}/System/Info/Public").status == 200


def test_a_run_without_the_edge_leaves_the_server_as_it_is(ansible_playbook, media):
    state = "cat /etc/jellyfin/network.xml; systemctl show -p ExecMainStartTimestampMonotonic jellyfin.service"
    before = media.check_output(state)
    assert "<KnownProxies>" in before
    done = ansible_playbook("site.yml", "--limit", "media")
    assert done.returncode == 0, done.stdout
    said = re.sub(r"\s+", " ", done.stdout)
    assert "edge had no part in this run" in said and "server_network_known_proxies" in said, said
    assert "changed=0" in said
    assert media.check_output(state) == before


def fails_and_serves_on(ansible_playbook, outside, curl) -> str:
    """Ask for a new certificate in vain; what the run said."""
    before = serial(outside)
    done = ansible_playbook("site.yml", *RENEW)
    assert done.returncode != 0, done.stdout
    assert serial(outside) == before
    assert curl(outside, f"{SITE}/System/Info/Public").status == 200
    return re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_a_ca_that_cannot_be_reached_leaves_the_site_as_it_is(lab, ansible_playbook, edge, outside, curl):
    ca = lab.address("acme", "wan")
    edge.check_output(f"ip route add prohibit {ca}")
    try:
        said = fails_and_serves_on(ansible_playbook, outside, curl)
    finally:
        edge.check_output(f"ip route del prohibit {ca}")
    assert "https://acme:14000/dir" in said and "reach" in said, said


def test_a_name_that_does_not_point_here_leaves_the_site_as_it_is(lab, ansible_playbook, outside, curl):
    point(lab.name, lab.topology, "media.example.org", "outside")
    try:
        said = fails_and_serves_on(ansible_playbook, outside, curl)
    finally:
        point(lab.name, lab.topology, "media.example.org", "edge")
    assert "media.example.org" in said and lab.address("outside", "wan") in said, said


def test_a_renewal_is_served_at_once_and_shows_no_secret(ansible_playbook, edge, outside, curl):
    before = serial(outside)
    done = ansible_playbook("site.yml", *RENEW, "--diff", "-vvv")
    assert done.returncode == 0, done.stdout
    assert serial(outside) != before
    assert curl(outside, f"{SITE}/System/Info/Public").status == 200
    keys = edge.check_output("cat /etc/jellynet/certificates/*/*/privkey.pem /etc/letsencrypt/archive/*/privkey*.pem")
    lines = {line for line in keys.splitlines() if line and "-----" not in line}
    assert lines and not [line for line in lines if line in done.stdout + done.stderr]


def test_the_keys_are_for_their_readers_only(edge):
    for path in edge.check_output(
        "find -L /etc/jellynet/certificates -name privkey.pem -o -name bundle.pem"
    ).splitlines():
        key = edge.file(path)
        assert (key.user, key.group, key.mode) == ("root", "jellynet-tls", 0o640), path
