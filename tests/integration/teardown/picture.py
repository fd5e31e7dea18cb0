"""A picture of a host: what a teardown has to bring back."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / ".cache" / "lab" / "scenarios" / "teardown-before.json"

# All that is not below /usr: what lies there is the packages', which are compared by name.
FOLDERS = ("/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var")

# Not looked at, with who writes there.
LEFT_OUT = {
    "/etc/.pwd.lock": "whoever adds a user",
    "/etc/group-": "the copy that is made before each change",
    "/etc/gshadow-": "the copy that is made before each change",
    "/etc/passwd-": "the copy that is made before each change",
    "/etc/shadow-": "the copy that is made before each change",
    "/etc/ld.so.cache": "every package with a library",
    "/root/.ansible": "Ansible, on every host that it manages",
    "/var/backups": "dpkg's timer",
    "/var/cache/apt": "apt's memory, of this test's runs too",
    "/var/cache/debconf": "every package that asks a question",
    "/var/cache/ldconfig": "every package with a library",
    "/var/lib/apt": "apt's memory",
    "/var/lib/dpkg": "dpkg's memory; the packages themselves are compared",
    "/var/lib/ucf": "the packages' memory of their configuration",
    "/var/log/journal": "journald",
    "/var/tmp": "anybody; units with a private one come and go",
}
# Other programs write into these, ours or not: the names count there, not what is inside.
NAMES_ALONE = ("/var/cache", "/var/log", "/var/lib/systemd", "/var/lib/jellyfin", "/var/lib/nginx")
# Come and go by themselves: firewalld's copies of what it changes, systemd's memory of the distribution's timers.
PASSING = r"/etc/firewalld/.*\.old|/var/lib/systemd/(random-seed|timers|timers/stamp-(?!jellynet).*)"

FILES = f"""
import hashlib, os, pwd, grp, re, stat
left_out, names_alone, passing = {set(LEFT_OUT)!r}, {NAMES_ALONE!r}, re.compile({PASSING!r})
def owner(find, number):
    try:
        return find(number)[0]
    except KeyError:
        return number
def show(path):
    told = os.lstat(path)
    words = [path, stat.filemode(told.st_mode), owner(pwd.getpwuid, told.st_uid), owner(grp.getgrgid, told.st_gid)]
    if stat.S_ISLNK(told.st_mode):
        words[1:] = ["->", os.readlink(path)]
    elif stat.S_ISREG(told.st_mode) and not path.startswith(tuple(folder + "/" for folder in names_alone)):
        with open(path, "rb") as handle:
            words.append(hashlib.sha256(handle.read()).hexdigest()[:16])
    print(*words)
def look(folder):
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.path in left_out:
            continue
        try:
            if not passing.fullmatch(entry.path):
                show(entry.path)
            if entry.is_dir(follow_symlinks=False):
                look(entry.path)
        except FileNotFoundError:
            pass  # it was somebody's for a moment
for folder in {FOLDERS!r}:
    look(folder)
"""

LOOK = f"""
echo '# files'
python3 -c {shlex.quote(FILES)}
echo '# packages'
dpkg-query -W -f '${{db:Status-Abbrev}} ${{Package}}\\n' | sort
echo '# units'
systemctl list-unit-files --no-legend --plain --state=enabled,disabled,masked | sort
echo '# active'
systemctl list-units --no-legend --plain --type=service,socket,timer --state=active | cut -d' ' -f1 | sort
echo '# listeners'
ss -Hltun | awk '{{print $1, $5}}' | sort -u
echo '# firewall'
! command -v firewall-cmd >/dev/null || firewall-cmd --list-all-zones
"""


def take(host) -> dict[str, list[str]]:  # type: ignore[no-untyped-def]
    parts: dict[str, list[str]] = {}
    for line in host.check_output(LOOK).splitlines():
        if line.startswith("# "):
            part = parts.setdefault(line[2:], [])
        else:
            part.append(line)
    return parts


def keep(parts: dict[str, list[str]]) -> None:
    os.makedirs(FILE.parent, exist_ok=True)
    FILE.write_text(json.dumps(parts))


def kept() -> dict[str, list[str]]:
    return json.loads(FILE.read_text())  # type: ignore[no-any-return]
