"""How a page is divided: rectangles that tile it, and the edges they share.

Each pane owns its upper edge and, unless it starts at the screen's left side, its left edge. With an outer frame the
outermost panes own the edges at the sides and below too. Pure: rectangles in, characters out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstui.tui.theme import Glyphs


@dataclass(frozen=True)
class Pane:
    """One rectangle of a page, in cells from its upper left corner."""

    name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Edges:
    """The edges one pane draws.

    Attributes:
        upper: the whole upper row, as wide as the pane.
        lower: the whole lower row, or "" without one.
        left, right: whether each line starts or ends with an edge.
    """

    upper: str = ""
    lower: str = ""
    left: bool = False
    right: bool = False


NO_EDGES = Edges()
"""A pane that is not framed."""

Links = set[tuple[int, int]]
"""Cells that are joined to the next one, to the right or below."""


def edges(panes: Sequence[Pane], width: int, height: int, glyphs: Glyphs, *, outer: bool) -> dict[str, Edges]:
    """The edges of every pane by name, for panes that tile `width` x `height`; `outer` frames all of them too."""
    across, down = _links(panes, width, height, outer=outer)
    return {pane.name: _pane_edges(pane, width, height, glyphs, across, down, outer=outer) for pane in panes}


def _links(panes: Sequence[Pane], width: int, height: int, *, outer: bool) -> tuple[Links, Links]:
    across: Links = set()
    down: Links = set()
    for pane in panes:
        end = min(pane.x + pane.width, width - 1)
        across.update((x, pane.y) for x in range(pane.x, end))
        if pane.x or outer:
            down.update((pane.x, y) for y in range(pane.y, min(pane.y + pane.height, height - 1)))
    if outer:
        across.update((x, height - 1) for x in range(width - 1))
        down.update((width - 1, y) for y in range(height - 1))
    return across, down


def _pane_edges(
    pane: Pane, width: int, height: int, glyphs: Glyphs, across: Links, down: Links, *, outer: bool
) -> Edges:
    def row(y: int) -> str:
        return "".join(_corner(x, y, across, down, glyphs) for x in range(pane.x, pane.x + pane.width))

    at_bottom = pane.y + pane.height == height
    at_right = pane.x + pane.width == width
    return Edges(
        upper=row(pane.y),
        lower=row(height - 1) if outer and at_bottom else "",
        left=bool(pane.x) or outer,
        right=outer and at_right,
    )


def _corner(x: int, y: int, across: Links, down: Links, glyphs: Glyphs) -> str:
    """The piece of frame that joins what meets in this cell."""
    arms = ((x, y - 1) in down, (x, y) in down, (x - 1, y) in across, (x, y) in across)
    return glyphs.corners[_PIECES.get(arms, 0)]


_PIECES = {
    (True, True, False, False): 1,
    (False, True, False, True): 2,
    (False, True, True, False): 3,
    (True, False, False, True): 4,
    (True, False, True, False): 5,
    (True, True, False, True): 6,
    (True, True, True, False): 7,
    (False, True, True, True): 8,
    (True, False, True, True): 9,
    (True, True, True, True): 10,
}
"""Index into `Glyphs.corners` by (up, down, left, right); anything else is a horizontal rule."""
