"""A code diff: a list of its files, then their changed lines, unified or side by side where there is room."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from dstui.tui.views.cells import Part, cut, cut_left, fit, line, width_of

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip

    from dstui.sdk.views.data import CodeSnapshot, FileDiff
    from dstui.tui.theme import Look

SIDE_BY_SIDE = 110
"""From this width on old and new stand beside each other."""


@dataclass(frozen=True)
class _Row:
    """One line: a file's heading, a hunk's place, or a line of code (with the new one beside it)."""

    kind: str
    text: str = ""
    new_kind: str = ""
    new_text: str = ""
    file: int = -1


class DiffModel:
    """All files of a code snapshot one under another."""

    selectable = False
    fixed = 0

    def __init__(self, snapshot: CodeSnapshot, look: Look) -> None:
        self.snapshot = snapshot
        self.look = look
        self._rows: dict[bool, list[_Row]] = {}

    def height(self, width: int) -> int:
        """See `LineModel`."""
        return len(self._at(width))

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """See `LineModel`."""
        return (id(self.snapshot), number, id(self.look))

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """See `LineModel`."""
        row = self._at(width)[number]
        look = self.look
        if row.kind == "file":
            return line(self._file_parts(self.snapshot.files[row.file], width), width, look.ground)
        if row.kind in ("note", "@"):
            return line([(f"   {row.text}", look.quiet)], width, look.ground)
        if not row.new_kind:
            return line(
                [(f" {row.kind} ", self._style(row.kind)), (row.text, self._style(row.kind))], width, look.ground
            )
        half = (width - 1) // 2
        left, right = self._half(row.kind, row.text, half), self._half(row.new_kind, row.new_text, width - half - 1)
        return line([*left, (look.glyphs.corners[1], look.border), *right], width, look.ground)

    def files(self, width: int) -> list[int]:
        """Lines at which files begin, for jumping."""
        return [number for number, row in enumerate(self._at(width)) if row.kind == "file"]

    def _half(self, kind: str, text: str, width: int) -> list[Part]:
        sign = kind if kind in "+-" else " "
        return [(fit(f" {sign} {text}", width, more=self.look.glyphs.more), self._style(kind))]

    def _style(self, kind: str) -> Style:
        return {"+": self.look.good, "-": self.look.bad, "@": self.look.quiet}.get(kind, self.look.text)

    def _file_parts(self, file: FileDiff, width: int) -> list[Part]:
        look = self.look
        counts: list[Part] = []
        if file.added is not None:
            counts = [(f"  +{file.added}", look.good), (f" -{file.removed}", look.bad)]
        note = f"  {file.note}" if file.note else ""
        room = width - 2 - sum(width_of(text) for text, _ in counts) - width_of(note)
        path = cut_left(file.path, max(8, room), look.glyphs.more)
        return [(" ", look.text), (path, look.strong), *counts, (cut(note, max(0, room), look.glyphs.more), look.warn)]

    def _at(self, width: int) -> list[_Row]:
        beside = width >= SIDE_BY_SIDE
        if beside not in self._rows:
            self._rows[beside] = _rows(self.snapshot.files, beside=beside)
        return self._rows[beside]


def _rows(files: Sequence[FileDiff], *, beside: bool) -> list[_Row]:
    rows: list[_Row] = []
    for index, file in enumerate(files):
        if rows:
            rows.append(_Row("note"))
        rows.append(_Row("file", file=index))
        lines = [(kind, str(text)) for kind, text in file.lines]
        rows += _beside(lines) if beside else [_Row(kind, text) for kind, text in lines]
    return rows


def _beside(lines: Sequence[tuple[str, str]]) -> list[_Row]:
    """Removed lines left, the added ones that follow them right of them; kept lines on both sides."""
    rows: list[_Row] = []
    old: list[str] = []
    new: list[str] = []

    def flush() -> None:
        for left, right in zip_longest(old, new):
            left_kind, right_kind = ("-" if left is not None else " "), ("+" if right is not None else " ")
            rows.append(_Row(left_kind, left or "", right_kind, right or ""))
        old.clear()
        new.clear()

    for kind, text in lines:
        if kind == "-":
            if new:
                flush()
            old.append(text)
        elif kind == "+":
            new.append(text)
        else:
            flush()
            rows.append(_Row("@", text) if kind == "@" else _Row(" ", text, " ", text))
    flush()
    return rows
