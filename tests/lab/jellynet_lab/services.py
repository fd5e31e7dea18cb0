"""What the lab itself runs on hosts: the ACME server and the Jellyfin double."""

from __future__ import annotations

from .run import step
from .topology import Topology


def start(lab: str, topology: Topology) -> None:
    pass


def after_boot(lab: str, topology: Topology, host: str) -> None:
    pass
