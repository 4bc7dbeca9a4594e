"""Work that the dashboard's reader hands to the store's worker process: curves of ended runs, regular expressions.

One task at a time; of each kind only the newest waits. The reader never blocks on the process: it asks `collect` when
the descriptor is readable, and every now and then while a task is under way, so that limits are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dstui_store import StoreError, clean

if TYPE_CHECKING:
    from dstui.sdk.views.data import ChartsRequest
    from dstui_store import Answer, SafeText, Store, Worker


class WorkerDesk:
    """Work for the worker process: one task at a time, of each kind only the newest waits."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._waiting: dict[str, _Task] = {}
        self._current: _Task | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return self._current is not None

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when an answer arrives."""
        return None if self._worker is None or not self.busy else self._worker.fileno()

    def close(self) -> None:
        """Ends the process."""
        if self._worker is not None:
            self._worker.close()

    def envelopes(self, kind: str, store: Store, request: ChartsRequest, deliver: Callable[[Any], None]) -> None:
        """Curves of an ended run; `deliver` gets (curves by metric, problem)."""
        self._add(kind, _EnvelopeTask(store, request, deliver))

    def search(
        self, content: bytes, pattern: str, first_line: int, deliver: Callable[[tuple[int, ...], SafeText], None]
    ) -> None:
        """Lines in which a regular expression is found; `deliver` gets (line numbers, problem)."""
        self._add("log", _SearchTask(content, pattern, first_line, deliver))

    def collect(self) -> list[tuple[Callable[[Any], None], Any]]:
        """What is done: whom to give it to, and what."""
        if self._current is None:
            return []
        assert self._worker is not None
        task = self._current
        try:
            answer = self._worker.poll()
            if answer is None:
                return []
            done = task.take(answer, self._worker)
        except StoreError as error:
            done = task.failed(error)
        if done is None:
            return []
        self._current = None
        self._begin()
        return [(task.deliver, done)]

    def _add(self, kind: str, task: _Task) -> None:
        self._waiting[kind] = task
        if self._current is None:
            self._begin()

    def _begin(self) -> None:
        from dstui_store import Worker

        while self._waiting and self._current is None:
            kind = next(iter(self._waiting))
            task = self._waiting.pop(kind)
            if self._worker is None:
                self._worker = Worker()
            try:
                task.begin(self._worker)
                self._current = task
            except StoreError as error:
                task.deliver(task.failed(error))


class _Task:
    """One piece of work for the worker; `deliver` gets its result."""

    deliver: Callable[[Any], None]

    def begin(self, worker: Worker) -> None:
        """Sends the request."""
        raise NotImplementedError

    def take(self, answer: Answer, worker: Worker) -> Any:
        """The result of an answer, None when the worker was asked again."""
        raise NotImplementedError

    def failed(self, error: StoreError) -> Any:
        """The result that says why there is none."""
        raise NotImplementedError


class _EnvelopeTask(_Task):
    def __init__(self, store: Store, request: ChartsRequest, deliver: Callable[[Any], None]) -> None:
        self._store = store
        self._request = request
        self.deliver = deliver

    def begin(self, worker: Worker) -> None:
        self._ask(worker, None)

    def take(self, answer: Answer, worker: Worker) -> Any:
        if not answer.missing_files:
            return answer.envelopes(), clean("")
        run = self._request.run
        head = "system." if self._request.system else "metrics"
        names = [name for name in self._store.entries(run) if name.startswith(head) and name.endswith(".parquet")]
        files = {name: self._store.blob(run, name) for name in names}
        if not files:
            return {}, clean("")
        self._ask(worker, files)
        return None

    def failed(self, error: StoreError) -> Any:
        return {}, clean(f"could not read the metrics: {error.message}", limit=300)

    def _ask(self, worker: Worker, files: dict[str, bytes] | None) -> None:
        request = self._request
        worker.ask_envelopes(
            f"{request.run} load" if request.system else request.run,
            request.metrics,
            request.width,
            axis=request.axis,
            x0=request.x0,
            x1=request.x1,
            positive=request.positive,
            files=files,
        )


class _SearchTask(_Task):
    def __init__(
        self, content: bytes, pattern: str, first_line: int, deliver: Callable[[tuple[int, ...], SafeText], None]
    ) -> None:
        self._content = content
        self._pattern = pattern
        self._first_line = first_line
        self.deliver = lambda found: deliver(*found)

    def begin(self, worker: Worker) -> None:
        worker.ask_search(self._pattern, self._content)

    def take(self, answer: Answer, worker: Worker) -> Any:
        return tuple(self._first_line + line for line in answer.matches()), clean("")

    def failed(self, error: StoreError) -> Any:
        return (), clean(f"could not search: {error.message}", limit=300)
