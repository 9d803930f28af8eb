"""A running Dagster for system tests, with a CRM, a shop, a webhook and a mail server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from feed_assets.demo import crm
from feed_assets.demo.server import PASSWORD, USERNAME, Feeds, Rows, serving
from feed_assets_tests.support.dagster.client import Dagster, copied_project, dagster_over
from feed_assets_tests.support.servers.receivers import Mailbox, Webhook, mail_server, webhook

SHOP_DAYS = [datetime.now(UTC).date() - timedelta(days=ago) for ago in range(14, 0, -1)]
"""Days of a feed without an end date; Dagster plots over partitions only for these."""
BASIC_AUTH = {"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"}
MORE_FEEDS: dict[str, dict[str, Any]] = {
    "crm_leads": {"basic_auth": {**BASIC_AUTH, "password_env": "CRM_LEADS_PASSWORD"}},
    "crm_returns": {"basic_auth": {**BASIC_AUTH, "password_env": "CRM_FEED_USERNAME"}},
    "shop_orders": {
        "description": "Orders of the web shop, as they were updated on each day.",
        "url": "/shop.ndjson",
        "basic_auth": BASIC_AUTH,
        "dataset": "shop",
        "table": "orders",
        "partition_by_date": {
            "start_date": SHOP_DAYS[0].isoformat(),
            "include_today": False,
        },
        "key": ["orderId"],
        "updated_at": "updatedAt",
    },
}


@dataclass
class RunningDagster:
    """Dagster and the servers it talks to.

    Tests set `answers` to change the CRM's and shop's rows of a day. `requested_days` lists the
    requests to the shop. `file` is the DuckDB warehouse, `restart` kills Dagster with all runs and
    starts it again.
    """

    client: Dagster
    url: str
    home: Path
    file: Path
    answers: dict[date | None, Rows]
    requested_days: list[date]
    hook: Webhook
    mailbox: Mailbox
    restart: Callable[[], None]


@contextmanager
def start_dagster(here: Path) -> Iterator[RunningDagster]:
    """Start Dagster and the servers in a folder; stop them on exit."""
    file = here / "warehouse.duckdb"
    answers: dict[date | None, Rows] = {}
    requested_days: list[date] = []
    environment = {
        "FEED_ASSETS_WAREHOUSE": f"duckdb://{file}",
        "CRM_FEED_USERNAME": USERNAME,
        "CRM_FEED_PASSWORD": PASSWORD,
        "FEED_ASSETS_UI_URL": "https://dagster.example.com",
    }

    def orders(day: date | None) -> Rows:
        return answers.get(day, crm.now() if day is None else crm.updated_on(day))

    def shop(day: date | None) -> Rows:
        assert day is not None  # the shop has no snapshot
        requested_days.append(day)
        return answers.get(day, shop_orders(day))

    feeds: Feeds = {"/feed.ndjson": orders, "/shop.ndjson": shop}
    with serving(feeds) as url, webhook() as hook, mail_server() as mailbox:
        environment["FEED_ASSETS_ALERTS"] = f"{hook.url} {mailbox.url}"
        project = copied_project(here / "project", url, MORE_FEEDS)
        home = here / "home"
        with ExitStack() as programs:

            def start() -> Dagster:
                found = programs.enter_context(dagster_over(project, home, environment))
                assert found.location() == "LOADED"
                return found

            def restart() -> None:
                programs.close()
                running.client = start()

            running = RunningDagster(
                start(), url, home, file, answers, requested_days, hook, mailbox, restart
            )
            yield running


def shop_orders(day: date) -> Rows:
    """Return the shop's orders of a day; the number differs by day, so that plots show a curve."""
    count = 40 + 25 * (day.day * 7 % 11)
    return [
        {
            "createdAt": day.isoformat(),
            "updatedAt": day.isoformat(),
            "orderId": f"S{day:%m%d}-{number:03}",
            "currency": "EUR",
            "total": number + 0.5,
            "status": ("received", "shipped", "delivered")[number % 3],
            "customer": {"id": f"U{number % 17}", "country": ("DE", "AT", "CH")[number % 3]},
        }
        for number in range(count)
    ]
