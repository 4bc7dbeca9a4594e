"""One run: live charts, config against the baseline, output, code, notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from dstui.sdk.views.data import (
    ChartsSnapshot,
    CodeSnapshot,
    DetailRequest,
    DetailSnapshot,
    LogSnapshot,
    RunLine,
    Snapshot,
)
from dstui.tui.pages.base import SMALL_HEIGHT, WIDE, Desk, Page
from dstui.tui.pages.run_charts import RunCharts
from dstui.tui.pages.run_code import RunCode
from dstui.tui.pages.run_log import RunLog
from dstui.tui.views.cells import fit, width_of
from dstui.tui.views.formats import running_time
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel, fact_lines, longest
from dstui.tui.views.panes import Pane
from dstui.units import format_count, format_number

if TYPE_CHECKING:
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part

TABS = ("charts", "config", "log", "code", "notes", "system")
TAB_TITLES = {
    "charts": "Charts",
    "config": "Config",
    "log": "Log",
    "code": "Code",
    "notes": "Notes",
    "system": "Load",
}

FACTS_WIDTH = 34


class RunPage(Page):
    """The page of one run; `run_id` says which."""

    title: ClassVar[str] = "Run"
    place_names: ClassVar[tuple[str, ...]] = ("run",)

    def __init__(self, desk: Desk, *, id: str) -> None:
        super().__init__(desk, id=id)
        self.run_id = ""
        self.tab = "charts"
        self.detail: DetailSnapshot | None = None
        self.full_pane = ""
        self.only_differing = False
        self.charts = RunCharts(desk)
        self.load = RunCharts(desk, system=True)
        self.output = RunLog(desk)
        self.code = RunCode(desk)
        self._parts = (self.charts, self.load, self.output, self.code)

    # Which run

    def show_run(self, run: str) -> None:
        """Shows another run from its beginning."""
        if run != self.run_id:
            self.run_id, self.tab, self.detail, self.full_pane = run, "charts", None, ""
            for part in self._parts:
                part.show_run(run)
            for name in ("facts", "config", "notes"):
                self.views[name].set_model(PartsModel([], self.desk.look))
                self.views[name].move_to(0)

    def enter_page(self) -> None:
        """See `Page`."""
        self.charts.enter()
        self.load.enter()
        self.desk.request(DetailRequest(self.run_id, self.desk.kept.pinned))
        self._ask_for_tab()

    def leave_page(self) -> None:
        """See `Page`."""
        self.desk.forget("detail", "charts", "log")

    # Panes

    def make_views(self) -> Iterable[LineView]:
        """See `Page`."""
        look = self.desk.look
        yield self.charts.view
        yield self.load.view
        yield LineView(PartsModel([], look), look, id="facts")
        yield self.output.view
        yield LineView(PartsModel([], look), look, id="config")
        yield self.code.view
        yield LineView(PartsModel([], look), look, id="notes")

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
        places = {"charts": ("charts",), "system": ("charts",), "log": ("log", "list"), "code": ("code", "list")}
        return places.get(pane, ("list",))

    def on_resize(self) -> None:
        """Charts of another width need other envelopes."""
        self.call_after_refresh(self._ask_for_tab)

    def set_look(self) -> None:
        """See `Page`."""
        super().set_look()
        self.charts.set_look()
        self.load.set_look()
        self.output.set_look()
        self.code.show()
        self._show_detail()

    def minute(self) -> None:
        """See `Page`."""
        self.desk.page_changed()

    # Snapshots

    def receive(self, snapshot: Snapshot) -> None:
        """See `Page`."""
        if isinstance(snapshot, DetailSnapshot) and snapshot.line.id == self.run_id:
            first = self.detail is None
            self.detail = snapshot
            first = self.charts.set_groups(snapshot.groups) or first
            self._show_detail()
            first = self.load.set_groups(snapshot.system_groups) or first
            if first or snapshot.line.live:
                (self.load if self.tab == "system" else self.charts).ask()
            if first:
                self.call_after_refresh(self.focus_first)
            self.desk.page_changed()
        elif isinstance(snapshot, ChartsSnapshot) and snapshot.run == self.run_id:
            (self.load if snapshot.system else self.charts).receive(snapshot)
        elif isinstance(snapshot, LogSnapshot) and snapshot.run == self.run_id:
            self.output.receive(snapshot)
        elif isinstance(snapshot, CodeSnapshot) and snapshot.run == self.run_id:
            self.code.receive(snapshot)

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
        look = self.desk.look
        if self.detail is None:
            return [("reading the run", look.quiet)], ()
        view = self.focused_view
        for charts in (self.charts, self.load):
            if view is charts.view and (words := charts.cursor_words()):
                return words, ()
        if self.detail.problem:
            return [(self.detail.problem, look.warn)], ()
        return last_values(self.detail, look, width - 2), ()

    def command(self) -> Sequence[str]:
        """See `Page`."""
        run = self.run_id[:8] if self.detail is None else str(self.detail.line.short)
        against = self.detail.against if self.detail is not None else None
        pair = ("ds", "diff", str(against.short), run) if against is not None else None
        return {
            "charts": ("ds", "metrics", run),
            "system": ("ds", "metrics", run, "--system"),
            "log": ("ds", "logs", run),
            "config": (*pair, "--config") if pair else ("ds", "show", run),
            "code": (*pair, "--code") if pair else ("ds", "diff", run, "--code"),
        }.get(self.tab, ("ds", "show", run))

    def targets(self) -> Sequence[RunLine]:
        """See `Page`."""
        return [self.detail.line] if self.detail is not None else []

    def go_back(self) -> bool:
        """Puts away the chart cursor, then the search, then the full pane."""
        if self.charts.put_cursor_away() or self.load.put_cursor_away() or self.output.clear_search():
            pass
        elif self.full_pane or self.charts.model.alone or self.load.model.alone:
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
        elif view.id == "system":
            self._set_full("" if self.load.model.alone else "system")
        else:
            self._set_full("" if self.full_pane else view.id or "")

    def do_enter(self) -> None:
        """Shows all that a line of output showed in turn, or the tab a pane belongs to."""
        view = self.focused_view
        if view is None:
            return
        if view.id == "log":
            if not self.output.show_states() and self.tab != "log":
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

    def key_owners(self) -> Sequence[object]:
        """See `Page`."""
        focused = [part for part in self._parts if part.view is self.focused_view]
        return (*focused, self, *self._parts)

    def on_line_view_moved(self, message: LineView.Moved) -> None:
        """The output may have left its end."""
        message.stop()
        if message.view is self.output.view:
            self.output.moved()

    # Inside

    def _ask_for_tab(self) -> None:
        shown = [pane.name for pane in self.arrange_panes(*self.size)] if self.size else []
        for part in self._parts:
            if part.view.id in shown:
                part.ask()

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
        self.charts.show()
        self.load.show()

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

    def _set_full(self, pane: str) -> None:
        self.full_pane = "" if pane in ("charts", "system") else pane
        self.charts.set_alone(alone=pane == "charts")
        self.load.set_alone(alone=pane == "system")
        self.refresh_layout()
        self.call_after_refresh(self._after_full)

    def _after_full(self) -> None:
        self.focus_first()
        self._ask_for_tab()
        self.charts.show()
        self.load.show()
        self.desk.page_changed()

    def _focus_tab(self) -> None:
        panes = self.focusable_panes()
        if panes:
            self.focus_pane(panes[0])


def last_values(detail: DetailSnapshot, look: Look, width: int) -> list[Part]:
    """`last  val/loss 0.2809   val/acc 0.9172`, the most telling metrics first, those that fit whole."""
    parts: list[Part] = [("last   ", look.quiet)] if detail.metrics else []
    left = width - len("last   ")
    for metric in detail.metrics[:6]:
        name, value = f"{metric.name} ", format_number(metric.last, keep_zeros=True)
        left -= width_of(name) + len(value)
        if left < 0:
            break
        parts += [(name, look.quiet), (value, look.text), ("   ", look.text)]
        left -= 3
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
