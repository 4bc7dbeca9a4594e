"""Who yields when a job with a right to its GPUs finds them borrowed.

The fewest jobs, of those the ones that lose least work since their last checkpoint; and only when the waiting job can
then start.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from dstui.scheduler.placement import Capacity

if TYPE_CHECKING:
    from dstui.scheduler.cluster import Candidate, Cluster, Running
    from dstui.scheduler.policy import Policy

EXACT_UP_TO = 10
"""Among so many that could yield every choice is looked at; of more the least work and the most devices go first."""


def victims(
    cluster: Cluster,
    running: Sequence[Running],
    candidate: Candidate,
    now: float,
    policy: Policy,
    avoid: frozenset[str] = frozenset(),
) -> tuple[list[Running], tuple[str, ...]] | None:
    """The jobs that yield to a candidate and the devices that it will have, or None when that would not help.

    Args:
        running: jobs of this pass included.
        avoid: devices kept for another.
    """
    asked = [job for job in running if job.stopping_for == candidate.id]
    may = [
        job
        for job in running
        if policy.tier(job.account, job.tier).preemptible
        and job.stopping_for is None
        and not job.stopping
        and now - job.started_at >= policy.unharmed_seconds
        and (job.preempted_at is None or now - job.preempted_at >= policy.again_seconds)
        and not (job.array and job.array == candidate.array)
    ]
    if not may:
        return None
    for chosen in _choices(may, now):
        devices = _devices_without(cluster, running, [*asked, *chosen], candidate, avoid)
        if devices is not None:
            return _fewest(cluster, running, asked, chosen, candidate, avoid)
    return None


def _devices_without(
    cluster: Cluster, running: Sequence[Running], gone: Sequence[Running], candidate: Candidate, avoid: frozenset[str]
) -> tuple[str, ...] | None:
    left = {job.id for job in gone}
    capacity = Capacity(cluster, [job for job in running if job.id not in left])
    return capacity.choose(candidate.demand, candidate.id, avoid=avoid)


def _fewest(
    cluster: Cluster,
    running: Sequence[Running],
    asked: Sequence[Running],
    chosen: Sequence[Running],
    candidate: Candidate,
    avoid: frozenset[str],
) -> tuple[list[Running], tuple[str, ...]]:
    """A choice without those that need not yield."""
    kept = list(chosen)
    for job in chosen:
        fewer = [item for item in kept if item is not job]
        if fewer and _devices_without(cluster, running, [*asked, *fewer], candidate, avoid) is not None:
            kept = fewer
    devices = _devices_without(cluster, running, [*asked, *kept], candidate, avoid)
    assert devices is not None
    return kept, devices


def _choices(jobs: Sequence[Running], now: float) -> Sequence[tuple[Running, ...]]:
    """Sets of jobs to try, the cheapest first."""
    if len(jobs) <= EXACT_UP_TO:
        sets = [chosen for size in range(1, len(jobs) + 1) for chosen in combinations(jobs, size)]
        return sorted(sets, key=lambda chosen: (len(chosen), sum(loss(job, now) for job in chosen)))
    by_loss = sorted(jobs, key=lambda job: loss(job, now))
    by_size = sorted(jobs, key=lambda job: (-len(job.devices), loss(job, now)))
    singles = [(job,) for job in by_loss]
    return [*singles, *(tuple(by_size[:size]) for size in range(2, len(jobs) + 1))]


def loss(job: Running, now: float) -> float:
    """GPU-seconds of work that a job loses when it is ended now."""
    since = job.started_at if job.saved_at is None else max(job.saved_at, job.started_at)
    return max(0.0, now - since) * max(1, len(job.devices))
