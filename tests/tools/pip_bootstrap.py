"""Puts a bootstrap script for pip where ansible-test looks before it would fetch one: it takes the pip that Python brings.

ansible-test also strips pip's settings from the environment; the script writes them into the environment that it makes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = '''\
"""Stands in for get-pip.py: made by tests/tools/pip_bootstrap.py of jellynet.jellyfin."""
import ensurepip, pathlib, sys
settings = {settings!r}
if settings:
    pathlib.Path(sys.prefix, "pip.conf").write_text(settings)
ensurepip.bootstrap(default_pip=True)
'''


def main(venv: Path) -> None:
    versions = set()
    for path in venv.glob("lib/python3*/site-packages/ansible_test/_internal/python_requirements.py"):
        versions |= set(re.findall(r"""pip=['"]([\d.]+)['"]""", path.read_text()))
    if not versions:
        sys.exit(f"{venv}: ansible-test names no version of pip where it did; see tests/tools/pip_bootstrap.py")
    said = subprocess.run([venv / "bin" / "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    pairs = re.findall(r"^(?:global|user|:env:)\.([\w-]+)='(.*)'$", said, re.M)
    settings = "[global]\n" + "".join(
        f"{key} = {value.replace(chr(92) + 'n', ' ')}\n" for key, value in dict(pairs).items()
    )
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        path = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not path.exists() or "jellynet.jellyfin" in path.read_text():
            path.write_text(SCRIPT.format(settings=settings if pairs else ""))


main(Path(sys.argv[1]))
