"""Text in terminal cells: measured, cut and padded by cell width, and put together into one line.

Every line of the dashboard is made by `line`, which is also the last gate: whatever reaches it, no control character
leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Part = tuple[str, Style]
"""A piece of a line and how it looks."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def width_of(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, width: int, more: str = "…") -> str:
    """The text in at most `width` cells; what is left out is said by `more`."""
    if width_of(text) <= width:
        return text
    if width <= len(more):
        return more[: max(0, width)]
    return set_cell_size(text, width - len(more)).rstrip(" ") + more


def cut_left(text: str, width: int, more: str = "…") -> str:
    """The end of a text in at most `width` cells, for paths whose last part says most."""
    if width_of(text) <= width:
        return text
    kept = text[max(0, len(text) - width) :]
    while kept and width_of(kept) > width - len(more):
        kept = kept[1:]
    return more[: max(0, width)] + kept if width > len(more) else more[: max(0, width)]


def fit(text: str, width: int, *, right: bool = False, more: str = "…") -> str:
    """The text in exactly `width` cells: cut, or padded on the side away from its alignment."""
    text = cut(text, width, more)
    room = " " * (width - width_of(text))
    return room + text if right else text + room


def printable(text: str) -> str:
    """The text with everything that could steer a terminal replaced; the same object in the usual case."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else REPLACEMENT for character in text)


def line(parts: Iterable[Part], width: int, ground: Style) -> Strip:
    """One line of exactly `width` cells: the parts in order, the last one cut, the rest filled with `ground`.

    Neighbours of one style become one segment: each segment costs some thirty bytes on the way to the terminal.
    """
    texts: list[str] = []
    styles: list[Style] = []
    used = 0
    for text, style in parts:
        if not text:
            continue
        text = printable(text)
        size = width_of(text)
        if used + size > width:
            text = set_cell_size(text, width - used)
            size = width - used
        if size > 0:
            _append(texts, styles, text, style)
            used += size
        if used >= width:
            break
    if used < width:
        _append(texts, styles, " " * (width - used), _blank_style(styles, ground))
    return Strip([Segment(text, style) for text, style in zip(texts, styles, strict=True)], width)


def _blank_style(styles: list[Style], ground: Style) -> Style:
    """The last style where spaces look the same in it."""
    last = styles[-1] if styles else ground
    plain = last.bgcolor == ground.bgcolor and not (last.underline or last.reverse or last.strike)
    return last if plain and not (ground.underline or ground.reverse) else ground


def _append(texts: list[str], styles: list[Style], text: str, style: Style) -> None:
    if styles and styles[-1] is style:
        texts[-1] += text
    else:
        texts.append(text)
        styles.append(style)


def shorten(parts: Sequence[Part], width: int, more: str = "…") -> Sequence[Part]:
    """The parts as far as they fit into `width` cells; where more than blanks are left out, `more` says so."""
    if width_of("".join(text for text, _ in parts).rstrip(" ")) <= width:
        return parts
    shortened: list[Part] = []
    left = width
    for text, style in parts:
        size = width_of(text)
        if size < left:
            shortened.append((text, style))
            left -= size
            continue
        shortened.append((cut(text + " " * left, left, more), style))
        break
    return shortened


def spread(left: Sequence[Part], right: Sequence[Part], width: int, ground: Style) -> Strip:
    """One line with parts at both ends; where they would meet, the right ones give way."""
    taken = sum(width_of(text) for text, _ in left)
    wanted = sum(width_of(text) for text, _ in right)
    if taken + wanted + 1 > width:
        return line(left, width, ground)
    return line([*left, (" " * (width - taken - wanted), ground), *right], width, ground)


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells, broken at spaces where there are some; at least one line."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        current = ""
        for word in paragraph.split(" "):
            candidate = f"{current} {word}" if current else word
            if width_of(candidate) <= width:
                current = candidate
                continue
            if current:
                lines.append(current)
            while width_of(word) > width > 0:
                head = _head(word, width)
                lines.append(head)
                word = word[len(head) :]
            current = word
        lines.append(current)
    return lines


def _head(word: str, width: int) -> str:
    """As many leading characters as fit, at least one."""
    size = max(1, min(len(word), width))
    while size > 1 and width_of(word[:size]) > width:
        size -= 1
    return word[:size]
