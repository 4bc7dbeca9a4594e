"""Metrics in printed tables: a header row over rows of numbers, and boxes of a name and a number a line.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_tables`.

- **Columns** (skorch, fastai, spaCy, scikit-learn, ..): a row of names, one of which counts (`epoch`, `step`, `iter`,
  `#`), then rows of as many cells. The row's position is its cell in that column.
- **Boxes** (Stable-Baselines3, Spinning Up, Lightning's test results): lines `| name | 12.3 |` between rules. A line
  `| rollout/ | |` puts its name before those that are indented under it. A box is one place: its `total_timesteps`,
  `iterations` or `epoch`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from dstui.inside.parse_line import NOTHING, Line
    from dstui.inside.parse_position import Position
    from dstui.inside.parse_words import NUMBER, Field, is_name, joined, number
else:
    from parse_line import NOTHING, Line
    from parse_position import Position
    from parse_words import NUMBER, Field, is_name, joined, number

STEP_COLUMNS = {
    "epoch": 0,
    "epochs": 0,
    "ep": 0,
    "e": 0,
    "#": 1,
    "step": 1,
    "steps": 1,
    "iter": 1,
    "iters": 1,
    "it": 1,
    "iteration": 1,
    "round": 1,
    "update": 1,
    "episode": 1,
    "global_step": 1,
}
"""Names of columns that count; the one with the higher number says the step."""

STEP_ROWS = ("total_timesteps", "timesteps", "total_steps", "total_env_steps", "totalenvinteracts", "iterations",
             "iteration", "step", "epoch", "episodes")  # fmt: skip
"""Names in a box that say where it stands, the best first."""

MISSES = 20
"""Lines that are no rows before the columns above are forgotten."""

ROWS = 200
"""Longest box."""

_WORD = re.compile(r"[A-Za-z_#][\w./@%#-]*(?:\([\w%-]*\)?)?")
_COUNTS = re.compile(
    r"[\s|│┃]{0,80}(?:[^\s|│┃:=]{1,40}[\s|│┃]{1,80})?(?:epochs?|ep|e|#|(?:global_)?steps?|iters?|it|iteration|round|update|episode)"
    r"[\s|│┃]",
    re.IGNORECASE,
)
_WIDE = re.compile(r"\s{2,}|\s*[|│┃\t]\s*")
_RULE = re.compile(r"\s*(?:[-=+|─━┏┓┗┛┡┩├┤└┘┌┐┳┻╇┴┬┼╋│ ]{3,})\s*")
_CELL = re.compile(rf"({NUMBER})(?:%|[a-zA-Z]{{1,2}})?")
_PLACE = re.compile(r"(\d{1,18})(?:/\d{1,18})?")
_BOX_ROW = re.compile(r"\s*[|│┃](\s{0,40})([A-Za-z_@][^|│┃]{0,80}?)\s*[|│┃]\s*([^|│┃]{0,40}?)\s*[|│┃]\s*")
_BAR = re.compile(r":?\s+\d{1,3}%\|")


class Tables:
    """Follows the tables of an output, line by line."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._step_column = -1
        self._is_wide = False
        self._misses = 0
        self._box: list[tuple[str, str]] | None = None
        self._section = ""
        self._section_indent = 0

    @property
    def is_open(self) -> bool:
        """Whether a line of bare numbers may be a row."""
        return bool(self._columns) or self._box is not None

    def read(self, text: str) -> Line | None:
        """What a line says as part of a table.

        Args:
            text: without colours and prefix.

        Returns:
            A line with fields at the end of a box and for a row, `NOTHING` for other parts of a table, None when the
            line is no part of one.
        """
        if self._box is not None or (text[:1] in "|│┃" and _BOX_ROW.fullmatch(text) is not None):
            line = self._read_box(text)
            if line is not None:
                return line
        if self._columns:
            line = self._row(text)
            if line is not None:
                return line
        if self._is_header(text):
            return NOTHING
        return None

    def end(self) -> Line | None:
        """What an open box says at the end of the output."""
        return self._close_box() if self._box is not None else None

    def _read_box(self, text: str) -> Line | None:
        row = _BOX_ROW.fullmatch(text)
        if row is None:
            if self._box is None:
                return None
            line = self._close_box()
            return line if _RULE.fullmatch(text) is not None or line.fields else None
        if self._box is None:
            self._box, self._section = [], ""
        indent, name, value = len(row[1]), row[2].strip(), row[3].strip()
        if not value and name.endswith("/"):
            self._section, self._section_indent = name, indent
        else:
            if indent <= self._section_indent:
                self._section = ""
            if len(self._box) < ROWS:
                self._box.append((self._section + name, value))
        return NOTHING

    def _close_box(self) -> Line:
        rows, self._box = self._box or [], None
        position: Position | None = None
        best = len(STEP_ROWS)
        fields: dict[str, Field] = {}
        for printed, value in rows:
            cell = _CELL.fullmatch(value)
            if cell is None:
                continue
            name = joined(printed.split())
            last = name.rpartition("/")[2]
            if last in STEP_ROWS:
                if STEP_ROWS.index(last) < best and value.replace(",", "").isdecimal():
                    best = STEP_ROWS.index(last)
                    step = int(value.replace(",", ""))
                    position = Position(float(step)) if last == "epoch" else Position(None, False, step)
            elif is_name([last]):
                fields.setdefault(name, Field(name, number(cell[1])))
        return Line(position, "", list(fields.values()), only_fields=True)

    def _is_header(self, text: str) -> bool:
        """Whether a line names columns, one of which counts; they are then remembered."""
        if _COUNTS.match(text) is None or len(text) > 400 or ":" in text or "=" in text:
            return False
        bare = text.strip().strip("|│┃").strip()
        for is_wide, cells in ((True, _WIDE.split(bare)), (False, bare.replace("|", " ").split())):
            if not 3 <= len(cells) <= 40:
                continue
            names = [joined(re.sub(r"[()]", " ", cell).split()) or cell for cell in cells]
            if not all(all(_WORD.fullmatch(word) for word in cell.split()) and len(cell) < 40 for cell in cells):
                continue
            counting = [(STEP_COLUMNS[name], -column) for column, name in enumerate(names) if name in STEP_COLUMNS]
            if counting and -max(counting)[1] <= 1:
                self._columns, self._is_wide, self._misses = names, is_wide, 0
                self._step_column = -max(counting)[1]
                self._is_epoch = max(counting)[0] == 0
                return True
        return False

    def _row(self, text: str) -> Line | None:
        """The row of numbers that a line is, if it is one."""
        bar = _BAR.search(text)
        bare = (text if bar is None else text[: bar.start()]).strip()
        if not bare or _RULE.fullmatch(text) is not None:
            return NOTHING
        cells = bare.strip("|│┃").replace("|", " ").split()
        if len(cells) != len(self._columns) or _PLACE.fullmatch(cells[self._step_column]) is None:
            self._misses += 1
            if self._misses > MISSES:
                self._columns = []
            return None
        self._misses = 0
        fields: dict[str, Field] = {}
        for column, (name, cell) in enumerate(zip(self._columns, cells)):
            value = _CELL.fullmatch(cell)
            if column != self._step_column and name not in STEP_COLUMNS and value is not None and is_name([name]):
                fields.setdefault(name, Field(name, number(value[1])))
        place = _PLACE.fullmatch(cells[self._step_column])
        assert place is not None
        step = int(place[1])
        position = Position(float(step)) if self._is_epoch else Position(None, False, step)
        return Line(position, "", list(fields.values()), only_fields=True)
