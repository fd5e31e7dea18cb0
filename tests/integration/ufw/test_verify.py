"""verify.yml with the edge's own CA, a path, and the server on the edge itself."""

from __future__ import annotations

import pytest
from verifying import by_title, verify


@pytest.fixture(scope="module")
def report(ansible_playbook, tmp_path_factory):
    done, report = verify(ansible_playbook, tmp_path_factory.mktemp("report"))
    assert done.returncode == 0, done.stdout + done.stderr
    return report


def test_everything_passes(report):
    assert by_title(report, "fail") == {}


def test_a_t_is_tolerated_and_named(report):
    grade = report["sites"][0]["grade"]
    assert (grade["grade"], grade["grade_ignoring_trust"]) == ("T", "A")
    said = by_title(report, "pass")["TLS grade", "SSL Labs grade"]
    assert said == "T to browsers that do not know the edge's own CA, A to those that do"


def test_the_chain_leads_to_the_edge_s_own_ca(report):
    assert "the edge's own CA" in by_title(report, "pass")["From the LAN", "Certificate chain"]


def test_no_hsts_without_a_public_certificate(report):
    assert (
        by_title(report, "pass")["From the Internet", "HSTS"]
        == "not sent, since the certificate is not publicly trusted"
    )


def test_known_proxies_of_the_server_beside_the_proxy(report):
    assert by_title(report, "pass")["At the server", "KnownProxies"].startswith("127.0.0.1")
