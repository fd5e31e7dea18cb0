# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard's counting, by tables: who is refused after what, and who is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jellyfin_ports.guard.attempts import (
    ACCOUNT_SHARE,
    ACCOUNTS,
    ADDRESSES,
    FAILURE,
    KNOWN_ADDRESSES,
    NOTHING,
    REPEAT_SECONDS,
    SUCCESS,
    TRY_SECONDS,
    Attempts,
    Policy,
    Try,
    Verdict,
    account_name,
    network_key,
)

CLOSED = 5 * ACCOUNT_SHARE
STRANGER, OTHER, HOME = "203.0.113.9", "198.51.100.7", "192.0.2.1"


class Desk:
    """Tries one password after the other, at a clock of its own."""

    def __init__(self, attempts: Attempts | None = None, **policy: Any) -> None:
        self.attempts = attempts or Attempts(Policy(**{"attempts": 5, "seconds": 600.0, "ban_attempts": 50, **policy}))
        self.now = 1000.0

    def attempt(self, address: str, name: str, password: str, secret: bool = False) -> Try:
        account = self.attempts.account("media", name)
        return Try(network_key(address), account, self.attempts.mark(account.encode(), password.encode()), secret)

    def tries(self, address: str, name: str, password: str, outcome: str = FAILURE, secret: bool = False) -> Verdict:
        attempt = self.attempt(address, name, password, secret)
        verdict = self.attempts.admit(attempt, self.now)
        if verdict.wait:
            return verdict
        return self.attempts.settle(self.attempts.hold(attempt, self.now), outcome, self.now, 0.0)

    def fails(self, address: str, name: str, times: int, start: int = 0) -> list[Verdict]:
        return [self.tries(address, name, f"wrong {number}") for number in range(start, start + times)]

    def waits(self, address: str, name: str, password: str = "right") -> float:
        return self.attempts.admit(self.attempt(address, name, password), self.now).wait


def test_the_limit_of_an_address_and_its_end() -> None:
    desk = Desk()
    for number in range(5):
        assert not desk.tries(STRANGER, f"user {number}", "x").wait, number
    assert desk.waits(STRANGER, "anna") == 600.0
    assert desk.waits(OTHER, "anna") == 0.0
    desk.now += 599
    assert desk.waits(STRANGER, "anna") == 1.0
    desk.now += 1
    assert desk.waits(STRANGER, "anna") == 0.0


def test_failures_that_are_old_do_not_count() -> None:
    desk = Desk()
    desk.fails(STRANGER, "anna", 4)
    desk.now += 600
    desk.fails(STRANGER, "anna", 4, start=4)
    assert desk.waits(STRANGER, "anna") == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.9", "203.0.113.10", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
    ],
)
def test_what_is_one_visitor(one: str, other: str, same: bool) -> None:
    desk = Desk()
    for number in range(5):
        desk.tries(one, f"user {number}", "x")
    assert bool(desk.waits(other, "anna")) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("anna", "ANNA", True),
        ("Ünal", "üNAL", True),
        ("anna", "anna ", False),
        ("straße", "strasse", False),  # one character for one, as .NET's invariant casing
        ("anna\n", "anna", False),
    ],
)
def test_one_account_in_all_its_spellings(one: str, other: str, same: bool) -> None:
    assert (account_name(one) == account_name(other)) is same
    desk = Desk()
    for number in range(CLOSED):
        desk.tries(f"203.0.113.{number}", one, f"wrong {number}")
    assert bool(desk.waits(OTHER, other)) is same


def test_an_account_is_refused_to_strangers_and_open_to_an_address_that_it_knows() -> None:
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    for number in range(CLOSED):
        assert not desk.tries(f"203.0.113.{number}", "anna", f"wrong {number}").wait
    assert desk.attempts.admit(desk.attempt(OTHER, "anna", "y"), desk.now).why == "account"
    assert desk.waits(HOME, "Anna") == 0.0
    assert desk.waits(OTHER, "bob") == 0.0, "others' accounts are not concerned"


def test_one_stranger_alone_closes_no_account() -> None:
    desk = Desk()
    for number in range(200):
        desk.tries(STRANGER, "anna", f"wrong {number}")
    assert desk.waits(STRANGER, "anna") > 0
    assert desk.waits(OTHER, "anna") == 0.0, "the owner may come from an address that is new"


def test_nobody_is_cut_off_where_the_number_is_zero() -> None:
    desk = Desk(ban_attempts=0)
    assert not any(desk.tries(STRANGER, "anna", f"wrong {number}").ban for number in range(500))
    assert desk.attempts.dump(desk.now, 0.0)["addresses"][STRANGER][2] <= 64


def test_a_neighbour_behind_the_same_address_does_not_lock_the_owner_out() -> None:
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    for number in range(5):
        desk.tries(HOME, f"user {number}", "x")
    assert desk.waits(HOME, "bob") > 0
    assert desk.waits(HOME, "anna") == 0.0


def test_a_known_address_guesses_no_more_than_others() -> None:
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    desk.fails(HOME, "anna", 5)
    assert desk.attempts.admit(desk.attempt(HOME, "anna", "y"), desk.now) == Verdict(600.0, "known", counted=True)


def test_a_television_with_an_old_password_counts_once_an_hour() -> None:
    desk = Desk(ban_attempts=6)
    counted = 0
    for _minute in range(3 * 60):
        verdict = desk.tries(HOME, "anna", "old")
        assert not verdict.wait and not verdict.ban
        counted += verdict.counted
        desk.now += 60
    assert counted == 3
    assert desk.waits(HOME, "anna") == 0.0


def test_a_television_is_never_cut_off_however_long_it_goes_on() -> None:
    desk = Desk(ban_attempts=6)
    for _hour in range(100):
        for device in ("one", "two", "three"):
            assert not desk.tries(HOME, "anna", device).ban
        desk.now += REPEAT_SECONDS


def test_cut_off_after_so_many_different_tries_refused_ones_among_them() -> None:
    desk = Desk(ban_attempts=50)
    bans = [desk.tries(STRANGER, "anna", f"wrong {number}").ban for number in range(50)]
    assert bans == [False] * 49 + [True]
    assert not any(desk.tries(STRANGER, "anna", "wrong 7").ban for _turn in range(100)), "the same one is no other"


def test_tries_of_yesterday_cut_nobody_off() -> None:
    desk = Desk(ban_attempts=50)
    desk.fails(STRANGER, "anna", 49)
    desk.now += TRY_SECONDS
    assert not desk.tries(STRANGER, "anna", "another").ban


def test_a_login_of_ones_own_forgives_no_other_accounts_failures() -> None:
    desk = Desk(ban_attempts=20)
    refused = banned = 0
    for number in range(30):
        desk.tries(STRANGER, "eve", "hers", SUCCESS)
        verdict = desk.tries(STRANGER, "anna", f"wrong {number}")
        refused += bool(verdict.wait)
        banned += verdict.ban
    assert refused == 25
    assert banned == 1


def test_a_login_forgives_the_same_accounts_failures() -> None:
    desk = Desk()
    desk.fails(HOME, "anna", 4)
    desk.tries(HOME, "anna", "right", SUCCESS)
    desk.tries(HOME, "bob", "x")
    assert desk.waits(HOME, "carl") == 0.0
    assert desk.waits(OTHER, "anna") == 0.0


def test_many_at_once_gain_nothing() -> None:
    desk = Desk()
    admitted = []
    for number in range(20):
        attempt = desk.attempt(STRANGER, "anna", f"wrong {number}")
        if not desk.attempts.admit(attempt, desk.now).wait:
            admitted.append(desk.attempts.hold(attempt, desk.now))
    assert len(admitted) == 5
    verdict = desk.attempts.admit(desk.attempt(STRANGER, "anna", "one more"), desk.now)
    assert verdict.wait and not verdict.counted, "it may come again in a moment"
    for hold in admitted:
        desk.attempts.settle(hold, NOTHING, desk.now)
    assert desk.waits(STRANGER, "anna") == 0.0, "nothing is left of those that failed for another reason"
    admitted = []
    for number in range(100):  # from as many addresses
        attempt = desk.attempt(f"203.0.113.{number}", "anna", f"wrong {number}")
        if not desk.attempts.admit(attempt, desk.now).wait:
            admitted.append(desk.attempts.hold(attempt, desk.now))
    assert len(admitted) == CLOSED


def test_a_pending_quick_connect_secret_is_no_failure_and_unknown_ones_are() -> None:
    desk = Desk()
    pending = desk.attempt(HOME, "", "pending", secret=True)
    for number in range(5):
        desk.tries(HOME, "", f"guess {number}", secret=True)
    assert desk.waits(HOME, "anna") > 0
    desk.attempts.good_secret(pending.mark, desk.now)
    for _poll in range(200):
        assert not desk.tries(HOME, "", "pending", NOTHING, secret=True).wait
        desk.now += 1
    assert not desk.tries(HOME, "", "pending", FAILURE, secret=True).counted, "it ran out, nobody guessed"


def test_polling_one_unknown_secret_counts_once() -> None:
    desk = Desk()
    assert sum(desk.tries(HOME, "", "expired", secret=True).counted for _poll in range(200)) == 1
    assert desk.waits(HOME, "anna") == 0.0


@pytest.mark.parametrize(("lockout", "share"), [(0, None), (3, 1), (5, 2), (10, 5)])
def test_strangers_do_not_drive_jellyfins_own_lockout(lockout: int, share: int | None) -> None:
    """Jellyfin forgets no failure until a login succeeds, and counts the same password each time."""
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    desk.attempts.learn(desk.attempts.account("media", "anna"), lockout)
    reached = 0
    for number in range(40):
        for password in ("the same", f"another {number}"):
            reached += not desk.tries(f"203.0.113.{number}", "anna", password).wait
        desk.now += 600
    if share is None:
        assert reached > 40
    else:
        assert reached == share
    assert desk.waits(HOME, "anna") == 0.0
    desk.tries(HOME, "anna", "right", SUCCESS)
    assert desk.waits(OTHER, "anna") == 0.0, "as Jellyfin, a login begins anew"


def test_the_id_of_a_user_is_his_account_once_it_is_known() -> None:
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    account, alias = desk.attempts.account("media", "ANNA"), desk.attempts.account_of_id("media", "AB-12")
    assert alias != account
    desk.attempts.learn(account, 0, alias)
    assert desk.attempts.account_of_id("media", "ab12") == account
    assert desk.attempts.account_of_id("other", "ab12") != account


def test_unban_forgets_an_address_and_lets_it_try_what_others_closed() -> None:
    desk = Desk()
    desk.fails(STRANGER, "anna", 5)
    assert [key for key, _left in desk.attempts.refused(desk.now)] == [STRANGER]
    assert desk.attempts.unban(STRANGER, desk.now)
    assert desk.waits(STRANGER, "anna") == 0.0
    assert not list(desk.attempts.refused(desk.now))
    for number in range(CLOSED):
        desk.tries(f"203.0.113.{number}", "bob", f"wrong {number}")
    assert desk.waits(OTHER, "bob") > 0
    desk.attempts.unban(OTHER, desk.now)
    assert desk.waits(OTHER, "bob") == 0.0
    assert not desk.attempts.unban("192.0.2.99", desk.now)


def test_what_a_restart_keeps() -> None:
    desk = Desk()
    desk.tries(HOME, "anna", "right", SUCCESS)
    desk.attempts.learn(desk.attempts.account("media", "anna"), 5, desk.attempts.account_of_id("media", "ab12"))
    desk.fails(STRANGER, "anna", 2)
    desk.fails(STRANGER, "bob", 3)
    desk.fails(OTHER, "carl", 4)
    saved = json.dumps(desk.attempts.dump(desk.now, 1_700_000_000.0))
    for word in ("anna", "bob", "right", "wrong", HOME):
        assert word not in saved
    again = Desk(Attempts.load(desk.attempts.policy, json.loads(saved), 50.0, 1_700_000_060.0))
    again.now = 50.0
    assert again.waits(STRANGER, "dora") == 540.0
    assert again.waits(HOME, "anna") == 0.0
    assert again.attempts.admit(again.attempt("192.0.2.77", "anna", "x"), 50.0).why == "lockout"
    assert again.attempts.account_of_id("media", "ab12") == again.attempts.account("media", "anna")
    again.tries(OTHER, "carl", "the fifth")
    assert again.waits(OTHER, "dora") == 600.0


def test_a_clock_that_was_set_back_refuses_nobody_for_longer() -> None:
    desk = Desk()
    desk.fails(STRANGER, "anna", 5)
    saved = desk.attempts.dump(desk.now, 1_700_000_000.0)
    again = Attempts.load(desk.attempts.policy, saved, 50.0, 1_600_000_000.0)
    assert [left for _key, left in again.refused(50.0)] == [600.0]


@pytest.mark.parametrize(
    "broken",
    [None, [], {}, {"version": 2}, {"version": 1, "key": "00"}, {"version": 1, "key": "zz"},
     {"version": 1, "key": "00" * 32, "addresses": {"no address": [0, [], 0]}, "accounts": {}, "homes": {}, "aliases": {}},
     {"version": 1, "key": "00" * 32, "addresses": {"203.0.113.9": [0]}, "accounts": {}, "homes": {}, "aliases": {}},
     {"version": 1, "key": "00" * 32, "addresses": {}, "accounts": 7, "homes": {}, "aliases": {}}],
)  # fmt: skip
def test_a_state_that_is_none_is_said_as_one_error(broken: Any) -> None:
    with pytest.raises(ValueError):
        Attempts.load(Policy(), broken, 0.0, 0.0)


def test_memory_is_bounded() -> None:
    desk = Desk()
    for number in range(ADDRESSES + 4000):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        desk.tries(address, f"user {number}", "x")
    status = desk.attempts.status(desk.now)
    assert status["addresses"] == ADDRESSES
    assert status["accounts"] == ACCOUNTS
    for number in range(KNOWN_ADDRESSES + 50):
        desk.tries(f"192.0.2.{number}", "anna", "right", SUCCESS)
    assert desk.attempts.status(desk.now)["known_addresses"] == KNOWN_ADDRESSES
