"""What the command line writes: tables fit, hostile text is harmless in every form, programs get exact values."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui import units
from dstui.cli import output
from dstui.cli.output import Column, Form, Styled, Table, Terminal
from dstui.errors import DstuiError, UsageError
from dstui.sdk.text import cell_width, clean, parse_line

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\u202eevil\u200b\x9b31m\ud800\t\n\x7f"
"""One text with most of what a terminal obeys."""

SGR = re.compile(r"\x1b\[[0-9;]*m")
PIPE = Terminal(None, False)
RUNS = Table(
    [
        Column("run", importance=9),
        Column("state", importance=8, style=output.state_style),
        Column("name", importance=7, minimum=8),
        Column("val_acc", right=True, importance=5),
        Column("duration", right=True, importance=3, show=units.format_duration),
        Column("tags", importance=2, minimum=6),
    ],
    [
        ("#142", "finished", "resnet-lr", 0.9321, 7890, ["paper", "v2"]),
        ("#9", "failed", "a-very-long-name-of-a-run-that-nobody-needs", None, 5, []),
        ("bob#7", "running", "日本語の名前", math.nan, None, ["x"]),
    ],
)


def visible(text: str) -> str:
    return SGR.sub("", text)


def is_harmless(text: str) -> bool:
    """Whether nothing but visible characters, newlines and colours would reach a terminal."""
    return clean(visible(text), multiline=True, limit=1 << 30) == visible(text)


def rendered(width: int | None, *, colour: bool = False, table: Table = RUNS) -> str:
    return output.render_table(table, Terminal(width, colour))[0]


# Human tables


def test_a_table_is_aligned_and_quiet() -> None:
    assert rendered(120) == (
        "run    state     name                                         val_acc  duration  tags\n"
        "#142   finished  resnet-lr                                     0.9321     2h11m  paper, v2\n"
        "#9     failed    a-very-long-name-of-a-run-that-nobody-needs        –        5s\n"
        "bob#7  running   日本語の名前                                     nan         –  x\n"
    )


def test_a_narrow_terminal_cuts_texts_then_leaves_columns_out() -> None:
    assert rendered(60) == (
        "run    state     name           val_acc  duration  tags\n"
        "#142   finished  resnet-lr       0.9321     2h11m  paper, v2\n"
        "#9     failed    a-very-long-…        –        5s\n"
        "bob#7  running   日本語の名前       nan         –  x\n"
    )
    text, left_out = output.render_table(RUNS, Terminal(40, False))
    assert left_out == ["duration", "tags"]
    assert text.splitlines()[2] == "#9     failed    a-very-long-n…        –"


cells = st.one_of(
    st.text(max_size=30),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text(max_size=5), max_size=3),
)
columns = st.builds(
    Column,
    name=st.text(max_size=12),
    right=st.booleans(),
    importance=st.integers(0, 5),
    minimum=st.sampled_from([None, 1, 4, 12]),
    style=st.sampled_from([None, output.state_style, lambda _value: "bold"]),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    heads = draw(st.lists(columns, min_size=1, max_size=8))
    return Table(heads, draw(st.lists(st.tuples(*[cells] * len(heads)), min_size=1, max_size=5)))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(tables(), st.integers(20, 300), st.booleans())
def test_no_line_of_a_table_is_wider_than_the_terminal(table: Table, width: int, colour: bool) -> None:
    text, left_out = output.render_table(table, Terminal(width, colour))
    lines = text.splitlines()
    assert len(lines) == 1 + len(table.rows)
    assert max(cell_width(visible(line)) for line in lines) <= width
    assert is_harmless(text)
    assert len(left_out) < len(table.columns)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(tables())
def test_a_table_that_is_piped_is_whole(table: Table) -> None:
    text, left_out = output.render_table(table, PIPE)
    assert left_out == []
    assert is_harmless(text)
    assert "\t" not in text
    for row, line in zip(table.rows, text.splitlines()[1:], strict=True):
        for value in row:
            if isinstance(value, str):
                assert clean(value).rstrip() in line


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(columns, st.integers(0, 400)), min_size=1, max_size=10), st.integers(20, 300))
def test_the_important_columns_stay(heads: list[tuple[Column, int]], width: int) -> None:
    names, natural = [column for column, _ in heads], [size for _, size in heads]
    widths = output.fit_columns(names, natural, width)
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= width
    assert list(widths) == sorted(widths)
    gone = [names[index].importance for index in range(len(names)) if index not in widths]
    kept = [names[index].importance for index in widths]
    assert max(gone, default=-1) <= min(kept)
    for index, size in widths.items():
        assert size <= natural[index]
        if len(widths) > 1 and names[index].minimum is None:
            assert size == natural[index]
    # Room is not left over while something is cut.
    if any(widths[index] < natural[index] for index in widths):
        assert sum(widths.values()) + 2 * (len(widths) - 1) == width


def test_colour_adds_nothing_but_colour() -> None:
    text = rendered(80, colour=True)
    assert visible(text) == rendered(80)
    assert "\x1b[1mrun\x1b[0m" in text
    assert "\x1b[31mfailed\x1b[0m" in text
    assert "\x1b[36mrunning\x1b[0m" in text
    assert "mfinished" not in text


def test_a_table_without_rows_says_nothing_to_a_person_and_its_heading_to_a_program() -> None:
    empty = Table(RUNS.columns, [])
    assert rendered(80, table=empty) == ""
    assert output.render_csv(empty) == "run,state,name,val_acc,duration,tags\n"


# The other forms


def test_csv_holds_exact_values() -> None:
    rows = list(csv.reader(io.StringIO(output.render_csv(RUNS))))
    assert rows[1] == ["#142", "finished", "resnet-lr", "0.9321", "7890", "paper, v2"]
    assert rows[2][3] == ""
    assert rows[3][3] == "nan"
    table = Table([Column("x"), Column("y")], [(0.1 + 0.2, True), (-1e-300, 10**30)])
    assert output.render_csv(table) == f"x,y\n0.30000000000000004,true\n-1e-300,{10**30}\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'        =1"),
        ("\r=1", "␍=1"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("-1.5e-3", "-1.5e-3"),
        ("a=1", "a=1"),
        ('a"b,c\nd', 'a"b,c␊d'),
    ],
)
def test_a_spreadsheet_runs_no_cell(text: str, cell: str) -> None:
    written = output.render_csv(Table([Column(text)], [(text,)]))
    assert list(csv.reader(io.StringIO(written))) == [[cell], [cell]]


def test_markdown_is_a_table_with_nothing_special_in_its_cells() -> None:
    table = Table([Column("val_acc", right=True), Column("note")], [(0.5, "a|b <b>*x*</b> [l](u) `c` $x$ #1 @bob")])
    head, rule, row = output.render_markdown(table).splitlines()
    assert head.startswith("| val\\_acc | note")
    assert re.fullmatch(r"\| -+: \| -+ \|", rule)
    assert row.split(" | ", 1)[1].rstrip(" |") == (
        "a\\|b &lt;b&gt;\\*x\\*&lt;/b&gt; \\[l\\]\\(u\\) \\`c\\` \\$x\\$ \\#1 \\@bob"
    )
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert len({cell_width(line) for line in (head, rule, row)}) == 1


def test_latex_escapes_its_specials_and_sets_numbers_as_numbers() -> None:
    table = Table(
        [Column("a_b"), Column("loss", right=True)],
        [("50% & $x^2$ \\end{tabular} #1 ~", 3e-4), ("[x] *", -0.5), (None, 1)],
    )
    lines = output.render_latex(table).splitlines()
    assert lines[1] == "\\begin{tabular}{lr}"
    assert lines[3] == "a\\_b & loss \\\\"
    assert lines[5] == (
        "50\\% \\& \\$x\\textasciicircum{}2\\$ \\textbackslash{}end\\{tabular\\} \\#1 \\textasciitilde{}"
        " & $3 \\times 10^{-4}$ \\\\"
    )
    assert lines[6] == "{[}x{]} {*} & $-0.5$ \\\\"
    assert lines[7] == "-- & 1 \\\\"
    assert lines[-1] == "\\end{tabular}"


@pytest.mark.parametrize("render", [output.render_csv, output.render_markdown, output.render_latex, rendered])
def test_hostile_text_is_harmless_in_every_form(render: Any) -> None:
    table = Table([Column(HOSTILE, show=lambda value: value)], [(HOSTILE,), ([HOSTILE],)])
    text = rendered(80, table=table) if render is rendered else render(table)
    assert is_harmless(text)
    assert len(text.splitlines()) == len((render(RUNS) if render is not rendered else rendered(80)).splitlines()) - 1


def test_json_is_ascii_and_exact() -> None:
    value = {"a": HOSTILE, "b": [math.nan, -math.inf, 0.1 + 0.2, None, True], "c": MappingProxyType({"p": Path("/x")})}
    text = output.render_json(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {
        "a": HOSTILE,
        "b": ["NaN", "-Infinity", 0.30000000000000004, None, True],
        "c": {"p": "/x"},
    }
    with pytest.raises(TypeError, match="object is no JSON value"):
        output.render_json(object())


def test_one_form_can_be_chosen() -> None:
    assert output.chosen_form() is Form.HUMAN
    assert output.chosen_form(latex=True) is Form.LATEX
    with pytest.raises(UsageError, match="`--json` and `--md`"):
        output.chosen_form(json=True, markdown=True)


# Fields, lines, logs, diffs


def test_fields_are_aligned_wrap_and_keep_their_lines() -> None:
    text = output.render_fields(
        [("run", "#142"), ("notes", "one two three four five\nsix"), ("gpu", None)], Terminal(20, False)
    )
    assert text == "run    #142\nnotes  one two three\n       four five\n       six\ngpu    –\n"
    assert output.render_fields([("command", "x" * 200)], PIPE) == f"command  {'x' * 200}\n"


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(2, 40))
def test_wrapped_text_fits_and_loses_nothing_but_spaces(text: str, width: int) -> None:
    safe = clean(text)
    lines = output.wrap_cells(safe, width)
    assert all(cell_width(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == safe.replace(" ", "")


def test_a_log_line_shows_its_colours_only_on_a_colour_terminal() -> None:
    line = parse_line(b"a\rstep \x1b[1;31;48;2;1;2;3mloss\x1b[0m\x1b[2J 0.3")
    assert output.render_log_line(line, False) == "step loss 0.3 ↻2"
    assert output.render_log_line(line, True) == "step \x1b[1;38;5;1;48;2;1;2;3mloss\x1b[0m 0.3\x1b[2m ↻2\x1b[0m"


def test_lines_are_made_of_cleaned_parts(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_line("a", Styled(HOSTILE, "red"), 0.5)
    output.write_line()
    output.write_text("x\ny\x1b[2J")
    output.write_text("")
    output.write_diff("+a\n-b\x1b[2J\n")
    output.write_fields([("k", HOSTILE)])
    output.write_log_lines([parse_line(b"l\x1b[2J")])
    written = capsys.readouterr().out
    assert is_harmless(written)
    assert "x\ny␛[2J\n+a\n-b␛[2J\nk  " in written


def test_tables_and_documents_are_written_whole_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.write_table(RUNS) == []
    assert capsys.readouterr().out == output.render_table(RUNS, PIPE)[0]
    output.write_table(RUNS, Form.CSV)
    output.write_json({"a": [1]})
    output.write_json_line({"a": 1})
    assert capsys.readouterr().out == output.render_csv(RUNS) + '{"a": [1]}\n{"a": 1}\n'


# Real outputs


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"from dstui.cli import output\nfrom dstui.cli.output import *\n{code}"]


def on_a_terminal(code: str, width: int, environment: dict[str, str]) -> str:
    """What the code writes to a real terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with subprocess.Popen(
        python(code), stdin=follower, stdout=follower, stderr=follower, env={**os.environ, **environment}
    ) as process:
        os.close(follower)
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
    os.close(leader)
    assert process.returncode == 0, b"".join(parts)
    return b"".join(parts).decode().replace("\r\n", "\n")


TABLE_CODE = "write_table(Table([Column('run'), Column('name', minimum=4)], [('#1', 'x' * 200)]))"


@pytest.mark.slow
def test_a_real_terminal_is_fitted_and_coloured_unless_told_otherwise() -> None:
    text = on_a_terminal(TABLE_CODE, 50, {})
    assert text == f"\x1b[1mrun\x1b[0m  \x1b[1mname\x1b[0m\n#1   {'x' * 44}…\n"
    plain = f"run  name\n#1   {'x' * 44}…\n"
    assert on_a_terminal(TABLE_CODE, 50, {"NO_COLOR": "1"}) == plain
    assert on_a_terminal(TABLE_CODE, 50, {"TERM": "dumb"}) == plain
    assert on_a_terminal(TABLE_CODE, 50, {"NO_COLOR": "1", "COLUMNS": "300"}) == f"run  name\n#1   {'x' * 200}\n"
    assert "\n  " in on_a_terminal("write_json({'a': 1})", 50, {})


@pytest.mark.slow
def test_raw_bytes_never_reach_a_terminal() -> None:
    code = "try: write_bytes(b'\\x1b[2J')\nexcept Exception as error: print(error)"
    assert on_a_terminal(code, 80, {}) == "Raw bytes are not written to a terminal\n"
    done = subprocess.run(python("write_bytes(b'\\x1b[2J\\xff')"), capture_output=True, check=True)
    assert done.stdout == b"\x1b[2J\xff"


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    code = "while True: write_line('x' * 1000)"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


@pytest.mark.slow
def test_an_output_that_takes_no_more_is_an_error_with_its_reason() -> None:
    code = "import sys\ntry: write_line('x')\nexcept DstuiError as error: print(error, file=sys.stderr)"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(python(code), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.startswith("The output could not be written: No space left on device")


@pytest.mark.slow
def test_an_ascii_output_gets_stand_ins() -> None:
    done = subprocess.run(
        python("write_line('a–b… ü')"), env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert done.stdout == b"a-b~ ?\n"


def test_a_closed_output_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(DstuiError, match="stdout is closed"):
        output.write_line("x")
