"""Short ways to what tests of the scheduler need: submissions, jobs, devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dstui.scheduler.cluster import Candidate, Cluster, DeviceState, Running, Waiting
from dstui.scheduler.jobs import Demand, NewJob, Submission
from dstui_store import new_run_id


def new_job(*words: str, **fields: Any) -> NewJob:
    """A job of `true`, unless words say otherwise."""
    return NewJob(id=fields.pop("id", None) or new_run_id(), words=words or ("true",), name="true", **fields)


def submission(*jobs: NewJob, **fields: Any) -> Submission:
    """A submission of one project; fields are those of `Submission`, `demand` those of a `Demand`."""
    values: dict[str, Any] = {
        "project": "/home/ann/vision",
        "cwd": "/home/ann/vision",
        "account": "vision",
        "user": "ann",
        "tier": "normal",
        "demand": Demand(),
        "spec": {"tree": "0" * 40},
        "environment": {"PATH": "/usr/bin", "LANG": "C"},
        "jobs": jobs or (new_job(),),
    }
    return Submission(**{**values, **fields})


def gpu(index: int = 0, memory_gib: int = 80, **fields: Any) -> DeviceState:
    """A GPU called `gpu<index>`."""
    return DeviceState(f"gpu{index}", index, memory_gib << 30, **fields)


def candidate(identity: str, gpus: int = 1, **fields: Any) -> Candidate:
    """A waiting job; `memory`, `cpus`, `limit` and `most` are of its demand, the rest are fields."""
    demand = Demand(
        gpus=gpus,
        gpus_max=fields.pop("most", gpus),
        memory_bytes=fields.pop("memory", None),
        cpus=fields.pop("cpus", 0 if gpus else 1),
        time_limit_seconds=fields.pop("limit", None),
    )
    values: dict[str, Any] = {"tier": "normal", "account": "one", "sequence": 1, "submitted_at": 0.0}
    return Candidate(id=identity, demand=demand, **{**values, **fields})


def running(identity: str, *devices: str, **fields: Any) -> Running:
    """A job that runs."""
    values: dict[str, Any] = {"tier": "normal", "account": "one", "cpus": 0 if devices else 1, "started_at": 0.0}
    return Running(id=identity, devices=devices, **{**values, **fields})


def cluster(*waiting: Candidate, gpus: int | Sequence[DeviceState] = 0, cpus: int = 4, **fields: Any) -> Cluster:
    """A machine with waiting jobs."""
    devices = [gpu(index) for index in range(gpus)] if isinstance(gpus, int) else list(gpus)
    return Cluster(devices=devices, cpu_slots=cpus, running=fields.pop("held", ()), waiting=Waiting(waiting), **fields)
