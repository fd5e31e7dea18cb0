# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the guard remembers over a restart: one file, replaced as a whole."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from .attempts import Attempts, Policy

log = logging.getLogger(__name__)


class Store:
    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "attempts.json" if directory else None

    def load(self, policy: Policy, now: float) -> Attempts:
        """A file that cannot be read is put aside: the guard counts from nothing, and says so."""
        if self._path is None:
            return Attempts(policy)
        try:
            return Attempts.load(policy, json.loads(self._path.read_text("utf-8")), now, time.time())
        except FileNotFoundError:
            return Attempts(policy)
        except (OSError, ValueError, RecursionError) as error:
            aside = self._path.with_suffix(".broken")
            try:
                os.replace(self._path, aside)
                log.error("%s cannot be read (%s); it lies in %s, and counting begins anew", self._path, error, aside)
            except OSError:
                log.error("%s cannot be read (%s); counting begins anew", self._path, error)
            return Attempts(policy)

    def save(self, data: dict[str, Any]) -> None:
        """Blocking. Whole or not at all, also when the power goes."""
        if self._path is None:
            return
        scratch = self._path.with_suffix(".new")
        try:
            with open(scratch, "w", encoding="utf-8") as file:
                file.write(json.dumps(data, separators=(",", ":")))
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            log.error("what was counted is not kept over a restart: %s: %s", self._path, error.strerror)
