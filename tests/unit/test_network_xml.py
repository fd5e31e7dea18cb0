"""network.xml: read as .NET's XmlSerializer reads it, written so that it goes on reading it."""

from __future__ import annotations

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _network_xml as nx

WRITTEN_BY_JELLYFIN = """<?xml version="1.0" encoding="utf-8"?>
<NetworkConfiguration xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <BaseUrl />
  <EnableHttps>false</EnableHttps>
  <InternalHttpPort>8096</InternalHttpPort>
  <FutureSetting>kept &amp; unharmed</FutureSetting>
  <CertificatePassword>hush</CertificatePassword>
  <KnownProxies />
  <VirtualInterfaceNames>
    <string>veth</string>
  </VirtualInterfaceNames>
</NetworkConfiguration>
"""


def test_missing_elements_have_jellyfins_defaults():
    assert nx.parse(nx.EMPTY) == nx.DEFAULTS


def test_update_sets_what_is_asked_and_keeps_the_rest():
    text, changes = nx.update(WRITTEN_BY_JELLYFIN, {"KnownProxies": ["127.0.0.1", "::1"], "BaseUrl": "/jellyfin"})
    assert changes == {"KnownProxies": ([], ["127.0.0.1", "::1"]), "BaseUrl": ("", "/jellyfin")}
    assert "<FutureSetting>kept &amp; unharmed</FutureSetting>" in text
    assert "<string>127.0.0.1</string>" in text
    after = nx.parse(text)
    assert after["KnownProxies"] == ["127.0.0.1", "::1"]
    assert after["BaseUrl"] == "/jellyfin"
    assert after["CertificatePassword"] == "hush"
    assert 'xmlns:xsd="http://www.w3.org/2001/XMLSchema"' in text
    assert nx.update(text, {"KnownProxies": ["127.0.0.1", "::1"], "BaseUrl": "/jellyfin"}) == (text, {})


def test_a_file_that_is_not_there_yet_is_made():
    text, changes = nx.update("", {"AutoDiscovery": False, "InternalHttpPort": 8097})
    assert "<AutoDiscovery>false</AutoDiscovery>" in text
    assert set(changes) == {"AutoDiscovery", "InternalHttpPort"}
    assert nx.parse(text)["InternalHttpPort"] == 8097


def test_booleans_are_lower_case():
    text, _changes = nx.update(nx.EMPTY, {"EnableIPv6": True})
    assert "<EnableIPv6>true</EnableIPv6>" in text


def test_a_list_is_emptied():
    text, _ = nx.update(WRITTEN_BY_JELLYFIN, {"VirtualInterfaceNames": []})
    assert nx.parse(text)["VirtualInterfaceNames"] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<NetworkConfiguration><EnableHttps>True</EnableHttps></NetworkConfiguration>", "lower case"),
        ("<NetworkConfiguration><InternalHttpPort>many</InternalHttpPort></NetworkConfiguration>", "number"),
        ("<NetworkConfiguration>", "well-formed"),
        ("<ServerConfiguration />", "root"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><NetworkConfiguration/>", "document type"),
    ],
)
def test_what_jellyfin_would_not_read_is_named(text, word):
    with pytest.raises(nx.NetworkXmlError, match=word):
        nx.parse(text)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"IsBehindProxy": True}, "no element"),
        ({"KnownProxies": "127.0.0.1"}, "list"),
        ({"EnableIPv6": "yes"}, "true or false"),
        ({"InternalHttpPort": 0}, "port number"),
        ({"BaseUrl": 1}, "text"),
    ],
)
def test_wrong_settings_are_refused_in_words(settings, word):
    (problem,) = nx.check_settings(settings)
    assert word in problem


def test_a_wrong_password_is_not_shown():
    (problem,) = nx.check_settings({"CertificatePassword": 12345})
    assert "12345" not in problem
