# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the doors' command from the set of files in force."""

from __future__ import annotations

import sys

sys.path.insert(0, "/etc/jellynet/certificate/current/lib")

from jellynet_certificates._door_cli import main

sys.exit(main())
