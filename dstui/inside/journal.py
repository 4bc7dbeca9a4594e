"""Write the journal of one process: an append-only file of 32-byte records that a SIGKILL cannot tear.

Standard library only, Python 3.9, run by path or as `dstui.inside.journal`. The reader is `dstui_store.journal`.

Format (all little-endian; the other files of a journal `<rank>-<name>.dsj` share its stem):

- record: `u32 kind << 24 | key id`, `i64 step` (the smallest i64: none given), `f64 time` (seconds since the epoch),
  `f64 value`, `u32 crc32` of the 28 bytes before it, started from the record's number. Record n lies at byte 32 n, so
  a zero-filled, shifted or repeated record fails its check.
- record 0 is the header, kind 0: `u32 0`, `4s DSJ1`, `u32 version`, `u32 rank`, `u32 pid`, `f64 time`, crc32 from 0.
- `.keys`: one JSON string a line, ASCII; the first line has key id 0. A line is written before its first use.
- `.config`: one JSON object a line, `{"time": seconds, "values": {flat dotted key: JSON value}}`, and on request
  `"run": {"name", "experiment", "tags"}`, `"source"` (who said it) and `"given"` (keys that were typed, not defaults).
- `.source`: one JSON object, `{"order", "source"}`, only where the points do not come from `dstui.log`.
- One `write()` per `log` call; the records of a call have equal bits in step and time.

Promise: once `log` has returned, its points survive the death of the process. One call is the exception: `log` from a
signal handler that interrupted `log` in the same thread is queued and written before the interrupted call returns.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import struct
import sys
import threading
import weakref
from collections.abc import Mapping
from time import time as wall_clock
from types import FrameType
from typing import Any
from zlib import crc32

MAGIC = b"DSJ1"
"""Marks the header record of a journal."""

VERSION = 1
"""Version of the record layout; a reader skips journals of a higher one."""

RECORD_BYTES = 32
"""Size of every record, the header too."""

KIND_HEADER = 0
"""Record 0 of a journal."""

KIND_SCALAR = 1
"""A number of a metric."""

NO_STEP = -(1 << 63)
"""The step field of a point that was logged without one."""

LARGEST_STEP = (1 << 63) - 1
"""Steps lie between minus this and this."""

LARGEST_INTEGER = 1 << 53
"""Beyond it float64 skips integers, so the value would not be kept."""

KEY_LIMIT = 16_384
"""Names in one journal; further ones are refused."""

KEY_BYTES = (1 << 20) - 2
"""Bytes of one `.keys` file: all of them as one JSON list are then at most 1 MiB."""

PLANNED_SLOTS = 65_536
"""Slots kept ready over all sets of names (about 400 bytes each); past it they are made anew."""

HIGH_DESCRIPTOR = 200
"""Where a journal's descriptors lie, if the process may have so many. One that turns into a daemon closes all of them
and gives low numbers to files of its own: a write of ours then finds its number free, and does not go into theirs."""

TEXT_LIMIT = 200
"""Characters kept of a config value that JSON has no type for."""

_BODY = struct.Struct("<Iqdd")
_HEADER = struct.Struct("<I4sIIId")
_CHECK = struct.Struct("<I")


class _Plan:
    """A set of names made ready for logging: a buffer of one record per name, reused by every call.

    Attributes:
        only: `kind << 24 | key id` when the set has one name, the commonest case and a tenth faster by itself; else 0.
        buffer: the bytes of one `write()`.
        slots: per name, in the order of the mapping: byte offset, `kind << 24 | key id`, view of the 28 checked bytes,
            byte offset of the check word.
    """

    __slots__ = ("buffer", "only", "slots")

    def __init__(self, heads: list[int]) -> None:
        self.only = heads[0] if len(heads) == 1 else 0
        self.buffer = bytearray(RECORD_BYTES * len(heads))
        view = memoryview(self.buffer)
        self.slots = [
            (start, head, view[start : start + _BODY.size], start + _BODY.size)
            for start, head in zip(range(0, len(self.buffer), RECORD_BYTES), heads)
        ]


class JournalWriter:
    """The journal of this process, opened at its first point.

    Thread-safe. Safe to call from a signal handler. After a fork the child writes a journal of its own. No call raises
    for an input or output error: the first one that a second try does not mend is told on stderr, and logging stops.

    Args:
        directory: the `journal` folder of a run; made (0700) when its parent exists.
        rank: rank of the process among those of the run, 0 or more.
        name: the second half of the file name: the process id, or what it holds (`stdout`). If a journal of that name
            is there already, `-2`, `-3`, .. is added.
        source: where the points come from, such as `hook:wandb` or `file:logs/metrics.csv`; None is `dstui.log`.
        order: which source counts when several have one metric: 0 `dstui.log`, 1 a logger seen by the hook, 2 event
            files, 3 other files, 4 printed lines.
    """

    def __init__(self, directory: str, rank: int, name: str, source: str | None = None, order: int = 0) -> None:
        self.directory = directory
        self.rank = rank
        self.name = name
        self.source = source
        self.order = order
        self._pid = os.getpid()
        self._stopped = False
        self._queue: list[tuple[dict[str, float], int | None, float]] = []
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        # A new lock, since after a fork the old one may be held by a thread that the child does not have.
        self._lock = threading.RLock()
        # True while the files and the fields below may disagree; it stays so when an exception cut a call short.
        self._busy = False
        self._data = -1
        self._keys = -1
        self._config = -1
        self._number = 0
        self._ids: dict[str, int] = {}
        self._key_bytes = 0
        self._keys_refused = False
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._planned_slots = 0

    def log(self, values: Mapping[str, float], step: int | None = None, time: float | None = None) -> None:
        """Append one record per value, all in one `write()`.

        Args:
            values: float, int of at most 2**53 or bool by name; written as float64, bit for bit.
            step: from -(2**63 - 1) to 2**63 - 1, or None: then readers count.
            time: seconds since the epoch, finite; now when not given.

        Raises:
            TypeError: a name is no string, or a value no number of those kinds.
            struct.error: the step is no integer, or out of range. After either, nothing of the call is written.
        """
        with self._lock:
            if self._busy and not self._recover():
                self._enqueue(values, step, wall_clock() if time is None else time)
                return
            # All that is read or changed from here on is read after this line: a handler that runs before it completes
            # its own call, one that runs after it is queued.
            self._busy = True
            try:
                plan = self._plans.get(tuple(values))
                if plan is None:
                    plan = self._prepare(values)
                    if self._stopped:
                        self._busy = False
                        return
                    # Names over the limit have no key id.
                    values = {name: values[name] for name in values if name in self._ids}
                if step is None:
                    step = NO_STEP
                if time is None:
                    time = wall_clock()
                number = self._number
                buffer: bytes | bytearray
                if plan.only:
                    (value,) = values.values()
                    record = _pack(plan.only, step, time, value if type(value) is float else _real(value))
                    buffer = record + _pack_check(crc32(record, number))
                    number += 1
                else:
                    buffer = plan.buffer
                    # A list, since another thread may be changing the dict.
                    for (start, head, body, end), value in zip(plan.slots, list(values.values())):
                        _pack_into(buffer, start, head, step, time, value if type(value) is float else _real(value))
                        _pack_check_into(buffer, end, crc32(body, number))
                        number += 1
            except (struct.error, TypeError):
                self._busy = False
                raise
            try:
                written = _write(self._data, buffer)
            except OSError as error:
                self._continue_after(buffer, 0, error)
            else:
                if written == len(buffer):
                    self._number = number
                else:
                    self._continue_after(buffer, written, None)
            self._busy = False
            # After the line above a handler writes by itself again, so nothing can be left behind in the queue.
            if self._queue:
                self._write_queue()

    def config(
        self,
        values: Mapping[str, Any],
        run: Mapping[str, Any] | None = None,
        source: str | None = None,
        given: list[str] | None = None,
    ) -> None:
        """Append one line of settings.

        Args:
            values: setting by flat dotted key; a later line wins per key. What JSON has no type for becomes text.
            run: what the script says of the run itself: `name`, `experiment`, `tags`.
            source: who says it, such as `argparse`; None is the script by `dstui.config`.
            given: the keys that were typed; the others are defaults. None where that is not known.
        """
        line: dict[str, Any] = {"time": wall_clock(), "values": json_value(values)}
        if run:
            line["run"] = json_value(run)
        if source:
            line["source"] = source
        if given is not None:
            line["given"] = given
        data = (json.dumps(line) + "\n").encode("ascii")
        with self._lock:
            if self._stopped:
                return
            try:
                if self._config < 0:
                    self._open_config()
                try:
                    _append_whole(self._config, data)
                except OSError as error:
                    if error.errno != errno.EBADF:
                        raise
                    _forget_descriptors()
                    self._open_config()
                    _append_whole(self._config, data)
            except OSError as error:
                if error.errno is None:
                    raise
                self._stop(error)

    def close(self) -> None:
        """Write what is queued and close the files; a later `log` is refused."""
        with self._lock:
            if self._queue and (not self._busy or self._recover()):
                self._write_queue()
            self._close_files()
            self._stopped = True

    def _close_files(self) -> None:
        for descriptor in (self._data, self._keys, self._config):
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        self._data = self._keys = self._config = -1
        self._plans = {}

    def _enqueue(self, values: Mapping[Any, Any], step: int | None, time: float) -> None:
        # Checked here, since an error while the queue is written would reach the wrong caller.
        for name in values:
            if not isinstance(name, str):
                raise TypeError(f"The name of a metric is a string, not {type(name).__name__}")
        _pack(0, NO_STEP if step is None else step, time, 0.0)
        self._queue.append(({name: _real(value) for name, value in values.items()}, step, time))

    def _write_queue(self) -> None:
        while self._queue:
            values, step, time = self._queue.pop(0)
            self.log(values, step, time)

    # What follows runs with the lock held.

    def _prepare(self, values: Mapping[Any, Any]) -> _Plan:
        """The plan of a set of names, its key ids safe in `.keys`; an empty one after logging has stopped."""
        names = tuple(values)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"The name of a metric is a string, not {type(name).__name__}")
        for value in values.values():
            _real(value)  # Before the names are taken: a refused call leaves no trace.
        if not self._stopped:
            try:
                if self._data < 0:
                    self._open()
                self._register(names)
            except OSError as error:
                if error.errno is None:
                    raise
                if error.errno == errno.EBADF and self._data >= 0:
                    _forget_descriptors()
                    return self._prepare(values)
                self._stop(error)
        if self._stopped:
            return _Plan([])
        accepted = [KIND_SCALAR << 24 | self._ids[name] for name in names if name in self._ids]
        plan = _Plan(accepted)
        if len(accepted) < len(names):
            return plan
        self._planned_slots += len(accepted)
        if self._planned_slots > PLANNED_SLOTS:
            self._plans.clear()
            self._planned_slots = len(accepted)
        self._plans[names] = plan
        return plan

    def _make_directory(self) -> None:
        # Only the last folder: when the run's own directory is gone, the run is over and must not come back as a ghost.
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass

    def _open_config(self) -> None:
        self._make_directory()
        path = os.path.join(self.directory, f"{self.rank}-{self.name}.config")
        self._config = _lift(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))

    def _open(self) -> None:
        self._make_directory()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        stem = stem_of_first = os.path.join(self.directory, f"{self.rank}-{self.name}")
        attempt = 1
        while True:
            # A process that replaced itself by exec, or two copies of this module in one process, find the name taken.
            try:
                data = os.open(stem + ".dsj", flags | os.O_EXCL, 0o600)
                break
            except FileExistsError:
                attempt += 1
                stem = f"{stem_of_first}-{attempt}"
        keys = -1
        try:
            keys = os.open(stem + ".keys", flags | os.O_TRUNC, 0o600)
            if self.source is not None:
                self._write_source(stem)
            body = _HEADER.pack(KIND_HEADER, MAGIC, VERSION, self.rank, self._pid & 0xFFFFFFFF, wall_clock())
            _append_whole(data, body + _pack_check(crc32(body, 0)))
        except BaseException:
            os.close(data)
            if keys >= 0:
                os.close(keys)
            raise
        self._number = 1
        self._key_bytes = 0
        self._keys = _lift(keys)
        self._data = _lift(data)

    def _write_source(self, stem: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(stem + ".source", flags, 0o600)
        try:
            _append_whole(descriptor, (json.dumps({"order": self.order, "source": self.source}) + "\n").encode("ascii"))
        finally:
            os.close(descriptor)

    def _register(self, names: tuple[str, ...]) -> None:
        """Give each new name its key id, as far as the limits go."""
        lines: list[bytes] = []
        new: dict[str, int] = {}
        size = self._key_bytes
        for name in names:
            if name in self._ids:
                continue
            line = (json.dumps(name) + "\n").encode("ascii")
            if len(self._ids) + len(new) >= KEY_LIMIT or size + len(line) > KEY_BYTES:
                if not self._keys_refused:
                    self._keys_refused = True
                    tell(
                        f"a run keeps at most {KEY_LIMIT:,} metric names in 1 MiB; `{shorten(name)}` and later new "
                        "names are not recorded. Put counters into the step, not into the name"
                    )
                continue
            new[name] = len(self._ids) + len(new)
            lines.append(line)
            size += len(line)
        if lines:
            _append_whole(self._keys, b"".join(lines))
            self._ids.update(new)
            self._key_bytes = size

    def _recover(self) -> bool:
        """Whether the journal may be written now, with all fields as the files say.

        False inside a signal handler that interrupted `log` in this thread. Otherwise an exception out of a handler
        (Ctrl-C) cut an earlier call short, perhaps between its `write()` and the count, so the files are asked.
        """
        frame: FrameType | None = sys._getframe(1).f_back
        while frame is not None:
            if frame.f_code is _LOG_CODE and frame.f_locals.get("self") is self:
                return False
            frame = frame.f_back
        try:
            if self._data >= 0:
                self._number = os.fstat(self._data).st_size // RECORD_BYTES
                os.ftruncate(self._data, self._number * RECORD_BYTES)
                self._read_own_keys()
        except OSError as error:
            self._stop(error)
        self._busy = False
        return True

    def _read_own_keys(self) -> None:
        text = os.pread(self._keys, os.fstat(self._keys).st_size, 0)
        self._key_bytes = text.rfind(b"\n") + 1
        os.ftruncate(self._keys, self._key_bytes)
        names = [json.loads(line) for line in text[: self._key_bytes].splitlines()]
        self._ids = {name: number for number, name in enumerate(names)}
        self._plans.clear()
        self._planned_slots = 0

    def _continue_after(self, buffer: bytes | bytearray, written: int, error: OSError | None) -> None:
        """Cut a short write back to its whole records and try the rest once; stop when that fails too."""
        if error is not None and error.errno is None:
            raise error  # Not from the system: a signal handler raised it (`TimeoutError` is an OSError).
        if self._data < 0:
            return
        if error is not None and error.errno == errno.EBADF:
            self._write_anew(bytes(buffer))
            return
        self._number += written // RECORD_BYTES
        rest = bytes(buffer[written // RECORD_BYTES * RECORD_BYTES :])
        again = 0
        try:
            os.ftruncate(self._data, self._number * RECORD_BYTES)
            again = os.write(self._data, rest)
            if again == len(rest):
                self._number += again // RECORD_BYTES
                return
            self._number += again // RECORD_BYTES
            os.ftruncate(self._data, self._number * RECORD_BYTES)
        except OSError as second:
            error = second
        self._stop(error)

    def _write_anew(self, records: bytes) -> None:
        """Write a call's records into a new journal: the process has closed our descriptors."""
        names = list(self._ids)
        _forget_descriptors()
        values: dict[str, float] = {}
        step, time = NO_STEP, 0.0
        for start in range(0, len(records), RECORD_BYTES):
            head, step, time, value = _BODY.unpack_from(records, start)
            values[names[head & 0xFFFFFF]] = value
        self._busy = False
        self.log(values, None if step == NO_STEP else step, time)

    def _stop(self, error: OSError | None) -> None:
        """End logging for good, and say so once."""
        already = self._stopped
        self._stopped = True
        self._close_files()
        if not already:
            reason = error.strerror if error is not None and error.strerror else "the disk is full"
            tell(
                f"metrics of this process are no longer recorded: {reason} (`{self.directory}`). "
                "What was logged before is kept; the training goes on"
            )


_write = os.write
_pack = _BODY.pack
_pack_into = _BODY.pack_into
_pack_check = _CHECK.pack
_pack_check_into = _CHECK.pack_into
_LOG_CODE = JournalWriter.log.__code__
_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _start_over_in_child() -> None:
    for writer in list(_writers):
        writer._pid = os.getpid()
        # Who the first parent was stays to be seen.
        writer.name = f"{writer.name.partition('.')[0]}.{writer._pid}"
        writer._queue.clear()
        # The child's copies of the parent's descriptors; the parent's own stay open.
        writer._close_files()
        writer._reset()


os.register_at_fork(after_in_child=_start_over_in_child)


def _lift(descriptor: int) -> int:
    """The same file at a high number, where there is room for it."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def _forget_descriptors() -> None:
    """Every journal of this process opens its files anew: their numbers are free, or soon belong to others of us."""
    for writer in list(_writers):
        writer._data = writer._keys = writer._config = -1
        writer._ids = {}
        writer._plans = {}
        writer._planned_slots = 0


def _real(value: object) -> float:
    """A float, int of at most 2**53 or bool as float.

    Raises:
        TypeError: it is something else, or an integer that float64 does not hold.
    """
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return float(value)
    raise TypeError(f"A metric is a number, not {type(value).__name__}")


def _append_whole(descriptor: int, data: bytes) -> None:
    """Append all bytes or none, with one more try.

    Raises:
        OSError: both tries failed; the file has its old length.
    """
    size = os.fstat(descriptor).st_size
    for last in (False, True):
        try:
            if os.write(descriptor, data) == len(data):
                return
            os.ftruncate(descriptor, size)
        except OSError as error:
            os.ftruncate(descriptor, size)
            if last or error.errno is None:
                raise
    raise OSError(errno.ENOSPC, "the disk is full")


def json_value(value: object, depth: int = 8) -> Any:
    """A value as JSON has it: scalars as they are, non-finite floats by name, sequences as lists, all else as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if depth:
        if isinstance(value, Mapping):
            return {str(key): json_value(part, depth - 1) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [json_value(part, depth - 1) for part in value]
    try:
        return str(value)[:TEXT_LIMIT]
    except Exception:
        return f"<{type(value).__name__}>"


def shorten(name: object, limit: int = 60) -> str:
    """A name for a message: printable ASCII, at most `limit` characters."""
    text = ascii(name)[1:-1] if isinstance(name, str) else ascii(name)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def tell(message: str) -> None:
    """One line on stderr; a closed or replaced stderr is no reason to fail."""
    try:
        sys.stderr.write(f"dstui: {message}\n")
        sys.stderr.flush()
    except Exception:
        pass
