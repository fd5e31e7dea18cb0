# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules client_discovery_info and ssdp_info ask and understand, against the service's own codecs."""

from __future__ import annotations

import http.server
import json
import socket
import threading

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _client_discovery, _ssdp
from hypothesis import given
from hypothesis import strategies as st
from jellyfin_ports import ssdp
from jellyfin_ports.client_discovery import Identity, is_question, render_reply
from loopback import closed_udp_port
from ports_support import SERVER_ID, hidden_entities

IDENTITY = Identity(SERVER_ID, "media", "10.11.0")


def test_the_question_is_one_and_the_reply_is_understood() -> None:
    assert is_question(_client_discovery.QUESTION)
    found = _client_discovery.parse_reply(render_reply("http://192.168.1.2:8096", SERVER_ID, "mé"), "192.168.1.2")
    assert found == {
        "address": "http://192.168.1.2:8096", "id": SERVER_ID, "name": "mé", "endpoint_address": None, "source": "192.168.1.2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [b"", b"[]", b"\xff", b"{}", b'{"Address":"a","Id":"b"}', b'{"Address":1,"Id":"b","Name":"c"}', b"[" * 99999],
)
def test_what_no_client_can_use(reply: bytes) -> None:
    assert _client_discovery.parse_reply(reply, "192.168.1.2") is None


def test_the_search_is_one_and_the_response_is_understood() -> None:
    found = ssdp.parse_search(_ssdp.render_search("ssdp:all", 2), True)
    assert found == ssdp.Search("ssdp:all", 2.0, True)
    device = ssdp.own_device(IDENTITY, 8096)
    st_, usn = device.pairs()[0]
    seen = _ssdp.parse_response(ssdp.render_response(device, st_, usn, "192.168.1.2", ssdp.Boot(1)), "192.168.1.2")
    assert seen is not None and seen["usn"] == usn and seen["location"].startswith("http://192.168.1.2:8096/")
    description = _ssdp.parse_description(ssdp.own_description(IDENTITY, "http://192.168.1.2:8096/", 1))
    assert description["manufacturer"] == "Jellyfin" and description["presentationURL"] == "http://192.168.1.2:8096/"


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    _client_discovery.parse_reply(data, "a")
    _ssdp.parse_response(data, "a")
    _ssdp.parse_response(b"HTTP/1.1 200 OK\r\n" + data, "a")
    with pytest.raises(ValueError):
        _ssdp.parse_description(data)


def test_entities_are_not_expanded() -> None:
    with pytest.raises(ValueError, match="entities"):
        _ssdp.parse_description(b'<!DOCTYPE a [<!ENTITY b "c">]><root/>')
    body = ssdp.own_description(IDENTITY, "http://192.168.1.2:8096/", 1).decode().partition("?>")[2]
    for hidden in hidden_entities(body.replace("Jellyfin media server", "&a;")):
        with pytest.raises(ValueError):
            _ssdp.parse_description(hidden)


def test_a_description_is_read_from_the_device_that_answered_alone() -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<root/>")

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/d.xml"
        with pytest.raises(ValueError, match=r"192\.168\.1\.66 answered"):
            _ssdp.fetch(url, 3.0, "192.168.1.66")
        assert not asked
        assert _ssdp.fetch(url, 3.0, "127.0.0.1") == b"<root/>" and asked == ["/d.xml"]
    finally:
        server.shutdown()
        server.server_close()


def test_one_host_is_asked_and_each_answer_counts_once() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    questions = []

    def answer() -> None:
        for _ in range(2):
            data, peer = server.recvfrom(100)
            questions.append(data)
            server.sendto(b"nonsense", peer)
            server.sendto(json.dumps({"Address": "http://a", "Id": SERVER_ID, "Name": "n"}).encode(), peer)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    found = _client_discovery.discover("127.0.0.1", 3, server.getsockname()[1])
    thread.join(20)
    server.close()
    assert [s["address"] for s in found] == ["http://a"] and len(questions) == 2


def test_a_closed_port_is_nobody() -> None:
    with closed_udp_port() as port:
        assert _client_discovery.discover("127.0.0.1", 0.3, port) == []
        assert _ssdp.search("127.0.0.1", "ssdp:all", 0.3, port=port) == []
