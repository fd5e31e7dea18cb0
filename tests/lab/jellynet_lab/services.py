"""What the lab itself runs on hosts: the ACME server and the Jellyfin double."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from . import acme, jellyfin
from .run import step
from .topology import Topology


def start(lab: str, topology: Topology) -> None:
    doubles = [host for host in topology.hosts.values() if "jellyfin" in host.services]
    has_acme = any("acme" in host.services for host in topology.hosts.values())
    if not doubles and not has_acme:
        return
    with step(f"{lab}: starting the services of the lab"), ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(jellyfin.install, lab, host) for host in doubles]
        if has_acme:
            jobs.append(pool.submit(acme.start, lab, topology))
        for job in jobs:
            job.result()


def after_boot(lab: str, topology: Topology, host: str) -> None:
    if "acme" in topology.hosts[host].services:
        acme.refresh(lab, topology)
