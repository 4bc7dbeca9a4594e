"""A child process that opens what others wrote: Parquet files, and regular expressions over their output.

A damaged or hostile file can crash a decoder, fill the memory or run for ever. So none is opened in the process that
people look at: the child has its own limits, is killed when it passes one, and is started anew at the next request.

One request or answer on the socket is a length, a JSON header and raw arrays; never pickle. Bytes to read come as
sealed memory files beside the request, so that sending never blocks. A `Worker` is for one thread.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui_store.errors import StoreError

if TYPE_CHECKING:
    from dstui_store.envelope import Buckets, Envelope
    from dstui_store.journal import Floats, Series
    from dstui_store.metrics import Envelope as MetricBuckets

    Metric = Series | MetricBuckets

ADDRESS_SPACE_BYTES = 4 << 30
"""Limit of the child's address space."""

RESIDENT_BYTES = 512 << 20
"""Limit of what it may hold in memory; the parent looks while it waits."""

CPU_SECONDS = 3
"""Processor time of one request and of each file that comes with it."""

DEADLINE_SECONDS = 10.0
"""A request that takes longer counts as hanging."""

IDLE_SECONDS = 60.0
"""Without work for this long the child leaves."""

KEPT_RUNS = 4
"""Runs whose points the child keeps, so that zooming reads no file again."""

MAX_HEADER_BYTES = 4 << 20
MAX_MATCHES = 100_000

_LENGTH = struct.Struct("<II")

Json = Any


class WorkerError(StoreError):
    """The child could not do it: the input is damaged, or it takes more than a limit allows."""


@dataclass
class Answer:
    """What came back for a request: its number, a JSON object, and the bytes of the arrays it names."""

    number: int
    header: dict[str, Json]
    body: bytes = b""

    @property
    def missing_files(self) -> bool:
        """Whether the child wants the same request again, with the files of its token."""
        return bool(self.header.get("missing"))

    def envelopes(self) -> dict[str, Envelope]:
        """The curves by metric, of an answer to `Worker.ask_envelopes`.

        Raises:
            WorkerError: the child says why there are none.
        """
        import numpy as np

        from dstui_store.envelope import Envelope

        self._check()
        found: dict[str, Envelope] = {}
        position = 0
        for item in self.header["curves"]:
            width = item["width"]
            size = width * 8
            lo, hi, mean = (
                np.frombuffer(self.body, "<f8", width, position + index * size).astype(np.float64) for index in range(3)
            )
            bad = np.frombuffer(self.body, np.uint8, width, position + 3 * size).astype(bool)
            position += 3 * size + width
            last_x, last_y = (math.nan if value is None else float(value) for value in item["last"])
            found[item["key"]] = Envelope(
                item["x0"], item["x1"], lo, hi, mean, bad, item["points"], item["dropped"], last_x, last_y
            )
        return found

    def matches(self) -> list[int]:
        """Line numbers, from 0, of an answer to `Worker.ask_search`.

        Raises:
            WorkerError: the child says why there are none.
        """
        self._check()
        return list(self.header["matches"])

    def _check(self) -> None:
        problem = self.header.get("error")
        if problem:
            raise WorkerError(str(problem))


@dataclass
class _Waiting:
    """The request under way."""

    number: int
    deadline: float
    received: bytearray = field(default_factory=bytearray)


class Worker:
    """The parent's side: starts the child when there is work, sends one request at a time, watches its limits."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: _Waiting | None = None
        self._next_number = 1

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._waiting is not None

    def fileno(self) -> int | None:
        """What becomes readable when an answer arrives, None without a child."""
        return None if self._socket is None else self._socket.fileno()

    def ask_envelopes(
        self,
        token: str,
        keys: Sequence[str],
        width: int,
        *,
        axis: str = "step",
        x0: float | None = None,
        x1: float | None = None,
        positive: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> int:
        """Asks for curves of a run; returns the request's number.

        Args:
            token: names the run; what is not its file names or bytes may not share it.
            keys: metrics.
            width: columns of each envelope.
            axis: "step" or "time".
            x0, x1: the range, None = from the first to the last point of any of them.
            positive: leave out values that a logarithmic axis cannot show.
            files: its Parquet files by name; without them the child must have them already, else `missing_files`.

        Raises:
            WorkerError: the child cannot be started.
        """
        request = {"op": "envelope", "token": token, "keys": list(keys), "width": width, "axis": axis}
        return self._ask({**request, "x0": x0, "x1": x1, "positive": positive}, files or {})

    def ask_search(self, pattern: str, text: bytes) -> int:
        """Asks for the lines of a text in which a regular expression is found; returns the request's number.

        Raises:
            WorkerError: the child cannot be started.
        """
        return self._ask({"op": "search", "pattern": pattern}, {"text": text})

    def poll(self) -> Answer | None:
        """The answer if it is complete; call it when the socket is readable and every 50 ms while `busy`.

        Raises:
            WorkerError: the child died, hung or passed a limit; it is gone, and the next request starts another.
        """
        waiting, source = self._waiting, self._socket
        if waiting is None or source is None:
            return None
        while True:
            try:
                chunk = source.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise self._lost("the reading process ended")
            waiting.received += chunk
        answer = _parse(waiting.received)
        if answer is not None:
            self._waiting = None
            return answer
        if time.monotonic() > waiting.deadline:
            raise self._lost(f"it takes longer than {DEADLINE_SECONDS:.0f} s")
        if self._child is not None and _resident_bytes(self._child.pid) > RESIDENT_BYTES:
            raise self._lost(f"it takes more than {RESIDENT_BYTES >> 20} MiB of memory")
        return None

    def wait(self) -> Answer:
        """The answer to the request under way.

        Raises:
            WorkerError: as `poll`.
        """
        import select

        while True:
            answer = self.poll()
            if answer is not None:
                return answer
            descriptor = self.fileno()
            if descriptor is None:
                raise WorkerError("No request is under way")
            select.select([descriptor], [], [], 0.05)

    def close(self) -> None:
        """Ends the child."""
        self._waiting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _ask(self, request: Mapping[str, Json], files: Mapping[str, bytes]) -> int:
        """Sends a request; an earlier one under way is given up with its child."""
        if self.busy:
            self.close()
        number, self._next_number = self._next_number, self._next_number + 1
        names, descriptors = [], []
        try:
            for name, content in files.items():
                names.append([name, len(content)])
                descriptors.append(_memory_file(content))
            cpu_seconds = CPU_SECONDS * (1 + len(names))
            message = {**request, "number": number, "files": names, "cpu_seconds": cpu_seconds}
            header = json.dumps(message).encode()
            self._send(_LENGTH.pack(len(header), 0) + header, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._waiting = _Waiting(number, time.monotonic() + DEADLINE_SECONDS)
        return number

    def _lost(self, why: str) -> WorkerError:
        self.close()
        return WorkerError(f"Damaged or too large: {why}")

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        for attempt in (1, 2):
            if self._socket is None:
                self._start()
            assert self._socket is not None
            try:
                # A header fits into the socket's buffer, so this does not wait for the child.
                socket.send_fds(self._socket, [message], descriptors)
                return
            except OSError as error:
                # It left because it was idle: once more with a new one.
                self.close()
                if attempt == 2:
                    raise WorkerError(f"The reading process cannot be reached: {error.strerror}") from error

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
            f"from dstui_store.worker import serve; serve({theirs.fileno()})"
        )
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise WorkerError(f"The reading process cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_HEADER_BYTES)
        self._socket = ours


# The child


def serve(descriptor: int) -> None:
    """The child's loop: answers requests until the parent is gone or nothing came for a minute."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where pandas is installed, pyarrow would load it with the first column: 0.3 s and 26 MiB for nothing.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    desk = _Desk()
    with socket.socket(fileno=descriptor) as connection:
        connection.settimeout(IDLE_SECONDS)
        while (request := _receive(connection)) is not None:
            _allow_cpu(request["cpu_seconds"])
            header, body = desk.answer(request)
            header["number"] = request["number"]
            encoded = json.dumps(header).encode()
            connection.sendall(_LENGTH.pack(len(encoded), len(body)) + encoded + body)


class _Desk:
    """Does the work; keeps the points of the last few runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Mapping[str, Metric]] = OrderedDict()

    def answer(self, request: Mapping[str, Json]) -> tuple[dict[str, Json], bytes]:
        """(header, body) for one request; an error is said in the header."""
        work = {"envelope": self._envelope, "search": self._search}[request["op"]]
        try:
            return work(request)
        except StoreError as error:
            return {"error": error.message}, b""
        except (MemoryError, ValueError, OSError, re.error) as error:
            return {"error": f"{type(error).__name__}: {error}"[:500]}, b""

    def _envelope(self, request: Mapping[str, Json]) -> tuple[dict[str, Json], bytes]:
        from dstui_store.envelope import Envelope

        metrics = self._metrics(request)
        if metrics is None:
            return {"missing": True}, b""
        axis, width = request["axis"], request["width"]
        ordered = [(key, *_in_order(metrics[key], axis)) for key in request["keys"] if key in metrics]
        ordered = [item for item in ordered if len(item[1])]
        x0 = _first(request["x0"], (float(x[0]) for _, x, _ in ordered), min)
        x1 = _first(request["x1"], (float(x[-1]) for _, x, _ in ordered), max)
        curves, parts = [], []
        for name, x, y in ordered:
            curve = Envelope.of(x, y, width, x0, x1, positive=request["positive"])
            last = [None if math.isnan(value) else value for value in (curve.last_x, curve.last_y)]
            curves.append(
                {
                    "key": name,
                    "width": width,
                    "x0": curve.x0,
                    "x1": curve.x1,
                    "points": curve.points,
                    "dropped": curve.dropped,
                    "last": last,
                }
            )
            parts += [curve.lo.tobytes(), curve.hi.tobytes(), curve.mean.tobytes(), curve.bad.tobytes()]
        return {"curves": curves}, b"".join(parts)

    def _metrics(self, request: Mapping[str, Json]) -> Mapping[str, Metric] | None:
        token, files = request["token"], request["contents"]
        if files:
            from dstui_store import metrics, system

            if system.FILE in files:
                self._runs[token] = system.read(files[system.FILE])
            else:
                # Of a very large run the commit holds buckets.
                self._runs[token] = metrics.read_envelopes(files) or metrics.read(files)
            while len(self._runs) > KEPT_RUNS:
                self._runs.popitem(last=False)
        if token in self._runs:
            self._runs.move_to_end(token)
        return self._runs.get(token)

    def _search(self, request: Mapping[str, Json]) -> tuple[dict[str, Json], bytes]:
        search = re.compile(request["pattern"], re.IGNORECASE).search
        text = request["contents"]["text"].decode("utf-8", "replace")
        found = [number for number, line in enumerate(text.split("\n")) if search(line)]
        return {"matches": found[:MAX_MATCHES]}, b""


def _in_order(metric: Metric, axis: str) -> tuple[Floats, Floats | Buckets]:
    """(x, y or buckets) with x ascending."""
    import numpy as np

    from dstui_store.envelope import Buckets, order
    from dstui_store.journal import Series

    if isinstance(metric, Series):
        return order(metric.step, metric.time, metric.value, axis)
    x, place = order(metric.step, metric.time, np.arange(len(metric.step), dtype=np.float64), axis)
    buckets = Buckets(metric.minimum, metric.maximum, metric.mean, metric.last, metric.count)
    return x, buckets[place.astype(np.int64)]


def _first(given: float | None, values: Any, choose: Any) -> float:
    return float(given) if given is not None else float(choose(values, default=0.0))


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime) + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _receive(connection: socket.socket) -> dict[str, Json] | None:
    """The next request with the bytes of its files as `contents`, or None when there will be none."""
    try:
        start, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 64)
        if len(start) < _LENGTH.size:
            return None
        size, _ = _LENGTH.unpack(start)
        message = bytearray()
        while len(message) < size:
            chunk = connection.recv(size - len(message))
            if not chunk:
                return None
            message += chunk
    except (TimeoutError, ConnectionError):
        return None
    request: dict[str, Json] = json.loads(bytes(message))
    request["contents"] = {
        name: _read_memory_file(descriptor, length)
        for (name, length), descriptor in zip(request["files"], descriptors, strict=True)
    }
    return request


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("dstui", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor


def _read_memory_file(descriptor: int, length: int) -> bytes:
    with os.fdopen(descriptor, "rb") as source:
        source.seek(0)
        return source.read(length)


def _parse(received: bytearray) -> Answer | None:
    """The answer, once all of it is there."""
    if len(received) < _LENGTH.size:
        return None
    header_size, body_size = _LENGTH.unpack_from(received)
    end = _LENGTH.size + header_size + body_size
    if len(received) < end:
        return None
    header = json.loads(bytes(received[_LENGTH.size : _LENGTH.size + header_size]))
    return Answer(header["number"], header, bytes(received[_LENGTH.size + header_size : end]))


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
