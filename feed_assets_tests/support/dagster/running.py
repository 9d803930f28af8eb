"""One real Dagster for the tests that look at it, with a CRM, a shop, and somebody to alert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from feed_assets.demo import crm
from feed_assets.demo.server import PASSWORD, USERNAME, Feeds, Rows, serving
from feed_assets_tests.support.dagster.client import Dagster, copied_project, dagster_over
from feed_assets_tests.support.servers.receivers import Mailbox, Webhook, mail_server, webhook

SHOP_DAYS = [datetime.now(UTC).date() - timedelta(days=ago) for ago in range(14, 0, -1)]
"""Those of a feed that goes on: of one with an end, Dagster has no plots over partitions."""
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
class Office:
    """All that runs: Dagster, and CRM and shop, whose answers for a day a test may change.

    `asked` are the days that were requested of the shop.
    """

    dagster: Dagster
    url: str
    file: Path
    answers: dict[date | None, Rows]
    asked: list[date]
    hook: Webhook
    mailbox: Mailbox


@contextmanager
def opened_office(here: Path) -> Iterator[Office]:
    """Starts all of it in a folder, and ends it."""
    file = here / "warehouse.duckdb"
    answers: dict[date | None, Rows] = {}
    asked: list[date] = []
    environment = {
        "FEED_ASSETS_WAREHOUSE": f"duckdb://{file}",
        "CRM_FEED_USERNAME": USERNAME,
        "CRM_FEED_PASSWORD": PASSWORD,
        "FEED_ASSETS_UI_URL": "https://dagster.example.com",
    }

    def orders(day: date | None) -> Rows:
        return answers.get(day, crm.now() if day is None else crm.updated_on(day))

    def shop(day: date | None) -> Rows:
        assert day is not None  # it has no snapshot
        asked.append(day)
        return answers.get(day, shop_orders(day))

    feeds: Feeds = {"/feed.ndjson": orders, "/shop.ndjson": shop}
    with serving(feeds) as url, webhook() as hook, mail_server() as mailbox:
        environment["FEED_ASSETS_ALERTS"] = f"{hook.url} {mailbox.url}"
        project = copied_project(here / "project", url, MORE_FEEDS)
        with dagster_over(project, here / "home", environment) as dagster:
            assert dagster.location() == "LOADED"
            yield Office(dagster, url, file, answers, asked, hook, mailbox)


def shop_orders(day: date) -> Rows:
    """What the shop sold on a day: on some more than on others, as the plot of rows shows."""
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
