"""What becomes of a job after an attempt: by the way it failed, by what remains, by who asked."""

from __future__ import annotations

from typing import Any

import pytest

from dstui.scheduler.ending import End, after
from dstui.scheduler.jobs import Demand, JobRow
from tests.unit.scheduler.making import candidate
from tests.unit.scheduler.test_reasons import row

GIB = 1 << 30


def job(**fields: Any) -> JobRow:
    return row(candidate("job00", fields.pop("gpus", 0)), **{"state": "running", "attempt": 1, **fields})


@pytest.mark.parametrize("state", ["finished", "timeout", "stopped", "failed", "killed", "lost", "oom"])
def test_without_retries_the_end_of_the_run_is_the_end_of_the_job(state: str) -> None:
    assert after(job(), End(state, 1), 0.0).state == state


@pytest.mark.parametrize("state", ["failed", "killed", "lost"])
def test_a_failure_is_tried_again_after_a_pause_that_doubles(state: str) -> None:
    pauses = []
    for retried in range(8):
        found = after(job(retries=8, retried=retried), End(state, 1), 100.0)
        assert found.state == "queued"
        assert found.changes["retried"] == retried + 1
        pauses.append(found.changes["hold"].until - 100.0)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]
    assert after(job(retries=8, retried=8), End(state, 1), 0.0).state == state


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_cannot_be_started_is_not_tried_again(code: int) -> None:
    assert after(job(retries=5), End("failed", code), 0.0).state == "failed"


def test_what_never_began_costs_nothing_and_what_was_stopped_before_is_cancelled() -> None:
    found = after(job(retries=1), End(None), 0.0)
    assert (found.state, dict(found.changes)) == ("queued", {})
    assert after(job(stop="ds stop"), End(None), 0.0).state == "cancelled"


def test_a_job_that_was_asked_to_stop_is_never_started_again() -> None:
    for state in ("failed", "preempted", "lost", "stopped"):
        assert after(job(stop="ds stop", retries=5), End(state, 1), 0.0).state == state


def test_saving_is_no_failure_until_it_leads_nowhere_three_times() -> None:
    assert after(job(), End("preempted", 75, progressed=True), 0.0).changes["spare"]["saves"] == 0
    second = after(job(spare={"saves": 1}), End("preempted", 75, progressed=False), 0.0)
    assert (second.state, second.changes["spare"]["saves"]) == ("queued", 2)
    third = after(job(spare={"saves": 2}), End("preempted", 75, progressed=False), 0.0)
    assert (third.state, "no progress" in (third.detail or "")) == ("failed", True)


def test_a_full_gpu_is_tried_with_more_memory_then_alone_then_no_more() -> None:
    shared = Demand(gpus=1, gpus_max=1, memory_bytes=10 * GIB)
    first = after(job(demand=shared), End("oom", 1, "out of GPU memory"), 0.0)
    assert (first.state, first.changes["memory_bytes"]) == ("queued", 15 * GIB)
    second = after(job(demand=shared, spare={"oom": 1}), End("oom", 1, "out of GPU memory"), 0.0)
    assert (second.state, second.changes["memory_bytes"]) == ("queued", None)
    assert after(job(demand=shared, spare={"oom": 2}), End("oom", 1, "out of GPU memory"), 0.0).state == "oom"


def test_full_host_memory_and_a_whole_gpu_that_is_full_are_never_tried_again_unasked() -> None:
    shared = Demand(gpus=1, gpus_max=1, memory_bytes=10 * GIB)
    reason = "out of host memory: the kernel killed it"
    assert after(job(demand=shared, retries=3), End("oom", None, reason), 0.0).state == "oom"
    assert after(job(demand=Demand(gpus=1, gpus_max=1)), End("oom", 1, "out of GPU memory"), 0.0).state == "oom"
