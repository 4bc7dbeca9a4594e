"""Decides which named numbers of an output are metrics, and at which step each point lies.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_curves`. Precision comes before recall: a
number that is no metric costs trust, one that is missed costs a line of code.

- A name becomes a metric at its third line with a growing position; its first two points are then added. At the end of
  the output well-known results (`loss`, `test accuracy`, ..) count that were seen less often.
- A line without position counts only if it consists of well-known results. They stand where the line before them
  stood, and are written once the next position is seen: a name that comes twice with different values before that (the
  accuracies of ten classes) says nothing about the training. In an output without any position they have no step.
- Of an evaluation that prints its progress the last line counts.
- Of equal places nearby the first counts, so four ranks that print the same give one point.
- A name keeps what its first point was placed by: an epoch, if no step had been seen by then, else a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING or __package__:
    from dstui.inside.parse_line import Line, only_results
    from dstui.inside.parse_steps import BORROWED, OWN, PROGRESS, Place, Steps
    from dstui.inside.parse_words import Units, is_result, is_setting, scoped
else:
    from parse_line import Line, only_results
    from parse_steps import BORROWED, OWN, PROGRESS, Place, Steps
    from parse_words import Units, is_result, is_setting, scoped

LINES_TO_BELIEVE = 3
"""Lines with a growing position before a name is a metric."""

NAME_LIMIT = 1_000
"""Names followed at a time; a script that prints more different ones prints no metrics."""

NAME_LENGTH = 64
"""Longest name of a metric found in output."""

NEARBY = 2
"""A place that is one of the last so many of a name was printed by another rank."""

REPEAT_SECONDS = 2.0
"""A result without any position that comes again as it was within this time was printed by another rank."""


class Curves:
    """What is known of the names in one output.

    Args:
        write: gets a name, a step or None, a value, and when it was printed.
    """

    def __init__(self, write: Callable[[str, int | None, float, float], None]) -> None:
        self._write = write
        self._steps = Steps()
        self._units = Units()
        self._names: dict[str, _Name] = {}
        self._held: dict[str, _Held] = {}
        self._copies = 0
        self._scope = ""

    def take(self, line: Line, now: float) -> None:
        """Take in what a line says.

        Args:
            line: the next one.
            now: seconds since the epoch.
        """
        position = line.position
        if position is None and not line.fields:
            self._steps.interrupt()
            return
        points: dict[str, float] = {}
        for field in line.fields:
            name, value = self._units.named(field)
            if len(name) <= NAME_LENGTH:
                points.setdefault(name, value)
        place = self._steps.place(line, all(is_setting(name) for name in points))
        if place is None or not points:
            if position is not None and not points:
                self._let_go()
            return
        if position is not None and position.decimal and position.epoch is not None and position.step is None:
            points["epoch"] = position.epoch
        scope = self._steps.scope(line)
        if scope:
            points = {scoped(name, scope): value for name, value in points.items()}
        if place.kind == OWN:
            self._let_go()
            self._scope = line.scope
            for name, value in points.items():
                self._own(name, place, value, now)
        elif place.kind == PROGRESS:
            self._scope = scope = line.scope or "eval"
            for name, value in points.items():
                self._hold(scoped(name, scope), _Held(place, value, now))
        elif line.sums_up:
            for name, value in points.items():
                if is_result(name):
                    self._hold(scoped(name, self._scope), _Held(place, value, now))
        elif only_results(line):
            for name, value in points.items():
                if is_result(name):
                    self._borrow(name, place, value, now)

    def close(self) -> None:
        """Write what is held, and the results that were seen too rarely to be sure."""
        self._let_go()
        for name, state in self._names.items():
            if not state.believed and is_result(name):
                for point in state.pending:
                    self._put(name, state, point)
        self._names.clear()

    def _own(self, name: str, place: Place, value: float, now: float) -> None:
        """A value on a line that says where it stands."""
        state = self._state(name)
        if state is None:
            return
        point = _Point(place, value, now)
        order = state.order(place)
        if order is None:
            return
        if state.is_copy(order):
            self._copies += 1
        elif state.believed:
            state.has_own = True
            self._put(name, state, point)
        elif state.believe(point, order):
            state.has_own = True
            for earlier in state.pending:
                self._put(name, state, earlier)
            state.pending.clear()

    def _borrow(self, name: str, place: Place, value: float, now: float) -> None:
        """A result on a line that does not say where it stands."""
        if place.step is None and place.epoch is None:
            state = self._state(name)
            if state is not None and state.is_new(value, now):
                self._write(name, None, value, now)
            return
        held = self._held.get(name)
        if held is None or held.place != place:
            self._hold(name, _Held(place, value, now))
        elif held.value != value and self._copies < 4:
            self._held[name] = held._replace(is_unclear=True)

    def _hold(self, name: str, held: _Held) -> None:
        if name in self._held or len(self._held) < NAME_LIMIT:
            self._held[name] = held

    def _let_go(self) -> None:
        """Write what was held until the next position."""
        if not self._held:
            return
        held, self._held = self._held, {}
        for name, (place, value, time, is_unclear) in held.items():
            state = self._state(name)
            if state is None or is_unclear:
                continue
            # A name with positions has its curve; what has none, the average of a test, would bend it.
            if place.kind == BORROWED and state.has_own:
                continue
            order = state.order(place)
            if order is None or state.is_copy(order):
                continue
            if is_result(name) or state.believed:
                state.believed = True
                self._put(name, state, _Point(place, value, time))
            elif state.believe(_Point(place, value, time), order):
                for point in state.pending:
                    self._put(name, state, point)
                state.pending.clear()

    def _put(self, name: str, state: _Name, point: _Point) -> None:
        place = point.place
        if place.is_decimal:
            self._write(name, None, point.value, point.time)
            return
        if state.by_epoch is None:
            state.by_epoch = self._steps.last is None
        if state.by_epoch:
            step = None if place.epoch is None or not place.epoch.is_integer() else int(place.epoch)
        else:
            step = self._steps.first if place.step is None else place.step
        self._write(name, step, point.value, point.time)

    def _state(self, name: str) -> _Name | None:
        state = self._names.get(name)
        if state is None and len(self._names) < NAME_LIMIT:
            state = self._names[name] = _Name()
        return state


class _Point(NamedTuple):
    place: Place
    value: float
    time: float


class _Held(NamedTuple):
    place: Place
    value: float
    time: float
    is_unclear: bool = False


class _Name:
    """What is known of one name."""

    __slots__ = ("_nearby", "_orders", "_seen_at", "_value", "believed", "by_epoch", "has_own", "pending")

    def __init__(self) -> None:
        self.believed = False
        self.by_epoch: bool | None = None
        self.has_own = False
        self.pending: list[_Point] = []
        self._orders: list[float] = []
        self._nearby: list[float] = []
        self._value: float | None = None
        self._seen_at = 0.0

    def order(self, place: Place) -> float | None:
        """A number that grows with the place; None when this name is placed by the other of epoch and step."""
        if self.by_epoch is None or place.is_decimal:
            return place.epoch if place.step is None else float(place.step)
        if self.by_epoch:
            return place.epoch if place.is_epoch or place.kind != OWN else None
        return None if place.step is None else float(place.step)

    def is_copy(self, order: float) -> bool:
        """Whether this place was seen just before."""
        if order in self._nearby:
            return True
        self._nearby = [*self._nearby[1 - NEARBY :], order]
        return False

    def is_new(self, value: float, now: float) -> bool:
        """Whether a value without any position is not just another rank's."""
        repeated = value == self._value and now - self._seen_at < REPEAT_SECONDS
        self._value, self._seen_at = value, now
        return not repeated

    def believe(self, point: _Point, order: float) -> bool:
        """Add a point; whether it is the one that makes the name a metric."""
        if self._orders and order <= self._orders[-1]:
            self.pending.clear()
            self._orders.clear()
        self.pending.append(point)
        self._orders.append(order)
        if len(self.pending) < LINES_TO_BELIEVE:
            return False
        # An integer that grows as the position does only counts along: `configuration 3`, `port=29503`.
        ahead = {point.value - order for point, order in zip(self.pending, self._orders)}
        if len(ahead) == 1 and all(point.value.is_integer() for point in self.pending):
            self.pending.pop(0)
            self._orders.pop(0)
            return False
        self.believed = True
        return True
