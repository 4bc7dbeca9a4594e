"""Charts against golden text, and the rules of their axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.color import Color

from dstui.tui.views.plot import PlotOptions, Series, draw, smooth
from dstui_store import Envelope

if TYPE_CHECKING:
    from dstui.tui.theme import Look


def series(y: list[float], label: str = "loss", colour: int = 0, *, positive: bool = False) -> Series:
    x = np.arange(len(y), dtype=float)
    return Series(label, Envelope.of(x, np.array(y, float), 64, positive=positive), colour)


def text(drawn: list[Series], look: Look, width: int = 40, height: int = 6, **options: object) -> list[str]:
    return [strip.text.rstrip() for strip in draw(drawn, width, height, look, PlotOptions(**options))]  # type: ignore[arg-type]


def test_a_falling_curve(look: Look) -> None:
    assert text([series([10, 6, 4, 3, 2.5, 2.2, 2])], look) == [
        "10 ⠉⠢⡀",
        "     ⠈⠢⡀",
        "       ⠈⠑⠤⢄⡀",
        " 5         ⠈⠉⠒⠢⠤⣀⣀⡀",
        "                  ⠈⠉⠉⠒⠒⠒⠒⠢⠤⠤⠤⠤⠤⠤⠤⣀⣀⣀⣀⣀⣀",
        "   0           2          4           6",
    ]


def test_two_lines_that_cross_without_braille(plain_look: Look) -> None:
    assert text([series([1, 2, 3], "train"), series([3, 2, 1], "val", 1)], plain_look, width=30, height=5) == [
        "3 ooooooo             ******t",
        "        ooooooo*******",
        "        *******ooooooo",
        "1 *******             oooooov",
        "  0           1            2",
    ]


def test_every_strip_is_as_wide_as_the_chart(look: Look, plain_look: Look) -> None:
    for chosen in (look, plain_look):
        for width in (16, 17, 40, 119):
            strips = draw([series([1, 2, 3]), series([3, 1, 2], "b", 1)], width, 7, chosen, PlotOptions())
            assert [strip.cell_length for strip in strips] == [width] * 7


def test_a_value_that_is_not_finite_leaves_a_gap_and_a_cross_under_it(look: Look) -> None:
    y = [1.0 + step / 40 for step in range(40)]
    y[20] = math.nan
    rows = text([series(y)], look)
    crosses = [column for column, character in enumerate(rows[-1]) if character == "✗"]
    assert len(crosses) in (1, 2)
    assert any(all(row[column : column + 1] in ("", " ") for row in rows[:-1]) for column in crosses)
    whole = text([series([1.0 + step / 40 for step in range(40)])], look)
    assert "✗" not in "".join(whole)


def test_one_wild_first_step_does_not_flatten_the_rest(look: Look) -> None:
    y = [900.0] + [1.0 + math.sin(step / 9) for step in range(200)]
    rows = text([series(y)], look)
    assert "▴" in rows[0]
    used = [row for row in rows[:-1] if any("\u2801" <= character <= "\u28ff" for character in row)]
    assert len(used) >= 4
    assert "▴" not in "".join(text([series(y)], look, full=True))


def test_equal_values_are_drawn_in_a_range_around_them(look: Look) -> None:
    rows = text([series([5.0] * 10)], look)
    assert any("\u2801" <= character <= "\u28ff" for character in "".join(rows))
    assert "5" in "".join(rows)


def test_a_logarithmic_axis_counts_powers_of_ten(look: Look) -> None:
    y = [10.0 ** (-step / 10) for step in range(40)]
    rows = text([series(y, positive=True)], look, height=12, log=True)
    labels = [row.split()[0] for row in rows[:-1] if row.split() and row.split()[0][0].isdigit()]
    assert labels == ["1", "0.1", "0.01", "0.001"]


def test_lines_end_with_the_first_letter_of_their_name(look: Look) -> None:
    rows = text([series([1, 2, 3], "train"), series([3, 2, 1], "val", 1)], look)
    assert sorted(row[-1] for row in rows[:-1] if row[-1:] in ("t", "v")) == ["t", "v"]


def test_names_with_one_first_letter_get_running_letters(look: Look) -> None:
    rows = text([series([1, 2, 3], "seed 1"), series([3, 2, 1], "seed 2", 1)], look)
    assert {row[-1] for row in rows[:-1] if row[-1:] in ("A", "B")} == {"A", "B"}


def test_a_line_lies_over_every_band(look: Look) -> None:
    generator = np.random.default_rng(0)
    noisy = [float(value) for value in generator.normal(0, 1, 4000)]
    strips = draw([series(noisy), series([0.0] * 4000, "flat", 1)], 60, 12, look, PlotOptions())
    flat = Color.parse(look.theme.series[1])
    cells = [
        sum(segment.cell_length for segment in strip if segment.style and segment.style.color == flat)
        for strip in strips
    ]
    assert max(cells) >= 50


def test_the_cursor_marks_its_column(look: Look) -> None:
    strips = draw([series([1, 2, 3, 4])], 40, 6, look, PlotOptions(cursor=1.5))
    marked = [
        segment for segment in strips[0] if segment.style and segment.style.bgcolor == Color.parse(look.theme.cursor)
    ]
    assert [segment.cell_length for segment in marked] == [1]


def test_without_braille_each_series_has_a_letter(plain_look: Look) -> None:
    rows = text([series([1, 1, 1]), series([3, 3, 3], "b", 1)], plain_look)
    joined = "".join(rows[:-1])
    assert "*" in joined
    assert "o" in joined
    assert joined.isascii()


def test_smoothing_has_no_bias_at_its_start_and_keeps_gaps() -> None:
    mean = np.array([4.0, np.nan, 4.0, 4.0])
    smoothed = smooth(mean, 0.9)
    assert np.isnan(smoothed[1])
    assert smoothed[[0, 2, 3]] == pytest.approx([4.0, 4.0, 4.0])


def test_no_points_are_said_in_words(look: Look) -> None:
    assert "no points yet" in "".join(text([], look))
    assert text([], look, width=3, height=2) == ["", ""]
