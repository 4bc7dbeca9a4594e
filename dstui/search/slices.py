"""The objective along one or two parameters, over all values of the others: what a model of the results expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dstui.errors import UsageError
from dstui.search.history import COMPLETE, History
from dstui.search.space import names_of
from dstui.search.streams import seed_of
from dstui.search.surfaces import fit_surface
from dstui.search.surrogate import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstui.search.parameters import Value
    from dstui.search.sweep import Sweep

OTHERS = 512
"""Points of the other parameters over which is averaged; a power of 2."""
PLACES = 21
PLACES_OF_TWO = 11
"""Values of a range that are looked at, alone and in a pair."""


@dataclass(frozen=True)
class SliceCell:
    """What is expected at one value, or pair of values.

    Attributes:
        values: of the sliced parameters, in the order they were asked for.
        mean: the objective, averaged over the other parameters.
        deviation: how much the objective varies there with the other parameters.
    """

    values: tuple[Value, ...]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Slice:
    """Cells in rising order of the values, and the trials themselves; no cells when refused.

    Attributes:
        names: one or two.
        cells: one per value or pair.
        trials: (number, values, objective) of the complete trials in which all sliced parameters count.
        refusal: why there are no cells, or empty.
    """

    names: tuple[str, ...]
    cells: tuple[SliceCell, ...]
    trials: tuple[tuple[int, tuple[Value, ...], float], ...]
    refusal: str


def slice_along(sweep: Sweep, history: History, names: Sequence[str]) -> Slice:
    """The expected objective along one parameter, or over a pair.

    Raises:
        UsageError: a name is not one of a parameter that varies, or there are not one or two.
    """
    searched = sweep.space.searched
    for name in names:
        if all(parameter.name != name for parameter in searched):
            raise UsageError(f"`{name}` does not vary in this sweep", hint=f"these do: {names_of(searched)}")
    if len(names) not in (1, 2) or len(set(names)) != len(names):
        raise UsageError(
            f"A slice goes along one or two parameters, not {len(names)}", hint="name one or two, once each"
        )
    trials = tuple(
        (trial.key.number, tuple(value for name in names if (value := trial.point[name]) is not None), trial.value)
        for trial in history.having(COMPLETE)
        if trial.value is not None and all(trial.point[name] is not None for name in names)
    )
    fitted = fit_surface(sweep, history)
    if fitted.refusal or fitted.surface is None:
        return Slice(tuple(names), (), trials, fitted.refusal)
    from scipy.stats import qmc

    encoding = fitted.encoding
    generator = np.random.Generator(np.random.PCG64(seed_of(sweep.seed, sweep.lane, 0, "slice")))
    cube = qmc.Sobol(encoding.width, scramble=True, seed=generator).random(OTHERS)
    columns = [next(i for i, parameter in enumerate(searched) if parameter.name == name) for name in names]
    sign = -1.0 if sweep.maximize else 1.0
    places = [encoding.places(column, PLACES if len(names) == 1 else PLACES_OF_TWO) for column in columns]
    cells = []
    with one_thread():
        for combination in np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, len(names)):
            rows = cube.copy()
            rows[:, columns] = combination
            expected = fitted.surface(rows)
            values = tuple(
                encoding.value(column, float(place)) for column, place in zip(columns, combination, strict=True)
            )
            cells.append(SliceCell(values, float(f"{sign * expected.mean():.6g}"), float(f"{expected.std():.6g}")))
    return Slice(tuple(names), tuple(cells), trials, "")
