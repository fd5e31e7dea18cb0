# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a running service which generation it serves, until it says the right one or time is up."""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _listeners

CONSECUTIVE = 5
"""New ids in a row, each over a connection of its own: an old worker that still accepts would come between."""

_ANSWER_LIMIT = 4096


class ProofError(Exception):
    """Not proved; one sentence for each listener that did not answer rightly."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = list(sentences)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back: an id, or words that say what came instead."""

    generation: str = ""
    words: str = ""


def prove(
    proofs: Sequence[Mapping[str, Any]],
    generation: str,
    timeout: float,
    own_units: Collection[str] | None = None,
    before: str = "",
    hopeless: Callable[[], str] = lambda: "",
) -> None:
    """Return once every listener answers with the generation several times in a row; else ProofError after the timeout.

    Who holds the port of a wrong answer is named, unless it belongs to ``own_units``; without those nobody is named.
    ``hopeless`` is asked now and then; its words end the waiting.
    """
    deadline = time.monotonic() + timeout
    open_proofs = {index: Answer(words="was not asked.") for index in range(len(proofs))}
    pause = 0.02
    while open_proofs:
        for index in list(open_proofs):
            answer = _ask_in_a_row(proofs[index], generation, deadline)
            if answer.generation == generation:
                del open_proofs[index]
            else:
                open_proofs[index] = answer
        if not open_proofs:
            return
        why = hopeless() if pause > 0.2 else ""
        if why or time.monotonic() + pause >= deadline:
            sentences = [_sentence(proofs[index], answer, own_units, before) for index, answer in open_proofs.items()]
            raise ProofError([*sentences, why] if why else sentences)
        time.sleep(pause)
        pause = min(pause * 1.7, 1.0)


def _ask_in_a_row(proof: Mapping[str, Any], generation: str, deadline: float) -> Answer:
    answer = Answer()
    for _turn in range(CONSECUTIVE if "url" in proof else 1):
        answer = ask(proof, max(0.2, min(5.0, deadline - time.monotonic())))
        if answer.generation != generation:
            break
    return answer


def ask(proof: Mapping[str, Any], timeout: float) -> Answer:
    """One question to one listener or program."""
    if "argv" in proof:
        return _ask_program(proof["argv"], timeout)
    return _ask_url(proof["url"], proof.get("server_name", ""), timeout)


def _ask_program(argv: Sequence[str], timeout: float) -> Answer:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no module here
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return Answer(words="did not end in time.")
    except OSError as problem:
        return Answer(words=f"can't be run: {problem.strerror}.")
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0 and _is_id(said):
        return Answer(generation=said)
    return Answer(
        words=f"ended with {done.returncode} and said {_short((done.stderr.decode(errors='replace') or said).strip())!r}."
    )


def _ask_url(url: str, server_name: str, timeout: float) -> Answer:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except ConnectionRefusedError:
        return Answer(words="refuses connections: nothing listens there.")
    except socket.timeout:
        return Answer(words="does not accept connections in time.")
    except OSError as problem:
        return Answer(words=f"can't be reached: {problem.strerror or problem}.")
    try:
        if parts.scheme == "https":
            connection = _tls(connection, server_name or host)
        client = http.client.HTTPConnection(host, port, timeout=timeout)
        client.sock = connection
        client.request("GET", parts.path or "/", headers={"Host": server_name or parts.netloc, "Connection": "close"})
        response = client.getresponse()
        body = response.read(_ANSWER_LIMIT).decode(errors="replace").strip()
    except ssl.SSLError as problem:
        return Answer(words=f"fails the TLS handshake for {server_name or host}: {problem.reason or problem}.")
    except socket.timeout:
        return Answer(words="accepts the connection but does not answer in time.")
    except (OSError, http.client.HTTPException) as problem:
        return Answer(words=f"breaks off ({type(problem).__name__}): no HTTP answer.")
    finally:
        connection.close()
    if response.status == 200 and _is_id(body):
        return Answer(generation=body)
    # A proxy that cannot answer with a text of its own says it in a header.
    named = response.getheader("Jellynet-Generation") or ""
    if _is_id(named):
        return Answer(generation=named)
    # The body is not quoted: it may be anybody's.
    server = response.getheader("Server")
    return Answer(
        words=f"answers {response.status} without a generation{f' (Server: {_short(server)})' if server else ''}."
    )


def _tls(connection: socket.socket, server_name: str) -> ssl.SSLSocket:
    # Which set is served is the question, not by whose certificate: a placeholder is as good.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=server_name)


def _sentence(proof: Mapping[str, Any], answer: Answer, own_units: Collection[str] | None, before: str) -> str:
    if "argv" in proof:
        asked = " ".join(proof["argv"])
        return f"{asked} {answer.words or f'says {answer.generation}.'}"
    parts = urllib.parse.urlsplit(proof["url"])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = f" for {proof['server_name']}" if proof.get("server_name") else ""
    words = answer.words
    if answer.generation:
        words = (
            "still answers with the set from before."
            if answer.generation == before
            else f"answers with another set ({answer.generation})."
        )
    return f"{parts.scheme}://{parts.netloc}{name} {words}{_foreign_holder(port, own_units)}"


def _foreign_holder(port: int, own_units: Collection[str] | None) -> str:
    """Who else has the port, in words; nothing when it is ours or nobody's."""
    if own_units is None:
        return ""
    try:
        held = [item for item in _listeners.listeners() if item["proto"] == "tcp" and item["port"] == port]
    except OSError:
        return ""
    # A socket unit's port is held by systemd itself, which says nothing about whose it is.
    foreign = sorted(
        {
            (item["process"], item["unit"])
            for item in held
            if item["process"] not in ("", "systemd") and item["unit"] not in own_units
        }
    )
    if not foreign:
        return ""
    names = ", ".join(f"{process} ({unit})" if unit else process for process, unit in foreign)
    return f" Port {port} is held by {names}: stop it or give it another port."


def _is_id(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{16}", text))


def _short(text: str, limit: int = 200) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= limit else text[:limit] + "…"


def words_of(argv: Sequence[str]) -> str:
    """A command as a person would write it."""
    return " ".join(os.path.basename(argv[0]) if index == 0 else part for index, part in enumerate(argv))
