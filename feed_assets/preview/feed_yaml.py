"""The YAML of a previewed feed, valid as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from feed_assets.config.feed import NAME, RESERVED
from feed_assets.errors import SettingError
from feed_assets.preview.preview import Preview
from feed_assets.preview.printable import count_of
from feed_assets.preview.request import PLACEHOLDER

FILE = "defs.yaml"
_BREAK = re.compile("[\n\r\x85\u2028\u2029\ufeff]")


def feed_yaml(preview: Preview) -> str:
    """With what was given, what the rows suggest, and comments that say which is which."""
    return "\n".join(["type: feed_assets.JsonFeed", "attributes:", *_lines(preview)]) + "\n"


def _lines(preview: Preview) -> Iterator[str]:
    feed, guesses = preview.feed, preview.guesses
    yield _line("name", feed.name, "the asset, and the table unless `table` names another")
    yield _line("url", feed.url, "where the feed will be" if feed.url == PLACEHOLDER else "")
    for name in ("basic_auth", "bearer_auth", "headers_env", "allow_insecure"):
        if name in feed.model_fields_set and (value := feed.model_dump()[name]):
            yield _line(name, value)
    yield _line("dataset", feed.dataset, "in which the table goes; it is made if it is missing")
    if feed.partition_by_date:
        yield "  partition_by_date:"
        first = feed.partition_by_date.start_date
        yield _line("  start_date", first, "the first day that the feed has")
        yield _line("  timezone", feed.partition_by_date.timezone, "whose midnight ends a day")
    if guesses.key:
        yield _line(
            "key", [guesses.key], f"another one in each of the {count_of(preview.rows, 'rows')}"
        )
    if guesses.updated_at:
        yield _line("updated_at", guesses.updated_at, "when a row last changed, by its name")
    if feed.types:
        yield _line("types", dict(feed.types))
    elif fixed := dict(each.fixed for each in preview.oddities if each.fixed):
        yield f"  #{_line('types', fixed, 'whose numbers are in quotes')[1:]}"
    if feed.empty_as_null:
        yield _line("empty_as_null", True)
    elif any(each.as_null for each in preview.oddities):
        yield '  # empty_as_null: true  # for the columns that are STRING only because of ""'
    if "max_feed_bytes" in feed.model_fields_set:
        yield _line("max_feed_bytes", feed.max_feed_bytes)
    if preview.bad_line_count:
        yield f"  # max_bad_lines: {preview.bad_line_count}  # unless they can be put right"


def _line(name: str, value: Any, comment: str = "") -> str:
    text = _dumped(value)
    if _BREAK.search(text):  # which YAML reads as a space
        text = _dumped(value, '"')
    return f"  {name}: {text}{f'  # {comment}' if comment else ''}"


def _dumped(value: Any, style: str | None = None) -> str:
    text: str = yaml.safe_dump(
        value,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
        default_style=style,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def feed_name(folder: Path) -> str:
    """What a feed in that folder of defs/ is called. Raises SettingError where none can be."""
    name = folder.name
    if not NAME.fullmatch(name) or name in RESERVED:
        raise SettingError(
            f"{folder} names no feed: its last part must be of letters, digits and _, not "
            f"beginning with a digit, and no word that Dagster keeps to itself"
        )
    try:
        stands = (folder / FILE).exists()
    except OSError as failure:
        raise SettingError(f"{folder} cannot be written to: {failure.strerror}") from None
    if stands:
        raise SettingError(
            f"{folder / FILE} is there already, and stays as it is; name another folder"
        )
    if not folder.parent.is_dir():
        raise SettingError(
            f"there is no folder {folder.parent} to put {name} in; feeds are in feed_assets/defs "
            f"of the project"
        )
    return name


def write(folder: Path, text: str) -> Path:
    """The file, which was not there before. Raises SettingError."""
    file = folder / FILE
    try:
        folder.mkdir(exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as failure:
        raise SettingError(f"{file} cannot be written: {failure.strerror}") from None
    return file
