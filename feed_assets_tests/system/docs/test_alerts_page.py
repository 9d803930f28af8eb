"""docs/alerts.md: Apprise knows each address, and the messages shown are those that arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from dagster._core.execution.backfill import BulkActionStatus

from feed_assets.alerts.config import LATE_AFTER_HOURS, Alerts
from feed_assets.alerts.notifier import addresses
from feed_assets.config.feed import Feed
from feed_assets_tests.dagster.test_alerts import UI, AlertScenario
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines
from feed_assets_tests.support.servers.receivers import webhook
from feed_assets_tests.system.docs.pages import code, page, shown_in

ALERTS = page("alerts.md")
SHOWN_URL = "https://example.com/feed.ndjson"
SERVICES = ("Slack", "Microsoft Teams", "E-mail", "PagerDuty", "Google Chat", "Discord", "Telegram")


@pytest.mark.parametrize(("where", "written"), ALERTS.table_under("Addresses"))
def test_apprise_finds_the_service_of_an_address(
    where: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEED_ASSETS_ALERTS", code(written))
    (address,) = addresses("FEED_ASSETS_ALERTS")

    known = address.service.service_name.replace("MSTeams", "Microsoft Teams")
    named = [name for name in SERVICES if where.startswith(name)] or ["JSON"]
    assert named[0].replace(" ", "").lower() in str(known).replace(" ", "").lower()


def test_the_page_shows_the_default_lateness() -> None:
    assert Alerts().late_after_hours == LATE_AFTER_HOURS == 3
    assert "`late_after_hours` (3)" in ALERTS.prose


class PageScenario(AlertScenario):
    """The page's feeds."""

    @property
    def feeds(self) -> Sequence[Feed]:
        orders, leads = super().feeds
        named = {"name": "crm_orders", "key": ("orderId",), "updated_at": "updatedAt"}
        return [
            orders.model_copy(update=named),
            leads.model_copy(update={"key": ("leadId",)}),
        ]

    def run_orders(self, *days: str, backfill: str = "") -> None:
        self.run(
            *days, assets=["crm_orders"], tags={"dagster/backfill": backfill} if backfill else {}
        )


@pytest.fixture
def scenario(
    server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PageScenario]:
    with webhook() as hook, ephemeral_instance() as instance:
        monkeypatch.setenv("FEED_ASSETS_ALERTS", hook.url)
        scenario = PageScenario(instance, server, hook, f"duckdb://{tmp_path}/warehouse.duckdb")
        scenario.alerts = Alerts(ui_url=UI)
        assert scenario.new_alerts() == []
        yield scenario


def test_the_messages_of_the_page_are_those_received(scenario: PageScenario) -> None:
    scenario.server.answer = lambda path: lines({"orderId": "N1"}, "[1, 2")
    scenario.run_orders("2020-01-20")
    scenario.tick()

    backfill = scenario.backfill(BulkActionStatus.REQUESTED)
    absent = Answer(b"", 404)
    good = lines({"orderId": "N1", "updatedAt": "2020-01-03"})
    scenario.server.answer = lambda path: good if path.endswith(("01", "03")) else absent
    scenario.run_orders("2020-01-01", "2020-01-04", backfill=backfill)
    scenario.backfill(BulkActionStatus.COMPLETED_FAILED)
    scenario.tick()
    scenario.server.answer = lambda path: good
    scenario.run_orders("2020-01-01", "2020-01-04")
    scenario.tick()

    scenario.server.answer = lambda path: lines(*({"leadId": each} for each in "AAB"))
    scenario.run(assets=["leads"])
    scenario.tick()
    scenario.later += timedelta(days=2)
    scenario.tick()

    arrived = [f"{each['title']}\n\n{each['message']}" for each in scenario.hook.received]
    for block in ALERTS.of("text"):
        assert any(
            shown_in(unwrapped(block.text), unwrapped(each).replace(scenario.server.url, SHOWN_URL))
            for each in arrived
        ), f"{block}\n{block.text}\n" + "\n---\n".join(arrived)
    assert len(ALERTS.of("text")) == 5


def unwrapped(text: str) -> str:
    return " ".join(text.split())
