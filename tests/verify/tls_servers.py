"""The servers of the bank: real daemons on loopback ports, each started once with all of its listeners."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
GROUPS = "X25519:prime256v1:secp384r1"
TWO_YEARS = "max-age=63072000"


@dataclass
class Spec:
    """How one server of the bank is set up."""

    kind: str
    certificates: list[tuple[str, str]]
    protocols: str = "TLSv1.2 TLSv1.3"
    ciphers: str = INTERMEDIATE
    groups: str = GROUPS
    hsts: list[str] = field(default_factory=lambda: [TWO_YEARS])
    extra: dict = field(default_factory=dict)


def wait_for(port: int, process: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-1500:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}: {log.read_text(errors='replace')[-1500:]}")


class Bank:
    """Starts the daemons that the specs need and remembers who listens where."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self._keepers: list[socket.socket] = []
        self.processes: list[subprocess.Popen] = []

    def start(self, specs: dict[str, Spec], python: Path | None) -> None:
        for kind, starter in (
            ("nginx", self._nginx),
            ("apache", self._apache),
            ("haproxy", self._haproxy),
            ("caddy", self._caddy),
        ):
            mine = {name: spec for name, spec in specs.items() if spec.kind == kind}
            for name in mine:
                self.ports[name] = self._port()
            if mine:
                starter(mine)
        for name, spec in specs.items():
            if spec.kind == "gnutls":
                self._gnutls(name, spec)
            elif spec.kind == "openssl":
                self._s_server(name, spec)
            elif spec.kind == "old" and python:
                self._old(name, spec, python)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        for keeper in self._keepers:
            keeper.close()

    def _port(self) -> int:
        """One that the kernel gives to nobody else: the socket that keeps it does not listen, and all servers allow one beside theirs."""
        keeper = socket.socket()
        self._keepers.append(keeper)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        return int(keeper.getsockname()[1])

    def _run(self, label: str, argv: list[str], ports: Iterable[int], **options: object) -> None:
        log = self.folder / f"{label}.log"
        with log.open("wb") as handle:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, **options)  # type: ignore[call-overload]
        self.processes.append(process)
        for port in ports:
            wait_for(port, process, log)

    def _nginx(self, specs: dict[str, Spec]) -> None:
        servers = []
        for name, spec in specs.items():
            pairs = "".join(f"ssl_certificate {cert}; ssl_certificate_key {key};\n" for cert, key in spec.certificates)
            headers = "".join(f"add_header Strict-Transport-Security '{value}' always;\n" for value in spec.hsts)
            more = "".join(f"{key} {value};\n" for key, value in spec.extra.items())
            servers.append(
                f"server {{ listen 127.0.0.1:{self.ports[name]} ssl http2; server_name _;\n{pairs}{headers}{more}"
                f"ssl_protocols {spec.protocols}; ssl_ciphers {spec.ciphers}; ssl_ecdh_curve {spec.groups};\n"
                "location / { return 200 ok; } }\n"
            )
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.folder}/nginx.pid; error_log stderr; worker_processes 1; user root;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;\n"
            f"fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;\n"
            + "".join(servers)
            + "}\n"
        )
        self._run("nginx", ["nginx", "-c", str(config), "-p", str(self.folder)], [self.ports[name] for name in specs])

    def _apache(self, specs: dict[str, Spec]) -> None:
        modules = "/usr/lib/apache2/modules"
        names = ("mpm_event", "authz_core", "ssl", "socache_shmcb", "headers", "http2")
        lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names]
        lines += [
            f"ServerRoot {self.folder}",
            f"PidFile {self.folder}/apache.pid",
            f"ErrorLog {self.folder}/apache.log",
        ]
        lines += ["ServerName localhost", f"DocumentRoot {self.folder}"]
        for name, spec in specs.items():
            port = self.ports[name]
            pairs = [f"SSLCertificateFile {c}\nSSLCertificateKeyFile {k}" for c, k in spec.certificates]
            lines += [
                f"Listen 127.0.0.1:{port}",
                f"<VirtualHost 127.0.0.1:{port}>",
                "SSLEngine on",
                *pairs,
                f"SSLProtocol {spec.protocols}",
                f"SSLCipherSuite {spec.ciphers}",
                "SSLHonorCipherOrder off",
                f"SSLOpenSSLConfCmd Curves {spec.groups}",
                "Protocols h2 http/1.1",
                *[f'Header always set Strict-Transport-Security "{value}"' for value in spec.hsts],
                "</VirtualHost>",
            ]
        config = self.folder / "apache.conf"
        config.write_text("\n".join(lines) + "\n")
        self._run("apache", ["apache2", "-f", str(config), "-D", "FOREGROUND"], [self.ports[name] for name in specs])

    def _haproxy(self, specs: dict[str, Spec]) -> None:
        lines = ["global", "  maxconn 512", "defaults", "  mode http"]
        lines += ["  timeout client 10s", "  timeout server 10s", "  timeout connect 5s"]
        for name, spec in specs.items():
            bundle = self.folder / f"{name}-bundle"
            bundle.mkdir()
            for index, (cert, key) in enumerate(spec.certificates):
                (bundle / f"{index}.pem").write_text(Path(cert).read_text() + Path(key).read_text())
            sni = " strict-sni" if spec.extra.get("strict_sni") else ""
            least = spec.protocols.split()[0]
            lines += [
                f"frontend {name}",
                f"  bind 127.0.0.1:{self.ports[name]} ssl crt {bundle} alpn h2,http/1.1 ssl-min-ver {least}"
                f" ciphers {spec.ciphers} curves {spec.groups} prefer-client-ciphers{sni}",
                *[f'  http-after-response set-header Strict-Transport-Security "{value}"' for value in spec.hsts],
                "  http-request return status 200",
            ]
        config = self.folder / "haproxy.cfg"
        config.write_text("\n".join(lines) + "\n")
        self._run("haproxy", ["haproxy", "-db", "-f", str(config)], [self.ports[name] for name in specs])

    def _caddy(self, specs: dict[str, Spec]) -> None:
        blocks = ["{\n  admin off\n  auto_https off\n  default_bind 127.0.0.1\n}\n"]
        for name, spec in specs.items():
            cert, key = spec.certificates[0]
            headers = "".join(f'  header Strict-Transport-Security "{value}"\n' for value in spec.hsts)
            blocks.append(
                f"https://media.example.test:{self.ports[name]} {{\n  tls {cert} {key}\n{headers}  respond ok\n}}\n"
            )
        config = self.folder / "Caddyfile"
        config.write_text("".join(blocks))
        home = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        argv = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
        self._run("caddy", argv, [self.ports[name] for name in specs], env={**os.environ, **home})

    def _gnutls(self, name: str, spec: Spec) -> None:
        port = self.ports[name] = self._port()
        cert, key = spec.certificates[0]
        argv = ["gnutls-serv", "--http", "--port", str(port), "--x509certfile", cert, "--x509keyfile", key]
        argv += ["--priority", spec.ciphers, "--quiet"]
        self._run(name, argv, [port])

    def _s_server(self, name: str, spec: Spec) -> None:
        port = self.ports[name] = self._port()
        cert, key = spec.certificates[0]
        argv = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", cert, "-cert_chain", cert, "-key", key]
        self._run(name, [*argv, "-www", "-quiet", *spec.extra.get("argv", [])], [port])

    def _old(self, name: str, spec: Spec, python: Path) -> None:
        port = self.ports[name] = self._port()
        cert, key = spec.certificates[0]
        given = {
            "cert": cert,
            "key": key,
            "ciphers": spec.ciphers,
            "hsts": spec.hsts[0] if spec.hsts else "",
            **spec.extra,
        }
        self._run(name, [str(python), str(HERE / "old_openssl.py"), str(port), json.dumps(given)], [port])


def missing_programs() -> list[str]:
    """What the bank needs of the machine and does not find."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return [
        name
        for name in ("openssl", "nginx", "apache2", "haproxy", "caddy", "gnutls-serv")
        if not shutil.which(name, path=path)
    ]
