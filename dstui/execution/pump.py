"""Copy the log of a running command to our own stdout and stderr, as it grows.

In a thread of its own: a terminal or pager that takes its time must hold up neither keys nor signals.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 16
"""Most bytes copied at once."""

JOIN_SECONDS = 0.1
"""The last callback is nearly the end of the thread."""

SKIP_BYTES = 1 << 20
"""A backlog longer than this may be skipped at the end."""

SHOWN_BYTES = 1 << 16
"""What is shown of a skipped backlog: its last part."""

TERMINAL_ONLY, STDOUT, STDERR = 0, 1, 2
"""Streams; the first is what a command wrote to its terminal past both others."""

_RECORD = struct.Struct("<BI")


class LogPump:
    """Follows `log` and its segments in a live directory; `inside/output.py` has the format.

    The callbacks run in the thread of the pump.

    Args:
        live: the run's live directory.
        targets: descriptor to write to, by stream; a stream without one is read and dropped.
        on_opost: all output before a change of the command's output processing was copied; gets the new value.
        on_segment: all files of the log before this one were copied.
        on_failure: a stream could not be written, so the rest of it is dropped.
        on_done: everything was copied after `finish`.

    Attributes:
        skipped: bytes that `finish(skip=True)` left out.
    """

    def __init__(
        self,
        live: Path,
        targets: dict[int, int],
        *,
        on_opost: Callable[[bool], None],
        on_segment: Callable[[int], None],
        on_failure: Callable[[int, OSError], None],
        on_done: Callable[[], None],
    ) -> None:
        self.skipped = 0
        self._live = live
        self._targets = targets
        self._on_opost = on_opost
        self._on_segment = on_segment
        self._on_failure = on_failure
        self._on_done = on_done
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._news = threading.Semaphore(0)
        self._finishing = self._skipping = False
        self._switches: deque[tuple[int, bool]] = deque()
        self._afterwards: deque[Callable[[], None]] = deque()
        self._segment = 0
        # Bytes of output before the next one to copy.
        self._position = 0
        self._log: BinaryIO | None = None
        self._records: BinaryIO | None = None
        self._part_of_record = b""
        self._stream, self._left = STDOUT, 0

    def start(self, segment: int = 0, segment_start: int = 0, tail_bytes: int | None = None) -> None:
        """Begin to copy.

        Args:
            segment: number of the file of the log to begin with, 0 for `log`.
            segment_start: bytes of output before that file.
            tail_bytes: begin with a line at most this far from the present end of the file; None for all of it.
        """
        self._position = segment_start
        self._open(segment)
        if tail_bytes is not None:
            self._seek(self._line_near_end(tail_bytes))
        self._thread.start()

    def wake(self) -> None:
        """Look at the log: it has grown."""
        self._news.release()

    def switch(self, log_bytes: int, opost: bool) -> None:
        """Call `on_opost` when the copy has come to this place of the output."""
        self._switches.append((log_bytes, opost))
        self.wake()

    def add(self, stream: int, data: bytes) -> None:
        """Write output that the log does not hold, after all that it holds now."""
        self._afterwards.append(lambda: self._write(stream, data))
        self.wake()

    def settle(self, seconds: float) -> None:
        """Wait until everything that is in the log now was copied, at most this long."""
        settled = threading.Event()
        self._afterwards.append(settled.set)
        self.wake()
        settled.wait(seconds)

    def drop(self, stream: int) -> None:
        """Write nothing more of this stream."""
        self._targets.pop(stream, None)

    def finish(self, *, skip: bool = False) -> None:
        """Copy what is left and end; with `skip` only the last part of a long backlog."""
        self._skipping = skip
        self._finishing = True
        self.wake()

    def has_ended(self) -> bool:
        """Whether no callback comes any more."""
        if self._finishing and self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        finishing = False
        while not finishing:
            self._news.acquire()
            while self._news.acquire(blocking=False):
                pass
            finishing = self._finishing
            if self._skipping:
                self._skip_backlog()
            self._copy_all()
        self._copy_unclaimed()
        self._close()
        self._on_done()

    def _copy_all(self) -> None:
        while self._copy_some() or self._go_to_next_file():
            pass
        while self._afterwards:
            self._afterwards.popleft()()

    def _copy_some(self) -> bool:
        """Copy one piece; False at the present end of the file."""
        assert self._log is not None
        size = min(CHUNK_BYTES, self._until_switch())
        if self._records is not None:
            if not self._left:
                self._read_record()
            size = min(size, self._left)
        data = self._log.read(size) if size else b""
        self._left -= len(data)
        self._position += len(data)
        self._write(self._stream, data)
        return bool(data)

    def _until_switch(self) -> int:
        """Bytes that may be copied before the next switch; carries out those that are due."""
        while self._switches and self._switches[0][0] <= self._position:
            self._on_opost(self._switches.popleft()[1])
        return self._switches[0][0] - self._position if self._switches else CHUNK_BYTES

    def _read_record(self) -> None:
        assert self._records is not None
        self._part_of_record += self._records.read(_RECORD.size - len(self._part_of_record))
        if len(self._part_of_record) == _RECORD.size:
            self._stream, self._left = _RECORD.unpack(self._part_of_record)
            self._part_of_record = b""

    def _go_to_next_file(self) -> bool:
        """Go on with the next file, if there is one: its existence says that the present one is complete."""
        if not self._path(self._segment + 1).exists():
            return False
        while self._copy_some():
            pass
        self._copy_unclaimed()
        self._open(self._segment + 1)
        return True

    def _copy_unclaimed(self) -> None:
        """Copy what a complete file holds beyond its records: the disk was full or the keeper was killed."""
        assert self._log is not None
        while data := self._log.read(CHUNK_BYTES):
            self._position += len(data)
            self._write(STDOUT, data)

    def _close(self) -> None:
        for file in (self._log, self._records):
            if file is not None:
                file.close()

    def _open(self, segment: int) -> None:
        self._close()
        path = self._path(segment)
        self._log = path.open("rb", buffering=0)
        records = path.with_name(path.name + ".streams")
        self._records = records.open("rb") if records.exists() else None
        self._part_of_record, self._stream, self._left = b"", STDOUT, 0
        self._segment = segment
        if segment:
            self._on_segment(segment)

    def _seek(self, offset: int) -> None:
        """Go to a place in the file just opened."""
        assert self._log is not None
        self._position += self._log.seek(offset)
        while self._records is not None and offset:
            self._read_record()
            if not self._left:
                return
            passed = min(offset, self._left)
            self._left -= passed
            offset -= passed

    def _line_near_end(self, size: int) -> int:
        """Offset of the first line that begins in the last `size` bytes of the file."""
        assert self._log is not None
        descriptor = self._log.fileno()
        start = max(0, os.fstat(descriptor).st_size - size)
        return start and start + os.pread(descriptor, size, start).find(b"\n") + 1

    def _skip_backlog(self) -> None:
        """Go to the last part of the output, if what is left is long."""
        assert self._log is not None
        self._skipping = False
        last = self._segment
        left = -self._log.tell()
        while True:
            left += self._path(last).stat().st_size
            if not self._path(last + 1).exists():
                break
            last += 1
        if left <= SKIP_BYTES:
            return
        self._open(last)
        start = self._line_near_end(SHOWN_BYTES)
        self._seek(start)
        self.skipped = left - (self._path(last).stat().st_size - start)
        while self._switches:
            self._on_opost(self._switches.popleft()[1])

    def _path(self, segment: int) -> Path:
        return self._live / (f"log.tail.{segment}" if segment else "log")

    def _write(self, stream: int, data: bytes) -> None:
        while data and stream in self._targets:
            target = self._targets[stream]
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:
                # Somebody who shares the descriptor has made it so.
                select.select([], [target], [])
            except OSError as error:
                self.drop(stream)
                self._on_failure(stream, error)
