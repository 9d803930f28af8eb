"""Any asset's DataFrames into tables, and back for those downstream."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from feed_assets.config.feed import Feed
from feed_assets.errors import WarehouseFailed
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset
from feed_assets.orchestration.import_run import ImportRun
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.servers.feed import feed_server, lines

DAYS = dg.DailyPartitionsDefinition("2020-01-01", end_date="2020-01-05")
AS_ONE_RUN = dg.BackfillPolicy.single_run()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with ephemeral_instance() as running:
        yield running


@pytest.fixture
def tables(duckdb_file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(duckdb_file)


@pytest.fixture
def run(tmp_path: Path, instance: dg.DagsterInstance) -> Any:
    """Materialize one of the assets, for a range of days if one is given."""
    resource = WarehouseResource(url=f"duckdb://{tmp_path / 'warehouse.duckdb'}")

    def materialize(asset: Any, *days: str, upstream: Any = ()) -> dg.ExecuteInProcessResult:
        io_manager = WarehouseIOManager(warehouse=resource)
        defs = dg.Definitions([asset, *upstream], resources={"io_manager": io_manager})
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[asset.key],
            tags={RANGE_START: days[0], RANGE_END: days[-1]} if days else {},
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    return materialize


def reason(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    return str(failure.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]


@dg.asset(key_prefix="mart", partitions_def=DAYS, backfill_policy=AS_ONE_RUN)
def visits(context: dg.AssetExecutionContext) -> dict[str, pd.DataFrame]:
    """Each day under its key, with a column that came on the second."""
    first, *later = context.partition_keys
    return {
        first: pd.DataFrame({"day": [first], "n": [1]}),
        **{key: pd.DataFrame({"day": [key], "n": [2], "source": ["x"]}) for key in later},
    }


def test_a_dataframe_of_numpy_columns_becomes_the_table_its_key_names(
    run: Any, tables: DuckDBWarehouse
) -> None:
    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        return pd.DataFrame(
            {
                "n": [1, 2],
                "x": [0.5, None],
                "at": pd.Series(["2020-01-01", None], dtype="datetime64[ns]"),
                "s": "é",
            }
        )

    assert run(totals).success
    with tables:
        assert tables.read(Table("mart", "totals")).to_pydict()["x"] == [0.5, None]
        assert [str(c) for c in tables.columns(Table("mart", "totals")) or ()] == [
            "INTEGER",
            "FLOAT",
            "DATETIME",
            "STRING",
        ]


def test_times_bytes_wide_decimals_and_declared_json_are_stored_as_such(
    run: Any, tables: DuckDBWarehouse
) -> None:
    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        frame = pd.DataFrame(
            {
                "at": [time(10, 30), None],
                "raw": [b"\x00", None],
                "big": [Decimal("0.0000000001"), None],
                "any": ['{"a": 1}', None],
            }
        )
        frame.attrs["types"] = {"any": "JSON"}
        return frame

    @dg.asset(key_prefix="mart", ins={"totals": dg.AssetIn(key_prefix="mart")})
    def copied(totals: pd.DataFrame) -> pd.DataFrame:
        return totals[totals["at"].notna()]

    assert run(totals).success
    assert run(copied, upstream=[totals]).success
    for name, rows in (("totals", 2), ("copied", 1)):
        table = Table("mart", name)
        with tables:
            assert [str(c) for c in tables.columns(table) or ()] == [
                "TIME",
                "BYTES",
                "BIGNUMERIC",
                "JSON",
            ]
            assert tables.count(table) == rows
            assert tables.read(table).to_pylist()[0] == {
                "at": time(10, 30),
                "raw": b"\x00",
                "big": Decimal("1e-10"),
                "any": '{"a": 1}',
            }


def test_categories_and_nanoseconds_are_stored_as_their_values(
    run: Any, tables: DuckDBWarehouse
) -> None:
    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        return pd.DataFrame(
            {
                "size": pd.Categorical([2**60, 2]),
                "at": pd.to_datetime(["2020-01-01T00:00:00.123456789"] * 2),
            }
        )

    assert run(totals).success
    (row, _) = tables.read(Table("mart", "totals")).to_pylist()
    assert (row["size"], str(row["at"])) == (2**60, "2020-01-01 00:00:00.123456")


def test_metadata_names_another_table(run: Any, tables: DuckDBWarehouse) -> None:
    @dg.asset(metadata={"dagster/table_name": "crm.sums"})
    def totals() -> pd.DataFrame:
        return pd.DataFrame({"n": [1]})

    assert run(totals).success
    assert tables.read(Table("crm", "sums")).num_rows == 1


def test_days_become_shards_and_are_loaded_as_one_dataframe_with_all_columns(
    run: Any,
) -> None:
    loaded = []

    @dg.asset(key_prefix="mart")
    def report(visits: pd.DataFrame) -> pd.DataFrame:
        loaded.append(visits)
        return visits

    assert run(visits, "2020-01-01", "2020-01-04").success
    assert run(report, upstream=[visits]).success

    assert loaded[0]["day"].tolist() == ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"]
    assert loaded[0]["source"].isna().tolist() == [True, False, False, False]
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in loaded[0].dtypes)


def test_a_dict_gets_the_days_by_key_and_metadata_selects_columns(run: Any) -> None:
    loaded = []

    @dg.asset(key_prefix="mart", ins={"visits": dg.AssetIn(metadata={"columns": ["n"]})})
    def report(visits: dict[str, pd.DataFrame]) -> None:
        loaded.append(visits)

    run(visits, "2020-01-01", "2020-01-04")
    assert run(report, upstream=[visits]).success

    assert {key: frame.to_dict("list") for key, frame in loaded[0].items()} == {
        "2020-01-01": {"n": [1]},
        "2020-01-02": {"n": [2]},
        "2020-01-03": {"n": [2]},
        "2020-01-04": {"n": [2]},
    }


def test_one_day_is_loaded_for_the_same_day_downstream(run: Any, tables: DuckDBWarehouse) -> None:
    @dg.asset(key_prefix="mart", partitions_def=DAYS, backfill_policy=AS_ONE_RUN)
    def doubled(visits: pd.DataFrame) -> pd.DataFrame:
        return visits.assign(n=visits["n"] * 2)

    run(visits, "2020-01-01", "2020-01-04")
    assert run(doubled, "2020-01-02", upstream=[visits]).success

    (row,) = tables.read(Table("mart", "doubled_20200102")).to_pylist()
    assert row == {"day": "2020-01-02", "n": 4, "source": "x"}


@dg.asset
def homeless() -> pd.DataFrame:
    return pd.DataFrame({"n": [1]})


@dg.asset(key_prefix="mart")
def mixed() -> pd.DataFrame:
    return pd.DataFrame({"n": [1, "one"]})


@dg.asset(key_prefix="mart")
def late() -> pd.DataFrame:
    return pd.DataFrame({"after": pd.to_timedelta([1], unit="s")})


@dg.asset(key_prefix="mart")
def sums() -> pd.DataFrame:
    return pd.DataFrame({"k": ["a", "a"], "n": [1, 2]}).groupby("k").sum()


@dg.asset(key_prefix="mart")
def twice() -> pd.DataFrame:
    return pd.DataFrame([[1, 2]], columns=["Id", "id"])


@dg.asset(key_prefix="mart")
def gaps() -> pd.DataFrame:
    return pd.DataFrame({"tags": [["a", None]]})


@dg.asset(key_prefix="mart")
def blank() -> pd.DataFrame:
    return pd.DataFrame({"a": [None, None]})


@dg.asset(key_prefix="mart")
def bare() -> pd.DataFrame:
    return pd.DataFrame(index=range(3))


@dg.asset(key_prefix="mart")
def words() -> str:
    return "no DataFrame"


@dg.asset(key_prefix="mart", partitions_def=dg.StaticPartitionsDefinition(["eu", "us"]))
def regions() -> pd.DataFrame:
    return pd.DataFrame({"n": [1]})


@dg.asset(key_prefix="mart", partitions_def=DAYS, backfill_policy=AS_ONE_RUN)
def one_for_all() -> pd.DataFrame:
    return pd.DataFrame({"n": [1]})


@pytest.mark.parametrize(
    ("asset", "days", "says"),
    [
        (homeless, (), "asset homeless names no dataset to store in"),
        (mixed, (), "column n"),
        (late, (), "column after has the type duration[ns]"),
        (sums, (), "index k would be lost; call reset_index()"),
        (twice, (), "columns Id and id have one name"),
        (gaps, (), "column tags has arrays with null elements"),
        (blank, (), "2 rows for mart.blank have no value in any column"),
        (bare, (), "3 rows and no columns"),
        (words, (), "mart/words: the asset returned a str; the warehouse stores pandas DataFrames"),
        (regions, ("eu",), "has a partition 'eu', which is not a day"),
        (one_for_all, ("2020-01-01", "2020-01-02"), "a DataFrame for each partition key"),
    ],
    ids=lambda value: value.key.to_user_string() if isinstance(value, dg.AssetsDefinition) else "",
)
def test_a_frame_that_cannot_be_stored_is_refused_in_one_sentence(
    run: Any, tables: DuckDBWarehouse, asset: Any, days: tuple[str, ...], says: str
) -> None:
    assert says in reason(run(asset, *days))
    with tables:
        assert tables.columns(Table("mart", asset.key.path[-1])) is None


class ReadOnDemand(Mapping[str, pd.DataFrame]):
    """A mapping that makes each DataFrame on access; the second one cannot be stored."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys_, self.asked = keys, list[str]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_)

    def __len__(self) -> int:
        return len(self.keys_)

    def __getitem__(self, key: str) -> pd.DataFrame:
        self.asked.append(key)
        return pd.DataFrame({"n": [1, "one"] if key == self.keys_[1] else [1]})


def test_days_of_any_asset_fail_alone_and_each_is_read_once_when_it_is_stored(
    run: Any, tables: DuckDBWarehouse
) -> None:
    returned: list[ReadOnDemand] = []

    @dg.asset(key_prefix="mart", partitions_def=DAYS, backfill_policy=AS_ONE_RUN)
    def lazy(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        returned.append(ReadOnDemand(context.partition_keys))
        return returned[0]

    message = reason(run(lazy, "2020-01-01", "2020-01-04"))

    assert message.startswith("mart/lazy 2020-01-02: column n")
    assert returned[0].asked == list(returned[0])
    with tables:
        stored = [tables.count(Table("mart", f"lazy_2020010{day}")) for day in range(1, 5)]
    assert stored == [1, None, 1, 1]


def test_a_feeds_asset_returns_dataframes_by_day_that_are_read_on_demand(
    instance: dg.DagsterInstance,
) -> None:
    with feed_server() as server:
        server.answer = lambda path: lines({"id": path[-8:], "total": 1.5})
        feed = Feed(
            name="orders",
            url=server.url,
            dataset="crm",
            partition_by_date={"start_date": "2020-01-01", "end_date": "2020-01-03"},
        )
        with dg.build_asset_context(
            partition_key_range=dg.PartitionKeyRange("2020-01-01", "2020-01-03"),
            instance=instance,
        ) as context:
            frames = ImportRun(context, feed, ["2020-01-01", "2020-01-02", "2020-01-03"])

            assert list(frames) == ["2020-01-01", "2020-01-02", "2020-01-03"]
            assert not server.requests
            assert frames["2020-01-02"].to_dict("list") == {"id": ["20200102"], "total": [1.5]}
            assert len(server.requests) == 1


def test_the_view_of_the_latest_state_is_loaded_like_a_table(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    loaded = []

    @dg.asset
    def report(orders_latest: pd.DataFrame) -> None:
        loaded.append(orders_latest)

    with feed_server() as server:
        server.answer = lambda path: lines({"id": "N1", "at": f"2020-01-0{path[-1]}"})
        feed = Feed(
            name="orders",
            url=server.url,
            dataset="crm",
            partition_by_date={"start_date": "2020-01-01", "end_date": "2020-01-03"},
            key=["id"],
            updated_at="at",
        )
        resource = WarehouseResource(url=f"duckdb://{tmp_path / 'warehouse.duckdb'}")
        job = dg.Definitions(
            [feed_asset(feed), latest_asset(feed), report],
            resources={
                WAREHOUSE: resource,
                IO_MANAGER: WarehouseIOManager(warehouse=resource),
                "io_manager": dg.mem_io_manager,
            },
        ).resolve_implicit_global_asset_job_def()
        for tags, *names in (
            ({RANGE_START: "2020-01-01", RANGE_END: "2020-01-03"}, "orders"),
            ({}, "orders_latest", "report"),
        ):
            keys = [dg.AssetKey(name) for name in names]
            job.execute_in_process(instance=instance, asset_selection=keys, tags=tags)

    assert loaded[0]["at"].dt.day.tolist() == [3]


def test_loading_a_missing_table_is_an_error_with_its_name(run: Any) -> None:
    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        return pd.DataFrame({"n": [1]})

    @dg.asset(key_prefix="mart")
    def report(totals: pd.DataFrame) -> None:
        pass

    assert "there is no table mart.totals; materialize" in reason(run(report, upstream=[totals]))


def test_an_int_beyond_64_bits_is_refused_by_column_row_and_type(
    run: Any, tables: DuckDBWarehouse
) -> None:
    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        return pd.DataFrame({"n": [1, 2**70]})

    assert "column n has an int beyond 64 bits in row 1 (counted from 0)" in reason(run(totals))
    assert tables.columns(Table("mart", "totals")) is None


def test_a_column_that_a_new_frame_lacks_is_removed_from_the_table(
    run: Any, tables: DuckDBWarehouse
) -> None:
    frames = [pd.DataFrame({"n": [1], "old": [1], "empty": ["x"]})]

    @dg.asset(key_prefix="mart")
    def totals() -> pd.DataFrame:
        return frames[-1]

    run(totals)
    frames.append(pd.DataFrame({"n": [2], "empty": [None]}))
    assert run(totals).success
    assert tables.read(Table("mart", "totals")).to_pylist() == [{"n": 2, "empty": None}]


def test_only_the_folder_of_the_default_file_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed_assets.orchestration.resources.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEED_ASSETS_WAREHOUSE", raising=False)
    with WarehouseResource().open() as warehouse:
        assert warehouse.count(Table("crm", "orders")) is None
    assert [found.name for found in tmp_path.iterdir()] == ["var"]

    monkeypatch.setenv("FEED_ASSETS_WAREHOUSE", f"duckdb://{tmp_path}/typo/crm.duckdb")
    with (
        pytest.raises(WarehouseFailed, match=r"no folder .*/typo; create the folder"),
        WarehouseResource().open() as warehouse,
    ):
        warehouse.count(Table("crm", "orders"))
