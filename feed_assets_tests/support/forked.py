"""Processes that fork from one that has imported what they need, which takes seconds."""

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "feed_assets_tests.support.killable_import",
        "feed_assets_tests.support.dagster.project",
        "feed_assets_tests.unit.ndjson.peak_memory",
    ]
)
