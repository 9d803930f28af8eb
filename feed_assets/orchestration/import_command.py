"""`feed-assets import`: a run in the Dagster instance that the UI shows, started from a shell."""

from __future__ import annotations

import logging
import os
import sys
import tomllib
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError, SettingError
from feed_assets.orchestration.component import JsonFeed
from feed_assets.orchestration.resources import CHECKOUT
from feed_assets.orchestration.retries import MAX_RETRIES
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START, last_day

DEFINITIONS = "feed_assets.definitions"
HOME = "DAGSTER_HOME"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Say = Callable[[str], None]


def import_feed(name: str, days: tuple[date, date] | None, say: Say) -> None:
    """Import a feed and update its latest state, as the UI would, once and without retries.

    `say` gets the sentences of the run. Raises SettingError for a feed or day that does not exist,
    FeedAssetsError with the reason of a run that failed, KeyboardInterrupt after Ctrl-C.
    """
    warnings.filterwarnings("ignore", module="dagster")
    definitions = load_project()
    feed = find_feed(definitions, name)
    tags = _days(feed, days, datetime.now(UTC))
    job = definitions.resolve_implicit_global_asset_job_def()
    with _instance() as instance:
        _run(instance, job, name, {**tags, MAX_RETRIES: "0"}, say)
        if feed.has_latest:
            _run(instance, job, f"{name}_latest", {}, say)


def load_project() -> dg.Definitions:
    """Load the project in the current folder; outside a project, this checkout."""
    module = DEFINITIONS
    project = Path.cwd() / "pyproject.toml"
    if project.exists():
        found: Any = tomllib.loads(project.read_text(encoding="utf-8"))
        declared = found.get("tool", {}).get("dg", {}).get("project", {})
        root = declared.get("root_module")
        module = declared.get("code_location_target_module") or (
            f"{root}.definitions" if root else module
        )
        sys.path.insert(0, str(Path.cwd()))
    try:
        defs: Any = import_module(module).defs
    except ModuleNotFoundError as missing:
        if missing.name and module.startswith(missing.name):
            raise SettingError(
                f"pyproject.toml names {module}, and there is no such module"
            ) from None
        raise
    except AttributeError:
        raise SettingError(f"{module} has no `defs`; docs/production.md shows one") from None
    loaded: dg.Definitions = defs if isinstance(defs, dg.Definitions) else defs()
    return loaded


def find_feed(definitions: dg.Definitions, name: str) -> Feed:
    """Return a feed of the project by its name. Raises SettingError."""
    tree = definitions.component_tree
    components = tree.get_all_components(of_type=JsonFeed) if tree else []
    feeds = {component.feed.name: component.feed for component in components}
    if name not in feeds:
        known = f"there are {', '.join(sorted(feeds))}" if feeds else "there is none"
        raise SettingError(f"{name} is not a feed of this project; {known}")
    return feeds[name]


def _days(feed: Feed, days: tuple[date, date] | None, now: datetime) -> Mapping[str, str]:
    """The tags that name the days of a run: those asked for, else the last day that has ended."""
    by_date = feed.partition_by_date
    if by_date is None:
        if days:
            raise SettingError(f"{feed.name} is a snapshot, so it has no days; leave out the days")
        return {}
    ended = last_day(by_date.model_copy(update={"include_today": False}), now)
    last = min(last_day(by_date, now), by_date.end_date or date.max)
    first, end = days or (min(ended, last),) * 2
    if not by_date.start_date <= first <= end <= last:
        wrong = first if not by_date.start_date <= first <= last else end
        raise SettingError(
            f"{feed.name} has no day {wrong}; its days are {by_date.start_date} to {last}"
        )
    return {RANGE_START: first.isoformat(), RANGE_END: end.isoformat()}


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The instance in DAGSTER_HOME, else the one that `make setup` writes."""
    home = os.environ.get(HOME)
    if not home:
        project = Path.cwd() if (Path.cwd() / "var/dagster/dagster.yaml").exists() else CHECKOUT
        home = str(project / "var/dagster")
        if not (Path(home) / "dagster.yaml").exists():
            raise SettingError(
                f"{HOME} is not set, so the UI would not show the import; set it to the folder "
                f"that has the UI's dagster.yaml"
            )
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise SettingError(f"{HOME} is {home!r}, which has to be the absolute path of a folder")
    os.environ[HOME] = home
    with dg.DagsterInstance.get() as instance:
        yield instance


def _run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    asset: str,
    tags: Mapping[str, str],
    say: Say,
) -> None:
    run_id = str(uuid.uuid4())

    several = tags.get(RANGE_START) != tags.get(RANGE_END)

    def listen(entry: dg.EventLogEntry) -> None:
        """Print the run's lines; the failure of a single day is raised instead."""
        if not entry.is_dagster_event and (several or int(entry.level) < logging.ERROR):
            say(entry.user_message)

    instance.add_event_listener(run_id, listen)
    try:
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            asset_selection=[dg.AssetKey(asset)],
            tags=dict(tags),
            raise_on_error=False,
            run_config=QUIET,
        )
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.error and data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                raise KeyboardInterrupt
            known = data.user_failure_data and data.user_failure_data.description
            raise FeedAssetsError(known or data.error_display_string)
    if not result.success:
        raise FeedAssetsError(f"run {run_id} of {asset} failed; the UI shows why")
