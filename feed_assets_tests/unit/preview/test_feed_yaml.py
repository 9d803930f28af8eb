"""The YAML of a preview is a valid feed, with suggestions taken from the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from dagster_shared.yaml_utils import parse_yaml_with_source_position
from hypothesis import example, given
from hypothesis import strategies as st

from feed_assets import cli
from feed_assets.config.feed import Feed
from feed_assets.config.yaml_writer import yaml_line
from feed_assets.orchestration.component import JsonFeed
from feed_assets_tests.support.examples import examples
from feed_assets_tests.support.servers.feed import FeedServer, lines

ORDERS = [
    {"createdAt": "2020-01-15", "updatedAt": "2020-01-20", "orderId": "N2", "userId": "U1"},
    {"createdAt": "2020-01-20", "updatedAt": "2020-01-20", "orderId": "N3", "userId": "U1"},
]


def loaded(text: str) -> Feed:
    """The feed that the component makes of a YAML file, its assets and schedules built."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "orders"
        folder.mkdir()
        (folder / "defs.yaml").write_text(text, encoding="utf-8")
        with sandbox.load_component_and_build_defs(folder) as (component, definitions):
            assert isinstance(component, JsonFeed)
            assert list(definitions.assets or ())
            return component.feed


def declared(
    server: FeedServer, capsys: pytest.CaptureFixture[str], *arguments: str, query: str = ""
) -> tuple[Feed, str]:
    assert cli.main(["preview", f"{server.url}{query}", *arguments]) == 0
    _, _, text = capsys.readouterr().out.partition("/defs.yaml\n")
    return loaded(text), text


def set_of(feed: Feed) -> dict[str, Any]:
    return feed.model_dump(exclude_defaults=True)


def test_the_yaml_of_a_snapshot_has_the_requested_url(
    server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda _: lines(*ORDERS)
    feed, text = declared(server, capsys, query="?a=1&b=%20#c:d")
    assert set_of(feed) == {
        "name": "feed",
        "url": f"{server.url}?a=1&b=%20#c:d",
        "dataset": "crm",
        "key": ("orderId",),
        "updated_at": "updatedAt",
    }
    assert "key: [orderId]  # unique in 2 rows" in text


@pytest.mark.parametrize(
    ("times", "offsets"),
    [
        (["2020-01-20T10:00:00+01:00"], "; the feed's times are at +01:00"),
        (["2020-01-20T10:00+01:00", "2020-07-20 10:00:00.5+02:00"], " at +01:00 and +02:00"),
        (["2020-01-20T10:00:00+01:00", "2020-01-20T10:00:00Z"], "midnight of this time zone"),
        (["2020-01-20"], "midnight of this time zone"),
    ],
)
def test_offsets_of_times_are_named_beside_the_time_zone(
    server: FeedServer, capsys: pytest.CaptureFixture[str], times: list[str], offsets: str
) -> None:
    server.answer = lambda _: lines(*({"id": each, "at": each} for each in times))
    feed, text = declared(server, capsys, "--date", "2020-01-20")
    (line,) = (each for each in text.splitlines() if "timezone: UTC" in each)
    assert line.endswith(offsets)
    assert feed.partition_by_date is not None
    assert feed.partition_by_date.timezone == "UTC"


def test_the_yaml_of_a_day_has_every_given_option(
    server: FeedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("NAME", "PASSWORD", "KEY"):
        monkeypatch.setenv(variable, "hunter2")
    server.answer = lambda _: lines(*ORDERS)
    options = ["--date", "2020-01-20", "--basic-auth", "NAME", "PASSWORD"]
    options += ["--header-env", "X-Key=KEY", "--allow-insecure", "--null-value", ""]
    options += ["--type", "createdAt=DATE", "--type", "a.b: c=STRING", "--max-feed-bytes", "999"]
    options += ["--type", "x=y=TIMESTAMP:%d=%m=%Y %H:%M%z"]
    feed, text = declared(server, capsys, *options)
    found = set_of(feed)
    assert str(found.pop("partition_by_date")["start_date"]) == "2020-01-20"
    assert found == {
        "name": "feed",
        "url": server.url,
        "dataset": "crm",
        "basic_auth": {"username_env": "NAME", "password_env": "PASSWORD"},
        "headers_env": {"X-Key": "KEY"},
        "allow_insecure": True,
        "null_values": ("",),
        "types": {
            "createdAt": "DATE",
            "a.b: c": "STRING",
            "x=y": {"type": "TIMESTAMP", "format": "%d=%m=%Y %H:%M%z"},
        },
        "max_feed_bytes": 999,
        "key": ("orderId",),
        "updated_at": "updatedAt",
    }
    assert "hunter2" not in text


def test_a_preview_of_a_future_day_gives_a_start_date_that_is_not_in_the_future(
    server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    feed, _ = declared(server, capsys, "--date", "2999-12-31")
    assert feed.partition_by_date is not None  # a start date in the future is refused
    assert server.requests[-1][0].endswith("date=29991231")


@pytest.mark.parametrize(
    ("rows", "key", "updated_at"),
    [
        ([{"a": 1, "id": 1}, {"a": 1, "id": 2}], ("id",), None),
        ([{"name": "a", "no": "1"}, {"name": "b", "no": "1"}], (), None),  # too few to say of name
        ([{"id": 1}, {"id": 1}], (), None),
        ([{"id": 1}, {"id": None}], (), None),
        ([{"id": 1.5}, {"id": 2.5}], (), None),
        ([{"code": f"{n}"} for n in range(100)], ("code",), None),
        ([{"id": f"{n % 99}", "uuid": n} for n in range(100)], ("uuid",), None),
        ([{"paid": n, "modified_on": "2020-01-20"} for n in range(9)], (), "modified_on"),
        ([{"updated": "yes", "last_change": "2020-01-20T10:00Z"}] * 2, (), "last_change"),
        ([{"a.id": 1}, {"a.id": 2}], (), None),  # a path with a dot would be another's
        ([{"id": f"{n % 70_000}"} for n in range(70_001)], (), None),  # in different batches
    ],
)
def test_suggestions_follow_from_the_rows(
    server: FeedServer,
    capsys: pytest.CaptureFixture[str],
    rows: list[Any],
    key: tuple[str, ...],
    updated_at: str | None,
) -> None:
    server.answer = lambda _: lines(*rows)
    cli.main(["preview", server.url])
    text = capsys.readouterr().out.partition("/defs.yaml\n")[2]
    feed = Feed(**yaml.safe_load(text)["attributes"])
    assert (feed.key, feed.updated_at) == (key, updated_at)


def test_suggestions_from_the_rows_are_comments(
    server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda _: lines(
        {"at": "", "price": "1.50"}, {"at": "2020-01-20", "price": "2.00"}, "bad"
    )
    _, text = declared(server, capsys)
    for line in ("null_values: ['']", "types: {price: NUMERIC}", "max_bad_lines: 1"):
        assert f"  # {line}  # " in text
    uncommented = "".join(
        line.replace("  # ", "  ", 1) if line.startswith("  # ") else line
        for line in text.splitlines(keepends=True)
    )
    feed = loaded(uncommented)
    assert (feed.null_values, feed.types, feed.max_bad_lines) == (("",), {"price": "NUMERIC"}, 1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("orders.ndjson.gz", "orders"),
        ("2020 Orders - all.ndjson", "feed"),
        ("Shop-Orders.ndjson", "shop_orders"),
        ("20200120.ndjson", "feed"),
        ("заказы.ndjson", "feed"),
    ],
)
def test_a_feed_is_named_after_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, name: str
) -> None:
    (tmp_path / source).write_bytes(lines(*ORDERS).body)
    assert cli.main(["preview", str(tmp_path / source)]) == 0
    out = capsys.readouterr().out
    assert f"# feed_assets/defs/{name}/defs.yaml\n" in out
    assert loaded(out.partition("/defs.yaml\n")[2]).name == name


def test_write_adds_a_file_to_the_folder_of_feeds_and_overwrites_nothing(
    tmp_path: Path, server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda _: lines(*ORDERS)
    folder = tmp_path / "shop_orders"
    assert cli.main(["preview", server.url, "--write", str(folder)]) == 0
    assert f"Wrote {folder}/defs.yaml" in capsys.readouterr().out
    text = (folder / "defs.yaml").read_text()
    assert loaded(text).name == "shop_orders"

    requests = len(server.requests)
    assert cli.main(["preview", server.url, "--write", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"feed-assets: {folder}/defs.yaml exists already and is not changed; choose another "
        "folder\n",
    )
    assert len(server.requests) == requests  # nobody waits for that
    assert (folder / "defs.yaml").read_text() == text


def test_write_beside_json_leaves_stdout_to_the_json(
    tmp_path: Path, server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["preview", server.url, "--json", "--write", str(tmp_path / "orders")]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["rows"] == 1
    assert err.startswith("Wrote ")


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("shop-orders", "shop-orders is not a feed name: use letters, digits and _"),
        ("nowhere/orders", "there is no folder"),
        ("file", "file/defs.yaml cannot be written: File exists"),
    ],
)
def test_write_prints_why_it_fails(
    tmp_path: Path, server: FeedServer, capsys: pytest.CaptureFixture[str], folder: str, why: str
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["preview", server.url, "--write", str(tmp_path / folder)]) == 1
    assert why in capsys.readouterr().err


def test_no_yaml_is_written_for_an_input_without_rows(
    tmp_path: Path, server: FeedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda _: lines("a;b", "1;2")
    assert cli.main(["preview", server.url, "--write", str(tmp_path / "orders")]) == 1
    out, err = capsys.readouterr()
    assert "type: feed_assets.JsonFeed" not in out
    assert "nothing is written, as no line of" in err
    assert not (tmp_path / "orders").exists()


# --- names of any kind are read back as they are

AWKWARD = (
    *("\x85", "\u2028", "\u2029", "\ufeff", "\xa0", "\x00", "\x07", "\x7f", "\x9f", "\ufffe"),
    *(
        " ",
        "\t",
        "\n",
        "\r\n",
        "\\",
        '"',
        "'",
        "#",
        ": ",
        ", ",
        "{",
        "}",
        "[",
        "]",
        "&a",
        "*a",
        "!a",
    ),
    *("|", ">", "%", "@", "`", "? ", "- ", "~", "=", "<<", "---", "...", "null", "yes", "No", "on"),
    *(
        "1",
        "1.5",
        "1e3",
        "0x1",
        "0o7",
        "1_000",
        "2020-01-01",
        "12:30:45",
        "+1",
        ".inf",
        ".nan",
        "y",
    ),
)
NAMES = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=3), max_size=4).map("".join)


@given(name=NAMES)
@examples(80)
@example(name="a\x85b")
@example(name="x" * 200)
def test_any_key_of_a_feed_is_read_back_by_dagster(name: str) -> None:
    values: list[Any] = [name, [name], {name: "STRING"}]
    written = "\n".join(yaml_line(f"a{at}", value, "why") for at, value in enumerate(values))
    read = parse_yaml_with_source_position(f"attributes:\n{written}\n").value
    assert read == {"attributes": {f"a{at}": value for at, value in enumerate(values)}}


@pytest.mark.parametrize("key", ["a\x85b", " id ", "<<", "=", "null", "1", "\ufeffid", "a: b # c"])
def test_a_key_with_unusual_characters_is_declared_unchanged(
    server: FeedServer, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    server.answer = lambda _: lines({key: "N1"}, {key: "N2"})
    types = ("--type", f"{key}=STRING")
    feed, _ = declared(server, capsys, *types)
    assert dict(feed.types) == {key: "STRING"}
