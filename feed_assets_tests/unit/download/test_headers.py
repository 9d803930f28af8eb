"""A response header that makes no sense counts as absent; none raises an exception."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.download.headers import (
    LONGEST_DELAY,
    LONGEST_TAG,
    ContentRange,
    content_length,
    content_range,
    date_of,
    delay,
    entity_tag,
    printable,
)
from feed_assets.download.validators import Validators

NOON = datetime(2020, 1, 20, 12, tzinfo=UTC)
NOW = format_datetime(NOON, usegmt=True)

HOSTILE = st.one_of(
    st.none(),
    st.text(st.characters(max_codepoint=255), max_size=80),
    st.from_regex(
        r"(\w{3}, )?\d{0,30} \w{3} \d{0,30} \d{0,9}:\d{0,9}:\d{0,9} (GMT|[+-]\d{0,20})",
        fullmatch=True,
    ),
    st.from_regex(r"(bytes )?[0-9*-]{0,40}/[0-9*]{0,40}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (NOW, NOON),
        ("Monday, 20-Jan-20 12:00:00 GMT", NOON),
        ("Mon Jan 20 12:00:00 2020", None),  # no time zone
        ("Mon, 20 Jan 2020 13:00:00 +0100", NOON),
        ("Mon, 20 Jan 2020 12:00:00 -0000", None),
        ("Mon, 20 Jan 99999 12:00:00 GMT", None),
        ("Mon, 20 Jan 99999999999999999999 12:00:00 GMT", None),
        ("Mon, 32 Jan 2020 12:00:00 GMT", None),
        ("Mon, 20 Jan 2020 99:00:00 GMT", None),
        ("Mon, 20 Jan 2020 12:00:00 +99999999999999", None),
        ("Mon, 20 Jan 2020 12:00:00 +9999", None),
        ("2020-01-20T12:00:00Z", None),
        ("0", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("\x00", None),
        ("Mon, 20 Jan 2020\r\n 12:00:00 GMT", None),
        ("9" * 5000, None),
        ("Mön, 20 Jän 2020 12:00:00 GMT", None),
    ],
)
def test_an_invalid_date_counts_as_absent(text: str | None, moment: datetime | None) -> None:
    assert date_of(text) == moment


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("0", None, 0),
        (" 120 ", None, 120),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), NOW, 90),
        (format_datetime(NOON - timedelta(seconds=90), usegmt=True), NOW, 0),
        (str(LONGEST_DELAY), None, LONGEST_DELAY),
        (str(LONGEST_DELAY + 1), None, None),
        ("9" * 5000, None, None),
        ("Mon, 20 Jan 9999 12:00:00 GMT", NOW, None),
        ("Mon, 20 Jan 99999999999 12:00:00 GMT", NOW, None),
        ("-5", None, None),
        ("1.5", None, None),
        ("1e9", None, None),
        ("²", None, None),
        ("\u0663", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, NOW, None),
    ],
)
def test_an_invalid_delay_counts_as_absent(
    retry_after: str | None, date: str | None, seconds: float | None
) -> None:
    assert delay(retry_after, date) == seconds


def test_a_delay_until_a_date_counts_from_now_if_the_server_has_no_sensible_clock() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for clock in (None, "Mon, 20 Jan 99999999999 12:00:00 GMT"):
        seconds = delay(until, clock)
        assert seconds is not None
        assert 3500 < seconds <= 3600


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0),
        ("5", 5),
        (" 5 ", 5),
        ("5, 5", 5),
        ("5, 6", None),
        ("-5", None),
        ("+5", None),
        ("5_0", None),
        ("0x5", None),
        ("5.0", None),
        ("\u0663", None),
        ("", None),
        (None, None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("9" * 5000, None),
    ],
)
def test_an_invalid_length_counts_as_absent(text: str | None, length: int | None) -> None:
    assert content_length(text) == length


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 5-9/10", ContentRange(5, 10)),
        ("bytes 5-9/*", ContentRange(5, None)),
        ("bytes */10", None),
        ("bytes 5-9", None),
        ("bytes -5-9/10", None),
        ("lines 5-9/10", None),
        ("bytes \u0663-\u0664/\u0665", None),
        (f"bytes {'9' * 5000}-{'9' * 5000}/{'9' * 5000}", None),
        (f"bytes 5-9/{'9' * 5000}", None),
        ("", None),
        (None, None),
    ],
)
def test_an_invalid_range_counts_as_absent(text: str | None, found: ContentRange | None) -> None:
    assert content_range(text) == found


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ('"1"', True),
        ('W/"1"', True),
        ("33a64df5", True),  # as some servers write it
        ('"ä"', True),
        ('"' + "a" * (LONGEST_TAG - 2) + '"', True),
        ('"' + "a" * (LONGEST_TAG - 1) + '"', False),
        ('"' + "a" * 60_000 + '"', False),
        ('"1"\r\n X-Evil: 1', False),
        ('"\x01"', False),
        ("", False),
        (None, False),
    ],
)
def test_an_entity_tag_is_repeated_only_if_a_request_can_hold_it(
    text: str | None, stays: bool
) -> None:
    assert entity_tag(text) == (text if stays else None)
    assert Validators.from_headers({"ETag": text} if text is not None else {}).etag == entity_tag(
        text
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Not Found", "Not Found"),
        ("\x1b[2J\x07 no", "?[2J? no"),
        ("a" * 60_000, f"{'a' * 80}…"),
        (" ", ""),
        (None, ""),
    ],
)
def test_a_servers_text_is_quoted_short_and_without_control_characters(
    text: str | None, shown: str
) -> None:
    assert printable(text) == shown


@given(HOSTILE, HOSTILE)
def test_no_header_raises_an_exception(text: str | None, other: str | None) -> None:
    date_of(text)
    delay(text, other)
    content_length(text)
    content_range(text)
    entity_tag(text)
    printable(text)
    found = {"Last-Modified": text, "Date": other, "ETag": text}
    Validators.from_headers({name: value for name, value in found.items() if value is not None})
