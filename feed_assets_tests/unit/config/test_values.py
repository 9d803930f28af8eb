"""Types with formats, and null values, as a feed declares them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feed_assets.config.feed import Feed

NEEDED = {"name": "orders", "url": "https://example.com/feed.ndjson", "dataset": "crm"}


def feed(**attributes: Any) -> Feed:
    return Feed(**{**NEEDED, **attributes})


@pytest.mark.parametrize(
    ("declared", "canonical"),
    [
        ("numeric", "NUMERIC"),
        ({"type": "int64"}, "INTEGER"),
        (
            {"type": "Datetime", "format": "%d.%m.%Y"},
            {"type": "DATETIME", "format": "%d.%m.%Y"},
        ),
    ],
)
def test_a_type_is_canonical_however_it_is_written(declared: Any, canonical: Any) -> None:
    assert feed(types={"at": declared}).types == {"at": canonical}


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"format": "%Y"}, "declares at as None, which is not a type"),
        ({"type": "DATE", "fromat": "%Y"}, "declares at with fromat, which is unknown"),
        ({"type": "DATE", "format": 5}, "at with a format that is not text; quote it"),
        ({"type": "NUMERIC", "format": "%d"}, "at has a format, which NUMERIC does not have"),
        ({"type": "DATETIME", "format": "epoch_s"}, "only a TIMESTAMP has that"),
        ({"type": "DATE", "format": "epoch"}, "has no directive in its format 'epoch'; write epo"),
        ({"type": "DATE", "format": "%d.%m.%Q"}, "has %Q, which is unknown"),
        ({"type": "DATE", "format": "%d.%m.%Y%"}, "has %, which is unknown"),
        ({"type": "DATE", "format": "%d %d %m %Y"}, "has %d twice"),
        ({"type": "DATE", "format": "%d %m %b %Y"}, "has %m or %b or %B twice"),
        ({"type": "DATE", "format": "%m.%Y"}, "is DATE, and its format '%m.%Y' has no %d"),
        ({"type": "DATE", "format": "%d.%m.%Y %H"}, "has %H; declare DATETIME, or take it out"),
        ({"type": "DATETIME", "format": "%d.%m.%Y %z"}, "has %z; declare TIMESTAMP"),
        ({"type": "TIMESTAMP", "format": "%d.%m.%Y %H:%M"}, "has no %z or %Z; declare DATETIME if"),
        ({"type": "TIMESTAMP", "format": "%d.%m.%Y %z"}, "has no %H or %I"),
        ({"type": "TIME", "format": "%H:%M %d"}, "has %d; declare DATETIME"),
        ({"type": "TIME", "format": "%I:%M"}, "has %I without %p"),
        ({"type": "DATETIME", "format": "%d.%m.%Y %M"}, "has %M without %H"),
        ({"type": "DATETIME", "format": "%d.%m.%Y %H:%S"}, "has %S without %M"),
        ({"type": "TIME", "format": "%H%M%f"}, "has %f without %S"),
        (5, "declares at as 5, which is not a type"),
    ],
    ids=str,
)
def test_an_invalid_format_is_refused_with_one_sentence(declared: Any, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        feed(types={"at": declared})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"types": ["at"]}, "is not a mapping of columns to types"),
        ({"null_values": [""], "empty_as_null": True}, 'now null_values; write null_values: [""]'),
        ({"empty_as_null": False}, "has empty_as_null, which is now null_values; write null_val"),
        ({"null_values": [0]}, "has 0, which is not text; null values are strings of the feed"),
        ({"null_values": [None]}, "has null, which is null always"),
        ({"null_values": ""}, "valid tuple"),
        (
            {"updated_at": "at", "types": {"at": {"type": "TIME", "format": "%H%M"}}},
            None,
        ),
        (
            {"key": ["at"], "types": {"at": {"type": "TIMESTAMP", "format": "epoch_s"}}},
            None,
        ),
    ],
    ids=str,
)
def test_values_are_checked_when_definitions_load(
    attributes: dict[str, Any], says: str | None
) -> None:
    if says is None:
        assert feed(**attributes)
        return
    with pytest.raises(ValidationError) as refused:
        feed(**attributes)
    assert says in str(refused.value)


def test_a_format_and_a_null_value_change_the_code_version() -> None:
    plain = feed(types={"at": "DATETIME"})
    versions = {
        plain.code_version,
        feed(types={"at": {"type": "DATETIME", "format": "%d.%m.%Y"}}).code_version,
        feed(types={"at": "DATETIME"}, null_values=[""]).code_version,
    }
    assert len(versions) == 3
    assert feed(types={"at": {"type": "datetime"}}).code_version == plain.code_version
