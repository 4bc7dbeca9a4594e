"""The terms of a query over a whole table at once: columns of numpy arrays in, one boolean per run out.

It gives what `matching.select` gives row by row, and a test holds both to it. numpy is imported by the functions that
need it, so that the command line, which filters rows, does without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from dstui.sdk.matching import (
    ORDERINGS,
    WORD_KEYS,
    Found,
    Record,
    Value,
    builtin_value,
    field_of,
    find_patterns,
    number_text,
    split_key,
    text_test,
    unknown_view,
    value_of,
    wanted_number,
)
from dstui.sdk.terms import AllOf, AnyOf, Compare, Has, Not, Term, View, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """The values of one key in every row; n rows.

    Attributes:
        present: bool (n,), the row has a value, NaN included.
        number: float64 (n,), the value where it is a number; NaN elsewhere.
        code: int32 (n,), index into `texts` where the value is a text, otherwise -1.
        texts: the distinct texts, any order.

    Arrays are shared between snapshots: nobody writes to them.
    """

    present: NDArray[np.bool_]
    number: NDArray[np.float64]
    code: NDArray[np.int32]
    texts: Sequence[str]

    @cached_property
    def folded(self) -> list[str]:
        """`texts` without case; kept, for a filter asks at each keystroke."""
        return [text.casefold() for text in self.texts]

    @cached_property
    def ranks(self) -> NDArray[np.float64]:
        """Place of each text in alphabetical order without case; equal ones share it."""
        import numpy as np

        places = {text: place for place, text in enumerate(sorted(set(self.folded)))}
        return np.fromiter((places[text] for text in self.folded), float, len(self.folded))


@dataclass(frozen=True)
class TagColumn:
    """The tags of every row as pairs, m in all.

    Attributes:
        row: int (m,), the row that has the tag.
        code: int (m,), index into `texts`.
        texts: the distinct tags.
    """

    row: NDArray[np.int64]
    code: NDArray[np.int32]
    texts: Sequence[str]

    @cached_property
    def folded(self) -> list[str]:
        """`texts` without case."""
        return [text.casefold() for text in self.texts]


class Columns(Protocol):
    """A table of runs, column by column. Columns never change; a new state of the table is a new object."""

    def __len__(self) -> int:
        """Number of rows."""

    def builtin(self, key: str) -> Column | None:
        """A key of `BUILTIN_KEYS` as `builtin_value` gives it; None = no row has it."""

    def param(self, key: str) -> Column | None:
        """A config key as `param_value` gives it; None = no row has it."""

    def metric(self, key: str) -> Column | None:
        """The last value of a metric; None = no row has it."""

    def tags(self) -> TagColumn:
        """All tags."""


def mask(term: Term, columns: Columns) -> NDArray[np.bool_]:
    """Whether the term holds for each row; bool, shape (n,).

    Raises:
        QueryError: a pattern takes too long, or a view was not replaced.
    """
    return _mask(term, columns, find_patterns(term, lambda key: _texts_in(columns, key)))


class RecordColumns:
    """`Columns` made from records; each column is built when it is first asked for. Not for two threads at once."""

    def __init__(self, records: Sequence[Record], now: float) -> None:
        """Keep the records; they must not change.

        Args:
            records: the rows.
            now: seconds since the epoch, for ages.
        """
        self._records = records
        self._now = now
        self._made: dict[tuple[str, str], Column | None] = {}

    def __len__(self) -> int:
        return len(self._records)

    def builtin(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._column("builtin", key, lambda record: builtin_value(record, key, self._now))

    def param(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._column("param", key, lambda record: value_of(record, f"param.{key}", self._now))

    def metric(self, key: str) -> Column | None:
        """See `Columns`."""
        return self._column("metric", key, lambda record: value_of(record, f"metric.{key}", self._now))

    def tags(self) -> TagColumn:
        """See `Columns`."""
        return self._tags

    @cached_property
    def _tags(self) -> TagColumn:
        import numpy as np

        codes: dict[str, int] = {}
        pairs = [
            (row, codes.setdefault(tag, len(codes)))
            for row, record in enumerate(self._records)
            for tag in field_of(record, "tags")
        ]
        row, code = zip(*pairs, strict=True) if pairs else ((), ())
        return TagColumn(np.array(row, np.int64), np.array(code, np.int32), list(codes))

    def _column(self, kind: str, key: str, value: Callable[[Record], Value]) -> Column | None:
        if (kind, key) not in self._made:
            self._made[kind, key] = column_of(map(value, self._records))
        return self._made[kind, key]


def column_of(values: Iterable[Value]) -> Column | None:
    """The column of these values, one per row; None when no row has one."""
    import numpy as np

    rows = list(values)
    present = np.fromiter((value is not None for value in rows), bool, len(rows))
    if not present.any():
        return None
    codes: dict[str, int] = {}
    code = np.fromiter(
        (codes.setdefault(value, len(codes)) if isinstance(value, str) else -1 for value in rows), np.int32, len(rows)
    )
    number = np.fromiter((value if isinstance(value, float) else math.nan for value in rows), float, len(rows))
    return Column(present, number, code, list(codes))


def _mask(term: Term, columns: Columns, found: Found) -> NDArray[np.bool_]:
    import numpy as np

    rows = len(columns)
    if isinstance(term, AllOf):
        result = np.ones(rows, bool)
        for part in term.terms:
            result &= _mask(part, columns, found)
        return result
    if isinstance(term, AnyOf):
        result = np.zeros(rows, bool)
        for part in term.terms:
            result |= _mask(part, columns, found)
        return result
    if isinstance(term, Not):
        return ~_mask(term.term, columns, found)
    if isinstance(term, View):
        raise unknown_view(term)
    if isinstance(term, Word):
        return _mask_word(term, columns)
    if term.key == "tag":
        tags = columns.tags()
        if isinstance(term, Has):
            return _tagged(tags, np.ones(len(tags.texts), bool), rows)
        return _mask_tags(term, tags, rows, found)
    result, open_rows = np.zeros(rows, bool), np.ones(rows, bool)
    for column in columns_of(columns, term.key):
        holds = column.present if isinstance(term, Has) else _mask_column(term, column, found)
        result |= holds & open_rows
        # A row that has the param is never asked for the metric of the same name.
        open_rows &= ~column.present
    return result


def columns_of(columns: Columns, key: str) -> list[Column]:
    """Where a key is looked up, the column that counts first; at most a param and a metric of the same name."""
    kind, name = split_key(key)
    if kind == "builtin":
        sources = [columns.builtin]
    else:
        sources = [source for source, other in ((columns.param, "metric"), (columns.metric, "param")) if kind != other]
    return [column for source in sources if (column := source(name)) is not None]


def _mask_word(term: Word, columns: Columns) -> NDArray[np.bool_]:
    import numpy as np

    folded, rows = term.text.casefold(), len(columns)
    tags = columns.tags()
    result = _tagged(tags, np.fromiter((folded in text for text in tags.folded), bool, len(tags.texts)), rows)
    for key in WORD_KEYS:
        column = columns.builtin(key)
        if column is not None:
            result |= _by_code(column, np.fromiter((folded in text for text in column.folded), bool, len(column.texts)))
    return result


def _mask_tags(term: Compare, tags: TagColumn, rows: int, found: Found) -> NDArray[np.bool_]:
    import numpy as np

    result = np.zeros(rows, bool)
    for wanted in term.values:
        test = text_test(term, wanted, found)
        hits = np.fromiter(map(test, tags.texts, tags.folded), bool, len(tags.texts))
        if term.operator == "!=":
            result |= _tagged(tags, np.ones(len(tags.texts), bool), rows) & ~_tagged(tags, ~hits, rows)
        else:
            result |= _tagged(tags, hits, rows)
    return result


def _mask_column(term: Compare, column: Column, found: Found) -> NDArray[np.bool_]:
    import numpy as np

    result = np.zeros(len(column.present), bool)
    numeric = column.present & (column.code < 0)
    any_numeric = bool(numeric.any())
    for wanted in term.values:
        test = text_test(term, wanted, found)
        result |= _by_code(column, np.fromiter(map(test, column.texts, column.folded), bool, len(column.texts)))
        if not any_numeric:
            continue
        if term.operator == "~":
            numbers, places = np.unique(column.number[numeric], return_inverse=True)
            hits = [not math.isnan(number) and found(wanted, number_text(number)) for number in numbers.tolist()]
            result[numeric] |= np.array(hits, bool)[places]
        else:
            result |= numeric & _number_mask(column.number, term.operator, wanted_number(term.key, wanted))
    return result


def _number_mask(number: NDArray[np.float64], operator: str, wanted: float | None) -> NDArray[np.bool_]:
    """`number_holds` for each number of an array."""
    import numpy as np

    is_nan = np.isnan(number)
    if wanted is None or math.isnan(wanted):
        if operator == "!=":
            return ~is_nan
        return is_nan if operator == "=" and wanted is not None else np.zeros(len(number), bool)
    result: NDArray[np.bool_] = ORDERINGS[operator](number, wanted) if operator in ORDERINGS else number == wanted
    return ~result & ~is_nan if operator == "!=" else result


def _by_code(column: Column, hits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Spread what holds for the texts over the rows that have them."""
    import numpy as np

    # One more place that code -1, no text, points at.
    spread: NDArray[np.bool_] = np.append(hits, False)[column.code]
    return spread


def _tagged(tags: TagColumn, hits: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """The rows that have one of the tags that were hit."""
    import numpy as np

    result = np.zeros(rows, bool)
    if len(tags.row):
        result[tags.row[hits[tags.code]]] = True
    return result


def _texts_in(columns: Columns, key: str) -> list[str]:
    import numpy as np

    if key == "tag":
        return list(columns.tags().texts)
    texts: set[str] = set()
    for column in columns_of(columns, key):
        texts.update(column.texts)
        numbers = np.unique(column.number[column.present & (column.code < 0)])
        texts.update(number_text(number) for number in numbers.tolist() if not math.isnan(number))
    return list(texts)
