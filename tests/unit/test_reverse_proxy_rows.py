"""A proxy is a row of data and a folder of templates; the pipeline knows none of them by name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles" / "reverse_proxy"
PROXIES = ("apache", "caddy", "haproxy", "nginx", "traefik")
REQUIRED = {"packages", "tls", "http3", "service", "shares_ports", "files"}
MAINS = {"nginx": "nginx.conf", "apache": "apache2.conf", "haproxy": "haproxy.cfg"}
OPTIONAL = {
    "version_package",
    "binary",
    "program",
    "minimum",
    "throwaway",
    "displaced",
    "units",
    "advice",
    "own_sites",
    "usual_includes",
    "exclusive",
    "sandbox",
    "logs",
}


def row(proxy: str) -> dict:
    return variables(proxy)["_reverse_proxy_row"]


def variables(proxy: str) -> dict:
    return yaml.safe_load((ROLE / "vars" / f"{proxy}.yml").read_text())


def test_there_is_a_row_for_each_proxy_and_nothing_else() -> None:
    assert sorted(path.stem for path in (ROLE / "vars").glob("*.yml")) == sorted((*PROXIES, "main"))


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_row_has_the_one_shape(proxy: str) -> None:
    keys = set(row(proxy))
    assert keys >= REQUIRED
    assert keys <= REQUIRED | OPTIONAL
    assert re.fullmatch(r"[a-z0-9-]+\.service", row(proxy)["service"])
    assert "version_package" in keys or row(proxy)["binary"] == "required"
    assert set(variables(proxy)) == {"_reverse_proxy_row", "_reverse_proxy_tests"}
    assert {"check"} <= set(variables(proxy)["_reverse_proxy_tests"]) <= {"check", "trial"}
    assert "{{" not in str(row(proxy)), "vars/main.yml reads the row: templates belong into _reverse_proxy_tests"


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_file_of_a_row_is_there_and_every_template_is_in_a_row(proxy: str) -> None:
    files = [
        *row(proxy)["files"],
        *row(proxy).get("sandbox", []),
        *(one["file"] for one in row(proxy).get("displaced", [])),
    ]
    named = {file["template"] for file in files if "template" in file}
    assert named == {f"{proxy}/{path.name}" for path in (ROLE / "templates" / proxy).iterdir()}
    assert all((ROLE / "files" / file["src"]).is_file() for file in files if "src" in file)


@pytest.mark.parametrize("part", ["tasks", "vars/main.yml", "defaults"])
def test_the_pipeline_knows_no_proxy_by_name(part: str) -> None:
    paths = [ROLE / part] if (ROLE / part).is_file() else sorted((ROLE / part).glob("*.yml"))
    for path in paths:
        words = re.findall(r"\b(apache2?|caddy|haproxy|nginx|traefik)\b", path.read_text(), re.IGNORECASE)
        assert words == [], f"{path.name}: what is particular about a proxy belongs into its row"


def test_the_tls_policy_is_that_of_the_guideline() -> None:
    policy = yaml.safe_load((ROLE.parent / "jellyfin" / "vars" / "tls.yml").read_text())["_jellyfin_tls"]
    suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    groups = ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"]
    kinds = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    assert policy["guideline"] == "6.0"
    assert policy["hsts_max_age"] == 63072000
    modern, intermediate = policy["profiles"]["modern"], policy["profiles"]["intermediate"]
    assert (modern["versions"], intermediate["versions"]) == (["1.3"], ["1.2", "1.3"])
    assert modern["ciphers"] == []
    assert intermediate["ciphers"] == [f"ECDHE-{key}-{kind}" for kind in kinds for key in ("ECDSA", "RSA")]
    for profile in (modern, intermediate):
        assert profile["ciphersuites"] == suites
        assert profile["groups"] == groups
        assert profile["server_preferred_order"] is False
    assert set(policy["iana"]) == set(intermediate["ciphers"])
    for names in policy["group_names"].values():
        assert set(names) == set(groups)
    libraries = set(policy["group_names"])
    assert all(set(since) == libraries for since in policy["groups_since"].values())
    assert {row(proxy)["tls"] for proxy in PROXIES} == libraries


@pytest.mark.parametrize(
    ("name", "text", "own"),
    [
        ("own.conf", "server {\n  listen 80;\n}\n", True),
        ("short.conf", "server { listen 443 ssl; }\n", True),
        ("site.conf", "<VirtualHost *:443>\n", True),
        ("haproxy.cfg", "frontend own\n  bind :8080\n", True),
        ("notes.conf", "#\tlisten 80;\nserver_tokens off;\n", False),
        ("upstream.conf", "upstream own { server 127.0.0.1:8080; }\n", False),
        ("with space.conf", "listen 80;\n", True),
        ("nginx.conf", "http { include /srv/sites/*; }\n", True),
        (
            "nginx.conf",
            "http {\n include /etc/nginx/mime.types; # include /srv/x;\n include /etc/nginx/sites-enabled/*;\n}\n",
            False,
        ),
        (
            "apache2.conf",
            "IncludeOptional mods-enabled/*.load\nInclude ports.conf\nIncludeOptional sites-enabled/*.conf\n",
            False,
        ),
        ("apache2.conf", "Include ports.conf\nINCLUDE /home/anna/site.conf\n", True),
        ("snippet.conf", "include /srv/sites/*;\n", False),
    ],
)
def test_a_site_of_the_users_own_is_what_listens_and_is_none_of_ours(
    tmp_path: Path, name: str, text: str, own: bool
) -> None:
    (tmp_path / name).write_text(text)
    task = yaml.safe_load((ROLE / "tasks" / "own_sites.yml").read_text())[0]
    looked_at = [
        {**row(proxy), "own_sites": [f"{tmp_path}/{main}", f"{tmp_path}/x*.c*"]} for proxy, main in MAINS.items()
    ]
    looked_at[0]["own_sites"].append(f"{tmp_path}/[!x]*.c*")
    script = jinja2.Template(task["ansible.builtin.command"]["argv"][2]).render(_reverse_proxy_look_at=looked_at)
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert sorted(set(said.splitlines())) == ([f"{tmp_path}/{name}"] if own else [])


@pytest.mark.parametrize(
    ("listed", "verified", "changed"), [(True, "", False), (True, "??5?????? c {file}", True), (False, "", True)]
)
def test_a_file_is_the_distributions_own_while_its_package_says_so(
    tmp_path: Path, listed: bool, verified: str, changed: bool
) -> None:
    file = tmp_path / "main.conf"
    file.write_text("")
    for name, said in {"dpkg": verified.format(file=file), "dpkg-query": str(file) if listed else ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    argv = yaml.safe_load((ROLE / "tasks" / "first.yml").read_text())[0]["ansible.builtin.command"]["argv"]
    script = re.search(r"'(packages=.*)',$", argv, re.MULTILINE)
    assert script
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(
        ["/bin/sh", "-c", script[1], "sh", "one two", file], capture_output=True, text=True, env=path
    ).stdout
    assert ([line.split()[-1] for line in said.splitlines() if line] == [str(file)]) is changed
