"""A run's output by line: a line index over the bytes, windows of parsed lines, and a plain search.

A running run's files are scanned as they grow, in pieces; an ended run's output is one piece of bytes in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID253  only the dashboard loads this file, after its first frame

from dstui_store import LogLine, LogParser, clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE_BYTES = 16 << 20
"""Bytes scanned for line ends at once."""

LINE_BYTES = 64 << 10
"""Of a longer line its last bytes are read: what a progress bar shows at last is at its end."""

MAX_HITS = 100_000
"""Lines of a search that are kept."""


class LogText:
    """Bytes and where their lines start. For the reader's thread only."""

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self._starts: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._size = 0
        self._scan(len(content))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    @property
    def count(self) -> int:
        """Lines so far; one that has no end yet counts when it has any byte."""
        starts = self.starts
        return len(starts) - int(starts[-1] >= self._size)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First byte of each line, and of the one that may follow."""
        if len(self._starts) > 1:
            self._starts = [np.concatenate(self._starts)]
        return self._starts[0]

    def read(self, start: int, end: int) -> bytes:
        """Some of the bytes."""
        return self._content[start:end]

    def poll(self) -> bool:
        """Whether there is more than at the last call."""
        return False

    def close(self) -> None:
        """Gives back what is held."""

    def window(self, first: int, count: int) -> tuple[LogLine, ...]:
        """The lines from `first` on, at most `count`, with their overwritten states."""
        starts = self.starts
        last = min(first + count, self.count)
        parser = LogParser(keep_states=True)
        lines: list[LogLine] = []
        for number in range(max(0, first), last):
            start = int(starts[number])
            end = int(starts[number + 1]) if number + 1 < len(starts) else self._size
            found = parser.feed(self._line_bytes(start, end).rstrip(b"\n") + b"\n")
            lines.append(found[0] if found else LogLine(clean("")))
        return tuple(lines)

    def search(self, text: str) -> list[int]:
        """Numbers of the lines that hold a text, ignoring the case of ASCII letters."""
        wanted = text.encode("utf-8", "replace").lower()
        places: list[int] = []
        overlap = len(wanted)
        for start in range(0, self._size, PIECE_BYTES):
            piece = self.read(start, min(self._size, start + PIECE_BYTES + overlap)).lower()
            place = piece.find(wanted)
            while place >= 0 and len(places) < MAX_HITS:
                places.append(start + place)
                line_end = piece.find(b"\n", place)
                place = piece.find(wanted, line_end) if line_end >= 0 else -1
        lines = np.searchsorted(self.starts, np.array(places, np.int64), side="right") - 1
        return sorted(set(lines.tolist()))

    def all_bytes(self, limit: int) -> bytes:
        """At most the last `limit` bytes, from a line's start."""
        start = 0
        if self._size > limit:
            starts = self.starts
            start = int(starts[min(len(starts) - 1, int(np.searchsorted(starts, self._size - limit)))])
        return self.read(start, self._size)

    def first_line_of(self, limit: int) -> int:
        """The number of the first line of `all_bytes(limit)`."""
        return 0 if self._size <= limit else int(np.searchsorted(self.starts, self._size - limit))

    def _line_bytes(self, start: int, end: int) -> bytes:
        if end - start <= LINE_BYTES:
            return self.read(start, end)
        tail = self.read(end - LINE_BYTES, end)
        restart = tail.find(b"\r")
        # A line that restarts itself is shown by its end, any other by its beginning.
        return tail[restart:] if 0 <= restart < len(tail.rstrip()) - 1 else self.read(start, start + LINE_BYTES)

    def _scan(self, size: int) -> None:
        while self._size < size:
            piece = self.read(self._size, min(size, self._size + PIECE_BYTES))
            if not piece:
                return
            ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == 10)
            if len(ends):
                self._starts.append(ends + (self._size + 1))
            self._size += len(piece)


class LogFiles(LogText):
    """The output of a running run: `log`, then the `log.tail.N` segments after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[tuple[int, int, str]] = []
        super().__init__()
        self.poll()

    def read(self, start: int, end: int) -> bytes:
        """See `LogText`."""
        parts = []
        for descriptor, offset, _ in self._open:
            size = os.fstat(descriptor).st_size
            low, high = max(start, offset), min(end, offset + size)
            if low < high:
                parts.append(os.pread(descriptor, high - low, low - offset))
        return b"".join(parts)

    def poll(self) -> bool:
        """See `LogText`; a file that was cut or replaced is read anew."""
        before = self._size
        if self._replaced():
            self._reset()
        self._open_new()
        self._scan(self._end())
        return self._size != before

    def close(self) -> None:
        """See `LogText`."""
        for descriptor, _, _ in self._open:
            os.close(descriptor)
        self._open = []

    def _end(self) -> int:
        return self._open[-1][1] + os.fstat(self._open[-1][0]).st_size if self._open else 0

    def _replaced(self) -> bool:
        if self._end() < self._size:
            return True
        names = set(_segments(self._folder))
        return any(name not in names for _, _, name in self._open)

    def _reset(self) -> None:
        self.close()
        self._starts, self._size = [np.zeros(1, np.int64)], 0

    def _open_new(self) -> None:
        known = {name for _, _, name in self._open}
        for name in _segments(self._folder):
            if name in known:
                continue
            try:
                descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            self._open.append((descriptor, self._end(), name))


def _segments(folder: Path) -> Sequence[str]:
    """Names of the output's files, in order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    tails = sorted((name for name in names if name.startswith("log.tail.") and name[9:].isdigit()), key=_segment_number)
    return [*(["log"] if "log" in names else []), *tails]


def _segment_number(name: str) -> int:
    return int(name[9:])
