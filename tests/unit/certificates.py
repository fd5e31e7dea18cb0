"""Certificates for the tests: a CA as a public one would be, lineages as certbot lays them, pairs of files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _door_sync, _x509
from ansible_collections.jellynet.jellyfin.plugins.module_utils._door import Layout

DOMAIN = "media.example.org"
CA_EXTENSIONS = ["basicConstraints = critical, CA:TRUE", "subjectKeyIdentifier = hash"]


@dataclass
class Issuer:
    """A root and an intermediate."""

    root_key: str = field(default_factory=lambda: _x509.new_key("ecdsa"))
    key: str = field(default_factory=lambda: _x509.new_key("ecdsa"))

    def __post_init__(self) -> None:
        self.root = _x509.self_signed(self.root_key, {"CN": "test root"}, CA_EXTENSIONS, 3650)
        self.intermediate = _x509.signed(
            self.key, {"CN": "test intermediate"}, CA_EXTENSIONS, 1000, self.root, self.root_key
        )

    def issue(self, domain: str = DOMAIN, key_type: str = "ecdsa", days: int = 90, key: str = "") -> tuple[str, str]:
        """The full chain and the key."""
        key = key or _x509.new_key(key_type)
        leaf = _x509.signed(
            key, {"CN": domain[:64]}, _x509.server_extensions(domain), days, self.intermediate, self.key
        )
        return leaf + self.intermediate, key


def layout(root: Path, **given: Any) -> Layout:
    """The host's folders below a temporary one, owned by whoever runs the test."""
    return Layout(
        certificates=root / "jellynet" / "certificates",
        local_ca=root / "jellynet" / "local_ca",
        letsencrypt=root / "letsencrypt",
        lock=root / "lock",
        uid=os.getuid(),
        gid=os.getgid(),
        **given,
    )


def lineage(at: Layout, pair: tuple[str, str], domain: str = DOMAIN, key_type: str = "ecdsa") -> Path:
    """What certbot leaves after it issued or renewed."""
    live = at.letsencrypt / "live" / _door_sync.lineage(domain, key_type)
    live.mkdir(parents=True, exist_ok=True)
    (live / "fullchain.pem").write_text(pair[0])
    (live / "privkey.pem").write_text(pair[1])
    return live


def config(*sites: dict[str, Any], **given: Any) -> _door_sync.Config:
    """As the role writes it."""
    return _door_sync.Config.of({"sites": list(sites), **given})


def site(**given: Any) -> dict[str, Any]:
    return {"domain": DOMAIN, "certificate": "letsencrypt", "key_types": ["ecdsa"], **given}


def later(days: float) -> datetime:
    return _x509.utcnow() + timedelta(days=days)
