#!/usr/bin/env python3
"""Each proxy with our configuration beside the same proxy with its shortest working one; the gap of a switch; into docs/benchmarks.md.

    tests/bench/proxy.py LAB [PROXY...]

LAB is a running lab of tests/integration/reverse_proxy.toml (`tests/lab/lab up tests/integration/reverse_proxy.toml --name LAB`).
Ours listens on 443 as the role put it there, the other on 8443, both in front of one nginx that serves a file; each round asks both in turn.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "integration")]

import report  # noqa: E402  (the folder is no package)
import reverse_proxy_edge as lab  # noqa: E402

ROUNDS = 5
BYTES = 512 * 1024 * 1024
DOMAIN = lab.MEDIA
ORIGIN = lab.PORTS[DOMAIN]
DOOR = f"/etc/jellynet/certificates/{DOMAIN}/ecdsa"
OURS, SHORT, COPIED = "ours", "shortest", "proxy_buffering off"

ORIGIN_CONF = f"""
pid /run/bench-origin.pid; worker_processes 2; events {{ worker_connections 4096; }}
http {{ access_log off; error_log /dev/null; sendfile on; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{ORIGIN} backlog=4096; root /srv/bench; location = /small {{ return 200 "small\\n"; }} }} }}
"""


# The shortest configurations keep the same log (what fails) and the same time limits as ours, and nothing else.
HEAD_LIMIT, BODY_LIMIT, STALL, IDLE = 30, 120, 14400, 3600


def nginx(extra: str = "") -> str:
    return f"""
pid /run/bench-short.pid; worker_processes auto; events {{ worker_connections 4096; }}
http {{ map $status $failed {{ default 1; ~^[123] 0; }} access_log /var/log/nginx/bench.log combined if=$failed; error_log /dev/null;
  client_header_timeout {HEAD_LIMIT}s; client_body_timeout {BODY_LIMIT}s; send_timeout {STALL}s; proxy_read_timeout {IDLE}s;
  server {{ listen 8443 ssl http2; server_name {DOMAIN};
  ssl_certificate {DOOR}/fullchain.pem; ssl_certificate_key {DOOR}/privkey.pem;
  location / {{ {extra} proxy_pass http://127.0.0.1:{ORIGIN}; }} }} }}
"""


APACHE = f"""
ServerRoot /etc/apache2
ServerName {DOMAIN}
PidFile /run/bench-short.pid
Listen 8443
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
User www-data
Group www-data
ErrorLog /dev/null
LogFormat "%a %t %v \\"%m %U %H\\" %>s %B" short
CustomLog /var/log/apache2/bench.log short "expr=%{{REQUEST_STATUS}} -ge 400"
RequestReadTimeout header={HEAD_LIMIT} body={BODY_LIMIT},MinRate=1
Timeout {STALL}
ProxyTimeout {IDLE}
Protocols h2 http/1.1
SSLEngine on
SSLCertificateFile {DOOR}/fullchain.pem
SSLCertificateKeyFile {DOOR}/privkey.pem
ProxyPass / http://127.0.0.1:{ORIGIN}/
"""
HAPROXY = f"""
global
  user haproxy
defaults
  mode http
  log /dev/log local0
  option httplog
  timeout connect 5s
  timeout http-request {HEAD_LIMIT}s
  timeout client {STALL}s
  timeout server {IDLE}s
frontend short
  bind :8443 ssl crt {DOOR}/bundle.pem alpn h2,http/1.1
  http-response set-log-level silent if {{ status lt 400 }}
  default_backend origin
backend origin
  server origin 127.0.0.1:{ORIGIN}
"""
CADDY = f"""{{
	admin off
	auto_https off
	servers {{
		timeouts {{
			read_header {HEAD_LIMIT}s
		}}
	}}
	log default {{
		level WARN
	}}
}}
https://{DOMAIN}:8443 {{
	tls {DOOR}/fullchain.pem {DOOR}/privkey.pem
	log
	reverse_proxy 127.0.0.1:{ORIGIN}
}}
"""
TRAEFIK = f"""
accessLog: {{filters: {{statusCodes: ["400-599"]}}}}
entryPoints: {{short: {{address: ':8443', transport: {{respondingTimeouts: {{readTimeout: {IDLE}s}}}}}}}}
providers: {{file: {{filename: /root/bench/dynamic.yml}}}}
"""
TRAEFIK_DYNAMIC = f"""
http:
  routers: {{short: {{rule: "Host(`{DOMAIN}`)", service: origin, tls: {{}}}}}}
  services: {{origin: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{ORIGIN}"}}]}}}}}}
tls: {{certificates: [{{certFile: {DOOR}/fullchain.pem, keyFile: {DOOR}/privkey.pem}}]}}
"""
START = {
    "nginx": "nginx -g 'daemon off;' -c /root/bench/short",
    "apache": "apache2 -D FOREGROUND -f /root/bench/short",
    "haproxy": "haproxy -f /root/bench/short",
    "caddy": "caddy run --adapter caddyfile --config /root/bench/short",
    "traefik": "/usr/local/lib/jellynet/traefik-*/traefik --configFile=/root/bench/short.yml",
}
SHORTEST = {"nginx": nginx(), "apache": APACHE, "haproxy": HAPROXY, "caddy": CADDY, "traefik": TRAEFIK}


class Bench:
    def __init__(self, name: str) -> None:
        self.edge = lab.up(name)
        # One site, as the shortest configurations have, and the log as it is by default; the tests of the contract have four and log all.
        self.values = {
            "reverse_proxy_log_requests": "errors",
            "jellyfin_sites": [
                site for site in self.edge.values("nginx")["jellyfin_sites"] if site["domain"] == DOMAIN
            ],
        }

    def origin(self) -> None:
        self.edge.put("/root/bench/origin", ORIGIN_CONF)
        self.edge.put("/root/bench/dynamic.yml", TRAEFIK_DYNAMIC)
        self.edge.shell(
            f"mkdir -p /srv/bench && [ -e /srv/bench/big ] || truncate -s {BYTES} /srv/bench/big; "
            f"systemctl stop mirror-{ORIGIN}; systemctl is-active -q bench-origin || "
            "systemd-run -q --collect --unit bench-origin nginx -g 'daemon off;' -c /root/bench/origin",
            check=False,
        )

    def short(self, proxy: str, text: str) -> None:
        for name in ("short", "short.yml"):
            self.edge.put(f"/root/bench/{name}", text)
        self.edge.shell(
            f"systemctl stop bench-short 2>/dev/null; systemd-run -q --collect --unit bench-short sh -c 'exec {START[proxy]}'".replace(
                "'daemon off;'", '"daemon off;"'
            )
        )
        time.sleep(2)

    def ask(self, port: int, *arguments: str) -> str:
        resolve = f"{DOMAIN}:{port}:{self.edge.wan_address}"
        words = " ".join(arguments)
        return self.edge.wan.shell(
            f"curl -s --resolve {resolve} --cacert {lab.CA} -o /dev/null {words}".replace(
                "@", f"https://{DOMAIN}:{port}"
            ),
            seconds=90,
        ).strip()

    def bulk(self, port: int, version: str) -> float:
        """MiB/s of one download."""
        return float(self.ask(port, version, "-w '%{speed_download}' @/big")) / 1048576

    def first_byte(self, port: int) -> float:
        """Milliseconds to the first byte of a small answer on an open connection, the middle of 40."""
        said = self.ask(port, "-w '%{time_pretransfer} %{time_starttransfer}\\n'", "-o /dev/null @/small " * 40)
        return report.median([1000 * (float(line.split()[1]) - float(line.split()[0])) for line in said.splitlines()])

    def requests(self, port: int) -> float:
        """Requests a second over 64 connections."""
        said = self.edge.wan.shell(
            f"grep -q '{DOMAIN}' /etc/hosts; wrk -t2 -c64 -d4s https://{DOMAIN}:{port}/small", seconds=60
        )
        return float(re.search(r"Requests/sec:\s+([0-9.]+)", said).group(1))  # type: ignore[union-attr]

    def compare(self, ports: dict[str, int]) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _round in range(ROUNDS):
            for who, port in ports.items():
                found[who, "h1 MiB/s"].append(self.bulk(port, "--http1.1"))
                found[who, "h2 MiB/s"].append(self.bulk(port, "--http2"))
                found[who, "first byte ms"].append(self.first_byte(port))
                found[who, "requests/s"].append(self.requests(port))
        return {key: report.median(values) for key, values in found.items()}

    def gap(self, new: str) -> int:
        """Milliseconds of the longest time in which 443 refused during a switch."""
        watcher = self.edge.wan.start(WATCH.replace("HOST", self.edge.wan_address))
        time.sleep(1)
        self.edge.deploy(new, **self.values)
        self.edge.wan.shell("touch /tmp/stop")
        return int(1000 * float(watcher.communicate(timeout=30)[0].strip() or 0))


WATCH = """rm -f /tmp/stop; python3 - <<'END'
import os, socket, time
longest, since = 0.0, None
while not os.path.exists('/tmp/stop'):
    try:
        socket.create_connection(('HOST', 443), timeout=2).close()
        if since is not None:
            longest, since = max(longest, time.monotonic() - since), None
    except OSError:
        since = since or time.monotonic()
    time.sleep(0.01)
print(longest)
END"""
FIGURES = ("h1 MiB/s", "h2 MiB/s", "first byte ms", "requests/s")


def main() -> None:
    name, proxies = sys.argv[1], sys.argv[2:] or list(lab.PROXIES)
    bench = Bench(name)
    bench.edge.deploy("nginx", **bench.values)  # its program is the origin
    rows, copied, gaps = [], [], []
    for proxy in proxies:
        before = bench.edge.proxy
        gaps.append([f"{before} to {proxy}", bench.gap(proxy) if before != proxy else 0])
        bench.origin()
        bench.short(proxy, SHORTEST[proxy])
        figures = bench.compare({OURS: 443, SHORT: 8443})
        rows += [[proxy, who, *(figures[who, figure] for figure in FIGURES)] for who in (OURS, SHORT)]
        rows.append([proxy, "ratio", *(f"{figures[OURS, figure] / figures[SHORT, figure]:.2f}" for figure in FIGURES)])
        if proxy == "nginx":
            bench.short(proxy, nginx("proxy_buffering off;"))
            figures = bench.compare({OURS: 443, COPIED: 8443})
            copied = [
                [
                    figure,
                    figures[OURS, figure],
                    figures[COPIED, figure],
                    f"{figures[OURS, figure] / figures[COPIED, figure]:.2f}",
                ]
                for figure in FIGURES[:2]
            ]
        bench.edge.shell("systemctl stop bench-short bench-origin", check=False)
        bench.edge.server(DOMAIN, "start")
        print(report.table(["proxy", "configuration", *FIGURES], rows[-3:]), flush=True)
    body = [
        f"Median of {ROUNDS}; one download of {BYTES >> 20} MiB; first byte on an open connection; requests over 64 connections (HTTP/1.1, TLS). "
        "One site each. All log what fails, and all have the same time limits.",
        report.table(["proxy", "configuration", *FIGURES], rows),
    ]
    if copied:
        body += ["nginx beside the widely copied form:", report.table(["", OURS, COPIED, "ratio"], copied)]
    body += ["The longest time in which 443 refused connections while one proxy took over from another:"]
    body += [report.table(["switch", "ms"], [row for row in gaps if row[1]])]
    report.write("Proxies", "tests/bench/proxy.py LAB", "\n\n".join(body))


if __name__ == "__main__":
    main()
