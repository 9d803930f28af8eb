"""`make demo` and `make ui`: the example CRM, imported through Dagster and shown."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import dagster as dg
from rich.console import Console
from rich.table import Table as Grid

from feed_assets.demo import crm
from feed_assets.demo.server import HOST, PASSWORD, PORT, USERNAME, serving
from feed_assets.errors import FeedAssetsError
from feed_assets.orchestration.resources import VARIABLE, WarehouseResource, warehouse_url
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets.schema.columns import columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse

UI_PORT = 3000
ORDERS = Table("crm", "orders")
SNAPSHOT = Table("crm", "current_orders")
FOLDER = Path("var", "demo").absolute()
WAREHOUSE = f"duckdb://{quote(str(FOLDER))}/warehouse.duckdb"
"""The default of FEED_ASSETS_WAREHOUSE."""
console = Console()


def main() -> None:
    """Serve the example CRM while its feeds are imported and the UI runs."""
    parser = argparse.ArgumentParser(prog="python -m feed_assets.demo", description=__doc__)
    parser.add_argument("what", choices=["import", "ui", "serve"], nargs="?", default="import")
    what = parser.parse_args().what
    for end in (signal.SIGINT, signal.SIGTERM):  # even if the shell ignores them
        signal.signal(end, signal.default_int_handler)
    os.environ.setdefault("CRM_FEED_USERNAME", USERNAME)
    os.environ.setdefault("CRM_FEED_PASSWORD", PASSWORD)
    os.environ.setdefault(VARIABLE, WAREHOUSE)
    os.environ["DAGSTER_HOME"] = str(FOLDER / "dagster")
    Path(os.environ["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
    with crm_server():
        if what == "serve":
            console.print(f"Serving the example CRM on http://{HOST}:{PORT}; Ctrl-C ends it.")
            _wait()
            return
        import_all()
        if what == "ui":
            _ui()
        else:
            with WarehouseResource().open() as warehouse, warehouse:
                show(warehouse)
            _next_steps()


@contextmanager
def crm_server() -> Iterator[None]:
    """Serve the example CRM at the address in its feeds' YAML; exit if the port is in use."""
    with ExitStack() as stack:
        try:
            stack.enter_context(serving(port=PORT))
        except OSError as failure:
            sys.exit(
                f"The example CRM cannot be served on {HOST}:{PORT}: {failure.strerror}. "
                f"End the program that uses that port (another `make ui`?) and try again."
            )
        yield


def import_all() -> None:
    """Import the example's days in one run, then the view and the snapshot, as the UI would."""
    from feed_assets.demo.definitions import defs

    job = defs().resolve_implicit_global_asset_job_def()
    days = {RANGE_START: crm.FIRST.isoformat(), RANGE_END: crm.LAST.isoformat()}
    with dg.DagsterInstance.get() as instance:
        for assets, tags in (
            (["crm_orders"], days),
            (["crm_orders_latest", "crm_orders_snapshot"], {}),
        ):
            names = " and ".join(assets)
            console.print(
                f"Importing [bold]{names}[/bold] into {warehouse_url()} ...", soft_wrap=True
            )
            keys = [dg.AssetKey(name) for name in assets]
            result = job.execute_in_process(
                instance=instance,
                asset_selection=keys,
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            for event in result.all_events:
                if event.is_step_failure:
                    failure = event.step_failure_data.user_failure_data
                    sys.exit(f"{failure.description if failure else event.message}")


def show(warehouse: Warehouse) -> None:
    """Print the latest state, the snapshot (both have the same rows), and all shards."""
    for table, caption in (
        (ORDERS, "the latest state over all shards"),
        (SNAPSHOT, "the snapshot"),
    ):
        rows = warehouse.read(table)
        grid = Grid(title=f"{table} - {caption}", title_justify="left")
        for column in columns_of(rows.schema):
            grid.add_column(f"{column.name}\n[dim]{column}[/dim]")
        for row in sorted(rows.to_pylist(), key=lambda row: str(row["orderId"])):
            grid.add_row(*map(_cell, row.values()))
        console.print(grid)
    grid = Grid(title="One shard a day", title_justify="left")
    grid.add_column("table")
    grid.add_column("rows")
    for shard in sorted(warehouse.shards(ORDERS)):
        rows = warehouse.read(shard, ["orderId", "status"]).to_pylist()
        grid.add_row(str(shard), ", ".join(f"{r['orderId']} {r['status']}" for r in rows) or "-")
    console.print(grid)


def _cell(value: object) -> str:
    """Format a value; midnight as a date only."""
    return str(value).removesuffix(" 00:00:00")


def _next_steps() -> None:
    steps = [
        "[bold]make ui[/bold]  the same in the Dagster UI: backfill days, see rows and checks",
        "[bold].venv/bin/dg scaffold defs feed_assets.JsonFeed shop_orders[/bold]  "
        "a feed of your own; then [bold]make dev[/bold]",
    ]
    if warehouse_url() == WAREHOUSE:
        opened = "duckdb.connect('var/demo/warehouse.duckdb', read_only=True)"
        look = f"import duckdb; {opened}.sql('FROM crm.orders').show()"
        steps.append(f'[bold].venv/bin/python -c "{look}"[/bold]')
    console.print("\nTo try next:")
    for number, step in enumerate(steps, 1):
        console.print(f"  {number}. {step}", soft_wrap=True, highlight=False)


def _ui() -> None:
    port = _free_port()
    console.print(
        f"The Dagster UI will be on [bold]http://{HOST}:{port}[/bold] in half a minute; "
        f"Ctrl-C ends it."
    )
    command = [sys.executable, "-m", "dagster_dg_cli.cli", "dev", "--port", str(port)]
    command += ["--module-name", "feed_assets.demo.definitions"]
    with subprocess.Popen(command) as ui:  # noqa: S603 - a fixed command
        try:
            ui.wait()
        except KeyboardInterrupt:
            ui.send_signal(signal.SIGINT)
            ui.wait(30)


def _free_port() -> int:
    """Return the UI's usual port, or a free one if it is in use."""
    for port in (UI_PORT, 0):
        with suppress(OSError), socket.create_server((HOST, port)) as server:
            return int(server.getsockname()[1])
    sys.exit("No port of this machine is free for the Dagster UI.")


def _wait() -> None:
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    try:
        main()
    except FeedAssetsError as failure:
        sys.exit(str(failure))
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        sys.exit("\nInterrupted. The same command goes on from here.")
