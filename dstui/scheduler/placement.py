"""Which devices a job gets: what is free, what is shared, and when enough of it will be.

Whole GPUs are given lowest index first. A job with `--gpu-memory` goes where the least room is left that still holds
it, so that whole GPUs stay free for those who need them. All or nothing: a job never holds a part of what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstui.scheduler.cluster import Cluster, DeviceState, Running
    from dstui.scheduler.jobs import Demand

SPARE_FRACTION, SPARE_BYTES = 0.05, 1 << 30
"""Of a shared GPU this much is given to nobody: the larger of the two."""


def room_bytes(device: DeviceState, sharers: Iterable[Running]) -> int:
    """Memory of a shared GPU that is still to be had; a job owns what it declared from its launch on."""
    if device.memory_bytes is None:
        return 0
    spare = max(int(device.memory_bytes * SPARE_FRACTION), SPARE_BYTES)
    held = sum(max(job.memory_bytes or 0, job.used_bytes or 0) for job in sharers)
    return device.memory_bytes - spare - device.foreign_bytes - held


class Capacity:
    """What is free in the course of one pass.

    Attributes:
        cpus: free CPU slots; negative when the machine has shrunk.
    """

    def __init__(self, cluster: Cluster, running: Sequence[Running] | None = None) -> None:
        self._devices = {device.id: device for device in cluster.devices}
        self._promised = cluster.promised
        jobs = cluster.running if running is None else running
        self.cpus = cluster.cpu_slots - sum(job.cpus for job in jobs)
        self._holders: dict[str, list[Running]] = {}
        for job in jobs:
            for device in job.devices:
                self._holders.setdefault(device, []).append(job)
        self._whole = [
            device.id for device in cluster.devices if device.problem is None and device.id not in self._holders
        ]
        self._rooms: dict[str, int] | None = None
        self._given: list[tuple[str, int | None]] = []

    @property
    def whole(self) -> Sequence[str]:
        """Devices that nobody holds and on which something may start, by index."""
        return self._whole

    @property
    def _room(self) -> dict[str, int]:
        """Free memory by device, where jobs may share; reckoned at the first question."""
        if self._rooms is None:
            self._rooms = {
                device.id: room_bytes(device, self._holders.get(device.id, ()))
                for device in self._devices.values()
                if device.problem in (None, "foreign")
                and all(job.memory_bytes is not None for job in self._holders.get(device.id, ()))
            }
            for device, memory_bytes in self._given:
                self._give(device, memory_bytes)
        return self._rooms

    def choose(
        self, demand: Demand, job: str, *, avoid: frozenset[str] = frozenset(), last: frozenset[str] = frozenset()
    ) -> tuple[str, ...] | None:
        """Devices for a job, or None while it has to wait; the CPU slots are looked at as well.

        Args:
            avoid: devices kept for another.
            last: whole devices to take only when others do not suffice.
        """
        if demand.cpus > self.cpus:
            return None
        if not demand.gpus:
            return ()
        if demand.memory_bytes is None:
            free = [device for device in self._whole if device not in avoid and self._is_open(device, job)]
            free.sort(key=lambda device: device in last)
            return None if len(free) < demand.gpus else tuple(free[: demand.gpus])
        whole = set(self._whole)
        found = [
            (device in whole, room, self._devices[device].index, device)
            for device, room in self._room.items()
            if room >= demand.memory_bytes and device not in avoid and self._is_open(device, job)
        ]
        if len(found) < demand.gpus:
            return None
        return tuple(device for *_, device in sorted(found)[: demand.gpus])

    def take(self, devices: Sequence[str], memory_bytes: int | None, cpus: int) -> None:
        """Give these away."""
        self.cpus -= cpus
        for device in devices:
            if device in self._whole:
                self._whole.remove(device)
            self._given.append((device, memory_bytes))
            if self._rooms is not None:
                self._give(device, memory_bytes)

    def _give(self, device: str, memory_bytes: int | None) -> None:
        assert self._rooms is not None
        if memory_bytes is None:
            self._rooms.pop(device, None)
        elif device in self._rooms:
            self._rooms[device] -= memory_bytes

    def _is_open(self, device: str, job: str) -> bool:
        return self._promised.get(device) in (None, job)


def earliest(
    cluster: Cluster,
    running: Sequence[Running],
    demand: Demand,
    job: str,
    now: float,
    *,
    grace_seconds: float,
    guess: bool = False,
) -> tuple[float | None, tuple[str, ...], int] | None:
    """When a job could start if nobody came before it, and on which devices.

    Args:
        running: as of now, jobs of this pass included.
        guess: believe in what such jobs have usually taken, not only in their limits.

    Returns:
        The time, None when it depends on a job without a known end; the devices; CPU slots left beside it then. None
        when it cannot start even alone.
    """
    left = sorted(running, key=lambda item: (_end(item, now, grace_seconds, guess), item.started_at))
    free_now = frozenset(Capacity(cluster, left).whole)
    end = now
    while Capacity(cluster, left).choose(demand, job) is None:
        if not left:
            return None
        end = max(now, _end(left.pop(0), now, grace_seconds, guess))
    # Whoever is gone by then counts too; what is free now is left to others as far as it can be.
    capacity = Capacity(cluster, [item for item in left if _end(item, now, grace_seconds, guess) > end])
    chosen = capacity.choose(demand, job, last=free_now)
    assert chosen is not None
    return None if end == float("inf") else end, chosen, capacity.cpus - demand.cpus


def _end(job: Running, now: float, grace_seconds: float, guess: bool) -> float:
    ends = [job.ends_at] if job.ends_at is not None else []
    if job.stopping or job.stopping_for is not None:
        ends.append(now + grace_seconds)
    if guess and job.estimate_at is not None:
        # Overdue is soon, not now.
        ends.append(max(job.estimate_at, now + 1.0))
    return min(ends, default=float("inf"))
