"""The preview below the run table: a curve of the run under the cursor, and what sets it apart from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from dstui.sdk.views.data import PreviewRequest, PreviewSnapshot
from dstui.sdk.views.lines import by_importance
from dstui.tui.views.charts import ChartsModel
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel, longest
from dstui.units import format_number

if TYPE_CHECKING:
    from dstui.sdk.views.data import RunLine
    from dstui.tui.pages.base import Desk
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part

DWELL_SECONDS = 0.12
"""The preview follows once the cursor stays for this long."""

LEAST_WIDTH = 20


class Runs(Protocol):
    """The table that the preview belongs to."""

    desk: Desk

    @property
    def has_preview(self) -> bool:
        """Whether the preview is on screen."""

    def under_cursor(self) -> RunLine | None:
        """The run under the cursor."""

    def line_of(self, run: str) -> RunLine | None:
        """A run of the table, if it is read."""


class Preview:
    """The panes `preview` and `differs`."""

    def __init__(self, runs: Runs) -> None:
        self.desk = runs.desk
        self.metric = ""
        self.objective = ""
        look = self.desk.look
        self._runs = runs
        self._chart = ChartsModel(look)
        self._shown: PreviewSnapshot | None = None
        self.views = (
            LineView(self._chart, look, id="preview"),
            LineView(PartsModel([], look), look, id="differs"),
        )
        for view in self.views:
            view.can_focus = False

    def follow(self) -> None:
        """Asks for another run's once the cursor stays on it."""
        under = self._runs.under_cursor()
        if under is None or not self._runs.has_preview or (self._shown is not None and self._shown.run == under.id):
            return

        def ask_if_still_there() -> None:
            now_under = self._runs.under_cursor()
            if now_under is not None and now_under.id == under.id:
                self.ask()

        self.views[0].set_timer(DWELL_SECONDS, ask_if_still_there)

    def ask(self) -> None:
        """Asks for the preview of the run under the cursor, while there is room to show it."""
        under = self._runs.under_cursor()
        if under is None or not self._runs.has_preview:
            self.desk.forget("preview")
            return
        width = max(LEAST_WIDTH, self.views[0].inner_width) * 2
        metric = self.metric or self.objective
        self.desk.request(PreviewRequest(str(under.id), metric, width, self.desk.kept.pinned))

    def receive(self, snapshot: PreviewSnapshot) -> None:
        """Shows an answer."""
        self._shown = snapshot
        self.show()

    def set_look(self) -> None:
        """Colours or characters changed."""
        self._chart.look = self.desk.look
        self.show()

    def show(self) -> None:
        """Draws what was answered last."""
        shown, look = self._shown, self.desk.look
        if shown is None:
            return
        line = self._runs.line_of(shown.run)
        chart, differs = self.views
        self._chart.show_one(shown.metric, shown.envelope, chart.inner_height)
        title: list[Part] = [("Preview", look.strong)]
        if line is not None:
            title.append((f"  {line.label} {line.name}", look.quiet))
        problem = shown.problem[: chart.inner_width // 2]
        chart.set_title(title, [(problem, look.warn)] if problem else [])
        chart.set_model(self._chart)
        differs.set_title(differing_title(shown, look))
        differs.set_model(PartsModel(differing_lines(shown, line, look), look))

    def do_next_metric(self, step: int = 1) -> None:
        """Another metric."""
        line = self._runs.under_cursor()
        names = sorted(key[7:] for key in line.values if key.startswith("metric.")) if line is not None else []
        if names:
            here = names.index(self.metric) if self.metric in names else -1
            self.metric = names[(here + step) % len(names)]
            self.ask()

    def do_previous_metric(self) -> None:
        """The metric before."""
        self.do_next_metric(-1)


def differing_title(preview: PreviewSnapshot, look: Look) -> Sequence[Part]:
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
