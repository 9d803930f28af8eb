"""Attributes of a feed, and their meaning: the request for a day, the table for a day."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from dagster._core.definitions.utils import DISALLOWED_NAMES
from pydantic import ValidationError

from feed_assets.config.collisions import check_together
from feed_assets.config.feed import RESERVED, Feed
from feed_assets.errors import SettingError
from feed_assets.schema.table import Table

DAY = date(2020, 1, 20)
BY_DATE = {"start_date": "2020-01-01"}
LATEST = {"partition_by_date": BY_DATE, "key": ["id"], "updated_at": "at"}


def feed(**attributes: Any) -> Feed:
    declared = {"name": "crm_orders", "url": "https://example.com/feed.ndjson", "dataset": "crm"}
    return Feed(**{**declared, **attributes})


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("https://example.com/feed", "https://example.com/feed?date=20200120"),
        ("https://example.com/feed?a=1&b=%20", "https://example.com/feed?a=1&b=%20&date=20200120"),
        ("https://example.com/?a=1#part", "https://example.com/?a=1&date=20200120"),
    ],
)
def test_the_day_is_added_to_the_query_of_the_url(url: str, requested: str) -> None:
    assert feed(url=url, partition_by_date=BY_DATE).url_for(DAY).full == requested


@pytest.mark.parametrize(
    ("url", "timezone", "requested", "shown"),
    [
        ("/{date}.ndjson", "UTC", "/20200229.ndjson", "/20200229.ndjson"),
        (
            "/{date:%Y/%m/%d}/f?k=secret",
            "UTC",
            "/2020/02/29/f?k=secret",
            "/2020/02/29/f?k=***",
        ),
        (
            "/f?from={date:%Y-%m-%d}&to={next_date:%Y-%m-%d}&k=secret",
            "UTC",
            "/f?from=2020-02-29&to=2020-03-01&k=secret",
            "/f?from=2020-02-29&to=2020-03-01&k=***",
        ),
        (
            "/f?date={date:%d.%-m.%y}&to={next_date:%-d}&no={date:%j}",
            "UTC",
            "/f?date=29.2.20&to=1&no=060",
            "/f?date=29.2.20&to=1&no=060",
        ),
        (
            "/f?since={date:%Y-%m-%dT00:00:00%:z}",
            "Europe/Berlin",
            "/f?since=2020-02-29T00:00:00%2B01:00",
            "/f?since=2020-02-29T00:00:00%2B01:00",
        ),
        ("/f?at={date:%s}", "America/New_York", "/f?at=1582952400", "/f?at=1582952400"),
        ("/f?w=100{date:%%%Y}&x=%7Bdate%7D", "UTC", "/f?w=100%252020&x=%7Bdate%7D", None),
        ("/f?q=at>={date}", "UTC", "/f?q=at%3E=20200229", "/f?q=***"),
        ("/a/b{date}c/f#x", "UTC", "/a/b20200229c/f", "/a/b20200229c/f"),
    ],
)
def test_the_day_is_filled_in_where_the_url_has_a_placeholder(
    url: str, timezone: str, requested: str, shown: str | None
) -> None:
    partition = {**BY_DATE, "timezone": timezone}
    declared = feed(url=f"https://example.com{url}", partition_by_date=partition)

    asked = declared.url_for(date(2020, 2, 29))

    assert asked.full == f"https://example.com{requested}"
    assert shown is None or str(asked) == f"https://example.com{shown}"
    assert asked.without_day == str(declared.address)
    assert "secret" not in f"{declared} {asked} {asked.without_day}"
    assert "20200229" not in asked.without_day


def test_the_url_of_a_redirect_shows_the_day_too() -> None:
    declared = feed(url="https://example.com/?on={date:%Y-%m-%d}", partition_by_date=BY_DATE)
    target = declared.url_for(DAY).join("/other?on=2020-01-20&day=2020-01-21&k=secret")
    assert str(target) == "https://example.com/other?on=2020-01-20&day=***&k=***"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("/{day}", r"not a placeholder for the day: {date} is the day as 20200120, {next_date}"),
        ("/{}", "not a placeholder for the day"),
        ("/{date:}", "not a placeholder for the day"),
        ("/{DATE}", "not a placeholder for the day"),
        ("/{date:%Y-%q}", "has %q in a placeholder, .* of %Y %y %m %-m %d %-d %j %s %:z %%"),
        ("/{date:%H}", "has %H in a placeholder"),
        ("/{date:50%}", "has % in a placeholder"),
        ("/{date", "a brace without its other one"),
        ("/date}", "a brace without its other one"),
        ("/{{date}", "a template in it"),
        ("/f#{date}", "has a placeholder after #"),
        ("/f?a=%zz{date}", "%25"),
    ],
)
def test_other_text_in_braces_is_refused_with_the_known_placeholders(
    url: str, complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        feed(url=f"https://example.com{url}", partition_by_date=BY_DATE)


def test_a_placeholder_is_refused_in_a_host_and_in_a_snapshots_url() -> None:
    with pytest.raises(ValidationError, match="a host or a port that cannot be read"):
        feed(url="https://{date}.example.com/", partition_by_date=BY_DATE)
    with pytest.raises(ValidationError, match="a snapshot has no days; declare partition_by_date"):
        feed(url="https://example.com/{date}")


def test_a_snapshot_is_requested_at_its_url() -> None:
    url = "https://example.com/feed?a=1"
    assert feed(url=url).url_for(None).full == url


def test_the_table_is_named_after_the_feed_unless_it_is_given() -> None:
    assert feed().destination == Table("crm", "crm_orders")
    assert feed(table="orders").destination.shard(DAY) == Table("crm", "orders_20200120")


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"datset": "crm"}, "datset"),
        ({"name": "crm orders"}, "letters, digits"),
        ({"table": "1orders"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"name": "input"}, "'input' is a name that Dagster reserves"),
        ({"dataset": ""}, "letters, digits"),
        ({"dataset": "crm.orders"}, "letters, digits"),
        ({"dataset": "my-crm"}, "letters, digits"),
        ({"dataset": "Größe"}, "letters, digits"),
        ({"table": "orders_\u0662"}, "letters, digits"),
        ({"table": "orders\n"}, "letters, digits"),
        ({"dataset": "d" * 1025}, "longer than the 1024"),
        ({"name": "n" * 1016}, "rejected_n.* with 1025"),
        ({"table": "t" * 1016}, "rejected_t.* with 1025"),
        ({"table": "t" * 1007, "partition_by_date": BY_DATE}, "with 1025"),
        ({"dataset": "_crm", "partition_by_date": BY_DATE}, "whose tables BigQuery does not list"),
        ({"url": "ftp://example.com/feed"}, "is not an http, https, file, sftp, gs or s3 URL"),
        ({"url": "file://orders.ndjson"}, "has a host in it; write file:///path/to/file"),
        ({"url": "s3://crm-exports/orders/"}, "names a folder"),
        ({"url": "gs://crm-exports"}, "names a folder"),
        ({"url": "gs://crm-exports/*.ndjson"}, r"has a \* in it"),
        ({"url": "gs://crm-exports/a?b"}, "has a \\? or # in it"),
        ({"url": "s3://-/a"}, "has a bucket whose name cannot be right"),
        ({"url": "sftp://me:secret@example.com/a"}, "credentials in it"),
        ({"url": "s3://crm-exports/a", "partition_by_date": BY_DATE}, "no day in its url"),
        ({"url": "s3://crm-exports/a", "headers": {"X-A": "1"}}, "has headers, which only a url"),
        ({"url": "file:///a", "pages": {"parameter": "page"}}, "has pages, which only a url"),
        ({"url": "file:///a", "empty_statuses": [404, 410]}, "the only one of a file is 404"),
        ({"sftp": {"host_key": "ssh-rsa " + "A" * 20}}, "has sftp, which only a url with sftp"),
        ({"sftp": {"host_key": "SHA256:abc"}}, "is not a public key; write its type"),
        ({"sftp": {"username_env": "U"}}, "must have username_env with password_env or"),
        ({"sftp": {"username_env": "a-b"}}, "is not the name of an environment variable"),
        ({"url": "http://[::1/feed"}, "a host or a port that cannot be read"),
        ({"url": "https://me:secret@example.com/feed"}, "credentials in it"),
        ({"url": "https://example.com/{{ env.PATH }}"}, "a template in it"),
        ({"url": "https://example.com/?date=1", "partition_by_date": BY_DATE}, "has a date"),
        ({"url": "https://example.com/?date=", "partition_by_date": BY_DATE}, "has a date"),
        ({"url": "https://example.com/?a=1&date", "partition_by_date": BY_DATE}, "has a date"),
        ({"url": "https://example.com/?d%61te=1", "partition_by_date": BY_DATE}, "has a date"),
        ({"url": "https://example.com:99999/"}, "url\n.* has a port that is not between 1 and"),
        ({"url": "https://example.com:0/"}, "has a port that is not between 1 and"),
        ({"url": "https://example.com/a b"}, "has a space"),
        ({"url": "https://example.com\\@localhost/"}, "or a backslash in it"),
        ({"url": "https://bücher.example/"}, "has a host that is not ASCII"),
        ({"bearer_auth": {"token_env": "a-token"}}, "is not the name of an environment variable"),
        ({"headers_env": {"X-Key": "a-key"}}, "is not the name of an environment variable"),
        ({"headers": {"Authorization": "x"}}, "Authorization is secret; .* in headers_env"),
        ({"headers": {"Host": "x"}}, "Host is set by feed_assets"),
        ({"headers": {"X-A": "a\nb"}}, "X-A has a line break"),
        ({"headers": {"X-A": "1"}, "headers_env": {"x-a": "K"}}, "X-A in headers and in headers_"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "has a header twice"),
        ({"empty_statuses": [404, 403]}, "403 cannot mean a feed without rows; only 204, 400, 404"),
        ({"partition_by_date": {**BY_DATE, "timezone": "Europe/Atlantis"}}, "no time zone"),
        ({"partition_by_date": {"start_date": "soon"}}, "start_date"),
        ({"types": {"total": "MONEY"}}, "MONEY"),
        ({"types": {"id": "json"}, "key": ["a", "id"]}, "has id in its key, which is JSON"),
        ({"types": {"at": "BIGNUMERIC"}, "updated_at": "at"}, "at as updated_at, .* BIGNUMERIC"),
        ({"max_bad_lines": -1}, "max_bad_lines"),
        (
            {
                "url": "http://example.com/feed",
                "basic_auth": {"username_env": "U", "password_env": "P"},
            },
            "over plain http",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_refused_when_the_feed_is_declared(
    attributes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        feed(**attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"dataset": "d" * 1024, "table": "t" * 1015},
        {"dataset": "CRM_2", "table": "t" * 1006, "partition_by_date": BY_DATE},
        {"dataset": "_crm", "table": "_orders"},
    ],
)
def test_names_may_be_as_long_as_bigquery_allows(attributes: dict[str, Any]) -> None:
    table = feed(**attributes).destination
    assert max(len(each.name) for each in (table, table.columns, table.rejected)) <= 1024
    assert len(str(table)) == len(attributes["dataset"]) + 1 + len(attributes["table"])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_credentials_may_go_over_plain_http_to_this_machine(host: str) -> None:
    auth = {"username_env": "U", "password_env": "P"}
    assert feed(url=f"http://{host}:8020/feed", basic_auth=auth).basic_auth


def test_a_mistaken_url_is_not_shown_with_its_secrets() -> None:
    with pytest.raises(ValidationError) as refused:
        feed(url="https://me:hunter2@example.com/feed?token=hunter3")
    assert "hunter" not in str(refused.value)


def test_a_missing_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_USER", "me")
    monkeypatch.delenv("CRM_PASSWORD", raising=False)
    declared = feed(basic_auth={"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"})

    with pytest.raises(SettingError, match="CRM_PASSWORD is not set"):
        declared.credentials()

    monkeypatch.setenv("CRM_PASSWORD", "secret")
    assert declared.credentials() == {"Authorization": b"Basic bWU6c2VjcmV0"}


@pytest.mark.parametrize(
    ("one", "other", "wildcards", "complaint"),
    [
        ({"table": "t"}, {"table": "T"}, False, "crm.t of one is also a table of two"),
        ({"table": "t"}, {"table": "rejected_t"}, False, "collide"),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "columns_t"}, False, "collide"),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "t_20200101"}, False, "a shard"),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "t_x"}, True, r"matches crm.t_\*"),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "t_x"}, False, None),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "tx"}, True, None),
        ({"table": "t"}, {"table": "t", "dataset": "erp"}, True, None),
        ({"table": "t"}, {"table": "t_x"}, True, None),
        ({"table": "T_x"}, {"table": "t", "partition_by_date": BY_DATE}, True, r"matches crm.t_\*"),
        ({"table": "t", "partition_by_date": BY_DATE}, {"table": "T_20200101"}, False, "a shard"),
        ({"table": "t"}, {"table": "T", "dataset": "CRM"}, True, "is also a table"),
        (
            {"table": "t", "partition_by_date": BY_DATE},
            {"table": "rejected_t_20200101"},
            False,
            "is named like a shard",
        ),
        ({"table": "columns", "partition_by_date": BY_DATE}, {}, True, "one would .* itself"),
        ({"table": "rejected", "partition_by_date": BY_DATE}, {}, True, "one would .* itself"),
        ({"table": "Columns_columns", "partition_by_date": BY_DATE}, {}, True, "itself"),
        ({"table": "columns", "partition_by_date": BY_DATE}, {}, False, None),
        ({"table": "columns"}, {}, True, None),
        ({"table": "rejected_columns", "partition_by_date": BY_DATE}, {}, True, None),
        (LATEST, {"name": "one_latest"}, False, "one and one_latest .* the asset one_latest"),
        (LATEST | {"key": []}, {"name": "one_latest"}, False, None),
    ],
    ids=str,
)
def test_feeds_whose_tables_would_mix_are_refused_with_both_names(
    one: dict[str, Any], other: dict[str, Any], wildcards: bool, complaint: str | None
) -> None:
    feeds = [feed(**{"name": "one", **one}), feed(**{"name": "two", **other})]
    if complaint is None:
        check_together(feeds, wildcards=wildcards)
    else:
        with pytest.raises(SettingError, match=complaint):
            check_together(feeds, wildcards=wildcards)


def test_reserved_names_are_those_that_dagster_disallows() -> None:
    assert RESERVED == DISALLOWED_NAMES
