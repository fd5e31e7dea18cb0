#!/usr/bin/env python3
# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures jellyfin-ports beside HAProxy and nginx, in one run on loopback, one worker each.

Needs the Debian packages haproxy, nginx-light (or nginx), wrk, curl and python3-aiohttp, and nothing else that is busy:

    python3 tests/bench/relay.py                  everything, about 6 minutes
    python3 tests/bench/relay.py stream requests  some of it
    python3 tests/bench/relay.py long --gigabytes 100
    python3 tests/bench/relay.py crowd            500 streams and 2,000 websockets at once

CPU is what the relay's own process used (user and system), read from /proc; medians of --rounds rounds that take turns.
Our processes have the rank that their unit gives them; discovery takes its real-time priority by itself, which needs root here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import resource
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROLE = Path(__file__).resolve().parents[2] / "roles" / "port_binding"
PACKAGE = ROLE / "files"
ORIGIN, DOUBLE, OURS, HAPROXY, NGINX = 18080, 18081, 18096, 18097, 18098
PORTS = {"direct": ORIGIN, "jellyfin-ports": OURS, "haproxy": HAPROXY, "nginx": NGINX}
TLS_PORTS = {"jellyfin-ports": 18920, "haproxy": 18921, "nginx": 18922}
RELAYS = ("jellyfin-ports", "haproxy", "nginx")
TICK = os.sysconf("SC_CLK_TCK")
_SO_TIMESTAMPNS = 35

SERVE = """
import sys
sys.path.insert(0, {package!r})
from jellyfin_ports.cli import main
sys.exit(main(["serve", {process!r}, "--config", {config!r}]))
"""

IDENTITY = {
    "LocalAddress": "http://127.0.0.1:8096", "ServerName": "bench", "Version": "10.11.11",
    "ProductName": "Jellyfin Server", "OperatingSystem": "", "Id": "0" * 31 + "1", "StartupWizardCompleted": True,
}  # fmt: skip

ORIGIN_CONFIG = """
worker_processes 1; daemon off; pid {run}/origin.pid; error_log {run}/origin.log crit;
events {{ worker_connections 1000; }}
http {{ access_log off; sendfile on; keepalive_requests 100000000; default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; root {run}/www;
    location = /health {{ default_type text/plain; return 200 Healthy; }} }} }}
"""
NGINX_CONFIG = """
worker_processes 1; daemon off; pid {run}/nginx.pid; error_log {run}/nginx.log crit;
events {{ worker_connections 1000; }}
http {{ access_log off; keepalive_requests 100000000; proxy_temp_path {run}/tmp;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffers 8 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; }} }} }}
"""
TLS_SUITE = "TLS_AES_128_GCM_SHA256"
NGINX_TLS = """
  server {{ listen 127.0.0.1:{tls} ssl backlog=4096; ssl_certificate {run}/cert.pem; ssl_certificate_key {run}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffers 8 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; }} }} }}
"""
HAPROXY_CONFIG = """
global
  nbthread 1
  maxconn 400
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend in
  bind 127.0.0.1:{port} backlog 4096
  {tls}
  option forwardfor
  default_backend origin
backend origin
  http-reuse always
  server origin 127.0.0.1:{origin}
"""


def cpu_seconds(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *(int(child) for child in text.split())]


def wait_for(port: int, seconds: float = 10.0) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return time.monotonic() - begun
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on 127.0.0.1:{port}; what was started there said so above")


def unit_nice(process: str) -> int:
    """What the unit of this process says; 0 where it says nothing."""
    text = (ROLE / "templates" / "units" / "service.conf.j2").read_text()
    own = re.search(rf"^{{% if _port_binding_service == '{process}' %}}$(.*?)^{{% endif %}}$", text, re.M | re.S)
    found = re.search(r"^Nice=(-?[0-9]+)$", own[1], re.M) if own else None
    return int(found[1]) if found else 0


class Stand:
    """All programs of a run, in one folder, ended together."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jellyfin-ports-bench-", dir="/dev/shm")
        self.run = Path(self._folder.name)
        self.run.chmod(0o755)
        self._programs: list[subprocess.Popen[bytes]] = []
        self.pids: dict[str, int] = {}

    def start(self, name: str, argv: list[str], **options: object) -> subprocess.Popen[bytes]:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
        self._programs.append(program)
        self.pids[name] = program.pid
        return program

    def close(self) -> None:
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
        self._folder.cleanup()

    def origin(self, size: int) -> None:
        www = self.run / "www"
        www.mkdir()
        for name, length in (("big", size), ("small", 1024)):
            with open(www / name, "wb") as file:
                file.truncate(length)
        info = www / "System" / "Info"
        info.mkdir(parents=True)
        (info / "Public").write_text(json.dumps(IDENTITY))
        config = self.run / "origin.conf"
        config.write_text(ORIGIN_CONFIG.format(run=self.run, port=ORIGIN))
        self.start("origin", ["nginx", "-c", str(config)])
        wait_for(ORIGIN)

    def certificate(self) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
             "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", str(self.run / "key.pem"), "-out", str(self.run / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        both = (self.run / "cert.pem").read_text() + (self.run / "key.pem").read_text()
        (self.run / "both.pem").write_text(both)

    def ours(self, process: str = "relay", upstream: int = ORIGIN, tls: bool = False, **more: object) -> float:
        certificates = [{"fullchain": str(self.run / "cert.pem"), "privkey": str(self.run / "key.pem"), "domains": []}]
        config = {
            "lan": ["127.0.0.0/8"],
            "upstreams": [{"url": f"http://127.0.0.1:{upstream}", "announce_port": 8096}],
            "listeners": {
                "http": {"enabled": process == "relay", "port": OURS},
                "https": {"enabled": tls, "port": TLS_PORTS["jellyfin-ports"], "certificates": certificates},
                "client_discovery": {"enabled": process == "discovery"},
            },
            **more,
        }
        path = self.run / f"{process}.json"
        path.write_text(json.dumps(config))
        code = SERVE.format(package=str(PACKAGE), process=process, config=str(path))
        # The packages of the distribution: the service runs on nothing else.
        program = self.start("jellyfin-ports", ["/usr/bin/python3", "-Es", "-c", code], stderr=subprocess.DEVNULL)
        os.setpriority(os.PRIO_PROCESS, program.pid, unit_nice(process))
        return wait_for(TLS_PORTS["jellyfin-ports"] if tls else OURS) if process == "relay" else 0.0

    def others(self, tls: bool = False) -> None:
        nginx = NGINX_CONFIG.rstrip().removesuffix("}}") + NGINX_TLS if tls else NGINX_CONFIG
        bind = f"bind 127.0.0.1:{TLS_PORTS['haproxy']} backlog 4096 ssl crt {self.run}/both.pem" if tls else ""
        for name, text in (("haproxy", HAPROXY_CONFIG), ("nginx", nginx)):
            config = self.run / f"{name}.conf"
            values = {"run": self.run, "port": PORTS[name], "origin": ORIGIN}
            config.write_text(text.format(**values, tls=bind if name == "haproxy" else TLS_PORTS[name]))
            argv = ["haproxy", "-f", str(config), "-db"] if name == "haproxy" else ["nginx", "-c", str(config)]
            self.start(name, argv)
            wait_for(PORTS[name])


def drain(port: int, path: str, sink: list[int] | None = None) -> int:
    """GET and throw away; the kernel need not even copy it to us."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        got = 0
        while True:
            count = sock.recv_into(bytearray(1 << 20), 1 << 20, socket.MSG_TRUNC)
            if not count:
                break
            got += count
    if sink is not None:
        sink.append(got)
    return got


def measure_stream(stand: Stand, name: str, streams: int) -> tuple[float, float]:
    """(MB a second, MB a CPU second) of so many streams at once."""
    pids = children(stand.pids[name])
    got: list[int] = []
    threads = [threading.Thread(target=drain, args=(PORTS[name], "/big", got)) for _ in range(streams)]
    cpu, begun = cpu_seconds(pids), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, used = time.monotonic() - begun, cpu_seconds(pids) - cpu
    return sum(got) / seconds / 1e6, sum(got) / max(used, 1 / TICK) / 1e6


def measure_requests(stand: Stand, name: str, seconds: int, connections: int = 32) -> tuple[float, float]:
    """(requests a second, requests a CPU second)"""
    pids = children(stand.pids[name])
    cpu = cpu_seconds(pids)
    url = f"http://127.0.0.1:{PORTS[name]}/small"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Requests/sec"))
    if "Non-2xx" in text:
        raise SystemExit(f"{name} answered with errors:\n{text}")
    return rate, rate * seconds / max(cpu_seconds(pids) - cpu, 1 / TICK)


def turns(stand: Stand, rounds: int, job: object) -> dict[str, tuple[float, float]]:
    """Medians; the relays take turns, so that a slow moment of the machine meets all of them."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in RELAYS}
    for _ in range(rounds):
        for name in RELAYS:
            results[name].append(job(name))  # type: ignore[operator]
    return {
        name: (statistics.median(r[0] for r in found), statistics.median(r[1] for r in found))
        for name, found in results.items()
    }


def report(title: str, units: tuple[str, str], found: dict[str, tuple[float, float]]) -> None:
    print(f"\n{title}\n\n| | {units[0]} | {units[1]} | {units[1]}, to HAProxy | {units[0]}, to HAProxy |")
    print("|---|---|---|---|---|")
    base = found["haproxy"]
    for name, (first, second) in found.items():
        print(f"| {name} | {first:,.0f} | {second:,.0f} | {second / base[1]:.2f} | {first / base[0]:.2f} |", flush=True)


def bench_stream(options: argparse.Namespace) -> None:
    for streams, size in ((1, options.megabytes), (50, max(64, options.megabytes // 16))):
        with contextlib.closing(Stand()) as stand:
            stand.origin(size * 1_000_000)
            stand.ours()
            stand.others()
            found = turns(stand, options.rounds, lambda name, n=streams, s=stand: measure_stream(s, name, n))
            title = f"{streams} stream{'s' if streams > 1 else ''} of {size} MB"
            report(title, ("MB/s", "MB per CPU second"), found)


def https_stream(stand: Stand, name: str, streams: int) -> tuple[float, float]:
    """(MB a second, MB a CPU second) over TLS; curl takes them, in one process."""
    pids = children(stand.pids[name])
    url = f"https://127.0.0.1:{TLS_PORTS[name]}/big"
    argv = ["curl", "-sk", "--http1.1", "--tls13-ciphers", TLS_SUITE, "-Z", "--parallel-immediate", "--parallel-max", "300",
            "-w", "%{http_code} %{size_download}\n"]  # fmt: skip
    cpu, begun = cpu_seconds(pids), time.monotonic()
    done = subprocess.run(argv + ["-o", "/dev/null", url] * streams, capture_output=True, text=True, check=True)
    seconds, used = time.monotonic() - begun, cpu_seconds(pids) - cpu
    answers = [line.split() for line in done.stdout.splitlines()]
    if [code for code, _size in answers] != ["200"] * streams:
        raise SystemExit(f"{name} answered with errors:\n{done.stdout}")
    got = sum(int(size) for _code, size in answers)
    return got / seconds / 1e6, got / max(used, 1 / TICK) / 1e6


def https_requests(stand: Stand, name: str, seconds: int, keep: bool) -> tuple[float, float]:
    """(requests a second, requests a CPU second) over TLS; without `keep` each with a handshake of its own."""
    pids = children(stand.pids[name])
    cpu = cpu_seconds(pids)
    command = ["wrk", "-t1", "-c32", f"-d{seconds}", f"https://127.0.0.1:{TLS_PORTS[name]}/small"]
    command += [] if keep else ["-H", "Connection: close"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Requests/sec"))
    if "Non-2xx" in text:
        raise SystemExit(f"{name} answered with errors:\n{text}")
    return rate, rate * seconds / max(cpu_seconds(pids) - cpu, 1 / TICK)


def bench_tls(options: argparse.Namespace) -> None:
    """The HTTPS listener beside the TLS termination of the others: one certificate (P-256), TLS 1.3, one suite."""
    for streams, size in ((1, options.megabytes // 2), (50, max(32, options.megabytes // 50))):
        with contextlib.closing(Stand()) as stand:
            stand.origin(size * 1_000_000)
            stand.certificate()
            stand.ours(tls=True)
            stand.others(tls=True)
            found = turns(stand, options.rounds, lambda name, n=streams, s=stand: https_stream(s, name, n))
            title = f"TLS, {streams} stream{'s' if streams > 1 else ''} of {size} MB"
            report(title, ("MB/s", "MB per CPU second"), found)
    with contextlib.closing(Stand()) as stand:
        stand.origin(1_000_000)
        stand.certificate()
        stand.ours(tls=True)
        stand.others(tls=True)
        for keep, title in ((True, "on kept connections"), (False, "each on a new connection")):
            found = turns(stand, options.rounds, lambda name, k=keep: https_requests(stand, name, options.seconds, k))
            report(f"TLS, 1 KB requests, 32 at once, {title}", ("requests/s", "requests per CPU second"), found)


def bench_requests(options: argparse.Namespace) -> None:
    with contextlib.closing(Stand()) as stand:
        stand.origin(1_000_000)
        stand.ours()
        stand.others()
        found = turns(stand, options.rounds, lambda name: measure_requests(stand, name, options.seconds))
        report("1 KB requests, 32 connections", ("requests/s", "requests per CPU second"), found)


BARE_LOOP = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sock.bind(("127.0.0.1", int(sys.argv[1])))
reply = b"x" * 118
while True:
    data, peer = sock.recvfrom(2048)
    sock.sendto(reply, peer)
"""


def ask_discovery(port: int, seconds: float) -> float:
    """Replies a second with 64 questions in flight."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(0.2)
    question = b"Who is JellyfinServer?"
    replies = 0
    begun = time.monotonic()
    while (now := time.monotonic()) - begun < seconds:
        try:
            for _ in range(64):
                sock.send(question)
            for _ in range(64):
                sock.recv(2048)
                replies += 1
        except (TimeoutError, socket.timeout, ConnectionRefusedError):
            continue
    return replies / (now - begun)


def bench_discovery(options: argparse.Namespace) -> None:
    ports = {"bare loop": 17359, "jellyfin-ports": 7359}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ports}
    with contextlib.closing(Stand()) as stand:
        stand.origin(1_000_000)
        limits = {"source_rate": 1e9, "source_burst": 1e9, "total_rate": 1e9, "total_burst": 1e9}
        stand.ours("discovery", limits=limits)
        stand.start("bare loop", ["/usr/bin/python3", "-c", BARE_LOOP, "17359"])
        time.sleep(2)
        for _ in range(options.rounds):
            for name, port in ports.items():
                cpu = cpu_seconds([stand.pids[name]])
                rate = ask_discovery(port, options.seconds)
                used = cpu_seconds([stand.pids[name]]) - cpu
                rates[name].append((rate, rate * options.seconds / max(used, 1 / TICK)))
        memory = memory_mb(stand.pids["jellyfin-ports"])
    print("\nClient discovery, one asker with 64 questions in flight\n")
    print("| | replies/s | to the bare loop | replies per CPU second | to the bare loop |\n|---|---|---|---|---|")
    base = [statistics.median(found[i] for found in rates["bare loop"]) for i in (0, 1)]
    for name, found in rates.items():
        rate, each = (statistics.median(one[i] for one in found) for i in (0, 1))
        print(f"| {name} | {rate:,.0f} | {rate / base[0]:.2f} | {each:,.0f} | {each / base[1]:.2f} |")
    print(f"\nMemory of the process afterwards: {memory:.1f} MB", flush=True)


def answer_seconds(sock: socket.socket, port: int) -> float | None:
    """From the question's sending to the answer's, by the kernel's own time stamp; the asker's wake-up is not in it."""
    begun = time.time_ns()
    sock.sendto(b"Who is JellyfinServer?", ("127.0.0.1", port))
    try:
        _data, ancillary, _flags, _peer = sock.recvmsg(2048, 64)
    except (TimeoutError, socket.timeout):
        return None
    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
    return (seconds * 1_000_000_000 + nanoseconds - begun) / 1e9


def bench_latency(options: argparse.Namespace) -> None:
    """How soon discovery answers while the relay is busy with four streams, and how soon a bare loop of the same rank does.

    What the loop needs is the machine's. The asker stands for another machine: it goes before all that run here.
    """
    ports = {"bare loop": 17359, "jellyfin-ports": 7359}
    times: dict[str, list[float]] = {name: [] for name in ports}
    lost = 0
    with contextlib.closing(Stand()) as stand:
        stand.origin(options.megabytes * 4_000_000)
        stand.ours("discovery")
        stand.start("bare loop", ["/usr/bin/python3", "-c", BARE_LOOP, "17359"])
        os.sched_setscheduler(stand.pids["bare loop"], os.SCHED_RR, os.sched_param(1))
        stand.ours("relay")
        time.sleep(2)
        streams, answers = many_streams(4)
        time.sleep(1)
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            while streams.is_alive() and answers.empty() and len(times["bare loop"]) < options.seconds * 100:
                for name, port in ports.items():
                    took = answer_seconds(sock, port)
                    if took is None:
                        lost += 1
                    else:
                        times[name].append(took)
                    time.sleep(0.06)  # a source gets ten answers a second
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        streams.terminate()
    print(f"\nDiscovery beside four streams through the relay, {lost} answers missing\n")
    print("| | answers | median ms | p90 ms | p99 ms | slowest ms |\n|---|---:|---:|---:|---:|---:|")
    for name, found in times.items():
        found.sort()
        marks = [found[int(len(found) * part)] * 1000 for part in (0.5, 0.9, 0.99)] + [found[-1] * 1000]
        print(f"| {name} | {len(found)} | " + " | ".join(f"{mark:.2f}" for mark in marks) + " |", flush=True)


def bench_rest(options: argparse.Namespace) -> None:
    """Memory at rest and start to ready, as systemd would see it: by READY=1."""
    rows: dict[str, tuple[list[float], list[float]]] = {"relay": ([], []), "discovery": ([], [])}
    with contextlib.closing(Stand()) as stand:
        stand.origin(1_000_000)
        cache = stand.run / "cache"
        for process in rows:
            for round_ in range(options.rounds + 1):
                seconds, memory = start_to_ready(stand, process, cache)
                if round_:  # the first one fills the cache of compiled files
                    rows[process][0].append(seconds)
                    rows[process][1].append(memory)
                else:
                    print(f"{process}: first start, nothing compiled: {seconds:.2f} s", flush=True)
    print("\n| process | start to ready | memory at rest |\n|---|---|---|")
    for process, (seconds_, memories) in rows.items():
        print(f"| {process} | {statistics.median(seconds_):.2f} s | {statistics.median(memories):.1f} MB |", flush=True)


def start_to_ready(stand: Stand, process: str, cache: Path) -> tuple[float, float]:
    listener = {"http": {"enabled": True, "port": OURS}}
    if process == "discovery":
        listener = {"client_discovery": {"enabled": True}, "ssdp": {"enabled": True}}  # type: ignore[dict-item]
    path = stand.run / f"{process}-rest.json"
    upstreams = [{"url": f"http://127.0.0.1:{ORIGIN}"}]
    path.write_text(json.dumps({"lan": ["127.0.0.0/8"], "upstreams": upstreams, "listeners": listener}))
    code = f"import sys; sys.pycache_prefix = {str(cache)!r}\n" + SERVE.format(
        package=str(PACKAGE), process=process, config=str(path)
    )
    notify = stand.run / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(notify))
        ready.settimeout(15)
        begun = time.monotonic()
        program = subprocess.Popen(
            ["/usr/bin/python3", "-Es", "-c", code], env={**os.environ, "NOTIFY_SOCKET": str(notify)},
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while b"READY=1" not in ready.recv(4096):
            pass
        seconds = time.monotonic() - begun
    time.sleep(3)
    memory = memory_mb(program.pid)
    program.send_signal(signal.SIGTERM)
    program.wait(10)
    notify.unlink()
    return seconds, memory


def bench_long(options: argparse.Namespace) -> None:
    """One long stream: does memory stay where it is?"""
    with contextlib.closing(Stand()) as stand:
        stand.origin(options.gigabytes * 1_000_000_000)
        stand.ours()
        pid = stand.pids["jellyfin-ports"]
        drain(OURS, "/small")
        before = highest = memory_mb(pid)
        thread = threading.Thread(target=drain, args=(OURS, "/big"))
        begun = time.monotonic()
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            highest = max(highest, memory_mb(pid))
        seconds = time.monotonic() - begun
        print(
            f"\n{options.gigabytes} GB in {seconds:.0f} s: memory {before:.1f} MB before, at most {highest:.1f} MB,"
            f" {memory_mb(pid):.1f} MB after",
            flush=True,
        )


def websocket_origin(port: int) -> None:
    """Upgrades whatever comes and echoes; for 2,000 sockets in one small process."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listener.accept()
                        selector.register(sock, selectors.EVENT_READ)
                continue
            sock = key.fileobj  # type: ignore[assignment]
            try:
                data = sock.recv(65536)
                if data:
                    sock.sendall(answer if data.startswith(b"GET ") else data)
                    continue
            except OSError:
                pass
            selector.unregister(sock)
            sock.close()


def bench_crowd(options: argparse.Namespace) -> None:
    """500 streams and 2,000 websockets at once through one process on one core."""
    with contextlib.closing(Stand()) as stand:
        stand.origin(20_000_000)
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import relay; relay.websocket_origin({DOUBLE})"
        stand.start("double", [sys.executable, "-c", code])
        wait_for(DOUBLE)
        upstreams = [
            {"name": "streams", "url": f"http://127.0.0.1:{ORIGIN}", "domains": ["bench"]},
            {"name": "sockets", "url": f"http://127.0.0.1:{DOUBLE}", "domains": ["sockets"]},
        ]
        stand.ours(upstreams=upstreams, limits={"connections": 6000})
        pid = stand.pids["jellyfin-ports"]
        before = memory_mb(pid)
        os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})
        sockets = [open_websocket() for _ in range(options.sockets)]
        with_sockets = memory_mb(pid)
        streams, answers = many_streams(options.streams)
        begun = time.monotonic()
        slowest = 0.0
        while streams.is_alive() and answers.empty():
            asked = time.monotonic()
            sockets[0].sendall(b"ping")
            sockets[0].recv(16)
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.05)
        got = answers.get()
        seconds = time.monotonic() - begun
        highest = memory_mb(pid)
        whole = sum(1 for size in got if size > 20_000_000)
        alive = 0
        for sock in sockets:
            sock.sendall(b"still there")
            alive += sock.recv(64) == b"still there"
        print(
            f"\n{options.streams} streams of 20 MB beside {options.sockets} websockets, one core:"
            f" {whole} whole, {alive} alive, {sum(got) / seconds / 1e6:,.0f} MB/s,"
            f" slowest echo meanwhile {slowest * 1000:.0f} ms;"
            f" memory {before:.0f} MB at rest, {with_sockets:.0f} MB with the websockets, {highest:.0f} MB with all",
            flush=True,
        )


def many_streams(count: int) -> tuple[multiprocessing.Process, Any]:
    """In a process of their own, so that their threads don't stand in the way of whoever measures."""

    def run() -> None:
        got: list[int] = []
        threads = [threading.Thread(target=drain, args=(OURS, "/big", got)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers.put(got)

    answers: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=run)
    process.start()
    return process, answers


def open_websocket() -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", OURS))
    sock.settimeout(30)
    sock.sendall(
        b"GET /socket HTTP/1.1\r\nHost: sockets\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = sock.recv(4096)
        if not part:
            raise SystemExit(f"a websocket was refused: {answer!r}")
        answer += part
    return sock


BENCHES = {
    "stream": bench_stream,
    "requests": bench_requests,
    "tls": bench_tls,
    "discovery": bench_discovery,
    "latency": bench_latency,
    "rest": bench_rest,
    "long": bench_long,
    "crowd": bench_crowd,
}


def versions() -> Iterator[str]:
    for command in (["haproxy", "-v"], ["nginx", "-v"], ["/usr/bin/python3", "--version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        yield (done.stdout + done.stderr).splitlines()[0]
    code = "import aiohttp; print('aiohttp', aiohttp.__version__)"
    yield subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each round of requests")
    parser.add_argument("--megabytes", type=int, default=2000, help="of one stream")
    parser.add_argument("--gigabytes", type=int, default=10, help="of the long stream")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--sockets", type=int, default=2000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("; ".join(versions()), flush=True)
    for name in options.what or BENCHES:
        BENCHES[name](options)


if __name__ == "__main__":
    main()
