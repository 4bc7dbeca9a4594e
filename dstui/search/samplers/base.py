"""What every sampler promises; `tests/search/sampler_contract.py` holds ours and those of plugins to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dstui.search.history import ABANDONED, History

if TYPE_CHECKING:
    from dstui.search.space import PointKey
    from dstui.search.sweep import Suggestion, Sweep


@runtime_checkable
class Sampler(Protocol):
    """Proposes what to try next.

    It keeps no state: what it knows is in the sweep and the history, neither of which it changes, and the same two give
    the same suggestions, in any process. It is called by one thread at a time.
    """

    name: str
    """As in `sampler = "NAME"`."""

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """What the next `n` trials should try.

        Args:
            sweep: space, direction, seed, lane, ..
            history: all trials so far; those without a result yet are in it as pending.
            n: how many, 1 or more.

        Returns:
            Suggestions for the trials `history.next_number(sweep.lane)` and up, all different from each other and from
            every point in the history. Fewer than `n`, or none, only when the space has no more unseen points.
        """


def seen_points(sweep: Sweep, history: History) -> set[PointKey]:
    """Keys of all points that are not to be proposed again: tried, pending, cancelled."""
    return {sweep.space.key(trial.point) for trial in history.trials if trial.outcome != ABANDONED}
