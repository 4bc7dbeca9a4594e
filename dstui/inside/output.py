"""The output of a command, kept in files byte for byte, in order of arrival.

`log` takes everything up to its limit; after that `log.tail.1`, `log.tail.2`, .. take 14 MiB each, and only the last
two stay, plus those that somebody still reads. Where stdout and stderr are kept apart, `<file>.streams` beside each
says which bytes are whose: records of `u8 stream, u32 length` (little-endian), written after the bytes they speak of.

When the disk is full the bytes are dropped and counted; once it takes bytes again a line in the log says how many.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dstui.inside.live import LiveDirectory

SEGMENT_BYTES = 14 << 20
"""Size of one `log.tail.N`."""

KEPT_SEGMENTS = 2
"""How many of them stay, the one being written included."""

_RECORD = struct.Struct("<BI")


def file_name(segment: int) -> str:
    """Name of a file of the log: 0 is `log`, then the segments."""
    return f"log.tail.{segment}" if segment else "log"


class OutputLog:
    """Writes the log of one run. Not thread-safe.

    Args:
        live: the run's directory; its `log` must not exist yet.
        limit: bytes that `log` takes before the segments begin.
        apart: whether stdout and stderr are told apart.
        still_read: the lowest segment that an attached front has not passed, or None when nobody follows.

    Attributes:
        total: bytes written so far, those of removed segments included.
        lost: bytes dropped since the disk refused to take them; 0 while all is well.
        refusal: what it said.
        segment: number of the file being written, 0 for `log`.
        segment_start: `total` when that file was begun.
    """

    def __init__(
        self,
        live: LiveDirectory,
        limit: int,
        *,
        apart: bool,
        still_read: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.total = 0
        self.lost = 0
        self.refusal = ""
        self.segment = -1
        self.segment_start = 0
        self._live = live
        self._limit = limit
        self._apart = apart
        self._still_read = still_read
        self._oldest = 1
        self._room = 0
        self._file = -1
        self._streams = -1
        self._records = b""
        self._next()

    def append(self, stream: int, data: bytes) -> bytes:
        """Write output of stream 1 (stdout) or 2 (stderr), and return the part that could not be kept, mostly empty."""
        kept = 0
        try:
            if self.lost:
                self._write_gap(stream)
            while kept < len(data):
                if not self._room:
                    self._next()
                kept += self._write(stream, data[kept : kept + self._room])
        except OSError as error:
            self.refusal = error.strerror or str(error)
            self.lost += len(data) - kept
        return data[kept:]

    def last(self, size: int) -> bytes:
        """The last bytes of what is kept, at most `size`."""
        text = b""
        for segment in (self.segment, self.segment - 1):
            if len(text) < size and segment >= 0:
                text = self._end_of(file_name(segment), size - len(text)) + text
        return text

    def prune(self) -> None:
        """Remove the segments that are neither among the last ones nor still read."""
        still_read = self._still_read()
        end = self.segment - KEPT_SEGMENTS + 1
        if still_read is not None:
            end = min(end, still_read)
        for segment in range(self._oldest, end):
            for name in (file_name(segment), file_name(segment) + ".streams"):
                try:
                    os.unlink(name, dir_fd=self._live.descriptor)
                except OSError:
                    pass
        self._oldest = max(self._oldest, end)

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._file, self._streams):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._streams = -1

    def _write(self, stream: int, data: bytes) -> int:
        written = os.write(self._file, data)
        self._room -= written
        self.total += written
        if self._apart:
            self._records += _RECORD.pack(stream, written)
            self._write_records()
        return written

    def _write_records(self) -> None:
        # What a full disk refuses stays here: a record left out would shift all later ones.
        try:
            self._records = self._records[os.write(self._streams, self._records) :]
        except OSError:
            pass

    def _write_gap(self, stream: int) -> None:
        line = f"\n[dstui: {self.lost} bytes of output are missing here: {self.refusal}]\n".encode()
        size = os.fstat(self._file).st_size
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, self.refusal)
        self.lost = 0
        self._room = max(0, self._room - written)
        self.total += written
        if self._apart:
            self._records += _RECORD.pack(stream, written)

    def _next(self) -> None:
        """Begin the next file; the old one stays the present one when that fails."""
        name = file_name(self.segment + 1)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_EXCL
        file = self._live.open(name, flags)
        streams = -1
        if self._apart:
            try:
                streams = self._live.open(name + ".streams", flags)
            except OSError:
                os.close(file)
                os.unlink(name, dir_fd=self._live.descriptor)
                raise
        self.close()
        self._file, self._streams, self._records = file, streams, b""
        self.segment += 1
        self.segment_start = self.total
        self._room = SEGMENT_BYTES if self.segment else self._limit
        self.prune()

    def _end_of(self, name: str, size: int) -> bytes:
        try:
            descriptor = self._live.open(name, os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, size, max(0, os.fstat(descriptor).st_size - size))
        finally:
            os.close(descriptor)
