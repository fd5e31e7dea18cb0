# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The set as a value: what is refused, what its id depends on, which service a change concerns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import (
    Entry,
    Manifest,
    Service,
    ServiceSet,
    SetError,
    affected,
    build,
    concerns_systemd,
    effects,
    generation_of,
    mode_of,
    path_of,
    place_of,
    unit_name,
)

BASE = "/etc/jellynet"
FILE = {"mode": "0644", "owner": "root", "group": "root", "sensitive": False, "effect": "reload", "affects": []}


def params(**changes: Any) -> dict[str, Any]:
    return {"name": "nginx", "files": [], "units": [], "services": [], "proof": [], **changes}


def files(*paths: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**FILE, "path": path, "verbatim": False, **changes} for path in paths]


def built(*paths: str, content: bytes = b"x", **changes: Any) -> ServiceSet:
    return build(params(files=files(*paths), **changes), [content] * len(paths), [], BASE)


# What is refused


@pytest.mark.parametrize("name", ["", "a/b", "..", "Nginx", "a b", "certificates", "local_ca", "x" * 80, "a\nb"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(SetError, match="name: "):
        build(params(name=name), [], [], BASE)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../x", "a/../b", "a//b", "a/", "./a", "/", "//etc/x", "/etc/../x", "/etc/x/", "a\nb", "a\x7fb", "/etc/a\0b",
     ".hidden", "links/x", "links", "units", "units/x", "/etc/jellynet", "/etc/jellynet/nginx/current/x"],
)  # fmt: skip
def test_paths_that_are_not_plain_are_refused(path: str) -> None:
    with pytest.raises(SetError, match="files: "):
        place_of(path, BASE)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("a", "a"),
        ("a/b.conf", "a/b.conf"),
        ("/etc/x", "links/etc/x"),
        ("linksx", "linksx"),
        ("/etc/jellynetx", "links/etc/jellynetx"),
    ],
)
def test_places_and_back(path: str, place: str) -> None:
    assert place_of(path, BASE) == place
    assert path_of(place) == path


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("/etc/a", "/etc/a/b/c")])
def test_paths_that_stand_in_each_others_way_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(SetError, match=r"twice|a file and a folder"):
        built(*paths)


@pytest.mark.parametrize(("mode", "number"), [("0644", 0o644), ("644", 0o644), (0o600, 0o600), ("04755", 0o4755)])
def test_modes(mode: Any, number: int) -> None:
    assert mode_of(mode, "x") == number


@pytest.mark.parametrize("mode", ["u=rw", "0888", "", None, -1, 0o10000, True, "99999"])
def test_modes_that_are_none_are_refused(mode: Any) -> None:
    with pytest.raises(SetError, match="the mode"):
        mode_of(mode, "x")


def test_unit_names() -> None:
    assert unit_name("nginx") == "nginx.service"
    assert unit_name("a@b.socket") == "a@b.socket"
    for name in ("", "a b", "a/b.service", "a\n", "a;b.timer"):
        with pytest.raises(SetError, match="is not the name of a unit"):
            unit_name(name)


@pytest.mark.parametrize(
    "proof",
    [{}, {"url": "https://h/", "argv": ["x"]}, {"argv": []}, {"url": "ftp://h/"}, {"url": "https://h"}, {"url": "https://u:p@h/"},
     {"url": "http://h h/"}],
)  # fmt: skip
def test_proofs_that_ask_nothing_are_refused(proof: dict[str, Any]) -> None:
    with pytest.raises(SetError, match="proof: "):
        built("a", proof=[proof])


def test_a_service_listed_twice_is_refused() -> None:
    with pytest.raises(SetError, match=r"nginx\.service is there twice"):
        built("a", services=[{"name": name, "enabled": None, "state": None} for name in ("nginx", "nginx.service")])


# The id


def test_the_id_is_the_same_in_any_order_and_at_any_time() -> None:
    one, other = built("a", "b"), built("b", "a")
    assert one.generation == other.generation
    assert len(one.generation) == 16
    assert int(one.generation, 16)
    # Written down, so that a change of the form is seen: it gives every host a new generation.
    assert one.generation == "0e86b3df71e9d93a"


@pytest.mark.parametrize(
    "other",
    [
        built("a", content=b"y"),
        built("b"),
        built("/a"),
        built("a", "b"),
        built("a", services=[{"name": "nginx", "enabled": True, "state": None}]),
        built("a", proof=[{"url": "http://h/"}]),
        build(params(files=files("a", mode="0600")), [b"x"], [], BASE),
        build(params(files=files("a", owner="www-data")), [b"x"], [], BASE),
        build(params(files=files("a", group="www-data")), [b"x"], [], BASE),
        build(params(files=files("a", verbatim=True)), [b"x"], [], BASE),
        build(params(files=files("a"), units=[{"name": "a.service", "effect": "restart"}]), [b"x"], [b"u"], BASE),
    ],
)
def test_the_id_covers_all_that_the_set_says(other: ServiceSet) -> None:
    assert other.generation != built("a").generation


def test_the_placeholder_becomes_the_id_that_was_computed_before() -> None:
    wanted = built("a", content=b"<@GENERATION@>")
    entry = wanted.entries[0]
    assert entry.final(wanted.generation) == f"<{wanted.generation}>".encode()
    assert Entry("a", b"@GENERATION@", verbatim=True).final("x") == b"@GENERATION@"


def test_the_manifest_tells_the_next_run_all_and_no_content() -> None:
    wanted = build(
        params(
            files=files("/etc/secret", sensitive=True),
            units=[{"name": "a.service", "effect": "restart"}],
            services=[{"name": "a", "enabled": True, "state": "started"}],
            proof=[{"url": "http://h/", "server_name": None, "argv": None}],
        ),
        [b"do not tell"],
        [b"u"],
        BASE,
    )
    text = wanted.manifest().decode()
    assert "do not tell" not in text
    manifest = Manifest(text)
    assert manifest.services == [Service("a.service", True, "started")]
    assert manifest.proof == [{"url": "http://h/"}]
    assert manifest.places("links") == ["links/etc/secret"]
    assert manifest.places("units") == ["units/a.service"]
    assert wanted.links == ("/etc/secret",)
    assert list(wanted.units) == ["a.service"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_a_damaged_manifest_says_nothing(text: str) -> None:
    assert Manifest(text).files == {}
    assert Manifest(text).services == []


def test_a_repaired_generation_keeps_its_id() -> None:
    assert generation_of("0123456789abcdef.2") == generation_of("0123456789abcdef") == "0123456789abcdef"


# What a change concerns

SERVICES = ["a.socket", "a.service", "b@1.service", "b@2.service", "c.timer"]


@pytest.mark.parametrize(
    ("place", "affects", "expected"),
    [
        ("site.conf", (), ["a.service", "b@1.service", "b@2.service"]),
        ("links/etc/nginx/x.conf", (), ["a.service", "b@1.service", "b@2.service"]),
        ("links/etc/systemd/system/a.socket.d/j.conf", (), ["a.socket"]),
        ("links/etc/systemd/system/b@.service.d/j.conf", (), ["b@1.service", "b@2.service"]),
        ("links/etc/systemd/system/b@2.service.d/j.conf", (), ["b@2.service"]),
        ("links/etc/systemd/system/other.service.d/j.conf", (), []),
        ("units/c.timer", (), ["c.timer"]),
        ("site.conf", ("c.timer", "unknown.service"), ["c.timer"]),
    ],
)
def test_who_is_concerned(place: str, affects: tuple[str, ...], expected: list[str]) -> None:
    assert affected(place, affects, SERVICES) == expected


def test_the_strongest_effect_for_each() -> None:
    changed = [
        {"place": "x", "effect": "reload", "affects": ()},
        {"place": "y", "effect": "restart", "affects": ("a.service",)},
        {"place": "z", "effect": "none", "affects": ("c.timer",)},
        {"place": "units/a.socket", "effect": "daemon_reload", "affects": ()},
    ]
    assert effects(changed, ["a.service", "a.socket", "b.service", "c.timer"]) == {
        "a.service": "restart",
        "b.service": "reload",
    }


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("units/a.service", True),
        ("links/etc/systemd/system/a.d/x.conf", True),
        ("links/etc/nginx/systemd/x", False),
        ("a", False),
    ],
)
def test_what_systemd_has_to_read(place: str, expected: bool) -> None:
    assert concerns_systemd(place) is expected


def test_the_manifest_is_json_that_a_person_can_read() -> None:
    assert json.loads(built("a").manifest())["format"] == 1
