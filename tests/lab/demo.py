#!/usr/bin/env python3
"""The demo: boots a small world, deploys an edge in it, and shows what each of its inhabitants sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jellynet_lab import hosts, images, labs
from jellynet_lab.run import LAB, ROOT, LabError, podman
from jellynet_lab.topology import Topology

NAME = "demo"
TOPOLOGY = LAB / "topologies" / "demo.toml"
LOGS = ROOT / ".cache" / "logs"
PORTS = {
    "22/tcp": "SSH, not ours",
    "80/tcp": "to https, and the certificate's renewal",
    "443/tcp": "the proxy",
    "8096/tcp": "HTTP for the home",
    "8920/tcp": "HTTPS for the home, off",
    "1900/udp": "SSDP",
    "7359/udp": "client discovery",
}
PROBE = """
import json, socket, sys
address, found = sys.argv[1], {}
for port in sys.argv[2:]:
    number, kind = port.split("/")
    pipe = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    pipe.settimeout(2)
    asks = {"7359": b"who is JellyfinServer?", "1900": b"M-SEARCH * HTTP/1.1\\r\\nHOST: 239.255.255.250:1900\\r\\n"
            b"MAN: \\"ssdp:discover\\"\\r\\nMX: 1\\r\\nST: ssdp:all\\r\\n\\r\\n"}
    try:
        pipe.connect((address, int(number)))
        if kind == "udp":
            pipe.send(asks[number])
            pipe.recv(2048)
        found[port] = True
    except OSError:
        found[port] = False
print(json.dumps(found))
"""
DISCOVER = """
import json
from jellyfin_apiclient_python import JellyfinClient
client = JellyfinClient()
client.config.app("demo", "0", "client", "id")
client.config.data["auth.ssl"] = False
found = client.auth._server_discovery()
result = client.auth.connect(discover=True)
print(json.dumps({"found": found, "connected": [server["address"] for server in result["Servers"]], "state": str(result["State"])}))
"""


class Show:
    """Says what is being done and for how long; on a terminal the line lives."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.begin = time.monotonic()
        self.bold, self.green, self.dim, self.plain = (
            ("\033[1m", "\033[32m", "\033[2m", "\033[0m") if self.live else ("",) * 4
        )

    def title(self, words: str) -> None:
        print(f"\n{self.bold}{words}{self.plain}", flush=True)

    def step(self, words: str) -> Step:
        return Step(self, words)

    def mark(self, good: bool, words: str) -> str:
        return f"{self.green if good else self.dim}{words}{self.plain}"


class Step:
    def __init__(self, show: Show, words: str) -> None:
        self.show, self.words, self.begin = show, words, time.monotonic()

    def __enter__(self) -> Step:
        self.now("")
        return self

    def now(self, what: str) -> None:
        """What the step is at."""
        seconds = time.monotonic() - self.begin
        if self.show.live:
            print(f"\r\033[K  {self.words:38} {seconds:4.0f} s  {what}"[:150], end="", flush=True)
        elif what:
            print(f"  {self.words:38} {seconds:4.0f} s  {what}", flush=True)
        else:
            print(f"  {self.words} ...", flush=True)

    def __exit__(self, kind: object, *rest: object) -> None:
        end = "done" if kind is None else "FAILED"
        line = f"  {self.words:38} {time.monotonic() - self.begin:4.0f} s  {end}"
        print(f"\r\033[K{line}" if self.show.live else line, flush=True)


def playbook(step: Step, name: str, inventory: Path) -> None:
    """Run a playbook, show which role is at work, keep the whole output in a file."""
    log = LOGS / f"demo-{name}.log"
    env = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    }
    argv = ["ansible-playbook", "-i", str(inventory), str(ROOT / "playbooks" / f"{name}.yml")]
    role = ""
    with (
        log.open("w") as handle,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as job,
    ):
        for line in job.stdout or ():
            handle.write(line)
            match = re.match(r"TASK \[(?:jellynet\.jellyfin\.)?(\w+) : (.*)\]", line)
            # the role jellyfin comes along with every other
            if match and (step.show.live or match[1] not in (role, "jellyfin")):
                role = match[1]
                step.now(f"{role}: {match[2]}" if step.show.live else role)
    if job.returncode:
        print("".join(log.read_text().splitlines(keepends=True)[-40:]), file=sys.stderr)
        raise LabError(f"{name}.yml failed; all of its output is in {log.relative_to(ROOT)}")


def seat(host: str, code: str, *arguments: str, python: str = "python3") -> Any:
    said = podman("exec", "--interactive", f"{NAME}-{host}", python, "-", *arguments, data=code).stdout
    return json.loads(said.splitlines()[-1])


def certificate() -> dict[str, str]:
    script = (
        "openssl s_client -connect media.example.org:443 -servername media.example.org </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer -enddate -ext subjectAltName -nameopt RFC2253\n"
        "curl -sS -o /dev/null -w 'trusted=%{http_code} over HTTP/%{http_version}' https://media.example.org/System/Info/Public\n"
    )
    said = hosts.inside(NAME, "outside", script)
    names = re.findall(r"DNS:([^,\s]+)", said)
    return {
        "issuer": (re.search(r"issuer=(.*)", said) or ["", "?"])[1],
        "until": (re.search(r"notAfter=(.*)", said) or ["", "?"])[1],
        "names": ", ".join(names),
        "trusted": (re.search(r"trusted=(.*)", said) or ["", "no answer"])[1],
    }


def summary(show: Show, topology: Topology) -> None:
    edge = topology.hosts["edge"].addresses
    with show.step("ask around"):
        told = seat("client", DISCOVER, python="/opt/clients/bin/python")
        cert = certificate()
        lan = seat("client", PROBE, edge["lan"], *PORTS)
        wan = seat("outside", PROBE, edge["wan"], *PORTS)

    show.title("The address")
    print("  https://media.example.org")
    show.title('A client on the LAN asked by broadcast "who is JellyfinServer?" and was told')
    for item in told["found"]:
        print(f"  {json.dumps(item)}")
    print(
        f"  jellyfin-apiclient-python then connected to {', '.join(told['connected'])} ({told['state'].rpartition('.')[2]})"
    )
    show.title("The certificate, as the Internet sees it")
    print(f"  for {cert['names']}, by {cert['issuer']}, until {cert['until']}")
    print(f"  asked without any exception for it: {cert['trusted']}")
    show.title("Who can reach what")
    print(f"  {'':10} {'LAN':10} Internet")
    for port, what in PORTS.items():
        row = [show.mark(seen[port], f"{'answers' if seen[port] else '-':10}") for seen in (lan, wan)]
        print(f"  {port:10} {row[0]} {row[1]} {what}")
    report = Path(topology.places["report"])
    counts = verdicts(report)
    if counts:
        show.title("verify.yml")
        print(f"  {counts}; the report: {report / 'report.html'}")
    show.title("Go on")
    print("  tests/lab/lab exec demo edge         a shell on the edge (or media, client, outside)")
    print(f"  ansible-playbook -i {labs.room(NAME).relative_to(ROOT)}/inventory.yml playbooks/site.yml")
    print("  make demo-down                       take it all away\n")


def verdicts(report: Path) -> str:
    """What came of verify.yml's checks, and the grade of its TLS."""
    try:
        said = json.loads((report / "report.json").read_text())
        told = said[0] if isinstance(said, list) else said
        grades = [f"TLS grade {site['grade']['grade']}" for site in told["sites"] if site["grade"].get("grade")]
        return ", ".join([*(f"{count} {word}" for word, count in told["counts"].items()), *grades])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def main() -> int:
    show = Show()
    LOGS.mkdir(parents=True, exist_ok=True)
    show.title("jellynet.jellyfin: a home, an Internet, and an edge between them")
    try:
        with show.step("test host images (once: 2 minutes)"):
            images.ensure(["debian12", "tools"])
        with show.step("boot edge, media, client, outside, acme"):
            inventory = labs.up(TOPOLOGY, NAME, fresh=True)
        with show.step("site.yml") as step:
            playbook(step, "site", inventory)
        proved = True
        try:
            with show.step("verify.yml") as step:
                playbook(step, "verify", inventory)
        except LabError as error:  # show what there is all the same
            proved = False
            print(f"demo: {error}", file=sys.stderr)
        summary(show, labs.known(NAME))
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"  all of it took {time.monotonic() - show.begin:.0f} s\n")
    return 0 if proved else 1


if __name__ == "__main__":
    sys.exit(main())
