"""Drawing a chart of 8 curves with 100,000 points each at 120x36, against one stable sort of 100,000 numbers.

The draw has everything in it: from points to envelopes to braille. The limit is 1.5 of the sort.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Report, cost_of_call, take_turns
from dstui.tui.theme import DARK, UNICODE, Look
from dstui.tui.views.plot import PlotOptions, Series, draw, plot_cells
from dstui_store import Envelope

POINTS, CURVES = 100_000, 8
WIDTH, HEIGHT = 120, 36
REPEATS = 15
LIMIT = 1.5


def main() -> None:
    generator = np.random.default_rng(0)
    x = np.arange(POINTS, dtype=float)
    curves = [np.exp(-x / POINTS * (1 + 0.6 * number)) + generator.normal(0, 0.02, POINTS) for number in range(CURVES)]
    numbers = generator.random(POINTS)
    look, columns = Look(DARK, UNICODE), plot_cells(WIDTH) * 2

    def chart() -> object:
        series = [
            Series(f"seed {number}", Envelope.of(x, y, columns, 0.0, float(POINTS)), number)
            for number, y in enumerate(curves)
        ]
        return draw(series, WIDTH, HEIGHT, look, PlotOptions())

    def sort() -> object:
        return np.argsort(numbers, kind="stable")

    chart()
    costs = take_turns(
        {"chart": lambda: cost_of_call(chart).cpu_seconds, "sort": lambda: cost_of_call(sort).cpu_seconds}, REPEATS
    )
    report = Report.of(__file__)
    report.add("chart_ms", costs["chart"] * 1e3, 2)
    report.compare("chart_per_sort", costs["chart"], costs["sort"], LIMIT)
    report.print_line()


if __name__ == "__main__":
    main()
