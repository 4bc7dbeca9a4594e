"""What becomes of a job when an attempt of it has ended: done, or in the queue again. Pure.

| how it ended | what follows |
|---|---|
| never begun | queued, at no cost |
| asked to stop | that end |
| `preempted`, exit code 75 | queued; after three saves without anything new: failed |
| exit code 126, 127 | failed: it would fail the same way again |
| `oom` of a GPU | once with half as much again, once with a whole GPU, then `oom`; of the host: `oom` |
| `failed` `killed` `lost` | queued after a pause while retries remain |
| `finished` `timeout` `stopped` | that end |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dstui.scheduler.jobs import NEVER_RETRIED, Hold
from dstui.units import format_duration

if TYPE_CHECKING:
    from dstui.scheduler.jobs import JobRow

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 600.0
"""Before a failed job starts again; doubled each time."""

FUTILE_SAVES = 3
"""A job that has asked so often in a row to be started again without a new checkpoint makes no progress."""

RETRIED = frozenset({"failed", "killed", "lost"})


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended.

    Attributes:
        state: the run's; None when it never began.
        reason: its stop reason.
        progressed: whether it has left a newer checkpoint than the attempt before.
    """

    state: str | None
    exit_code: int | None = None
    reason: str | None = None
    progressed: bool = True


@dataclass(frozen=True, slots=True)
class Next:
    """What the job becomes.

    Attributes:
        state: `queued`, or a final one.
        changes: columns of its row besides.
        detail: why, for its history.
    """

    state: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: str | None = None


def after(job: JobRow, end: End, now: float) -> Next:
    """What a job becomes.

    Args:
        now: seconds since the epoch.
    """
    if end.state is None:
        if job.stop is not None:
            return Next("cancelled", detail=job.stop)
        return Next("queued", detail=end.reason or "not begun")
    if job.stop is not None or end.state in {"finished", "timeout", "stopped"}:
        return Next(end.state, detail=end.reason)
    if end.state == "preempted":
        return _saved(job, end)
    if end.state == "oom":
        return _out_of_memory(job, end)
    if end.state in RETRIED and end.exit_code not in NEVER_RETRIED and job.retried < job.retries:
        pause = min(FIRST_PAUSE_SECONDS * 2**job.retried, LONGEST_PAUSE_SECONDS)
        sentence = f"{end.state} at attempt {job.attempt}, starts again after {format_duration(pause)}"
        hold = Hold("backoff", sentence, now, now + pause)
        return Next("queued", {"retried": job.retried + 1, "hold": hold}, end.reason)
    return Next(end.state, detail=end.reason)


def _saved(job: JobRow, end: End) -> Next:
    saves = 0 if end.progressed else int(job.spare.get("saves", 0)) + 1
    spare = {**job.spare, "saves": saves}
    if saves >= FUTILE_SAVES:
        return Next("failed", {"spare": spare}, f"makes no progress: saved {saves} times without a newer checkpoint")
    return Next("queued", {"spare": spare}, end.reason)


def _out_of_memory(job: JobRow, end: End) -> Next:
    tried = int(job.spare.get("oom", 0))
    spare = {**job.spare, "oom": tried + 1}
    if "host" in (end.reason or "") or job.demand.memory_bytes is None or tried >= 2:
        return Next("oom", detail=end.reason)
    memory = int(job.demand.memory_bytes * 1.5) if tried == 0 else None
    detail = "out of GPU memory; again with more" if memory else "out of GPU memory; again on a whole GPU"
    return Next("queued", {"spare": spare, "memory_bytes": memory, "memory_automatic": False}, detail)
