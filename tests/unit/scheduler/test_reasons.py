"""Why a job waits: one reason for each, with the values behind it and something to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.scheduler.cluster import Candidate, Cluster, Foreign
from dstui.scheduler.jobs import Demand, Hold, JobRow
from dstui.scheduler.plan import plan
from dstui.scheduler.policy import Policy, parse_hours, policy_of
from dstui.scheduler.reasons import Reason, View, explain, impossible
from tests.unit.scheduler.making import candidate, cluster, gpu, running

GIB = 1 << 30


def row(waiting: Candidate, **fields: Any) -> JobRow:
    values: dict[str, Any] = {
        "sequence": waiting.sequence,
        "id": waiting.id,
        "submit": "s",
        "state": "queued",
        "tier": waiting.tier,
        "account": waiting.account,
        "user": "ann",
        "project": "/p",
        "cwd": "/p",
        "name": "train",
        "words": ("true",),
        "params": {},
        "demand": waiting.demand,
        "array": None,
        "rank": waiting.rank,
        "retries": 0,
        "retried": 0,
        "attempt": 0,
        "run": None,
        "hold": None,
        "stop": None,
        "memory_automatic": False,
        "learned": "",
        "submitted_at": waiting.submitted_at,
        "started_at": None,
        "ended_at": None,
        "exit_code": None,
        "spare": {},
    }
    return JobRow(**{**values, **fields})


def reason(
    waiting: Candidate, state: Cluster, *, policy: Policy | None = None, now: float = 10.0, **fields: Any
) -> Reason:
    policy = policy or Policy()
    view_fields = {name: fields.pop(name) for name in ("states", "daemon", "forecast") if name in fields}
    return explain(row(waiting, **fields), View(state, plan(state, now, policy), policy, now, **view_fields))


def test_busy_gpus_are_named_with_their_holder_and_its_end() -> None:
    job = candidate("mine0", 2)
    found = reason(job, cluster(job, gpus=2, held=[running("k3f9cx", "gpu1", ends_at=3600.0)]))
    assert found.code == "gpus"
    assert found.sentence.startswith("needs 2 GPUs, 1 is free; `k3f9c` holds GPU 1 until about ")
    assert found.evidence["holders"] == [{"job": "k3f9cx", "gpus": [1], "until": 3600.0}]
    assert found.action == "`--gpus 1`, or wait"


def test_a_full_quota_is_named_with_its_account() -> None:
    job = candidate("mine0", account="vision", tier="high")
    policy = policy_of({}, {"vision": {"high": {"quota": 4}}})
    held = [running(f"r{place}", f"gpu{place}", account="vision", tier="high") for place in range(4)]
    found = reason(job, cluster(job, gpus=8, held=held), policy=policy)
    assert (found.code, found.evidence["held"], found.evidence["quota"]) == ("quota", 4, 4)
    assert found.sentence == "`vision` holds 4 of 4 GPUs at high, and this job needs 1"
    assert "low" in found.action


def test_memory_says_what_is_needed_and_what_is_left() -> None:
    job = candidate("mine0", memory=40 * GIB)
    found = reason(job, cluster(job, gpus=1, held=[running("a", "gpu0", memory_bytes=50 * GIB)]))
    assert (found.code, found.evidence["needs_bytes"], found.evidence["room_bytes"]) == (
        "gpu_memory",
        40 * GIB,
        {0: 26 * GIB},
    )


def test_an_order_of_waiting_says_how_many_are_before_it_and_what_would_fit() -> None:
    gang, job = candidate("gang0", 2, sequence=1), candidate("mine0", sequence=2)
    held = [running("long", "gpu0", ends_at=2410.0)]
    found = reason(job, cluster(gang, job, gpus=2, held=held))
    assert (found.code, found.evidence) == ("order", {"before": 1, "job": "gang0", "at": 2410.0})
    assert found.action == "`--time 40m` or less would fit in front"


@pytest.mark.parametrize(
    ("problem", "why", "code"),
    [
        ("foreign", "is used by bob, pid 4121, 38.2G", "foreign"),
        ("claimed", "is claimed by bob, nothing on it for 2 min", "claimed"),
        ("drained", "was drained by ann at 09:10", "drained"),
        ("unhealthy", "fell off the bus", "unhealthy"),
        ("stalled", "has not answered for 10 s", "driver"),
    ],
)
def test_a_device_that_cannot_be_used_is_named_with_the_cause(problem: str, why: str, code: str) -> None:
    job = candidate("mine0")
    device = gpu(0, problem=problem, why=why, foreign=(Foreign(4121, "bob", "python", 38 * GIB),))
    found = reason(job, cluster(job, gpus=[device]))
    assert found.code == code
    assert f"GPU 0 {why}" in found.sentence
    assert found.evidence["processes"][0]["pid"] == 4121


def test_a_driver_that_does_not_work_is_the_reason() -> None:
    job = candidate("mine0")
    found = reason(job, cluster(job, driver="the driver's library and its kernel module differ"))
    assert (found.code, found.sentence) == ("driver", "the driver's library and its kernel module differ")


def test_a_job_waits_for_another_and_never_for_one_that_failed() -> None:
    job = candidate("mine0", 0)
    found = reason(job, cluster(job), after=("c0h7m",), states={"c0h7m": "running"})
    assert (found.code, found.action) == ("after", "`ds why c0h7m`")
    found = reason(job, cluster(job), after=("c0h7m",), states={"c0h7m": "failed"})
    assert (found.code, found.action) == ("after_failed", "`ds stop mine0`")
    assert reason(job, cluster(job), after=("c0h7m",), states={}).code == "after_failed"


def test_outside_its_hours_a_job_knows_when_they_begin() -> None:
    job = candidate("mine0", 0)
    found = reason(job, cluster(job), policy=Policy(hours=parse_hours("20:00-08:00")), now=12 * 3600.0)
    assert (found.code, found.estimate_at) == ("hours", 20 * 3600.0)
    assert found.sentence == "jobs start only 20:00-08:00 (scheduler.hours)"


@pytest.mark.parametrize("code", ["held", "backoff", "brake", "environment", "disk", "storage", "start"])
def test_a_hold_is_said_as_it_was_set_and_can_be_released(code: str) -> None:
    job = candidate("mine0", 0)
    found = reason(job, cluster(), hold=Hold(code, "held by ann", 5.0, 99.0))
    assert (found.code, found.estimate_at) == (code, 99.0)
    assert found.sentence.startswith("held by ann; again at ")
    assert found.action


def test_cpu_slots_a_paused_queue_and_a_missing_daemon_are_reasons_too() -> None:
    job = candidate("mine0", 0)
    found = reason(job, cluster(job, cpus=1, held=[running("other", ends_at=100.0)]))
    assert found.code == "cpus"
    assert found.sentence.startswith("needs 1 CPU slot, 0 of 1 are free; `other` holds 1 until about")
    assert reason(job, cluster(job, paused="paused by ann")).code == "paused"
    found = reason(job, cluster(job), daemon="stopped by you at 09:10")
    assert (found.code, found.sentence) == ("daemon", "no daemon is running: stopped by you at 09:10")


def test_a_request_that_can_never_be_met_is_refused_with_the_reason() -> None:
    two = cluster(gpus=2, cpus=4)
    policy = policy_of({"normal": {"max_gpus": 1}, "high": {"quota": 1}}, {})

    def message(tier: str = "normal", **demand: Any) -> str:
        found = impossible(Demand(**demand), "one", tier, two, policy)
        return "" if found is None else found[0]

    assert message(gpus=3) == "The job needs 3 GPUs, and this machine has 2"
    assert message(gpus=2) == "A normal job of account `one` may have 1 GPU, and this one asks for 2"
    assert message("high", gpus=2) == "Account `one` may hold 1 GPU at high, and the job needs 2"
    assert message(gpus=1, memory_bytes=100 * GIB).startswith("No GPU here has")
    assert message(cpus=5) == "The job needs 5 CPU slots, and this machine has 4"
    assert message(gpus=1, cpus=4) == message("low", gpus=2) == ""
    none = impossible(Demand(gpus=1), "one", "normal", cluster(), Policy())
    assert none is not None
    assert "has no GPU" in none[0]
    assert impossible(Demand(gpus=1), "one", "normal", cluster(driver="mismatch"), Policy()) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([None, 10, 60]),
            st.sampled_from(["high", "normal", "low"]),
            st.sampled_from([None, 30.0, 5000.0]),
            st.booleans(),
        ),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from([None, "drained", "foreign", "unhealthy"]),
    st.booleans(),
)
def test_every_waiting_job_has_a_sentence_evidence_and_an_action(
    drafts: list[tuple[int, int | None, str, float | None, bool]], problem: str | None, paused: bool
) -> None:
    jobs = [
        candidate(
            f"job{place:02}",
            gpus,
            memory=None if memory is None or not gpus else memory * GIB,
            tier=tier,
            limit=limit,
            cpus=int(thirsty),
            sequence=place,
        )
        for place, (gpus, memory, tier, limit, thirsty) in enumerate(drafts)
    ]
    policy = policy_of({"normal": {"quota": 2}}, {})
    devices = [gpu(0, problem=problem, why="is not to be used"), gpu(1), gpu(2), gpu(3)]
    state = replace(
        cluster(*jobs, gpus=devices, cpus=2, held=[running("held0", "gpu1", ends_at=500.0)]),
        paused="paused by ann" if paused else None,
    )
    decided = plan(state, 10.0, policy)
    view = View(state, decided, policy, 10.0)
    begun = {start.job for start in decided.starts}
    for job in jobs:
        if job.id not in begun:
            found = explain(row(job), view)
            assert found.code
            assert found.sentence
            assert found.action
            assert found.evidence
