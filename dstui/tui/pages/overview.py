"""Overview: what goes on, what was lately, and what ended since you last looked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from dstui.sdk.views.data import OverviewRequest, OverviewSnapshot, RunLine, Snapshot
from dstui.tui.pages.base import SMALL_HEIGHT, WIDE, Desk, Page
from dstui.tui.views import table
from dstui.tui.views.columns import columns_key, overview_columns
from dstui.tui.views.formats import table_age
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel
from dstui.tui.views.panes import Pane

if TYPE_CHECKING:
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part
    from dstui.tui.views.columns import TableColumn

RECENT_LINES = 60
"""Recent runs that are read."""

MOST_SINCE_LINES = 8
"""Rows of the lowest pane at most."""

BAD_STATES = ("failed", "oom", "timeout", "killed", "lost")


class OverviewPage(Page):
    """Running runs, recent runs, and what ended since the last look; a first-run hint in an empty store."""

    title: ClassVar[str] = "Overview"

    def __init__(self, desk: Desk, *, id: str) -> None:
        super().__init__(desk, id=id)
        self.snapshot: OverviewSnapshot | None = None
        self._states = {name: table.TableState() for name in ("running", "recent", "since")}
        self._columns: dict[str, Sequence[TableColumn]] = {}
        self._chosen_for: dict[str, object] = {}
        self._shape = (0, 0)

    def make_views(self) -> Iterable[LineView]:
        """See `Page`."""
        look = self.desk.look
        for name in ("running", "recent", "since"):
            yield LineView(PartsModel([], look), look, id=name)

    def arrange_panes(self, width: int, height: int) -> Sequence[Pane]:
        """Running runs take what they need up to a third, news at most eight lines, recent runs the rest."""
        snapshot = self.snapshot
        running = len(snapshot.running) if snapshot is not None else 0
        news = len(snapshot.since) if snapshot is not None else 0
        if height < 10 or snapshot is None or snapshot.total == 0:
            return [Pane("recent", 0, 0, width, height)]
        most = MOST_SINCE_LINES if height >= SMALL_HEIGHT else 4
        running_height = min(running, max(2, height // 3)) + 2 if running else 0
        # Its upper edge, and the lower one of the whole frame.
        since_height = min(news, most) + 1 + int(width >= WIDE) if news else 0
        recent_height = height - running_height - since_height
        panes = []
        if running_height:
            panes.append(Pane("running", 0, 0, width, running_height))
        panes.append(Pane("recent", 0, running_height, width, recent_height))
        if since_height:
            panes.append(Pane("since", 0, height - since_height, width, since_height))
        return panes

    def pane_places(self, pane: str) -> tuple[str, ...]:
        """See `Page`."""
        return ("table", "list")

    def enter_page(self) -> None:
        """See `Page`."""
        self.desk.request(OverviewRequest(RECENT_LINES))

    def leave_page(self) -> None:
        """See `Page`."""
        self.desk.forget("overview")

    def receive(self, snapshot: Snapshot) -> None:
        """See `Page`."""
        if not isinstance(snapshot, OverviewSnapshot):
            return
        first, self.snapshot = self.snapshot is None, snapshot
        shape = (len(snapshot.running), len(snapshot.since))
        if shape != self._shape:
            self._shape = shape
            self.refresh_layout()
        self._show()
        if first:
            self._focus_top()
        self.focus_first()

    def _focus_top(self) -> None:
        """What runs is looked at first."""
        panes = self.focusable_panes()
        if panes and self._focused != panes[0]:
            self.focus_pane(panes[0])

    def minute(self) -> None:
        """See `Page`."""
        if self.snapshot is not None:
            self._show()

    def set_look(self) -> None:
        """See `Page`."""
        super().set_look()
        self._chosen_for.clear()
        if self.snapshot is not None:
            self._show()

    def status(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """The one thing most worth doing now."""
        look, snapshot = self.desk.look, self.snapshot
        if snapshot is None or snapshot.total == 0:
            return (), ()
        note = [(f"{snapshot.total:,} {'run' if snapshot.total == 1 else 'runs'}", look.quiet)]
        bad = next((line for line in snapshot.since if line.state in BAD_STATES), None)
        if bad is not None:
            return _advice(f"ds logs {bad.short}", "shows why it failed", look), note
        if snapshot.running:
            return _advice(f"ds attach {snapshot.running[0].short}", "watches it in this terminal", look), note
        if snapshot.looked_at is not None and not snapshot.since:
            ago_text = ago(self.desk.now() - snapshot.looked_at)
            return [(f"nothing new since you last looked {ago_text}", look.quiet)], note
        return (), note

    def command(self) -> Sequence[str]:
        """See `Page`."""
        return ("ds", "status")

    def targets(self) -> Sequence[RunLine]:
        """See `Page`."""
        state = self._states.get(self._focused)
        marked = [line for line in self._all_lines() if state is not None and line.id in state.marks]
        under = self._under_cursor()
        return marked or ([under] if under is not None else [])

    def go_back(self) -> bool:
        """See `Page`."""
        if not any(state.marks for state in self._states.values()):
            return False
        self._marks.clear()
        self._show()
        return True

    # Keys

    def do_enter(self) -> None:
        """Opens the run under the cursor."""
        line = self._under_cursor()
        if line is not None:
            self.desk.open_run(str(line.id))

    def do_down(self) -> None:
        """One line down, past the end into the next table."""
        self._move_over(1)

    def do_up(self) -> None:
        """One line up, past the beginning into the table before."""
        self._move_over(-1)

    def do_mark(self) -> None:
        """Marks the run under the cursor and goes on to the next."""
        line = self._under_cursor()
        if line is not None:
            self._marks.symmetric_difference_update({str(line.id)})
            self.do_down()
            self._show()

    def do_mark_range(self) -> None:
        """Marks from the cursor up to the nearest mark in its table."""
        view, model = self.focused_view, self._focused_table()
        if view is None or model is None:
            return
        lines = [model.rows.at(position) for position in range(len(model.rows))]
        for position in range(*range_to_mark([line.id if line else "" for line in lines], view.cursor, self._marks)):
            line = lines[position]
            if line is not None:
                self._marks.add(str(line.id))
        self._show()

    def do_pin(self) -> None:
        """Makes the run under the cursor the baseline, or no longer."""
        line = self._under_cursor()
        if line is not None:
            kept = self.desk.kept
            kept.pinned = "" if kept.pinned == line.id else str(line.id)
            self.desk.say(f"{line.label} is the baseline now" if kept.pinned else "no baseline any more")
            self._show()

    # Inside

    def _move_over(self, step: int) -> None:
        view, panes = self.focused_view, self.focusable_panes()
        if view is None or view.id not in panes or 0 <= view.cursor + step < view.count:
            self._move(step)
            return
        place = panes.index(view.id) + step
        if 0 <= place < len(panes):
            other = self.views[panes[place]]
            self.focus_pane(panes[place])
            other.move_to(0 if step > 0 else other.count - 1)

    @property
    def _marks(self) -> set[str]:
        """One set for all tables of the page."""
        return self._states["recent"].marks

    @property
    def _focused(self) -> str:
        view = self.focused_view
        return view.id or "" if view is not None else ""

    def _focused_table(self) -> table.TableModel | None:
        view = self.focused_view
        return view.model if view is not None and isinstance(view.model, table.TableModel) else None

    def _under_cursor(self) -> RunLine | None:
        view, model = self.focused_view, self._focused_table()
        return model.rows.at(view.cursor) if view is not None and model is not None else None

    def _all_lines(self) -> list[RunLine]:
        snapshot = self.snapshot
        return [] if snapshot is None else [*snapshot.running, *snapshot.recent, *snapshot.since]

    def _show(self) -> None:
        snapshot, look = self.snapshot, self.desk.look
        if snapshot is None:
            return
        if snapshot.total == 0:
            self.views["recent"].set_model(PartsModel(first_run_lines(snapshot.project, look), look))
            self.views["recent"].set_title([("Welcome", look.strong)])
            return
        for name, lines in (("running", snapshot.running), ("recent", snapshot.recent), ("since", snapshot.since)):
            self._show_table(name, lines, snapshot)
        self.views["running"].set_title([("Running", look.strong), (f"  {len(snapshot.running)}", look.accent)])
        self.views["recent"].set_title([("Recent runs", look.strong)])
        self.views["since"].set_title(since_title(snapshot, self.desk.now(), look))
        self.desk.page_changed()

    def _show_table(self, name: str, lines: Sequence[RunLine], snapshot: OverviewSnapshot) -> None:
        state = self._states[name]
        state.now = self.desk.now()
        state.marks = self._marks
        chosen_for = (columns_key(snapshot.columns), tuple(line.id for line in lines[:20]))
        if self._chosen_for.get(name) != chosen_for:
            self._chosen_for[name] = chosen_for
            self._columns[name] = overview_columns(name, lines, snapshot)
        view = self.views[name]
        old = view.model if isinstance(view.model, table.TableModel) else None
        under = old.rows.at(view.cursor) if old is not None else None
        rows = table.ListedRows(lines)
        view.set_model(table.TableModel(rows, self._columns[name], self.desk.look, state, headed=name != "since"))
        if under is not None:
            place = next((index for index, line in enumerate(lines) if line.id == under.id), None)
            if place is not None and place != view.cursor:
                view.move_to(place)


def _advice(command: str, what: str, look: Look) -> list[Part]:
    return [("next  ", look.quiet), (command, look.accent), (f"  {what}", look.quiet)]


def since_title(snapshot: OverviewSnapshot, now: float, look: Look) -> list[Part]:
    """`Since you last looked 2 h ago: 1 failed, 3 finished`, what went wrong first."""
    looked = snapshot.looked_at
    parts: list[Part] = [("Since you last looked", look.strong)]
    if looked is not None:
        parts.append((f" {ago(now - looked)}", look.quiet))
    states = sorted(snapshot.counts, key=lambda state: (state not in BAD_STATES, state))
    for index, state in enumerate(states):
        parts.append((": " if index == 0 else ", ", look.quiet))
        parts.append((f"{snapshot.counts[state]:,} {state}", look.state(state)))
    return parts


def ago(seconds: float) -> str:
    """`just now`, or `2 h ago`."""
    text = table_age(max(0.0, seconds))
    return "just now" if text == "now" else f"{text} ago"


def first_run_lines(project: str, look: Look) -> list[list[Part]]:
    """What an empty store says: what to type."""
    return [
        [],
        [("No runs in ", look.text), (project, look.strong), (" yet.", look.text)],
        [("Type this in another pane; the run appears here while it trains:", look.text)],
        [],
        [("    ds run train.py --lr 0.1", look.accent)],
        [],
        [("Any command works, and the script needs no change. Its code, config, output and metrics", look.quiet)],
        [
            ("are kept, and a printed line such as ", look.quiet),
            ("step 100 loss=0.31", look.text),
            (" becomes a curve.", look.quiet),
        ],
    ]


def range_to_mark(ids: Sequence[str], cursor: int, marks: set[str]) -> tuple[int, int]:
    """Positions from the cursor up to the nearest marked row, both included; the cursor's alone without a mark."""
    marked = [index for index, run in enumerate(ids) if run in marks and index != cursor]
    nearest = min(marked, key=lambda index: abs(index - cursor), default=cursor)
    return min(nearest, cursor), max(nearest, cursor) + 1
