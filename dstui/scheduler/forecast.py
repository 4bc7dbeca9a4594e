"""When waiting jobs will start, as far as limits and earlier runs tell: the real plan, run forward on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dstui.scheduler.cluster import Cluster, Running, Waiting
from dstui.scheduler.plan import plan

if TYPE_CHECKING:
    from dstui.scheduler.policy import Policy

MAX_STEPS = 400
"""Ends of jobs looked at; what starts after so many is not foretold."""

PREEMPTION_SECONDS = 30.0
"""What a job is reckoned to need to save itself."""


def forecast(cluster: Cluster, now: float, policy: Policy, max_steps: int = MAX_STEPS) -> Mapping[str, float]:
    """Start times of the waiting jobs that can be foretold, seconds since the epoch.

    A job without a limit and without earlier runs like it has no foreseeable end, and so has what waits for it alone.
    """
    running = list(cluster.running)
    waiting = Waiting(list(cluster.waiting))
    found: dict[str, float] = {}
    promised = dict(cluster.promised)
    at = now
    for _ in range(max_steps):
        if not len(waiting):
            break
        promised = {device: job for device, job in promised.items() if job in waiting}
        step = replace(cluster, running=running, waiting=waiting, promised=promised)
        decided = plan(step, at, policy)
        for start in decided.starts:
            candidate = waiting.get(start.job)
            assert candidate is not None
            waiting.remove(start.job)
            found[start.job] = at
            limit, usual = candidate.demand.time_limit_seconds, candidate.estimate_seconds
            running.append(
                Running(
                    candidate.id,
                    candidate.tier,
                    candidate.account,
                    candidate.demand.cpus,
                    start.devices,
                    at,
                    memory_bytes=candidate.demand.memory_bytes,
                    array=candidate.array,
                    ends_at=None if limit is None else at + limit,
                    estimate_at=None if usual is None else at + usual,
                )
            )
        for item in decided.preemptions:
            place = next(number for number, job in enumerate(running) if job.id == item.victim)
            running[place] = replace(running[place], stopping_for=item.job, estimate_at=at + PREEMPTION_SECONDS)
        ends = [(end, job.id) for job in running if (end := _end(job)) is not None]
        soonest = min((max(end, at + 1.0) for end, _ in ends), default=None)
        if decided.wake_at is not None and (soonest is None or decided.wake_at < soonest):
            soonest = decided.wake_at
        if soonest is None:
            break
        at = soonest
        for job in [job for job in running if (end := _end(job)) is not None and end <= at]:
            running.remove(job)
            if job.stopping_for is not None:
                promised.update(dict.fromkeys(job.devices, job.stopping_for))
    return found


def _end(job: Running) -> float | None:
    return min((end for end in (job.ends_at, job.estimate_at) if end is not None), default=None)
