"""What the dashboard's reader looks at and answers from: the store, the run table, the runs that go on, the worker.

For the reader's thread only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import DstuiError
from dstui.sdk.views.data import (
    ChartsRequest,
    ChartsSnapshot,
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
from dstui.sdk.views.desk import WorkerDesk
from dstui.sdk.views.lines import LineMaker, objective_of, own_writer, value_columns
from dstui_store import Store, StoreError, clean

if TYPE_CHECKING:
    from dstui.sdk.views.live import LiveRuns
    from dstui.sdk.views.log import LogText
    from dstui.sdk.views.runs import RunTable
    from dstui_store import SafeText

SINCE_LINES = 50
"""Runs that ended since the last look that are listed; the rest is counted."""

SEARCH_BYTES = 16 << 20
"""Of a longer output the last bytes are searched by a regular expression."""


class Watch:
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
        from dstui.sdk.views.live import LiveRuns
        from dstui.sdk.views.runs import RunTable

        maker = LineMaker(own_writer(self._store))
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
        from dstui.sdk.views.detail import detail
        from dstui.sdk.views.live import last_sign

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
            self._post(ChartsSnapshot(request.run, request.number, envelopes, x0, x1, problem, request.system))

        self._envelopes(request.run, request, "charts", deliver)

    def _answer_preview(self, request: PreviewRequest) -> None:
        from dstui.sdk.views.detail import config_lines

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
        if self._live.curves(run) is not None and request.system:
            from dstui.sdk.views.system import live_curves

            deliver((live_curves(self._store, request), clean("")))
            return
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
        from dstui.sdk.views.log import LogFiles, LogText

        assert self._store is not None
        name = f"{run} {line.live}"
        if self._log is None or self._log[0] != name:
            if self._log is not None:
                self._log[1].close()
                self._log = None
            live = self._store.live_run(run) if line.live else None
            self._log = (name, LogFiles(live.folder) if live is not None else LogText(self._store.log(run)))
        return self._log[1]


def _first_metric(line: RunLine) -> str:
    return objective_of(key[7:] for key in line.values if key.startswith("metric."))


def _short_path(path: Path) -> str:
    home = str(Path.home())
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + os.sep) else text
