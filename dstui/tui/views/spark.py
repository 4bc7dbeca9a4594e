"""A curve as small as a word. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstui.tui.theme import Look


def sparkline(values: Sequence[float], cells: int, look: Look) -> str:
    """Values as small bars from the ground up, two to a cell; without braille their direction in words of one sign."""
    if len(values) < 2:
        return ""
    lowest, highest = min(values), max(values)
    scale = 3.0 / (highest - lowest) if highest > lowest else 0.0
    if not look.glyphs.braille:
        return "".join("_.-^"[round((value - lowest) * scale)] for value in values[-cells:])
    heights = [round((value - lowest) * scale) + 1 for value in values[-2 * cells :]]
    pairs = zip(heights[::2], [*heights[1::2], *([0] if len(heights) % 2 else [])], strict=True)
    return "".join(chr(0x2800 + _LEFT_BARS[left] + _RIGHT_BARS[right]) for left, right in pairs)


_LEFT_BARS = (0, 0x40, 0x44, 0x46, 0x47)
_RIGHT_BARS = (0, 0x80, 0xA0, 0xB0, 0xB8)
"""Bits of a braille cell for a bar of 0 to 4 dots."""
