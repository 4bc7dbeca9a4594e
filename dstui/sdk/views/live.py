"""Runs that are going on: their lines, and their curves as far as they have come.

Each run's journals are followed from where the last look ended. A curve is kept whole up to `MAX_POINTS`; beyond that
every four neighbours become two, the least and the greatest, so that no spike is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstui.sdk.views.lines import objective_of
from dstui_store import Liveness, clean

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dstui.sdk.views.data import RunLine
    from dstui.sdk.views.lines import LineMaker
    from dstui_store import Envelope, LiveRun, RunRecord, SafeText, Series, Store

MAX_POINTS = 200_000
"""Points of one curve that are kept as they are."""

TREND_COLUMNS = 20
"""Means that a table's small curve is made of."""


class Curve:
    """The points of one metric of a running run."""

    def __init__(self) -> None:
        self._chunks: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]] = []
        self._count = 0

    def add(self, series: Series) -> None:
        """Appends points that are new."""
        import numpy as np

        self._chunks.append((series.step.astype(np.float64), series.time, series.value))
        self._count += len(series.value)
        if self._count > MAX_POINTS:
            step, time, value = (_thinned(part, self.arrays()[2]) for part in self.arrays())
            self._chunks, self._count = [(step, time, value)], len(value)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(step, time, value), each of shape (n,)."""
        import numpy as np

        if len(self._chunks) > 1:
            step, time, value = (np.concatenate(parts) for parts in zip(*self._chunks, strict=True))
            self._chunks = [(step, time, value)]
        empty = np.zeros(0)
        return self._chunks[0] if self._chunks else (empty, empty, empty)

    def points(self, axis: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) for a chart, x ascending."""
        from dstui_store import order

        step, time, value = self.arrays()
        return order(step, time, value, axis)


@dataclass
class _Followed:
    """One running run and what is known of it so far."""

    row: int
    folder: Path
    tail: object | None = None
    version: int = 0
    seen: tuple[object, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    line: RunLine | None = None
    record: RunRecord | None = None


class LiveRuns:
    """All runs of `live/`. For the reader's thread only."""

    def __init__(self, store: Store, maker: LineMaker, id_length: Callable[[str], int]) -> None:
        self._store = store
        self._maker = maker
        self._id_length = id_length
        self._runs: dict[str, _Followed] = {}
        self._next_row = -1

    def poll(self, *, finish: bool) -> bool:
        """Looks at `live/` once; whether any run or curve changed.

        Args:
            finish: commit runs that have ended; the index then has them.

        Raises:
            StoreError: a folder is not readable.
        """
        found = {run.id: run for run in self._store.live_runs()}
        if finish and any(self._is_over(run) for run in found.values()):
            self._store.recover()
            found = {run.id: run for run in self._store.live_runs()}
        changed = self._runs.keys() != found.keys()
        self._runs = {run: followed for run, followed in self._runs.items() if run in found}
        for run in found.values():
            if self._follow(run):
                changed = True
        return changed

    def records(self) -> dict[int, RunRecord]:
        """The runs by their (negative) row, newest first."""
        return {item.row: item.record for item in self._newest_first() if item.record is not None}

    def lines(self) -> dict[int, RunLine]:
        """Their lines, in the same order."""
        return {item.row: item.line for item in self._newest_first() if item.line is not None}

    def curves(self, run: str) -> dict[str, Curve] | None:
        """The curves of a run by metric, None when it is not going on."""
        followed = self._runs.get(run)
        return None if followed is None else followed.curves

    def version(self, run: str) -> int:
        """Grows with every change of the run, 0 when it is not going on."""
        followed = self._runs.get(run)
        return 0 if followed is None else followed.version

    def envelopes(
        self,
        run: str,
        metrics: Sequence[str],
        width: int,
        axis: str,
        x0: float | None = None,
        x1: float | None = None,
        *,
        positive: bool = False,
    ) -> dict[str, Envelope]:
        """Curves of a running run in `width` columns, all over the same range."""
        from dstui_store import Envelope

        curves = self.curves(run) or {}
        points = {name: curves[name].points(axis) for name in metrics if name in curves}
        points = {name: pair for name, pair in points.items() if len(pair[0])}
        first = min((float(x[0]) for x, _ in points.values()), default=0.0) if x0 is None else x0
        last = max((float(x[-1]) for x, _ in points.values()), default=0.0) if x1 is None else x1
        return {name: Envelope.of(x, y, width, first, last, positive=positive) for name, (x, y) in points.items()}

    def _newest_first(self) -> list[_Followed]:
        return sorted(self._runs.values(), key=lambda item: item.row)

    def _is_over(self, run: LiveRun) -> bool:
        """Whether nothing more will come of it and only its commit is missing."""
        return run.liveness() in {Liveness.ENDED, Liveness.DEAD, Liveness.NEVER}

    def _follow(self, run: LiveRun) -> bool:
        followed = self._runs.get(run.id)
        if followed is None:
            followed = self._runs[run.id] = _Followed(self._next_row, run.folder)
            self._next_row -= 1
        new = self._new_points(followed, run)
        seen = (
            *(run.state.get("started_at"), run.state.get("log_bytes"), tuple(run.exit), len(run.config())),
            _samples_bytes(run),
        )
        if not new and seen == followed.seen and followed.line is not None:
            return False
        followed.seen = seen
        followed.version += 1
        record = run.record(followed.tail.summary() if followed.tail is not None else None)  # type: ignore[attr-defined]
        followed.record = record
        followed.line = self._maker.from_record(
            record, followed.row, followed.version, self._id_length(run.id), _trend(followed.curves)
        )
        return True

    def _new_points(self, followed: _Followed, run: LiveRun) -> bool:
        """Reads what the journals gained; whether there was anything."""
        from dstui_store import Tail

        if followed.tail is None:
            followed.tail = Tail(run.journal)
        tail = followed.tail
        assert isinstance(tail, Tail)
        points = tail.poll()
        if tail.restarted:
            followed.curves.clear()
        for name, series in points.items():
            followed.curves.setdefault(name, Curve()).add(series)
        return bool(points)


def _samples_bytes(run: LiveRun) -> int:
    """Size of its samples, which grow while it prints and logs nothing."""
    try:
        return (run.folder / "system" / "0-system.dsj").stat().st_size
    except OSError:
        return 0


def last_sign(run: LiveRun) -> SafeText | None:
    """Where a run of another machine is and when it was last seen, None for one of this machine."""
    if run.liveness() is not Liveness.ELSEWHERE:
        return None
    from dstui.units import format_time

    host = run.state.get("host") or run.launch.get("host") or "another machine"
    return clean(f"on {host}, last sign {format_time(run.last_sign)}")


def _trend(curves: dict[str, Curve]) -> tuple[float, ...]:
    """The objective's curve in a few means; empty columns are bridged, so it has no gaps."""
    import numpy as np

    from dstui_store import Envelope

    name = objective_of(curves)
    if not name:
        return ()
    x, y = curves[name].points("step")
    if len(x) < 2:
        return ()
    mean = Envelope.of(x, y, TREND_COLUMNS).mean
    return tuple(mean[~np.isnan(mean)].tolist())


def _thinned(part: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every four neighbours two: where `value` is least and where it is greatest, in their order."""
    import numpy as np

    whole = len(value) // 4 * 4
    groups = value[:whole].reshape(-1, 4)
    finite = np.where(np.isnan(groups), np.inf, groups)
    low = finite.argmin(axis=1)
    high = np.where(np.isnan(groups), -np.inf, groups).argmax(axis=1)
    high = np.where(high == low, (low + 1) % 4, high)
    base = np.arange(0, whole, 4)
    kept = np.sort(np.stack([base + low, base + high], axis=1), axis=1).ravel()
    result: NDArray[np.float64] = part[np.concatenate([kept, np.arange(whole, len(value))])]
    return result
