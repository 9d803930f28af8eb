"""The command `feed-assets`."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
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


IMPORT = """\
Imports a feed as a run of Dagster that its UI shows, and then the latest state of a feed by
date. Without a day, that is the last day that has ended. A failed import is not repeated.
DAGSTER_HOME names the folder of the Dagster instance; without it, var/dagster of the project."""

IMPORT_EXAMPLES = """\
examples:
  feed-assets import crm_orders_snapshot
  feed-assets import crm_orders --day 2020-01-20
  feed-assets import crm_orders --days 2020-01-10..2020-01-20

exit status: 0 if all is imported; 1 if something failed, with the reason; 2 for a command line
that cannot be understood; 130 after Ctrl-C, which leaves whole tables."""


ERASE = """\
Shows how many rows of each table of a feed an erasure would delete: shards or snapshot, rejected
lines, latest state. With --yes it deletes them, brings the latest state up to date and says what
remains. Interrupted, it can be run again."""

ERASE_EXAMPLES = """\
examples:
  feed-assets erase crm_orders --key orderId=N2
  feed-assets erase crm_orders --where customer.id=U7 --yes

exit status: 0 if it is shown or deleted; 1 if it failed, with the reason; 2 for a command line that
cannot be understood."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one sentence, without the usage text."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    asked = _parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    from feed_assets.arrow_memory import prefer_jemalloc
    from feed_assets.env_file import load_env_file
    from feed_assets.errors import FeedAssetsError

    prefer_jemalloc()
    try:
        load_env_file()
        asked.command(asked)
        sys.stdout.flush()
    except FeedAssetsError as failure:
        from feed_assets.preview.printable import escape

        lines = str(failure).split("\n") if asked.command is _import else [str(failure)]
        sys.stderr.write("feed-assets: {}\n".format("\n".join(map(escape, lines))))
        return 1
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(failure, BrokenPipeError):  # the reader closed the pipe
            sys.stderr.write(f"feed-assets: the output cannot be written: {failure.strerror}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("feed-assets: interrupted\n")
        return 128 + signal.SIGINT
    return 0


def _preview(asked: argparse.Namespace) -> None:
    from feed_assets.errors import SettingError
    from feed_assets.preview.feed_yaml import feed_name, feed_yaml, write
    from feed_assets.preview.preview import preview
    from feed_assets.preview.request import PreviewRequest

    name = feed_name(asked.write) if asked.write else None
    found = preview(PreviewRequest(asked.source, asked.date, name, _attributes(asked)))
    if asked.json:
        sys.stdout.write(f"{json.dumps(found.json)}\n")
    else:
        from feed_assets.preview.render import render

        sys.stdout.write(render(found))
    if asked.write:
        if not found.is_ndjson:
            raise SettingError(f"nothing is written, as no line of {found.shown} is a row")
        file = write(asked.write, feed_yaml(found))
        to = sys.stderr if asked.json else sys.stdout
        to.write(f"Wrote {file}; look it over, then check it: .venv/bin/dg check defs\n")
    elif found.is_ndjson and not asked.json:
        sys.stdout.write(f"# feed_assets/defs/{found.feed.name}/defs.yaml\n{feed_yaml(found)}")


def _import(asked: argparse.Namespace) -> None:
    from feed_assets.orchestration.import_command import import_feed
    from feed_assets.preview.printable import escape

    def say(sentence: str) -> None:
        sys.stdout.write(f"{escape(sentence)}\n")
        sys.stdout.flush()

    import_feed(asked.feed, asked.day or asked.days, say)


def _erase(asked: argparse.Namespace) -> None:
    from feed_assets.orchestration.erase_command import erase
    from feed_assets.preview.printable import escape

    def say(sentence: str) -> None:
        sys.stdout.write(f"{escape(sentence)}\n")

    erase(
        asked.feed,
        asked.key,
        asked.where,
        all_rejected=asked.all_rejected,
        yes=asked.yes,
        say=say,
    )


def _attributes(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the feed's attributes given as options."""
    found: dict[str, Any] = {
        "headers_env": dict(asked.header_env) or None,
        "allow_insecure": asked.allow_insecure or None,
        "types": dict(asked.type) or None,
        "null_values": asked.null_value or None,
        "max_feed_bytes": asked.max_feed_bytes,
    }
    found |= dict(asked.set)
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
    it = _command(
        commands, _preview, "preview", "show what an import of a feed would do", PREVIEW, EXAMPLES
    )
    it.add_argument(
        "source", metavar="SOURCE", help="a URL, a file (compressed or not), or - for stdin"
    )
    it.add_argument(
        "--date",
        type=_day,
        metavar="DAY",
        help="of a feed by date, the day: 2020-01-20 or 20200120; it goes where the URL has "
        "{date}, or date=20200120 is added",
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
        metavar="COLUMN=TYPE[:FORMAT]",
        help="fix a column's type, by its path in the feed: total=NUMERIC, "
        "updatedAt=DATETIME:%%d.%%m.%%Y; may be repeated",
    )
    reading.add_argument(
        "--null-value",
        action="append",
        default=[],
        metavar="TEXT",
        help='read a string as null, such as ""; may be repeated',
    )
    it.add_argument(
        "--set",
        action="append",
        default=[],
        type=_attribute,
        metavar="NAME=VALUE",
        help="any attribute of the feed, its value as in the YAML: max_line_bytes=1000; may be "
        "repeated",
    )
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
    it = _command(commands, _import, "import", "import a feed", IMPORT, IMPORT_EXAMPLES)
    it.add_argument("feed", metavar="FEED", help="the feed's name")
    which = it.add_mutually_exclusive_group()
    which.add_argument(
        "--day", type=_one_day, metavar="DAY", help="of a feed by date, the day: 2020-01-20"
    )
    which.add_argument(
        "--days", type=_days, metavar="FIRST..LAST", help="the days: 2020-01-10..2020-01-20"
    )
    it = _command(
        commands, _erase, "erase", "delete the rows of a person or an order", ERASE, ERASE_EXAMPLES
    )
    it.add_argument("feed", metavar="FEED", help="the feed's name")
    it.add_argument(
        "--key",
        action="append",
        default=[],
        type=_equality,
        metavar="COLUMN=VALUE",
        help="the key of the rows; repeated for a key of several columns",
    )
    it.add_argument(
        "--where",
        action="append",
        default=[],
        type=_equality,
        metavar="COLUMN=VALUE",
        help="any column, by its path; repeated, a row has to match all",
    )
    it.add_argument(
        "--all-rejected",
        action="store_true",
        help="empty the tables of rejected lines, in place of lines that have the values",
    )
    it.add_argument("--yes", action="store_true", help="delete the rows")
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser],
    run: Callable[[argparse.Namespace], None],
    name: str,
    help: str,  # noqa: A002  (argparse's name)
    description: str,
    examples: str,
) -> _Parser:
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _equality(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column or not value:
        raise argparse.ArgumentTypeError(f"{text} is not COLUMN=VALUE, such as orderId=N2")
    return column, value


def _one_day(text: str) -> tuple[date, date]:
    return (_day(text),) * 2


def _days(text: str) -> tuple[date, date]:
    first, dots, last = text.partition("..")
    if not dots:
        raise argparse.ArgumentTypeError(f"{text} is not FIRST..LAST: 2020-01-10..2020-01-20")
    days = _day(first), _day(last)
    if days[0] > days[1]:
        raise argparse.ArgumentTypeError(f"{first} is after {last}; write the first day first")
    return days


def _day(text: str) -> date:
    from feed_assets.schema.table import parse_day

    if (day := parse_day(text)) is None:
        raise argparse.ArgumentTypeError(f"{text} is not a day; write it as 2020-01-20")
    return day


def _type(text: str) -> tuple[str, Any]:
    """Split COLUMN=TYPE or COLUMN=TYPE:FORMAT; the feed's model validates the type."""
    declared, colon, time_format = text, "", ""
    if found := re.search(r"=\w+:", text):
        declared, colon, time_format = text[: found.end() - 1], ":", text[found.end() :]
    column, equals, name = declared.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not COLUMN=TYPE, such as total=NUMERIC")
    return column, {"type": name, "format": time_format} if colon else name


def _attribute(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE and parse the value as YAML; the feed's model validates it."""
    import yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("--set wants NAME=VALUE, such as max_line_bytes=1000")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"the value of {name} is not YAML") from None


def _header(text: str) -> tuple[str, str]:
    name, equals, variable = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=ENV, such as X-Api-Key=CRM_KEY")
    return name, variable


if __name__ == "__main__":
    sys.exit(main())
