"""Runs: every run in one table, filtered as you type, sorted, marked, with a preview of the one under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from dstui.sdk.query import Sort, suggest, word_span
from dstui.sdk.views.data import (
    NEWEST_FIRST,
    IdsRequest,
    IdsSnapshot,
    PreviewSnapshot,
    RunLine,
    RunsRequest,
    RunsSnapshot,
    Snapshot,
)
from dstui.tui.pages.base import SMALL_HEIGHT, SMALL_WIDTH, WIDE, Desk, Page
from dstui.tui.pages.overview import range_to_mark
from dstui.tui.pages.preview import Preview
from dstui.tui.pages.sorting import Sorting, sort_words
from dstui.tui.views.columns import columns_key, runs_columns
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel
from dstui.tui.views.panes import Pane
from dstui.tui.views.prompt import Editor, Question
from dstui.tui.views.table import TableModel, TableState

if TYPE_CHECKING:
    from dstui.tui.views.cells import Part
    from dstui.tui.views.columns import TableColumn

READ_AHEAD = 60
"""Rows that must be read beyond the screen before more are asked for."""

MOST_MARKED = 10_000
"""Runs that one key can mark."""


class SnapshotRows:
    """The rows of a snapshot; those not read yet are None."""

    def __init__(self, snapshot: RunsSnapshot) -> None:
        self._order = snapshot.order
        self._lines = snapshot.lines

    def __len__(self) -> int:
        return len(self._order)

    def at(self, position: int) -> RunLine | None:
        """See `Rows`."""
        return self._lines.get(int(self._order[position])) if 0 <= position < len(self._order) else None


class RunsPage(Page):
    """The run table."""

    title: ClassVar[str] = "Runs"
    place_names: ClassVar[tuple[str, ...]] = ("runs",)

    def __init__(self, desk: Desk, *, id: str) -> None:
        super().__init__(desk, id=id)
        self.snapshot: RunsSnapshot | None = None
        self.query_text = ""
        self.sort = NEWEST_FIRST
        self.state = TableState(sort=Sort())
        self.only_differing = False
        self._number = 0
        self._window = (0, READ_AHEAD)
        self._columns: list[TableColumn] = []
        self._chosen_for: object = None
        self._history: list[str] = []
        self._narrow_preview = False
        self._preview = Preview(self)
        self._sorting = Sorting(self.state, self._shown_columns, self._sort_by, self._letters_changed)
        self._on_top = False
        self._marking = False
        self._open_next = False

    # Panes

    def make_views(self) -> Iterable[LineView]:
        """See `Page`."""
        look = self.desk.look
        yield LineView(PartsModel([], look), look, id="table")
        yield from self._preview.views

    def arrange_panes(self, width: int, height: int) -> Sequence[Pane]:
        """The table, and below it the preview where there is room for it."""
        wanted = self.desk.kept.preview if width >= WIDE else self._narrow_preview
        if not wanted or width < SMALL_WIDTH or height < SMALL_HEIGHT - 4:
            return [Pane("table", 0, 0, width, height)]
        preview = 11 if height >= 30 else 9
        table_pane = Pane("table", 0, 0, width, height - preview)
        if width < WIDE:
            return [table_pane, Pane("preview", 0, height - preview, width, preview)]
        left = width * 58 // 100
        return [
            table_pane,
            Pane("preview", 0, height - preview, left, preview),
            Pane("differs", left, height - preview, width - left, preview),
        ]

    def pane_places(self, pane: str) -> tuple[str, ...]:
        """See `Page`."""
        return ("table", "list")

    def enter_page(self) -> None:
        """See `Page`."""
        self._ask()

    def leave_page(self) -> None:
        """See `Page`."""
        self.desk.forget("runs", "preview")

    def receive(self, snapshot: Snapshot) -> None:
        """See `Page`."""
        if isinstance(snapshot, RunsSnapshot):
            self._receive_runs(snapshot)
        elif isinstance(snapshot, PreviewSnapshot):
            self._preview.receive(snapshot)
        elif isinstance(snapshot, IdsSnapshot) and self._marking:
            self._marking = False
            self.desk.forget("ids")
            self.state.marks |= {str(run) for run in snapshot.ids}
            self._show()

    def minute(self) -> None:
        """See `Page`."""
        self._show()

    def set_look(self) -> None:
        """See `Page`."""
        super().set_look()
        self._chosen_for = None
        self._show()
        self._preview.set_look()

    def on_resize(self) -> None:
        """Where the preview has come, or has another width, it needs another curve."""
        self.call_after_refresh(self._preview.ask)

    # For the preview

    @property
    def has_preview(self) -> bool:
        """Whether the preview is on screen."""
        return len(self.arrange_panes(*self.size)) > 1

    def under_cursor(self) -> RunLine | None:
        """The run under the cursor, None while it is not read."""
        return None if self.snapshot is None else SnapshotRows(self.snapshot).at(self.views["table"].cursor)

    def line_of(self, run: str) -> RunLine | None:
        """A run of the table, if it is read."""
        lines = self.snapshot.lines.values() if self.snapshot is not None else ()
        return next((line for line in lines if line.id == run), None)

    # What it says

    def status(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """The filter and the sort that hold, and what is wrong with the filter."""
        look, snapshot = self.desk.look, self.snapshot
        if snapshot is None:
            return [("reading the runs", look.quiet)], ()
        if self._sorting.waits:
            return self._sorting.words(look), ()
        if snapshot.problem and self.query_text:
            return [(snapshot.problem, look.warn)], ()
        matched = len(snapshot.order)
        place = min(self.views["table"].cursor + 1, matched)
        note: list[Part] = [(f"{place:,} of {matched:,}", look.quiet)]
        left: list[Part] = []
        if self.query_text:
            left += [("filter ", look.quiet), (self.query_text, look.accent), ("   ", look.quiet)]
        if self.state.sort is not None and self.state.sort.keys:
            words = sort_words(self.state.sort, look.glyphs.up, look.glyphs.down)
            left += [("sort ", look.quiet), (words, look.text), ("   ", look.quiet)]
        else:
            left.append(("newest first   ", look.quiet))
        if self.query_text:
            left.append(("esc clears the filter", look.quiet))
        return left, note

    def command(self) -> Sequence[str]:
        """See `Page`."""
        words = ["ds", "ls"]
        if self.query_text:
            words.append(self.query_text)
        if self.state.sort is not None and self.state.sort.keys:
            words += ["--sort", str(self.state.sort)]
        return words

    def targets(self) -> Sequence[RunLine]:
        """See `Page`."""
        snapshot = self.snapshot
        if snapshot is None:
            return ()
        if self.state.marks:
            return [line for line in snapshot.lines.values() if line.id in self.state.marks]
        under = self.under_cursor()
        return [under] if under is not None else []

    def target_ids(self) -> Sequence[str]:
        """See `Page`."""
        return sorted(self.state.marks) if self.state.marks else super().target_ids()

    def go_back(self) -> bool:
        """Clears the filter, then the marks."""
        if self._sorting.waits:
            self._sorting.stop()
        elif self.query_text:
            self._set_query("")
        elif self.state.marks:
            self.state.marks.clear()
            self._show()
        else:
            return False
        return True

    # Keys

    def takes_key(self, key: str) -> bool:
        """A letter that chooses a column to sort by."""
        return self._sorting.takes_key(key)

    def key_owners(self) -> Sequence[object]:
        """See `Page`."""
        return (self, self._sorting, self._preview)

    def do_enter(self) -> None:
        """Opens the run under the cursor; after a change of filter or sort, the one that will be there."""
        if self._on_top:
            self._open_next = True
            return
        line = self.under_cursor()
        if line is not None:
            self.desk.open_run(str(line.id))

    def do_find(self) -> None:
        """Filters as you type."""
        before = self.query_text

        def done(text: str | None) -> None:
            self._set_query(before if text is None and not self.query_text else text or "")

        self.desk.question(
            Question(
                sign="/ ",
                editor=Editor(before, len(before)),
                changed=self._set_query,
                done=done,
                complete=self._complete,
                hint=self._filter_hint,
                history=self._history,
            )
        )

    def do_mark(self) -> None:
        """Marks the run under the cursor and goes on to the next."""
        line = self.under_cursor()
        if line is not None:
            self.state.marks.symmetric_difference_update({str(line.id)})
            self.views["table"].move_by(1)
            self._show()

    def do_mark_range(self) -> None:
        """Marks from the cursor up to the nearest mark."""
        snapshot, view = self.snapshot, self.views["table"]
        if snapshot is None:
            return
        rows = SnapshotRows(snapshot)
        start = max(0, view.cursor - MOST_MARKED)
        near = range(start, min(len(rows), view.cursor + MOST_MARKED))
        ids = [str(line.id) if (line := rows.at(position)) is not None else "" for position in near]
        first, last = range_to_mark(ids, view.cursor - start, self.state.marks)
        self.state.marks.update(run for run in ids[first:last] if run)
        self._show()

    def do_mark_all(self) -> None:
        """Marks all shown runs, or none when all are."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        if len(self.state.marks) >= min(len(snapshot.order), MOST_MARKED):
            self.state.marks.clear()
            self._show()
            return
        if len(snapshot.order) > MOST_MARKED:
            self.desk.say(f"marked the first {MOST_MARKED:,} runs only", "warn")
        self._marking = True
        self.desk.request(IdsRequest(tuple(snapshot.order[:MOST_MARKED].tolist())))

    def do_pin(self) -> None:
        """Makes the run under the cursor the baseline, or no longer."""
        line = self.under_cursor()
        if line is None:
            return
        kept = self.desk.kept
        kept.pinned = "" if kept.pinned == line.id else str(line.id)
        self._ask()
        self._preview.ask()

    def do_preview(self) -> None:
        """Shows or hides the preview."""
        if self.wide:
            self.desk.kept.preview = not self.desk.kept.preview
        else:
            self._narrow_preview = not self._narrow_preview
        self.refresh_layout()
        self.call_after_refresh(self._preview.ask)

    def do_differing(self) -> None:
        """Shows only columns that differ, or all."""
        self.only_differing = not self.only_differing
        self._chosen_for = None
        self._show()

    def do_right(self) -> None:
        """Scrolls the value columns."""
        self._scroll_columns(1)

    def do_left(self) -> None:
        """Scrolls the value columns back."""
        self._scroll_columns(-1)

    def on_line_view_moved(self, message: LineView.Moved) -> None:
        """Reads more rows near the edge of what is read, and lets the preview follow."""
        message.stop()
        view = message.view
        if view.id != "table":
            return
        first, last = self._window
        window = view.window
        total = len(self.snapshot.order) if self.snapshot is not None else 0
        if window.start - READ_AHEAD < first > 0 or (window.stop + READ_AHEAD > last and last < total):
            self._ask()
        self.desk.page_changed()
        self._preview.follow()

    def on_line_view_chosen(self, message: LineView.Chosen) -> None:
        """A click on the cursor's row opens the run."""
        message.stop()
        self.do_enter()

    # Inside

    def _ask(self) -> None:
        """Asks for the table around the screen."""
        view = self.views["table"]
        window = view.window
        self._number += 1
        first, last = window.start, max(window.stop, window.start + READ_AHEAD)
        self._window = (max(0, first - 2 * READ_AHEAD), last + 2 * READ_AHEAD)
        self.desk.request(RunsRequest(self._number, self.query_text, self.sort, first, last, self.desk.kept.pinned))

    def _receive_runs(self, snapshot: RunsSnapshot) -> None:
        view = self.views["table"]
        under, old = self.under_cursor(), self.snapshot
        same = old is not None and old.order is snapshot.order
        self.snapshot = snapshot
        self.state.pinned = snapshot.pinned
        self._preview.objective = snapshot.objective
        self._show()
        if under is not None and not same:
            (place,) = (snapshot.order == under.row).nonzero()
            view.move_to(int(place[0]) if len(place) and not self._on_top else 0)
        answered = snapshot.number == self._number
        self._on_top = self._on_top and not answered
        self._set_title()
        self._preview.follow()
        self.desk.page_changed()
        self.call_after_refresh(self.focus_first)
        if answered and self._open_next:
            self._open_next = False
            self.do_enter()

    def _show(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            return
        self.state.now = self.desk.now()
        columns = [column for column in snapshot.columns if column.differs or not self.only_differing]
        first = [line for row in snapshot.order[:100].tolist() if (line := snapshot.lines.get(row)) is not None]
        chosen_for = (columns_key(columns), tuple(line.row for line in first), self.sort)
        if chosen_for != self._chosen_for:
            self._chosen_for = chosen_for
            self._columns = runs_columns(first, columns, snapshot.objective, self.sort)
        view = self.views["table"]
        if len(snapshot.order):
            view.set_model(TableModel(SnapshotRows(snapshot), self._columns, self.desk.look, self.state))
        else:
            words = "no run matches" if self.query_text else "no runs yet: `ds run train.py` makes one"
            view.set_model(PartsModel([[], [(words, self.desk.look.quiet)]], self.desk.look))
        self._set_title()

    def _set_title(self) -> None:
        snapshot, look = self.snapshot, self.desk.look
        if snapshot is None:
            return
        matched, marked = len(snapshot.order), len(self.state.marks)
        title: list[Part] = [("Runs", look.strong), (f"  {snapshot.total:,}", look.quiet)]
        if matched != snapshot.total or self.query_text:
            title.append((f"  {matched:,} match", look.accent))
        if marked:
            title.append((f"  {marked:,} marked", look.warn))
        if self.only_differing:
            title.append(("  differing columns", look.quiet))
        self.views["table"].set_title(title)

    def _set_query(self, text: str) -> None:
        if text != self.query_text:
            self.query_text = text
            self._on_top = True
            self._ask()
            self.desk.page_changed()

    def _filter_hint(self) -> Sequence[Part]:
        snapshot, look = self.snapshot, self.desk.look
        if snapshot is None:
            return ()
        if snapshot.problem:
            return [(snapshot.problem[:60], look.raised_warn)]
        return [(f"{len(snapshot.order):,} of {snapshot.total:,}   tab completes", look.raised_quiet)]

    def _complete(self, text: str, position: int) -> tuple[int, int, Sequence[str]]:
        keys = self.snapshot.keys if self.snapshot is not None else frozenset[str]()
        start, end = word_span(text, position)
        return start, end, suggest(text, position, sorted(keys))

    def _shown_columns(self) -> list[TableColumn]:
        view = self.views["table"]
        model = view.model
        return [column for column, _ in model.layout(view.inner_width)] if isinstance(model, TableModel) else []

    def _letters_changed(self) -> None:
        self._show()
        self.desk.page_changed()

    def _sort_by(self, sort: Sort) -> None:
        self.sort = self.state.sort = sort
        self._on_top = True
        self._ask()

    def _scroll_columns(self, step: int) -> None:
        movable = sum(column.movable for column in self._columns)
        offset = max(0, min(max(0, movable - 1), self.state.offset + step))
        if offset != self.state.offset:
            self.state.offset = offset
            self._show()
