# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets this process go before all others as long as it needs little.

An answer takes a tenth of a millisecond, but on a busy machine the process would wait many for its turn. The unit allows
the lowest real-time priority; where nobody allows it (some containers), the process stays an ordinary one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time

log = logging.getLogger(__name__)

BUSY, CALM = 0.3, 0.1  # of one core, over a second
_PRIORITY = 1


class Urgency:
    """Under a flood it steps back, so that what it goes before gets its share."""

    def __init__(self) -> None:
        self.urgent = False
        self._allowed = True
        self._at = self._used = 0.0

    def rise(self) -> None:
        """Threads that are started later inherit it: what holds the interpreter must not wait either."""
        if self.urgent or not self._allowed:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
            self.urgent = True
        except (OSError, AttributeError) as error:
            self._allowed = False
            log.debug("stays an ordinary process: %s", error)

    def _step_back(self) -> None:
        """To where the datagrams of a flood are taken in batches, since it does not run after each of them any more."""
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        self.urgent = False

    def tick(self) -> None:
        """Called about once a second."""
        now, used = time.monotonic(), time.process_time()
        first, share = not self._at, (used - self._used) / max(now - self._at, 0.001)
        self._at, self._used = now, used
        if first:  # what the start took says nothing
            return
        if self.urgent and share > BUSY:
            self._step_back()
        elif not self.urgent and share < CALM:
            self.rise()
