"""A data engineer's day in the Dagster UI, in a real browser, click by click.

The tests are one walk in their order: each fixture that acts does so once. Screenshots are in
`var/screenshots`, also of one that failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import pytest
from playwright.sync_api import Locator, Page, expect

from feed_assets_tests.support.dagster.browser import opened_page, pictured, screenshot
from feed_assets_tests.support.dagster.client import waited_for
from feed_assets_tests.support.dagster.running import SHOP_DAYS, RunningDagster, shop_orders

pytestmark = [
    pytest.mark.timeout(900),  # beside other tests, a run takes a minute to start
    pytest.mark.xdist_group("services"),
]

FIRST, BAD, LAST = SHOP_DAYS[0], SHOP_DAYS[8], SHOP_DAYS[-1]
RANGE = f"[{FIRST}...{LAST}]"
ALERT = f"shop_orders: backfill of {BAD} failed"
PARTITIONS = re.compile("1[45] partitions")  # one more, if it is midnight meanwhile
BAD_LINE = f"shop_orders {BAD}: line 7 is not JSON (NaN is not a JSON number)"


@pytest.fixture(scope="module")
def window(running_dagster: RunningDagster) -> Iterator[Page]:
    with opened_page(running_dagster.client.url) as page:
        page.goto("/")
        yield page


@pytest.fixture
def page(window: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The one page; each test leaves a screenshot of it."""
    with pictured(window, request.node.name.removeprefix("test_")):
        yield window
    window.keyboard.press("Escape")  # closes what is open over it


@pytest.fixture(scope="module")
def one_day(window: Page) -> None:
    """The first day, materialized by hand."""
    open_tab(window, "shop_orders", "Partitions")
    with pictured(window, "one_day"):
        launch(window, str(FIRST))
        expect(count(window, "Materialized", 1)).to_be_visible()


@pytest.fixture(scope="module")
def backfilled(window: Page, running_dagster: RunningDagster, one_day: None) -> str:
    """All days as a backfill, one of them bad; its id."""
    good = list(shop_orders(BAD))
    running_dagster.answers[BAD] = [*good[:6], {**good[6], "total": float("nan")}]
    open_tab(window, "shop_orders", "Partitions")
    with pictured(window, "backfilled"):
        launch(window, RANGE)
        message = window.get_by_text(re.compile("Created backfill")).first.inner_text()
        expect(count(window, "Failed", 1)).to_be_visible()
        expect(count(window, "Materialized", len(SHOP_DAYS) - 1)).to_be_visible()
    return message.split()[-1]


@pytest.fixture(scope="module")
def alerted(running_dagster: RunningDagster, backfilled: str) -> str:
    """The message of the backfill."""
    return waited_for("the alert", lambda: message(running_dagster, ALERT))


@pytest.fixture(scope="module")
def mended(window: Page, running_dagster: RunningDagster, alerted: str) -> list[date]:
    """Correct the bad day and run failed days again; return the days that were requested."""
    del running_dagster.answers[BAD]
    running_dagster.requested_days.clear()
    open_tab(window, "shop_orders", "Partitions")
    with pictured(window, "mended"):
        launch(window, RANGE, only_failed_and_missing=True)
        expect(count(window, "Materialized", len(SHOP_DAYS))).to_be_visible()
        expect(count(window, "Failed", 0)).to_be_visible()
    return list(running_dagster.requested_days)


def test_the_catalog_shows_each_feed_with_its_kind_and_group(page: Page) -> None:
    go_to(page, "Catalog")
    row = page.locator("div", has=asset_link(page, "shop_orders")).filter(has_text=PARTITIONS)
    expect(row.last).to_contain_text("Orders of the web shop, as they were updated on each day.")
    expect(row.last).to_contain_text("ndjson")
    expect(row.last.get_by_role("link", name="shop", exact=False).last).to_be_visible()
    expect(asset_link(page, "crm_orders_latest")).to_be_visible()


def test_the_lineage_graph_leads_from_the_shards_to_the_latest_state(page: Page) -> None:
    go_to(page, "Lineage")
    node(page, "shop").click()
    expect(node(page, "shop_orders_latest")).to_contain_text("Table")
    expect(node(page, "shop_orders")).to_contain_text(PARTITIONS)


@pytest.mark.usefixtures("one_day")
def test_a_day_is_materialized_and_shows_its_figures(page: Page) -> None:
    open_day(page, FIRST)
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    figures = page.get_by_role("table").first
    expect(figures).to_contain_text(f"shop.orders_{FIRST:%Y%m%d}")
    expect(figures).to_contain_text(f"/shop.ndjson?date={FIRST:%Y%m%d}")
    expect(row(figures, "dagster/row_count")).to_contain_text(str(len(list(shop_orders(FIRST)))))


@pytest.mark.usefixtures("backfilled")
def test_the_good_days_of_a_backfill_are_green_and_the_bad_day_is_red(page: Page) -> None:
    open_tab(page, "shop_orders", "Partitions")
    expect(count(page, "Failed", 1)).to_be_visible()
    listed = SHOP_DAYS[4:]  # those that the list shows without scrolling
    assert {day: colour(page, day) for day in listed} == {
        day: "red" if day == BAD else "green" for day in listed
    }


@pytest.mark.usefixtures("backfilled")
def test_the_page_of_a_failed_day_links_to_the_reason(page: Page) -> None:
    open_day(page, BAD)
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    page.get_by_text("View logs").click()
    expect(page.get_by_role("dialog").get_by_text(BAD_LINE).last).to_be_visible()


@pytest.mark.usefixtures("backfilled")
def test_the_page_of_a_backfill_shows_its_status_and_progress(page: Page, backfilled: str) -> None:
    go_to(page, "Runs")
    page.get_by_role("link", name=backfilled).click()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("100% completed")).to_be_visible()


def test_the_alert_is_received_and_its_tick_reports_it(
    page: Page, backfilled: str, alerted: str
) -> None:
    assert alerted.startswith(BAD_LINE.removeprefix("shop_orders "))
    assert f"/runs/b/{backfilled}" in alerted

    go_to(page, "Automation")
    page.get_by_text("import_alerts", exact=True).first.click()
    expect(page.get_by_text("Sends failed imports, failed checks, late feeds")).to_be_visible()
    screenshot(page, "sensor_of_alerts")
    assert waited_for("its tick", lambda: is_reported_by_a_tick(page, f"sent: {ALERT}"))


def test_only_failed_and_missing_days_are_run_again(page: Page, mended: list[date]) -> None:
    assert mended == [BAD]
    open_day(page, BAD)
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()


@pytest.mark.usefixtures("mended")
def test_the_rows_of_each_day_are_plotted(page: Page) -> None:
    open_tab(page, "shop_orders", "Overview")
    page.get_by_role("button", name="Plots").click()
    expect(page.get_by_text("dagster/row_count", exact=True)).to_be_visible()
    plots = page.locator("canvas")
    plots.last.scroll_into_view_if_needed()
    waited_for("a line in each plot", lambda: all(map(is_drawn, plots.all())))


@pytest.mark.usefixtures("mended")
def test_the_checks_tab_shows_each_check_passed_for_each_day(page: Page) -> None:
    open_tab(page, "shop_orders", "Checks")
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(4)
    expect(page.get_by_text("Each row has its own orderId.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"each of \d+ rows has a unique orderId"))).to_be_visible()
    screenshot(page, "check_of_the_key")
    page.get_by_role("tab", name="Partitions").last.click()
    expect(page.get_by_text(f"Passed ({len(SHOP_DAYS)})").last).to_be_visible()


@pytest.mark.usefixtures("mended")
def test_a_recovery_is_reported(running_dagster: RunningDagster) -> None:
    recovery = waited_for("the message", lambda: message(running_dagster, "shop_orders: recovered"))
    assert recovery.startswith(f"shop_orders: {BAD}, which had failed, is now imported.")


def message(running_dagster: RunningDagster, title: str) -> str | None:
    """Return the message with a title; None if there is none."""
    return next(
        (each["message"] for each in running_dagster.hook.received if each["title"] == title), None
    )


def go_to(page: Page, name: str) -> None:
    """Open a page by the menu at the left."""
    page.get_by_role("navigation").get_by_role("link", name=name).click()


def asset_link(page: Page, name: str) -> Locator:
    return page.locator(f'a[href="/assets/{name}"]').first


def open_tab(page: Page, asset: str, tab: str) -> None:
    """From the catalog, the tab of an asset's page."""
    go_to(page, "Catalog")
    asset_link(page, asset).click()
    page.get_by_role("tab", name=tab).first.click()


def open_day(page: Page, day: date) -> None:
    open_tab(page, "shop_orders", "Partitions")
    of_day(page, day).click()


def of_day(page: Page, day: date) -> Locator:
    """A day's line in the list of partitions."""
    page.get_by_placeholder("Filter by name").fill(str(day))
    return page.get_by_title(str(day)).first


def count(page: Page, status: str, days: int) -> Locator:
    """The box that says how many days have a status."""
    return page.get_by_text(f"{status} ({days})", exact=True).first


def colour(page: Page, day: date) -> str:
    """Return the colour of a day's dot in the list of partitions."""
    dot = page.locator(f'[data-tooltip="{day}"] + div').first
    style = dot.evaluate("dot => getComputedStyle(dot).backgroundColor")
    red, green, _ = map(int, re.findall(r"\d+", style)[:3])
    return "red" if red > 2 * green else "green" if green > 2 * red else style


def row(table: Locator, label: str) -> Locator:
    return table.get_by_role("row").filter(has_text=label)


def node(page: Page, name: str) -> Locator:
    """An asset, or a group of them that is closed, in the graph."""
    title = re.compile(rf"^{name}(Latest|\d|$)")
    return page.locator("foreignObject").filter(has_text=title).first


def launch(page: Page, days: str, *, only_failed_and_missing: bool = False) -> None:
    """Materialize days by the dialog."""
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    chosen = dialog.get_by_role("textbox").first
    chosen.fill(days)
    chosen.press("Enter")
    if only_failed_and_missing:
        dialog.get_by_text("Backfill only failed and missing partitions").click()
    screenshot(page, "launch_again" if only_failed_and_missing else "launch")
    dialog.get_by_role("button", name="Launch").last.click()
    expect(dialog).to_be_hidden()  # it closes when the backfill is launched


def is_drawn(plot: Locator) -> bool:
    """Return whether it shows a line in the UI's blue."""
    drawn: bool = plot.evaluate(
        """plot => {
            const seen = plot.getContext("2d").getImageData(0, 0, plot.width, plot.height).data;
            for (let at = 0; at < seen.length; at += 4)
                if (seen[at + 3] > 200 && seen[at + 2] > seen[at] + 80) return true;
            return false;
        }"""
    )
    return drawn


def is_reported_by_a_tick(page: Page, sentence: str) -> bool:
    """Search the newest ticks for one that reports the text."""
    results = page.get_by_role("table").last.get_by_text("0 runs requested")
    for place in range(1, results.count(), 2):  # a tick's status and its result both say that
        results.nth(place).click()
        reason = page.get_by_role("dialog").get_by_text("Skip reason")
        expect(reason).to_be_visible()
        found = sentence in page.get_by_role("dialog").inner_text()
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        if found:
            return True
    return False
