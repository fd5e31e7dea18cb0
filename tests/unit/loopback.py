# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports of loopback that stay ours while a test needs them: other tests run at the same time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A TCP port that refuses connections, and that the kernel gives to nobody; who asks for its number may listen there."""
    with socket.socket() as keeper:
        # Bound but not listening: with this option on both sides a second socket may be bound beside it, and listen.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield int(keeper.getsockname()[1])


@contextlib.contextmanager
def closed_udp_port() -> Iterator[int]:
    """A UDP port that is closed to all, and that the kernel gives to nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as keeper:
        keeper.bind(("127.0.0.1", 0))
        # Who is connected hears his peer alone; whatever others send is refused as on a closed port.
        keeper.connect(("127.0.0.1", 9))
        yield int(keeper.getsockname()[1])
