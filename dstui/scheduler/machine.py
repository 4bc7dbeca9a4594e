"""The edges of the plan: the policy from the settings, the CPU slots, and GPUs as the sampler last saw them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui import settings
from dstui.scheduler.cluster import DeviceState, Foreign
from dstui.scheduler.policy import Policy, policy_of

if TYPE_CHECKING:
    from dstui.devices.samples import DeviceNow, MachineNow

IGNORED_BYTES = 500 << 20
"""A process of others with less memory of a GPU does not keep jobs off it."""

DRIVER = Path("/proc/driver/nvidia/version")
"""There when the kernel's part of the driver is loaded."""


def read_policy() -> tuple[Policy, int]:
    """(policy, CPU slots that are set, 0 = not set), of the user's configuration file.

    Raises:
        ConfigError: it is wrong.
    """
    # The queue is one for all projects, so no project's file counts.
    found = settings.load(Path("/nonexistent"))
    policy = policy_of(
        json.loads(found["scheduler.tiers"]), json.loads(found["scheduler.accounts"]), found["scheduler.hours"]
    )
    return policy, int(found["scheduler.cpu_slots"])


def cpu_slots(wanted: int, gpus: int) -> int:
    """The CPU slots of this machine: those set, else one without GPUs and one for each core with them."""
    if wanted:
        return wanted
    return len(os.sched_getaffinity(0)) if gpus else 1


def utc_offset_seconds(now: float) -> float:
    """Of local time."""
    return float(time.localtime(now).tm_gmtoff)


def may_have_gpus() -> bool:
    """Whether it is worth asking for GPUs: a driver, a card, or a library of one that a test has put there."""
    return DRIVER.exists() or any(Path("/dev").glob("nvidia[0-9]*")) or "LD_LIBRARY_PATH" in os.environ


def devices_of(
    machine: MachineNow, drained: Mapping[str, Mapping[str, Any]], keepers: Collection[int]
) -> tuple[list[DeviceState], str | None]:
    """(devices for the plan, why there are none to be seen, in words).

    Args:
        drained: devices that get no new jobs.
        keepers: processes whose descendants are our jobs.
    """
    states = [_state(device, drained, keepers) for device in machine.devices]
    driver = None if states or machine.problem is None else machine.problem.message
    return states, driver


def _state(device: DeviceNow, drained: Mapping[str, Mapping[str, Any]], keepers: Collection[int]) -> DeviceState:
    known = device.device
    foreign = tuple(
        Foreign(process.pid, _text(process.user), _text(process.name), process.memory_bytes)
        for process in device.processes or ()
        if not process.graphics and not is_below(process.pid, keepers)
    )
    used = sum(process.memory_bytes or 0 for process in foreign)
    problem, why = None, ""
    if known.uuid in drained:
        entry = drained[known.uuid]
        problem, why = "drained", f"was drained by {entry.get('by')}"
    elif device.problem is not None:
        problem = "stalled" if str(device.problem.state) == "stalled" else "unhealthy"
        why = device.problem.message
    elif any((process.memory_bytes or 0) > IGNORED_BYTES or process.memory_bytes is None for process in foreign):
        first = max(foreign, key=lambda process: process.memory_bytes or 0)
        problem, why = "foreign", f"is used by {first.user or 'somebody'}, pid {first.pid}"
    return DeviceState(known.uuid, known.index, known.memory_total_bytes, problem, why, used, foreign)


def is_below(pid: int, roots: Collection[int]) -> bool:
    """Whether a process descends from one of these, or is one."""
    for _ in range(64):
        if pid in roots:
            return True
        if pid <= 1:
            return False
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def _text(value: object) -> str | None:
    return None if value is None else str(value)
