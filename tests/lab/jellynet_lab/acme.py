"""The ACME server of a lab: pebble and its DNS server. Its CA is new at every start, and lives in memory."""

from __future__ import annotations

import json
from pathlib import Path

from .hosts import inside
from .run import LabError
from .topology import Host, Topology

DIRECTORY = "https://{host}:14000/dir"
API_CA = "/etc/ssl/lab-acme-ca.pem"  # who signed the ACME server's own certificate: what certbot has to trust
ROOT = "/etc/ssl/lab-acme-root.pem"  # who signs the certificates that it issues
TRUSTED = "/usr/local/share/ca-certificates/lab-acme-root.crt"

SET_UP = """
mkdir -p /etc/lab-acme && cd /etc/lab-acme
[ -e api.pem ] || {{
  new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  openssl req -x509 $new -days 90 -keyout ca.key -out ca.pem -subj "/CN=lab ACME API CA" \\
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
  openssl req $new -keyout api.key -out api.csr -subj "/CN={name}" 2>/dev/null
  printf 'subjectAltName={names}\\nextendedKeyUsage=serverAuth\\n' > api.ext
  openssl x509 -req -in api.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -out api.pem -extfile api.ext 2>/dev/null
}}
cat > pebble.json <<'END'
{config}
END
cat > /etc/systemd/system/lab-dns.service <<'END'
[Unit]
Description=DNS of the test lab
[Service]
# An unknown name has no address
ExecStart=pebble-challtestsrv -defaultIPv4 "" -defaultIPv6 "" -dns01 :8053 -http01 "" -https01 "" -tlsalpn01 "" -management :8055
Restart=on-failure
[Install]
WantedBy=multi-user.target
END
cat > /etc/systemd/system/lab-acme.service <<'END'
[Unit]
Description=ACME server of the test lab
Wants=lab-dns.service
After=lab-dns.service
[Service]
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0
ExecStart=pebble -config /etc/lab-acme/pebble.json -dnsserver 127.0.0.1:8053 -strict=false
Restart=on-failure
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --quiet --now lab-dns.service lab-acme.service
"""

FETCH_ROOT = """
for n in $(seq 300); do
  curl -sf --cacert /etc/lab-acme/ca.pem https://localhost:15000/roots/0 && exit
  sleep 0.1
done
journalctl -u lab-acme -n 20 --no-pager >&2
exit 1
"""


def config() -> str:
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/etc/lab-acme/api.pem",
        "privateKey": "/etc/lab-acme/api.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    return json.dumps({"pebble": settings}, indent=1)


def server(topology: Topology) -> Host:
    for host in topology.hosts.values():
        if "acme" in host.services:
            return host
    raise LabError('no host of this lab runs the ACME server: give one `services = ["acme"]`')


def start(lab: str, topology: Topology) -> None:
    host = server(topology)
    names = [
        f"DNS:{host.name}",
        "DNS:localhost",
        "IP:127.0.0.1",
        *(f"IP:{address}" for address in host.addresses.values()),
    ]
    inside(lab, host.name, SET_UP.format(name=host.name, names=",".join(names), config=config()))
    refresh(lab, topology)


def refresh(lab: str, topology: Topology) -> None:
    """What pebble forgets when it starts anew: the names; and its new root goes where the old one was."""
    host = server(topology)
    root = inside(lab, host.name, FETCH_ROOT)
    api_ca = inside(lab, host.name, "cat /etc/lab-acme/ca.pem")
    for name, content in (("acme-root", root), ("acme-ca", api_ca)):
        Path(topology.places[name]).write_text(content)
    for other in topology.hosts.values():
        inside(lab, other.name, f"cat > {API_CA} <<'END'\n{api_ca}END\ncat > {ROOT} <<'END'\n{root}END\n")
        if other.trusts_acme:
            trust(lab, other.name)
    for name, target in topology.names.items():
        point(lab, topology, name, target)


def trust(lab: str, host: str, *, take_away: bool = False) -> None:
    """Makes the lab's certificates publicly trusted on a host, or not."""
    first = f"rm -f {TRUSTED}" if take_away else f"cp {ROOT} {TRUSTED}"
    inside(lab, host, f"{first}\nupdate-ca-certificates --fresh >/dev/null 2>&1\n")


def point(lab: str, topology: Topology, name: str, target: str) -> str:
    """A DNS name leads to an address, or to a host of the lab; `none` takes it away."""
    host = server(topology)
    # The name server adds addresses to those that are there.
    tell(lab, host.name, "clear-a", {"host": f"{name}."})
    if target == "none":
        return "nowhere"
    address = target
    if target in topology.hosts:
        network = topology.shared(host, topology.hosts[target])
        if network is None:
            raise LabError(f"{target} is on no network that the ACME server is on: give an address")
        address = topology.hosts[target].addresses[network]
    tell(lab, host.name, "add-a", {"host": f"{name}.", "addresses": [address]})
    return address


def tell(lab: str, host: str, what: str, data: dict[str, object]) -> None:
    inside(
        lab,
        host,
        f"curl -sf --retry 20 --retry-delay 1 --retry-connrefused -d '{json.dumps(data)}' http://127.0.0.1:8055/{what}\n",
    )
