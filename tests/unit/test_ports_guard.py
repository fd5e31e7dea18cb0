# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard on loopback, before a server that answers as Jellyfin does, and a limits process that only writes down what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from jellyfin_ports.guard import callers, connection, routes, texts
from jellyfin_ports.guard import server as guard_server
from jellyfin_ports.relay import client as relay_client
from ports_support import Setting, read_head, relay_before, until

ME = pwd.getpwuid(os.getuid()).pw_name
STRANGER, HOME = "203.0.113.9", "192.0.2.1"
BY_NAME = "/Users/AuthenticateByName"


def run(job: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(job, 120))  # type: ignore[arg-type]


class Server:
    """Knows anna and bob by the password `right`, and the secret `pending`."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.lockout = -1
        self.status = 0
        self.silent = False
        self.chunked = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length.group(1))) if length else b""
            self.seen.append((head, body))
            if self.silent:
                await reader.read(1)
                return
            status, text = self.answer(head.split(b" ")[1].decode(), body)
            if self.chunked:
                middle = len(text) // 2 or 1
                parts = [part for part in (text[:middle], text[middle:]) if part]
                framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
                writer.write(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (status, framed))
            else:
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text))

    def answer(self, target: str, body: bytes) -> tuple[int, bytes]:
        if self.status:
            return self.status, b"Error processing request."
        path, _, query = target.partition("?")
        path = path.lower()
        with contextlib.suppress(ValueError):
            body = json.loads(body)
        fields = {key.lower(): value for key, value in body.items()} if isinstance(body, dict) else {}
        if path.endswith("/authenticatebyname"):
            if fields.get("username", "").lower() in ("anna", "bob") and fields.get("pw") == "right":
                policy = {"LoginAttemptsBeforeLockout": self.lockout}
                user = {"Name": fields["username"], "Id": "aa" * 16, "Policy": policy}
                return 200, json.dumps({"User": user, "AccessToken": "t" * 32}).encode()
            return 401, b"Error processing request."
        if path.endswith("/authenticate"):
            return (200, b"{}") if query == "pw=right" else (401, b"")
        if path.endswith("/connect"):
            return (200, b'{"Authenticated":false}') if "pending" in query else (404, b'"Unknown secret"')
        if path.endswith("/authenticatewithquickconnect"):
            return (200, b"{}") if fields.get("secret") == "pending" else (404, b"")
        if path.endswith("/pin"):
            return {"0": (200, b'{"Success":false}'), "1": (200, b'{"Success":true}')}.get(fields["pin"], (404, b""))
        return 200, b"{}"


class Limits:
    """Takes down what the guard asks of the process `limits`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"enforced": True}


@contextlib.asynccontextmanager
async def guarded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None, **changes: Any
) -> AsyncIterator[Setting]:
    monkeypatch.setenv("JELLYFIN_PORTS_RUN", str(tmp_path))
    fake = None
    if limits is not None:
        (tmp_path / "jellyfin-ports-limits").mkdir()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            limits.asked.append(json.loads(await reader.readline()))
            writer.write(json.dumps(limits.answer).encode() + b"\n")
            await writer.drain()
            writer.close()

        fake = await asyncio.start_unix_server(take, str(tmp_path / "jellyfin-ports-limits" / "control"))
    guard = {"enabled": True, "attempts": 5, "users": [ME], **changes.pop("guard", {})}
    site = {"name": "media", "domains": ["media.example.org"], **changes.pop("site", {})}
    make = lambda config: guard_server.Guard(config, str(tmp_path))  # noqa: E731
    async with relay_before(server, make, guard=guard, server=site, **changes) as setting:
        yield setting
    if fake is not None:
        fake.close()


def request(
    target: str = BY_NAME,
    body: bytes | dict[str, Any] = b"",
    address: str = STRANGER,
    peer: str = "",
    method: str = "POST",
    more: str = "",
    host: str = "media.example.org",
) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n"
        f"X-Jellynet-Peer: {peer or address}\r\nContent-Type: application/json\r\nConnection: close\r\n{more}"
    )
    if data or method == "POST":
        head += f"Content-Length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


def login(name: str, password: str, address: str = STRANGER, **options: Any) -> bytes:
    return request(body={"Username": name, "Pw": password}, address=address, **options)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def fail(setting: Setting, times: int, name: str = "anna", address: str = STRANGER, **options: Any) -> list[int]:
    return [status(await setting.talk(login(name, f"wrong {turn}", address, **options))) for turn in range(times)]


def test_a_login_passes_byte_for_byte_and_says_who_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            body = b'{ "Username":"\\u0061nna",\r\n "pW":"right" , "Extra": [1.50, {"x": null}]}'
            out = await setting.talk(
                request(body=body, peer="198.51.100.1", more="Accept-Encoding: gzip\r\nX-Mine: 1\r\n")
            )
            assert status(out) == 200 and b"AccessToken" in out
            head, passed = server.seen[0]
            assert passed == body
            for line in (b"Host: media.example.org", b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https",
                         b"X-Forwarded-Host: media.example.org", b"X-Mine: 1"):  # fmt: skip
                assert line + b"\r\n" in head
            assert b"jellynet" not in head.lower() and b"accept-encoding" not in head.lower()

    run(job())


@pytest.mark.parametrize("framing", ["chunked", "expect", "slowly"])
def test_every_framing_of_a_body(framing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            body = b'{"Username": "anna", "Pw": "right"}'
            reader, writer = await setting.connect()
            head = request(body=body).partition(b"\r\n\r\n")[0]
            if framing == "chunked":
                head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
                writer.write(head + b"\r\n\r\n5\r\n" + body[:5] + b"\r\n%x;x=y\r\n" % (len(body) - 5))
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(body[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n")
            elif framing == "expect":
                writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
                assert (await read_head(reader)).startswith(b"HTTP/1.1 100 ")
                writer.write(body)
            else:
                writer.write(head + b"\r\n\r\n")
                for number in body:
                    writer.write(bytes([number]))
                    await writer.drain()
            assert status(await reader.read(-1)) == 200
            head, passed = server.seen[0]
            assert passed == body
            assert b"Content-Length: %d\r\n" % len(body) in head and b"chunked" not in head
            writer.close()

    run(job())


def test_too_many_failures_are_refused_with_a_sentence_and_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert await fail(setting, 5) == [401] * 5
            out = await setting.talk(login("bob", "right"))
            assert status(out) == 429
            wait = re.search(rb"Retry-After: (\d+)\r\n", out)
            assert wait is not None and 590 <= int(wait.group(1)) <= 601
            assert b"Too many logins from your address have failed. Try again in 10 minutes." in out
            assert len(server.seen) == 5
            assert status(await setting.talk(login("bob", "right", HOME))) == 200

    run(job())


@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_what_the_server_says_decides(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        server = Server()
        server.status = code
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert await fail(setting, 6) == [code] * 5 + [429]

    run(job())


@pytest.mark.parametrize("code", [200, 204, 400, 405, 415, 502, 503])
def test_what_is_no_failed_login_counts_nothing(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        server = Server()
        server.status = code
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert await fail(setting, 12) == [code] * 12

    run(job())


def test_the_owner_gets_in_while_strangers_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("Anna", "right", HOME))) == 200
            for number in range(20):
                await setting.talk(login("ANNA", f"wrong {number}", f"203.0.113.{number}"))
            out = await setting.talk(login("anna", "right", "203.0.113.77"))
            assert status(out) == 429 and b"to this account" in out
            assert status(await setting.talk(login("anna", "right", HOME))) == 200
            assert status(await setting.talk(login("bob", "right", "203.0.113.77"))) == 200

    run(job())


def test_a_television_with_an_old_password_is_answered_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            answers = [status(await setting.talk(login("anna", "old", HOME))) for _turn in range(60)]
            assert answers == [401] * 60
            assert status(await setting.talk(login("bob", "right", HOME))) == 200

    run(job())


@pytest.mark.parametrize("chunked", [False, True])
def test_jellyfins_own_lockout_is_not_driven_by_strangers(
    chunked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        server = Server()
        server.lockout, server.chunked = 5, chunked
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("anna", "right", HOME))) == 200
            answers = [status(await setting.talk(login("anna", "same", f"203.0.113.{turn}"))) for turn in range(8)]
            assert answers == [401, 401] + [429] * 6
            by_id = request(f"/Users/{'AA' * 16}/Authenticate?pw=wrong", address="203.0.113.99")
            assert status(await setting.talk(by_id)) == 429, "the id is the same account"
            assert status(await setting.talk(login("anna", "right", HOME))) == 200

    run(job())


@pytest.mark.parametrize(
    ("method", "target", "bodies", "codes"),
    [
        ("POST", "/Users/AuthenticateWithQuickConnect", [{"Secret": f"g{n}"} for n in range(6)], [404] * 5 + [429]),
        ("POST", "/Users/AuthenticateWithQuickConnect", [{"Secret": "same"}] * 12, [404] * 12),
        ("POST", "/Users/ForgotPassword", [{"EnteredUsername": f"u{n}"} for n in range(6)], [200] * 5 + [429]),
        ("POST", "/Users/ForgotPassword/Pin", [{"Pin": f"p{n}"} for n in range(6)], [404] * 5 + [429]),
        ("POST", "/Users/ForgotPassword/Pin", [{"Pin": "1"}] * 12, [200] * 12),
        ("POST", "/Users/ForgotPassword/Pin", [{"Pin": "0"}, *({"Pin": f"p{n}"} for n in range(5))], [200] + [404] * 4 + [429]),
        ("POST", "/QuickConnect/Initiate", [b""] * 12, [200] * 12),
        ("OPTIONS", BY_NAME, [b""] * 12, [401] * 12),
    ],
)  # fmt: skip
def test_the_other_ways_in(
    method: str, target: str, bodies: list[Any], codes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            assert [status(await setting.talk(request(target, body, method=method))) for body in bodies] == codes

    run(job())


PAGES = (
    "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-site\r\n",
    "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\n",
)
CLIENTS = (
    "",
    "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n",
    'Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\nAuthorization: MediaBrowser Client="web"\r\n',
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_elsewhere_has_no_visitor_refused(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image a secret, or a form a password, asked for in the name of a visitor's browser."""

    async def job() -> None:
        server, limits = Server(), Limits()
        async with guarded(server, tmp_path, monkeypatch, limits, guard={"ban_attempts": 6}) as setting:
            for turn in range(8):
                out = await setting.talk(request(f"/QuickConnect/Connect?secret={turn}", method="GET", more=page))
                assert status(out) == 403
                assert (
                    status(await setting.talk(request(f"/Users/{'aa' * 16}/Authenticate?pw={turn}", more=page))) == 403
                )
            assert server.seen == [] and limits.asked == []
            assert status(await setting.talk(login("anna", "right"))) == 200

    run(job())


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_in_a_browser_log_in(client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("anna", "right", more=client))) == 200
            out = await setting.talk(request("/QuickConnect/Connect?secret=pending", method="GET", more=client))
            assert status(out) == 200

    run(job())


def test_an_account_is_the_same_in_every_form_of_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "aa" * 16
    dashed = f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"

    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            accounts = {
                setting.relay.attempts.account_of_id("media", form)
                for form in (plain, plain.upper(), dashed, f" {dashed}  ", f"{{{dashed}}}", f"({dashed})")
            }
            assert len(accounts) == 1
            others = {setting.relay.attempts.account_of_id("media", form) for form in ("{0xaa,{0xaa}}", "x", "aa")}
            assert len(others) == 1 and not others & accounts

    run(job())


def test_polling_quick_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:

            async def poll(secret: str, extra: str = "") -> int:
                return status(
                    await setting.talk(request(f"/QuickConnect/Connect?secret={secret}{extra}", method="GET"))
                )

            assert [await poll("pending") for _turn in range(30)] == [200] * 30
            assert [await poll("expired", f"&_={turn}") for turn in range(30)] == [404] * 30
            assert [await poll(f"guess{turn}") for turn in range(5)] == [404] * 4 + [429]
            assert await poll("pending") == 200, "a secret that is known to be good is no guess"
            assert status(await setting.talk(login("anna", "right"))) == 429

    run(job())


def test_a_login_of_ones_own_in_between_resets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            answers = []
            for turn in range(8):
                assert status(await setting.talk(login("bob", "right"))) == 200
                answers.append(status(await setting.talk(login("anna", f"wrong {turn}"))))
            assert answers == [401] * 5 + [429] * 3

    run(job())


def test_who_hangs_up_before_the_answer_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_client, "_HALF_CLOSED_SECONDS", 0.2)

    async def job() -> None:
        server = Server()
        server.silent = True
        async with guarded(server, tmp_path, monkeypatch) as setting:
            for turn in range(5):
                _reader, writer = await setting.connect()
                writer.write(login("anna", f"wrong {turn}"))
                await until(lambda turn=turn: len(server.seen) == turn + 1)
                writer.close()
                await until(lambda turn=turn: setting.relay.counters["logins_failure"] == turn + 1)
            assert status(await setting.talk(login("bob", "right"))) == 429

    run(job())


def test_many_at_once_from_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_client, "_HALF_CLOSED_SECONDS", 0.2)

    async def job() -> None:
        server = Server()
        server.silent = True
        async with guarded(server, tmp_path, monkeypatch) as setting:
            waiting = [asyncio.ensure_future(setting.talk(login("anna", f"wrong {turn}"))) for turn in range(12)]
            await until(lambda: sum(task.done() for task in waiting) == 8 and len(server.seen) == 4)
            refused = [task.result() for task in waiting if task.done()]
            assert all(status(out) == 429 and b"Retry-After: " in out for out in refused)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await until(lambda: setting.relay.status()["in_flight"] == 0)

    run(job())


def test_the_places_of_all_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server, "IN_FLIGHT_ALL", 6)

    async def job() -> None:
        server = Server()
        server.silent = True
        async with guarded(server, tmp_path, monkeypatch) as setting:
            waiting = [
                asyncio.ensure_future(setting.talk(login(f"x{turn}", "y", f"203.0.113.{turn}"))) for turn in range(8)
            ]
            await until(lambda: sum(task.done() for task in waiting) == 2)
            assert [status(task.result()) for task in waiting if task.done()] == [503, 503]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(job())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request(body=b"x" * 65537), 413),
        (request(body=b"{"), 400),
        (request(body=b"[]"), 400),
        (request(body=b'{"Username": "anna", "username": "bob", "Pw": "x"}'), 400),
        (request(body='{"Username": "anna", "U\u017fername": "bob", "Pw": "x"}'.encode()), 400),
        (request(body=b"\xff\xfe{\x00}\x00"), 400),
        (request(body=b'{"Username": "\xff", "Pw": "x"}'), 400),
        (request(body=b"[" * 60000), 400),
        (request(body={"Username": "anna", "Pw": "x"}, more="Content-Type: application/json; charset=utf-16\r\n"), 400),
        (request(body={}, address="203.0.113.9, 192.0.2.1", peer="203.0.113.9"), 400),
        (request(body={}, address="unknown", peer="203.0.113.9"), 400),
        (request(body={}, more="X-Forwarded-For: 192.0.2.1\r\n"), 400),
        (request(body={}).replace(b"X-Jellynet-Peer: 203.0.113.9\r\n", b""), 400),
        (request(body={}, host="other.example.org"), 421),
    ],
)
def test_what_could_be_read_in_two_ways_goes_nowhere(
    data: bytes, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(data)) == code
            assert server.seen == []

    run(job())


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server, "_HEAD_SECONDS", 0.2)
    monkeypatch.setattr(guard_server, "_BODY_SECONDS", 0.2)

    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("anna", "x")[:-4])) == 408
            assert status(await setting.talk(b"POST / HTTP/1.1\r\nHost: ")) == 408
            assert server.seen == [] and setting.relay.status()["in_flight"] == 0

    run(job())


def test_the_guards_own_time_limits_are_short_whatever_streams_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        async with guarded(
            Server(), tmp_path, monkeypatch, limits={"body_seconds": 600.0, "head_seconds": 600.0}
        ) as setting:
            limits = setting.relay.config.limits
            assert (limits.head_seconds, limits.body_seconds, limits.response_seconds) == (10.0, 15.0, 60.0)

    run(job())


def test_a_server_that_is_down_costs_nobody_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            setting.origin.close()
            assert await fail(setting, 8) == [503] * 8

    run(job())


# Being cut off


def test_a_direct_visitor_is_cut_off_after_so_many_different_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        limits = Limits()
        async with guarded(Server(), tmp_path, monkeypatch, limits, guard={"ban_attempts": 20}) as setting:
            assert await fail(setting, 19) == [401] * 5 + [429] * 14
            assert limits.asked == []
            await fail(setting, 20)
            await until(lambda: limits.asked)
            assert limits.asked == [{"ban": STRANGER, "seconds": 14400, "reason": "20 failed logins"}]

    run(job())


@pytest.mark.parametrize("trusted", [[], ["203.0.113.0/24"]])
def test_behind_a_trusted_proxy_nobody_is_cut_off(
    trusted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        limits = Limits()
        guard = {"ban_attempts": 20}
        async with guarded(
            Server(), tmp_path, monkeypatch, limits, guard=guard, connections={"exempt": trusted}
        ) as setting:
            assert await fail(setting, 25, peer="" if trusted else "198.51.100.1") == [401] * 5 + [429] * 20
            assert setting.relay.counters["not_cut_off_behind_a_proxy"] == 1
            await asyncio.sleep(0)
            assert limits.asked == []

    run(job())


@pytest.mark.parametrize("answer", [None, {"error": "nftables is not there"}, {"refused": "it is in jellyfin_lan"}])
def test_who_cannot_be_cut_off_gets_no_login_all_the_same(
    answer: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        limits = Limits()
        limits.answer = answer or {}
        given = None if answer is None else limits
        async with guarded(Server(), tmp_path, monkeypatch, given, guard={"ban_attempts": 20}) as setting:
            await fail(setting, 25)
            await until(lambda: "is not cut off" in caplog.text)
            assert status(await setting.talk(login("bob", "right"))) == 429
            left = dict(setting.relay.attempts.refused(setting.relay.loop.time()))[STRANGER]
            assert (left > 14000) is (answer is None or "error" in answer), (
                "never cut off: refused for no longer than others"
            )

    caplog.set_level(logging.WARNING)
    run(job())


# Who may ask


def test_a_local_user_speaks_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        server = Server()
        async with guarded(server, tmp_path, monkeypatch, guard={"users": ["no-such-user"]}) as setting:
            outs = [await setting.talk(login("anna", f"wrong {turn}")) for turn in range(40)]
            assert {status(out) for out in outs} == {403}
            assert server.seen == [] and setting.relay.counters["refused_callers"] == 40
            assert setting.relay.attempts.status(0.0)["addresses"] == 0

    caplog.set_level(logging.INFO)
    run(job())
    lines = [record for record in caplog.records if "only the reverse proxy" in record.getMessage()]
    assert 0 < len(lines) <= 10


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_the_user_of_another_process_is_seen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        address = listener.getsockname()
        # all modules first (a name is encoded by one that is imported late): nobody may not read a Python below /root
        script = (
            "import encodings.idna, os, socket, sys; os.setuid(65534);"
            f"s = socket.create_connection({address!r}); s.sendall(b'x'); sys.stdin.readline()"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as other:
            connection_, peer = listener.accept()
            assert connection_.recv(1) == b"x"
            assert callers.owner(peer, address) == 65534
            for look in (callers._asked, callers._listed):
                assert look(peer, address)[:2] == (1, 65534), look
            assert other.stdin is not None
            other.stdin.close()
        assert callers.owner(peer, address) is None, "a socket that was closed is root's in the kernel's eyes"
        connection_.close()


def test_a_v4_mapped_caller_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_INET6) as client:
        address = listener.getsockname()
        client.connect((f"::ffff:{address[0]}", address[1]))
        connection_, peer = listener.accept()
        assert callers._listed(peer, address)[1] == os.getuid()
        assert callers.owner(peer, address) == os.getuid()
        connection_.close()


def test_a_dynamic_user_is_found_without_nss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_DYNAMIC", f"{tmp_path}/direct:")
    (tmp_path / "direct:jellynet-traefik").symlink_to("61234")
    assert callers.user_id("jellynet-traefik") == 61234
    assert callers.user_id("root") == 0
    assert callers.user_id("no-such-user") is None


# What it says

ATTACKS = [
    "anna", 'an"na', "a\nlogin failed address=192.0.2.1 direct=yes account=\"x\" route=x status=401", "\x1b[2J\x1b]0;x\x07",
    "192.0.2.1", '" route=AuthenticateByName status=401', "\\", '\\"', "\x7f\x80\u202e\u2028", "a" * 500, "\ud800", "",
    "from 192.0.2.1 port 22", "\r\n\r\n", "%s%d", "<HOST>",
]  # fmt: skip
LINE = re.compile(
    r'login failed address=(\S+) direct=(yes|no) account="((?:[ !#-\[\]-~]|\\["\\bfnrt]|\\u[0-9a-f]{4})*)" route=(\S+) status=(\d{3})'
)


@pytest.mark.parametrize("name", ATTACKS)
def test_one_line_a_failure_whatever_the_name(name: str) -> None:
    line = texts.failed(STRANGER, True, name, "AuthenticateByName", 401)
    match = LINE.fullmatch(line)
    assert match is not None and match.group(1) == STRANGER and match.group(5) == "401"
    assert line.isprintable() and line.isascii()
    assert json.loads(f'"{match.group(3)}"').startswith(name[:64])


def test_the_log_of_failed_and_refused_logins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            for _turn in range(3):
                await setting.talk(login("an\nna", "old", "2001:db8::5", peer="198.51.100.1"))
            await fail(setting, 7)
            await fail(setting, 7)

    caplog.set_level(logging.WARNING)
    run(job())
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == (
        'login failed address=2001:db8::5 direct=no account="an\\nna" route=AuthenticateByName status=401'
    )
    rest = [LINE.fullmatch(line) for line in lines[1:]]
    assert [match and match.group(5) for match in rest] == ["401"] * 5 + ["429"] * 2, "one line for each different try"
    assert not any("wrong" in line or "old" in line for line in lines)


# What it is asked, and what it keeps


def test_bans_and_unban(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            await fail(setting, 5)
            await fail(setting, 5, "bob", "2001:db8:1:2::5")
            bans = (await setting.relay.request({"bans": True}))["bans"]
            assert [ban["address"] for ban in bans] == [STRANGER, "2001:db8:1:2::/64"]
            assert (await setting.relay.request({"unban": "2001:db8:1:2::/64"}))["unbanned"]
            assert (await setting.relay.request({"unban": STRANGER})) == {"unbanned": True, "network": STRANGER}
            assert status(await setting.talk(login("anna", "right"))) == 200
            assert not (await setting.relay.request({"bans": True}))["bans"]
            assert "error" in await setting.relay.request({"unban": "x"})
            assert "error" in await setting.relay.request({})

    run(job())


def test_a_restart_keeps_refusals_and_who_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("anna", "right", HOME))) == 200
            await fail(setting, 5)
            for number in range(16):
                await fail(setting, 1, "anna", f"203.0.113.{100 + number}")
        saved = (tmp_path / "attempts.json").read_text()
        assert "anna" not in saved and HOME not in saved
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            assert status(await setting.talk(login("bob", "right"))) == 429
            assert status(await setting.talk(login("anna", "right", "203.0.113.77"))) == 429
            assert status(await setting.talk(login("anna", "right", HOME))) == 200

    run(job())


def test_what_is_counted_is_written_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server, "_SAVE_SECONDS", 0.0)

    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            await fail(setting, 5)
            path = tmp_path / "attempts.json"
            await until(lambda: path.exists() and json.loads(path.read_text())["addresses"].get(STRANGER, [0])[0] > 0)

    run(job())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"version": 1}', b"[" * 100000])
def test_a_broken_state_is_put_aside(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "attempts.json").write_bytes(content)

    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            assert await fail(setting, 6) == [401] * 5 + [429]

    caplog.set_level(logging.ERROR)
    run(job())
    assert (tmp_path / "attempts.broken").read_bytes() == content
    assert "counting begins anew" in caplog.text
    assert json.loads((tmp_path / "attempts.json").read_text())["version"] == 1


def test_a_reload_takes_new_numbers_and_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        async with guarded(Server(), tmp_path, monkeypatch) as setting:
            await fail(setting, 3)
            from dataclasses import replace

            config = setting.relay.config
            setting.relay.configure(replace(config, guard=replace(config.guard, attempts=4)))
            assert [status(await setting.talk(login("anna", f"other {turn}"))) for turn in range(2)] == [401, 429]

    run(job())


# What a request is

JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "target", "base", "route"),
    [
        ("POST", "/Users/AuthenticateByName", "", "AuthenticateByName"),
        ("POST", "/users//authenticatebyNAME/?x=1", "", "AuthenticateByName"),
        ("POST", "/jellyfin/emby/Users/AuthenticateByName", "/jellyfin", "AuthenticateByName"),
        ("POST", "/mediabrowser/emby/jellyfin/users%2fauthenticate%42yname", "/jellyfin", "AuthenticateByName"),
        ("POST", "/U%c5%bfers/AuthenticateByName", "", "AuthenticateByName"),
        ("POST", "/Users/AuthenticateWithQuickConnect", "", "AuthenticateWithQuickConnect"),
        ("POST", "/Users/abc/Authenticate?Pw=x", "", "Authenticate"),
        ("POST", "/Users/ForgotPassword", "", "ForgotPassword"),
        ("POST", "/Users/ForgotPassword/Pin", "", "ForgotPassword/Pin"),
        ("GET", "/QuickConnect/Connect?secret=x", "", "QuickConnect/Connect"),
        ("POST", "/QuickConnect/Initiate", "", "QuickConnect/Initiate"),
        ("GET", "/Users/AuthenticateByName", "", "other"),
        ("POST", "/x", "", "other"),
        ("OPTIONS", "/Users/AuthenticateByName", "", "preflight"),
    ],
)
def test_routes_as_the_server_reads_them(method: str, target: str, base: str, route: str) -> None:
    assert routes.read(method, target, base, JSON, b"{}").route == route


def test_what_is_tried() -> None:
    assert routes.read("POST", BY_NAME, "", JSON, b'\xef\xbb\xbf{"USERNAME": "a", "pW": 5}').tried == b"5"
    assert routes.read("POST", "/Users/a-b/Authenticate?x=1&PW=%41b", "", "", b"").tried == b"Ab"
    twice = routes.read("POST", "/Users/a-b/Authenticate?pw=1&pw=2", "", "", b"")
    assert twice.tried == b"pw=1&pw=2"
    assert routes.read("POST", "/x", "", "", b"1").tried != routes.read("POST", "/x", "", "", b"2").tried


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (b'{"User": {"Id": "x", "Policy": {"LoginAttemptsBeforeLockout": -1}}}', (0, "x")),
        (b'{"user": {"id": "x", "policy": {"loginAttemptsBeforeLockout": 0}}}', (3, "x")),
        (b'{"User": {"Policy": {"LoginAttemptsBeforeLockout": 7}}}', (7, "")),
        (b'{"User": {"Policy": {"LoginAttemptsBeforeLockout": "7"}}}', None),
        (b'{"User": []}', None),
        (b"[" * 100000, None),
        (b"\xff", None),
    ],
)
def test_what_a_login_tells_of_its_account(answer: bytes, facts: Any) -> None:
    assert routes.account_facts(answer) == facts


def test_an_answer_without_its_chunks() -> None:
    from jellyfin_ports.relay.head import Response

    chunked = Response(200, b"OK", (), chunked=True)
    assert connection.plain_body(chunked, bytearray(b"2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n")) == b"abc"
    assert connection.plain_body(chunked, bytearray(b"2\r\nab\r\n")) == b""
    assert connection.plain_body(chunked, None) == b""
    assert connection.plain_body(Response(200, b"OK", (), length=2), bytearray(b"ab")) == b"ab"
