"""The only writer to stdout: tables, fields, logs and documents, all cleaned, for a person or for a program.

On a terminal a table fits the width: the least important columns are left out, texts are cut with `…`. Anywhere else
it is whole: all columns, nothing cut, no colour, columns aligned by spaces. Colour is left out too with `NO_COLOR` or
`TERM=dumb`, and never says what a word does not. When the reader closes the pipe, the process ends quietly.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dstui.errors import DstuiError, UsageError
from dstui.names import BAD_STATES
from dstui.sdk.text import LogLine, TextStyle, cell_width, clean, cut_text, fit_text
from dstui.units import UNKNOWN, format_number

GAP = "  "
"""Between two columns of a table."""

MAX_FIELD = 65536
"""Characters of one field that are shown in full."""

MIN_WIDTH = 20
"""A terminal narrower than this is written to as if it had this width."""

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
"""Names of styles; colours are the terminal theme's own."""


class Form(Enum):
    """How a table is written."""

    HUMAN = "human"
    """Aligned text."""
    JSON = "json"
    """Not by `write_table`: the command gives `write_json` the documented objects."""
    CSV = "csv"
    """Exact values, a header line."""
    MARKDOWN = "md"
    """A pipe table."""
    LATEX = "latex"
    """A `tabular` with the rules of the booktabs package."""


def chosen_form(*, json: bool = False, csv: bool = False, markdown: bool = False, latex: bool = False) -> Form:
    """The form that the options of a command ask for.

    Raises:
        UsageError: more than one was asked for.
    """
    options = {Form.JSON: json, Form.CSV: csv, Form.MARKDOWN: markdown, Form.LATEX: latex}
    wanted = [form for form, given in options.items() if given]
    if len(wanted) > 1:
        names = " and ".join(f"`--{form.value}`" for form in wanted)
        raise UsageError(f"{names} are two forms of one output", hint="give one of them")
    return wanted[0] if wanted else Form.HUMAN


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: the heading; the key one types in a query, where there is one.
        right: numbers stand at the right edge.
        importance: on a narrow terminal the least important go first, of equal ones the last.
        minimum: cells down to which a text may be cut; None = never cut, for ids and numbers.
        show: the human form of a value that is not None; by default numbers as `format_number`, the rest as it is.
        style: the name in `STYLES` that a value is written in on a colour terminal, or None.
    """

    name: str
    right: bool = False
    importance: int = 0
    minimum: int | None = None
    show: Callable[[Any], str] | None = None
    style: Callable[[Any], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; a row has one value per column: text, number, bool, a list of them, or None = unknown."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]


class Styled(NamedTuple):
    """A part of a line in a style of `STYLES`."""

    text: object
    style: str


class Terminal(NamedTuple):
    """Where stdout goes. `width` in cells is None when it is no terminal, and then nothing is cut."""

    width: int | None
    colour: bool


def terminal() -> Terminal:
    """What stdout is right now; `COLUMNS` overrides the width of a terminal."""
    if sys.stdout is None or not sys.stdout.isatty():
        return Terminal(None, False)
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
    return Terminal(width, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def state_style(state: object) -> str | None:
    """The style of a run's state: bad ends red, what goes on cyan, what was stopped yellow, the rest plain."""
    word = str(state)
    if word in BAD_STATES:
        return "red"
    return {"running": "cyan", "stopped": "yellow", "preempted": "yellow"}.get(word)


def write_table(table: Table, form: Form = Form.HUMAN) -> list[str]:
    """Write a table; a human one without rows writes nothing, the others write their heading.

    Returns:
        Names of the columns that did not fit the terminal.
    """
    out = terminal()
    if form is Form.HUMAN:
        text, left_out = render_table(table, out)
        _emit(text)
        return left_out
    _emit({Form.CSV: render_csv, Form.MARKDOWN: render_markdown, Form.LATEX: render_latex}[form](table))
    return []


def write_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Write labels and values in two columns; values wrap at the terminal's width and keep their newlines."""
    _emit(render_fields(fields, terminal()))


def write_line(*parts: object) -> None:
    """Write one line of parts put together, each a value or `Styled`; without parts an empty line."""
    colour = terminal().colour
    _emit("".join(_styled_part(part, colour) for part in parts) + "\n")


def write_text(text: object) -> None:
    """Write a text of any length and any number of lines, cleaned."""
    _emit(_ending(clean(text, multiline=True, limit=sys.maxsize // 4)))


def write_diff(text: object) -> None:
    """Write a unified diff, cleaned, with added and removed lines coloured."""
    colour = terminal().colour
    lines = clean(text, multiline=True, limit=sys.maxsize // 4).split("\n")
    _emit(_ending("\n".join(_in_style(line, _diff_style(line), colour) for line in lines)))


def write_log_lines(lines: Iterable[LogLine]) -> None:
    """Write lines of a log; a line that was overwritten ends in `↻n`, since only its last state of n is shown."""
    colour = terminal().colour
    _emit("".join(f"{render_log_line(line, colour)}\n" for line in lines))


def write_json(value: object) -> None:
    """Write one JSON document in ASCII: indented on a terminal, compact elsewhere; non-finite numbers as strings."""
    _emit(render_json(value, indent=2 if terminal().width else None) + "\n")


def write_json_line(value: object) -> None:
    """Write one JSON document as one line of ASCII, for streams of them."""
    _emit(render_json(value) + "\n")


def write_frame(parts: Iterable[Table | Iterable[tuple[str, object]]], above: int) -> int:
    """Write tables and fields one below the other, on a terminal over what the call before has written.

    Args:
        parts: each a table, or labels and values.
        above: what the call before returned, 0 for the first.

    Returns:
        How many lines now stand there.
    """
    out = terminal()
    texts = [render_table(part, out)[0] if isinstance(part, Table) else render_fields(part, out) for part in parts]
    lines = "".join(texts).splitlines(keepends=True)
    if out.width is None or os.environ.get("TERM") == "dumb":
        _emit("".join(lines) if above == 0 else "".join(["\n", *lines]))
    else:
        # What has scrolled out of the screen cannot be written over.
        lines = lines[: max(1, shutil.get_terminal_size().lines - 1)]
        _emit("".join([f"\x1b[{above}F\x1b[J" if above else "", *lines]))
    return len(lines)


def write_bytes(data: bytes) -> None:
    """Write exact bytes, never to a terminal.

    Raises:
        UsageError: stdout is a terminal, which would obey what stands in them.
    """
    if sys.stdout.isatty():
        raise UsageError("Raw bytes are not written to a terminal", hint="send them to a file: `> FILE`")
    _guarded(lambda: (sys.stdout.flush(), sys.stdout.buffer.write(data), sys.stdout.buffer.flush()))


def render_table(table: Table, out: Terminal) -> tuple[str, list[str]]:
    """The human form of a table, and the names of the columns that did not fit."""
    if not table.rows:
        return "", []
    cells = [_all_shown(column, [row[index] for row in table.rows]) for index, column in enumerate(table.columns)]
    sizes = [[len(cell) if cell.isascii() else cell_width(cell) for cell in column] for column in cells]
    headings = [clean(column.name) for column in table.columns]
    natural = [max(cell_width(heading), *size) for heading, size in zip(headings, sizes, strict=True)]
    widths = fit_columns(table.columns, natural, out.width)
    last = next(reversed(widths))
    parts: list[list[str]] = []
    for index, width in widths.items():
        column = table.columns[index]
        column_cells, column_sizes = [headings[index], *cells[index]], [cell_width(headings[index]), *sizes[index]]
        if natural[index] > width:
            column_cells = [cut_text(clean(cell), width) for cell in column_cells]
            column_sizes = list(map(cell_width, column_cells))
        # No spaces at the end of a line: they would be copied along.
        pads = [" " * (width - size) if column.right or index != last else "" for size in column_sizes]
        if out.colour:
            styles = ["bold", *(column.style(row[index]) if column.style else None for row in table.rows)]
            column_cells = [_in_style(cell, style, True) for cell, style in zip(column_cells, styles, strict=True)]
        pairs = zip(pads, column_cells, strict=True)
        parts.append([pad + cell for pad, cell in pairs] if column.right else [cell + pad for pad, cell in pairs])
    lines = [GAP.join(line).rstrip(" ") for line in zip(*parts, strict=True)]
    left_out = [column.name for index, column in enumerate(table.columns) if index not in widths]
    return "\n".join(lines) + "\n", left_out


def fit_columns(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> dict[int, int]:
    """How many cells each column gets.

    Args:
        columns: left to right.
        natural: cells that the widest cell of each takes.
        width: cells of the terminal, None = no limit.

    Returns:
        Width by index of the columns that are shown, in order; with the gaps never more than `width`.
    """
    if width is None:
        return dict(enumerate(natural))
    least = [
        size if column.minimum is None else min(size, max(column.minimum, 1))
        for column, size in zip(columns, natural, strict=True)
    ]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(least[index] for index in shown) + len(GAP) * (len(shown) - 1) > width:
        shown.remove(min(reversed(shown), key=lambda index: columns[index].importance))
    if len(shown) == 1:
        return {shown[0]: min(natural[shown[0]], width)}
    widths = {index: least[index] for index in shown}
    room = width - sum(widths.values()) - len(GAP) * (len(shown) - 1)
    # The rest goes to the narrowest first, so that no column is cut while another has more than it.
    while room > 0 and (growing := [index for index in shown if widths[index] < natural[index]]):
        widths[min(growing, key=widths.__getitem__)] += 1
        room -= 1
    return widths


def render_fields(fields: Iterable[tuple[str, object]], out: Terminal) -> str:
    """The text of `write_fields`."""
    pairs = [(clean(label), clean(_plain(value), multiline=True, limit=MAX_FIELD)) for label, value in fields]
    indent = max((cell_width(label) for label, _ in pairs), default=0) + len(GAP)
    if out.width is not None:
        indent = min(indent, out.width // 2)
    lines: list[str] = []
    for label, value in pairs:
        head = _in_style(fit_text(cut_text(label, indent - 1), indent), "dim", out.colour)
        for part in value.split("\n"):
            for line in wrap_cells(part, out.width - indent) if out.width else [part]:
                lines.append(f"{head}{line}".rstrip(" ") + "\n")
                head = " " * indent
    return "".join(lines)


def wrap_cells(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells, broken at spaces where there are any; at least one line."""
    width = max(width, 2)
    lines: list[str] = []
    rest = text
    while cell_width(rest) > width:
        cut = _fitting(rest, width)
        space = rest.rfind(" ", 0, cut + 1)
        if space > 0 and rest[:space].strip():
            lines.append(rest[:space])
            rest = rest[space + 1 :]
        else:
            lines.append(rest[:cut])
            rest = rest[cut:]
    return [*lines, rest]


def render_log_line(line: LogLine, colour: bool) -> str:
    """One line of a log for a terminal or a program, without its newline."""
    again = _in_style(clean(f" ↻{line.states}"), "dim", colour) if line.states > 1 else ""
    if not colour:
        return line.text + again
    parts: list[str] = []
    start = 0
    for span in line.spans:
        parts += [line.text[start : span.start], _coloured(line.text[span.start : span.end], span.style)]
        start = span.end
    return "".join([*parts, line.text[start:], again])


def render_json(value: object, *, indent: int | None = None) -> str:
    """One JSON document in ASCII, no control byte in it."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent, default=_jsonable)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, indent=indent, default=_jsonable)


def render_csv(table: Table) -> str:
    """The CSV form: exact numbers, empty cells for unknown, texts that a spreadsheet would run quoted by `'`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_csv_text(column.name) for column in table.columns])
    writer.writerows([[_csv_cell(value) for value in row] for row in table.rows])
    return buffer.getvalue()


def render_markdown(table: Table) -> str:
    """The Markdown form, every special character escaped."""
    cells = [[_markdown_text(clean(column.name)) for column in table.columns]]
    cells += [
        [_markdown_text(_shown(column, value)) for column, value in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]
    widths = [max(3, *map(cell_width, column)) for column in zip(*cells, strict=True)]
    rule = [
        "-" * (width - 1) + (":" if column.right else "-") for column, width in zip(table.columns, widths, strict=True)
    ]
    lines = [cells[0], rule, *cells[1:]]
    return "".join(
        "| "
        + " | ".join(
            _padded(cell, width, column.right) for cell, width, column in zip(line, widths, table.columns, strict=True)
        )
        + " |\n"
        for line in lines
    )


def render_latex(table: Table) -> str:
    """The LaTeX form, every special character escaped, exponents as powers of ten."""
    rows = [
        [_latex_cell(column, value) for column, value in zip(table.columns, row, strict=True)] for row in table.rows
    ]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in table.columns)}}}",
        "\\toprule",
        " & ".join(_latex_text(clean(column.name)) for column in table.columns) + " \\\\",
        "\\midrule",
        *(" & ".join(row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


_CSV_FORMULA = tuple("=+-@＝＋－＠")
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e([+-]?\d+))?", re.ASCII | re.IGNORECASE)
_MARKDOWN_SPECIAL = re.compile(r"[\\`*_{}\[\]()#+!|~$@:-]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LATEX = {
    "\\": "\\textbackslash{}",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    '"': "\\textquotedbl{}",
    "'": "{'}",
    "-": "{-}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "…": "\\ldots{}",
    "±": "$\\pm$",
    "→": "$\\rightarrow$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "↻": "$\\circlearrowright$",
    "�": "?",
    **{character: f"\\{character}" for character in "{}$&#_%"},
    **{chr(code): "?" for code in range(0x2400, 0x2422)},
}


def _shown(column: Column, value: object) -> str:
    """The human form of one cell, cleaned."""
    return _all_shown(column, [value])[0]


def _all_shown(column: Column, values: Sequence[object]) -> list[str]:
    """The human form of a column's cells, cleaned; numbers need no cleaning."""
    show = column.show
    if show is not None:
        return [UNKNOWN if value is None else clean(show(value)) for value in values]
    return [
        UNKNOWN
        if value is None
        else clean(value)
        if isinstance(value, str)
        else format_number(value)
        if isinstance(value, int | float)
        else clean(_plain(value))
        for value in values
    ]


def _plain(value: object) -> object:
    """The human form of a value that has no formatter of its own."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int | float):
        return format_number(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(_plain(item)) for item in value)
    return value


def _fitting(text: str, width: int) -> int:
    """How many characters fit into the width, at least one."""
    used = 0
    for index, character in enumerate(text):
        used += cell_width(character)
        if used > width:
            return max(index, 1)
    return len(text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def _in_style(text: str, style: str | None, colour: bool) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colour and style and text else text


def _styled_part(part: object, colour: bool) -> str:
    if isinstance(part, Styled):
        return _in_style(clean(_plain(part.text)), part.style, colour)
    return clean(_plain(part))


def _diff_style(line: str) -> str | None:
    if line.startswith(("+++ ", "--- ", "diff ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])


def _coloured(text: str, style: TextStyle) -> str:
    """A piece of a log line in its own colours, which were parsed, so nothing but colours comes out."""
    codes = [
        code
        for code, on in (
            ("1", style.bold),
            ("2", style.dim),
            ("3", style.italic),
            ("4", style.underline),
            ("7", style.reverse),
            ("9", style.strike),
        )
        if on
    ]
    for head, colour in (("38", style.foreground), ("48", style.background)):
        if isinstance(colour, int):
            codes.append(f"{head};5;{colour}")
        elif colour is not None:
            codes.append(f"{head};2;{';'.join(map(str, colour))}")
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _csv_text(_plain(value))


def _csv_text(value: object) -> str:
    text = clean(value)
    if text.lstrip().startswith(_CSV_FORMULA) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _markdown_text(text: str) -> str:
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\g<0>", text)
    return re.sub(r"[&<>]", lambda match: _HTML[match.group()], escaped)


def _latex_cell(column: Column, value: object) -> str:
    text = _shown(column, value)
    number = _PLAIN_NUMBER.fullmatch(text)
    if number is None:
        return _latex_text(text)
    if number.group(1):
        mantissa = text[: number.start(1) - 1]
        return f"${mantissa} \\times 10^{{{int(number.group(1))}}}$"
    return f"${text}$" if text.startswith(("-", "+")) else text


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _jsonable(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _finite(value: object) -> object:
    """The value with non-finite numbers as strings, as `docs/json.md` says."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _ending(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _emit(text: str) -> None:
    _guarded(lambda: _write_encoded(text))


def _write_encoded(text: str) -> None:
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        simple = text.translate({ord("…"): "~", ord("–"): "-", ord("→"): ">", ord("↻"): "x"})
        sys.stdout.write(simple.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _guarded(write: Callable[[], object]) -> None:
    """Write; a reader that is gone ends the process quietly, anything else that fails is said.

    Raises:
        DstuiError: stdout takes no more, for example because its disk is full.
    """
    if sys.stdout is None:
        raise DstuiError("The output could not be written: stdout is closed")
    try:
        write()
    except BrokenPipeError:
        _reader_is_gone()
    except OSError as error:
        raise DstuiError(f"The output could not be written: {error.strerror}") from error


def _reader_is_gone() -> NoReturn:
    try:
        # Python flushes once more at its end and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass
    raise SystemExit(0)
