"""Short ways to what tests of the scheduler need: submissions, jobs, devices."""

from __future__ import annotations

from typing import Any

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
