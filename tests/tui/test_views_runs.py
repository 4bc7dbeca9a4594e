"""The run table of the reader: columns of the index against the slow way, and what changes do to them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.many_runs import fill, make, records
from dstui.sdk.columns import Column, RecordColumns
from dstui.sdk.query import Sort, SortKey, parse
from dstui.sdk.views.columns import IndexColumns
from dstui.sdk.views.data import RunsRequest, RunsSnapshot
from dstui.sdk.views.lines import LineMaker, lower_is_better, objective_of
from dstui.sdk.views.runs import RunTable
from dstui_store import Index, RunRecord, Store

COUNT = 300
NOW = 1_770_000_000.0
QUERIES = (
    "",
    "resnet50",
    "lr<1e-3",
    "lr<1e-3 state:finished",
    "state:failed|oom val_loss<0.5",
    "optimizer:ada !tag:bad",
    "has:val_acc",
    "!has:val_acc",
    "tag:paper|keep",
    "by=bob depth>=50",
    "duration>1h|state:failed",
    "experiment:lr-search name~res.*18",
    "number<20",
)


def records_of(store: Store) -> list[RunRecord]:
    return list(store.index.records())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("many") / "project", COUNT)


@pytest.fixture
def many(folder: Path) -> Iterator[Store]:
    with Store.open(folder, read_only=True) as store:
        yield store


@pytest.fixture
def table(many: Store) -> RunTable:
    return RunTable(many.index.query, LineMaker(many.writer()), lambda: NOW)


def ids(snapshot: RunsSnapshot) -> list[str]:
    return [str(snapshot.lines[row].id) for row in snapshot.order.tolist() if row in snapshot.lines]


def whole(table: RunTable, query: str = "", sort: Sort | None = None) -> RunsSnapshot:
    """Everything under a query, with all its lines."""
    request = RunsRequest(query=query, first=0, last=COUNT)
    return table.snapshot(request if sort is None else RunsRequest(query=query, sort=sort, first=0, last=COUNT))


def same(one: Column | None, two: Column | None) -> bool:
    if one is None or two is None:
        return one is two
    texts = [[column.texts[code] if code >= 0 else None for code in column.code.tolist()] for column in (one, two)]
    return (
        np.array_equal(one.present, two.present)
        and np.allclose(one.number, two.number, equal_nan=True)
        and texts[0] == texts[1]
    )


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_what_it_finds_row_by_row(many: Store, table: RunTable, query: str) -> None:
    expected = parse(query).select(records_of(many), now=NOW)
    assert set(ids(whole(table, query))) == {record.id for record in expected}


@pytest.mark.parametrize(
    "keys",
    [
        (SortKey("metric.val_loss"),),
        (SortKey("metric.val_loss", descending=True),),
        (SortKey("optimizer"), SortKey("lr", descending=True)),
        (SortKey("name"), SortKey("number")),
        (SortKey("state"), SortKey("duration")),
    ],
    ids=lambda keys: ",".join(map(str, keys)),
)
def test_a_sort_orders_as_it_does_row_by_row(many: Store, table: RunTable, keys: tuple[SortKey, ...]) -> None:
    sort = Sort((*keys, SortKey("id")))
    expected = sort.apply(records_of(many), now=NOW)
    assert ids(whole(table, sort=sort)) == [record.id for record in expected]


def test_newest_first_is_the_order_of_the_index(many: Store, table: RunTable) -> None:
    assert ids(whole(table)) == [record.id for record in records_of(many)]


def test_every_column_is_what_the_records_say(many: Store) -> None:
    columns = IndexColumns(many.index.query, lambda: NOW)
    columns.refresh()
    found = {record.id: record for record in records_of(many)}
    id_column = columns.builtin("id")
    assert id_column is not None
    in_order = [found[id_column.texts[code]] for code in id_column.code.tolist()]
    slow = RecordColumns(in_order, NOW)
    for key in ("id", "number", "name", "state", "note", "experiment", "sweep", "by", "host", "age", "duration"):
        assert same(columns.builtin(key), slow.builtin(key)), key
    for key in ("lr", "depth", "optimizer", "data.name", "nothing"):
        assert same(columns.param(key), slow.param(key)), key
    for key in ("val_loss", "grad_norm", "lr", "nothing"):
        assert same(columns.metric(key), slow.metric(key)), key


def test_only_rows_near_the_screen_are_read(table: RunTable) -> None:
    snapshot = table.snapshot(RunsRequest(first=0, last=10))
    assert len(snapshot.order) == COUNT
    assert len(snapshot.lines) < COUNT
    assert {int(row) for row in snapshot.order[:10]} <= snapshot.lines.keys()


def test_a_query_that_is_wrong_keeps_the_last_good_result_and_says_why(table: RunTable) -> None:
    good = whole(table, "lr<1e-3")
    bad = whole(table, "lr<")
    assert "value is missing" in bad.problem
    assert bad.order is good.order
    assert "nearest: `lr`" in whole(table, "lrr<1").problem


def test_short_ids_are_as_long_as_they_must_be(many: Store, table: RunTable) -> None:
    everyone = [record.id for record in records_of(many)]
    for run in everyone[:50]:
        short = run[: table.id_length(run)]
        assert [other for other in everyone if other.startswith(short)] == [run]


def test_columns_are_chosen_by_what_tells_runs_apart(table: RunTable) -> None:
    snapshot = whole(table)
    keys = [column.key for column in snapshot.columns]
    assert snapshot.objective == "val_loss"
    assert keys[:2] == ["metric.val_loss", "metric.val_acc"]
    assert keys[2] == "param.lr"
    assert keys[-1] == "param.data.name"
    assert not snapshot.columns[-1].differs


def test_another_writer_s_run_is_labelled_with_its_user(many: Store, table: RunTable) -> None:
    by_id = {record.id: record for record in records_of(many)}
    for line in whole(table).lines.values():
        record = by_id[str(line.id)]
        own = record.writer == many.writer()
        assert line.label == (f"#{record.number}" if own else f"{record.user}#{record.number}")


# Changes


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[tuple[Store, sqlite3.Connection]]:
    """A small store and a connection that plays another process."""
    folder = make(tmp_path / "changing", 30)
    with Store.open(folder, read_only=True) as store:
        other = sqlite3.connect(store.layout.index, isolation_level=None)
        yield store, other
        other.close()


def everything(columns: IndexColumns) -> list[tuple[str, Column | None]]:
    return [
        *((key, columns.builtin(key)) for key in ("id", "name", "state", "duration", "number", "note")),
        *((key, columns.param(key)) for key in ("lr", "optimizer")),
        *((key, columns.metric(key)) for key in ("val_loss",)),
    ]


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE run SET name = 'renamed', notes = 'note', version = 2 WHERE row = 7"],
        ["UPDATE run SET deleted = 1, version = 2 WHERE row IN (1, 30)"],
        [
            "UPDATE run SET deleted = 1, version = 2 WHERE row = 5",
            "UPDATE run SET deleted = 0, version = 3 WHERE row = 5",
        ],
        [
            "INSERT INTO run(row, id, commit_id, number, name, state, started, duration, version, record) VALUES "
            "(31, '0000000000000000', '', 99, 'new', 'failed', 1e9, 5, 2, '{}');"
            "INSERT INTO param VALUES (1, 31, 0.5, NULL)",
        ],
        ["DELETE FROM run; DELETE FROM param"],
    ],
    ids=["changed", "deleted", "restored", "added", "made anew"],
)
def test_columns_that_were_patched_are_those_that_are_read_anew(
    changing: tuple[Store, sqlite3.Connection], statements: list[str]
) -> None:
    store, other = changing
    columns = IndexColumns(store.index.query, lambda: NOW)
    columns.refresh()
    everything(columns)
    for statement in statements:
        other.executescript(f"BEGIN; {statement}; COMMIT;")
        assert columns.refresh() is not None
    assert columns.refresh() is None
    fresh = IndexColumns(store.index.query, lambda: NOW)
    fresh.refresh()
    assert columns.rows.tolist() == fresh.rows.tolist()
    for (key, patched), (_, read) in zip(everything(columns), everything(fresh), strict=True):
        assert same(patched, read), key


def test_a_change_of_one_row_reads_that_row_only(changing: tuple[Store, sqlite3.Connection]) -> None:
    store, other = changing
    asked: list[str] = []

    def query(sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        asked.append(sql)
        return store.index.query(sql, values)

    columns = IndexColumns(query, lambda: NOW)  # type: ignore[arg-type]
    columns.refresh()
    everything(columns)
    other.execute("UPDATE run SET name = 'renamed', version = 2 WHERE row = 7")
    asked.clear()
    columns.refresh()
    reads = [sql for sql in asked if "version" not in sql]
    assert reads
    assert all("IN (7)" in sql or sql.startswith("SELECT id FROM key") for sql in reads)


def test_a_changed_run_has_another_line_and_the_others_keep_theirs(changing: tuple[Store, sqlite3.Connection]) -> None:
    store, other = changing
    table = RunTable(store.index.query, LineMaker(""), time.time)
    before = whole(table)
    other.execute("UPDATE run SET name = 'renamed', version = 2 WHERE row = 7")
    assert table.refresh()
    after = whole(table)
    assert after.lines[7].name == "renamed"
    assert all(after.lines[row] is before.lines[row] for row in before.lines if row != 7)


@pytest.mark.parametrize(
    ("names", "objective"),
    [
        (["loss", "acc", "lr"], "loss"),
        (["train/loss", "val/loss", "epoch_time"], "val/loss"),
        (["reward", "lr", "steps_per_sec"], "reward"),
        (["grad_norm", "val_f1"], "val_f1"),
        ([], ""),
    ],
)
def test_the_objective_is_a_held_out_loss_or_score_before_anything_else(names: list[str], objective: str) -> None:
    assert objective_of(names) == objective


def test_less_is_better_of_losses_and_errors_only() -> None:
    assert [lower_is_better(name) for name in ("val/loss", "wer", "mse", "acc", "reward", "lr")] == [True] * 3 + [
        False
    ] * 3


def test_the_made_up_index_fits_the_real_schema(tmp_path: Path) -> None:
    project = make(tmp_path / "p", 3)
    with Store.open(project) as store:
        assert isinstance(store.index, Index)
        assert len(list(store.index.records())) == 3
        assert (
            store.records()[0].config
            == next(iter(reversed(list(records(3, store.writer(), 0, 1_760_000_000.0))))).config
        )
    assert fill is not None
