"""The run table of the index as columns of arrays, each read when it is first asked for and patched when runs change.

Notation: n committed runs that are not deleted; `rows` of shape (n,) are their numbers in the index, ascending, and
every column has shape (n,) in that order. Columns are shared with snapshots: a change makes new arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np  # noqa: TID253  only the dashboard loads this file, after its first frame

from dstui.sdk.columns import Column, TagColumn
from dstui.sdk.matching import WORD_KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows = list[tuple[Any, ...]]
QueryFunction = Callable[[str, Sequence[Any]], Rows]
"""Reads the index: an SQL text of ours and its values to rows."""

PARAM, METRIC = 0, 1

PORTION = 20_000
"""Rows that are read at once."""

MAX_PATCHED = 2_000
"""More changed rows than this are not patched in: everything is read anew."""

_TEXTS = {
    "id": "id",
    "name": "name",
    "state": "state",
    "note": "NULLIF(notes, '')",
    "experiment": "experiment",
    "sweep": "sweep",
    "by": "user",
    "user": "user",
    "writer": "writer",
    "host": "host",
}
_NUMBERS = {
    "number": "number",
    "age": "started",
    "duration": "duration",
    "gpu_hours": "duration * NULLIF(json_array_length(record, '$.devices'), 0) / 3600.0",
}


@dataclass(frozen=True)
class Change:
    """What one refresh found: the rows that are new or differ, and the version reached."""

    rows: NDArray[np.int64]
    whole: bool


class IndexColumns:
    """`dstui.sdk.columns.Columns` over the index. For one thread."""

    def __init__(self, query: QueryFunction, clock: Callable[[], float]) -> None:
        self._query = query
        self._clock = clock
        self._version = -1
        self._all_runs = 0
        self._columns: dict[tuple[str, str], Column | None] = {}
        self._tags: TagColumn | None = None
        self.rows: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def version(self) -> int:
        """The newest change that is taken in."""
        return self._version

    def refresh(self) -> Change | None:
        """Takes in what changed in the index; None when nothing did."""
        version, count = self._query("SELECT coalesce(max(version), 0), count(*) FROM run", ())[0]
        if version == self._version and count == self._all_runs:
            return None
        changed = self._changed_rows() if self._version >= 0 and version >= self._version else None
        if changed is not None and len(changed[0]) <= MAX_PATCHED and self._all_runs + changed[1] == count:
            self._patch(changed[0])
            change = Change(changed[0], whole=False)
        else:
            # The first time, or the index was made anew and its row numbers mean other runs.
            self._read_all()
            change = Change(self.rows, whole=True)
        self._tags = None
        self._version, self._all_runs = version, count
        return change

    # Columns

    def builtin(self, key: str) -> Column | None:
        """See `Columns`."""
        if key in _TEXTS:
            return self._column("builtin", key)
        if key not in _NUMBERS:
            return None
        column = self._column("builtin", key)
        if column is None or key != "age":
            return column
        return Column(column.present, self._clock() - column.number, column.code, column.texts)

    def param(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._column("param", key)

    def metric(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._column("metric", key)

    def tags(self) -> TagColumn:
        """See `Columns`."""
        if self._tags is None:
            pairs = self._query("SELECT row, tag FROM tag", ())
            codes: dict[str, int] = {}
            code = np.fromiter((codes.setdefault(tag, len(codes)) for _, tag in pairs), np.int32, len(pairs))
            place, there = self._places(_integers(pairs))
            self._tags = TagColumn(place[there], code[there], list(codes))
        return self._tags

    def started(self) -> NDArray[np.float64]:
        """When each run started, NaN where it is not known."""
        column = self._column("builtin", "age")
        return np.full(len(self), math.nan) if column is None else column.number

    def _column(self, kind: str, key: str) -> Column | None:
        if (kind, key) not in self._columns:
            for name, found in self._read(kind, _read_together(kind, key), None).items():
                self._columns[kind, name] = _made(len(self), *self._places(found.rows), found)
        return self._columns[kind, key]

    def _read_all(self) -> None:
        """The rows and when they started; as two texts, since a hundred thousand tuples would cost more memory."""
        rows_text, started_text = self._query(
            "SELECT json_group_array(row), json_group_array(started) FROM run WHERE deleted = 0", ()
        )[0]
        rows, started = np.array(json.loads(rows_text), np.int64), _numbers(json.loads(started_text))
        by_row = np.argsort(rows)
        self.rows, started = rows[by_row], started[by_row]
        present = ~np.isnan(started)
        age = Column(present, started, np.full(len(rows), -1, np.int32), []) if present.any() else None
        self._columns = {("builtin", "age"): age}

    def _read(self, kind: str, keys: Sequence[str], rows: Sequence[int] | None) -> dict[str, _Found]:
        """What all rows, or some, have for these keys of one kind; text wins where a value is both."""
        # `NOT INDEXED`: rows are looked up by number; the listing's index would go through all of them.
        parts = [f"row IN ({','.join(map(str, rows))})"] if rows is not None else self._portions()
        if kind == "builtin":
            names = ", ".join(_TEXTS.get(key) or _NUMBERS[key] for key in keys)
            gathered = [_Gathered() for _ in keys]
            for part in parts:
                found = self._query(f"SELECT row, {names} FROM run NOT INDEXED WHERE deleted = 0 AND {part}", ())
                ids, *columns = zip(*found, strict=True) if found else ((), *((),) * len(keys))
                for key, into, values in zip(keys, gathered, columns, strict=True):
                    into.add(ids, *((None, values) if key in _TEXTS else (values, None)))
            return {key: into.found() for key, into in zip(keys, gathered, strict=True)}
        table, names, code = ("param", "num, text", PARAM) if kind == "param" else ("metric", "last, NULL", METRIC)
        return {key: self._read_values(table, names, code, key, parts) for key in keys}

    def _read_values(self, table: str, names: str, code: int, key: str, parts: Sequence[str]) -> _Found:
        # A metric without a number is NaN; a param always has a number or a text.
        into = _Gathered(all_present=True)
        known = self._query("SELECT id FROM key WHERE kind = ? AND name = ?", (code, key))
        for part in parts if known else ():
            found = self._query(f"SELECT row, {names} FROM {table} WHERE key = ? AND {part}", known[0])
            into.add(*(zip(*found, strict=True) if found else ((), (), ())))
        return into.found()

    def _portions(self) -> list[str]:
        """Conditions that take all rows in portions, so that not all of their tuples are in memory at once."""
        last = int(self.rows[-1]) if len(self.rows) else 0
        return [f"row BETWEEN {start} AND {start + PORTION - 1}" for start in range(0, last + 1, PORTION)]

    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where rows stand in `rows`, and which of them do at all."""
        if not len(self.rows):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return place, self.rows[place] == rows

    # Changes

    def _changed_rows(self) -> tuple[NDArray[np.int64], int]:
        """Rows changed since the version taken in, and how many of them are new to us, deleted ones included."""
        found = _integers(self._query("SELECT row FROM run WHERE version > ? ORDER BY row", (self._version,)))
        newest = int(self.rows[-1]) if len(self.rows) else 0
        return found, int((found > newest).sum())

    def _patch(self, changed: NDArray[np.int64]) -> None:
        old_rows = self.rows
        only = ",".join(map(str, changed.tolist()))
        alive = _integers(self._query(f"SELECT row FROM run NOT INDEXED WHERE deleted = 0 AND row IN ({only})", ()))
        self.rows = np.union1d(np.setdiff1d(old_rows, changed), alive)
        place, kept = self._places(old_rows)
        kept &= ~np.isin(old_rows, changed)
        for kind, key in list(self._columns):
            found = self._read(kind, [key], alive.tolist())[key]
            new_place, there = self._places(found.rows)
            self._columns[kind, key] = _patched(
                self._columns[kind, key], len(self), place[kept], kept, new_place, there, found
            )


@dataclass(frozen=True)
class _Found:
    """Values of one key as they were read, m of them.

    Attributes:
        rows: int64 (m,).
        numbers: float64 (m,), NaN where there is a text.
        codes: int32 (m,), index into `texts`, -1 where there is a number.
        texts: distinct texts.
    """

    rows: NDArray[np.int64]
    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]
    texts: list[str]


class _Gathered:
    """Collects the values of one key, portion by portion."""

    def __init__(self, *, all_present: bool = False) -> None:
        self._all_present = all_present
        self._known: dict[str | None, int] = {None: -1}
        self._rows: list[NDArray[np.int64]] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._codes: list[NDArray[np.int32]] = []

    def add(
        self, rows: Sequence[int], numbers: Sequence[float | None] | None, texts: Sequence[str | None] | None
    ) -> None:
        """Takes one portion; unless all are present, rows with neither number nor text are left out."""
        places = np.fromiter(rows, np.int64, len(rows))
        number = np.full(len(rows), math.nan) if numbers is None else _numbers(numbers)
        code = np.full(len(rows), -1, np.int32)
        if texts is not None and any(text is not None for text in texts):
            known = self._known
            for text in texts:
                if text not in known:
                    known[text] = len(known) - 1
            code = np.fromiter(map(known.__getitem__, texts), np.int32, len(rows))
            number[code >= 0] = math.nan
        if not self._all_present:
            kept = ~np.isnan(number) | (code >= 0)
            places, number, code = places[kept], number[kept], code[kept]
        self._rows.append(places)
        self._numbers.append(number)
        self._codes.append(code)

    def found(self) -> _Found:
        """All of it."""
        texts = [text for text in self._known if text is not None]
        return _Found(
            np.concatenate([np.zeros(0, np.int64), *self._rows]),
            np.concatenate([np.zeros(0), *self._numbers]),
            np.concatenate([np.zeros(0, np.int32), *self._codes]),
            texts,
        )


def _read_together(kind: str, key: str) -> Sequence[str]:
    """Keys to read in one go: a bare word asks for three, and each costs a walk through the table."""
    return WORD_KEYS if kind == "builtin" and key in WORD_KEYS else (key,)


def _made(size: int, place: NDArray[np.int64], there: NDArray[np.bool_], found: _Found) -> Column | None:
    """A column of `size` rows from what was read for some of them."""
    return _patched(None, size, np.zeros(0, np.int64), np.zeros(0, bool), place, there, found)


def _patched(
    old: Column | None,
    size: int,
    old_place: NDArray[np.int64],
    kept: NDArray[np.bool_],
    place: NDArray[np.int64],
    there: NDArray[np.bool_],
    found: _Found,
) -> Column | None:
    """The column with the kept values at their new places and what was read put over it."""
    present = np.zeros(size, bool)
    number = np.full(size, math.nan)
    code = np.full(size, -1, np.int32)
    texts: list[str] = found.texts
    moved = found.codes
    if old is not None:
        present[old_place] = old.present[kept]
        number[old_place] = old.number[kept]
        code[old_place] = old.code[kept]
        codes = {text: index for index, text in enumerate(old.texts)}
        moved = np.array([*(codes.setdefault(text, len(codes)) for text in found.texts), -1], np.int32)[found.codes]
        texts = list(codes)
    present[place[there]] = True
    number[place[there]] = found.numbers[there]
    code[place[there]] = moved[there]
    return Column(present, number, code, texts) if present.any() else None


class JoinedColumns:
    """Committed runs followed by those that are going on, as one table for sorting."""

    def __init__(self, first: IndexColumns, second: Any) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def builtin(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._join(self._first.builtin(key), self._second.builtin(key))

    def param(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._join(self._first.param(key), self._second.param(key))

    def metric(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._join(self._first.metric(key), self._second.metric(key))

    def tags(self) -> TagColumn:
        """See `Columns`; tags are not sorted by."""
        return self._first.tags()

    def _join(self, first: Column | None, second: Column | None) -> Column | None:
        if not len(self._second) or (first is None and second is None):
            return first
        first = first or _nothing(len(self._first))
        second = second or _nothing(len(self._second))
        codes = {text: index for index, text in enumerate(first.texts)} if second.texts else {}
        moved = np.array([codes.setdefault(text, len(codes)) for text in second.texts] + [-1], np.int32)
        return Column(
            np.concatenate([first.present, second.present]),
            np.concatenate([first.number, second.number]),
            np.concatenate([first.code, moved[second.code]]),
            list(codes) if second.texts else first.texts,
        )


def _nothing(size: int) -> Column:
    return Column(np.zeros(size, bool), np.full(size, math.nan), np.full(size, -1, np.int32), [])


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    # numpy reads None as NaN, and a list of numbers faster than a generator.
    return np.array(list(values), np.float64)


def _integers(found: Iterable[tuple[Any, ...]]) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in found), np.int64)
