"""The host images: what is in them, and how they are built from Debian packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .run import CACHE, ROOT, LabError, locked, podman, run, say, step

# fmt: off
BASE = [
    "systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "iproute2", "iputils-ping", "ca-certificates",
    "procps", "sudo", "openssl", "curl", "openssh-server", "netbase", "kmod",
]
# fmt: on

# What makes no sense in a container, or would do things of its own while a test runs.
MASKED = [
    "systemd-modules-load.service",
    "systemd-udevd.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
]

# What the collection installs: lies in apt's cache, so that a run needs no network and little time.
# fmt: off
BROUGHT = [
    "nginx", "apache2", "haproxy", "caddy", "certbot", "firewalld", "python3-firewall", "ufw",
    "python3-aiohttp", "python3-cryptography", "nftables", "iptables", "acl",
]
# fmt: on

# What the Jellyfin double runs on. Unpacked outside the package database: the real server brings its own runtime too,
# and a host that runs the double must not look as if it had python3-aiohttp.
DOUBLE_RUNTIME = "/opt/jellyfin-double/runtime"

# fmt: off
TOOLS = [
    "pebble", "hdhomerun-config", "tcpdump", "nmap", "python3-aiohttp", "python3-websockets", "python3-venv",
    "nginx-light", "dnsutils", "netcat-openbsd", "jq", "wrk",
]
# fmt: on

VENVS = {
    "clients": ("jellyfin-apiclient-python==1.20.2", "websockets==15.0.1", "aioquic==1.2.0"),
    "sslyze": ("sslyze==6.3.1",),
}


@dataclass(frozen=True)
class Image:
    name: str
    suite: str
    include: list[str]
    cached: list[str] = field(default_factory=list)
    venvs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    recipe: int = 1  # raise it when what `command` does for this image changes

    @property
    def tag(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"localhost/jellynet-lab-{self.name}:{digest[:12]}"


IMAGES = {
    image.name: image
    for image in (
        Image("debian12", "bookworm", BASE, BROUGHT, recipe=4),
        Image("debian13", "trixie", BASE, BROUGHT, recipe=4),
        Image("tools", "bookworm", BASE + TOOLS, [], VENVS, recipe=3),
    )
}


def built(image: Image) -> bool:
    return podman("image", "exists", image.tag, check=False).returncode == 0


def ensure(names: list[str], *, again: bool = False) -> None:
    """Build what is missing, two at a time."""
    for name in names:
        if name not in IMAGES:
            raise LabError(f"no image {name!r}: choose from {', '.join(IMAGES)}")
    if not again and all(built(IMAGES[name]) for name in names):
        return
    with locked("images"):
        missing = [IMAGES[name] for name in names if again or not built(IMAGES[name])]
        need_tools()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(build, missing))


def need_tools() -> None:
    lacking = [package for tool, package in (("mmdebstrap", "mmdebstrap"), ("tar", "tar")) if not shutil.which(tool)]
    if lacking:
        raise LabError(f"missing Debian packages: apt-get install {' '.join(lacking)}")
    if os.geteuid() != 0:
        raise LabError("the lab's hosts need root: run this as root")


def sources(suite: str) -> list[str]:
    """The apt sources of this machine, for the given suite; empty lets mmdebstrap take its own."""
    form = "$(ORIGIN) $(CODENAME) $(REPO_URI)"
    said = run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], check=False).stdout
    plain, security = None, None
    for line in said.splitlines():
        origin, _, rest = line.partition(" ")
        codename, _, uri = rest.partition(" ")
        if origin == "Debian":
            if codename.endswith("-security"):
                security = security or uri
            elif "-" not in codename:
                plain = plain or uri
    lines = []
    if plain:
        lines += [f"deb {plain} {suite} main", f"deb {plain} {suite}-updates main"]
    if plain and security:
        lines.append(f"deb {security} {suite}-security main")
    return lines


def build(image: Image) -> None:
    with step(f"building image {image.name} ({image.suite})"):
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"build-{image.name}-") as room:
            tar = Path(room) / "root.tar"
            run(command(image, Path(room), tar))
            podman("import", "--quiet", "--change", 'CMD ["/sbin/init"]', str(tar), image.tag)
            say(f"  image {image.name}: {tar.stat().st_size // 1_000_000} MB")
    forget_older(image)


def command(image: Image, room: Path, tar: Path) -> list[str]:
    def inside(script: str) -> str:
        return f'--customize-hook=chroot "$1" sh -euc {quoted(script)}'

    argv = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--skip=cleanup/apt",  # the lists and the packages are there to stay
        f"--include={','.join(image.include)}",
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        # pebble's example configurations are of use, the rest of the documentation is not
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        inside("apt-get clean"),
    ]
    if image.cached:
        argv += [
            inside(f"apt-get install -y -o APT::Install-Recommends=true --download-only {' '.join(image.cached)}"),
            # python3-aiohttp and all that it leans on, beside the package database
            inside(
                f"mkdir -p {DOUBLE_RUNTIME}; cd /var/cache/apt/archives;"
                " for name in aiohttp aiosignal async-timeout attr charset-normalizer frozenlist idna multidict"
                " typing-extensions yarl propcache aiohappyeyeballs; do"
                f' for deb in python3-"$name"_*.deb; do [ ! -e "$deb" ] || dpkg -x "$deb" {DOUBLE_RUNTIME}; done; done;'
                f" PYTHONPATH={DOUBLE_RUNTIME}/usr/lib/python3/dist-packages python3 -c 'import aiohttp'"
            ),
        ]
    for name, wants in image.venvs.items():
        wheels = room / "wheels" / name
        wheels.mkdir(parents=True)
        download(wants, wheels)
        argv += [
            f"--customize-hook=copy-in {wheels} /tmp",
            inside(
                f"python3 -m venv /opt/{name} && /opt/{name}/bin/pip install -q --no-index --find-links /tmp/{name}"
                f" {' '.join(wants)} && rm -rf /tmp/{name}"
            ),
        ]
    if image.venvs:
        argv.append(inside("systemctl disable nginx.service"))
    argv += [
        inside(": > /etc/machine-id; : > /etc/resolv.conf; echo lab > /etc/hostname"),
        inside(f"systemctl mask {' '.join(MASKED)}"),
        # the kernel's words are about all hosts of all labs
        inside(
            "mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nReadKMsg=no\\n' > /etc/systemd/journald.conf.d/lab.conf"
        ),
        image.suite,
        str(tar),
        *sources(image.suite),
    ]
    return argv


def download(wants: tuple[str, ...], into: Path) -> None:
    """Wheels for the Python of Debian 12, by this machine's own pip."""
    python = ROOT / ".cache" / "venv" / "bin" / "python"
    pip = [str(python if python.exists() else sys.executable), "-m", "pip"]
    if run([*pip, "--version"], check=False).returncode:
        raise LabError("no pip here to fetch the test clients: run `make venv` first, or apt-get install python3-pip")
    only = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    only += [f"--platform=manylinux_2_{minor}_{os.uname().machine}" for minor in (17, 28, 34)]
    # what comes as a source distribution (pure Python) becomes a wheel first
    run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), *wants])
    run([*pip, "download", "--quiet", "--dest", str(into), "--find-links", str(into), *only, *wants])


def quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


def forget_older(image: Image) -> None:
    """Images of the same name with another recipe; those still in use stay."""
    name = image.tag.rpartition(":")[0]
    for line in podman("images", "--format", "{{.Repository}}:{{.Tag}}", name).stdout.split():
        if line != image.tag:
            podman("rmi", line, check=False)
