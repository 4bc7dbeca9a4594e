"""Find the metrics in the lines that a script prints, and write them to the journal `<rank 0>-stdout`.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse`. This file takes the bytes apart into lines
and keeps the cost low; `parse_line` reads one line, `parse_tables` those that only make sense together, and
`parse_curves` decides what is a metric and at which step (`parse_steps`). `parse_words` knows names, numbers and units.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from dstui.inside.journal import JournalWriter
    from dstui.inside.parse_curves import Curves
    from dstui.inside.parse_line import parse_plain, plain, without_prefix
    from dstui.inside.parse_tables import Tables
else:
    # Run by path: the folder of this file is on `sys.path`.
    from journal import JournalWriter
    from parse_curves import Curves
    from parse_line import parse_plain, plain, without_prefix
    from parse_tables import Tables

LINE_BYTES = 4_096
"""Of a longer line only this much is looked at."""

LINES_PER_SECOND = 300
"""Lines that may hold a metric and are read within a second; of more, one in `SAMPLED`."""

SAMPLED = 16
"""How many lines one stands for past `LINES_PER_SECOND`."""

MOST_PER_SECOND = 600
"""Lines read within a second, the sampled ones included."""

GLANCES_PER_SECOND = 10_000
"""Lines within a second of which it is seen whether they may hold a metric; the rest passes unseen."""

REDRAW_SECONDS = 0.1
"""Of texts that overwrite each other by carriage return, the last in this time counts."""

_DIGIT = re.compile(rb"\d")
_HINT = re.compile(rb"[:=|{\t#]|[Ee]poch|EPOCH|[Ss]tep|[Ii]ter|[Ll]oss|LOSS|[Aa]cc|ACC|[Ee]pisode")
_CELLS = re.compile(rb"\S\s{2,}[A-Za-z#_]|\S \| +[A-Za-z#_]")


class OutputMetrics:
    """Reads the output of a run as it passes and writes what it finds to a journal. Not thread-safe.

    Args:
        journal_directory: the `journal` folder of the run.

    Attributes:
        sampled_lines: lines that were not looked at because too many came in a second; the caller may say so.
        found: whether any point was written.
    """

    def __init__(self, journal_directory: str) -> None:
        self.sampled_lines = 0
        self.found = False
        self._journal = JournalWriter(journal_directory, 0, "stdout")
        self._rest = b""
        self._overlong = False
        self._redraw: bytes = b""
        self._redraw_at = -REDRAW_SECONDS
        self._second = 0.0
        self._lines = 0
        self._glances = 0
        self._time = 0.0
        self._tables = Tables()
        self._curves = Curves(self._write)
        self._points: dict[str, float] = {}
        self._place: tuple[int | None, float] = (None, 0.0)

    def feed(self, data: bytes, now: float) -> None:
        """Take in a piece of output, cut anywhere.

        Args:
            data: bytes as the command wrote them.
            now: seconds since the epoch.
        """
        if not 0 <= now - self._second < 1:
            self._second = now
            self._lines = self._glances = 0
        elif self._lines >= MOST_PER_SECOND or self._glances >= GLANCES_PER_SECOND:
            data = self._skip(data)
        if b"\b" in data:
            data = data.replace(b"\b", b"\r")
        start = 0
        end = data.find(b"\n")
        while end >= 0:
            if self._rest or self._overlong or self._redraw:
                self._add(data[start:end])
                self._end_line(now)
            else:
                self._glance(data[start:end], now)
            start = end + 1
            if self._lines >= MOST_PER_SECOND or self._glances >= GLANCES_PER_SECOND:
                data = self._skip(data[start:])
                start = 0
            end = data.find(b"\n", start)
        if start < len(data):
            self._add(data[start:])
        # Progress bars may go on for hours without a newline; the last byte waits, for it may be half of CR LF.
        index = self._rest.rfind(b"\r", 0, max(0, len(self._rest) - 1))
        if index >= 0:
            drawn, self._rest = self._rest[:index], self._rest[index + 1 :]
            self._draw(drawn.rstrip(b"\r").rpartition(b"\r")[2], now)

    def close(self) -> None:
        """Take in what is left, and write the results that were seen too rarely to be sure."""
        if self._redraw:
            self._look(self._redraw, self._time)
        self._redraw = b""
        self._end_line(self._time)
        box = self._tables.end()
        if box is not None:
            self._curves.take(box, self._time)
        self._curves.close()
        self._flush()
        self._journal.close()

    def _skip(self, data: bytes) -> bytes:
        """Passes over the lines of a piece in a second that had enough; what is left of it is the start of a line."""
        end = data.rfind(b"\n")
        if end < 0:
            return data
        self.sampled_lines += data.count(b"\n")
        self._rest = self._redraw = b""
        self._overlong = False
        return data[end + 1 :]

    def _add(self, part: bytes) -> None:
        if self._overlong:
            return
        rest = self._rest + part if self._rest else part
        if len(rest) > LINE_BYTES:
            if b"\r" in rest:
                rest = rest[-LINE_BYTES:] if b"\r" in rest[-LINE_BYTES:] else rest[:LINE_BYTES]
            else:
                rest = rest[:LINE_BYTES]
                self._overlong = True
        self._rest = rest

    def _draw(self, text: bytes, now: float) -> None:
        """A text that the next one overwrites."""
        if not text:
            return
        self._redraw = text
        if now - self._redraw_at >= REDRAW_SECONDS:
            self._redraw_at = now
            self._redraw = b""
            self._look(text, now)

    def _end_line(self, now: float) -> None:
        text, self._rest, self._overlong = self._rest, b"", False
        redraw, self._redraw = self._redraw, b""
        if not self._glance(text, now) and redraw:
            self._look(redraw, now)

    def _glance(self, text: bytes, now: float) -> bool:
        """Look at a whole line; False when nothing is in it."""
        if b"\r" in text:
            text = text.rstrip(b"\r").rpartition(b"\r")[2]
        if not text:
            return False
        self._look(text[:LINE_BYTES], now)
        return True

    def _look(self, raw: bytes, now: float) -> None:
        self._glances += 1
        if not self._tables.is_open and not self._may_tell(raw):
            return
        self._lines += 1
        if self._lines > LINES_PER_SECOND and self._lines % SAMPLED:
            self.sampled_lines += 1
            return
        text = without_prefix(plain(raw.decode("utf-8", "replace")))
        line = self._tables.read(text)
        self._curves.take(parse_plain(text) if line is None else line, now)
        self._flush()

    @staticmethod
    def _may_tell(raw: bytes) -> bool:
        """Whether a line may hold a metric, or be the head of a table."""
        if _DIGIT.search(raw) is not None and _HINT.search(raw) is not None:
            return True
        return raw[:1] == b"|" or ((b"  " in raw or b" | " in raw) and _CELLS.search(raw) is not None)

    def _write(self, name: str, step: int | None, value: float, time: float) -> None:
        """Gather the points of one place, which go to the journal in one call."""
        if self._points and (self._place != (step, time) or name in self._points):
            self._flush()
        self._place = step, time
        self._points[name] = value

    def _flush(self) -> None:
        if self._points:
            step, time = self._place
            # Lines of one piece of output have the same time; theirs must differ to keep their order.
            self._time = max(time, self._time + 2e-6)
            self._journal.log(self._points, step, self._time)
            self.found = True
            self._points = {}
