"""The frame of a page: every pane's edges meet those of its neighbours."""

from __future__ import annotations

from dstui.tui.theme import ASCII, UNICODE
from dstui.tui.views.panes import Pane, edges

THREE = [Pane("left", 0, 0, 6, 3), Pane("right", 6, 0, 6, 3), Pane("below", 0, 3, 12, 3)]


def drawn(panes: list[Pane], width: int, height: int, *, outer: bool, glyphs: object = UNICODE) -> list[str]:
    """The frame as rows of text."""
    found = edges(panes, width, height, glyphs, outer=outer)  # type: ignore[arg-type]
    rows = [[" "] * width for _ in range(height)]
    for pane in panes:
        edge = found[pane.name]
        rows[pane.y][pane.x : pane.x + pane.width] = edge.upper
        for y in range(pane.y + 1, pane.y + pane.height):
            if edge.left:
                rows[y][pane.x] = glyphs.corners[1]  # type: ignore[attr-defined]
            if edge.right:
                rows[y][pane.x + pane.width - 1] = glyphs.corners[1]  # type: ignore[attr-defined]
        if edge.lower:
            rows[height - 1][pane.x : pane.x + pane.width] = edge.lower
    return ["".join(row) for row in rows]


def test_an_outer_frame_joins_all_panes() -> None:
    assert drawn(THREE, 12, 6, outer=True) == [
        "┌─────┬────┐",
        "│     │    │",
        "│     │    │",
        "├─────┴────┤",
        "│          │",
        "└──────────┘",
    ]


def test_without_an_outer_frame_there_are_only_rules_and_the_edge_between_panes() -> None:
    assert drawn(THREE, 12, 6, outer=False) == [
        "──────┬─────",
        "      │     ",
        "      │     ",
        "──────┴─────",
        "            ",
        "            ",
    ]


def test_ascii_frames_have_the_same_shape() -> None:
    assert drawn(THREE, 12, 6, outer=True, glyphs=ASCII)[0] == "+-----+----+"
