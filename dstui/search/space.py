"""The space of a search: its parameters, which of them count together, and what a point in it is.

A point is a dict with every parameter's name; a parameter whose conditions do not hold is None there, and is not given
to the command.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dstui.errors import UsageError
from dstui.search.parameters import Choice, Fixed, Integer, Parameter, Real, Value, identity, show

Point = dict[str, Value | None]
"""All parameters by name; None where one does not count."""

PointKey = tuple[object, ...]
"""What two equal points have in common, in the order of the parameters."""

MAX_PARAMETERS = 200
"""More than this is refused: no method here could search it."""


@dataclass(frozen=True)
class Space:
    """Parameters in the order they were written; checked when it is made.

    Raises:
        UsageError: a name stands twice, or a condition names no choice, an impossible value, or itself in the end.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise UsageError("The space has no parameter", hint="add one, such as `--space lr=log:1e-5..1e-1`")
        if len(self.parameters) > MAX_PARAMETERS:
            raise UsageError(
                f"The space has {len(self.parameters)} parameters, more than {MAX_PARAMETERS}",
                hint="fix the ones that matter least",
            )
        names = [parameter.name for parameter in self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"Parameter `{name}` is given {names.count(name)} times", hint="give it once")
        for parameter in self.parameters:
            self._check_conditions(parameter)
        object.__setattr__(self, "_resolved", self._parents_first())

    def _check_conditions(self, parameter: Parameter) -> None:
        for name, values in parameter.when:
            parent = next((other for other in self.parameters if other.name == name), None)
            if not isinstance(parent, (Choice, Fixed)):
                kind = "is a range" if parent else "is not in the space"
                raise UsageError(
                    f"`{parameter.name}` counts only for some values of `{name}`, which {kind}",
                    hint=f"make `{name}` a list of choices",
                )
            if not values:
                raise UsageError(f"`{parameter.name}` names `{name}` without a value", hint=f"write `@{name}=VALUE`")
            for value in values:
                if not parent.contains(value) and not (isinstance(parent, Fixed)):
                    raise UsageError(
                        f"`{parameter.name}` counts when `{name}` is {show(value)}, which `{name}` never is",
                        hint=f"`{name}` is {parent.words()}",
                    )

    def _parents_first(self) -> tuple[Parameter, ...]:
        done: dict[str, Parameter] = {}
        left = list(self.parameters)
        while left:
            ready = [parameter for parameter in left if all(name in done for name, _ in parameter.when)]
            if not ready:
                circle = ", ".join(f"`{parameter.name}`" for parameter in left)
                raise UsageError(f"The conditions of {circle} go in a circle", hint="take one of the conditions away")
            done.update({parameter.name: parameter for parameter in ready})
            left = [parameter for parameter in left if parameter.name not in done]
        return tuple(done.values())

    @property
    def parents_first(self) -> tuple[Parameter, ...]:
        """All parameters, each behind those that its conditions name."""
        resolved: tuple[Parameter, ...] = getattr(self, "_resolved")  # noqa: B009 - set past the frozen dataclass
        return resolved

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that vary, parents first."""
        return tuple(parameter for parameter in self.parents_first if not isinstance(parameter, Fixed))

    @property
    def conditional(self) -> bool:
        """Whether some parameter that varies counts only now and then."""
        return any(parameter.when for parameter in self.searched)

    @property
    def notes(self) -> list[str]:
        """Remarks on how the texts were understood, one line each."""
        return [parameter.note for parameter in self.parameters if parameter.note]

    def __getitem__(self, name: str) -> Parameter:
        """The parameter of that name; KeyError if there is none."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def point(self, params: Mapping[str, Any]) -> Point:
        """The full point that these params mean: fixed values filled in, numbers in their plain kinds.

        Args:
            params: values by name; what does not count may be missing or None.

        Raises:
            UsageError: a name or value is not of this space.
        """
        for name in params:
            if not any(parameter.name == name for parameter in self.parameters):
                known = ", ".join(f"`{parameter.name}`" for parameter in self.parameters)
                raise UsageError(f"`{name}` is not a parameter of the space", hint=f"it has {known}")
        found: Point = {}
        for parameter in self.parents_first:
            value = params.get(parameter.name)
            if not holds(parameter, found):
                found[parameter.name] = None
            elif isinstance(parameter, Fixed) and value is None:
                found[parameter.name] = parameter.value
            else:
                found[parameter.name] = _value_in(parameter, value)
        return {parameter.name: found[parameter.name] for parameter in self.parameters}

    def try_point(self, params: object) -> Point | None:
        """The point that these params mean, or None when they are not of this space."""
        if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
            return None
        try:
            return self.point(params)
        except UsageError:
            return None

    def key(self, point: Mapping[str, Value | None]) -> PointKey:
        """What equal points share; only for points that `point` made."""
        return tuple(
            None if (value := point[parameter.name]) is None else identity(value) for parameter in self.parameters
        )

    def active(self, point: Mapping[str, Value | None]) -> dict[str, Value]:
        """What the command is given: the point without what does not count."""
        return {name: value for name, value in point.items() if value is not None}

    def size(self, limit: int = 1_000_000) -> int | None:
        """How many points there are; None when there are more than `limit`, or no end of them."""
        if any(parameter.count is None for parameter in self.searched):
            return None
        if not self.conditional:
            total = 1
            for parameter in self.searched:
                total *= parameter.count or 1
            return total if total <= limit else None
        counted = sum(1 for _ in itertools.islice(self.points(), limit + 1))
        return counted if counted <= limit else None

    def points(self) -> Iterator[Point]:
        """Every point once, in a fixed order; only for a space where each parameter has a `count`."""
        order = self.parents_first

        def walk(index: int, point: Point) -> Iterator[Point]:
            if index == len(order):
                yield {parameter.name: point[parameter.name] for parameter in self.parameters}
                return
            parameter = order[index]
            if not holds(parameter, point):
                yield from walk(index + 1, {**point, parameter.name: None})
                return
            for place in range(parameter.count or 0):
                yield from walk(index + 1, {**point, parameter.name: parameter.value_at(place)})

        return walk(0, {})

    def describe(self) -> list[str]:
        """The space in plain words, one line a parameter."""
        return [parameter.describe() for parameter in self.parameters]

    def table(self) -> dict[str, dict[str, Any]]:
        """A plain table, for JSON or TOML, that `space_table.space_of` reads back as an equal space."""
        return {parameter.name: parameter.table() for parameter in self.parameters}


def holds(parameter: Parameter, point: Mapping[str, Value | None]) -> bool:
    """Whether a parameter counts at a point that has all its parents."""
    for name, values in parameter.when:
        value = point[name]
        if value is None or all(identity(value) != identity(wanted) for wanted in values):
            return False
    return True


def show_point(point: Mapping[str, Value | None]) -> str:
    """A point in one line: `lr=0.0003 batch_size=64`."""
    return " ".join(f"{name}={show(value)}" for name, value in point.items() if value is not None)


def names_of(parameters: Sequence[Parameter]) -> str:
    """Names in backticks, for a sentence."""
    return ", ".join(f"`{parameter.name}`" for parameter in parameters)


def _value_in(parameter: Parameter, value: object) -> Value:
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if value is None:
        raise UsageError(f"`{parameter.name}` has no value", hint=f"it is {parameter.words()}")
    if isinstance(parameter, Integer) and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not parameter.contains(value):
        raise UsageError(
            f"`{parameter.name}` is {show(value)}, outside of its space", hint=f"it is {parameter.words()}"
        )
    if isinstance(parameter, Choice) and isinstance(value, (bool, int, float, str)):
        # The value as it was listed: a JSON file may have turned 1.0 into 1.
        return parameter.values[parameter.index_of(value)]
    if isinstance(parameter, Fixed):
        return parameter.value
    if isinstance(parameter, Real) and isinstance(value, (int, float)):
        return float(value)
    assert isinstance(value, int)
    return value
