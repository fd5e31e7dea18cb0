# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program on a staged set as if the set were in force: in namespaces of its own, where nobody else sees it.

A child of this process gets its own mount, PID, IPC and (for a trial) network namespace. It lays the staged folder over the live
one and the set's links over the live paths, runs the program there and reports. It is PID 1 in there: when it ends,
or when this process dies, the kernel ends all that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import glob
import grp
import json
import os
import pwd
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

_NEWNS, _NEWIPC, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT_LIMIT = 8192
_LOG_SECONDS = 0.3
_KILL_GRACE = 3.0
_DENIALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOSPC, errno.EUSERS)


Ask = Callable[[float, Callable[[], str]], None]


class Denied(Exception):
    """This host does not let us have namespaces (an unprivileged container, mostly)."""


class Missing(Exception):
    """The program or its user is not on this host."""


@dataclasses.dataclass
class View:
    """What is different for the program: where the set lies, and what else is private."""

    folder: str
    """The service's folder, /etc/jellynet/nginx; ``current`` in it leads to the staged set."""
    staged: str
    """The folder that holds the staged set."""
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Absolute paths and where the link there leads to."""
    tmpfs: Sequence[str] = ()
    """Folders of which the program gets an empty copy of its own."""


@dataclasses.dataclass
class Program:
    """What to run and as whom."""

    argv: Sequence[str]
    user: str = "root"
    groups: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


def check(view: View, program: Program, timeout: float) -> tuple[int, str]:
    """Run a checker to its end; its exit code and what it said."""
    identity = _identity(program)
    limit = timeout + _KILL_GRACE
    code, said = _isolated(view, identity, lambda: _run(program, identity, timeout), limit, network=False)
    return code, said


def trial(view: View, program: Program, ask: Ask, timeout: float, settle: float = 1.0) -> str:
    """Start a daemon and ask it, in a network of its own; '' when it stood, else why not.

    ``ask`` runs inside; it gets the seconds that it has and a function that says why it is no use to wait longer, and raises
    when the daemon does not answer rightly.
    """
    identity = _identity(program)
    limit = timeout + 2 * _KILL_GRACE
    why: str = _isolated(
        view, identity, lambda: _stand(view, program, identity, ask, timeout, settle), limit, network=True
    )
    return why


@dataclasses.dataclass
class _Identity:
    uid: int
    gid: int
    groups: list[int]
    home: str


def _identity(program: Program) -> _Identity:
    try:
        user = pwd.getpwnam(program.user)
    except KeyError:
        raise Missing(f"the user {program.user} is not there") from None
    extra = []
    for group in program.groups:
        try:
            extra.append(grp.getgrnam(group).gr_gid)
        except KeyError:
            raise Missing(f"the group {group} is not there") from None
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return _Identity(user.pw_uid, user.pw_gid, sorted({*groups, *extra}), user.pw_dir)


def _isolated(view: View, identity: _Identity, job: Callable[[], Any], timeout: float, network: bool) -> Any:
    """The job's result, computed in namespaces of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(view, identity, job, writing, network)
    os.close(writing)
    try:
        answer = _read(reading, timeout)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        return _fail({"error": f"it did not end within {timeout:.0f} s"})
    return _fail(answer)


def _fail(answer: dict[str, Any]) -> Any:
    if "denied" in answer:
        raise Denied(answer["denied"])
    if "missing" in answer:
        raise Missing(answer["missing"])
    if "error" in answer:
        raise OSError(answer["error"])
    return answer["result"]


def _read(descriptor: int, timeout: float) -> dict[str, Any] | None:
    deadline = time.monotonic() + timeout
    received = b""
    while True:
        ready, _w, _x = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(descriptor, 65536)
        if not part:
            break
        received += part
    return json.loads(received) if received else {"error": "the isolated run ended without a word"}


def _child(view: View, identity: _Identity, job: Callable[[], Any], writing: int, network: bool) -> None:
    """Never returns: both the go-between and the namespaces' first process leave by _exit."""
    try:
        _die_with_parent()
        try:
            _call("unshare", _NEWNS | _NEWIPC | _NEWPID | (_NEWNET if network else 0))
        except OSError as problem:
            _tell(writing, _refusal(problem))
            os._exit(0)
        inner = os.fork()
        if inner:
            os.close(writing)
            os.waitpid(inner, 0)
            os._exit(0)
        _die_with_parent()
        try:
            _prepare(view, identity, network)
        except OSError as problem:
            _tell(writing, _refusal(problem))
            os._exit(0)
        try:
            _tell(writing, {"result": job()})
        except Missing as problem:
            _tell(writing, {"missing": str(problem)})
    except BaseException as problem:
        _tell(writing, {"error": f"{type(problem).__name__}: {problem}"})
    finally:
        os._exit(0)


def _refusal(problem: OSError) -> dict[str, str]:
    words = f"{problem.filename}: {problem.strerror}"
    return {"denied" if problem.errno in _DENIALS else "error": words}


def _tell(descriptor: int, answer: dict[str, Any]) -> None:
    text = json.dumps(answer).encode()
    while text:
        text = text[os.write(descriptor, text) :]


def _prepare(view: View, identity: _Identity, network: bool) -> None:
    os.chdir("/")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    # Without its own /proc a daemon would look at the host's processes; where that is not allowed it has to do with them.
    with contextlib.suppress(OSError):
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if network:
        _loopback_up()
        # The set may bind the host's own addresses and, as a plain user with a capability, privileged ports.
        for setting in ("ip_nonlocal_bind", "ip_unprivileged_port_start"):
            with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/{setting}", "w", encoding="ascii") as file:
                file.write("1" if setting == "ip_nonlocal_bind" else "0")
        with contextlib.suppress(OSError), open("/proc/sys/net/ipv6/ip_nonlocal_bind", "w", encoding="ascii") as file:
            file.write("1")
    _Stage().show(view, identity)


class _Stage:
    """Private changes to the tree: folders are replaced by a tmpfs into which all that was there is bound again."""

    def __init__(self) -> None:
        self.private: set[str] = set()

    def show(self, view: View, identity: _Identity) -> None:
        staged = os.open(view.staged, os.O_PATH | os.O_DIRECTORY)
        current = os.path.join(view.folder, "current")
        if os.path.isdir(current):
            _mount(f"/proc/self/fd/{staged}", os.path.realpath(current), None, _MS_BIND)
        else:
            generation = os.path.basename(view.staged.rstrip("/"))
            self.folder(view.folder)
            os.mkdir(os.path.join(view.folder, generation))
            _mount(f"/proc/self/fd/{staged}", os.path.join(view.folder, generation), None, _MS_BIND)
            self.link(current, generation)
        os.close(staged)
        for path, target in view.links.items():
            if not (os.path.islink(path) and os.readlink(path) == target):
                self.link(path, target)
        for path in view.tmpfs:
            self.empty(os.path.realpath(path), identity)

    def link(self, path: str, target: str) -> None:
        """A link at a path, whatever stands there outside."""
        self.folder(os.path.dirname(path))
        if os.path.lexists(path):
            if not os.path.islink(path):
                _call("umount2", os.fsencode(path), _MNT_DETACH)
            os.unlink(path)
        os.symlink(target, path)

    def folder(self, path: str) -> None:
        """A private folder at a path: its entries are the real ones, but adding and removing stays in here."""
        path = os.path.realpath(path)
        if path in self.private:
            return
        if os.path.isdir(path):
            self._shadow(path)
            return
        self.folder(os.path.dirname(path))
        os.mkdir(path, 0o755)
        self.private.add(path)

    def _shadow(self, path: str) -> None:
        real = os.open(path, os.O_PATH | os.O_DIRECTORY)
        _tmpfs_over(path, os.fstat(real))
        self.private.add(path)
        for entry in os.scandir(f"/proc/self/fd/{real}"):
            inside = os.path.join(path, entry.name)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), inside)
                continue
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(inside)
            else:
                os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o600))
            _mount(entry.path, inside, None, _MS_BIND | _MS_REC)
        os.close(real)

    def empty(self, path: str, identity: _Identity) -> None:
        """A private folder with the real one's subfolders and none of its files."""
        if not os.path.isdir(path):
            self.folder(path)
            os.chown(path, identity.uid, identity.gid)
            return
        real = os.open(path, os.O_PATH | os.O_DIRECTORY)
        _tmpfs_over(path, os.fstat(real))
        _copy_folders(f"/proc/self/fd/{real}", path, os.fstat(real).st_dev, depth=3)
        os.close(real)


def _tmpfs_over(path: str, like: os.stat_result) -> None:
    _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV)
    os.chmod(path, like.st_mode & 0o7777)
    os.chown(path, like.st_uid, like.st_gid)


def _copy_folders(source: str, target: str, device: int, depth: int) -> None:
    for entry in os.scandir(source):
        if not entry.is_dir(follow_symlinks=False):
            continue
        status = entry.stat(follow_symlinks=False)
        copy = os.path.join(target, entry.name)
        os.mkdir(copy)
        os.chmod(copy, status.st_mode & 0o7777)
        os.chown(copy, status.st_uid, status.st_gid)
        if depth > 1 and status.st_dev == device:  # of another mount, /run/lock say, only the folder itself
            _copy_folders(entry.path, copy, device, depth - 1)


def _run(program: Program, identity: _Identity, timeout: float) -> tuple[int, str]:
    with tempfile.TemporaryFile() as said:
        process = _popen(program, identity, said)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 124, f"{_tail(said)}\nIt did not end within {timeout:.0f} s and was stopped.".lstrip()
        return code, _tail(said)


def _stand(view: View, program: Program, identity: _Identity, ask: Ask, timeout: float, settle: float) -> str:
    with tempfile.TemporaryFile() as said:
        process = _popen(program, identity, said)

        def dead() -> str:
            return "" if process.poll() is None else f"it ended with exit code {process.returncode}."

        problem = ""
        try:
            try:
                ask(timeout, dead)
            except Exception as refused:
                problem = dead() or str(refused)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(settle)
                    problem = f"it ended with exit code {process.returncode} soon after its start."
        finally:
            _end(process)
        return "\n".join(filter(None, [problem, _tail(said), *_logged(view)])) if problem else ""


def _logged(view: View) -> list[str]:
    """What a daemon wrote to log files of its own: nobody can look at them once this namespace is gone."""
    time.sleep(_LOG_SECONDS)  # it may log through a pipe
    found = []
    for folder in view.tmpfs:
        for path in sorted(glob.glob(f"{glob.escape(folder)}/*.log")):
            with contextlib.suppress(OSError), open(path, "rb") as log:
                if text := _tail(log):
                    found.append(f"{path}:\n{text}")
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the daemon to end; what does not is ended by the kernel when this namespace goes."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_GRACE)


def _popen(program: Program, identity: _Identity, said: Any) -> subprocess.Popen[bytes]:
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": identity.home, **program.environment}

    def become() -> None:
        os.setsid()
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        os.setuid(identity.uid)

    try:
        return subprocess.Popen(  # pylint: disable=ansible-bad-function  # no module here
            list(program.argv),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment,
            cwd="/",
            preexec_fn=become,
        )
    except FileNotFoundError:
        raise Missing(f"{program.argv[0]} is not installed") from None
    except PermissionError as problem:
        raise OSError(f"{program.argv[0]} can't be run as {program.user}: {problem.strerror}") from None


def _tail(said: Any) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _OUTPUT_LIMIT))
    return str(said.read().decode(errors="replace")).strip()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS


def _die_with_parent() -> None:
    _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        None,
        path=target,
    )


def _call(function: str, *arguments: Any, path: str = "") -> None:
    # Python has unshare() since 3.12 and mount() not at all.
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path or function)
