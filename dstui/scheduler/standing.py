"""Rows of the queue as the plan sees them: may this job start, what does it need, when will it be done. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dstui.scheduler.cluster import Candidate, Running, automatic_memory

if TYPE_CHECKING:
    from dstui.scheduler.jobs import JobRow, Learned

LEAST_DURATIONS = 3
"""Runs alike, before their durations say when another will be done."""


def is_due(job: JobRow, now: float, states: Mapping[str, str]) -> bool:
    """Whether a queued job may be planned: nothing holds it and what it waits for has finished."""
    if job.hold is not None and (job.hold.until is None or job.hold.until > now):
        return False
    return all(states.get(needed) == "finished" for needed in job.after)


def candidate_of(job: JobRow, learned: Mapping[str, Learned]) -> Candidate:
    """A queued job as the plan takes it."""
    demand, known = job.demand, learned.get(job.learned)
    if job.memory_automatic and demand.gpus and known is not None:
        demand = replace(demand, memory_bytes=automatic_memory(known.peak_bytes, known.runs))
    return Candidate(
        id=job.id,
        tier=job.tier,
        account=job.account,
        demand=demand,
        sequence=job.sequence,
        submitted_at=job.submitted_at,
        array=job.array or "",
        rank=job.rank,
        estimate_seconds=usual_seconds(known),
        anytime=bool(job.spare.get("anytime")),
    )


def running_of(job: JobRow, devices: tuple[str, ...], started_at: float, learned: Mapping[str, Learned]) -> Running:
    """A started job as the plan takes it."""
    limit, usual = job.demand.time_limit_seconds, usual_seconds(learned.get(job.learned))
    preempted_at = job.spare.get("preempted_at")
    return Running(
        id=job.id,
        tier=job.tier,
        account=job.account,
        cpus=job.demand.cpus,
        devices=devices,
        started_at=started_at,
        memory_bytes=job.demand.memory_bytes,
        array=job.array or "",
        preempted_at=None if preempted_at is None else float(preempted_at),
        ends_at=None if limit is None else started_at + limit,
        estimate_at=None if usual is None else started_at + usual,
    )


def usual_seconds(known: Learned | None) -> float | None:
    """How long nine of ten such jobs took at most, None while too few are known."""
    if known is None or len(known.durations) < LEAST_DURATIONS:
        return None
    ordered = sorted(known.durations)
    return ordered[min(len(ordered) - 1, math.ceil(0.9 * len(ordered)) - 1)]
