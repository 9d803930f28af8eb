"""Strings that are dates and times, and strings that are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.ndjson.datatypes.datetimes import microseconds, parse_date, parse_datetime
from feed_assets_tests.unit.ndjson.feeds import made_up, read_column, type_of, values_of

DATETIMES = [
    ("2020-01-20", datetime(2020, 1, 20)),
    ("2020-02-29", datetime(2020, 2, 29)),
    ("0001-01-01", datetime(1, 1, 1)),
    ("9999-12-31T23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ("9999-12-31T23:59:59.9999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ("2020-01-20T10:11", datetime(2020, 1, 20, 10, 11)),
    ("2020-01-20 10:11:12", datetime(2020, 1, 20, 10, 11, 12)),
    ("2020-01-20T10:11:12.5", datetime(2020, 1, 20, 10, 11, 12, 500_000)),
    ("2020-01-20T10:11:12.000001", datetime(2020, 1, 20, 10, 11, 12, 1)),
    ("2020-01-20T10:11:12.123456789012", datetime(2020, 1, 20, 10, 11, 12, 123_456)),
    ("1969-12-31T23:59:59.9999999", datetime(1969, 12, 31, 23, 59, 59, 999999)),
]
TIMESTAMPS = [
    ("2020-01-20T10:00Z", datetime(2020, 1, 20, 10)),
    ("2020-01-20 10:00:00.25Z", datetime(2020, 1, 20, 10, 0, 0, 250_000)),
    ("2020-01-20T10:00:00+01", datetime(2020, 1, 20, 9)),
    ("2020-01-20T10:00:00+0130", datetime(2020, 1, 20, 8, 30)),
    ("2020-01-20T10:00:00-01:30", datetime(2020, 1, 20, 11, 30)),
    ("2020-01-20T10:00:00-00:00", datetime(2020, 1, 20, 10)),
    ("2020-01-20T23:30:00-23:59", datetime(2020, 1, 21, 23, 29)),
    ("0001-01-01T00:00:00-01:00", datetime(1, 1, 1, 1)),
]
TEXTS = [
    *"""
2020-02-30 2019-02-29 2020-13-01 2020-00-10 2020-01-00 0000-01-01 10000-01-01 -2020-01-01
20200120 20200120T101112 2020-W04-1 2020-W04 2020-020 2020-01 2020 2020-1-2 20-01-20 2020/01/20
20.01.2020 2020-01-20Z 2020-01-20+01:00 2020-01-20T 2020-01-20T10 2020-01-20T10Z 2020-01-20T1000
2020-01-20T10:1 2020-01-20T24:00 2020-01-20T24:00:00 2020-01-20T10:60 2020-01-20T10:11:60
2020-01-20T23:59:60Z 2020-01-20t10:11 2020-01-20T10:11z 2020-01-20T10:11:12, 2020-01-20T10:11:12,5
2020-01-20T10:11:12. 2020-01-20T10:11.5 2020-01-20T10:11:12.5.5 2020-01-20T10:11:12+1
2020-01-20T10:11:12+1:00 2020-01-20T10:11:12+24:00 2020-01-20T10:11:12+01:60 +01:00
2020-01-20T10:11:12+01:00:00 2020-01-20T10:11:12+010 2020-01-20T10:11:12ZZ 2020-01-20T10:11:12UTC
0001-01-01T00:00:00+00:01 9999-12-31T23:59:59-00:01 2020-01-20T10:11:12\u22121 Infinity now
\u0662\u0660\u0662\u0660-01-20 2020-01-2\uff10 2020-01-20T10:11:12.\u0665 2020\u201101\u201120
""".split(),  # noqa: SIM905 -- a line each would be a page
    "2020-01-20T10:11:12 Z",
    "2020-01-20 10:11:12 +00:00",
    "2020-01-20  10:11",
    " 2020-01-20",
    "2020-01-20 ",
    "2020-01-20\n",
    "2020-01-20T10:11:12Z\n",
    "2020-01-20\x0010:11",
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), DATETIMES)
def test_a_date_or_date_time_without_offset_is_a_datetime(text: str, meant: datetime) -> None:
    reading = read_column(f'"{text}"')
    assert (type_of(reading), values_of(reading)) == ("timestamp[us]", [meant])


@pytest.mark.parametrize(("text", "meant"), TIMESTAMPS)
def test_a_date_time_with_an_offset_is_a_timestamp(text: str, meant: datetime) -> None:
    reading = read_column(f'"{text}"')
    assert type_of(reading) == "timestamp[us, tz=UTC]"
    assert values_of(reading) == [meant.replace(tzinfo=UTC)]


@pytest.mark.parametrize("text", TEXTS)
def test_anything_else_is_text(text: str) -> None:
    assert parse_datetime(text) is None
    assert parse_date(text) is None


def test_a_date_alone_is_a_day() -> None:
    assert parse_date("2020-01-20") == date(2020, 1, 20)
    assert parse_date("2020-01-20T00:00") is None


@made_up
@given(st.datetimes(timezones=st.none() | st.just(UTC)), st.sampled_from("T "))
def test_values_written_by_python_are_read_back(meant: datetime, between: str) -> None:
    assert parse_datetime(meant.isoformat(between)) == meant
    epoch = datetime(1970, 1, 1, tzinfo=meant.tzinfo)
    assert epoch + timedelta(microseconds=microseconds(meant)) == meant
