"""The text of alerts, and the state of the alert sensor."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.alerts.day_ranges import pack, unpack
from feed_assets.alerts.messages import Problem, failed, late, named, recovered
from feed_assets.alerts.notifier import SendResult
from feed_assets.alerts.state import MAX_PENDING, MAX_REASONS, REMIND_AFTER, RESEND_PERIOD, State

NOW = datetime(2024, 5, 2, 8, 0, tzinfo=UTC)
LINK = "Run: https://dagster.example.com/runs/6f"
WEEK = tuple(f"2024-05-0{day}" for day in range(1, 8))
BAD = "line 812 is not a JSON object (got an array): [1,2"
REFUSED = "https://example.com/feed answered 401 Unauthorized; check CRM_FEED_PASSWORD"


def test_the_whole_alert_for_a_failed_day() -> None:
    next_step = "Have the lines corrected."
    message = failed([Problem("crm_orders", BAD, ("2024-05-01",), next_step=next_step)], LINK)
    assert message.kind == "failure"
    assert message.title == "crm_orders: import of 2024-05-01 failed"
    assert message.body == (
        f"2024-05-01: {BAD}\n\n"
        "Have the lines corrected. The table is unchanged. Fix the cause, then materialize "
        f"crm_orders again for 2024-05-01.\n\n{LINK}"
    )


@pytest.mark.parametrize(
    ("problems", "backfill", "title", "says"),
    [
        (
            [Problem("orders", REFUSED)],
            False,
            "orders: import failed",
            f"{REFUSED}\n\nThe table is unchanged. Fix the cause, then materialize orders again.",
        ),
        (
            [Problem("orders", REFUSED, WEEK)],
            False,
            "orders: import of 7 days failed",
            f"2024-05-01 to 2024-05-07: {REFUSED}\n\nTables are unchanged.",
        ),
        (
            [Problem("orders", REFUSED, WEEK)],
            True,
            "orders: backfill of 7 days failed",
            "materialize orders again for 2024-05-01 to 2024-05-07.",
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
            "... and 2 more reasons; see the run's log.",
        ),
        (
            [Problem("orders", "3 of 10 keys came twice", WEEK[:1], "key_is_unique")],
            False,
            "orders: check key_is_unique of 2024-05-01 failed",
            "2024-05-01 check key_is_unique: 3 of 10 keys came twice\n\nThe rows are stored.",
        ),
        (
            [Problem("orders", "x" * 9000)],
            False,
            "orders: import failed",
            f"{'x' * 500}...\n\n",
        ),
    ],
)
def test_alerts_for_failures(
    problems: list[Problem], backfill: bool, title: str, says: str
) -> None:
    message = failed(problems, LINK, backfill=backfill)
    assert message.title == title
    assert says in message.body
    assert message.body.endswith(LINK)
    assert len(message.body) < 2500


def test_the_alert_for_a_late_feed_says_when_it_was_due_and_last_imported() -> None:
    last = NOW - timedelta(days=1)
    message = late("crm_orders", "2024-05-02", NOW, last, "Asset: crm_orders")
    assert message.title == "crm_orders: late, due since 2024-05-02 08:00 UTC"
    assert message.body.startswith(
        "2024-05-02 of crm_orders was due at 2024-05-02 08:00 UTC and is not imported; the last "
        "import was at 2024-05-01 08:00 UTC.\n\nIn the Dagster UI, check"
    )
    assert "there was no import yet" in late("orders", "", NOW, None, "").body


@pytest.mark.parametrize(
    ("items", "was_late", "says"),
    [
        ({"2024-05-01"}, False, "orders: 2024-05-01, which had failed, is now imported."),
        ({"2024-05-01"}, True, "orders: 2024-05-01, which was late, is now imported."),
        (
            {"2024-05-01", "2024-05-03"},
            False,
            "orders: 2024-05-01 and 2024-05-03, which had failed, are now imported.",
        ),
        ({""}, False, "orders, which had failed, is now imported."),
        ({"check rows"}, False, "Checks that pass again: rows."),
    ],
)
def test_a_recovery_lists_the_resolved_items(items: set[str], was_late: bool, says: str) -> None:
    message = recovered("orders", items, LINK, was_late=was_late)
    assert (message.title, message.kind) == ("orders: recovered", "success")
    assert message.body.startswith(says)


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ([], ""),
        (["2024-02-28", "2024-02-29", "2024-03-01"], "2024-02-28 to 2024-03-01"),
        (["2024-05-03", "2024-05-01"], "2024-05-01 and 2024-05-03"),
        (
            [f"2024-05-{day:02}" for day in (1, 3, 5, 7, 9, 10)],
            "2024-05-01, 2024-05-03, 2024-05-05, 2024-05-07 and 2 more days",
        ),
    ],
)
def test_days_are_named_as_ranges(days: list[str], text: str) -> None:
    assert named(days) == text


@given(
    st.sets(
        st.dates(date(2024, 1, 1), date(2024, 3, 9)).map(str)
        | st.sampled_from(["", "check rows", "check key 2024-05-01", "check a/b"])
    )
)
def test_unpack_reverses_pack(items: set[str]) -> None:
    assert unpack(pack(items)) == items


def test_three_thousand_days_pack_into_one_range() -> None:
    days = {(date(2016, 1, 1) + timedelta(days=number)).isoformat() for number in range(3000)}
    assert pack(days) == ("2016-01-01/2024-03-18",)


def _fails(
    state: State, *days: str, reason: str = REFUSED, now: datetime = NOW
) -> tuple[bool, datetime]:
    return state.report_failure("orders", [Problem("orders", reason, days)], now)


def test_the_same_failure_on_other_days_is_one_alert_and_later_a_reminder() -> None:
    state = State(after=0)
    of_day = "https://example.com/feed?date={} answered 401 Unauthorized".format
    assert _fails(state, WEEK[0], reason=of_day("20240501")) == (True, NOW)
    soon = NOW + timedelta(hours=1)
    assert _fails(state, WEEK[1], reason=of_day("20240502"), now=soon) == (False, NOW)
    next_day = NOW + REMIND_AFTER
    assert _fails(state, WEEK[2], reason=of_day("20240503"), now=next_day) == (True, NOW)
    later = next_day + timedelta(hours=1)
    assert _fails(state, WEEK[3], reason=of_day("20240504"), now=later) == (False, NOW)
    assert state.resolve("orders", set(WEEK[:3])) == (set(), True)
    assert state.resolve("orders", {WEEK[3]}) == (set(WEEK[:4]), False)
    again = later + timedelta(hours=1)
    assert _fails(state, WEEK[4], reason=of_day("20240505"), now=again) == (True, again)


def test_another_reason_is_a_new_alert() -> None:
    state = State(after=0)
    assert _fails(state, WEEK[0], reason="line 812 is not a JSON object") == (True, NOW)
    assert _fails(state, WEEK[0], reason="line 813 is not a JSON object") == (True, NOW)
    both = [Problem("orders", BAD, (WEEK[1],)), Problem("orders", REFUSED, (WEEK[2],))]
    assert state.report_failure("orders", both, NOW) == (True, NOW)
    assert state.report_failure("orders", both[:1], NOW) == (False, NOW)


def test_an_alert_with_more_reasons_than_are_remembered_is_sent_each_time() -> None:
    state = State(after=0)
    problems = [Problem("orders", f"line {n} is not JSON", (WEEK[0],)) for n in range(MAX_REASONS)]
    assert state.report_failure("orders", problems, NOW)[0]
    assert state.report_failure("orders", problems, NOW)[0]


def test_a_reminder_says_when_the_failure_was_first_reported() -> None:
    reminder = failed([Problem("orders", REFUSED)], LINK, since=NOW)
    assert "\n\nThis failure was first reported at 2024-05-02 08:00 UTC.\n\n" in reminder.body


def test_an_alert_is_resolved_when_all_its_days_are() -> None:
    state = State(after=0)
    _fails(state, *WEEK[:2])
    assert state.resolve("orders", {WEEK[0]}) == (set(), True)
    assert state.resolve("leads", {WEEK[1]}) == (set(), True)
    assert state.resolve("orders", {WEEK[1], WEEK[5]}) == (set(WEEK[:2]), False)
    assert state.open_alerts == []


def test_a_day_that_never_recovers_does_not_block_later_alerts() -> None:
    state = State(after=0)
    _fails(state, WEEK[0], reason=BAD)
    _fails(state, WEEK[3], reason=REFUSED)
    assert state.resolve("orders", {WEEK[3]}) == ({WEEK[3]}, False)
    assert state.has_open_alert("orders", WEEK[0])


def test_a_day_that_fails_again_recovers_once() -> None:
    state = State(after=0)
    _fails(state, *WEEK[:2], reason=BAD)
    _fails(state, WEEK[1], reason=REFUSED)
    assert state.resolve("orders", {WEEK[1]}) == ({WEEK[1]}, False)
    assert state.resolve("orders", {WEEK[0]}) == ({WEEK[0]}, False)


@pytest.mark.parametrize(("done", "resolved"), [(0, False), (1, True), (2, True)])
def test_a_feed_that_was_late_is_on_time_with_its_day_or_a_later_one(
    done: int, resolved: bool
) -> None:
    state = State(after=0)
    state.report_late("orders", WEEK[1])
    assert state.has_open_alert("orders", "2024-06-01")
    assert state.resolve("orders", {WEEK[done]}) == ({WEEK[1]} if resolved else set(), True)


def test_a_feed_that_is_removed_is_forgotten() -> None:
    state = State(after=0, due={"orders": NOW, "leads": NOW})
    _fails(state, *WEEK)
    state.forget_other_assets({"leads", "leads_latest"})
    assert state == State(after=0, due={"leads": NOW})


def test_a_message_waits_for_addresses_that_failed_until_it_is_dropped() -> None:
    state = State(after=0)
    message = recovered("orders", {""}, LINK)
    state.post(message, ["slack", "mailto", "json"], NOW)

    logged = state.record_results(
        {"slack": SendResult(done=[0]), "mailto": SendResult(failed={0: "no"})}, NOW
    )
    assert state.outbox[0].to == ("mailto",)
    assert logged == [
        "'orders: recovered' could not be sent to mailto: no",
        "'orders: recovered' was not sent to json, which is no longer configured",
    ]
    assert state.to_send(["slack", "mailto"]) == {"slack": [], "mailto": [(0, message)]}
    logged = state.record_results({"mailto": SendResult(failed={0: "no"})}, NOW + RESEND_PERIOD)
    assert logged[-1] == "'orders: recovered' is dropped after 1 day"
    assert state.outbox == []


def test_the_message_tried_least_is_sent_first() -> None:
    """A message that is always refused then does not delay the others."""
    state = State(after=0)
    for asset in ("a", "b"):
        state.post(recovered(asset, {""}, LINK), ["json"], NOW)
    state.outbox[0] = state.outbox[0].model_copy(update={"tries": 1})
    assert [place for place, _ in state.to_send(["json"])["json"]] == [1, 0]


def test_when_too_many_messages_wait_the_oldest_are_dropped() -> None:
    state = State(after=0)
    for number in range(MAX_PENDING + 1):
        state.post(recovered(f"feed{number}", {""}, LINK), ["json"], NOW)
    logged = state.record_results({"json": SendResult()}, NOW)
    assert logged[-1] == f"'feed0: recovered' is dropped: {MAX_PENDING} newer messages wait"
    assert len(state.outbox) == MAX_PENDING
    assert State.model_validate_json(state.model_dump_json()) == state
