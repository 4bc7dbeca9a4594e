"""One run: live charts, config against the baseline, output, code, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from dstui.sdk.views_data import (
    ChartsRequest,
    ChartsSnapshot,
    CodeRequest,
    CodeSnapshot,
    DetailRequest,
    DetailSnapshot,
    LogRequest,
    LogSnapshot,
    RunLine,
    Snapshot,
)
from dstui.tui.pages.base import SMALL_HEIGHT, WIDE, Desk, Page
from dstui.tui.views.cells import fit
from dstui.tui.views.charts import ChartsModel, with_cursor
from dstui.tui.views.diff import DiffModel
from dstui.tui.views.formats import axis_time, running_time
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel, fact_lines, longest
from dstui.tui.views.log import SHIFT_CELLS, LogModel
from dstui.tui.views.panes import Pane
from dstui.tui.views.plot import SMOOTHING, PlotOptions, plot_cells
from dstui.tui.views.prompt import Editor, Question
from dstui.units import format_count, format_number

if TYPE_CHECKING:
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part

TABS = ("charts", "config", "log", "code", "notes")
TAB_TITLES = {"charts": "Charts", "config": "Config", "log": "Log", "code": "Code", "notes": "Notes"}

FACTS_WIDTH = 34
LOG_AHEAD = 300
"""Lines of output read beyond the screen, on either side."""

ZOOM = 2.0
CURSOR_STEPS = 100
"""Steps that the cursor of a chart takes from one end to the other."""


class RunPage(Page):
    """The page of one run; `run_id` says which."""

    title: ClassVar[str] = "Run"
    place_names: ClassVar[tuple[str, ...]] = ("run",)

    def __init__(self, desk: Desk, *, id: str) -> None:
        super().__init__(desk, id=id)
        self.run_id = ""
        self.tab = "charts"
        self.detail: DetailSnapshot | None = None
        self.output: LogSnapshot | None = None
        self.code: CodeSnapshot | None = None
        self.full_pane = ""
        self.only_differing = False
        self.follow = True
        self.search = ""
        self.charts = ChartsModel(desk.look)
        self._range: tuple[float, float] | None = None
        self._whole: tuple[float, float] = (0.0, 0.0)
        self._number = 0
        self._log_window = (0, 0)
        self._log_shift = 0
        self._history: list[str] = []
        self._asked_code: tuple[str, str] = ("", "")

    # Which run

    def show_run(self, run: str) -> None:
        """Shows another run from its beginning."""
        if run != self.run_id:
            self.run_id, self.tab = run, "charts"
            self.detail = self.output = self.code = None
            self.search, self.follow, self.full_pane = "", True, ""
            self._range, self._log_shift, self._asked_code = None, 0, ("", "")
            self.charts.groups, self.charts.envelopes, self.charts.selected, self.charts.alone = (), {}, 0, False
            self._set_options(cursor=None)
            look = self.desk.look
            for name, view in self.views.items():
                view.set_model(self.charts if name == "charts" else PartsModel([], look))
                view.move_to(0)

    def enter_page(self) -> None:
        """See `Page`."""
        kept = self.desk.kept
        self.charts.options = PlotOptions(kept.axis, kept.log, kept.band, kept.smoothing)
        self.desk.request(DetailRequest(self.run_id, kept.pinned))
        self._ask_for_tab()

    def leave_page(self) -> None:
        """See `Page`."""
        self.desk.forget("detail", "charts", "log")

    # Panes

    def make_views(self) -> Iterable[LineView]:
        """See `Page`."""
        look = self.desk.look
        yield LineView(self.charts, look, id="charts")
        for name in ("facts", "log", "config", "code", "notes"):
            yield LineView(PartsModel([], look), look, id=name)

    def arrange_panes(self, width: int, height: int) -> Sequence[Pane]:
        """Charts beside the facts over the output; every other tab has the page to itself."""
        if self.full_pane in self.views:
            return [Pane(self.full_pane, 0, 0, width, height)]
        if self.tab != "charts":
            return [Pane(self.tab, 0, 0, width, height)]
        if height < 12:
            return [Pane("charts", 0, 0, width, height)]
        wide = width >= WIDE and height >= SMALL_HEIGHT - 4
        log_height = max(5, height * 28 // 100) if wide else max(5, height - 13)
        top = height - log_height
        if not wide:
            return [Pane("charts", 0, 0, width, top), Pane("log", 0, top, width, log_height)]
        return [
            Pane("charts", 0, 0, width - FACTS_WIDTH, top),
            Pane("facts", width - FACTS_WIDTH, 0, FACTS_WIDTH, top),
            Pane("log", 0, top, width, log_height),
        ]

    def pane_places(self, pane: str) -> tuple[str, ...]:
        """See `Page`."""
        return {"charts": ("charts",), "log": ("log", "list"), "code": ("code", "list")}.get(pane, ("list",))

    def on_resize(self) -> None:
        """Charts of another width need other envelopes."""
        self.call_after_refresh(self._ask_for_tab)

    def set_look(self) -> None:
        """See `Page`."""
        super().set_look()
        self.charts.look = self.desk.look
        self._show_all()

    def minute(self) -> None:
        """See `Page`."""
        self.desk.page_changed()

    # Snapshots

    def receive(self, snapshot: Snapshot) -> None:
        """See `Page`."""
        if isinstance(snapshot, DetailSnapshot) and snapshot.line.id == self.run_id:
            first = self.detail is None
            self.detail = snapshot
            if tuple(self.charts.groups) != snapshot.groups:
                self.charts.groups = snapshot.groups
                first = True
            self._show_detail()
            if first or snapshot.line.live:
                self._ask_charts()
            if first:
                self.call_after_refresh(self.focus_first)
            self.desk.page_changed()
        elif isinstance(snapshot, ChartsSnapshot) and snapshot.run == self.run_id:
            self._receive_charts(snapshot)
        elif isinstance(snapshot, LogSnapshot) and snapshot.run == self.run_id:
            self._receive_log(snapshot)
        elif isinstance(snapshot, CodeSnapshot) and snapshot.run == self.run_id:
            self.code = snapshot
            self._show_code()

    def _receive_charts(self, snapshot: ChartsSnapshot) -> None:
        if self._range is None:
            self._whole = (snapshot.x0, snapshot.x1)
        self.charts.envelopes = snapshot.envelopes
        self.charts.touch()
        self._show_charts(str(snapshot.problem))

    def _receive_log(self, snapshot: LogSnapshot) -> None:
        searched_anew = self.output is not None and snapshot.searched and snapshot.searched != self.output.searched
        old_count = self.output.count if self.output is not None else 0
        self.output = snapshot
        view = self.views["log"]
        at_end = view.cursor >= old_count - 1
        view.set_model(LogModel(snapshot, self.desk.look, shift=self._log_shift))
        if self.follow or (at_end and old_count and snapshot.going_on and not self.search):
            view.move_to(snapshot.count - 1)
        self._show_log_title()
        if searched_anew:
            self._to_match(1, from_here=True)
        self._ask_log_if_needed()

    # What it says

    def bar(self, width: int) -> Sequence[Part]:
        """The run, its state, and the tabs."""
        look = self.desk.look
        line = self.detail.line if self.detail is not None else None
        parts: list[Part] = []
        if line is not None:
            parts += [
                (f"{look.glyphs.chevron} ", look.raised_quiet),
                (f"{line.label} {line.short} ", look.raised_quiet),
            ]
            parts += [
                (fit(line.name, min(28, len(line.name)), more=look.glyphs.more), look.raised_strong),
                ("  ", look.raised),
            ]
            parts.append((look.state_words(line.state).strip(), look.raised_state(line.state)))
            if line.live and line.started is not None:
                parts.append((f" {running_time(self.desk.now() - line.started)}", look.raised_quiet))
            if line.step is not None and width >= WIDE:
                parts.append((f"  step {format_count(line.step)}", look.raised_quiet))
            parts.append(("   ", look.raised))
        if width < WIDE:
            return [*parts, (f"< {TAB_TITLES[self.tab]} >", look.raised_accent)]
        for tab in TABS:
            text = f"[{TAB_TITLES[tab]}]" if tab == self.tab else f" {TAB_TITLES[tab]} "
            parts.append((text, look.raised_accent if tab == self.tab else look.raised_quiet))
        return parts

    def status(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """The cursor of the charts, or what could not be read."""
        look, options = self.desk.look, self.charts.options
        if self.detail is None:
            return [("reading the run", look.quiet)], ()
        view = self.focused_view
        if view is not None and view.id == "charts" and options.cursor is not None:
            at = axis_time(options.cursor) if options.axis == "time" else format_number(round(options.cursor))
            return [
                (f"{options.axis} ", look.quiet),
                (at, look.accent),
                ("   esc puts the cursor away", look.quiet),
            ], ()
        if self.detail.problem:
            return [(self.detail.problem, look.warn)], ()
        return last_values(self.detail, look), ()

    def command(self) -> Sequence[str]:
        """See `Page`."""
        run = self.run_id[:8] if self.detail is None else str(self.detail.line.short)
        against = self.detail.against if self.detail is not None else None
        pair = ("ds", "diff", str(against.short), run) if against is not None else None
        return {
            "charts": ("ds", "metrics", run),
            "log": ("ds", "logs", run),
            "config": (*pair, "--config") if pair else ("ds", "show", run),
            "code": (*pair, "--code") if pair else ("ds", "diff", run, "--code"),
        }.get(self.tab, ("ds", "show", run))

    def targets(self) -> Sequence[RunLine]:
        """See `Page`."""
        return [self.detail.line] if self.detail is not None else []

    def go_back(self) -> bool:
        """Puts away the chart cursor, then the search, then the full pane."""
        if self.charts.options.cursor is not None:
            self._set_options(cursor=None)
        elif self.search:
            self.search = ""
            self._ask_log()
        elif self.full_pane or self.charts.alone:
            self._set_full("")
        else:
            return False
        self.desk.page_changed()
        return True

    # Keys: tabs and panes

    def do_next_tab(self, step: int = 1) -> None:
        """The next tab."""
        self.show_tab(TABS[(TABS.index(self.tab) + step) % len(TABS)])

    def do_previous_tab(self) -> None:
        """The tab before."""
        self.do_next_tab(-1)

    def show_tab(self, tab: str) -> None:
        """Shows one of the tabs."""
        self.tab, self.full_pane = tab, ""
        self.refresh_layout()
        self._ask_for_tab()
        self.call_after_refresh(self._focus_tab)

    def do_full(self) -> None:
        """Gives the focused pane the page, or the chosen chart its pane."""
        view = self.focused_view
        if view is None:
            return
        if view.id == "charts" and (self.full_pane or self.tab != "charts"):
            self._set_full("")
        else:
            self._set_full("" if self.full_pane else view.id or "")

    def do_enter(self) -> None:
        """Shows all that a line of output showed in turn, or the tab a pane belongs to."""
        view = self.focused_view
        if view is None:
            return
        if view.id == "log" and isinstance(view.model, LogModel):
            found = view.model.line_at(view.cursor)
            if found is not None and found.earlier:
                self.desk.show_lines(f"line {view.cursor + 1}: {found.states} states", [*found.earlier, found.text])
            elif self.tab != "log":
                self.show_tab("log")
        elif view.id == "facts":
            self.show_tab("notes")

    def do_pin(self) -> None:
        """Makes this run the baseline, or no longer."""
        kept = self.desk.kept
        kept.pinned = "" if kept.pinned == self.run_id else self.run_id
        self.desk.say("this run is the baseline now" if kept.pinned else "no baseline any more")
        self.desk.request(DetailRequest(self.run_id, kept.pinned))

    def do_differing(self) -> None:
        """Shows only params that differ from the baseline, or all."""
        self.only_differing = not self.only_differing
        self._show_config()

    # Keys: charts

    def do_next_metric(self, step: int = 1) -> None:
        """Chooses another chart."""
        count = len(self.charts.groups)
        if not count:
            return
        self.charts.selected = (self.charts.selected + step) % count
        self.charts.touch()
        view = self.views["charts"]
        if not self.charts.alone:
            place = self.charts.place_of(self.charts.selected, view.inner_width)
            if place.start < view.top or place.stop > view.top + view.page_height:
                view.scroll_lines(place.start - view.top)
        else:
            self._ask_charts()
        self._show_charts()

    def do_previous_metric(self) -> None:
        """Chooses the chart before."""
        self.do_next_metric(-1)

    def do_log_axis(self) -> None:
        """Logarithmic y, or linear."""
        self._set_options(log=not self.charts.options.log)
        self._ask_charts()

    def do_smooth(self) -> None:
        """The next smoothing."""
        here = SMOOTHING.index(self.charts.options.smoothing) if self.charts.options.smoothing in SMOOTHING else 0
        self._set_options(smoothing=SMOOTHING[(here + 1) % len(SMOOTHING)])

    def do_band(self) -> None:
        """Band on or off."""
        self._set_options(band=not self.charts.options.band)

    def do_axis(self) -> None:
        """Steps or time."""
        self._range = None
        self._set_options(axis="time" if self.charts.options.axis == "step" else "step", cursor=None)
        self._ask_charts()

    def do_full_range(self) -> None:
        """All of the y range, or without outliers."""
        self._set_options(full=not self.charts.options.full)

    def do_zoom_in(self) -> None:
        """Half the range, around the cursor."""
        self._zoom(1 / ZOOM)

    def do_zoom_out(self) -> None:
        """Twice the range."""
        self._zoom(ZOOM)

    def do_zoom_whole(self) -> None:
        """The whole curve."""
        self._range = None
        self._ask_charts()

    def do_left(self) -> None:
        """The chart cursor, or the text, to the left."""
        self._sideways(-1)

    def do_right(self) -> None:
        """The chart cursor, or the text, to the right."""
        self._sideways(1)

    def do_first(self) -> None:
        """The first step, or the first line."""
        view = self.focused_view
        if view is not None and view.id == "charts":
            self._set_options(cursor=self._shown_range[0])
            return
        self.follow = False
        super().do_first()

    def do_last(self) -> None:
        """The last step, or the last line."""
        view = self.focused_view
        if view is not None and view.id == "charts":
            self._set_options(cursor=self._shown_range[1])
            return
        super().do_last()

    # Keys: output and code

    def do_find(self) -> None:
        """Searches the output."""
        before = self.search

        def done(text: str | None) -> None:
            self.search = before if text is None else text
            self.follow = self.follow and not self.search
            self._ask_log()

        self.desk.question(
            Question("/ ", Editor(before, len(before)), changed=lambda _: None, done=done, history=self._history)
        )

    def do_next_match(self) -> None:
        """The next match of the search, or the next file of the diff."""
        self._to_match(1)

    def do_previous_match(self) -> None:
        """The match before."""
        self._to_match(-1)

    def do_follow(self) -> None:
        """Follows the end of the output, or stays."""
        self.follow = not self.follow
        self._ask_log()
        self._show_log_title()

    def on_line_view_moved(self, message: LineView.Moved) -> None:
        """Leaving the end of the output stops following it; new lines are read near the edge."""
        message.stop()
        if message.view.id == "log" and self.output is not None:
            self.follow = message.view.cursor >= self.output.count - 1 and self.output.going_on
            self._show_log_title()
            self._ask_log_if_needed()

    # Inside: requests

    def _ask_for_tab(self) -> None:
        shown = [pane.name for pane in self.arrange_panes(*self.size)] if self.size else []
        if "charts" in shown:
            self._ask_charts()
        if "log" in shown:
            self._ask_log()
        if "code" in shown and self._asked_code != (self.run_id, self.desk.kept.pinned):
            self._asked_code = (self.run_id, self.desk.kept.pinned)
            self.code = None
            self._show_code()
            self.desk.request(CodeRequest(self.run_id, self.desk.kept.pinned))

    def _ask_charts(self) -> None:
        if self.detail is None or not self.run_id:
            return
        names = tuple(str(name) for group in self.charts.groups for _, name in group.members)
        width = plot_cells(max(20, self.views["charts"].inner_width)) * 2
        self._number += 1
        x0, x1 = self._range if self._range is not None else (None, None)
        options = self.charts.options
        self.desk.request(ChartsRequest(self.run_id, self._number, names, width, options.axis, x0, x1, options.log))

    def _ask_log(self) -> None:
        if not self.run_id:
            return
        view = self.views["log"]
        self._number += 1
        first = max(0, view.top - LOG_AHEAD)
        count = max(1, view.inner_height) + 2 * LOG_AHEAD
        self.desk.request(LogRequest(self.run_id, self._number, first, count, self.search, self.follow))

    def _ask_log_if_needed(self) -> None:
        log, view = self.output, self.views["log"]
        if log is None:
            return
        window = view.window
        missing = (window.start < log.first) or (window.stop > log.first + len(log.lines) and window.stop <= log.count)
        if missing:
            self._ask_log()

    # Inside: what is shown

    def _show_all(self) -> None:
        if self.detail is not None:
            self._show_detail()
        if self.output is not None:
            self._receive_log(self.output)
        self._show_code()
        self._show_charts()

    def _show_detail(self) -> None:
        detail, look = self.detail, self.desk.look
        if detail is None:
            return
        facts = self.views["facts"]
        facts.set_model(PartsModel(fact_lines(detail.facts, FACTS_WIDTH - 3, look), look))
        facts.set_title([("Run", look.strong)])
        notes = self.views["notes"]
        width = max(20, notes.inner_width or self.app.size.width) - 4
        lines = [
            *fact_lines(detail.notes, width, look, label_width=12),
            [],
            *fact_lines(detail.facts, width, look, label_width=12),
        ]
        notes.set_model(PartsModel(lines, look))
        notes.set_title([("Notes", look.strong)])
        self._show_config()
        self._show_charts()

    def _show_config(self) -> None:
        detail, look, view = self.detail, self.desk.look, self.views["config"]
        if detail is None:
            return
        heading, lines = config_parts(detail, look, only_differing=self.only_differing)
        view.set_model(PartsModel(lines, look, heading=heading, selectable=True))
        differing = sum(item.differs for item in detail.config)
        title: list[Part] = [("Config", look.strong)]
        if detail.against is not None:
            title.append(
                (
                    f"  {differing} of {len(detail.config)} differ from {look.glyphs.star} {detail.against.label}",
                    look.quiet,
                )
            )
        view.set_title(title, [("only what differs", look.accent)] if self.only_differing else [])

    def _show_charts(self, problem: str = "") -> None:
        view, look, options = self.views["charts"], self.desk.look, self.charts.options
        self.charts.pane_height = view.inner_height
        count = len(self.charts.groups)
        title: list[Part] = [("Charts", look.strong)]
        if count > 1:
            title.append((f"  {self.charts.selected + 1} of {count}", look.quiet))
        if problem:
            title.append((f"  {problem}", look.warn))
        words = [f"by {options.axis}"]
        words += ["log y"] if options.log else []
        words += [f"smooth {options.smoothing:g}"] if options.smoothing else []
        words += ["zoomed"] if self._range is not None else []
        words += ["full range"] if options.full else []
        view.set_title(title, [(" · ".join(words) if look.glyphs.braille else ", ".join(words), look.quiet)])
        view.set_model(self.charts)

    def _show_log_title(self) -> None:
        log, look, view = self.output, self.desk.look, self.views["log"]
        if log is None:
            return
        title: list[Part] = [("Log", look.strong), (f"  {log.count:,} lines", look.quiet)]
        if log.searched:
            title.append((f"  {len(log.hits):,} with {log.searched}", look.accent if log.hits else look.warn))
        if log.problem:
            title.append((f"  {log.problem}", look.warn))
        note: list[Part] = []
        if self.follow and log.going_on:
            note = [("following", look.good)]
        elif log.count:
            note = [(f"{view.cursor + 1:,}/{log.count:,}", look.quiet)]
        view.set_title(title, note)

    def _show_code(self) -> None:
        code, look, view = self.code, self.desk.look, self.views["code"]
        title: list[Part] = [("Code", look.strong)]
        if code is None:
            view.set_model(PartsModel([[("comparing", look.quiet)]] if self._asked_code[0] else [], look))
            view.set_title(title)
            return
        title.append((f"  against {code.against}", look.quiet))
        if code.problem:
            view.set_model(PartsModel([[(code.problem, look.warn)]], look))
        elif not code.files:
            view.set_model(PartsModel([[("no difference", look.quiet)]], look))
        else:
            view.set_model(DiffModel(code, look))
            title.append((f"  {len(code.files)} {'file' if len(code.files) == 1 else 'files'}", look.accent))
        view.set_title(title)

    # Inside: charts

    @property
    def _shown_range(self) -> tuple[float, float]:
        return self._range if self._range is not None else self._whole

    def _set_options(self, **changes: float | bool | str | None) -> None:
        options = self.charts.options
        if set(changes) == {"cursor"}:
            cursor = changes["cursor"]
            options = with_cursor(options, float(cursor) if isinstance(cursor, float | int) else None)
        else:
            options = replace(options, **changes)  # type: ignore[arg-type]
        self.charts.options = options
        kept = self.desk.kept
        kept.axis, kept.log, kept.band, kept.smoothing = options.axis, options.log, options.band, options.smoothing
        self.charts.touch()
        self._show_charts()
        self.desk.page_changed()

    def _zoom(self, factor: float) -> None:
        low, high = self._shown_range
        middle = self.charts.options.cursor if self.charts.options.cursor is not None else high
        width = (high - low) * factor
        whole_low, whole_high = self._whole
        if width >= whole_high - whole_low:
            self._range = None
        elif width > 0 and math.isfinite(width):
            start = max(whole_low, min(middle - width / 2, whole_high - width))
            self._range = (start, start + width)
        self._ask_charts()

    def _sideways(self, step: int) -> None:
        view = self.focused_view
        if view is None:
            return
        if view.id == "charts":
            low, high = self._shown_range
            here = self.charts.options.cursor
            start = (high if step < 0 else low) if here is None else here + step * (high - low) / CURSOR_STEPS
            self._set_options(cursor=max(low, min(high, start)))
        elif view.id == "log" and self.output is not None:
            self._log_shift = max(0, self._log_shift + step * SHIFT_CELLS)
            view.set_model(LogModel(self.output, self.desk.look, shift=self._log_shift))

    # Inside: output, code, panes

    def _to_match(self, step: int, *, from_here: bool = False) -> None:
        view = self.focused_view
        if view is not None and isinstance(view.model, DiffModel):
            places: Sequence[int] = view.model.files(view.inner_width)
            here = view.top
        elif self.output is not None and self.output.hits:
            view, places = self.views["log"], self.output.hits
            here = view.cursor
        else:
            return
        later = [place for place in places if (place >= here if from_here else place > here)]
        earlier = [place for place in places if place < here]
        chosen = (later or places)[0] if step > 0 else (earlier or places)[-1]
        view.move_to(chosen)

    def _set_full(self, pane: str) -> None:
        self.full_pane = "" if pane == "charts" else pane
        self.charts.alone = pane == "charts"
        self.charts.touch()
        self.refresh_layout()
        self.call_after_refresh(self._after_full)

    def _after_full(self) -> None:
        self.focus_first()
        self._ask_for_tab()
        self._show_charts()
        self.desk.page_changed()

    def _focus_tab(self) -> None:
        panes = self.focusable_panes()
        if panes:
            self.focus_pane(panes[0])


def last_values(detail: DetailSnapshot, look: Look) -> list[Part]:
    """`last  val/loss 0.2809   val/acc 0.9172`, the most telling metrics first."""
    parts: list[Part] = [("last   ", look.quiet)] if detail.metrics else []
    for metric in detail.metrics[:6]:
        parts += [(f"{metric.name} ", look.quiet), (f"{format_number(metric.last, keep_zeros=True)}   ", look.text)]
    return parts


def config_parts(
    detail: DetailSnapshot, look: Look, *, only_differing: bool
) -> tuple[list[list[Part]], list[list[Part]]]:
    """(heading, lines) of the config: param, value, and the baseline's value where there is one."""
    items = [item for item in detail.config if item.differs or not only_differing or detail.against is None]
    key_width = longest([item.key for item in detail.config], 40) + 2
    value_width = max(14, longest([item.value or "–" for item in detail.config], 36)) + 2
    heading: list[Part] = [("param".ljust(key_width), look.head), ("value".ljust(value_width), look.head)]
    if detail.against is not None:
        heading.append((f"{look.glyphs.star} {detail.against.label} {detail.against.name}", look.head))
    lines = []
    for item in items:
        differs = detail.against is not None and item.differs
        parts: list[Part] = [
            (fit(item.key, key_width - 2, more=look.glyphs.more) + "  ", look.text),
            (
                fit(item.value or "–", value_width - 2, more=look.glyphs.more) + "  ",
                look.strong if differs else look.text,
            ),
        ]
        if detail.against is not None:
            parts.append((item.other or "–", look.warn if differs else look.quiet))
        lines.append(parts)
    if not lines:
        lines = [[("no params differ" if only_differing else "no params", look.quiet)]]
    return [heading], lines
