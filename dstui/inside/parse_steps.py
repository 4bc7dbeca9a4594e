"""Turns the positions of lines into steps that grow over the whole training.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_steps`.

- A step word with a number (`step 250`, `iter: 10`, `Episode 3`): that step. Counted anew in each epoch, it goes on
  from the last one.
- An epoch and a place in it (`Epoch: [0][10/5005]`, a progress bar): (epoch - first epoch seen) x total + place.
  Without an epoch, a place that starts over counts as one.
- An epoch alone: the last step seen; in an output that prints no steps within epochs, the epoch. One with a decimal
  point (Hugging Face) gives no step.
- The place within an evaluation (`Test: [10/196]`) and a line without position: the last step of the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING or __package__:
    from dstui.inside.journal import LARGEST_STEP
else:
    from journal import LARGEST_STEP

if TYPE_CHECKING:
    from dstui.inside.parse_line import Line
    from dstui.inside.parse_position import Position

OWN = 0
"""The line says where it stands."""

PROGRESS = 1
"""It is on the way through an evaluation, whose last line counts."""

BORROWED = 2
"""It says nothing; it stands where the line before it stood."""


MOST_TOTALS = 1_000
"""Different lengths of an epoch that are followed."""


class Place(NamedTuple):
    """Where a line stands.

    Attributes:
        step: None while the output has shown no steps within epochs, or none can be said.
        epoch: None when none is known.
        kind: `OWN`, `PROGRESS` or `BORROWED`.
        is_epoch: only its epoch was printed.
        is_decimal: that epoch has a decimal point, so no step can be made of it.
    """

    step: int | None
    epoch: float | None
    kind: int = OWN
    is_epoch: bool = False
    is_decimal: bool = False


class Steps:
    """Follows the positions of an output, line by line.

    Attributes:
        first: the first step seen, or None.
        last: the last step seen.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self._epoch: float | None = None
        self._first_epoch: float | None = None
        # The position of a line without results; as long as only fields follow, they are told there.
        self._header: Position | None = None
        self._follows_header = False
        self._header_scope = ""
        self._bar_total: int | None = None
        self._bar_step = 0
        self._evaluates = False
        # Per scope: the last epoch, the last step as printed, and what earlier epochs add to it.
        self._counted: dict[str, tuple[float, int, int]] = {}
        # Per scope and total: the last place, and how often it started over.
        self._passes: dict[tuple[str, int], tuple[int, int]] = {}

    def scope(self, line: Line) -> str:
        """What the header above a line without position speaks of (`[test] epoch: 3`), while it is told there."""
        return self._header_scope if line.position is None and self._follows_header else ""

    def interrupt(self) -> None:
        """A line without any field: what comes after it is no longer told under the header above."""
        self._follows_header = False

    def place(self, line: Line, is_header: bool) -> Place | None:
        """The place of a line, or None when nothing is known.

        Args:
            line: with or without fields.
            is_header: it says a position, and beside it no more than a time or a learning rate.
        """
        position = line.position
        if position is None:
            if not line.only_fields:
                self._follows_header = False
            if self._follows_header and self._header is not None and line.fields:
                if self._header_scope:
                    return self._here()._replace(kind=OWN)
                return self._of(self._header, line.scope)
            return self._here()
        if is_header and not line.bar:
            self._header = position
            self._header_scope = line.scope
            self._follows_header = True
            self._bar_total = None
            self._bar_step = 0
            self._evaluates = False
            if position.epoch is not None and position.step is None and not position.decimal:
                self._see_epoch(position.epoch)
        else:
            self._follows_header = False
        if not line.fields:
            return None
        if line.bar:
            return self._bar(position)
        return self._of(position, line.scope)

    def _bar(self, position: Position) -> Place | None:
        """A bar of Keras belongs to the epoch above it; one without, of another length or after the end evaluates."""
        total, step = position.total or 0, position.step or 0
        self._bar_total = self._bar_total or total
        self._evaluates |= self._bar_step >= total > step
        if self._header is None or self._header.epoch is None or total != self._bar_total or self._evaluates:
            return self._here()._replace(kind=PROGRESS)
        self._bar_step = step
        return self._of(position._replace(epoch=self._header.epoch), "")

    def _here(self) -> Place:
        return Place(self.last, self._epoch, BORROWED)

    def _see_epoch(self, epoch: float) -> None:
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._epoch = epoch

    def _of(self, position: Position, scope: str) -> Place | None:
        epoch, decimal, step, total = position
        if step is None:
            if epoch is None or abs(epoch) > LARGEST_STEP:
                return None
            if decimal:
                return Place(None, epoch, is_epoch=True, is_decimal=True)
            self._see_epoch(epoch)
            return Place(self.last, epoch, is_epoch=True)
        if total and scope and self.last is not None and not self._trains_in(scope):
            return Place(self.last, self._epoch if epoch is None else epoch, PROGRESS)
        if epoch is None and total and self._header is not None:
            epoch = self._header.epoch
        if total:
            step = self._through(epoch, step, total, scope)
        elif epoch is not None:
            self._see_epoch(epoch)
            last_epoch, last, before = self._counted.get(scope, (epoch, 0, 0))
            if epoch > last_epoch and step <= last:
                before += last
            self._counted[scope] = (epoch, step, before)
            step += before
        if not -LARGEST_STEP <= step <= LARGEST_STEP:
            return None
        self.first = step if self.first is None else self.first
        self.last = step
        return Place(step, self._epoch)

    def _through(self, epoch: float | None, step: int, total: int, scope: str) -> int:
        """The step at a place in an epoch."""
        if epoch is not None:
            self._see_epoch(epoch)
            return step + int(epoch - (self._first_epoch or 0)) * total
        last, passes = self._passes.get((scope, total), (0, 0))
        if step < last:
            passes += 1
        if len(self._passes) < MOST_TOTALS or (scope, total) in self._passes:
            self._passes[scope, total] = (step, passes)
        return step + passes * total

    def _trains_in(self, scope: str) -> bool:
        """Whether places of this scope were the first that the output showed: then there is no other training."""
        return bool(self._passes) and next(iter(self._passes))[0] == scope
