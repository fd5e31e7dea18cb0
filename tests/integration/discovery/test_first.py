"""Who is told which address."""

from __future__ import annotations

import json

import pytest
from waiting import until

ASK = """
import socket, sys
pipe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
pipe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
pipe.settimeout(2)
pipe.sendto(b"Who is JellyfinServer?", (sys.argv[1], 7359))
try:
    print(pipe.recv(1024).decode())
except TimeoutError:
    print("null")
"""


def ask(host, address):
    return json.loads(host.check_output(f"python3 -c '{ASK}' {address}"))


@pytest.mark.parametrize(("seat", "network"), [("client", "lan"), ("upstairs", "upstairs")])
def test_a_client_is_told_the_address_on_its_own_network(lab, seat, network):
    told = until(lambda: ask(lab.host(seat), "255.255.255.255"), bool)
    assert told["Address"] == f"http://{lab.address('edge', network)}:8096"
    assert told["EndpointAddress"] is None


def test_the_internet_is_told_nothing(lab, outside):
    assert ask(outside, lab.address("edge", "wan")) is None
