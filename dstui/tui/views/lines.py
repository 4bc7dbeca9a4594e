"""The plain model: lines that are made of parts, with an optional heading and an optional cursor."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from dstui.tui.views.cells import Part, line, shorten, width_of, wrap

if TYPE_CHECKING:
    from textual.strip import Strip

    from dstui.sdk.views.data import Fact
    from dstui.tui.theme import Look

TONES = {"good": "good", "bad": "bad", "warn": "warn", "quiet": "quiet"}
"""Style of the look for each tone of a fact; any other is plain text."""


class PartsModel:
    """Lines given as parts; what stands in `heading` does not scroll."""

    def __init__(
        self,
        lines: Sequence[Sequence[Part]],
        look: Look,
        *,
        heading: Sequence[Sequence[Part]] = (),
        selectable: bool = False,
        margin: int = 1,
    ) -> None:
        self.lines = lines
        self.look = look
        self.heading = heading
        self.selectable = selectable
        self.margin = margin

    @property
    def fixed(self) -> int:
        """Lines of the heading."""
        return len(self.heading)

    def height(self, width: int) -> int:
        """See `LineModel`."""
        return len(self.heading) + len(self.lines)

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """See `LineModel`."""
        return (number < self.fixed, tuple(self._parts(number)), cursor, cursor and focused, id(self.look))

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """See `LineModel`."""
        shown = shorten(self._parts(number), width - self.margin, self.look.glyphs.more)
        parts: list[Part] = [(" " * self.margin, self.look.text), *shown]
        ground = self.look.ground
        if cursor:
            ground = self.look.cursor if focused else self.look.rest
            parts = [(text, ground if focused else style + self.look.rest_ground) for text, style in parts]
        return line(parts, width, ground)

    def _parts(self, number: int) -> Sequence[Part]:
        return self.heading[number] if number < self.fixed else self.lines[number - self.fixed]


def fact_lines(facts: Sequence[Fact], width: int, look: Look, *, label_width: int = 12) -> list[list[Part]]:
    """Label and text of each fact, long texts wrapped under themselves."""
    lines: list[list[Part]] = []
    room = max(8, width - label_width - 2)
    for fact in facts:
        style = getattr(look, TONES.get(fact.tone, "text"))
        label = str(fact.label).ljust(label_width)
        for text in wrap(fact.text, room):
            lines.append([(label, look.quiet), (text, style)])
            label = " " * label_width
    return lines


def longest(texts: Sequence[str], most: int) -> int:
    """Cells of the widest text, at most `most`."""
    return min(most, max((width_of(text) for text in texts), default=0))
