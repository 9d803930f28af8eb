"""What alerts say, and how what they were sent for is remembered. Pure, so in tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.alerts.day_ranges import packed, unpacked
from feed_assets.alerts.messages import Problem, failed, late, named, recovered
from feed_assets.alerts.notifier import Sent
from feed_assets.alerts.state import GIVE_UP, MOST_PENDING, State

NOW = datetime(2024, 5, 2, 8, 0, tzinfo=UTC)
LINK = "Run: https://dagster.example.com/runs/6f"
WEEK = tuple(f"2024-05-0{day}" for day in range(1, 8))
BAD = "line 812 is not a JSON object (got an array): [1,2"
REFUSED = "https://example.com/feed answered 401 Unauthorized; check CRM_FEED_PASSWORD"


def test_one_day_that_failed_is_told_as_a_whole() -> None:
    todo = "Have the lines corrected."
    message = failed([Problem("crm_orders", BAD, ("2024-05-01",), todo=todo)], LINK)
    assert message.kind == "failure"
    assert message.title == "crm_orders: import of 2024-05-01 failed"
    assert message.body == (
        f"2024-05-01: {BAD}\n\n"
        "Have the lines corrected. The table is as before. Once the cause is gone, materialize "
        f"2024-05-01 of crm_orders again.\n\n{LINK}"
    )


@pytest.mark.parametrize(
    ("problems", "backfill", "title", "says"),
    [
        (
            [Problem("orders", REFUSED)],
            False,
            "orders: import failed",
            f"{REFUSED}\n\nThe table is as before. Once the cause is gone, materialize orders",
        ),
        (
            [Problem("orders", REFUSED, WEEK)],
            False,
            "orders: import of 7 days failed",
            f"2024-05-01 to 2024-05-07: {REFUSED}\n\nTables are as before.",
        ),
        (
            [Problem("orders", REFUSED, WEEK)],
            True,
            "orders: backfill of 7 days failed",
            "materialize 2024-05-01 to 2024-05-07 of orders again.",
        ),
        (
            [Problem("orders", REFUSED, WEEK[:1]), Problem("leads", BAD)],
            False,
            "2 imports failed: orders, leads",
            f"orders 2024-05-01: {REFUSED}\n\nleads: {BAD}",
        ),
        (
            [Problem(f"feed{number}", BAD) for number in range(5)],
            False,
            "5 imports failed: feed0, feed1, feed2 and 2 more",
            "... and 2 reasons more, which the run tells.",
        ),
        (
            [Problem("orders", "3 of 10 keys came twice", WEEK[:1], "key_is_unique")],
            False,
            "orders: check key_is_unique of 2024-05-01 failed",
            "2024-05-01 check key_is_unique: 3 of 10 keys came twice\n\nThe rows are in the table.",
        ),
        (
            [Problem("orders", "x" * 9000)],
            False,
            "orders: import failed",
            f"{'x' * 500}...\n\n",
        ),
    ],
)
def test_failures_as_they_are_told(
    problems: list[Problem], backfill: bool, title: str, says: str
) -> None:
    message = failed(problems, LINK, backfill=backfill)
    assert message.title == title
    assert says in message.body
    assert message.body.endswith(LINK)
    assert len(message.body) < 2500


def test_a_late_feed_is_told_with_when_it_was_due_and_last_came() -> None:
    last = NOW - timedelta(days=1)
    message = late("crm_orders", "2024-05-02", NOW, last, "Asset: crm_orders")
    assert message.title == "crm_orders: nothing arrived, and it was due 2024-05-02 08:00 UTC"
    assert message.body.startswith(
        "2024-05-02 of crm_orders should have been imported 2024-05-02 08:00 UTC; the last import "
        "was 2024-05-01 08:00 UTC.\n\nSee in the Dagster UI"
    )
    assert "it has never been imported" in late("orders", "", NOW, None, "").body


@pytest.mark.parametrize(
    ("items", "was_late", "says"),
    [
        ({"2024-05-01"}, False, "2024-05-01 of orders, whose import had failed, has been imported"),
        ({"2024-05-01"}, True, "2024-05-01 of orders, whose import was late, has been imported"),
        ({""}, False, "orders, whose import had failed, is imported now."),
        ({"check rows"}, False, "What failed before passes now: check rows."),
    ],
)
def test_a_recovery_tells_what_is_well(items: set[str], was_late: bool, says: str) -> None:
    message = recovered("orders", items, LINK, was_late=was_late)
    assert (message.title, message.kind) == ("orders: recovered", "success")
    assert message.body.startswith(says)


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ([], ""),
        (["2024-02-28", "2024-02-29", "2024-03-01"], "2024-02-28 to 2024-03-01"),
        (["2024-05-03", "2024-05-01"], "2024-05-01, 2024-05-03"),
        (
            [f"2024-05-{day:02}" for day in (1, 3, 5, 7, 9, 10)],
            "2024-05-01, 2024-05-03, 2024-05-05, 2024-05-07 and 2 days more",
        ),
    ],
)
def test_days_are_named_by_their_stretches(days: list[str], text: str) -> None:
    assert named(days) == text


@given(
    st.sets(
        st.dates(date(2024, 1, 1), date(2024, 3, 9)).map(str)
        | st.sampled_from(["", "check rows", "check key 2024-05-01", "check a/b"])
    )
)
def test_what_is_packed_is_unpacked(items: set[str]) -> None:
    assert unpacked(packed(items)) == items


def test_three_thousand_days_take_little_room() -> None:
    days = {(date(2016, 1, 1) + timedelta(days=number)).isoformat() for number in range(3000)}
    assert packed(days) == ("2016-01-01/2024-03-18",)


def test_an_alert_is_settled_once_all_its_days_are() -> None:
    state = State(after=0)
    state.add_trouble("orders", WEEK[:2])
    assert state.settle("orders", {WEEK[0]}) == (set(), True)
    assert state.settle("leads", {WEEK[1]}) == (set(), True)
    assert state.settle("orders", {WEEK[1], WEEK[5]}) == (set(WEEK[:2]), False)
    assert state.troubles == []


def test_a_day_that_stays_away_for_good_keeps_no_later_one_from_recovering() -> None:
    state = State(after=0)
    state.add_trouble("orders", [WEEK[0]])
    state.add_trouble("orders", [WEEK[3]])
    assert state.settle("orders", {WEEK[3]}) == ({WEEK[3]}, False)
    assert state.troubled("orders", WEEK[0])


def test_a_day_that_fails_again_recovers_once() -> None:
    state = State(after=0)
    state.add_trouble("orders", [WEEK[0], WEEK[1]])
    state.add_trouble("orders", [WEEK[1]])
    assert state.settle("orders", {WEEK[1]}) == ({WEEK[1]}, False)
    assert state.settle("orders", {WEEK[0]}) == ({WEEK[0]}, False)


@pytest.mark.parametrize(("done", "well"), [(0, False), (1, True), (2, True)])
def test_a_feed_that_was_late_is_on_time_with_its_day_or_a_later_one(done: int, well: bool) -> None:
    state = State(after=0)
    state.add_trouble("orders", [WEEK[1]], late=True)
    assert state.troubled("orders", "2024-06-01")
    assert state.settle("orders", {WEEK[done]}) == ({WEEK[1]} if well else set(), True)


def test_a_feed_that_is_removed_is_forgotten() -> None:
    state = State(after=0, due={"orders": NOW, "leads": NOW})
    state.add_trouble("orders", WEEK)
    state.keep_only({"leads", "leads_latest"})
    assert state == State(after=0, due={"leads": NOW})


def test_a_message_is_kept_for_whom_it_has_not_reached_until_it_is_given_up() -> None:
    state = State(after=0)
    message = recovered("orders", {""}, LINK)
    state.post(message, ["slack", "mailto", "json"], NOW)

    said = state.was_sent({"slack": Sent(done=[0]), "mailto": Sent(failed={0: "no"})}, NOW)
    assert state.outbox[0].to == ("mailto",)
    assert said == [
        "'orders: recovered' could not be sent to mailto: no",
        "'orders: recovered' was not sent to json, which is gone",
    ]
    assert state.to_send(["slack", "mailto"]) == {"slack": [], "mailto": [(0, message)]}
    said = state.was_sent({"mailto": Sent(failed={0: "no"})}, NOW + GIVE_UP)
    assert said[-1] == "'orders: recovered' is given up after 1 day"
    assert state.outbox == []


def test_what_was_tried_least_is_sent_first() -> None:
    """So that a message which is refused for what it is holds up no other."""
    state = State(after=0)
    for asset in ("a", "b"):
        state.post(recovered(asset, {""}, LINK), ["json"], NOW)
    state.outbox[0] = state.outbox[0].model_copy(update={"tries": 1})
    assert [place for place, _ in state.to_send(["json"])["json"]] == [1, 0]


def test_of_more_messages_than_are_kept_the_oldest_are_given_up() -> None:
    state = State(after=0)
    for number in range(MOST_PENDING + 1):
        state.post(recovered(f"feed{number}", {""}, LINK), ["json"], NOW)
    said = state.was_sent({"json": Sent()}, NOW)
    assert said[-1] == f"'feed0: recovered' is given up: {MOST_PENDING} newer messages wait"
    assert len(state.outbox) == MOST_PENDING
    assert State.model_validate_json(state.model_dump_json()) == state
