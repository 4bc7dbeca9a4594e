"""Points as rows of numbers, and back.

Notation:
    d: parameters that vary. D: columns that the model sees.
    U: shape (m, d), in [0, 1]: the unit cube, one column a parameter. Samplers draw here.
    S: shape (m, d): U snapped, so that each row is a point that can be tried; a parameter that does not count is 0.5.
    E: shape (m, D): one column per number, and per unordered choice one column for each of its values, of height
       1/sqrt(2), so that two different choices lie at distance 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dstui.search.parameters import Choice, Integer, Parameter, Real, Value, identity
from dstui.search.space import Point, Space, holds

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MARGIN = 0.4999
"""A whole number's range grows by this much of a step at both ends, so that the end values get a full share."""

FINEST = 1e-7
"""Real values are rounded to about this share of their range: what is typed again is short, nothing is lost."""


class Encoding:
    """How the points of one space are laid out; holds no data."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.parameters = space.searched
        self.width = len(self.parameters)
        self._columns = {parameter.name: column for column, parameter in enumerate(self.parameters)}
        self.owners: list[int] = []
        """Per model column, the parameter it belongs to."""
        for column, parameter in enumerate(self.parameters):
            self.owners += [column] * (parameter.count or 1 if _one_hot(parameter) else 1)
        self.model_width = len(self.owners)

    def snap(self, cube: Floats) -> Floats:
        """S for U: each row moved to the nearest point that can be tried."""
        snapped = np.clip(cube, 0.0, 1.0)
        for column, parameter in enumerate(self.parameters):
            if parameter.count is not None:
                snapped[:, column] = _positions(parameter, _indices(parameter, snapped[:, column]))
        return np.where(self._active(snapped), snapped, 0.5) if self.space.conditional else snapped

    def encode(self, snapped: Floats) -> Floats:
        """E for S."""
        if not any(map(_one_hot, self.parameters)):
            return snapped
        active = self._active(snapped)
        blocks = []
        for column, parameter in enumerate(self.parameters):
            if _one_hot(parameter):
                index = _indices(parameter, snapped[:, column])
                hot = np.eye(parameter.count or 1)[index] * math.sqrt(0.5)
                blocks.append(np.where(active[:, column, None], hot, 0.0))
            else:
                blocks.append(snapped[:, column, None])
        return np.concatenate(blocks, axis=1)

    def locate(self, points: list[Point]) -> Floats:
        """S for points of the space."""
        rows = np.full((len(points), self.width), 0.5)
        for column, parameter in enumerate(self.parameters):
            for row, point in enumerate(points):
                value = point[parameter.name]
                if value is not None:
                    rows[row, column] = _position_of(parameter, value)
        return rows

    def point(self, row: Floats) -> Point:
        """The point of one row of U or S."""
        found: Point = {}
        for parameter in self.space.parents_first:
            if not holds(parameter, found):
                found[parameter.name] = None
                continue
            column = self._columns.get(parameter.name)
            found[parameter.name] = (
                parameter.value_at(0) if column is None else _value_of(parameter, float(row[column]))
            )
        return {parameter.name: found[parameter.name] for parameter in self.space.parameters}

    def value(self, column: int, place: float) -> Value:
        """The value that a place in [0, 1] of one column means."""
        return _value_of(self.parameters[column], place)

    def places(self, column: int, most: int) -> Floats:
        """Places in one column that show its whole range: all values of a short list, else `most` even ones."""
        parameter = self.parameters[column]
        if parameter.count is not None and parameter.count <= most:
            return _positions(parameter, np.arange(parameter.count))
        return np.linspace(0.0, 1.0, most)

    def _active(self, snapped: Floats) -> Flags:
        """Which parameters count, per row; shape (m, d)."""
        active = np.ones(snapped.shape, dtype=bool)
        of_name: dict[str, Flags] = {}
        for parameter in self.space.parents_first:
            flags = np.ones(len(snapped), dtype=bool)
            for name, values in parameter.when:
                parent = self.space[name]
                wanted = {identity(value) for value in values}
                column = self._columns.get(name)
                if column is None:
                    holds_now = np.full(len(snapped), identity(parent.value_at(0)) in wanted)
                else:
                    allowed = [identity(parent.value_at(place)) in wanted for place in range(parent.count or 0)]
                    holds_now = np.array(allowed)[_indices(parent, snapped[:, column])]
                flags &= of_name[name] & holds_now
            of_name[parameter.name] = flags
            if parameter.name in self._columns:
                active[:, self._columns[parameter.name]] = flags
        return active


def _one_hot(parameter: Parameter) -> bool:
    return isinstance(parameter, Choice) and not parameter.ordered


def _scale(parameter: Parameter) -> tuple[float, float, bool]:
    """The values at 0 and 1 of the cube, and whether the way between them is logarithmic."""
    if isinstance(parameter, Real) and parameter.step is None:
        return parameter.low, parameter.high, parameter.log
    if isinstance(parameter, (Real, Integer)):
        step = parameter.step or 1
        last = parameter.low + step * ((parameter.count or 1) - 1)
        return parameter.low - MARGIN * step, last + MARGIN * step, parameter.log
    return -0.5, (parameter.count or 1) - 0.5, False


def _values_at(parameter: Parameter, column: Floats) -> Floats:
    low, high, log = _scale(parameter)
    if log:
        return np.exp(math.log(low) + column * (math.log(high) - math.log(low)))
    return low + column * (high - low)


def _indices(parameter: Parameter, column: Floats) -> NDArray[np.intp]:
    """Which of its values each cell of a column means; for parameters with a count."""
    raw = _values_at(parameter, column)
    if isinstance(parameter, (Real, Integer)):
        raw = (raw - parameter.low) / (parameter.step or 1)
    return np.clip(np.rint(raw), 0, (parameter.count or 1) - 1).astype(np.intp)


def _positions(parameter: Parameter, indices: NDArray[np.intp]) -> Floats:
    """Where in the unit interval these values of a parameter with a count lie."""
    places = indices.astype(np.float64)
    if isinstance(parameter, (Real, Integer)):
        places = parameter.low + places * (parameter.step or 1)
    low, high, log = _scale(parameter)
    if log:
        return np.log(places / low) / (math.log(high) - math.log(low))
    return (places - low) / (high - low)


def _position_of(parameter: Parameter, value: Value) -> float:
    if isinstance(parameter, Choice):
        return (parameter.index_of(value) + 0.5) / parameter.count
    low, high, log = _scale(parameter)
    number = float(value)
    if log:
        return math.log(number / low) / (math.log(high) - math.log(low))
    return (number - low) / (high - low)


def _value_of(parameter: Parameter, u: float) -> Value:
    if parameter.count is not None:
        return parameter.value_at(int(_indices(parameter, np.array([u]))[0]))
    assert isinstance(parameter, Real)
    value = float(_values_at(parameter, np.array([u]))[0])
    span = (
        value * (math.log(parameter.high) - math.log(parameter.low))
        if parameter.log
        else parameter.high - parameter.low
    )
    digits = -math.floor(math.log10(FINEST * span)) if FINEST * span > 1e-290 else 300
    return min(max(round(value, digits), parameter.low), parameter.high)
