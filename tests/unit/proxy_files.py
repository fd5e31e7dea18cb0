"""Every file of every proxy, rendered for a table of cases, for the tests of templates."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
COLLECTIONS = HERE.parents[1] / ".cache" / "collections"
PROXIES = ("apache", "caddy", "haproxy", "nginx", "traefik")
OLD = {
    "nginx": "1.22.1-9+deb12u4",
    "apache2": "2.4.62-1~deb12u2",
    "haproxy": "2.6.12-1+deb12u2",
    "caddy": "2.6.2-5",
    "libssl3": "3.0.17-1",
}
NEW = {"nginx": "1.26.3-3", "apache2": "2.4.65-2", "haproxy": "3.0.11-1", "caddy": "2.6.2-12", "libssl3t64": "3.5.1-1"}
DEFAULTS = {
    name: value
    for role in ("jellyfin", "reverse_proxy")
    for name, value in yaml.safe_load((HERE.parents[1] / "roles" / role / "defaults" / "main.yml").read_text()).items()
    if name != "jellyfin_proxy"  # each case has its own
}
BINARY = {"version": "3.7.15", "x86_64": {"source": "traefik.tar.gz", "checksum": "sha256:" + "a" * 64}}
TRUSTED = {"reverse_proxy_trusted_proxies": ["198.51.100.0/24", "2001:db8:1::/48"]}


def site(domain: str = "media.example.org", **more: Any) -> dict[str, Any]:
    return {
        "domain": domain,
        "path": "",
        "server_address": "127.0.0.1",
        "server_port": 8096,
        "server_url": "http://127.0.0.1:8096",
        "door": f"/etc/jellynet/certificates/{domain}",
        "key_types": ["ecdsa"],
        "admit_internet": True,
        "hsts": "",
        **more,
    }


def case(
    proxy: str, name: str, *sites: dict[str, Any], packages: dict[str, str] | None = None, **values: Any
) -> dict[str, Any]:
    host = {
        "ipv6": True,
        "packages": packages or OLD,
        "services": {},
        "listeners": [],
        "record": {},
        "architecture": "x86_64",
        **values.pop("host", {}),
    }
    given = {
        **DEFAULTS,
        "_jellyfin_guard": {"enabled": True, "address": "127.0.0.1:889"},
        "_jellyfin_sites": list(sites) or [site()],
        "_jellyfin_lan": ["192.168.1.0/24", "fd00:1::/64"],
        "_jellyfin_host": host,
        "reverse_proxy_binary": BINARY if proxy == "traefik" else {},
        **values,
    }
    return {"name": f"{proxy}-{name}", "proxy": proxy, "vars": given}


CSP = """default-src 'self'; x "quoted" $host 100%"""


def cases() -> list[dict[str, Any]]:
    found = []
    for proxy in PROXIES:
        found += [
            case(proxy, "plain"),
            case(proxy, "new", packages=NEW),
            case(proxy, "modern", site(key_types=["ecdsa", "rsa"]), reverse_proxy_tls_profile="modern"),
            case(proxy, "bare", _jellyfin_lan=[], host={"ipv6": False}),
            case(
                proxy,
                "text",
                site(hsts="max-age=63072000; includeSubDomains"),
                reverse_proxy_csp=CSP,
                reverse_proxy_extra="# mine",
            ),
            case(proxy, "unfinished", site(admit_internet=False), site("two.example.org", path="/jellyfin")),
            case(proxy, "nothing-installed", packages={"base-files": "12"}),
        ]
    found.append(case("nginx", "long", site("a" * 60 + ".example.org")))
    foreign = {"proto": "tcp", "address": "0.0.0.0", "port": 443, "process": "nginx", "unit": "nginx.service"}
    found.append(case("haproxy", "taken", host={"listeners": [foreign]}))
    found.append(case("haproxy", "takes-over", host={"listeners": [foreign], "services": {"nginx": "a" * 16}}))
    found.append(case("nginx", "lives-beside", host={"listeners": [foreign]}))
    tunnel = {"proto": "udp", "address": "0.0.0.0", "port": 443, "process": "wg", "unit": "wg.service"}
    found.append(case("caddy", "tunnel", host={"listeners": [tunnel]}))
    found.append(case("caddy", "tunnel-lives-on", host={"listeners": [tunnel]}, reverse_proxy_http3=False))
    own = {"proto": "tcp", "address": "0.0.0.0", "port": 8080, "process": "caddy", "unit": "caddy.service"}
    found.append(case("caddy", "own", host={"listeners": [own]}))
    found.append(case("caddy", "ours", host={"listeners": [own], "services": {"caddy": "a" * 16}}))
    unfinished = site("two.example.org", path="/jellyfin", admit_internet=False)
    found.append(case("traefik", "trusted", site(), unfinished, reverse_proxy_log_requests="all", **TRUSTED))
    found.append(case("traefik", "all", reverse_proxy_log_requests="all"))
    found.append(case("traefik", "open", jellyfin_limit_requests=0, _jellyfin_guard={"enabled": False}))
    found.append(case("caddy", "newer", reverse_proxy_binary={**BINARY, "version": "2.11.7"}, **TRUSTED))
    found += [
        case(
            proxy,
            "unlimited",
            **{f"jellyfin_limit_{what}": "0" for what in ("connections", "connections_lan", "requests")},
        )
        for proxy in PROXIES
    ]
    found.append(case("nginx", "named", site(server_address="media.lan", server_url="http://media.lan:8096")))
    found.append(case("haproxy", "named", site(server_address="media.lan", server_url="http://media.lan:8096")))
    return found


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each file of each case by "PROXY-CASE.FILE"; the processes of a run share one rendering."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "rendered"
    out.mkdir(exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "done").exists():
            render(out)
            (out / "done").touch()
    lines = [
        line for proxy in PROXIES for line in (out / f"{proxy}.json").read_text().splitlines() if line.startswith("[")
    ]
    return dict(json.loads(line) for line in lines)


def render(out: Path) -> None:
    (out / "cases.json").write_text(json.dumps(cases()))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-e", f"out={out}", "-e", f"cases={out}/cases.json"),
            *("-e", f"role_path={HERE.parents[1] / 'roles' / 'reverse_proxy'}"),
            str(HERE / "reverse_proxy_render.yml"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def whole(rendered: dict[str, str], name: str) -> str:
    return "\n".join(
        text for file, text in rendered.items() if file.startswith(name + ".") and not file.endswith(".plan")
    )
