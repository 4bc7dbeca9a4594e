"""Runs: every run in one table, filtered as you type, sorted, marked, with a preview of the one under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from dstui.sdk.query import Sort, SortKey, suggest, word_span
from dstui.sdk.views_data import (
    NEWEST_FIRST,
    IdsRequest,
    IdsSnapshot,
    PreviewRequest,
    PreviewSnapshot,
    RunLine,
    RunsRequest,
    RunsSnapshot,
    Snapshot,
)
from dstui.sdk.views_lines import by_importance, lower_is_better
from dstui.tui.pages.base import SMALL_HEIGHT, SMALL_WIDTH, WIDE, Desk, Page, sort_words
from dstui.tui.pages.overview import range_to_mark
from dstui.tui.views import table
from dstui.tui.views.charts import ChartsModel
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel, longest
from dstui.tui.views.panes import Pane
from dstui.tui.views.prompt import Editor, Question
from dstui.units import format_number

if TYPE_CHECKING:
    from dstui.sdk.views_data import ValueColumn
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part
    from dstui.tui.views.table import TableColumn

READ_AHEAD = 60
"""Rows that must be read beyond the screen before more are asked for."""

DWELL_SECONDS = 0.12
"""The preview follows once the cursor stays for this long."""

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
        self.state = table.TableState(sort=Sort())
        self.metric = ""
        self.only_differing = False
        self._number = 0
        self._window = (0, READ_AHEAD)
        self._columns: list[TableColumn] = []
        self._chosen_for: object = None
        self._choosing: str = ""
        self._history: list[str] = []
        self._narrow_preview = False
        self._preview: PreviewSnapshot | None = None
        self._chart = ChartsModel(desk.look)
        self._on_top = False
        self._marking = False
        self._open_next = False

    # Panes

    def make_views(self) -> Iterable[LineView]:
        """See `Page`."""
        look = self.desk.look
        yield LineView(PartsModel([], look), look, id="table")
        for view in (LineView(self._chart, look, id="preview"), LineView(PartsModel([], look), look, id="differs")):
            view.can_focus = False
            yield view

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
            self._preview = snapshot
            self._show_preview()
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
        self._chart.look = self.desk.look
        self._show()
        self._show_preview()

    # What it says

    def status(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """The filter and the sort that hold, and what is wrong with the filter."""
        look, snapshot = self.desk.look, self.snapshot
        if snapshot is None:
            return [("reading the runs", look.quiet)], ()
        if self._choosing:
            return self._letters_line(), ()
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
        under = self._under_cursor()
        return [under] if under is not None else []

    def target_ids(self) -> Sequence[str]:
        """See `Page`."""
        return sorted(self.state.marks) if self.state.marks else super().target_ids()

    def go_back(self) -> bool:
        """Clears the filter, then the marks."""
        if self._choosing:
            self._stop_choosing()
        elif self.query_text:
            self._set_query("")
        elif self.state.marks:
            self.state.marks.clear()
            self._show()
        else:
            return False
        return True

    # Keys

    def takes_key(self, character: str) -> bool:
        """A letter that chooses a column to sort by."""
        if not self._choosing:
            return False
        key = next((key for key, letter in self.state.letters.items() if letter == character), None)
        adding = self._choosing == "add"
        self._stop_choosing()
        if key is not None:
            self._sort_by(key, adding=adding)
        return True

    def do_enter(self) -> None:
        """Opens the run under the cursor; after a change of filter or sort, the one that will be there."""
        if self._on_top:
            self._open_next = True
            return
        line = self._under_cursor()
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

    def do_sort(self) -> None:
        """Waits for the letter of a column."""
        self._choose("sort")

    def do_add_sort(self) -> None:
        """Waits for the letter of one more column."""
        self._choose("add")

    def do_mark(self) -> None:
        """Marks the run under the cursor and goes on to the next."""
        line = self._under_cursor()
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
        line = self._under_cursor()
        if line is None:
            return
        kept = self.desk.kept
        kept.pinned = "" if kept.pinned == line.id else str(line.id)
        self._ask()
        self._ask_preview()

    def do_preview(self) -> None:
        """Shows or hides the preview."""
        if self.wide:
            self.desk.kept.preview = not self.desk.kept.preview
        else:
            self._narrow_preview = not self._narrow_preview
        self.refresh_layout()
        self._ask_preview()

    def do_differing(self) -> None:
        """Shows only columns that differ, or all."""
        self.only_differing = not self.only_differing
        self._chosen_for = None
        self._show()

    def do_next_metric(self, step: int = 1) -> None:
        """Another metric for the preview."""
        line = self._under_cursor()
        names = sorted(key[7:] for key in line.values if key.startswith("metric.")) if line is not None else []
        if names:
            here = names.index(self.metric) if self.metric in names else -1
            self.metric = names[(here + step) % len(names)]
            self._ask_preview()

    def do_previous_metric(self) -> None:
        """The metric before."""
        self.do_next_metric(-1)

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
        self._follow_cursor()

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
        under, old = self._under_cursor(), self.snapshot
        same = old is not None and old.order is snapshot.order
        self.snapshot = snapshot
        self.state.pinned = snapshot.pinned
        self._show()
        if under is not None and not same:
            (place,) = (snapshot.order == under.row).nonzero()
            view.move_to(int(place[0]) if len(place) and not self._on_top else 0)
        answered = snapshot.number == self._number
        self._on_top = self._on_top and not answered
        self._set_title()
        self._follow_cursor()
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
        chosen_for = (table.columns_key(columns), tuple(line.row for line in first), self.sort)
        if chosen_for != self._chosen_for:
            self._chosen_for = chosen_for
            self._columns = columns_of(first, columns, snapshot.objective, self.sort)
        view = self.views["table"]
        if len(snapshot.order):
            view.set_model(table.TableModel(SnapshotRows(snapshot), self._columns, self.desk.look, self.state))
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

    def _under_cursor(self) -> RunLine | None:
        return None if self.snapshot is None else SnapshotRows(self.snapshot).at(self.views["table"].cursor)

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

    # Sorting

    def _choose(self, what: str) -> None:
        shown = [column for column, _ in self._model_layout() if column.sort_key]
        self.state.letters = letters_for([(column.sort_key, column.title) for column in shown])
        self._choosing = what
        self._show()
        self.desk.page_changed()

    def _stop_choosing(self) -> None:
        self._choosing = ""
        self.state.letters = {}
        self._show()
        self.desk.page_changed()

    def _letters_line(self) -> list[Part]:
        look = self.desk.look
        titles = {column.sort_key: column.title for column in self._columns}
        parts: list[Part] = [("sort by " if self._choosing == "sort" else "then by ", look.quiet)]
        for key, letter in self.state.letters.items():
            parts += [(letter, look.accent), (f" {titles.get(key, key)}   ", look.text)]
        return parts

    def _sort_by(self, key: str, *, adding: bool) -> None:
        keys = self.state.sort.keys if self.state.sort is not None else ()
        known = next((item for item in keys if item.key == key), None)
        new = SortKey(
            key,
            descending=not known.descending
            if known is not None
            else key.startswith("metric.") and self._more_is_better(key),
        )
        rest = [item for item in keys if item.key != key] if adding else []
        self.state.sort = Sort(
            (*rest, new) if known is None or not adding else tuple(new if item.key == key else item for item in keys)
        )
        self.sort = self.state.sort
        self._on_top = True
        self._ask()

    def _more_is_better(self, key: str) -> bool:
        return not lower_is_better(key.removeprefix("metric."))

    def _model_layout(self) -> list[tuple[TableColumn, int]]:
        model = self.views["table"].model
        return model.layout(self.views["table"].inner_width) if isinstance(model, table.TableModel) else []

    def _scroll_columns(self, step: int) -> None:
        movable = sum(column.movable for column in self._columns)
        offset = max(0, min(max(0, movable - 1), self.state.offset + step))
        if offset != self.state.offset:
            self.state.offset = offset
            self._show()

    # Preview

    def _follow_cursor(self) -> None:
        if len(self.shown_panes) < 2:
            return
        under = self._under_cursor()
        if under is not None and (self._preview is None or self._preview.run != under.id):
            self.set_timer(DWELL_SECONDS, self._ask_preview_if(str(under.id)))

    def _ask_preview_if(self, run: str) -> Callable[[], None]:
        def ask() -> None:
            under = self._under_cursor()
            if under is not None and under.id == run:
                self._ask_preview()

        return ask

    def _ask_preview(self) -> None:
        under = self._under_cursor()
        if under is None or len(self.arrange_panes(*self.size)) < 2:
            self.desk.forget("preview")
            return
        objective = self.snapshot.objective if self.snapshot is not None else ""
        width = max(20, self.views["preview"].inner_width) * 2
        self.desk.request(PreviewRequest(str(under.id), self.metric or objective, width, self.desk.kept.pinned))

    def _show_preview(self) -> None:
        preview, look = self._preview, self.desk.look
        if preview is None:
            return
        line = (
            next((item for item in self.snapshot.lines.values() if item.id == preview.run), None)
            if self.snapshot
            else None
        )
        label = f"{line.label} {line.name}" if line is not None else ""
        title: list[Part] = [("Preview", look.strong), (f"  {label}", look.quiet)]
        chart, view = self._chart, self.views["preview"]
        chart.show_one(preview.metric, preview.envelope, view.inner_height)
        view.set_title(title, [(preview.problem[: view.inner_width // 2], look.warn)] if preview.problem else [])
        view.set_model(chart)
        if "differs" in self.shown_panes:
            self.views["differs"].set_model(PartsModel(differing_lines(preview, line, look), look))
            self.views["differs"].set_title(differing_title(preview, look))


def columns_of(
    first: Sequence[RunLine], columns: Sequence[ValueColumn], objective: str, sort: Sort
) -> list[TableColumn]:
    """The table's columns: built-in ones, the objective, then params and metrics by how telling they are."""
    titles = table.short_titles(columns)
    sorted_by = {key.key for key in sort.keys}
    values = []
    for index, (column, title) in enumerate(zip(columns, titles, strict=True)):
        chosen = column.key in sorted_by
        main = chosen or column.key == f"metric.{objective}"
        values.append(table.value_column(column, title, 3 if main else 10 + index, movable=not main, sorted_by=chosen))
    tags = [table.tags_column(first, 15)] if any(line.tags for line in first) else []
    return [
        table.state_column(),
        table.label_column(first),
        table.id_column(first, 6),
        table.name_column(first),
        *([table.experiment_column(first, 14)] if any(line.experiment for line in first) else []),
        *values,
        table.time_column(5),
        table.age_column(4),
        table.user_column(first, 18),
        *tags,
    ]


def letters_for(columns: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """One letter for each (sort key, title): the first of its title that is free, or any that is left."""
    taken: dict[str, str] = {}
    for key, title in columns:
        candidates = [
            *(character for character in title.lower() if character.isalnum()),
            *"abcdefghijklmnopqrstuvwxyz0123456789",
        ]
        letter = next((letter for letter in candidates if letter not in taken.values()), None)
        if letter is not None:
            taken[key] = letter
    return taken


def differing_title(preview: PreviewSnapshot, look: Look) -> list[Part]:
    """What the run beside the chart is compared with."""
    if preview.against is None:
        return [("Values", look.strong)]
    star = look.glyphs.star
    return [
        ("Differs", look.strong),
        (f"  from {star} {preview.against.label}", look.quiet),
        (f"  {len(preview.differs)}", look.accent),
    ]


def differing_lines(preview: PreviewSnapshot, line: RunLine | None, look: Look) -> list[list[Part]]:
    """`lr 3.0e-4 → 1.0e-3` for each param that differs from the baseline; without one, the run's own values."""
    if preview.against is not None:
        width = longest([item.key for item in preview.differs], 24) + 2
        return [
            [
                (item.key.ljust(width), look.quiet),
                (item.other or "–", look.text),
                (f" {look.glyphs.arrow} ", look.quiet),
                (item.value or "–", look.strong),
            ]
            for item in preview.differs
        ] or [[("same params", look.quiet)]]
    if line is None:
        return []
    metrics = by_importance(key[7:] for key in line.values if key.startswith("metric."))
    keys = [*(f"metric.{name}" for name in metrics), *sorted(key for key in line.values if key.startswith("param."))]
    width = longest([key.partition(".")[2] for key in keys], 24) + 2
    return [[(key.partition(".")[2].ljust(width), look.quiet), (value_text(line, key), look.text)] for key in keys]


def value_text(line: RunLine, key: str) -> str:
    """One value of a run as text."""
    value = line.values[key]
    return format_number(value, keep_zeros=key.startswith("metric.")) if isinstance(value, float) else value
