# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moves a long body from socket to socket inside the kernel, without its bytes ever coming here."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable

AVAILABLE = hasattr(os, "splice")
_PIPE_SIZE = 1 << 20
_ONCE = 1 << 20
_ROUNDS = 8  # of one stream alone; the more there are, the shorter each one's turn, for all wait meanwhile
_DESCRIPTORS = 4
_F_SETPIPE_SZ = 1031
_FLAGS = 0x1 | 0x2  # move, do not block


class BulkCopy:
    """Copies `count` bytes. Both transports must be quiet: the source paused, nothing buffered for the target.

    The sockets are duplicated, because asyncio does not let anyone else watch a descriptor of its own.
    """

    active = 0

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        target: socket.socket,
        count: int,
        done: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._done = done
        self._in_pipe = 0
        self._to_read = count
        self.left = count
        self._fds: list[int] = []
        try:
            self._source = os.dup(source.fileno())
            self._fds.append(self._source)
            self._target = os.dup(target.fileno())
            self._fds.append(self._target)
            self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._fds += [self._out, self._in]
        except OSError:
            self._close()
            raise
        with contextlib.suppress(OSError):  # over the user's share of pipe memory the default size does as well
            fcntl.fcntl(self._in, _F_SETPIPE_SZ, _PIPE_SIZE)
        self._reading = True
        BulkCopy.active += 1
        loop.add_reader(self._source, self._pump)

    @property
    def waits_for_target(self) -> bool:
        return not self._reading

    def stop(self) -> None:
        self._close()

    def _close(self) -> None:
        if not self._fds:
            return
        if len(self._fds) == _DESCRIPTORS:
            BulkCopy.active -= 1
        for fd, remove in zip(self._fds, (self._loop.remove_reader, self._loop.remove_writer)):
            remove(fd)
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def _finish(self, complete: bool) -> None:
        self._close()
        self._done(complete)

    def _wait_for_target(self, wait: bool) -> None:
        if wait == (not self._reading):
            return
        self._reading = not wait
        if wait:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._target, self._pump)
        else:
            self._loop.remove_writer(self._target)
            self._loop.add_reader(self._source, self._pump)

    def _pump(self) -> None:
        try:
            once = _ONCE if BulkCopy.active <= _ROUNDS else _ONCE // 4
            for _turn in range(max(1, _ROUNDS // BulkCopy.active)):
                empty = False
                if self._to_read and self._in_pipe < _PIPE_SIZE // 2:
                    try:
                        got = os.splice(self._source, self._in, min(self._to_read, once), flags=_FLAGS)
                        if got == 0:
                            return self._finish(False)
                        self._to_read -= got
                        self._in_pipe += got
                    except BlockingIOError:
                        empty = True
                if self._in_pipe:
                    try:
                        sent = os.splice(self._out, self._target, self._in_pipe, flags=_FLAGS)
                    except BlockingIOError:
                        return self._wait_for_target(True)
                    self._in_pipe -= sent
                    self.left -= sent
                    if self.left == 0:
                        return self._finish(True)
                if empty and not self._in_pipe:
                    break
            self._wait_for_target(self._in_pipe > 0)
        except OSError:
            self._finish(False)
