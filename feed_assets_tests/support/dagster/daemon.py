"""`dagster-daemon`, looking for backfills every second: every thirty, it has no setting for."""

from __future__ import annotations

from dagster._daemon import cli, controller


def main() -> None:
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30, "where does Dagster keep it now?"
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    cli.main()
