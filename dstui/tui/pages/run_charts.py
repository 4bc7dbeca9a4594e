"""The charts of one run's page: which are shown, over what range, with a cursor that reads values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dstui.sdk.views.data import ChartsRequest, ChartsSnapshot
from dstui.tui.views.charts import ChartsModel, with_cursor
from dstui.tui.views.formats import axis_time
from dstui.tui.views.line_view import LineView
from dstui.tui.views.plot import SMOOTHING, PlotOptions, plot_cells
from dstui.units import format_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstui.sdk.views.data import ChartGroup
    from dstui.tui.pages.base import Desk
    from dstui.tui.views.cells import Part

ZOOM = 2.0

CURSOR_STEPS = 100
"""Steps that the cursor of a chart takes from one end to the other."""

LEAST_WIDTH = 20


class RunCharts:
    """A pane of charts: `charts` of what a run logged, or `system` of its load."""

    def __init__(self, desk: Desk, *, system: bool = False) -> None:
        self.desk = desk
        self.system = system
        self.run = ""
        self.model = ChartsModel(desk.look)
        self.view = LineView(self.model, desk.look, id="system" if system else "charts")
        self._range: tuple[float, float] | None = None
        self._whole: tuple[float, float] = (0.0, 0.0)
        self._number = 0

    # For the page

    def show_run(self, run: str) -> None:
        """Shows another run from its beginning."""
        self.run = run
        self._range = None
        self.model.groups, self.model.envelopes, self.model.selected, self.model.alone = (), {}, 0, False
        self._set(cursor=None)

    def enter(self) -> None:
        """Takes the options of the last session, or of another run."""
        kept = self.desk.kept
        self.model.options = PlotOptions(kept.axis, kept.log, kept.band, kept.smoothing)

    def set_groups(self, groups: Sequence[ChartGroup]) -> bool:
        """Sets which metrics share a chart; whether that changed."""
        if tuple(self.model.groups) == tuple(groups):
            return False
        self.model.groups = tuple(groups)
        return True

    def ask(self) -> None:
        """Asks for the curves at the pane's width."""
        if not self.run or not self.model.groups:
            return
        names = tuple(str(name) for group in self.model.groups for _, name in group.members)
        width = plot_cells(max(LEAST_WIDTH, self.view.inner_width)) * 2
        self._number += 1
        x0, x1 = self._range if self._range is not None else (None, None)
        options = self.model.options
        request = ChartsRequest(self.run, self._number, names, width, options.axis, x0, x1, options.log, self.system)
        self.desk.request(request)

    def receive(self, snapshot: ChartsSnapshot) -> None:
        """Shows the curves."""
        if self._range is None:
            self._whole = (snapshot.x0, snapshot.x1)
        self.model.envelopes = snapshot.envelopes
        self.model.touch()
        self.show(str(snapshot.problem))

    def show(self, problem: str = "") -> None:
        """Draws the pane."""
        view, look, model = self.view, self.desk.look, self.model
        model.pane_height = view.inner_height
        count = len(model.groups)
        title: list[Part] = [("Load" if self.system else "Charts", look.strong)]
        if count > 1:
            title.append((f"  {model.selected + 1} of {count}", look.quiet))
        if problem:
            title.append((f"  {problem}", look.warn))
        view.set_title(title, [((" · " if look.glyphs.braille else ", ").join(self._words()), look.quiet)])
        view.set_model(model)

    def set_look(self) -> None:
        """Colours or characters changed."""
        self.model.look = self.desk.look
        self.show()

    def set_alone(self, *, alone: bool) -> None:
        """Gives the chosen chart the whole pane, or all charts their places."""
        self.model.alone = alone
        self.model.touch()

    def put_cursor_away(self) -> bool:
        """Whether there was a cursor; there is none now."""
        if self.model.options.cursor is None:
            return False
        self._set(cursor=None)
        return True

    def cursor_words(self) -> list[Part]:
        """Where the cursor is, nothing without one."""
        look, options = self.desk.look, self.model.options
        if options.cursor is None:
            return []
        at = axis_time(options.cursor) if options.axis == "time" else format_number(round(options.cursor))
        return [(f"{options.axis} ", look.quiet), (at, look.accent), ("   esc puts the cursor away", look.quiet)]

    # Keys

    def do_next_metric(self, step: int = 1) -> None:
        """Chooses another chart."""
        model, view = self.model, self.view
        if not model.groups:
            return
        model.selected = (model.selected + step) % len(model.groups)
        model.touch()
        if model.alone:
            self.ask()
        else:
            place = model.place_of(model.selected, view.inner_width)
            if place.start < view.top or place.stop > view.top + view.page_height:
                view.scroll_lines(place.start - view.top)
        self.show()

    def do_previous_metric(self) -> None:
        """Chooses the chart before."""
        self.do_next_metric(-1)

    def do_log_axis(self) -> None:
        """Logarithmic y, or linear."""
        self._set(log=not self.model.options.log)
        self.ask()

    def do_smooth(self) -> None:
        """The next smoothing."""
        smoothing = self.model.options.smoothing
        here = SMOOTHING.index(smoothing) if smoothing in SMOOTHING else 0
        self._set(smoothing=SMOOTHING[(here + 1) % len(SMOOTHING)])

    def do_band(self) -> None:
        """Band on or off."""
        self._set(band=not self.model.options.band)

    def do_axis(self) -> None:
        """Steps or time."""
        self._range = None
        self._set(axis="time" if self.model.options.axis == "step" else "step", cursor=None)
        self.ask()

    def do_full_range(self) -> None:
        """All of the y range, or without outliers."""
        self._set(full=not self.model.options.full)

    def do_zoom_in(self) -> None:
        """Half the range, around the cursor."""
        self._zoom(1 / ZOOM)

    def do_zoom_out(self) -> None:
        """Twice the range."""
        self._zoom(ZOOM)

    def do_zoom_whole(self) -> None:
        """The whole curve."""
        self._range = None
        self.ask()

    def do_left(self) -> None:
        """The cursor to the left."""
        self._move_cursor(-1)

    def do_right(self) -> None:
        """The cursor to the right."""
        self._move_cursor(1)

    def do_first(self) -> None:
        """The cursor to the first step."""
        self._set(cursor=self._shown_range[0])

    def do_last(self) -> None:
        """The cursor to the last step."""
        self._set(cursor=self._shown_range[1])

    # Inside

    @property
    def _shown_range(self) -> tuple[float, float]:
        return self._range if self._range is not None else self._whole

    def _words(self) -> list[str]:
        options = self.model.options
        # The steps of a run's load are its seconds.
        words = ["by second" if self.system and options.axis == "step" else f"by {options.axis}"]
        words += ["log y"] if options.log else []
        words += [f"smooth {options.smoothing:g}"] if options.smoothing else []
        words += ["zoomed"] if self._range is not None else []
        words += ["full range"] if options.full else []
        return words

    def _set(self, **changes: float | bool | str | None) -> None:
        options = self.model.options
        if set(changes) == {"cursor"}:
            cursor = changes["cursor"]
            options = with_cursor(options, float(cursor) if isinstance(cursor, float | int) else None)
        else:
            options = replace(options, **changes)  # type: ignore[arg-type]
        self.model.options = options
        kept = self.desk.kept
        kept.axis, kept.log, kept.band, kept.smoothing = options.axis, options.log, options.band, options.smoothing
        self.model.touch()
        self.show()
        self.desk.page_changed()

    def _zoom(self, factor: float) -> None:
        low, high = self._shown_range
        middle = self.model.options.cursor if self.model.options.cursor is not None else high
        width = (high - low) * factor
        whole_low, whole_high = self._whole
        if width >= whole_high - whole_low:
            self._range = None
        elif width > 0 and math.isfinite(width):
            start = max(whole_low, min(middle - width / 2, whole_high - width))
            self._range = (start, start + width)
        self.ask()

    def _move_cursor(self, step: int) -> None:
        low, high = self._shown_range
        here = self.model.options.cursor
        there = (high if step < 0 else low) if here is None else here + step * (high - low) / CURSOR_STEPS
        self._set(cursor=max(low, min(high, there)))
