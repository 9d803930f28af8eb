"""Selection of columns: contradictions are refused when definitions load."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feed_assets.config.feed import Feed
from feed_assets.errors import SettingError
from feed_assets.masking import secret_mask

NEEDED = {"name": "orders", "url": "https://example.com/feed.ndjson", "dataset": "crm"}
BY_DATE = {"partition_by_date": {"start_date": "2020-01-01"}}
HASH = {"hash": ["phone", "c.tel"], "hash_key_env": "HASH_KEY"}


def feed(columns: dict[str, Any], **attributes: Any) -> Feed:
    return Feed(**{**NEEDED, "columns": columns, **attributes})


@pytest.mark.parametrize(
    ("columns", "attributes", "says"),
    [
        ({"exclude": ["a..b"]}, {}, "'a..b' is not a column"),
        ({"exclude": ["a", "a"]}, {}, "names a column twice"),
        ({"exclude": ["a", "a.b"]}, {}, "exclude names a and also a.b, which is inside it"),
        ({"include": ["a.b", "a"]}, {}, "include names a and also a.b, which is inside it"),
        ({"exclude": ["a"], "include": ["b"]}, {}, "has exclude and include; keep one"),
        ({"hash": ["a"]}, {}, "has hash and no hash_key_env"),
        ({"hash_key_env": "K"}, {}, "has hash_key_env, and hash names no column"),
        ({"hash": ["a"], "hash_key_env": "s3cret!"}, {}, "not the name of an environment variable"),
        ({**HASH, "hash": ["a", "a.b"]}, {}, "hash names a and also a.b, which is inside it"),
        ({**HASH, "exclude": ["c"]}, {}, "hash names c.tel, which is left out; keep one of both"),
        ({**HASH, "include": ["c"]}, {}, "hash names phone, which is left out"),
        ({"exclude": ["c"], "rename": {"c.d": "e"}}, {}, "rename names c.d, which is left out"),
        (
            {**HASH, "rename": {"phone.x": "y"}},
            {},
            "rename names phone.x, which is inside phone",
        ),
        ({"rename": {"a": "x", "b": "X"}}, {}, "rename gives a and b one name, X; choose two"),
        ({"rename": {"c.a": "x", "c.b": "x"}}, {}, "rename gives c.a and c.b one name"),
        ({"rename": {"a": "b.c"}}, {}, "gives a the name 'b.c'; write letters, digits and _"),
        ({"rename": {"a": "2nd"}}, {}, "no digit first"),
        ({"exclude": ["id"]}, {"key": ["id"]}, "has id in its key, which columns leaves out"),
        ({"exclude": ["c"]}, {"key": ["c.id"]}, "has c.id in its key, which columns leaves out"),
        ({"include": ["a"]}, {"key": ["id"]}, "has id in its key, which columns leaves out"),
        ({"exclude": ["at"]}, {"updated_at": "at"}, "has at as updated_at, which columns leaves"),
        (
            HASH,
            {"updated_at": "phone"},
            "has phone as updated_at, which columns hashes",
        ),
        (
            {**HASH, "rename": {"phone": "p"}},
            {**BY_DATE, "key": ["a"], "updated_at": "b", "deleted": {"column": "p", "values": [1]}},
            "has p in deleted, which columns hashes, and a hash has no values to compare",
        ),
        (
            {"exclude": ["c"]},
            {"types": {"c.d": "STRING"}},
            "has a type for c.d, which columns leav",
        ),
        (HASH, {"types": {"phone": "INTEGER"}}, "has a type for phone, which columns hashes"),
        (
            {"rename": {"custNo": "customer_id"}},
            {"types": {"customer_id": "STRING"}},
            "is the new name of custNo; types name columns as the feed does: custNo",
        ),
        (
            {"rename": {"custNo": "id"}},
            {"types": {"custNo": "JSON"}, "key": ["id"]},
            "has id in its key, which is JSON and cannot be a key",
        ),
        ({"hide": ["a"]}, {}, "columns.hide"),
    ],
    ids=str,
)
def test_a_contradiction_is_refused_with_one_sentence(
    columns: dict[str, Any], attributes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        feed(columns, **attributes)
    assert says in str(refused.value)
    assert "s3cret!" not in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "attributes"),
    [
        ({**HASH, "rename": {"phone": "phone_hash"}}, {"key": ["phone"]}),
        ({**HASH, "rename": {"phone": "phone_hash"}}, {"key": ["phone_hash"]}),
        ({**HASH, "include": ["id", "phone", "c.tel"]}, {"types": {"id": "STRING"}}),
        ({**HASH, "include": ["c", "phone"]}, {"types": {"c": "JSON"}}),
        ({"rename": {"a": "b", "b": "a"}}, {"types": {"b": "STRING"}}),
        ({"rename": {"c.a": "x", "d.a": "x", "c": "e"}}, {}),
        ({"exclude": ["ab"]}, {"key": ["a.b", "abc"]}),
    ],
    ids=str,
)
def test_columns_that_agree_are_accepted(
    columns: dict[str, Any], attributes: dict[str, Any]
) -> None:
    assert feed(columns, **attributes)


@pytest.mark.parametrize(
    ("path", "renamed"),
    [
        ("a", "a"),
        ("custNo", "customer_id"),
        ("c.tel", "buyer.phone"),
        ("c.id", "buyer.id"),
        ("c.address.zip", "buyer.address.zip"),
        ("cc", "cc"),
    ],
)
def test_a_renamed_path_maps_back_to_the_name_in_the_feed(path: str, renamed: str) -> None:
    names = {"custNo": "customer_id", "c": "buyer", "c.tel": "phone"}
    selection = feed({"rename": names}).selection
    assert selection.renamed(path) == renamed
    assert selection.original(renamed) == path
    assert selection.renamed(renamed) == renamed


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (None, "the environment variable HASH_KEY is not set; the feed's columns.hash needs it"),
        (" \n", "the environment variable HASH_KEY is not set"),
        ("only15character", "HASH_KEY has fewer than 16 characters, so values could be guessed"),
    ],
)
def test_a_key_of_hashes_that_is_missing_or_short_is_refused_before_a_request(
    monkeypatch: pytest.MonkeyPatch, key: str | None, says: str
) -> None:
    monkeypatch.delenv("HASH_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("HASH_KEY", key)
    with pytest.raises(SettingError) as refused:
        feed(HASH).check_credentials()
    assert says in str(refused.value)


def test_the_key_of_hashes_is_a_secret_and_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASH_KEY", "0123456789abcdef\n")
    declared = feed(HASH, url="http://example.com/feed.ndjson")  # no server gets a request
    declared.check_credentials()
    assert declared.columns is not None
    assert declared.columns.hash_key() == b"0123456789abcdef"
    assert secret_mask(declared)("a 0123456789abcdef b") == "a *** b"
    assert "0123456789abcdef" not in repr(declared)


def test_selected_columns_change_the_code_version_and_new_names_also_that_of_the_latest_state() -> (
    None
):
    latest = {**BY_DATE, "key": ["id"], "updated_at": "at"}
    plain = Feed(**{**NEEDED, **latest})
    excluding, renaming = (
        feed({"exclude": ["x"]}, **latest),
        feed({"rename": {"id": "n"}}, **latest),
    )
    assert len({each.code_version for each in (plain, excluding, renaming)}) == 3
    assert plain.latest_version == excluding.latest_version != renaming.latest_version
