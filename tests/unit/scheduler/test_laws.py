"""Laws of the plan over whole lives of a queue, in the simulator: quotas, leases, gangs, memory, nobody starves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstui.scheduler.forecast import forecast
from dstui.scheduler.jobs import Demand
from dstui.scheduler.placement import SPARE_BYTES, SPARE_FRACTION
from dstui.scheduler.policy import Policy, policy_of
from dstui.scheduler.simulator import by_hand, first_come_first_served, simulate
from dstui.scheduler.traces import TraceJob, generate, read_csv
from tests.unit.scheduler.making import candidate, cluster, running

if TYPE_CHECKING:
    from pathlib import Path

    from dstui.scheduler.cluster import Cluster
    from dstui.scheduler.plan import Plan

GIB = 1 << 30

POLICY = policy_of({"high": {"quota": 3, "gpus": 2}, "normal": {"quota": 4}}, {"a": {"weight": 2}})

JOBS = st.builds(
    lambda at, took, gpus, memory, limit, tier, account: (at, took, gpus, memory, limit, tier, account),
    st.floats(0, 5000),
    st.floats(1, 3000),
    st.integers(0, 3),
    st.sampled_from([None, None, 8, 20, 50]),
    st.sampled_from([None, 1.0, 2.5]),
    st.sampled_from(["high", "normal", "low"]),
    st.sampled_from("abc"),
)


def trace_of(drafts: list[tuple[float, float, int, int | None, float | None, str, str]]) -> list[TraceJob]:
    return [
        TraceJob(
            f"j{place}",
            at,
            took,
            Demand(
                gpus=gpus,
                gpus_max=gpus + (place % 2 if memory is None else 0) * (gpus > 0),
                memory_bytes=None if memory is None or not gpus else memory * GIB,
                cpus=1,
                time_limit_seconds=None if limit is None else took * limit,
            ),
            tier,
            account,
        )
        for place, (at, took, gpus, memory, limit, tier, account) in enumerate(
            sorted(drafts, key=lambda draft: draft[0])
        )
    ]


class Checks:
    """Looks at every pass of a simulation."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.passes = 0

    def __call__(self, state: Cluster, decided: Plan, now: float) -> None:
        self.passes += 1
        held: Counter[tuple[str, str]] = Counter()
        whole: Counter[str] = Counter()
        shared: Counter[str] = Counter()
        cpus = 0
        for job in state.running:
            held[job.account, job.tier] += len(job.devices)
            cpus += job.cpus
            for device in job.devices:
                if job.memory_bytes is None:
                    whole[device] += 1
                else:
                    shared[device] += job.memory_bytes
        ids = [start.job for start in decided.starts]
        assert len(set(ids)) == len(ids)
        for start in decided.starts:
            waiting = state.waiting.get(start.job)
            assert waiting is not None, "only what waits starts"
            demand = waiting.demand
            assert demand.gpus <= len(start.devices) <= max(demand.gpus, demand.gpus_max), "all or nothing"
            assert len(set(start.devices)) == len(start.devices)
            held[waiting.account, waiting.tier] += len(start.devices)
            cpus += demand.cpus
            for device in start.devices:
                assert state.promised.get(device) in (None, start.job)
                if demand.memory_bytes is None:
                    whole[device] += 1
                else:
                    shared[device] += demand.memory_bytes
        assert cpus <= state.cpu_slots
        assert max(whole.values(), default=0) <= 1, "no GPU twice"
        assert not whole.keys() & shared.keys(), "a whole GPU is shared with nobody"
        for known in state.devices:
            total = known.memory_bytes or 0
            assert shared[known.id] <= total - max(int(total * SPARE_FRACTION), SPARE_BYTES)
        for (account, name), count in held.items():
            tier = self.policy.tier(account, name)
            assert tier.quota is None or tier.borrow or count <= tier.quota, "no quota is exceeded"
        running_jobs = {job.id: job for job in state.running}
        for item in decided.preemptions:
            victim = running_jobs[item.victim]
            assert self.policy.tier(victim.account, victim.tier).preemptible
            assert now - victim.started_at >= self.policy.unharmed_seconds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JOBS, max_size=40))
def test_the_laws_hold_in_every_pass_and_every_job_comes_to_its_end(
    drafts: list[tuple[float, float, int, int | None, float | None, str, str]],
) -> None:
    trace = trace_of(drafts)
    checks = Checks(POLICY)
    report = simulate(trace, 4, POLICY, cpu_slots=3, watch=checks)
    assert report.jobs == len(trace)
    assert report.never_started == 0
    assert checks.passes >= min(1, len(trace))


@pytest.mark.soak
@settings(max_examples=3000, deadline=None)
@given(st.lists(JOBS, max_size=120))
def test_the_laws_hold_in_thousands_of_lives(
    drafts: list[tuple[float, float, int, int | None, float | None, str, str]],
) -> None:
    trace = trace_of(drafts)
    assert simulate(trace, 4, POLICY, cpu_slots=3, watch=Checks(POLICY)).jobs == len(trace)


@pytest.mark.parametrize("seed", range(3))
def test_a_gang_is_not_starved_by_a_stream_of_small_jobs(seed: int) -> None:
    small = generate(seed, 300, 8, load=1.5, largest_gang=1, median_seconds=300.0)
    gang = TraceJob("gang", 600.0, 600.0, Demand(gpus=8, gpus_max=8, cpus=0))
    starts: dict[str, float] = {}

    def watch(state: Cluster, decided: Plan, now: float) -> None:
        starts.update({start.job: now for start in decided.starts})

    trace = sorted([*small, gang], key=lambda job: job.submitted_at)
    assert simulate(trace, 8, watch=watch).jobs == 301
    later = sum(at > starts["gang"] for at in starts.values())
    assert later > 100, "most of the small jobs come after it"


def test_a_low_job_gets_its_turn_beside_a_stream_of_normal_ones() -> None:
    stream = generate(1, 400, 4, load=1.3, largest_gang=1)
    low = TraceJob("low", 100.0, 300.0, Demand(gpus=1, gpus_max=1, cpus=0), tier="low")
    starts: dict[str, float] = {}

    def watch(state: Cluster, decided: Plan, now: float) -> None:
        starts.update({start.job: now for start in decided.starts})

    simulate(sorted([*stream, low], key=lambda job: job.submitted_at), 4, watch=watch)
    assert sum(at > starts["low"] for at in starts.values()) > 50


def test_a_seed_gives_the_same_trace_and_the_same_report() -> None:
    assert generate(5, 100, 8) == generate(5, 100, 8) != generate(6, 100, 8)
    trace = generate(5, 100, 8)
    assert simulate(trace, 8) == simulate(trace, 8)


def test_the_plan_beats_the_order_of_arrival_and_the_hand() -> None:
    trace = generate(3, 400, 8, load=1.4)
    ours, fifo, hand = simulate(trace, 8), first_come_first_served(trace, 8), by_hand(trace, 8)
    assert ours.utilization > 1.2 * fifo.utilization
    assert ours.utilization > 1.2 * hand.utilization
    assert ours.slowdown_mean < fifo.slowdown_mean
    assert ours.jobs == fifo.jobs == hand.jobs == 400


def test_borrowed_work_that_is_lost_stays_small() -> None:
    trace = generate(4, 400, 16, load=1.2, tiers={"high": 0.1, "normal": 0.4, "low": 0.5})
    report = simulate(trace, 16)
    assert report.preemptions > 0
    assert report.lost_fraction < 0.02


def test_the_forecast_knows_when_a_limited_job_makes_room() -> None:
    held = [running("a", "gpu0", ends_at=500.0)]
    jobs = [candidate("b", sequence=1, limit=100.0), candidate("c", sequence=2), candidate("d", sequence=3)]
    assert forecast(cluster(*jobs, gpus=1, held=held), 10.0, Policy()) == {"b": 500.0, "c": 600.0}


def test_traces_of_public_clusters_are_read_and_bad_lines_counted(tmp_path: Path) -> None:
    philly = tmp_path / "philly.csv"
    philly.write_text(
        "jobid,vc,submitted_time,start,end,gpus\n"
        "a,vision,2017-10-01 10:00:00,2017-10-01 10:05:00,2017-10-01 11:05:00,4\n"
        "b,vision,2017-10-01 09:00:00,2017-10-01 09:00:00,2017-10-01 09:10:00,1\n"
        "c,vision,yesterday,2017-10-01 09:00:00,2017-10-01 09:10:00,1\n"
        "d,vision,2017-10-01 09:00:00,2017-10-01 09:10:00,2017-10-01 09:00:00,1\n"
    )
    jobs, left_out = read_csv(philly)
    assert [(job.id, job.submitted_at, job.duration_seconds, job.demand.gpus) for job in jobs] == [
        ("b#0", 0.0, 600.0, 1),
        ("a#1", 3600.0, 3600.0, 4),
    ]
    assert left_out == 2
    alibaba = tmp_path / "alibaba.csv"
    alibaba.write_text("job_name,group,submit_time,duration,plan_gpu\nx,g,100,50,150\ny,g,90,nan,100\n")
    jobs, left_out = read_csv(alibaba)
    assert ([(job.demand.gpus, job.account) for job in jobs], left_out) == ([(2, "g")], 1)
    helios = tmp_path / "helios.csv"
    helios.write_text("job_id,vc,gpu_num,submit_time,duration\n1,vc1,8,2020-04-01 00:00:00,60\n")
    assert read_csv(helios)[0][0].demand.gpus == 8
