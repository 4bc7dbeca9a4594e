"""Text by cells: nothing leaves `line` that a terminal would obey, and every line is as wide as it says."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from dstui.tui.views.cells import cut, cut_left, fit, line, printable, shorten, spread, width_of, wrap

PLAIN = Style()
anything = st.text(st.characters(codec=None, categories=None), max_size=40)


@given(anything, st.integers(0, 30))
def test_a_line_is_exactly_as_wide_as_asked_and_holds_no_control_character(text: str, width: int) -> None:
    strip = line([(text, PLAIN), ("end", PLAIN)], width, PLAIN)
    assert strip.cell_length == width
    assert not [character for character in strip.text if unicodedata.category(character)[0] == "C"]


@given(anything.map(printable), st.integers(0, 30), st.booleans())
def test_fitted_text_fills_its_cells_exactly(text: str, width: int, right: bool) -> None:
    assert cell_len(fit(text, width, right=right)) == width


@given(anything.map(printable), st.integers(1, 30))
def test_a_cut_text_is_never_wider_and_says_that_it_was_cut(text: str, width: int) -> None:
    for shown in (cut(text, width), cut_left(text, width)):
        assert width_of(shown) <= width
        assert shown == text or "…" in shown


@given(st.lists(anything.map(printable), max_size=4), st.integers(0, 30))
def test_shortened_parts_fit_and_say_what_is_missing(texts: list[str], width: int) -> None:
    parts = [(text, PLAIN) for text in texts]
    whole, shown = "".join(texts), "".join(text for text, _ in shorten(parts, width))
    if width_of(whole.rstrip(" ")) <= width:
        assert shown == whole
    else:
        assert width_of(shown) <= width
        assert shown.endswith("…") or width == 0


def test_the_end_of_a_path_survives_cutting_from_the_left() -> None:
    assert cut_left("src/models/resnet.py", 12) == "…s/resnet.py"


@pytest.mark.parametrize("text", ["日本語のテキスト", "ａｂｃ", "e\u0301e\u0301e\u0301"])
def test_wide_and_combining_characters_are_cut_by_cells(text: str) -> None:
    assert width_of(cut(text, 5)) <= 5


def test_parts_at_both_ends_touch_the_edges_and_the_right_one_gives_way() -> None:
    left, right = [("left", PLAIN)], [("right", PLAIN)]
    assert spread(left, right, 12, PLAIN).text == "left   right"
    assert spread(left, right, 9, PLAIN).text == "left     "


def test_wrapping_breaks_at_spaces_and_breaks_words_only_when_it_must() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrap("", 4) == [""]
