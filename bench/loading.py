"""The code location with few feeds and with hundreds: how long until Dagster knows it.

python -m bench.loading FOLDER [--feeds N ...] [--rounds N]

Each load is a process of its own. It measures the work of a code server until the UI can show
the definitions: import the module, build the definitions, and describe them. Packages that
Dagster imports to describe components, whatever the number of feeds, are imported before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[1]
DATASETS = ("crm", "shop", "leads", "support", "billing")
LOAD = """
import json, time
import dagster_gcp
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
began, cpu = time.perf_counter(), time.process_time()
from feed_assets.definitions import defs
repository = defs().get_repository_def()
described = serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
print(json.dumps({
    "cpu": time.process_time() - cpu,
    "seconds": time.perf_counter() - began,
    "assets": len(repository.asset_graph.get_all_asset_keys()),
    "MB": len(described) / 1e6,
}))
"""


def main() -> None:
    """Measure in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--feeds", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    projects = {count: project(asked.folder / f"{count}-feeds", count) for count in asked.feeds}
    found: dict[int, list[dict[str, float]]] = {count: [] for count in projects}
    for _ in range(asked.rounds):
        for count, each in projects.items():
            found[count].append(load(each))
    print(
        "| feeds | assets | CPU seconds (median) | more | least | seconds (median) | MB to the UI |"
    )
    print("|---|---|---|---|---|---|---|")
    first = statistics.median(run["cpu"] for run in found[asked.feeds[0]])
    for count, runs in found.items():
        cpu = statistics.median(run["cpu"] for run in runs)
        print(
            f"| {count} | {runs[0]['assets']:.0f} | {cpu:.2f} | +{cpu - first:.2f} | "
            f"{min(run['cpu'] for run in runs):.2f} | "
            f"{statistics.median(run['seconds'] for run in runs):.2f} | {runs[0]['MB']:.2f} |"
        )


def project(to: Path, feeds: int) -> Path:
    """This project with so many feeds, half of them by date, in five datasets."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    shutil.copy(PROJECT / "pyproject.toml", to)
    ignored = shutil.ignore_patterns("__pycache__", "defs")
    shutil.copytree(PROJECT / "feed_assets", to / "feed_assets", ignore=ignored)
    for number in range(feeds):
        dataset = DATASETS[number % len(DATASETS)]
        declared = {
            "name": f"{dataset}_{number:03}",
            "url": f"https://example.com/{number}.ndjson",
            "dataset": dataset,
            "description": f"Rows of feed {number}.",
            "schedule": f"{number % 4 * 15} {3 + number % 3} * * *",
            "key": ["id"],
            "updated_at": "updatedAt",
            "types": {"total": "NUMERIC"},
        }
        if number % 2 == 0:
            declared["partition_by_date"] = {"start_date": "2020-01-01"}
        folder = to / "feed_assets" / "defs" / str(declared["name"])
        folder.mkdir(parents=True)
        text = yaml.safe_dump({"type": "feed_assets.JsonFeed", "attributes": declared})
        (folder / "defs.yaml").write_text(text)
    return to


def load(project: Path) -> dict[str, float]:
    """Time and memory of one process."""
    done = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
