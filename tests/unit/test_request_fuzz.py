"""Requests by a grammar in front of the relay's parser and the server's reader: 50,000 connections, and the long run's state."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "request_grammar", Path(__file__).resolve().parents[1] / "fuzz" / "requests.py"
)
assert _SPEC is not None and _SPEC.loader is not None
grammar = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(grammar)
CASES, SEED = 50_000, 9


def test_nobody_disagrees_on_where_a_request_ends():
    taken, refused = grammar.run(CASES, SEED)
    assert taken > CASES / 2 and refused > CASES / 10


@pytest.mark.parametrize(
    "found",
    [
        ("length", b"POST /x HTTP/1.1\r\nHost: media\r\nContent-Length: 3\r\n\r\nabc"),
        ("target", b"GET /x HTTP/1.1\r\nHost: media\r\n\r\n"),
    ],
)
def test_a_disagreement_is_found(found, monkeypatch):
    """A relay that passed on another length or another target would be seen."""
    what, data = found
    real = grammar.render_request

    def wrong(request, *told):
        passed = real(request, *told)
        return (
            passed.replace(b"Content-Length: 3", b"Content-Length: 2")
            if what == "length"
            else passed.replace(b"/x", b"/y")
        )

    monkeypatch.setattr(grammar, "render_request", wrong)
    readers = grammar.Readers()
    with pytest.raises(grammar.Disagreement):
        readers.check(data)
    readers.close()


def test_the_long_run_goes_on_where_it_ended(tmp_path):
    state = tmp_path / "state.json"
    grammar.run(3000, 1, 0, state)
    assert json.loads(state.read_text()) == {"seed": 1, "count": 3000, "cases": 3000, "result": "no disagreement"}
    # A block is the same wherever the run begins.
    assert grammar.connection(grammar.block(1, 2)) == grammar.connection(grammar.block(1, 2))
    whole = grammar.run(3000, 1)
    first, rest = grammar.run(2000, 1), grammar.run(3000, 1, 2000)
    assert whole == (first[0] + rest[0], first[1] + rest[1])
