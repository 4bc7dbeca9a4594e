"""The run table: which runs, in which order, and the lines of those near the screen."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dstui.errors import QueryError
from dstui.sdk.query import Query, Sort, parse
from dstui.sdk.views.data import NEWEST_FIRST, RunLine, RunsRequest, RunsSnapshot, ValueColumn
from dstui.sdk.views.lines import LINE_COLUMNS, SHOWN_ID, LineMaker, objective_of, value_columns
from dstui_store import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dstui.sdk.views.columns import IndexColumns, QueryFunction
    from dstui_store import RunRecord, SafeText

KEPT_LINES = 4_000
"""Lines of committed runs that are kept."""

READ_AHEAD = 120
"""Lines read beyond those on screen, on either side."""

MAX_RUN_SECONDS = 14 * 86_400
"""What ended lately is looked for among the runs that started at most this long before."""

SAMPLE = 100
"""How many of the first shown runs decide which columns are worth showing."""


class RunTable:
    """All runs of a store, committed and going on. For the reader's thread only."""

    def __init__(self, query: QueryFunction, maker: LineMaker, clock: Callable[[], float]) -> None:
        self._query = query
        self._maker = maker
        self._clock = clock
        self._lines: OrderedDict[int, RunLine] = OrderedDict()
        self._base: IndexColumns | None = None
        self._committed: int | None = None
        self._live: dict[str, RunRecord] = {}
        self._live_lines: dict[int, RunLine] = {}
        self._mask: tuple[str, int, NDArray[np.bool_]] | None = None
        self._order: tuple[object, NDArray[np.int64]] | None = None
        self._good_query = Query()
        self._shown: tuple[int, ...] = ()
        self._columns: tuple[ValueColumn, ...] = ()
        self._objective = ""
        self._sampled_keys: frozenset[str] = frozenset()
        self._keys: tuple[object, frozenset[str]] = (None, frozenset())

    # What there is

    @property
    def columns(self) -> IndexColumns:
        """The committed runs, read at the first call."""
        if self._base is None:
            from dstui.sdk.views.columns import IndexColumns

            self._base = IndexColumns(self._query, self._clock)
            self._base.refresh()
        return self._base

    def refresh(self) -> bool:
        """Takes in what changed in the index; whether anything did."""
        self._committed = None
        if self._base is None:
            return False
        change = self._base.refresh()
        if change is None:
            return False
        if change.whole:
            self._lines.clear()
        for row in change.rows.tolist():
            self._lines.pop(row, None)
        return True

    def set_live(self, records: Mapping[int, RunRecord], lines: Mapping[int, RunLine]) -> None:
        """Replaces the runs that are going on; both by their negative row."""
        self._live = {record.id: record for record in records.values()}
        self._live_lines = dict(lines)

    def count(self) -> int:
        """Runs that are not deleted, those going on included."""
        if self._base is not None:
            return len(self._base) + len(self._live_lines)
        if self._committed is None:
            self._committed = int(self._query("SELECT count(*) FROM run WHERE deleted = 0", ())[0][0])
        return self._committed + len(self._live_lines)

    @property
    def running(self) -> int:
        """Runs that are going on."""
        return len(self._live_lines)

    def live_lines(self) -> list[RunLine]:
        """Those, newest first."""
        return list(self._live_lines.values())

    def newest(self, count: int) -> list[RunLine]:
        """The runs that started last, newest first; those going on are not among them."""
        found = self._query(
            "SELECT row FROM run WHERE deleted = 0 ORDER BY started DESC, number DESC, row DESC LIMIT ?", (count,)
        )
        rows = [row for (row,) in found]
        lines = self.lines(rows)
        return [lines[row] for row in rows if row in lines]

    def ended_after(self, moment: float, count: int) -> list[RunLine]:
        """Committed runs that ended after a moment, latest first."""
        found = self._query(
            "SELECT row FROM run WHERE deleted = 0 AND started > ? AND ended > ? ORDER BY ended DESC LIMIT ?",
            (moment - MAX_RUN_SECONDS, moment, count),
        )
        rows = [row for (row,) in found]
        lines = self.lines(rows)
        return [lines[row] for row in rows if row in lines]

    def ended_counts(self, moment: float) -> dict[str, int]:
        """How many runs ended after a moment, by state."""
        found = self._query(
            "SELECT state, count(*) FROM run WHERE deleted = 0 AND started > ? AND ended > ? GROUP BY state",
            (moment - MAX_RUN_SECONDS, moment),
        )
        return {state: int(number) for state, number in found}

    def line(self, run: str) -> RunLine | None:
        """One run by its whole id."""
        for line in self._live_lines.values():
            if line.id == run:
                return line
        found = self._query("SELECT row FROM run WHERE id = ?", (run,))
        return self.lines([found[0][0]]).get(found[0][0]) if found else None

    def find(self, name: str) -> list[str]:
        """Whole ids of the runs whose id starts with `name`."""
        live = [run for run in self._live if run.startswith(name)]
        found = self._query("SELECT id FROM run WHERE id >= ? AND id < ? LIMIT 2", (name, name + "~"))
        return list(dict.fromkeys([*live, *(run for (run,) in found)]))

    def lines(self, rows: Iterable[int]) -> dict[int, RunLine]:
        """The lines of these rows, read where they are not kept."""
        found = {row: line for row in rows if (line := self._kept(row)) is not None}
        missing = [row for row in rows if row not in found and row >= 0]
        if missing:
            only = ",".join(map(str, missing))
            # One query for all: each gives up the interpreter, and while the screen starts it takes long to come back.
            for *fields, before, after in self._query(
                f"SELECT {LINE_COLUMNS}, (SELECT max(id) FROM run AS other WHERE other.id < run.id),"
                f" (SELECT min(id) FROM run AS other WHERE other.id > run.id) FROM run WHERE row IN ({only})",
                (),
            ):
                line = self._maker.from_index(fields, self._length(fields[2], (before, after)))
                found[line.row] = self._lines[line.row] = line
            while len(self._lines) > KEPT_LINES:
                self._lines.popitem(last=False)
        return found

    def id_length(self, run: str) -> int:
        """The least characters, at least 5, of an id that no other run's id starts with."""
        near = self._query(
            "SELECT (SELECT max(id) FROM run WHERE id < ?), (SELECT min(id) FROM run WHERE id > ?)", (run, run)
        )[0]
        return self._length(run, near)

    def _length(self, run: str, near: Iterable[str | None]) -> int:
        """As `id_length`, given the committed runs' ids next to it on either side."""
        others = [*(other for other in near if other), *(other for other in self._live if other != run)]
        return max([SHOWN_ID, *(_common(run, other) + 1 for other in others)])

    def known_keys(self) -> frozenset[str]:
        """Names of all params and metrics that any run has."""
        live = frozenset(key for record in self._live.values() for key in (*record.config, *record.summary))
        state = (self._base.version if self._base is not None else -1, live)
        if self._keys[0] != state:
            names = (name for (name,) in self._query("SELECT DISTINCT name FROM key", ()))
            self._keys = (state, frozenset(names) | live)
        return self._keys[1]

    def ids(self, rows: Sequence[int]) -> list[SafeText]:
        """Whole ids of some rows, in any order."""
        live = [self._live_lines[row].id for row in rows if row in self._live_lines]
        only = ",".join(str(row) for row in rows if row >= 0)
        return [*live, *(clean(run) for (run,) in self._query(f"SELECT id FROM run WHERE row IN ({only})", ()))]

    # Which, and in what order

    def snapshot(self, request: RunsRequest) -> RunsSnapshot:
        """The table as the request wants it."""
        query, problem = self._understood(request.query)
        state = (
            str(query),
            request.sort,
            self.columns.version,
            tuple(line.version for line in self._live_lines.values()),
        )
        if self._order is None or self._order[0] != (state, tuple(self._live_lines)):
            try:
                order = self._ordered(query, request.sort)
            except QueryError as error:
                problem = clean(error.message)
                order = self._ordered(Query(), request.sort)
            self._order = ((state, tuple(self._live_lines)), order)
        return self._answer(request, self._order[1], problem)

    def _ordered(self, query: Query, sort: Sort) -> NDArray[np.int64]:
        """The rows that match, in order."""
        import numpy as np

        from dstui.sdk.columns import RecordColumns
        from dstui.sdk.views.columns import JoinedColumns

        records = [self._live[str(line.id)] for line in self._live_lines.values()]
        live = RecordColumns(records, self._clock())
        live_mask = query.mask(live) if query.terms else np.ones(len(live), bool)
        index = np.flatnonzero(np.concatenate([self._masked(query), live_mask]))
        rows = np.concatenate([self.columns.rows, np.array(list(self._live_lines), np.int64)])
        if sort == NEWEST_FIRST:
            return rows[self._newest_first(index, records)]
        return rows[sort.order(JoinedColumns(self.columns, live), index)]

    def _answer(self, request: RunsRequest, order: NDArray[np.int64], problem: SafeText) -> RunsSnapshot:
        first = max(0, request.first - READ_AHEAD)
        window = order[first : request.last + READ_AHEAD].tolist()
        sample = order[:SAMPLE].tolist()
        lines = self.lines(dict.fromkeys([*window, *sample]))
        self._choose_columns([lines[row] for row in sample if row in lines])
        return RunsSnapshot(
            number=request.number,
            order=order,
            total=self.count(),
            lines=lines,
            columns=self._columns,
            objective=self._objective,
            keys=self.known_keys(),
            problem=problem,
            pinned=self.line(request.pinned) if request.pinned else None,
        )

    def _choose_columns(self, sample: Sequence[RunLine]) -> None:
        """Chooses columns anew only when other runs come first, so that a running one does not move them about."""
        rows = tuple(line.row for line in sample)
        keys: frozenset[str] = frozenset().union(*(line.values for line in sample))
        if rows != self._shown or keys != self._sampled_keys:
            self._shown, self._sampled_keys = rows, keys
            self._objective = objective_of(key[7:] for key in keys if key.startswith("metric."))
            self._columns = value_columns(sample, self._objective)

    def _understood(self, text: str) -> tuple[Query, SafeText]:
        """The query, or the last good one and what is wrong with this."""
        try:
            query = parse(text)
            query.check(self.known_keys())
        except QueryError as error:
            hint = f"; {error.hint}" if error.hint else ""
            return self._good_query, clean(f"{error.message}{hint}")
        self._good_query = query
        return query, clean("")

    def _masked(self, query: Query) -> NDArray[np.bool_]:
        """Which committed runs match; kept until the query or the index changes."""
        import numpy as np

        columns = self.columns
        if not query.terms:
            return np.ones(len(columns), bool)
        key = (str(query), columns.version)
        if self._mask is None or self._mask[:2] != key:
            self._mask = (*key, query.mask(columns))
        return self._mask[2]

    def _newest_first(self, index: NDArray[np.intp], records: Sequence[RunRecord]) -> NDArray[np.intp]:
        """The usual order, by one sort of numbers; runs without a start come last."""
        import numpy as np

        started = np.concatenate([self.columns.started(), [record.started_at or math.inf for record in records]])
        latest_first = index[::-1]
        return latest_first[np.argsort(-started[latest_first], kind="stable")]

    def _kept(self, row: int) -> RunLine | None:
        return self._live_lines.get(row) if row < 0 else self._lines.get(row)


def _common(first: str, second: str) -> int:
    """How many leading characters two texts share."""
    shared = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        shared += 1
    return shared
