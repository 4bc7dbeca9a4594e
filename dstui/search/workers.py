"""Processes that evaluate an objective in parallel; one that dies costs its trial, not the search.

They are spawned, not forked: a fork after OpenMP threads or CUDA have started hangs.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.search.parameters import Value

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Params = dict[str, Value]
Objective = Callable[..., Any]


@dataclass(frozen=True)
class Result:
    """What one evaluation gave: a value, or why there is none.

    Attributes:
        value: what the objective returned, not yet looked at.
        failure: `failed`, `oom`, `timeout`, `killed`, or empty.
        error: what was raised, or a sentence; None after a value.
    """

    value: object = None
    failure: str = ""
    error: BaseException | str | None = None


def evaluate(objective: Objective, params: Params) -> Result:
    """One evaluation in this process."""
    try:
        return Result(objective(params))
    except MemoryError as error:
        return Result(failure="oom", error=error)
    except Exception as error:  # whatever the user's function raises is one failed trial
        # PyTorch's own error for a full GPU is told by its name, without loading PyTorch.
        return Result(failure="oom" if type(error).__name__ == "OutOfMemoryError" else "failed", error=error)


class Workers:
    """A fixed number of processes, each evaluating one point at a time; for one thread.

    Args:
        objective: a function that can be imported by its name.
        number: of processes.
        timeout_seconds: after which an evaluation is ended.
        devices: values of CUDA_VISIBLE_DEVICES, dealt out in turn; empty leaves the variable alone.

    Raises:
        UsageError: the objective cannot be sent to another process.
    """

    def __init__(
        self,
        objective: Objective,
        number: int,
        *,
        timeout_seconds: float | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        try:
            ForkingPickler.dumps(objective)
        except Exception as error:  # pickling runs code of the object, which may raise anything
            name = getattr(objective, "__qualname__", repr(objective))
            raise UsageError(
                f"`{name}` cannot be sent to other processes, which `parallel` above 1 needs: {error}",
                hint="define it with `def` at the top level of a module, or use parallel=1",
            ) from error
        self._objective, self._timeout_seconds, self._devices = objective, timeout_seconds, devices
        self._context = multiprocessing.get_context("spawn")
        self._idle = list(range(number))
        self._processes: dict[int, _Worker] = {}
        self._busy: dict[int, tuple[Any, float | None]] = {}
        """Per worker its ticket, and when it began; None while it is still starting."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self._processes):
            self._end(place)

    @property
    def free(self) -> int:
        """How many evaluations can be started now."""
        return len(self._idle)

    @property
    def running(self) -> int:
        """How many evaluations go on."""
        return len(self._busy)

    def start(self, ticket: Any, params: Params) -> None:
        """Begins an evaluation; its result comes back with the ticket."""
        place = self._idle.pop(0)
        worker = self._processes.get(place)
        if worker is None or not worker.process.is_alive():
            self._end(place)
            worker = self._processes[place] = self._spawned(place)
        self._busy[place] = (ticket, None)
        try:
            worker.pipe.send(params)
        except OSError:
            pass  # it died just now, which `wait` will see

    def wait(self) -> list[tuple[Any, Result]]:
        """At least one result, as soon as there is one; empty when nothing runs."""
        while self._busy:
            pipes = {self._processes[place].pipe: place for place in self._busy}
            found = []
            for ready in multiprocessing.connection.wait(list(pipes), self._patience()):
                place = pipes[ready]
                result = self._received(place)
                if result is not None:
                    found.append((place, result))
            now = time.monotonic()
            if self._timeout_seconds is not None:
                done = {place for place, _ in found}
                for place, (_, started) in list(self._busy.items()):
                    if place not in done and started is not None and now - started >= self._timeout_seconds:
                        self._end(place)
                        sentence = f"it took over {self._timeout_seconds:g} s"
                        found.append((place, Result(failure="timeout", error=sentence)))
            if found:
                results = []
                for place, result in sorted(found, key=lambda entry: entry[0]):
                    results.append((self._busy.pop(place)[0], result))
                    self._idle.append(place)
                return results
        return []

    def _patience(self) -> float | None:
        if self._timeout_seconds is None:
            return None
        first = min((started for _, started in self._busy.values() if started is not None), default=None)
        return None if first is None else max(0.0, first + self._timeout_seconds - time.monotonic())

    def _received(self, place: int) -> Result | None:
        """What a worker sent; None where it only says that it has begun, which is when its time starts."""
        worker = self._processes[place]
        try:
            result = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(5)
            code = worker.process.exitcode
            self._end(place)
            if code is not None and code < 0:
                # The kernel's answer to a full memory is this signal.
                failure = "oom" if code == -signal.SIGKILL else "killed"
                return Result(failure=failure, error=f"its process was ended by {signal.Signals(-code).name}")
            return Result(failure="failed", error=f"its process ended with {code}")
        if isinstance(result, Result):
            return result
        self._busy[place] = (self._busy[place][0], time.monotonic())
        return None

    def _spawned(self, place: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        device = self._devices[place % len(self._devices)] if self._devices else None
        process = self._context.Process(target=_work, args=(theirs, self._objective, device), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _end(self, place: int) -> None:
        worker = self._processes.pop(place, None)
        if worker is not None:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


_BEGUN = "begun"


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Any


def _work(pipe: Any, objective: Objective, device: str | None) -> None:
    """What a worker does: evaluate what comes until the pipe is closed."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    # Ctrl-C is the parent's business; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            params = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_BEGUN)
        result = evaluate(objective, params)
        try:
            ForkingPickler.dumps(result)
        except Exception:  # an error or a value that cannot travel is told in words
            shown = (
                f"{type(result.error).__name__}: {result.error}" if result.error else f"it returned {result.value!r}"
            )
            result = Result(failure=result.failure or "failed", error=shown)
        pipe.send(result)
