"""The deployed edge, seen from both sides."""

from __future__ import annotations

import json

from waiting import until

DISCOVER = """
import json
from jellyfin_apiclient_python import JellyfinClient
client = JellyfinClient()
client.config.app("test", "0", "client", "id")
client.config.data["auth.ssl"] = False
found = client.auth._server_discovery()
result = client.auth.connect(discover=True)
print(json.dumps([found, str(result["State"]), [server["address"] for server in result["Servers"]]]))
"""


def test_a_lan_client_discovers_the_server_and_connects(lab, client):
    # The library listens for one second.
    done = until(
        lambda: client.run(f"/opt/clients/bin/python -c '{DISCOVER}'"),
        lambda done: done.rc == 0 and json.loads(done.stdout.splitlines()[-1])[0],
    )
    assert done.rc == 0, done.stderr
    found, state, addresses = json.loads(done.stdout.splitlines()[-1])
    assert [item["Address"] for item in found] == [f"http://{lab.address('edge', 'lan')}:8096"]
    assert state == "CONNECTION_STATE.ServerSignIn"
    assert addresses == [found[0]["Address"]]


def test_the_internet_reaches_the_server_over_tls(outside, curl):
    answer = curl(outside, "https://media.example.org/System/Info/Public")
    assert answer.status == 200, answer
    assert answer.json()["ProductName"] == "Jellyfin Server"
