"""Makes the checkout importable as ansible_collections.jellynet.jellyfin, wherever it lies."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings
from proxy_files import rendered  # noqa: F401  (a fixture of the whole folder)

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"

if ROOT.parts[-3:] != ("ansible_collections", "jellynet", "jellyfin"):
    link = COLLECTIONS / "ansible_collections" / "jellynet" / "jellyfin"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # of another run, or another process of this one
        link.symlink_to(ROOT)
    sys.path.insert(0, str(COLLECTIONS))

# A busy machine is no finding, and the same tree has the same verdict each time: tests/fuzz looks for new examples.
settings.register_profile("unit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

# The bundled service is a package of its own.
sys.path.insert(0, str(ROOT / "roles" / "port_binding" / "files"))
