"""The run table: columns that fit, rows that are drawn anew only when they look different."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dstui.sdk.query import Sort, SortKey
from dstui.sdk.views.data import RunLine, ValueColumn
from dstui.tui.pages.sorting import letters_for, sorted_by
from dstui.tui.views.columns import runs_columns, short_titles
from dstui.tui.views.spark import sparkline
from dstui.tui.views.table import ListedRows, TableModel, TableState, fit_columns
from dstui_store import clean

if TYPE_CHECKING:
    from dstui.tui.theme import Look

NOW = 1_790_100_000.0


def run(number: int, **fields: object) -> RunLine:
    """A run that ended; `fields` replace its own."""
    text = {"name": f"train-{number}", "state": "finished", "experiment": "search", "user": "alice", "host": "gpu01"}
    text |= {"reason": "", "id": f"{number:016d}", "short": f"{number:05d}", "label": f"#{number}", "notes": ""}
    values = {"param.lr": 0.1 * number, "metric.loss": 1.0 / number, "param.opt": clean("adam")}
    plain = {"row": number, "version": 1, "started": NOW - 3600.0, "ended": NOW - 60, "duration": 300.0, "tags": ()}
    given = {**{key: clean(value) for key, value in text.items()}, **plain, "values": values, **fields}
    return RunLine(**given)  # type: ignore[arg-type]


COLUMNS = (
    ValueColumn("metric.loss", clean("loss"), True, (1.0, 0.5)),
    ValueColumn("param.lr", clean("lr"), True, (0.1, 0.2)),
    ValueColumn("param.opt", clean("opt"), False, ()),
)


def model(look: Look, runs: list[RunLine], **state: object) -> TableModel:
    shown = TableState(now=NOW, sort=Sort(), **state)  # type: ignore[arg-type]
    return TableModel(ListedRows(runs), runs_columns(runs, COLUMNS, "loss", shown.sort or Sort()), look, shown)


def rows(table: TableModel, width: int) -> list[str]:
    return [
        table.strip(number, width, cursor=False, focused=False).text.rstrip() for number in range(table.height(width))
    ]


def test_a_wide_table(look: Look) -> None:
    runs = [run(1), run(2, state=clean("oom"), values={"param.lr": 0.2}), run(3, row=-1, state=clean("running"))]
    assert rows(model(look, runs), 110) == [
        "   state        run   id     name     experiment    loss    lr  opt         time    when  by",
        "     finished   #1    00001  train-1  search      1.0000   0.1  adam       5m00s     1 h  alice",
        "   ✗ oom        #2    00002  train-2  search           –   0.2  –          5m00s     1 h  alice",
        "   ▸ running    #3    00003  train-3  search      0.3333   0.3  adam       5m00s     now  alice",
    ]


def test_a_narrow_table_keeps_state_run_name_and_the_objective(look: Look) -> None:
    assert rows(model(look, [run(1)]), 40) == [
        "   state        run   name       loss",
        "     finished   #1    train-1  1.0000",
    ]


@pytest.mark.parametrize("width", [10, 30, 60, 79, 80, 110, 120, 200])
def test_every_row_is_exactly_as_wide_as_the_table(look: Look, width: int) -> None:
    table = model(look, [run(1), run(2)])
    for number in range(3):
        for cursor in (False, True):
            assert table.strip(number, width, cursor=cursor, focused=cursor).cell_length == width


def test_columns_are_chosen_by_priority_and_stand_in_their_own_order(look: Look) -> None:
    columns = runs_columns([run(1)], COLUMNS, "loss", Sort())
    shown = [column.title for column, _ in fit_columns(columns, 36)]
    assert shown == ["state", "run", "name", "loss"]
    assert sum(cells + 2 for _, cells in fit_columns(columns, 36)) - 2 <= 36


def test_value_columns_scroll_sideways_but_never_all_out_of_sight(look: Look) -> None:
    columns = runs_columns([run(1)], COLUMNS, "loss", Sort())
    assert "lr" not in [column.title for column, _ in fit_columns(columns, 200, offset=1)]
    assert "opt" in [column.title for column, _ in fit_columns(columns, 200, offset=99)]


def test_a_row_s_key_changes_with_what_it_shows_and_with_nothing_else(look: Look) -> None:
    table = model(look, [run(1)])

    def key(table: TableModel = table, *, cursor: bool = False) -> object:
        return table.key(1, cursor=cursor, focused=True)

    before = key()
    assert key() == before
    assert key(cursor=True) != before
    table.state.now += 59 * 60
    assert key() == before, "an age in hours is the same an hour less a minute later"
    table.state.now += 3600
    assert key() != before
    table.state.now = NOW
    table.state.marks.add(run(1).id)
    assert key() != before
    other = TableModel(ListedRows([replace(run(1), version=2)]), table.columns, look, TableState(now=NOW, sort=Sort()))
    assert key(other) != before


def test_the_baseline_stays_on_top_and_is_starred_in_its_place(look: Look) -> None:
    table = model(look, [run(1), run(2)], pinned=run(2))
    assert table.fixed == 2
    shown = rows(table, 80)
    assert shown[1].startswith(" ★ ")
    assert shown[1] == shown[3]
    assert "★" not in shown[2]


def test_marks_and_sort_are_shown(look: Look) -> None:
    table = model(look, [run(1)], marks={run(1).id})
    table.state.sort = Sort((SortKey("metric.loss", descending=True), SortKey("name")))
    shown = rows(table, 100)
    assert shown[1].startswith("*")
    assert "loss ↓" in shown[0] or "lo… ↓" in shown[0]
    assert "name ↑" in shown[0]


def test_a_row_that_is_not_read_yet_says_so(look: Look) -> None:
    class Unread(ListedRows):
        def at(self, position: int) -> RunLine | None:
            return None

    table = model(look, [run(1)])
    table.rows = Unread([run(1)])
    assert rows(table, 30)[1].strip() == "…"


def test_each_column_has_a_letter_of_its_own_to_sort_by() -> None:
    letters = letters_for({"state": "state", "number": "run", "name": "name", "started": "start", "x": "tttt"})
    assert letters["state"] == "s"
    assert len(set(letters.values())) == len(letters) == 5


def test_the_same_column_again_turns_the_sort_round_and_a_second_one_joins_it() -> None:
    by_loss = sorted_by(Sort(), "metric.loss", adding=False)
    assert by_loss == Sort((SortKey("metric.loss"),)), "less is better, so the least comes first"
    assert sorted_by(Sort(), "metric.acc", adding=False) == Sort((SortKey("metric.acc", descending=True),))
    assert sorted_by(by_loss, "metric.loss", adding=False) == Sort((SortKey("metric.loss", descending=True),))
    both = sorted_by(by_loss, "name", adding=True)
    assert both == Sort((SortKey("metric.loss"), SortKey("name")))
    assert sorted_by(both, "metric.loss", adding=True) == Sort(
        (SortKey("metric.loss", descending=True), SortKey("name"))
    )


def test_long_dotted_names_are_headed_by_their_last_part_when_that_is_enough() -> None:
    columns = [ValueColumn("", clean(name), True) for name in ("model.encoder.layers", "optimizer.weight.lr", "lr")]
    assert short_titles(columns) == ["layers", "optimizer.weight.lr", "lr"]


def test_a_small_curve_shows_where_it_is_high(look: Look, plain_look: Look) -> None:
    assert sparkline([4, 3, 2, 1], 10, look) == "⣷⣄"
    assert sparkline([1, 1], 10, look) == "⣀"
    assert sparkline([1], 10, look) == ""
    assert sparkline([3, 2, 1, 0], 10, plain_look) == "^-._"
