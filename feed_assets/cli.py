"""The command `feed-assets`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

PREVIEW = """\
Shows what an import of a feed would do, without doing it: columns and their types, how
much of each is null, bad lines with reasons, what to mind, and the YAML that declares the
feed. Only the feed is looked at, no table."""

EXAMPLES = """\
examples:
  feed-assets preview https://example.com/feed.ndjson --date 2020-01-20 \\
      --basic-auth CRM_FEED_USERNAME CRM_FEED_PASSWORD
  feed-assets preview orders.ndjson.gz --type total=NUMERIC --type customer.id=STRING
  feed-assets preview orders.ndjson --write feed_assets/defs/shop_orders
  mysql-to-ndjson orders | feed-assets preview - --json | jq .schema

Secrets are never arguments: the options name the environment variables that hold them.

exit status: 0 for NDJSON, also with bad lines; 1 for what is none, or cannot be read;
2 for a command line that cannot be understood."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """In one sentence, without the usage before it."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    asked = _parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    from feed_assets.errors import FeedAssetsError

    try:
        _preview(asked)
        sys.stdout.flush()
    except FeedAssetsError as failure:
        from feed_assets.preview.shown import fit

        sys.stderr.write(f"feed-assets: {fit(str(failure))}\n")
        return 1
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(failure, BrokenPipeError):  # of which who reads has seen enough
            sys.stderr.write(f"feed-assets: the output cannot be written: {failure.strerror}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("feed-assets: interrupted\n")
        return 128 + signal.SIGINT
    return 0


def _preview(asked: argparse.Namespace) -> None:
    from feed_assets.errors import SettingError
    from feed_assets.preview.asked import Asked
    from feed_assets.preview.declaration import feed_name, feed_yaml, write
    from feed_assets.preview.previewing import preview

    name = feed_name(asked.write) if asked.write else None
    found = preview(Asked(asked.source, asked.date, name, _attributes(asked)))
    if asked.json:
        sys.stdout.write(f"{json.dumps(found.json)}\n")
    else:
        from feed_assets.preview.terminal import shown

        sys.stdout.write(shown(found))
    if asked.write:
        if not found.is_ndjson:
            raise SettingError(f"nothing is written, as no line of {found.shown} is a row")
        file = write(asked.write, feed_yaml(found))
        to = sys.stderr if asked.json else sys.stdout
        to.write(f"Wrote {file}; look it over, then check it: .venv/bin/dg check defs\n")
    elif found.is_ndjson and not asked.json:
        sys.stdout.write(f"# feed_assets/defs/{found.feed.name}/defs.yaml\n{feed_yaml(found)}")


def _attributes(asked: argparse.Namespace) -> dict[str, Any]:
    """Those of the feed, as far as they are given."""
    found: dict[str, Any] = {
        "headers_env": dict(asked.header_env) or None,
        "allow_insecure": asked.allow_insecure or None,
        "types": dict(asked.type) or None,
        "empty_as_null": asked.empty_as_null or None,
        "max_feed_bytes": asked.max_feed_bytes,
    }
    if asked.basic_auth is not None:
        username, password = asked.basic_auth
        found["basic_auth"] = {"username_env": username, "password_env": password}
    if asked.bearer_auth is not None:
        found["bearer_auth"] = {"token_env": asked.bearer_auth}
    return {name: value for name, value in found.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="feed-assets", description="NDJSON feeds in BigQuery every day, as Dagster assets."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    it = commands.add_parser(
        "preview",
        help="show what an import of a feed would do",
        description=PREVIEW,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    it.add_argument(
        "source", metavar="SOURCE", help="a URL, a file (gzipped or not), or - for stdin"
    )
    it.add_argument(
        "--date",
        type=_day,
        metavar="DAY",
        help="of a feed by date, the day: 2020-01-20 or 20200120; adds date=20200120 to the URL",
    )
    it.add_argument(
        "--json", action="store_true", help="print just one JSON object, with BigQuery's schema"
    )
    it.add_argument(
        "--write",
        type=Path,
        metavar="FOLDER",
        help="write the YAML there, such as feed_assets/defs/NAME, which names the feed",
    )
    reading = it.add_argument_group("reading")
    reading.add_argument(
        "--type",
        action="append",
        default=[],
        type=_type,
        metavar="COLUMN=TYPE",
        help="fix a column's type, by its path as sent; may be repeated",
    )
    reading.add_argument("--empty-as-null", action="store_true", help='read "" as null')
    request = it.add_argument_group("request")
    request.add_argument(
        "--basic-auth",
        nargs=2,
        metavar=("USERNAME_ENV", "PASSWORD_ENV"),
        help="HTTP Basic Auth, by the environment variables that hold it",
    )
    request.add_argument(
        "--bearer-auth", metavar="TOKEN_ENV", help="a bearer token, by its environment variable"
    )
    request.add_argument(
        "--header-env",
        action="append",
        default=[],
        type=_header,
        metavar="NAME=ENV",
        help="a header to send, by its environment variable; may be repeated",
    )
    request.add_argument(
        "--allow-insecure", action="store_true", help="send credentials over plain http, too"
    )
    request.add_argument(
        "--max-feed-bytes",
        type=int,
        metavar="BYTES",
        help="refuse a feed beyond that, unzipped (default: 10,000,000,000)",
    )
    return parser


def _day(text: str) -> date:
    from feed_assets.tables import parse_day

    if (day := parse_day(text)) is None:
        raise argparse.ArgumentTypeError(f"{text} is no day; write it as 2020-01-20")
    return day


def _type(text: str) -> tuple[str, str]:
    """Of which the type is looked at with all the others."""
    column, equals, name = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not COLUMN=TYPE, such as total=NUMERIC")
    return column, name


def _header(text: str) -> tuple[str, str]:
    name, equals, variable = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=ENV, such as X-Api-Key=CRM_KEY")
    return name, variable


if __name__ == "__main__":
    sys.exit(main())
