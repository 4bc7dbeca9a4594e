"""A run's output: coloured lines as the command wrote them, with what a search found and how often a line restarted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color
from rich.style import Style

from dstui.tui.views.cells import Part, line, width_of

if TYPE_CHECKING:
    from textual.strip import Strip

    from dstui.sdk.text import LogLine, TextStyle
    from dstui.sdk.views.data import LogSnapshot
    from dstui.tui.theme import Look

SHIFT_CELLS = 20
"""Cells that one step sideways moves."""


class LogModel:
    """Lines of one snapshot; those outside its window show as `…` until they are read."""

    selectable = True
    fixed = 0

    def __init__(self, snapshot: LogSnapshot, look: Look, *, shift: int = 0) -> None:
        self.snapshot = snapshot
        self.look = look
        self.shift = shift
        self._hits = frozenset(snapshot.hits)

    def height(self, width: int) -> int:
        """See `LineModel`."""
        return self.snapshot.count

    def line_at(self, number: int) -> LogLine | None:
        """One line, None when it is not read."""
        place = number - self.snapshot.first
        return self.snapshot.lines[place] if 0 <= place < len(self.snapshot.lines) else None

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """See `LineModel`."""
        found = self.line_at(number)
        shown = (found.text, found.spans, found.states) if found is not None else None
        hit = (self.snapshot.searched, number in self._hits)
        return (number, shown, hit, cursor and focused, self.shift, id(self.look))

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """See `LineModel`."""
        found = self.line_at(number)
        look = self.look
        if found is None:
            return line([(" " + look.glyphs.more, look.quiet)], width, look.ground)
        parts = styled_parts(found, look)
        if number in self._hits:
            parts = highlighted(parts, self.snapshot.searched, look)
        if self.shift:
            parts = shifted(parts, self.shift)
        if found.states > 1:
            again = f"↻{found.states}" if look.glyphs.braille else f"({found.states}x)"
            parts.append((f" {again}", look.quiet))
        lead = (">" if not look.theme.cursor else " ") if cursor and focused else " "
        ground = look.ground
        if cursor and focused:
            ground = look.ground + Style(bgcolor=look.theme.rest or None)
            parts = [(text, style + Style(bgcolor=look.theme.rest or None)) for text, style in parts]
        return line([(lead, ground), *parts], width, ground)


def styled_parts(found: LogLine, look: Look) -> list[Part]:
    """The text of a line cut at its colours."""
    parts: list[Part] = []
    position = 0
    for span in found.spans:
        if span.start > position:
            parts.append((found.text[position : span.start], look.text))
        parts.append((found.text[span.start : span.end], look.text + terminal_style(span.style, bool(look.theme.text))))
        position = span.end
    if position < len(found.text):
        parts.append((found.text[position:], look.text))
    return parts


@lru_cache(maxsize=512)
def terminal_style(style: TextStyle, coloured: bool) -> Style:
    """What a command asked of the terminal, as a style; without colours its attributes only."""
    return Style(
        color=_colour(style.foreground) if coloured else None,
        bgcolor=_colour(style.background) if coloured else None,
        bold=style.bold or None,
        dim=style.dim or None,
        italic=style.italic or None,
        underline=style.underline or None,
        reverse=style.reverse or None,
        strike=style.strike or None,
    )


def highlighted(parts: Sequence[Part], searched: str, look: Look) -> list[Part]:
    """The parts with each place of the searched text made to stand out, also across colours."""
    text = "".join(piece for piece, _ in parts).lower()
    wanted = searched.lower()
    places: set[int] = set()
    place = text.find(wanted) if wanted and not searched.startswith("~") else -1
    while place >= 0:
        places.update(range(place, place + len(wanted)))
        place = text.find(wanted, place + len(wanted))
    if not places:
        return [(piece, style + Style(underline=True)) for piece, style in parts]
    shown: list[Part] = []
    position = 0
    for piece, style in parts:
        start = 0
        for index in range(1, len(piece) + 1):
            if index == len(piece) or ((position + index) in places) != ((position + start) in places):
                found = (position + start) in places
                shown.append((piece[start:index], style + look.found if found else style))
                start = index
        position += len(piece)
    return shown


def shifted(parts: Sequence[Part], cells: int) -> list[Part]:
    """The parts without their first cells."""
    left: list[Part] = []
    for text, style in parts:
        size = width_of(text)
        if cells >= size:
            cells -= size
            continue
        while cells > 0 and text:
            cells -= width_of(text[0])
            text = text[1:]
        left.append((text, style))
    return left


def _colour(colour: int | tuple[int, int, int] | None) -> Color | None:
    if colour is None:
        return None
    return Color.from_ansi(colour) if isinstance(colour, int) else Color.from_rgb(*colour)
