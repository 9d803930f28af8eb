"""Write the YAML of a previewed feed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from feed_assets.config.feed import RESERVED
from feed_assets.config.model import NAME
from feed_assets.config.yaml_writer import yaml_line
from feed_assets.errors import SettingError
from feed_assets.preview.preview import Preview
from feed_assets.preview.printable import count_of
from feed_assets.preview.request import ATTEMPTS, EXAMPLE_URL

FILE = "defs.yaml"
_ELSEWHERE = {"name", "url", "dataset", "partition_by_date", "types", "null_values"}


def feed_yaml(preview: Preview) -> str:
    """Return valid YAML: the given attributes, and suggestions with comments."""
    return "\n".join(["type: feed_assets.JsonFeed", "attributes:", *_lines(preview)]) + "\n"


def _lines(preview: Preview) -> Iterator[str]:
    feed, suggestions = preview.feed, preview.suggestions
    yield yaml_line("name", feed.name, "the asset, and the table unless `table` names another")
    yield yaml_line(
        "url", feed.url, "the feed's URL, once it has one" if feed.url == EXAMPLE_URL else ""
    )
    given = feed.model_dump(mode="json", exclude_unset=True, exclude=_ELSEWHERE)
    if given.get("max_attempts") == ATTEMPTS:
        del given["max_attempts"]
    for name, value in given.items():
        yield yaml_line(name, value)
    yield yaml_line("dataset", feed.dataset, "created if it does not exist")
    if feed.partition_by_date:
        yield "  partition_by_date:"
        days = feed.partition_by_date
        yield yaml_line("  start_date", days.start_date, "the feed's first day")
        midnight = "a day ends at midnight of this time zone"
        if suggestions.offsets and "timezone" not in days.model_fields_set:
            midnight += f"; the feed's times are at {' and '.join(suggestions.offsets)}"
        yield yaml_line("  timezone", days.timezone, midnight)
        others = {"start_date", "timezone"}
        for name, value in days.model_dump(exclude_unset=True, exclude=others).items():
            yield yaml_line(f"  {name}", value)
    if suggestions.key and "key" not in given:
        yield yaml_line("key", [suggestions.key], f"unique in {count_of(preview.rows, 'rows')}")
    if suggestions.updated_at and "updated_at" not in given:
        yield yaml_line("updated_at", suggestions.updated_at, "suggested by its name")
    if feed.types:
        yield yaml_line("types", dict(feed.types))
    elif types := dict(each.suggested_type for each in preview.findings if each.suggested_type):
        yield f"  #{yaml_line('types', types, 'for columns of text')[1:]}"
    if feed.null_values:
        yield yaml_line("null_values", list(feed.null_values))
    elif values := {value for each in preview.findings for value in each.null_values}:
        comment = "for columns that are STRING only because of these"
        yield f"  #{yaml_line('null_values', sorted(values), comment)[1:]}"
    if preview.bad_line_count and "max_bad_lines" not in given:
        yield f"  # max_bad_lines: {preview.bad_line_count}  # if they cannot be corrected"


def feed_name(folder: Path) -> str:
    """Return the name of a new feed in a folder of defs/. Raises SettingError."""
    name = folder.name
    if not NAME.fullmatch(name) or name in RESERVED:
        raise SettingError(
            f"{folder} is not a feed name: use letters, digits and _, no digit first, and no word "
            f"reserved for Dagster"
        )
    try:
        exists = (folder / FILE).exists()
    except OSError as failure:
        raise SettingError(f"{folder} cannot be written to: {failure.strerror}") from None
    if exists:
        raise SettingError(
            f"{folder / FILE} exists already and is not changed; choose another folder"
        )
    if not folder.parent.is_dir():
        raise SettingError(
            f"there is no folder {folder.parent} for {name}; feeds belong in feed_assets/defs of "
            f"the project"
        )
    return name


def write(folder: Path, text: str) -> Path:
    """Write a new defs.yaml and return its path. Raises SettingError."""
    file = folder / FILE
    try:
        folder.mkdir(exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as failure:
        raise SettingError(f"{file} cannot be written: {failure.strerror}") from None
    return file
