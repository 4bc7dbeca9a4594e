"""The sentences that say why: a proposal, a decision, an end. Each at most 160 characters, made of stored numbers."""

from __future__ import annotations

from dstui.units import format_number

LONGEST = 160
"""Characters of a reason."""


def sentence(text: str) -> str:
    """The text on one line, cut at `LONGEST` characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 2].rstrip() + " …"


def number(value: float | None) -> str:
    """A figure in a reason: four significant digits."""
    return format_number(value)


def with_deviation(mean: float, deviation: float) -> str:
    """`0.912 ± 0.006`: the mean with as many places as the deviation's first two digits need."""
    if deviation <= 0 or abs(mean) >= 1e6 or deviation < 1e-6:
        return f"{format_number(mean)} ± {format_number(deviation, digits=2)}"
    places = max(0, min(9, 1 - int(f"{deviation:e}".split("e")[1])))
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def ordinal(place: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def plural(count: int, noun: str) -> str:
    """`1 result`, `2 results`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
