"""Boots a host and makes it ready: names, routes, ssh keys."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from .images import IMAGES
from .run import LabError, podman
from .topology import Host, Topology

# The hard limits of the machine are kept within reach of one that lacks CAP_SYS_RESOURCE.
# As many files as floods need, where this machine may give them: a proxy without a limit for requests has one of the server's for each.
FILES = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
LIMITS = ("--pids-limit=-1", f"--ulimit=nofile=1024:{FILES}", "--ulimit=nproc=4096:4096")
BOOT_LIMIT = 180
# Every systemd takes some; with the kernel's 128 the twelfth host or so hangs while it boots.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 1024


def raise_limits() -> None:
    if INOTIFY.exists() and int(INOTIFY.read_text()) < INOTIFY_WANTED:
        try:
            INOTIFY.write_text(str(INOTIFY_WANTED))
        except OSError as error:
            raise LabError(f"cannot raise fs.inotify.max_user_instances to {INOTIFY_WANTED}: {error}") from None


def start(lab: str, host: Host) -> None:
    networks = ["--network=podman:interface_name=eth0"] if host.uplink else []
    for number, network in enumerate(host.networks, 1):
        address = f"ip={host.addresses[network]}"
        if network in host.addresses6:
            address += f",ip6={host.addresses6[network]}"
        networks.append(f"--network={lab}-{network}:interface_name=eth{number},{address}")
    podman(
        "run", "--detach", "--quiet", "--name", f"{lab}-{host.name}", "--hostname", host.name,
        "--label", f"jellynet.lab={lab}", "--label", f"jellynet.host={host.name}",
        "--privileged", "--systemd=always", "--no-hosts", *([] if host.uplink else ["--dns=none"]),
        *LIMITS, *(networks or ["--network=none"]), IMAGES[host.image].tag, "/sbin/init",
    )  # fmt: skip


def wait(lab: str, host: str) -> str:
    """Until systemd has started what it starts."""
    deadline = time.monotonic() + BOOT_LIMIT
    while True:
        said = podman(
            "exec", f"{lab}-{host}", "timeout", "30", "systemctl", "is-system-running", "--wait", check=False
        ).stdout.strip()
        if said in ("running", "degraded"):
            return said
        if time.monotonic() > deadline:
            logs = podman("exec", f"{lab}-{host}", "journalctl", "-b", "-n", "40", "--no-pager", check=False).stdout
            raise LabError(f"{host} did not boot within {BOOT_LIMIT} s (systemd says {said or 'nothing'!r}):\n{logs}")
        time.sleep(0.3)


def prepare(lab: str, host: Host, topology: Topology) -> None:
    """Names of the others, the way of a broadcast, and a resolver that refuses at once where there is no uplink."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {host.name}"]
    lines += [
        f"{other.addresses[network]} {other.name}"
        for other in topology.hosts.values()
        if other is not host and (network := topology.shared(host, other))
    ]
    for name, target in topology.names.items():
        other = topology.hosts[target]
        network = topology.shared(host, other)
        if other is not host and network:
            lines.append(f"{other.addresses[network]} {name}")
    lans = [number for number, name in enumerate(host.networks, 1) if topology.networks[name].kind == "lan"]
    route = f"ip route replace 255.255.255.255/32 dev eth{lans[0]}" if lans else "true"
    script = f"""
cat > /etc/hosts <<'END'
{chr(10).join(lines)}
END
{"" if host.uplink else "echo 'nameserver 127.0.0.1' > /etc/resolv.conf"}
cat > /etc/systemd/system/lab-network.service <<'END'
[Unit]
Description=Routes of the test lab
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={route}
[Install]
WantedBy=multi-user.target
END
ssh-keygen -A >/dev/null
systemctl enable --quiet --now lab-network.service
systemctl restart ssh.service
"""
    inside(lab, host.name, script)


def inside(lab: str, host: str, script: str) -> str:
    """Run a shell script in a host."""
    return podman("exec", "--interactive", f"{lab}-{host}", "sh", "-eu", data=script).stdout
