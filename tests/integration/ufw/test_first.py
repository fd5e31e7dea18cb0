"""The server on the edge itself, below a path."""

from __future__ import annotations


def test_the_internet_reaches_the_server_below_its_path(outside, curl):
    answer = curl(outside, "https://media.example.org/jellyfin/System/Info/Public", insecure=True)
    assert answer.status == 200, answer
    assert answer.json()["ProductName"] == "Jellyfin Server"
