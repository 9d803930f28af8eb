"""Observations join as a semilattice, so a feed may be observed in blocks and in any order."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.ndjson import Kind, Seen, join, resolve
from feed_assets.ndjson.strict_json import Refused
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.feeds import made_up, observed

VALUES = {
    "null": set[Kind](),
    "true": {Kind.BOOLEAN},
    "1": {Kind.INTEGER},
    "9007199254740992": {Kind.INTEGER},
    "9007199254740993": {Kind.LONG},
    "-9223372036854775808": {Kind.LONG},
    "9223372036854775808": {Kind.BEYOND},
    "1.5": {Kind.FRACTION},
    "1e400": {Kind.BEYOND},
    "1e-400": {Kind.BEYOND},
    '"2020-01-20"': {Kind.DATETIME},
    '"2020-01-20T10:00Z"': {Kind.TIMESTAMP},
    '"x"': {Kind.TEXT},
    '""': {Kind.TEXT},
    "[null]": {Kind.ARRAY},
    '{"x":null}': {Kind.OBJECT},
    "[]": set(),
    "{}": set(),
}
NESTED = [
    '{"x":1}',
    '{"x":"a","y":null}',
    '{"x":{"z":0.5}}',
    "[1,null]",
    '["x"]',
    "[[1]]",
    '[{"x":1},{"y":[true]}]',
    '[{"x":[]}]',
]
OBSERVATIONS = [
    Seen(),
    *(
        observed(f'{{"c":{value},"d":1}}', first=line)
        for line, value in enumerate([*VALUES, *NESTED], 1)
    ),
    observed('{"c":1}', '{"b":2,"c":"x"}', first=3),
]


@pytest.mark.parametrize(("value", "kinds"), VALUES.items())
def test_a_value_has_one_kind_and_null_has_none(value: str, kinds: set[Kind]) -> None:
    seen = observed("{}", f'{{"c":{value}}}', f'{{"c":{value}}}').fields["c"]
    assert seen.kinds == dict.fromkeys(kinds, 2)
    assert seen.first == (2, 0)


def test_joining_is_idempotent_and_nothing_is_its_identity() -> None:
    for one in OBSERVATIONS:
        assert join(one, one) == one
        assert join(one, Seen()) == join(Seen(), one) == one


def test_joining_is_commutative_for_every_pair() -> None:
    for one, other in product(OBSERVATIONS, repeat=2):
        assert join(one, other) == join(other, one)


def test_joining_is_associative_for_every_triple() -> None:
    for one, two, three in product(OBSERVATIONS, repeat=3):
        assert join(join(one, two), three) == join(one, join(two, three))


def test_the_type_of_a_join_does_not_depend_on_which_comes_first() -> None:
    for one, other in product(OBSERVATIONS, repeat=2):
        assert resolve(join(one, other)) == resolve(join(other, one))


def test_joining_changes_neither_of_the_two() -> None:
    one, other = observed('{"c":{"x":1}}'), observed('{"c":{"x":"a","y":[1]}}')
    joined = join(one, other)
    assert joined not in (one, other)
    assert one == observed('{"c":{"x":1}}')
    assert other == observed('{"c":{"x":"a","y":[1]}}')


def _is_a_row(line: str) -> bool:
    try:
        observed(line)
    except Refused:
        return False
    return True


sound_rows = st.lists(feeds.rows.filter(_is_a_row), min_size=1, max_size=6)


@made_up
@given(sound_rows, st.data())
def test_a_feed_observed_in_blocks_is_the_feed_observed_at_once(
    rows: list[str], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    head, tail = observed(*rows[:cut]), observed(*rows[cut:], first=cut + 1)
    assert join(head, tail) == join(tail, head) == observed(*rows)


@made_up
@given(sound_rows, sound_rows, sound_rows)
def test_the_laws_hold_for_any_rows(one: list[str], two: list[str], three: list[str]) -> None:
    a, b, c = observed(*one), observed(*two, first=4), observed(*three, first=2)
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(join(a, b), join(b, a)) == join(a, b)
