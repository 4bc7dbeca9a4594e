"""Read metrics out of tables that a script writes: CSV, JSON lines, and Hugging Face's `trainer_state.json`.

Standard library only, Python 3.9, run by path or as `dstui.inside.rows`.

- **CSV**: the header needs a column that counts steps (`STEP_NAMES`, in any case, also as the last part of `time/step`)
  and the rows a number beside it. Empty cells are none, so Lightning's sparse `metrics.csv` is read as it is meant.
- **JSON lines**: flat objects with such a key and numbers. Nested values are passed over; an object with a long text is
  data and no metrics.
- **`trainer_state.json`**: the list `log_history`, whose entries are such objects.

Of several columns that count, the first in the order of `STEP_NAMES` that a row has is its step; an `epoch` beside it
is a metric. A column `mode`, `split` or `phase` with the name of a part of the data (`val`) goes in front of the names.

Writers start a file over: Lightning when a column is new, pandas at each save. Each row taken leaves a mark of 32 bits;
when the file is read again from its start, rows with the same marks are passed over, and at the first one that differs
the file counts as a new one, all of it.
"""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Mapping

    Row = Callable[[int, dict[str, float], "float | None"], None]

LINE_BYTES = 1 << 16
"""A longer line counts as a bad one."""

BAD_IN_A_ROW = 100
"""After so many bad lines without a good one, a file is given up."""

ROWS = 2_000_000
"""Rows taken from one file; their marks are 8 MB."""

COLUMNS = 1_000
"""A table with more columns holds data, no metrics."""

NAME_CHARACTERS = 512
"""Longest name taken."""

TEXT_CHARACTERS = 200
"""An object with a longer text holds data, no metrics."""

STEP_NAMES = (
    "global_step step steps iteration iter training_iteration total_timesteps timesteps_total num_timesteps epoch"
).split()
"""Names that count, the finest first."""

EPOCH = len(STEP_NAMES) - 1
"""Place of the epoch among them, which is also worth showing."""

PART_NAMES = frozenset({"mode", "split", "phase", "stage", "subset"})
"""Columns that say of which part of the data a row speaks."""

PARTS = frozenset("train training val valid validation test testing eval evaluation dev".split())
"""Parts of the data."""

TIME_NAMES = frozenset({"time", "timestamp", "_timestamp", "wall_time"})
"""Columns that may hold seconds since the epoch; then they are the time of the row."""

LARGEST_STEP = (1 << 63) - 1
LARGEST_INTEGER = 1 << 53

_EPOCH_YEARS = (1e9, 1e10)


class TableError(ValueError):
    """A file that holds no metrics, or more than is taken."""


class RewrittenError(Exception):
    """A file read again from its start is another one than before; `forget` and read it once more."""


class _Table:
    """Rows of one file, each handed on once."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._marks = array("I")
        self._place = 0

    def restart(self) -> None:
        """The file is read again from its start."""
        self._place = 0

    def forget(self) -> None:
        """All of it counts as new."""
        self._marks = array("I")
        self.restart()

    def _is_new(self, mark: int) -> bool:
        """Whether a row has not been handed on yet.

        Raises:
            RewrittenError: there was another one in its place.
            TableError: there are too many.
        """
        place = self._place
        self._place = place + 1
        if place < len(self._marks):
            if self._marks[place] != mark:
                raise RewrittenError
            return False
        if place >= ROWS:
            raise TableError(f"it has more than {ROWS:,} rows")
        self._marks.append(mark)
        return True


class _LineReader(_Table):
    """Takes a file in pieces, line by line. Not thread-safe.

    Args:
        row: gets step, numbers by name, and time (None: not said) of each row.
        start: lines before this byte are passed over (but for the header of a table).

    Attributes:
        bad: lines that could not be read.
    """

    largest = LINE_BYTES
    """A piece of so many bytes lets the reader go on."""

    def __init__(self, row: Row, start: int = 0) -> None:
        super().__init__(row)
        self.bad = 0
        self._start = start
        self._bad_in_a_row = 0
        self._line_is_too_long = False

    def restart(self) -> None:
        """The file is read again from its start."""
        super().restart()
        self._start = 0
        self._line_is_too_long = False

    def take(self, data: bytes, place: int, *, last: bool = False) -> int:
        """Read the whole lines of a piece; returns how many bytes are done with, more than given to jump ahead.

        Args:
            data: the file's bytes from `place` on, as far as they are there; what was not done with comes again.
            place: where in the file they lie.
            last: nothing comes any more.

        Raises:
            TableError: there is no use in going on.
            RewrittenError: see there.
        """
        if place < self._start and self._has_header():
            # From the byte before the old end: when that is no newline, the line around it is not ours either.
            jump = self._start - 1 - place
            self._start, self._line_is_too_long = 0, True
            if jump:
                return jump
        end = data.rfind(b"\n") + 1
        if not end:
            if len(data) >= LINE_BYTES:
                self._line_is_too_long = True
                self._miss()
                return len(data)
            if last and data and not self._line_is_too_long and self._is_whole(data):
                self._read(data)
                return len(data)
            return 0
        here = 0
        while here < end:
            after = data.find(b"\n", here, end) + 1
            line = data[here : after - 1].strip()
            here = after
            if self._line_is_too_long:
                self._line_is_too_long = False
            elif len(line) > LINE_BYTES:
                self._miss()
            elif line:
                self._read(line)
                if place + here < self._start:
                    return here
        return end

    def _has_header(self) -> bool:
        """Whether the rest of the old part may be jumped over."""
        return True

    def _is_whole(self, line: bytes) -> bool:
        """Whether a line at the end of the file is complete although no newline follows."""
        return False

    def _read(self, line: bytes) -> None:
        raise NotImplementedError

    def _miss(self) -> None:
        self.bad += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= BAD_IN_A_ROW:
            raise TableError(f"{self._bad_in_a_row} lines in a row hold no metrics")

    def _give(self, step: int, values: dict[str, float], time: float | None, mark: int) -> None:
        self._bad_in_a_row = 0
        if self._is_new(mark & 0xFFFFFFFF):
            self._row(step, values, time)


class CsvReader(_LineReader):
    """A table with a header; `take` says how."""

    def __init__(self, row: Row, start: int = 0) -> None:
        super().__init__(row, start)
        self._delimiter = ""
        self._width = 0
        self._counting: list[int] = []
        self._names: dict[int, str] = {}
        self._is_number: set[int] = set()
        self._header: list[str] = []
        self._part = -1
        self._time = -1

    def restart(self) -> None:
        """The file is read again from its start, header first."""
        super().restart()
        self._delimiter = ""

    def _has_header(self) -> bool:
        return bool(self._delimiter)

    def _read(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if not self._delimiter:
            self._read_header(text.lstrip("\ufeff"))
            return
        cells = self._split(text)
        counting, step = self._step_of(cells) if len(cells) == self._width else (-1, None)
        if step is None:
            if any(_rank(cell.strip()) is not None for cell in cells):
                # Somebody appends to the table of an earlier run, header and all.
                self._read_header(text)
            else:
                self._miss()
            return
        prefix = cells[self._part].strip().lower() if self._part >= 0 else ""
        prefix = f"{prefix}/" if prefix in PARTS else ""
        values: dict[str, float] = {}
        for index, name in list(self._names.items()):
            cell = cells[index]
            if cell and index != counting:
                number = _number(cell)
                if number is not None:
                    self._is_number.add(index)
                    values[prefix + name] = number
                elif cell.strip() and index not in self._is_number:
                    # A column of words.
                    del self._names[index]
        if not values:
            self._miss()
            return
        time = _number(cells[self._time]) if self._time >= 0 else None
        if _is_date(time):
            self._names.pop(self._time, None)
            values.pop(prefix + self._header[self._time], None)
        else:
            time = None
        self._give(step, values, time, hash(tuple(filter(None, cells))))

    def _step_of(self, cells: list[str]) -> tuple[int, int | None]:
        """The first column that counts in whole numbers in this row, and its number."""
        for index in self._counting:
            step = _whole_text(cells[index])
            if step is not None:
                return index, step
        return -1, None

    def _read_header(self, text: str) -> None:
        self._delimiter = max(",;\t", key=text.count)
        names = self._header = [name.strip() for name in self._split(text)]
        self._width = len(names)
        counting = {index: rank for index, name in enumerate(names) if (rank := _rank(name)) is not None}
        if not counting:
            raise TableError("it has no column that counts steps")
        if len(names) < 2 or len(names) > COLUMNS:
            raise TableError(f"a table of {len(names):,} columns holds no metrics")
        self._counting = sorted(counting, key=lambda index: counting[index])
        lower = [name.lower() for name in names]
        self._part = next((index for index, name in enumerate(lower) if name in PART_NAMES), -1)
        self._time = next((index for index, name in enumerate(lower) if name in TIME_NAMES), -1)
        self._is_number = set()
        taken: set[str] = set()
        self._names = {}
        for index, name in enumerate(names):
            is_epoch = _rank(name) == EPOCH and index != self._counting[0]
            if name and name not in taken and len(name) <= NAME_CHARACTERS and (index not in counting or is_epoch):
                taken.add(name)
                self._names[index] = name

    def _split(self, text: str) -> list[str]:
        if '"' not in text:
            return text.split(self._delimiter)
        from csv import Error, reader

        try:
            return next(reader([text], delimiter=self._delimiter), [])
        except Error:
            return []


class JsonLinesReader(_LineReader):
    """An object a line; `take` says how."""

    def _is_whole(self, line: bytes) -> bool:
        return line.rstrip().endswith(b"}")

    def _read(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        found = _entry(entry) if isinstance(entry, dict) else None
        if found is None:
            self._miss()
        else:
            self._give(*found, hash(line))


class TrainerHistory(_Table):
    """What Hugging Face's Trainer has logged, over the `trainer_state.json` of all its checkpoints.

    Each file repeats the history from the start. When a training goes on from a checkpoint of an earlier run, what that
    one holds is not this run's.
    """

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self._earlier: dict[int, array[int]] = {}

    def remember(self, data: bytes) -> None:
        """Take in a file that was there before the run.

        Raises:
            TableError: it is no such file, or not whole.
        """
        step, entries = _history(data)
        self._earlier[step] = _marks(entries)

    def take(self, data: bytes) -> None:
        """Hand on what a whole file says and others have not.

        Raises:
            TableError: it is no such file, or not whole.
        """
        step, entries = _history(data)
        if self._earlier:
            marks = _marks(entries)
            # Of a training that starts over, the checkpoints before this one have been written anew.
            before = [old for at, old in self._earlier.items() if at < step and marks[: len(old)] == old]
            self._marks = max(before, key=len, default=self._marks)
            self._earlier.clear()
        try:
            self._take(entries)
        except RewrittenError:
            self.forget()
            self._take(entries)

    def _take(self, entries: list[Any]) -> None:
        self.restart()
        for entry in entries:
            if self._is_new(hash(repr(entry)) & 0xFFFFFFFF):
                found = _entry(entry) if isinstance(entry, dict) else None
                if found is not None:
                    self._row(*found)


def _marks(entries: list[Any]) -> array[int]:
    return array("I", (hash(repr(entry)) & 0xFFFFFFFF for entry in entries[:ROWS]))


def _history(data: bytes) -> tuple[int, list[Any]]:
    """Step and history of a `trainer_state.json`."""
    try:
        state = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TableError("it is no JSON") from error
    entries = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(entries, list):
        raise TableError("it has no `log_history`")
    step = _whole(state.get("global_step"))
    return step or 0, entries


def _entry(entry: Mapping[str, Any]) -> tuple[int, dict[str, float], float | None] | None:
    """Step, numbers and time of an object, or None when it holds no metrics."""
    step_key, step, best = "", None, len(STEP_NAMES)
    values: dict[str, float] = {}
    prefix, time = "", None
    for key, value in entry.items():
        kind = type(value)
        if kind is float or kind is int:
            rank = _rank(key)
            if rank is not None and rank < best and (whole := _whole(value)) is not None:
                step_key, step, best = key, whole, rank
            if key in TIME_NAMES and _is_date(value):
                time = float(value)
            elif (
                (rank is None or rank == EPOCH)
                and 0 < len(key) <= NAME_CHARACTERS
                and (kind is float or -LARGEST_INTEGER <= value <= LARGEST_INTEGER)
            ):
                values[key] = float(value)
        elif kind is str:
            if len(value) > TEXT_CHARACTERS:
                return None
            if key in PART_NAMES and value.lower() in PARTS:
                prefix = value.lower() + "/"
    values.pop(step_key, None)
    if step is None or not values or len(values) > COLUMNS:
        return None
    if prefix:
        values = {prefix + name: value for name, value in values.items()}
    return step, values, time


def _rank(name: str) -> int | None:
    """Place of a name among those that count, or None."""
    name = name.rpartition("/")[2].lower()
    return STEP_NAMES.index(name) if name in STEP_NAMES else None


def _whole(value: Any) -> int | None:
    """A number as step, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and -LARGEST_STEP <= value <= LARGEST_STEP else None


def _whole_text(text: str) -> int | None:
    number = _number(text)
    if number is None:
        return None
    try:
        return _whole(int(text))
    except ValueError:
        return _whole(number)


def _number(text: str) -> float | None:
    """A number as other programs write it; Python's own underscores are none."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _is_date(value: float | None) -> bool:
    return value is not None and _EPOCH_YEARS[0] <= value <= _EPOCH_YEARS[1]
