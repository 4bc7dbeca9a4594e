"""Jobs that need GPUs, with the stand-in of NVIDIA's library: who gets which, and why others wait."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.queue_kit import TestQueue

if TYPE_CHECKING:
    from dstui.devices.interest import Meeting
    from dstui.scheduler.reasons import Reason
    from tests.fake_nvml.stand_in import Cards

pytestmark = pytest.mark.slow

SHOW = 'echo "gpus=$CUDA_VISIBLE_DEVICES"'


@pytest.fixture
def queue(project: Path, wait_until: Callable[..., None], cards: Cards, meeting: Meeting) -> Iterator[TestQueue]:
    cards.have_idle(2)
    made = TestQueue(project, wait_until)
    yield made
    made.clean()


def reason_of(queue: TestQueue, job: str) -> Reason:
    reason = queue.queue.job(job).reason
    assert reason is not None
    return reason


def test_each_job_sees_its_own_gpus_and_the_third_is_told_who_holds_them(queue: TestQueue) -> None:
    holder = queue.one("sh", "-c", f"{SHOW}; sleep 100", gpus=(1, 1))
    both = queue.one("sh", "-c", SHOW, gpus=(2, 2), held=True)
    queue.until(holder, "running")
    queue.queue.act("release", [both])
    assert queue.row(both).state == "queued"
    found = reason_of(queue, both)
    assert (found.code, found.evidence["free"], found.evidence["holders"][0]["gpus"]) == ("gpus", 1, [0])
    queue.queue.act("stop", [holder], reason="ds stop")
    assert queue.ended(both).state == "finished"
    assert queue.log(both).strip() == "gpus=0,1"
    assert queue.log(holder).strip() == "gpus=0"


def test_jobs_that_declare_their_memory_share_a_gpu(queue: TestQueue) -> None:
    first = queue.one("sleep", "100", gpus=(1, 1), memory_bytes=30 << 30)
    second = queue.one("sleep", "100", gpus=(1, 1), memory_bytes=30 << 30)
    queue.until(first, "running")
    queue.until(second, "running")
    leases = {lease.job: lease.device for lease in queue.queue.rows.leases()}
    assert leases[first] == leases[second]
    whole = queue.one("true", gpus=(1, 1))
    assert queue.ended(whole).state == "finished"


def test_a_gpu_that_somebody_uses_without_dstui_is_left_to_him(queue: TestQueue, cards: Cards) -> None:
    cards.have_idle(2, f"proc 0 {os.getpid()} 30000")
    first = queue.one("sh", "-c", f"{SHOW}; sleep 100", gpus=(1, 1))
    queue.until(first, "running")
    waiting = queue.one("true", gpus=(2, 2))
    found = reason_of(queue, waiting)
    assert found.code == "foreign"
    assert f"pid {os.getpid()}" in found.sentence
    assert {lease.job for lease in queue.queue.rows.leases()} == {first}


def test_a_drained_gpu_gets_no_new_job_until_it_is_resumed(queue: TestQueue) -> None:
    (first,) = queue.queue.device_ids(["0"])
    queue.queue.act("drain", devices=[first])
    waiting = queue.one("true", gpus=(2, 2))
    assert reason_of(queue, waiting).code == "drained"
    queue.queue.act("resume", devices=[first])
    assert queue.ended(waiting).state == "finished"


def test_a_lease_that_another_process_holds_keeps_a_job_waiting_and_costs_no_retry(queue: TestQueue) -> None:
    devices = queue.queue.device_ids(["0", "1"])
    locks = [os.open(queue.queue.place.leases / device, os.O_RDWR | os.O_CREAT, 0o600) for device in devices]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    job = queue.one("true", gpus=(1, 1))
    queue._wait_until(lambda: len(queue.queue.rows.events(job)) >= 2, 30)
    assert queue.row(job).ended_at is None
    for lock in locks:
        os.close(lock)
    row = queue.ended(job)
    assert (row.state, row.retried) == ("finished", 0)


def test_a_job_that_lasts_is_sampled(queue: TestQueue) -> None:
    job = queue.one("sleep", "100", gpus=(1, 1), sample=True)
    queue.until(job, "running")
    (attempt,) = queue.queue.rows.attempts(job)
    queue._wait_until(lambda: (Path(attempt.live or "") / "system").is_dir(), 30)
    queue.queue.act("stop", [job], reason="ds stop")
    assert queue.ended(job).state == "stopped"
