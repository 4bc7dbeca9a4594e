"""`dstui --once PAGE`: the lines of one page on standard output, without an app or an event loop.

The same models draw that draw the dashboard. Colours only for a terminal; the width is that of the terminal, else
`COLUMNS`, else 120.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dstui.errors import UsageError
from dstui.sdk import open_project
from dstui.sdk.query import Sort
from dstui.sdk.views import Reader
from dstui.sdk.views.data import (
    REQUEST_KINDS,
    ChartsRequest,
    ChartsSnapshot,
    DetailRequest,
    DetailSnapshot,
    LogRequest,
    LogSnapshot,
    OverviewRequest,
    OverviewSnapshot,
    Request,
    RunsRequest,
    RunsSnapshot,
    Snapshot,
)
from dstui.tui.theme import ANSI, ASCII, PLAIN, UNICODE, Look
from dstui.tui.views.columns import overview_columns, runs_columns
from dstui.tui.views.lines import PartsModel, fact_lines
from dstui.tui.views.table import ListedRows, TableModel, TableState

if TYPE_CHECKING:
    from textual.strip import Strip

    from dstui.tui.views.line_view import LineModel

SECONDS = 5.0
"""Longest wait for the snapshots of a page."""

DEFAULT_WIDTH = 120
RUN_ROWS = 50
LOG_LINES = 20
CHART_ROWS = 12
CHARTS_PER_ROW = 2


def print_page(page: str, *, read_only: bool, ascii_only: bool, start: Path | None = None) -> int:
    """Prints `overview`, `runs` or `run:RUN`; 0, or 1 when not everything could be read in time.

    Raises:
        UsageError: there is no such page.
        RunNotFound: no run, or more than one, is called that.
    """
    look, width = _look(ascii_only=ascii_only), _width()
    # Without a store there is nothing to list; the overview says how the first run is made.
    if page == "overview" or (page == "runs" and not _has_store(start)):
        lines, whole = _overview(_Answers(start, read_only=read_only), look, width)
    elif page == "runs":
        lines, whole = _runs(_Answers(start, read_only=read_only), look, width)
    elif page.startswith("run:") and len(page) > len("run:"):
        with open_project(start, read_only=read_only) as project:
            run = project.resolve(page.removeprefix("run:"))
        lines, whole = _run(_Answers(start, read_only=read_only), run, look, width)
    else:
        raise UsageError(f"There is no page `{page}`", hint="the pages are `overview`, `runs` and `run:RUN`")
    _write(lines)
    return 0 if whole else 1


def _has_store(start: Path | None) -> bool:
    with open_project(start, read_only=True) as project:
        return project.store.exists


Kind = TypeVar("Kind", bound=Snapshot)


class _Answers:
    """A reader that is asked and waited for."""

    def __init__(self, start: Path | None, *, read_only: bool) -> None:
        self._news = threading.Event()
        self._reader = Reader(start, lambda _: self._news.set(), read_only=read_only, remember=False)
        self._reader.start()
        self._deadline = time.monotonic() + SECONDS

    def ask(self, request: Request, kind: type[Kind]) -> Kind | None:
        """The answer to a request, None when it did not come in time."""
        name = REQUEST_KINDS[type(request)]
        self._reader.ask(request)
        while time.monotonic() < self._deadline and self._reader.failure is None:
            snapshot = self._reader.take(name)
            if isinstance(snapshot, kind):
                return snapshot
            self._news.wait(max(0.0, min(0.2, self._deadline - time.monotonic())))
            self._news.clear()
        return None

    def stop(self) -> None:
        """Ends the reader.

        Raises:
            InternalError: it ended by a bug.
        """
        self._reader.stop()
        if self._reader.failure is not None:
            from dstui.errors import InternalError

            raise InternalError(f"The reader failed: {type(self._reader.failure).__name__}") from self._reader.failure


def _overview(answers: _Answers, look: Look, width: int) -> tuple[list[Strip], bool]:
    from dstui.tui.pages.overview import first_run_lines, since_title

    snapshot = answers.ask(OverviewRequest(), OverviewSnapshot)
    answers.stop()
    if snapshot is None:
        return [], False
    if snapshot.total == 0:
        return _block("", PartsModel(first_run_lines(snapshot.project, look), look), width, look), True
    state = TableState(now=time.time())
    since = "".join(text for text, _ in since_title(snapshot, state.now, look))
    strips: list[Strip] = []
    for name, title, lines in (
        ("running", f"Running  {len(snapshot.running)}", snapshot.running),
        ("recent", f"Recent runs of {snapshot.total:,}", snapshot.recent[:RUN_ROWS]),
        ("since", since, snapshot.since),
    ):
        if lines:
            model = TableModel(ListedRows(lines), overview_columns(name, lines, snapshot), look, state)
            strips += _block(title, model, width, look)
    return strips, True


def _runs(answers: _Answers, look: Look, width: int) -> tuple[list[Strip], bool]:
    snapshot = answers.ask(RunsRequest(1, last=RUN_ROWS), RunsSnapshot)
    answers.stop()
    if snapshot is None:
        return [], False
    rows = snapshot.order[:RUN_ROWS].tolist()
    lines = [snapshot.lines[row] for row in rows if row in snapshot.lines]
    columns = runs_columns(lines, snapshot.columns, snapshot.objective, Sort())
    model = TableModel(ListedRows(lines), columns, look, TableState(now=time.time()))
    strips = _block(f"Runs  {snapshot.total:,}", model, width, look)
    more = len(snapshot.order) - len(lines)
    if more > 0:
        strips += _strips(PartsModel([[(f"{look.glyphs.more} {more:,} more", look.quiet)]], look), width)
    return strips, True


def _run(answers: _Answers, run: str, look: Look, width: int) -> tuple[list[Strip], bool]:
    from dstui.tui.pages.run import config_parts
    from dstui.tui.views.charts import ChartsModel
    from dstui.tui.views.log import styled_parts
    from dstui.tui.views.plot import plot_cells

    detail = answers.ask(DetailRequest(run), DetailSnapshot)
    if detail is None:
        answers.stop()
        return [], False
    names = tuple(str(name) for group in detail.groups for _, name in group.members)
    charts = answers.ask(ChartsRequest(run, 1, names, plot_cells(width // CHARTS_PER_ROW) * 2), ChartsSnapshot)
    log = answers.ask(LogRequest(run, 1, 0, LOG_LINES, follow=True), LogSnapshot)
    answers.stop()
    line = detail.line
    title = f"{line.label} {line.short} {line.name}  {look.state_words(line.state).strip()}"
    strips = _block(title, PartsModel(fact_lines(detail.facts, width - 4, look), look), width, look)
    if charts is not None and detail.groups:
        model = ChartsModel(look)
        model.groups, model.envelopes, model.selected = detail.groups, charts.envelopes, -1
        model.pane_height = CHART_ROWS * -(-len(detail.groups) // CHARTS_PER_ROW)
        strips += _block("Charts", model, width, look)
    heading, lines = config_parts(detail, look, only_differing=False)
    strips += _block("Config", PartsModel(lines, look, heading=heading), width, look)
    if log is not None and log.count:
        parts = [styled_parts(found, look) for found in log.lines]
        strips += _block(f"Log  last {len(parts)} of {log.count:,} lines", PartsModel(parts, look), width, look)
    return strips, charts is not None and log is not None


def _block(title: str, model: LineModel, width: int, look: Look) -> list[Strip]:
    """A heading, all lines of a model, and an empty line."""
    heading = [] if not title else _strips(PartsModel([[(title, look.strong)]], look), width)
    return [*heading, *_strips(model, width), *_strips(PartsModel([[]], look), width)]


def _strips(model: LineModel, width: int) -> list[Strip]:
    return [model.strip(number, width, cursor=False, focused=False) for number in range(model.height(width))]


def _look(*, ascii_only: bool) -> Look:
    """Colours of the terminal's own for a terminal, none else."""
    from dstui.tui.terminal import ascii_wanted, plain_wanted

    environment = dict(os.environ)
    coloured = sys.stdout.isatty() and not plain_wanted(environment)
    return Look(ANSI if coloured else PLAIN, ASCII if ascii_only or ascii_wanted(environment) else UNICODE)


def _width() -> int:
    for descriptor in (1, 0, 2):
        try:
            return os.get_terminal_size(descriptor).columns
        except OSError:
            continue
    columns = os.environ.get("COLUMNS", "")
    return max(20, int(columns)) if columns.isdigit() else DEFAULT_WIDTH


def _write(strips: Iterable[Strip]) -> None:
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        from rich.console import Console

        console = Console(force_terminal=True, highlight=False)
        lines = [strip.render(console) for strip in strips]
    else:
        lines = [strip.text.rstrip() for strip in strips]
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()
