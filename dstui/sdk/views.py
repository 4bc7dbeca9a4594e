"""The dashboard's reader: one thread that watches a store and answers requests with snapshots.

The screen's thread opens no file and starts no process. It asks; the newest request of each kind counts and stands
until it is forgotten, so that it is answered again whenever its data change. Answers wait in a mailbox, one of each
kind, the newest only; `notify` says that a kind has one, and is not called again before it was taken. So a slow screen
never builds a queue.

Foreign Parquet and regular expressions go to the store's worker process. What takes long and changes the store, or
compares code, goes to a second thread with a store of its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import DstuiError
from dstui.sdk.views_data import (
    KINDS,
    REQUEST_KINDS,
    ActDone,
    ChartsRequest,
    ChartsSnapshot,
    CodeRequest,
    ConfigLine,
    DetailRequest,
    IdsRequest,
    IdsSnapshot,
    LogRequest,
    LogSnapshot,
    OverviewRequest,
    OverviewSnapshot,
    PreviewRequest,
    PreviewSnapshot,
    Request,
    RunLine,
    RunsRequest,
    Snapshot,
    StatusSnapshot,
)
from dstui.sdk.views_desk import WorkerDesk
from dstui.sdk.views_lines import LineMaker, objective_of, value_columns
from dstui_store import Store, StoreError, clean

if TYPE_CHECKING:
    from dstui.sdk.project import Project
    from dstui.sdk.views_live import LiveRuns
    from dstui.sdk.views_log import LogText
    from dstui.sdk.views_runs import RunTable
    from dstui_store import SafeText

TICK_SECONDS = 0.5
"""How often the store is looked at."""

WORKER_LOOK_SECONDS = 0.05
"""How often the worker's limits are looked at while it works."""

SINCE_LINES = 50
"""Runs that ended since the last look that are listed; the rest is counted."""

SEARCH_BYTES = 16 << 20
"""Of a longer output the last bytes are searched by a regular expression."""

FAILED = "failed"
"""What `notify` is told when a thread ended by a bug; `Reader.failure` holds the error."""

Act = Callable[["Project"], "SafeText"]
"""Does something to the store and says what it did."""


class Reader:
    """Watches one store for one screen. `start` and the methods below it may be called from any thread."""

    def __init__(
        self,
        start: Path | None,
        notify: Callable[[str], None],
        *,
        read_only: bool = False,
        remember: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            start: a folder of the project, the current one by default.
            notify: told the kind of each snapshot that waits; called from the reader's threads.
            read_only: never write: no index, no commit of ended runs, no last look.
            remember: count this as a look, so that the next session tells what ended since.
            clock: seconds since the epoch.
        """
        self.interval = TICK_SECONDS
        self.last_tick = 0.0
        self.failure: Exception | None = None
        self._start = start
        self._notify = notify
        self._read_only = read_only
        self._remember = remember and not read_only
        self._clock = clock
        self._lock = threading.Lock()
        self._mailbox: dict[str, Snapshot] = {}
        self._standing: dict[str, Request] = {}
        self._due: set[str] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dstui-reader", daemon=True)
        self._slow = _SlowThread(start, self._post, read_only=read_only)

    # For the screen

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 2.0) -> None:
        """Ends the threads and the worker."""
        self._stopping = True
        self._wake()
        self._slow.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def ask(self, request: Request) -> None:
        """Asks for a snapshot; it replaces the standing request of its kind."""
        kind = REQUEST_KINDS[type(request)]
        if isinstance(request, CodeRequest):
            self._slow.ask_code(request)
            return
        with self._lock:
            self._standing[kind] = request
            self._due.add(kind)
        self._wake()

    def forget(self, *kinds: str) -> None:
        """Takes back standing requests: nobody looks any more."""
        with self._lock:
            for kind in kinds:
                self._standing.pop(kind, None)
                self._due.discard(kind)

    def take(self, kind: str) -> Snapshot | None:
        """The newest snapshot of a kind, once."""
        with self._lock:
            return self._mailbox.pop(kind, None)

    def act(self, act: Act) -> None:
        """Does something to the store, after what was asked before; the answer is an `ActDone`."""
        self._slow.act(act)

    # The thread

    def _run(self) -> None:
        watch = _Watch(self._start, self._post, read_only=self._read_only, remember=self._remember, clock=self._clock)
        next_tick = 0.0
        try:
            while not self._stopping:
                if time.monotonic() >= next_tick:
                    if watch.tick():
                        with self._lock:
                            self._due |= self._standing.keys()
                    self.last_tick = time.monotonic()
                    next_tick = self.last_tick + self.interval
                for request in self._next_requests():
                    watch.answer(request)
                watch.collect()
                self._wait(watch.descriptor, WORKER_LOOK_SECONDS if watch.busy else next_tick - time.monotonic())
        except Exception as error:
            # A bug of ours: a screen that silently stays old would be worse than none.
            self.failure = error
            self._notify(FAILED)
        finally:
            watch.close()

    def _next_requests(self) -> list[Request]:
        with self._lock:
            due = [self._standing[kind] for kind in sorted(self._due, key=_urgency) if kind in self._standing]
            self._due.clear()
        return due

    def _wait(self, descriptor: int | None, seconds: float) -> None:
        if self._due:
            return
        watched = [self._wake_read] if descriptor is None else [self._wake_read, descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _post(self, snapshot: Snapshot) -> None:
        kind = KINDS[type(snapshot)]
        with self._lock:
            waiting = kind in self._mailbox
            self._mailbox[kind] = snapshot
        if not waiting:
            self._notify(kind)


def _urgency(kind: str) -> int:
    """What the eye waits for comes first."""
    order = ("runs", "overview", "detail", "log", "charts", "preview")
    return order.index(kind) if kind in order else len(order)


class _Watch:
    """What the reader's thread holds: the store, the run table, the live runs, the worker."""

    def __init__(
        self,
        start: Path | None,
        post: Callable[[Snapshot], None],
        *,
        read_only: bool,
        remember: bool,
        clock: Callable[[], float],
    ) -> None:
        self._start = start
        self._post = post
        self._read_only = read_only
        self._remember = remember
        self._clock = clock
        self._store: Store | None = None
        self._table: RunTable | None = None
        self._live: LiveRuns | None = None
        self._looked_at: float | None = None
        self._seen: tuple[Any, ...] = ()
        self._status: StatusSnapshot | None = None
        self._overview: OverviewSnapshot | None = None
        self._log: tuple[str, LogText] | None = None
        self._desk = WorkerDesk()

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when the worker answers."""
        return self._desk.descriptor

    @property
    def busy(self) -> bool:
        """Whether the worker works."""
        return self._desk.busy

    def close(self) -> None:
        """Ends the worker and closes the store."""
        self._desk.close()
        if self._log is not None:
            self._log[1].close()
        if self._store is not None:
            self._store.close()

    # Freshness

    def tick(self) -> bool:
        """Looks at the store once; whether anything changed."""
        try:
            changed = self._look()
            trouble = ""
        except (StoreError, DstuiError) as error:
            changed, trouble = False, error.message
        except OSError as error:
            changed, trouble = False, f"{error.strerror or error}: {error.filename or 'store'}"
        self._say_status(trouble)
        return changed

    def _look(self) -> bool:
        if self._table is None and not self._open():
            return False
        assert self._store is not None
        assert self._table is not None
        assert self._live is not None
        version = self._store.index.sync()
        seen = (version, *self._store.index.query("PRAGMA data_version")[0])
        changed = False
        if seen != self._seen:
            changed = self._table.refresh() or self._seen == () or self._seen[0] != version
            self._seen = seen
        if self._live.poll(finish=not self._read_only):
            # A run that ended while we looked is in the index now.
            self._store.index.sync()
            self._table.refresh()
            self._table.set_live(self._live.records(), self._live.lines())
            changed = True
        return changed

    def _open(self) -> bool:
        """Opens the store, once there is one."""
        if self._store is None or not self._store.exists:
            self._store = Store.open(self._start, read_only=self._read_only)
        if not self._store.exists:
            return False
        from dstui.sdk.status import last_look, remember_look
        from dstui.sdk.views_live import LiveRuns
        from dstui.sdk.views_runs import RunTable

        maker = LineMaker(_own_writer(self._store))
        self._looked_at = last_look(self._store)
        if self._remember:
            remember_look(self._store, self._clock())
        table = RunTable(self._store.index.query, maker, self._clock)
        self._live = LiveRuns(self._store, maker, table.id_length)
        self._table = table
        return True

    def _say_status(self, trouble: str) -> None:
        project = self._store.layout.project if self._store is not None else (self._start or Path.cwd())
        total = running = 0
        if self._table is not None:
            with contextlib.suppress(StoreError):
                total, running = self._table.count(), self._table.running
        status = StatusSnapshot(clean(_short_path(project)), total, running, clean(trouble))
        if status != self._status:
            self._status = status
            self._post(status)

    # Answers

    def answer(self, request: Request) -> None:
        """Answers a request now, or when the worker has done its part."""
        try:
            if self._table is None:
                if isinstance(request, OverviewRequest):
                    self._answer_empty()
                return
            if isinstance(request, OverviewRequest):
                self._answer_overview(request)
            elif isinstance(request, RunsRequest):
                self._post(self._table.snapshot(request))
            elif isinstance(request, IdsRequest):
                self._post(IdsSnapshot(tuple(self._table.ids(request.rows))))
            elif isinstance(request, DetailRequest):
                self._answer_detail(request)
            elif isinstance(request, ChartsRequest):
                self._answer_charts(request)
            elif isinstance(request, PreviewRequest):
                self._answer_preview(request)
            elif isinstance(request, LogRequest):
                self._answer_log(request)
        except StoreError as error:
            self._say_status(error.message)

    def collect(self) -> None:
        """Takes what the worker has answered."""
        for deliver, answer in self._desk.collect():
            deliver(answer)

    def _answer_empty(self) -> None:
        project = self._store.layout.project if self._store is not None else Path.cwd()
        self._send_overview(OverviewSnapshot((), (), (), None, (), {}, 0, clean(_short_path(project))))

    def _answer_overview(self, request: OverviewRequest) -> None:
        assert self._table is not None
        assert self._store is not None
        running = tuple(self._table.live_lines())
        recent = tuple(self._table.newest(request.lines))
        since: tuple[RunLine, ...] = ()
        counts: dict[SafeText, int] = {}
        if self._looked_at is not None:
            ended = self._table.ended_after(self._looked_at, SINCE_LINES)
            since = tuple(sorted(ended, key=lambda line: line.state == "finished"))
            counts = {clean(state): count for state, count in self._table.ended_counts(self._looked_at).items()}
        sample = [*running, *recent]
        objective = objective_of({key[7:] for line in sample for key in line.values if key.startswith("metric.")})
        self._send_overview(
            OverviewSnapshot(
                running=running,
                recent=recent,
                columns=value_columns(sample, objective),
                looked_at=self._looked_at,
                since=since,
                counts=counts,
                total=self._table.count(),
                project=clean(_short_path(self._store.layout.project)),
            )
        )

    def _send_overview(self, overview: OverviewSnapshot) -> None:
        if overview != self._overview:
            self._overview = overview
            self._post(overview)

    def _line(self, run: str) -> RunLine | None:
        assert self._table is not None
        return self._table.line(run) if run else None

    def _against(self, line: RunLine, wanted: str) -> RunLine | None:
        """The run to compare with: the one asked for, never the run itself."""
        return self._line(wanted) if wanted and wanted != line.id else None

    def _answer_detail(self, request: DetailRequest) -> None:
        from dstui.sdk.views_detail import detail
        from dstui.sdk.views_live import last_sign

        assert self._store is not None
        line = self._line(request.run)
        if line is None:
            return
        live = self._store.live_run(request.run) if line.live else None
        where = None if live is None else last_sign(live)
        self._post(detail(self._store, line, self._against(line, request.against), where))

    def _answer_charts(self, request: ChartsRequest) -> None:
        def deliver(answer: Any) -> None:
            envelopes, problem = answer
            some = next(iter(envelopes.values()), None)
            x0, x1 = (some.x0, some.x1) if some is not None else (0.0, 0.0)
            self._post(ChartsSnapshot(request.run, request.number, envelopes, x0, x1, problem))

        self._envelopes(request.run, request, "charts", deliver)

    def _answer_preview(self, request: PreviewRequest) -> None:
        from dstui.sdk.views_detail import config_lines

        assert self._store is not None
        store = self._store
        line = self._line(request.run)
        if line is None:
            return
        against = self._against(line, request.against)
        differs: tuple[ConfigLine, ...] = ()
        if against is not None:
            lines = config_lines(store.config(request.run), store.config(str(against.id)))
            differs = tuple(item for item in lines if item.differs)
        metric = request.metric if f"metric.{request.metric}" in line.values else _first_metric(line)

        def deliver(answer: Any) -> None:
            envelopes, problem = answer
            self._post(PreviewSnapshot(request.run, clean(metric), envelopes.get(metric), differs, against, problem))

        if not metric:
            deliver(({}, clean("")))
            return
        wanted = ChartsRequest(request.run, 0, (metric,), request.width)
        self._envelopes(request.run, wanted, "preview", deliver)

    def _envelopes(self, run: str, request: ChartsRequest, kind: str, deliver: Callable[[Any], None]) -> None:
        """Curves of a run: at once when it is going on, else by the worker; `deliver` gets (curves, problem)."""
        assert self._live is not None
        assert self._store is not None
        if self._live.curves(run) is not None:
            curves = self._live.envelopes(
                run,
                request.metrics,
                request.width,
                request.axis,
                request.x0,
                request.x1,
                positive=request.positive,
            )
            deliver((curves, clean("")))
            return
        self._desk.envelopes(kind, self._store, request, deliver)

    def _answer_log(self, request: LogRequest) -> None:
        line = self._line(request.run)
        if line is None:
            return
        problem = clean("")
        try:
            text = self._log_text(request.run, line)
        except StoreError as error:
            text, problem = None, clean(error.message)
        if text is None:
            self._post(LogSnapshot(request.run, request.number, 0, 0, (), "", (), line.live, problem))
            return
        text.poll()
        count = text.count
        first = max(0, count - request.count if request.follow else min(request.first, count - 1))

        def deliver(hits: tuple[int, ...], problem: SafeText) -> None:
            lines = text.window(first, request.count)
            self._post(
                LogSnapshot(request.run, request.number, count, first, lines, request.search, hits, line.live, problem)
            )

        if request.search.startswith("~") and len(request.search) > 1:
            self._desk.search(
                text.all_bytes(SEARCH_BYTES), request.search[1:], text.first_line_of(SEARCH_BYTES), deliver
            )
        else:
            deliver(tuple(text.search(request.search)) if request.search else (), problem)

    def _log_text(self, run: str, line: RunLine) -> LogText:
        """The output of a run; that of the last one asked for is kept."""
        from dstui.sdk.views_log import LogFiles, LogText

        assert self._store is not None
        name = f"{run} {line.live}"
        if self._log is None or self._log[0] != name:
            if self._log is not None:
                self._log[1].close()
                self._log = None
            live = self._store.live_run(run) if line.live else None
            self._log = (name, LogFiles(live.folder) if live is not None else LogText(self._store.log(run)))
        return self._log[1]


class _SlowThread:
    """Runs acts and code diffs one after the other, with a project of its own; started at the first of them."""

    def __init__(self, start: Path | None, post: Callable[[Snapshot], None], *, read_only: bool) -> None:
        self._start = start
        self._post = post
        self._read_only = read_only
        self._work: queue.SimpleQueue[Act | None] = queue.SimpleQueue()
        self._code: CodeRequest | None = None
        self._thread: threading.Thread | None = None

    def act(self, act: Act) -> None:
        """Queues an act."""
        self._work.put(act)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dstui-acts", daemon=True)
            self._thread.start()

    def ask_code(self, request: CodeRequest) -> None:
        """Queues a code diff; one that still waits is replaced."""
        self._code = request
        self.act(self._code_act)

    def stop(self) -> None:
        """Ends the thread after what it is doing."""
        if self._thread is not None:
            self._work.put(None)

    def _run(self) -> None:
        from dstui.sdk.project import open_project

        with contextlib.ExitStack() as stack:
            project: Project | None = None
            while (act := self._work.get()) is not None:
                try:
                    if project is None:
                        project = stack.enter_context(open_project(self._start, read_only=self._read_only))
                    said = act(project)
                    if said:
                        self._post(ActDone(said, ok=True))
                except (StoreError, DstuiError) as error:
                    hint = f"; {error.hint}" if error.hint else ""
                    self._post(ActDone(clean(f"{error.message}{hint}"), ok=False))
                except OSError as error:
                    self._post(ActDone(clean(f"{error.strerror or error}: {error.filename or ''}"), ok=False))

    def _code_act(self, project: Project) -> SafeText:
        request, self._code = self._code, None
        if request is None:
            return clean("")
        from dstui.sdk.views_detail import code
        from dstui.sdk.views_runs import RunTable

        store = project.store
        store.index.sync()
        table = RunTable(store.index.query, LineMaker(_own_writer(store)), time.time)
        against = table.line(request.against) if request.against and request.against != request.run else None
        self._post(code(store, request.run, against))
        return clean("")


def _own_writer(store: Store) -> str:
    """The id of this clone, "" when nothing was written here yet; nothing is made."""
    import json

    try:
        return str(json.loads(store.layout.writer_file.read_bytes())["writer"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _first_metric(line: RunLine) -> str:
    return objective_of(key[7:] for key in line.values if key.startswith("metric."))


def _short_path(path: Path) -> str:
    home = str(Path.home())
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + os.sep) else text
