"""Output, diffs and plain lines: what each shows of its snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.color import Color

from dstui.sdk.text import LogLine, parse_line
from dstui.sdk.views.data import CodeSnapshot, Fact, FileDiff, LogSnapshot
from dstui.tui.views.diff import SIDE_BY_SIDE, DiffModel
from dstui.tui.views.lines import PartsModel, fact_lines
from dstui.tui.views.log import LogModel
from dstui_store import clean

if TYPE_CHECKING:
    from dstui.tui.theme import Look


def log(
    *lines: bytes, first: int = 0, count: int | None = None, searched: str = "", hits: tuple[int, ...] = ()
) -> LogSnapshot:
    parsed = tuple(parse_line(line, keep_states=True) for line in lines)
    total = len(lines) if count is None else count
    return LogSnapshot("run", 1, total, first, parsed, searched, hits, False, clean(""))


def shown(model: LogModel | DiffModel | PartsModel, width: int = 40) -> list[str]:
    return [
        model.strip(number, width, cursor=False, focused=False).text.rstrip() for number in range(model.height(width))
    ]


def test_output_is_shown_as_it_stood_at_last_with_how_often_it_restarted(look: Look) -> None:
    assert shown(LogModel(log(b"plain", b"1%\r2%\r3%"), look)) == [" plain", " 3% ↻3"]


def test_colours_of_output_are_kept_and_the_rest_of_its_sequences_are_not(look: Look) -> None:
    strip = LogModel(log(b"\x1b[31mred\x1b[0m \x1b]0;title\x07text"), look).strip(0, 40, cursor=False, focused=False)
    assert strip.text.rstrip() == " red text"
    red = next(segment for segment in strip if "red" in segment.text)
    assert red.style is not None
    assert red.style.color == Color.from_ansi(1)


def test_lines_outside_the_window_that_was_read_are_dots(look: Look) -> None:
    assert shown(LogModel(log(b"third", first=2, count=4), look)) == [" …", " …", " third", " …"]


def test_what_a_search_found_stands_out_also_across_colours(look: Look) -> None:
    strip = LogModel(log(b"a lo\x1b[31mss b", searched="LOSS", hits=(0,)), look).strip(
        0, 40, cursor=False, focused=False
    )
    found = "".join(segment.text for segment in strip if segment.style and segment.style.bgcolor == look.found.bgcolor)
    assert found == "loss"


def test_long_lines_can_be_moved_sideways(look: Look) -> None:
    assert shown(LogModel(log(b"0123456789"), look, shift=4)) == [" 456789"]


DIFF = CodeSnapshot(
    "run",
    clean("#1 abcde"),
    (
        FileDiff(
            clean("train.py"),
            1,
            1,
            (("@", clean("@@ -1 +1 @@")), (" ", clean("kept")), ("-", clean("old")), ("+", clean("new"))),
            clean(""),
        ),
        FileDiff(clean("data.bin"), None, None, (), clean("not text")),
    ),
    clean(""),
)


def test_a_narrow_diff_is_unified(look: Look) -> None:
    assert shown(DiffModel(DIFF, look)) == [
        " train.py  +1 -1",
        "   @@ -1 +1 @@",
        "   kept",
        " - old",
        " + new",
        "",
        " data.bin  not text",
    ]


def test_a_wide_diff_puts_old_and_new_beside_each_other(look: Look) -> None:
    rows = shown(DiffModel(DIFF, look), SIDE_BY_SIDE)
    changed = next(row for row in rows if "old" in row)
    assert changed.startswith(" - old")
    assert changed.endswith(" + new")
    assert changed.index("│") == (SIDE_BY_SIDE - 1) // 2


def test_files_of_a_diff_can_be_jumped_to(look: Look) -> None:
    assert DiffModel(DIFF, look).files(40) == [0, 6]


def test_long_facts_are_wrapped_under_themselves(look: Look) -> None:
    lines = fact_lines([Fact(clean("command"), clean("train.py --lr 0.1 --depth 18"), "warn")], 30, look)
    assert shown(PartsModel(lines, look)) == [" command     train.py --lr", "             0.1 --depth 18"]


@pytest.mark.parametrize("kind", ["log", "diff"])
def test_a_key_is_equal_for_equal_lines_only(look: Look, kind: str) -> None:
    model: LogModel | DiffModel = LogModel(log(b"one", b"two"), look) if kind == "log" else DiffModel(DIFF, look)
    keys = [model.key(number, cursor=False, focused=False) for number in range(model.height(40))]
    assert len(set(keys)) == len(keys)
    assert keys == [model.key(number, cursor=False, focused=False) for number in range(model.height(40))]


def test_a_line_of_output_knows_what_it_showed_before() -> None:
    found = log(b"FAILED\rpassed").lines[0]
    assert isinstance(found, LogLine)
    assert [*found.earlier, found.text] == ["FAILED", "passed"]
