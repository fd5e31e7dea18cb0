# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives a Jellyfin server its ports on the LAN: client discovery, SSDP, HDHomeRun discovery, HTTP and HTTPS."""

from __future__ import annotations

__version__ = "1.0.0"
