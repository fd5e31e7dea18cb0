"""Puts the Jellyfin double on a host, as a Debian package like the real server's."""

from __future__ import annotations

import io
import subprocess
import tarfile

from .hosts import inside
from .images import DOUBLE_RUNTIME
from .run import LAB, PODMAN, LabError
from .topology import Host

SOURCE = LAB / "double"
HOME = "/usr/lib/jellyfin-double"
SWITCHES = "/var/lib/jellyfin/double"

CONTROL = """\
Package: jellyfin-server
Version: 10.11.11+double
Architecture: all
Maintainer: The jellynet authors
Section: misc
Priority: optional
Description: double of the Jellyfin server for the tests of jellynet.jellyfin
 It is not Jellyfin. It behaves as the server does where the network matters.
"""
DEFAULT = """\
# Where the test double has its files
JELLYFIN_DATA_DIR="/var/lib/jellyfin"
JELLYFIN_CONFIG_DIR="/etc/jellyfin"
JELLYFIN_LOG_DIR="/var/log/jellyfin"
JELLYFIN_CACHE_DIR="/var/cache/jellyfin"
"""
UNIT = f"""\
[Unit]
Description=Jellyfin Media Server (a double for tests)
After=network-online.target

[Service]
Type=simple
EnvironmentFile=/etc/default/jellyfin
Environment=PYTHONPATH={DOUBLE_RUNTIME}/usr/lib/python3/dist-packages
User=jellyfin
Group=jellyfin
WorkingDirectory=/var/lib/jellyfin
ExecStart=/usr/bin/python3 -B {HOME}/jellyfin_double.py
Restart=on-failure
TimeoutSec=15
SuccessExitStatus=0 143

[Install]
WantedBy=multi-user.target
"""
POSTINST = """\
#!/bin/sh
set -e
getent group jellyfin >/dev/null || groupadd --system jellyfin
getent passwd jellyfin >/dev/null || useradd --system --gid jellyfin --home-dir /var/lib/jellyfin --shell /usr/sbin/nologin jellyfin
for room in /etc/jellyfin /var/lib/jellyfin /var/log/jellyfin /var/cache/jellyfin; do
    install -d -m 0750 -o jellyfin -g jellyfin "$room"
done
"""


def package() -> bytes:
    """The package's files, as a tar of its build folder."""
    files = {
        "DEBIAN/control": CONTROL,
        "DEBIAN/conffiles": "/etc/default/jellyfin\n",
        "DEBIAN/postinst": POSTINST,
        "etc/default/jellyfin": DEFAULT,
        "lib/systemd/system/jellyfin.service": UNIT,
    }
    files |= {f"{HOME[1:]}/{path.name}": path.read_text() for path in SOURCE.glob("*.py")}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"jellyfin-server/{name}")
            member.size, member.mode = len(content.encode()), 0o755 if name.endswith("postinst") else 0o644
            tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


def install(lab: str, host: Host) -> None:
    """`[hosts.X.jellyfin]` of a topology: wizard_done, server_name, startup, network_xml, published_server_url."""
    wishes = {"wizard_done": True, "server_name": "media"} | host.jellyfin
    unknown = set(wishes) - {
        "wizard_done",
        "server_name",
        "startup",
        "network_xml",
        "published_server_url",
        "film_size",
    }
    if unknown:
        raise LabError(f"host {host.name}: [jellyfin] knows no {', '.join(sorted(unknown))}")
    container = f"{lab}-{host.name}"
    sent = subprocess.run([PODMAN, "exec", "-i", container, "tar", "-xC", "/tmp"], input=package(), capture_output=True)
    if sent.returncode:
        raise LabError(f"{container}: {sent.stderr.decode()}")
    lines = [
        "cd /tmp",
        "dpkg-deb --root-owner-group -Znone --build jellyfin-server jellyfin-server.deb >/dev/null",
        "dpkg -i jellyfin-server.deb >/dev/null",
        "rm -r jellyfin-server jellyfin-server.deb",
        f"install -d -o jellyfin -g jellyfin {SWITCHES}",
        f"cat > {SWITCHES}/server_name <<'END'\n{wishes['server_name']}\nEND",
    ]
    if wishes["wizard_done"]:
        lines.append(f"touch {SWITCHES}/wizard_done")
    if "startup" in wishes:
        lines.append(f"echo '{wishes['startup']}' > {SWITCHES}/startup")
    if "network_xml" in wishes:
        lines.append(
            f"cat > /etc/jellyfin/network.xml <<'END'\n{wishes['network_xml']}\nEND\nchown jellyfin: /etc/jellyfin/network.xml"
        )
    if "published_server_url" in wishes:
        lines.append(f"echo 'JELLYFIN_PublishedServerUrl={wishes['published_server_url']}' >> /etc/default/jellyfin")
    if "film_size" in wishes:
        lines.append(f"echo 'DOUBLE_FILM_SIZE={wishes['film_size']}' >> /etc/default/jellyfin")
    lines += [
        f"chown -R jellyfin: {SWITCHES}",
        "systemctl daemon-reload",
        "systemctl enable --quiet --now jellyfin.service",
    ]
    if "startup" not in wishes:
        lines.append(WAIT)
    inside(lab, host.name, "\n".join(lines) + "\n")


# Any port: network.xml may say another
WAIT = """\
for n in $(seq 600); do
  ss -Hltnp | grep -q '"python3",pid='"$(systemctl show -P MainPID jellyfin.service)," && exit
  sleep 0.1
done
journalctl -u jellyfin -n 20 --no-pager >&2
exit 1"""
