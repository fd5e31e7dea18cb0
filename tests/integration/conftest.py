"""The hosts of a lab as fixtures, and their journals when a test fails.

The lab is the scenario's (molecule sets MOLECULE_SCENARIO_NAME), or the one named by `--lab`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab"
sys.path.insert(0, str(LAB))
os.environ["PATH"] = f"{LAB}:{os.environ['PATH']}"  # its `podman` enters the lab's namespace

from jellynet_lab import labs  # noqa: E402
from jellynet_lab.run import podman  # noqa: E402
from jellynet_lab.topology import Topology  # noqa: E402

JOURNAL_LINES = 60
# Who speaks in a host's journal. Not the kernel: it is the one of the machine below, with every lab's bridges in it.
JOURNAL_OF = ("journal", "stdout", "syslog", "driver")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lab", help="name of a running lab (tests/lab/lab ps); default: the molecule scenario's")


@dataclass
class Lab:
    """A lab that is up: its topology with the addresses, and its hosts."""

    name: str
    topology: Topology
    _hosts: dict[str, Host] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        if name not in self.topology.hosts:
            pytest.fail(f"the lab {self.name} has no host {name!r}")
        if name not in self._hosts:
            self._hosts[name] = testinfra.get_host(f"podman://{self.name}-{name}")
        return self._hosts[name]

    def address(self, host: str, network: str) -> str:
        return self.topology.hosts[host].addresses[network]

    @property
    def vars(self) -> dict[str, Any]:
        """The Ansible variables of all hosts, filled in."""
        return dict(self.topology.filled(self.topology.vars))

    @property
    def inventory(self) -> Path:
        return labs.room(self.name) / "inventory.yml"


def lab_name(config: pytest.Config) -> str:
    given = config.getoption("--lab")
    if given:
        return str(given)
    scenario = os.environ.get("MOLECULE_SCENARIO_NAME")
    if not scenario:
        pytest.exit("no lab: call this through `molecule verify -s NAME`, or give --lab NAME", returncode=2)
    return labs.name_of(str(ROOT / "molecule" / scenario / "topology.toml"))


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Lab:
    name = lab_name(pytestconfig)
    return Lab(name, labs.known(name))


def _host_fixture(name: str) -> Any:
    @pytest.fixture(scope="session", name=name)
    def fixture(lab: Lab) -> Host:
        return lab.host(name)

    return fixture


edge = _host_fixture("edge")
media = _host_fixture("media")
client = _host_fixture("client")
upstairs = _host_fixture("upstairs")
outside = _host_fixture("outside")
acme = _host_fixture("acme")


# The tests of the proxies: one lab for all of their modules, and each proxy deployed once for all tests that want it as it comes.
PROXIES = os.environ.get("JELLYNET_PROXIES", "nginx,apache,haproxy,caddy,traefik,caddy-new").split(",")


@pytest.fixture(scope="session")
def proxy_lab(pytestconfig: pytest.Config) -> Iterator[Any]:
    """The lab of reverse_proxy.toml that `--lab` names, or one of its own."""
    import reverse_proxy_edge

    given = pytestconfig.getoption("--lab")
    pytestconfig.option.lab = given or "proxies"
    yield reverse_proxy_edge.up(pytestconfig.option.lab)
    if not given:
        reverse_proxy_edge.down(pytestconfig.option.lab)
    pytestconfig.option.lab = given


@pytest.fixture(scope="session", params=PROXIES)
def proxied(proxy_lab: Any, request: pytest.FixtureRequest) -> Any:
    """The edge with this proxy deployed, whatever stood there before: each proxy but the first is switched to.

    pytest keeps the tests of one proxy together, in the order of the modules: what deploys it otherwise comes last.
    """
    for domain in proxy_lab.domains:
        proxy_lab.server(domain, "start")
    proxy_lab.deploy(request.param)
    return proxy_lab


@dataclass
class Answer:
    """What curl got."""

    returncode: int
    words: str  # curl's own, when it failed
    status: int = 0
    http: str = ""
    headers: dict[str, list[str]] = field(default_factory=dict)  # names in small letters
    body: str = ""

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower())
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="session")
def curl() -> Callable[..., Answer]:
    """curl(host, url, *arguments): ask from a host. The body is text; `insecure=True` does not look at the certificate."""

    def ask(host: Host, url: str, *arguments: str, insecure: bool = False, seconds: float = 8) -> Answer:
        form = "\\n%{json}\\n%{header_json}"
        argv = ["curl", "-sS", "-m", str(seconds), "-w", form, *(["-k"] if insecure else []), *arguments, url]
        done = host.run(shlex.join(argv))
        if done.rc:
            return Answer(done.rc, done.stderr.strip())
        before, _, headers = done.stdout.rpartition("\n{")
        body, _, figures = before.rpartition("\n")
        told = json.loads(figures)
        return Answer(0, "", told["http_code"], told["http_version"], json.loads("{" + headers), body)

    return ask


@pytest.fixture(scope="session")
def ansible_playbook(lab: Lab) -> Callable[..., Any]:
    """Run a playbook of this collection against the lab; returns the finished process.

    Like molecule: with the ansible of PATH, or the one beside the Python that runs this.
    """
    program = shutil.which("ansible-playbook") or str(Path(sys.executable).parent / "ansible-playbook")

    def run(playbook: str, *arguments: str, **env: str) -> Any:
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "ANSIBLE_NOCOLOR": "1",
        }
        argv = [
            program,
            "-i",
            str(lab.inventory),
            str(ROOT / "playbooks" / playbook),
        ]
        return subprocess.run(
            [*argv, *arguments], capture_output=True, text=True, env=os.environ | settings | env, cwd=ROOT
        )

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """After a failure, what the hosts of the groups have to say; once a run, it is long."""
    report: Any = yield
    if report.when in ("setup", "call") and report.failed and not getattr(item.config, "_jellynet_journal", False):
        item.config._jellynet_journal = True  # type: ignore[attr-defined]
        for title, words in journals(lab_name(item.config)):
            report.sections.append((title, words))
    return report


def journals(name: str) -> Iterator[tuple[str, str]]:
    for host in labs.known(name).hosts.values():
        if host.groups:
            container = f"{name}-{host.name}"
            failed = podman("exec", container, "systemctl", "--failed", "--no-legend", "--plain", check=False).stdout
            lines = ["journalctl", "-b", "-n", str(JOURNAL_LINES), "--no-pager", "-o", "short-iso"]
            speakers = [f"_TRANSPORT={name}" for name in JOURNAL_OF]
            said = podman("exec", container, *lines, *speakers, check=False).stdout
            yield f"{host.name}: failed units", failed or "none\n"
            yield f"{host.name}: journal, last {JOURNAL_LINES} lines", said
