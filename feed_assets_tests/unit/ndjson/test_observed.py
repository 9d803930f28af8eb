"""Observations merge as a semilattice, so a feed can be observed in blocks and in any order."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.ndjson import Observed, ValueKind, infer_type
from feed_assets.ndjson.inference.observed import merge
from feed_assets.ndjson.strict_json import InvalidLine
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.feeds import made_up, observe_lines

VALUES = {
    "null": set[ValueKind](),
    "true": {ValueKind.BOOLEAN},
    "1": {ValueKind.INTEGER},
    "9007199254740992": {ValueKind.INTEGER},
    "9007199254740993": {ValueKind.LONG},
    "-9223372036854775808": {ValueKind.LONG},
    "9223372036854775808": {ValueKind.BEYOND},
    "1.5": {ValueKind.FRACTION},
    "1e400": {ValueKind.BEYOND},
    "1e-400": {ValueKind.BEYOND},
    '"2020-01-20"': {ValueKind.DATETIME},
    '"2020-01-20T10:00Z"': {ValueKind.TIMESTAMP},
    '"x"': {ValueKind.TEXT},
    '""': {ValueKind.TEXT},
    "[null]": {ValueKind.ARRAY},
    '{"x":null}': {ValueKind.OBJECT},
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
    Observed(),
    *(
        observe_lines(f'{{"c":{value},"d":1}}', first=line)
        for line, value in enumerate([*VALUES, *NESTED], 1)
    ),
    observe_lines('{"c":1}', '{"b":2,"c":"x"}', first=3),
]


@pytest.mark.parametrize(("value", "kinds"), VALUES.items())
def test_a_value_has_one_kind_and_null_has_none(value: str, kinds: set[ValueKind]) -> None:
    observed = observe_lines("{}", f'{{"c":{value}}}', f'{{"c":{value}}}').fields["c"]
    assert observed.kinds == dict.fromkeys(kinds, 2)
    assert observed.first == (2, 0)


def test_merging_is_idempotent_and_the_empty_observation_is_its_identity() -> None:
    for one in OBSERVATIONS:
        assert merge(one, one) == one
        assert merge(one, Observed()) == merge(Observed(), one) == one


def test_merging_is_commutative_for_every_pair() -> None:
    for one, other in product(OBSERVATIONS, repeat=2):
        assert merge(one, other) == merge(other, one)


def test_merging_is_associative_for_every_triple() -> None:
    for one, two, three in product(OBSERVATIONS, repeat=3):
        assert merge(merge(one, two), three) == merge(one, merge(two, three))


def test_the_type_of_merged_observations_does_not_depend_on_their_order() -> None:
    for one, other in product(OBSERVATIONS, repeat=2):
        assert infer_type(merge(one, other)) == infer_type(merge(other, one))


def test_merging_changes_neither_of_the_two() -> None:
    one, other = observe_lines('{"c":{"x":1}}'), observe_lines('{"c":{"x":"a","y":[1]}}')
    joined = merge(one, other)
    assert joined not in (one, other)
    assert one == observe_lines('{"c":{"x":1}}')
    assert other == observe_lines('{"c":{"x":"a","y":[1]}}')


def _is_a_row(line: str) -> bool:
    try:
        observe_lines(line)
    except InvalidLine:
        return False
    return True


sound_rows = st.lists(feeds.rows.filter(_is_a_row), min_size=1, max_size=6)


@made_up
@given(sound_rows, st.integers(0, 6), st.integers(0, 6))
def test_a_feed_observed_in_blocks_in_any_order_is_the_feed_observed_at_once(
    rows: list[str], one: int, other: int
) -> None:
    cuts = [0, *sorted((min(one, len(rows)), min(other, len(rows)))), len(rows)]
    a, b, c = (observe_lines(*rows[at:to], first=at + 1) for at, to in pairwise(cuts))
    whole = observe_lines(*rows)
    for first, second, third in permutations((a, b, c)):
        assert merge(merge(first, second), third) == whole
        assert merge(first, merge(second, third)) == whole


@made_up
@given(sound_rows, st.integers(0, 6), st.integers(0, 6))
def test_the_laws_hold_for_any_rows(rows: list[str], cut: int, end: int) -> None:
    """Also for parts that share lines, or whose line numbers overlap."""
    a, b = observe_lines(*rows[: cut + 1]), observe_lines(*rows[cut:], first=4)
    c = observe_lines(*rows[:end], first=2)
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(merge(a, b), merge(b, a)) == merge(a, b)
