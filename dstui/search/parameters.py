"""The kinds of parameter that a search can vary: real numbers, whole numbers, choices, and fixed values.

Each is checked when it is made, says in words what it is, and gives itself back as a plain table. No numpy here: what
reads a space must start fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.units import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = bool | int | float | str
"""What a parameter can be; never a numpy scalar."""

Conditions = tuple[tuple[str, tuple[Value, ...]], ...]
"""Pairs of a choice's name and the values with which a parameter counts; all pairs must hold."""

MAX_WHOLE = 2**52
"""Bounds of whole numbers; beyond this floats skip some."""

MAX_CHOICES = 10_000
"""More values than this in one parameter are a typing error."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What all kinds have in common.

    Attributes:
        name: as it is given to the command.
        when: conditions under which it counts; empty means always.
        note: a remark for the reader on how its text was understood; not part of its identity.
    """

    name: str
    when: Conditions = ()
    note: str = field(default="", compare=False)

    @property
    def count(self) -> int | None:
        """How many values it can take, or None for a continuous one."""
        raise NotImplementedError

    def value_at(self, index: int) -> Value:
        """The value with that index, from 0; only where `count` is not None."""
        raise NotImplementedError

    def contains(self, value: object) -> bool:
        """Whether a search in this space could have tried this value."""
        raise NotImplementedError

    def words(self) -> str:
        """What it is, in plain words, without its name."""
        raise NotImplementedError

    def table(self) -> dict[str, Any]:
        """A plain table that `space_table.parameter_of` reads back."""
        raise NotImplementedError

    def under(self, when: Conditions) -> Parameter:
        """The same parameter under other conditions."""
        return replace(self, when=when)

    def describe(self) -> str:
        """One line for a person: `lr: 1e-05 to 0.1, log scale`."""
        conditions = " and ".join(f"{name} is {' or '.join(map(show, values))}" for name, values in self.when)
        return f"{self.name}: {self.words()}" + (f", only when {conditions}" if conditions else "")

    def _with_conditions(self, table: dict[str, Any]) -> dict[str, Any]:
        if self.when:
            table["when"] = {name: list(values) for name, values in self.when}
        return table


@dataclass(frozen=True, kw_only=True)
class Real(Parameter):
    """A real number between two bounds, on a linear or logarithmic scale, perhaps in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log, self.step)
        if self.step is not None and self.count is not None and self.count > MAX_CHOICES:
            raise UsageError(
                f"Step {show(self.step)} of `{self.name}` makes {self.count} values between {show(self.low)} and "
                f"{show(self.high)}",
                hint=f"leave the step out, or make it large enough for at most {MAX_CHOICES} values",
            )

    @property
    def count(self) -> int | None:
        """How many steps fit, the lower bound included; None without a step."""
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def value_at(self, index: int) -> float:
        """The value that many steps above the lower bound, without the dust of binary fractions."""
        return float(f"{self.low + index * (self.step or 0.0):.12g}")

    def contains(self, value: object) -> bool:
        """Whether it is a number within the bounds and, with a step, on one."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        if self.step is None:
            return self.low <= value <= self.high
        index = round((value - self.low) / self.step)
        return 0 <= index < (self.count or 0) and math.isclose(self.value_at(index), value, rel_tol=1e-9, abs_tol=1e-12)

    def words(self) -> str:
        """`0 to 0.5`, with scale and step where they are not the usual."""
        return _range_words(self.low, self.high, self.log, self.step)

    def table(self) -> dict[str, Any]:
        """Bounds are floats, which is what makes it real when read back."""
        table: dict[str, Any] = {"low": float(self.low), "high": float(self.high)}
        # The scale is always said: a bare wide range would be read as logarithmic.
        table["scale"] = "log" if self.log else "linear"
        if self.step is not None:
            table["step"] = float(self.step)
        return self._with_conditions(table)


@dataclass(frozen=True, kw_only=True)
class Integer(Parameter):
    """A whole number between two bounds, both possible, perhaps in steps from the lower one."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log, self.step)

    @property
    def count(self) -> int:
        """How many whole numbers it can be."""
        return (self.high - self.low) // self.step + 1

    def value_at(self, index: int) -> int:
        """The number that many steps above the lower bound."""
        return self.low + index * self.step

    def contains(self, value: object) -> bool:
        """Whether it is a whole number within the bounds and on a step."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def words(self) -> str:
        """`whole numbers 1 to 8`."""
        return "whole numbers " + _range_words(self.low, self.high, self.log, None if self.step == 1 else self.step)

    def table(self) -> dict[str, Any]:
        """Bounds are integers, which is what makes it whole when read back."""
        table: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.log:
            table["scale"] = "log"
        if self.step != 1:
            table["step"] = self.step
        return self._with_conditions(table)


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of several values; ordered ones lie on a line by rank, others are all equally far apart."""

    values: tuple[Value, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.values) < 2:
            raise UsageError(
                f"`{self.name}` has {len(self.values)} choices, and a choice needs 2 or more",
                hint=f"write a single value without a list: `{self.name}=VALUE`",
            )
        if len(self.values) > MAX_CHOICES:
            raise UsageError(
                f"`{self.name}` has {len(self.values)} choices, more than {MAX_CHOICES}", hint="write a range instead"
            )
        seen: set[tuple[type, Value]] = set()
        for value in self.values:
            if not isinstance(value, (bool, int, float, str)) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                raise UsageError(
                    f"Choice `{value!r}` of `{self.name}` is neither a finite number, a text, nor true or false",
                    hint="give names to other things, and look them up in the script",
                )
            if identity(value) in seen:
                raise UsageError(f"`{self.name}` lists {show(value)} more than once", hint="list each choice once")
            seen.add(identity(value))

    @property
    def count(self) -> int:
        """How many choices there are."""
        return len(self.values)

    def value_at(self, index: int) -> Value:
        """The choice at that place of the list."""
        return self.values[index]

    def contains(self, value: object) -> bool:
        """Whether it is one of the choices; `1` and `true` are different, `1` and `1.0` are the same."""
        return isinstance(value, (bool, int, float, str)) and any(
            identity(value) == identity(choice) for choice in self.values
        )

    def index_of(self, value: Value) -> int:
        """The place of a value in the list."""
        return next(index for index, choice in enumerate(self.values) if identity(choice) == identity(value))

    def words(self) -> str:
        """`one of relu, tanh`."""
        shown = [show(value) for value in self.values]
        if len(shown) > 12:
            shown = [*shown[:10], "..", shown[-1]]
        return f"{'in order' if self.ordered else 'one of'} {', '.join(shown)}"

    def table(self) -> dict[str, Any]:
        """The list, and whether its order means something."""
        return self._with_conditions({"values": list(self.values), "ordered": self.ordered})


@dataclass(frozen=True, kw_only=True)
class Fixed(Parameter):
    """A value that every trial gets."""

    value: Value

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not isinstance(self.value, (bool, int, float, str)):
            raise UsageError(
                f"Value `{self.value!r}` of `{self.name}` is neither a number, a text, nor true or false",
                hint="give a range, a list of choices, or one plain value",
            )
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise UsageError(f"`{self.name}` is fixed at {self.value}", hint="give it a finite value")

    @property
    def count(self) -> int:
        """One."""
        return 1

    def value_at(self, index: int) -> Value:
        """The one value."""
        return self.value

    def contains(self, value: object) -> bool:
        """Whether it is the one value."""
        return isinstance(value, (bool, int, float, str)) and identity(value) == identity(self.value)

    def words(self) -> str:
        """`always adam`."""
        return f"always {show(self.value)}"

    def table(self) -> dict[str, Any]:
        """The value, in a table of its own so that conditions can stand beside it."""
        return self._with_conditions({"value": self.value})


def identity(value: Value) -> tuple[type, Value]:
    """A key under which equal values meet: `1` and `1.0` do, `1` and `true` do not."""
    return (bool, value) if isinstance(value, bool) else (str, value) if isinstance(value, str) else (float, value)


def show(value: object) -> str:
    """A value as a person writes it; numbers with all the digits that matter."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_number(value, digits=7) if isinstance(value, (int, float)) else str(value)


def ordered_by_nature(values: Sequence[object]) -> bool:
    """Whether a list of choices lies on a line: three or more numbers, each larger than the one before."""
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return len(numbers) == len(values) >= 3 and all(a < b for a, b in pairwise(numbers))


def conditions_of(when: Mapping[str, Sequence[Value]]) -> Conditions:
    """Conditions in one fixed order."""
    return tuple((name, tuple(values)) for name, values in sorted(when.items()))


def _check_name(name: str) -> None:
    if not name or any(character.isspace() or character in "=@{}" or not character.isprintable() for character in name):
        raise UsageError(
            f"`{name}` is no name for a parameter", hint="use letters, digits, `_`, `-` and `.`, as in `optimizer.lr`"
        )


def _check_range(name: str, low: float, high: float, log: bool, step: float | None) -> None:
    _check_name(name)
    for bound in (low, high):
        if isinstance(bound, int) and abs(bound) > MAX_WHOLE:
            raise UsageError(
                f"Bound {bound} of `{name}` is beyond the whole numbers that floats hold exactly",
                hint=f"keep bounds within {-MAX_WHOLE} and {MAX_WHOLE}, or write real bounds with a `.` or `e`",
            )
        if not math.isfinite(bound) or abs(bound) > 1e300:
            raise UsageError(f"Bound {bound} of `{name}` is no finite number", hint="give two finite bounds")
    if low >= high:
        mend = f"write {show(high)}..{show(low)}" if low > high else f"write `{name}={show(low)}` to fix it"
        raise UsageError(f"Lower bound {show(low)} of `{name}` is not below its upper bound {show(high)}", hint=mend)
    if log and low <= 0:
        raise UsageError(
            f"`{name}` is on a log scale, but its lower bound is {show(low)}",
            hint="raise the lower bound above 0, or use the linear scale (`lin:`)",
        )
    if step is not None and not 0 < step <= high - low:
        raise UsageError(
            f"Step {show(step)} of `{name}` does not fit between {show(low)} and {show(high)}",
            hint=f"write a step above 0 and at most {show(high - low)}",
        )
    if step not in (None, 1) and log:
        raise UsageError(
            f"`{name}` has both a log scale and step {show(step)}",
            hint="leave one of them out, or list the values: `a,b,c`",
        )


def _range_words(low: float, high: float, log: bool, step: float | None) -> str:
    text = f"{show(low)} to {show(high)}"
    if step is not None:
        text += f" in steps of {show(step)}"
    return text + (", log scale" if log else "")
