"""Good points of earlier sweeps as starts of a new one, with the evidence for each; values never travel.

What keeps a misleading history from doing harm: only a sweep with the same objective and the same meaning of its
parameters is a source, only its best points come, at most a third of the design is given to them, and the model sees
their values only as they come out anew. An earlier sweep can so cost a few trials, never the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.search.encoding import Encoding, Floats
from dstui.search.history import COMPLETE, History, Trial, loss
from dstui.search.parameters import Choice, Fixed, Integer, Parameter, Real, identity
from dstui.search.reasons import number, ordinal, plural, sentence
from dstui.search.space import Point, Space, holds, show_point
from dstui.search.sweep import Start, Sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_TRIALS = 10
"""A sweep with fewer complete trials has no points to recommend."""
BEST_OF_EACH = 5
APART = 0.15
"""Recommended points are at least this times sqrt(d) apart in the unit cube."""


@dataclass(frozen=True)
class Earlier:
    """An earlier sweep, as a source of points.

    Attributes:
        name: how people know it.
        objective: the metric's name.
        sweep: its space and direction.
        history: its trials.
        runs: per trial key the run's short name, for the evidence; may be empty.
    """

    name: str
    objective: str
    sweep: Sweep
    history: History
    runs: dict[str, str] | None = None


@dataclass(frozen=True)
class Recommendation:
    """A point worth trying first.

    Attributes:
        start: the point and the sentence that says why.
        source: the earlier sweep's name.
        rank: its place in that sweep, from 1.
        value: what it reached there.
    """

    start: Start
    source: str
    rank: int
    value: float


def recommend(
    sweep: Sweep, objective: str, earlier: Sequence[Earlier], *, most: int | None = None
) -> list[Recommendation]:
    """Points of earlier sweeps that a new one should try, the best of the largest source first.

    Args:
        sweep: the new one.
        objective: its metric's name.
        earlier: candidates; those that do not fit are passed over.
        most: how many points; default: a third of the design, at least one.
    """
    most = starts_allowed(sweep) if most is None else most
    sources = sorted((one for one in earlier if unfit(sweep, objective, one) is None), key=_largest_first)
    ranked = [_ranked(one)[:BEST_OF_EACH] for one in sources]
    found: list[Recommendation] = []
    encoding = Encoding(sweep.space)
    rows: list[Floats] = []
    apart = APART * math.sqrt(max(1, len(sweep.space.searched)))
    for place in range(BEST_OF_EACH):
        for source, trials in zip(sources, ranked, strict=True):
            if place >= len(trials) or len(found) >= most:
                continue
            trial = trials[place]
            point = _carried(sweep.space, trial.point)
            if point is None or trial.value is None:
                continue
            row = encoding.encode(encoding.snap(encoding.locate([point])))[0]
            if any(math.dist(row, other) < apart for other in rows):
                continue
            rows.append(row)
            found.append(Recommendation(_start(source, trial, place, point), source.name, place + 1, trial.value))
    return found


def unfit(sweep: Sweep, objective: str, earlier: Earlier) -> str | None:
    """Why an earlier sweep is no source for a new one, in words; None when it is one."""
    if earlier.objective != objective:
        return f"its objective is `{earlier.objective}`, not `{objective}`"
    if earlier.sweep.maximize != sweep.maximize:
        return f"it {'maximises' if earlier.sweep.maximize else 'minimises'} `{objective}`"
    complete = len(earlier.history.having(COMPLETE))
    if complete < LEAST_TRIALS:
        return f"it has {plural(complete, 'complete trial')}, {LEAST_TRIALS} are needed"
    theirs = {parameter.name: parameter for parameter in earlier.sweep.space.parameters}
    shared = 0
    for parameter in sweep.space.searched:
        other = theirs.get(parameter.name)
        if other is None:
            continue
        if not _same_meaning(parameter, other):
            return f"`{parameter.name}` is {other.words()} there and {parameter.words()} here"
        shared += 1
    if 2 * shared < len(sweep.space.searched) or not shared:
        return f"it shares {plural(shared, 'parameter')} of {len(sweep.space.searched)}"
    return None


def starts_allowed(sweep: Sweep) -> int:
    """How many points of earlier sweeps a design takes."""
    return max(1, sweep.design_size // 3)


def did_not_help(sweep: Sweep, history: History) -> bool:
    """Whether none of the recommended points came out in the better half of the design."""
    design = [
        trial
        for trial in history.trials
        if trial.key.number < sweep.design_size and trial.outcome not in ("pending", "cancelled", "abandoned")
    ]
    recommended = [trial for trial in design if trial.origin == "history"]
    if not recommended or len(design) < sweep.design_size:
        return False
    ranked = sorted(design, key=lambda trial: loss(trial.value, maximize=sweep.maximize))
    return not any(trial in ranked[: len(design) // 2] for trial in recommended)


def _largest_first(one: Earlier) -> tuple[int, str]:
    return -len(one.history.having(COMPLETE)), one.name


def _ranked(one: Earlier) -> list[Trial]:
    complete = [trial for trial in one.history.having(COMPLETE) if trial.value is not None]
    return sorted(complete, key=lambda trial: (loss(trial.value, maximize=one.sweep.maximize), trial.key))


def _start(source: Earlier, trial: Trial, place: int, point: Point) -> Start:
    run = (source.runs or {}).get(str(trial.key))
    shown = f"{number(trial.value)}, run {run}" if run else number(trial.value)
    complete = len(source.history.having(COMPLETE))
    return Start(
        point,
        sentence(f"{ordinal(place + 1)} of {complete} in sweep {source.name} ({shown}): {show_point(point)}"),
    )


def _same_meaning(new: Parameter, old: Parameter) -> bool:
    """Whether a value of one can mean the same in the other: same kind, same scale; bounds may differ."""
    if isinstance(old, Fixed):
        return True
    if isinstance(new, Choice) and isinstance(old, Choice):
        return new.ordered == old.ordered and bool({*map(identity, new.values)} & {*map(identity, old.values)})
    if isinstance(new, Real) and isinstance(old, Real):
        return new.log == old.log
    return isinstance(new, Integer) and isinstance(old, Integer) and new.log == old.log


def _carried(space: Space, old: Point) -> Point | None:
    """An old point in a new space; what the old one lacks is set to the middle. None when it lies outside."""
    found: Point = {}
    for parameter in space.parents_first:
        if not holds(parameter, found):
            found[parameter.name] = None
        elif isinstance(parameter, Fixed):
            if old.get(parameter.name) is not None and not parameter.contains(old[parameter.name]):
                return None
            found[parameter.name] = parameter.value
        else:
            value = old.get(parameter.name)
            found[parameter.name] = _middle(parameter) if value is None else value
    return space.try_point(found)


def _middle(parameter: Parameter) -> float | int | str | bool:
    if parameter.count is not None:
        return parameter.value_at(parameter.count // 2)
    assert isinstance(parameter, Real)
    return math.sqrt(parameter.low * parameter.high) if parameter.log else (parameter.low + parameter.high) / 2
