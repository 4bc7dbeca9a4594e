"""Follow one file as it grows, is cut off, written anew or replaced.

Standard library only, Python 3.9, run by path or as `dstui.inside.following`.

A file is opened for each look and closed again: on a network that also asks the server for its present state, and
nothing of the project stays busy because of us. The last bytes read are read again first. When they are no longer the
same, the file is another one and is read from its start; its reader knows what it has said already.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from dstui.inside.rows import RewrittenError, TableError
else:
    from rows import RewrittenError, TableError

if TYPE_CHECKING:
    from dstui.inside.curves import Curves
    from dstui.inside.events import EventReader
    from dstui.inside.rows import CsvReader, JsonLinesReader, TrainerHistory

    Stamp = tuple[int, int, int]

PIECE_BYTES = 1 << 17
"""Read at a time."""

GUARD_BYTES = 64
"""So much before the place reached tells whether it is still the same file."""

HISTORY_BYTES = 32 << 20
"""A larger `trainer_state.json` is not read."""

SMALL_BYTES = 1 << 18
"""A larger file of settings is not read."""

STAMPS = 4_096
"""States of a trainer remembered."""


class NoMetricsError(ValueError):
    """A file is not what it seemed, or can no longer be read."""


class Follower:
    """One file that grows.

    Args:
        path: the file.
        reader: takes its content.
        curves: what the reader writes to.

    Attributes:
        path: as given.
        reader: as given.
        curves: as given.
        left: bytes that had not been read at the last look.
    """

    def __init__(self, path: str, reader: EventReader | CsvReader | JsonLinesReader, curves: Curves) -> None:
        self.path = path
        self.reader = reader
        self.curves = curves
        self.left = 0
        self._place = 0
        self._guard = b""
        self._stamp: Stamp | None = None

    def look(self, until: float, *, last: bool = False) -> bool:
        """Read what is new; returns whether all of it was read before the time `until` (monotonic).

        Args:
            until: when to stop.
            last: nothing comes any more.

        Raises:
            OSError: it cannot be read now.
            ValueError: there is no use in going on.
        """
        if not last:
            # Without this a file that nobody writes to would be opened each second.
            status = os.stat(self.path, follow_symlinks=False)
            if stamp_of(status) == self._stamp:
                return True
        descriptor = open_file(self.path)
        try:
            status = os.fstat(descriptor)
            self._find_place(descriptor, status.st_size)
            done = self._read(descriptor, status.st_size, until, last)
        finally:
            os.close(descriptor)
        self.left = max(0, status.st_size - self._place)
        self._stamp = stamp_of(status) if done else None
        return done

    def _find_place(self, descriptor: int, size: int) -> None:
        """Start over when what was read is no longer there."""
        if self._place <= size:
            guard = os.pread(descriptor, len(self._guard), self._place - len(self._guard))
            if guard == self._guard:
                return
        self._place, self._guard = 0, b""
        self.reader.restart()

    def _read(self, descriptor: int, size: int, until: float, last: bool) -> bool:
        piece = PIECE_BYTES
        while True:
            data = os.pread(descriptor, piece, self._place)
            if not data:
                return True
            ends = len(data) < piece
            try:
                done = self.reader.take(data, self._place, last=last and ends)
            except RewrittenError:
                self.reader.forget()
                self._place, self._guard = 0, b""
                continue
            if done:
                self._place += done
                self._guard = (self._guard + data[:done])[-GUARD_BYTES:] if done <= len(data) else b""
            elif ends:
                # The rest waits for more.
                return True
            else:
                piece = max(PIECE_BYTES, self.reader.largest)
                if len(data) >= piece:
                    raise NoMetricsError("it has no parts of a readable size")
            if time.monotonic() > until:
                return False


class HistoryFollower:
    """The `trainer_state.json` of one output folder and of the checkpoints below it.

    Attributes:
        history: takes their content.
        curves: what it writes to.
    """

    def __init__(self, history: TrainerHistory, curves: Curves) -> None:
        self.history = history
        self.curves = curves
        self._stamps: dict[str, Stamp] = {}

    def offer(self, path: str, *, is_old: bool = False) -> None:
        """Read a file if it is new or has changed; half-written ones are left for later.

        Args:
            path: the file.
            is_old: it is from before the run.

        Raises:
            OSError: it cannot be read now.
        """
        descriptor = open_file(path)
        try:
            status = os.fstat(descriptor)
            stamp = stamp_of(status)
            if self._stamps.get(path) == stamp:
                return
            if status.st_size > HISTORY_BYTES:
                raise NoMetricsError(f"it is larger than {HISTORY_BYTES >> 20} MiB")
            data = read_all(descriptor, HISTORY_BYTES)
        finally:
            os.close(descriptor)
        try:
            if is_old:
                self.history.remember(data)
            else:
                self.history.take(data)
        except TableError:
            return
        if len(self._stamps) >= STAMPS:
            self._stamps.clear()
        self._stamps[path] = stamp


def output_folder(path: str) -> str:
    """The folder of a training whose state this file is."""
    folder = os.path.dirname(path)
    return os.path.dirname(folder) if os.path.basename(folder).startswith("checkpoint-") else folder


def read_guard(path: str, place: int) -> bytes:
    """What lies before a place in a file, to tell later whether it is still the same.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file.
    """
    descriptor = open_file(path)
    try:
        start = max(0, place - GUARD_BYTES)
        return os.pread(descriptor, place - start, start)
    finally:
        os.close(descriptor)


def read_small(path: str) -> str | None:
    """The text of a small file, or None when it is a large one.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file.
    """
    descriptor = open_file(path)
    try:
        data = read_all(descriptor, SMALL_BYTES)
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace") if len(data) <= SMALL_BYTES else None


def read_all(descriptor: int, limit: int) -> bytes:
    """The content of a file, of one above the limit a little more than that."""
    data = b""
    while len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
        data += piece
    return data


def open_file(path: str) -> int:
    """A descriptor of a plain file; a pipe or a device in its place holds nobody up.

    Raises:
        OSError: it cannot be opened.
        NoMetricsError: it is no plain file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoMetricsError("it is no plain file")
    return descriptor


def stamp_of(status: os.stat_result) -> Stamp:
    """What moves when a file is written to."""
    return status.st_ino, status.st_size, status.st_mtime_ns
