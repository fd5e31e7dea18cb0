# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import uuid
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jellyfin_ports import ssdp
from jellyfin_ports.client_discovery import Identity
from ports_support import SERVER_ID, hidden_entities

IDENTITY = Identity(SERVER_ID, "Müdia & <co>", "10.11.0")


def search(st_: str = "ssdp:all", mx: str | None = "2", man: str | None = '"ssdp:discover"', space: str = " ") -> bytes:
    lines = ["M-SEARCH * HTTP/1.1", f"HOST:{space}239.255.255.250:1900"]
    lines += [f"MAN:{space}{man}"] if man is not None else []
    lines += [f"MX:{space}{mx}"] if mx is not None else []
    lines += [f"ST:{space}{st_}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def fields(message: bytes) -> dict[str, str]:
    head, *lines = message.decode("ascii").rstrip("\r\n").split("\r\n")
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {"": head, **found}


@pytest.mark.parametrize("space", [" ", "", "\t"])
def test_a_search_is_read(space: str) -> None:
    assert ssdp.parse_search(search(space=space), True) == ssdp.Search("ssdp:all", 2.0, True)


def test_a_long_wait_is_cut() -> None:
    found = ssdp.parse_search(search(mx="120"), True)
    assert found is not None and found.wait == 5.0


@pytest.mark.parametrize(
    "datagram",
    [
        search(mx=None),
        search(mx="0"),
        search(mx="-1"),
        search(mx="x"),
        search(man=None),
        search(man="ssdp:discover"),
        search(man='"ssdp:alive"'),
        search(st_=""),
        search(st_="a b"),
        search(st_="x" * 300),
        search().replace(b"HOST", b"HOSE"),
        search().replace(b":1900", b":1901"),
        search().replace(b"239.", b"238."),
        search().replace(b"M-SEARCH *", b"M-SEARCH /x"),
        search().replace(b"HTTP/1.1", b"HTTP/1.0"),
        search().replace(b"MX: 2\r\n", b"MX: 2\r\nMX: 3\r\n"),
        search() + b"x" * 5000,
        b"NOTIFY * HTTP/1.1\r\n\r\n",
        b"",
    ],
)
def test_discarded_in_silence(datagram: bytes) -> None:
    assert ssdp.parse_search(datagram, True) is None


def test_unicast_needs_no_wait() -> None:
    assert ssdp.parse_search(search(mx=None), False) == ssdp.Search("ssdp:all", 0.0, False)


@given(st.binary(max_size=400))
def test_any_datagram(data: bytes) -> None:
    ssdp.parse_search(data, True)


@given(st.text(max_size=60), st.text(max_size=8), st.text(max_size=20))
def test_any_fields(target: str, mx: str, man: str) -> None:
    ssdp.parse_search(search(target, mx, man).decode("utf-8", "ignore").encode(), True)


def media() -> ssdp.Device:
    services = ("urn:schemas-upnp-org:service:ContentDirectory:1", "urn:schemas-upnp-org:service:ConnectionManager:2")
    return ssdp.media_server(IDENTITY, "/jellyfin", 8096, "urn:schemas-upnp-org:device:MediaServer:2", services, "")


def test_ssdp_all_gets_everything_once() -> None:
    device = media()
    own = f"uuid:{uuid.UUID(SERVER_ID)}"
    assert device.matches("ssdp:all") == [
        ("upnp:rootdevice", f"{own}::upnp:rootdevice"),
        (own, own),
        ("urn:schemas-upnp-org:device:MediaServer:2", f"{own}::urn:schemas-upnp-org:device:MediaServer:2"),
        ("urn:schemas-upnp-org:service:ContentDirectory:1", f"{own}::urn:schemas-upnp-org:service:ContentDirectory:1"),
        (
            "urn:schemas-upnp-org:service:ConnectionManager:2",
            f"{own}::urn:schemas-upnp-org:service:ConnectionManager:2",
        ),
    ]


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("upnp:rootdevice", 1),
        (f"uuid:{uuid.UUID(SERVER_ID)}", 1),
        (f"UUID:{str(uuid.UUID(SERVER_ID)).upper()}", 1),
        ("uuid:0", 0),
        ("urn:schemas-upnp-org:device:MediaServer:1", 1),
        ("urn:schemas-upnp-org:device:MediaServer:2", 1),
        ("urn:schemas-upnp-org:device:MediaServer:3", 0),
        ("urn:schemas-upnp-org:device:MediaServer:0", 0),
        ("urn:schemas-upnp-org:device:mediaserver:1", 1),
        ("urn:schemas-upnp-org:service:ConnectionManager:1", 1),
        ("urn:schemas-upnp-org:device:MediaRenderer:1", 0),
        ("urn:dial-multiscreen-org:service:dial:1", 0),
        ("roku:ecp", 0),
    ],
)
def test_one_answer_that_echoes_what_was_asked(target: str, count: int) -> None:
    found = media().matches(target)
    assert len(found) == count
    assert all(st_ == target for st_, _ in found)
    if target.endswith("MediaServer:1"):
        assert found[0][1].endswith("::urn:schemas-upnp-org:device:MediaServer:1")


def test_a_response_to_the_letter() -> None:
    device = ssdp.own_device(IDENTITY, 8096)
    (st_, usn), *_ = device.matches("upnp:rootdevice")
    message = ssdp.render_response(device, st_, usn, "192.168.1.2", ssdp.Boot(7), now=0)
    found = fields(message)
    assert message.endswith(b"\r\n\r\n")
    assert found[""] == "HTTP/1.1 200 OK"
    assert found["CACHE-CONTROL"] == "max-age=1800"
    assert found["DATE"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert found["EXT"] == ""
    assert found["LOCATION"] == f"http://192.168.1.2:8096/.well-known/jellyfin-ports/{device.uuid}/description.xml"
    assert found["ST"] == "upnp:rootdevice" and found["USN"] == f"uuid:{device.uuid}::upnp:rootdevice"
    assert found["BOOTID.UPNP.ORG"] == "7" and 0 <= int(found["CONFIGID.UPNP.ORG"]) < 2**24
    assert "UPnP/2.0" in found["SERVER"] and "RSSDP" not in found["SERVER"]


def test_notifications_to_the_letter() -> None:
    device = media()
    nt, usn = device.pairs()[0]
    alive = fields(ssdp.render_alive(device, nt, usn, "192.168.1.2", ssdp.Boot(7)))
    assert alive[""] == "NOTIFY * HTTP/1.1" and alive["HOST"] == "239.255.255.250:1900"
    assert alive["NTS"] == "ssdp:alive" and alive["NT"] == nt and alive["USN"] == usn
    assert alive["LOCATION"].startswith("http://192.168.1.2:8096/jellyfin/dlna/")
    bye = fields(ssdp.render_byebye(device, nt, usn, ssdp.Boot(7)))
    assert bye["NTS"] == "ssdp:byebye" and "LOCATION" not in bye and "CACHE-CONTROL" not in bye
    update = fields(ssdp.render_update(device, nt, usn, "192.168.1.2", ssdp.Boot(7), ssdp.Boot(8)))
    assert update["NTS"] == "ssdp:update" and update["BOOTID.UPNP.ORG"] == "7" and update["NEXTBOOTID.UPNP.ORG"] == "8"


def test_boot_ids_only_grow() -> None:
    assert ssdp.Boot.after(0, 1_700_000_000.5).id == 1_700_000_000
    assert ssdp.Boot.after(1_700_000_000, 5.0).id == 1_700_000_001  # a clock that went back


def test_another_description_has_another_config_id() -> None:
    ids = {
        ssdp.own_device(IDENTITY, 8096).config_id,
        ssdp.own_device(IDENTITY, 8097).config_id,
        ssdp.own_device(Identity(SERVER_ID, "other"), 8096).config_id,
    }
    assert len(ids) == 3
    assert ssdp.own_device(IDENTITY, 8096).config_id == ssdp.own_device(IDENTITY, 8096).config_id


@pytest.mark.parametrize("seed", range(20))
def test_announcements_are_spread_repeated_and_in_time(seed: int) -> None:
    announcer = ssdp.Announcer(random.Random(seed))
    announcer.begin(100.0)
    rounds = []
    now = 100.0
    while now < 100.0 + 4 * ssdp.MAX_AGE:
        if announcer.take(now):
            rounds.append(now)
        now += 0.05
    assert rounds[0] <= 100.2
    assert 0.2 < rounds[1] - rounds[0] < 1.0
    assert all(later - earlier < ssdp.MAX_AGE / 2 for earlier, later in zip(rounds, rounds[1:]))
    assert len(rounds) < 4 * 4 + 4


def test_a_round_is_not_one_burst() -> None:
    delays = ssdp.spread(8, random.Random(1))
    assert delays[0] == 0 and delays == sorted(delays) and 0.08 < delays[-1] < 0.5


def test_the_description_shows_up_as_jellyfin() -> None:
    device = ssdp.own_device(IDENTITY, 8096)
    body = ssdp.own_description(IDENTITY, "http://192.168.1.2:8096/?a&b", device.config_id)
    root = ET.fromstring(body)
    space = "{urn:schemas-upnp-org:device-1-0}"
    assert root.get("configId") == str(device.config_id)
    found = {child.tag.removeprefix(space): child.text for child in root.iterfind(f"{space}device/*")}
    assert found["manufacturer"] == "Jellyfin" and found["friendlyName"] == "Müdia & <co>"
    assert found["UDN"] == f"uuid:{device.uuid}" and found["deviceType"] == device.type
    assert found["presentationURL"] == "http://192.168.1.2:8096/?a&b"
    assert b"MediaServer" not in body  # none is claimed


@given(st.text(max_size=100), st.text(max_size=20))
def test_any_name_is_well_formed(name: str, version: str) -> None:
    ET.fromstring(ssdp.own_description(Identity(SERVER_ID, name, version), "http://a/", 1))


PLUGIN = f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:MediaServer:1</deviceType><friendlyName>media</friendlyName>
<UDN>uuid:{uuid.UUID(SERVER_ID)}</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:ContentDirectory:1</serviceType></service></serviceList></device></root>""".encode()


def test_the_plugin_is_recognised() -> None:
    kind, services, name = ssdp.parse_media_server(PLUGIN, str(uuid.UUID(SERVER_ID)))
    assert kind.endswith("MediaServer:1") and name == "media"
    assert services == ("urn:schemas-upnp-org:service:ContentDirectory:1",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + PLUGIN,
        *hidden_entities(PLUGIN.decode().partition("?>")[2]),
        PLUGIN.replace(b"MediaServer", b"MediaRenderer"),
        PLUGIN.replace(b"uuid:", b"uuid:f"),
        b"<root/>",
    ],
)
def test_what_is_no_plugin(body: bytes) -> None:
    with pytest.raises(ValueError):
        ssdp.parse_media_server(body, str(uuid.UUID(SERVER_ID)))


def test_no_encoding_hides_a_document_type() -> None:
    for body in hidden_entities("<r>&a;</r>"):
        with pytest.raises(ValueError):
            ssdp.parse_xml(body)
    assert ssdp.parse_xml("\ufeff<r>ü</r>".encode()).text == "ü"
