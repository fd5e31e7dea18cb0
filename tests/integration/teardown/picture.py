"""A picture of a host: what a teardown has to bring back."""

from __future__ import annotations

import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / ".cache" / "lab" / "scenarios" / "teardown-before.json"

# Written anew by whoever runs, not by us
IGNORED = "/etc/ld.so.cache /etc/.pwd.lock /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/machine-id"

LOOK = f"""
cd /
echo '# files'
find etc -type f -o -type l | sort | while read -r f; do
  case $f in etc/firewalld/*.old) continue;; esac # its own copies
  case " {IGNORED} " in *" /$f "*) continue;; esac
  if [ -L "$f" ]; then echo "$f -> $(readlink "$f")"; else echo "$f $(stat -c '%a %U %G' "$f") $(sha256sum < "$f")"; fi
done
echo '# packages'
dpkg-query -W -f '${{db:Status-Abbrev}} ${{Package}}\\n' | sort
echo '# units'
systemctl list-unit-files --no-legend --plain --state=enabled,disabled,masked | sort
echo '# active'
systemctl list-units --no-legend --plain --type=service,socket,timer --state=active | cut -d' ' -f1 | sort
echo '# listeners'
ss -Hltun | awk '{{print $1, $5}}' | sort -u
echo '# firewall'
firewall-cmd --list-all-zones
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
