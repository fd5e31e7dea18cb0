"""Takes the picture, before anything is deployed."""

from __future__ import annotations

import picture


def test_there_is_something_to_come_back_to(edge):
    parts = picture.take(edge)
    assert "tcp 0.0.0.0:80" in parts["listeners"], "nginx's default site should answer"
    assert any("9999/tcp" in line for line in parts["firewall"])
    picture.keep(parts)
