"""Placement: what starts where, what waits, and who yields."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from dstui.errors import ConfigError
from dstui.scheduler.cluster import Waiting, automatic_memory
from dstui.scheduler.placement import room_bytes
from dstui.scheduler.plan import Plan, gpus_of_tier, plan
from dstui.scheduler.policy import Policy, Tier, parse_hours, policy_of
from tests.unit.scheduler.making import candidate, cluster, gpu, running

GIB = 1 << 30
NOW = 100_000.0


def started(decided: Plan) -> dict[str, tuple[str, ...]]:
    return {start.job: start.devices for start in decided.starts}


def codes(decided: Plan) -> list[str]:
    return sorted(verdict.code for verdict in decided.verdicts.values())


def test_without_a_gpu_jobs_take_cpu_slots() -> None:
    jobs = [candidate(f"j{place}", 0, sequence=place) for place in range(3)]
    decided = plan(cluster(*jobs, cpus=2), NOW, Policy())
    assert started(decided) == {"j0": (), "j1": ()}
    assert codes(decided) == ["cpus"]


def test_a_higher_tier_goes_first_and_age_decides_within_one() -> None:
    jobs = [
        candidate("old", sequence=1),
        candidate("young", sequence=2),
        candidate("high", sequence=3, tier="high"),
    ]
    decided = plan(cluster(*jobs, gpus=2), NOW - NOW + 10, Policy())
    assert list(started(decided)) == ["high", "old"]


def test_a_moved_job_goes_before_older_ones_of_its_account() -> None:
    jobs = [candidate("old", sequence=1), candidate("moved", sequence=2, rank=-1.0)]
    assert list(started(plan(cluster(*jobs, gpus=1), 10.0, Policy()))) == ["moved"]


def test_a_gang_gets_all_its_gpus_in_one_pass_or_none() -> None:
    assert started(plan(cluster(candidate("gang", 4), gpus=3), 10.0, Policy())) == {}
    assert started(plan(cluster(candidate("gang", 4), gpus=4), 10.0, Policy())) == {
        "gang": ("gpu0", "gpu1", "gpu2", "gpu3")
    }


def test_free_gpus_are_shared_between_accounts_and_not_given_to_the_first_alone() -> None:
    jobs = [candidate(f"a{place}", sequence=place, account="a") for place in range(10)]
    jobs += [candidate(f"b{place}", sequence=100 + place, account="b") for place in range(10)]
    assert sorted(job[0] for job in started(plan(cluster(*jobs, gpus=4), 10.0, Policy()))) == ["a", "a", "b", "b"]


def test_a_weight_of_two_gets_two_thirds() -> None:
    jobs = [candidate(f"a{place}", sequence=place, account="a") for place in range(10)]
    jobs += [candidate(f"b{place}", sequence=100 + place, account="b") for place in range(10)]
    policy = policy_of({}, {"b": {"weight": 2}})
    got = sorted(job[0] for job in started(plan(cluster(*jobs, gpus=6), 10.0, policy)))
    assert got == ["a", "a", "b", "b", "b", "b"]


def test_who_has_used_less_lately_goes_first() -> None:
    jobs = [candidate("a", sequence=1, account="a"), candidate("b", sequence=2, account="b")]
    decided = plan(cluster(*jobs, gpus=1, usage={"a": 5e4, "b": 10.0}), 10.0, Policy())
    assert list(started(decided)) == ["b"]


def test_of_two_sweeps_the_one_that_has_had_less_goes_first() -> None:
    jobs = [candidate("x", sequence=1, array="first"), candidate("y", sequence=2, array="second")]
    held = [running("z", "gpu0", array="first")]
    assert list(started(plan(cluster(*jobs, gpus=2, held=held), 10.0, Policy()))) == ["y"]


def test_a_quota_is_kept_even_while_gpus_are_idle() -> None:
    policy = policy_of({"normal": {"quota": 2}}, {})
    jobs = [candidate(f"j{place}", sequence=place) for place in range(4)]
    decided = plan(cluster(*jobs, gpus=4), 10.0, policy)
    assert len(started(decided)) == 2
    assert codes(decided) == ["quota"]


def test_a_high_job_takes_four_gpus_while_normal_ones_get_one_each() -> None:
    policy = policy_of({"high": {"gpus": 4}, "normal": {"gpus": 1}}, {})
    least, most = gpus_of_tier(policy, "one", "high", 8)
    assert (least, most) == (1, 4)
    assert gpus_of_tier(policy, "one", "normal", 8) == (1, 1)
    jobs = [candidate(f"n{place}", sequence=place) for place in range(6)]
    jobs.append(candidate("high", least, most=most, sequence=99, tier="high"))
    got = started(plan(cluster(*jobs, gpus=6), 10.0, policy))
    assert len(got["high"]) == 4
    assert [len(devices) for job, devices in got.items() if job != "high"] == [1, 1]


def test_an_elastic_job_of_the_same_tier_leaves_room_for_the_others_first() -> None:
    jobs = [candidate("wide", 1, most=4, sequence=1), candidate("b", sequence=2), candidate("c", sequence=3)]
    got = started(plan(cluster(*jobs, gpus=4), 10.0, Policy()))
    assert {job: len(devices) for job, devices in got.items()} == {"wide": 2, "b": 1, "c": 1}


def test_the_first_that_does_not_fit_has_its_devices_kept_and_short_jobs_pass_it() -> None:
    held = [running("long", "gpu0", ends_at=1000.0)]
    jobs = [
        candidate("gang", 2, sequence=1),
        candidate("endless", sequence=2),
        candidate("too long", sequence=3, limit=2000.0),
        candidate("short", sequence=4, limit=500.0),
    ]
    decided = plan(cluster(*jobs, gpus=2, held=held), 10.0, Policy())
    assert started(decided) == {"short": ("gpu1",)}
    assert (decided.reservations[0].job, decided.reservations[0].at) == ("gang", 1000.0)
    assert codes(decided) == ["gpus", "order", "order"]


def test_a_job_may_use_devices_that_the_waiting_gang_does_not_need() -> None:
    held = [running("a", "gpu0", ends_at=1000.0), running("b", "gpu1", ends_at=1000.0)]
    jobs = [candidate("gang", 3, sequence=1), candidate("endless", sequence=2)]
    decided = plan(cluster(*jobs, gpus=4, held=held), 10.0, Policy())
    assert started(decided) == {"endless": ("gpu3",)}


def test_cpu_jobs_go_on_while_a_gpu_job_waits() -> None:
    jobs = [candidate("gpu job", 2, sequence=1), candidate("cpu job", 0, sequence=2)]
    held = [running("x", "gpu0")]
    assert started(plan(cluster(*jobs, gpus=2, cpus=2, held=held), 10.0, Policy())) == {"cpu job": ()}


def test_a_wide_cpu_job_is_not_starved_by_narrow_ones() -> None:
    held = [running("x", ends_at=500.0, cpus=2)]
    jobs = [
        candidate("wide", 0, cpus=4, sequence=1),
        candidate("narrow", 0, cpus=1, sequence=2),
        candidate("brief", 0, cpus=1, sequence=3, limit=60.0),
    ]
    assert started(plan(cluster(*jobs, cpus=4, held=held), 10.0, Policy())) == {"brief": ()}


def test_first_come_first_served_lets_nobody_pass() -> None:
    held = [running("long", "gpu0", ends_at=1000.0)]
    jobs = [candidate("gang", 2, sequence=1), candidate("short", sequence=2, limit=5.0)]
    assert started(plan(cluster(*jobs, gpus=2, held=held), 10.0, Policy(backfill=False))) == {}


def test_borrowed_gpus_are_given_back_by_the_job_that_loses_least() -> None:
    held = [
        running("early", "gpu0", tier="low", started_at=0.0, saved_at=1000.0),
        running("late", "gpu1", tier="low", started_at=0.0, saved_at=1900.0),
    ]
    decided = plan(cluster(candidate("owner"), gpus=2, held=held), 2000.0, Policy())
    assert [(item.victim, item.job) for item in decided.preemptions] == [("late", "owner")]
    assert started(decided) == {}


def test_the_fewest_jobs_yield() -> None:
    held = [
        running("small", "gpu0", tier="low", started_at=900.0),
        running("other", "gpu1", tier="low", started_at=900.0),
        running("wide", "gpu2", "gpu3", tier="low", started_at=0.0),
    ]
    decided = plan(cluster(candidate("owner", 2), gpus=4, held=held), 2000.0, Policy())
    assert [item.victim for item in decided.preemptions] == ["wide"]


def test_nobody_yields_when_the_waiting_job_could_not_start_then() -> None:
    held = [running("low", "gpu0", tier="low"), running("mine", "gpu1")]
    assert plan(cluster(candidate("owner", 2), gpus=2, held=held), 2000.0, Policy()).preemptions == []


def test_normal_jobs_are_never_preempted_and_low_ones_preempt_nobody() -> None:
    held = [running("normal", "gpu0")]
    assert plan(cluster(candidate("high", tier="high"), gpus=1, held=held), 2e3, Policy()).preemptions == []
    held = [running("low", "gpu0", tier="low")]
    assert plan(cluster(candidate("other", tier="low"), gpus=1, held=held), 2e3, Policy()).preemptions == []


def test_a_job_is_unharmed_in_its_first_minutes_and_not_preempted_twice_in_half_an_hour() -> None:
    fresh = [running("low", "gpu0", tier="low", started_at=1900.0)]
    decided = plan(cluster(candidate("owner"), gpus=1, held=fresh), 2000.0, Policy())
    assert (decided.preemptions, decided.wake_at) == ([], 2200.0)
    again = [running("low", "gpu0", tier="low", started_at=500.0, preempted_at=400.0)]
    decided = plan(cluster(candidate("owner"), gpus=1, held=again), 2000.0, Policy())
    assert (decided.preemptions, decided.wake_at) == ([], 2200.0)


def test_freed_devices_are_kept_for_the_job_they_were_freed_for() -> None:
    jobs = [candidate("urgent", sequence=5, tier="high"), candidate("owner", sequence=1)]
    decided = plan(cluster(*jobs, gpus=1, promised={"gpu0": "owner"}), 10.0, Policy())
    assert started(decided) == {"owner": ("gpu0",)}


def test_who_has_been_asked_to_yield_is_not_asked_again_and_no_second_one_is() -> None:
    held = [
        running("a", "gpu0", tier="low", stopping_for="owner"),
        running("b", "gpu1", tier="low"),
    ]
    decided = plan(cluster(candidate("owner"), gpus=2, held=held), 2000.0, Policy())
    assert decided.preemptions == []


def test_a_low_job_may_run_on_kept_devices_because_it_gives_them_back() -> None:
    held = [running("endless", "gpu0")]
    jobs = [candidate("gang", 2, sequence=1), candidate("low", sequence=2, tier="low")]
    assert started(plan(cluster(*jobs, gpus=2, held=held), 10.0, Policy())) == {"low": ("gpu1",)}


def test_half_a_day_of_waiting_lifts_the_order_by_a_tier_but_not_the_rights() -> None:
    jobs = [candidate("patient", sequence=1, tier="low"), candidate("normal", sequence=2, submitted_at=90_000.0)]
    assert list(started(plan(cluster(*jobs, gpus=1), 90_000.0, Policy()))) == ["patient"]
    held = [running("other", "gpu0", tier="low")]
    assert plan(cluster(jobs[0], gpus=1, held=held), 90_000.0, Policy()).preemptions == []


def test_jobs_of_ten_gigabytes_share_a_gpu_of_eighty_seven_at_once() -> None:
    jobs = [candidate(f"j{place}", memory=10 * GIB, sequence=place) for place in range(10)]
    decided = plan(cluster(*jobs, gpus=1), 10.0, Policy())
    assert len(started(decided)) == 7
    assert codes(decided) == ["gpu_memory"]


def test_a_sharing_job_goes_where_least_room_is_left_and_whole_gpus_stay_free() -> None:
    held = [running("a", "gpu1", memory_bytes=20 * GIB)]
    jobs = [candidate("share", memory=10 * GIB, sequence=1), candidate("whole", sequence=2)]
    assert started(plan(cluster(*jobs, gpus=2, held=held), 10.0, Policy())) == {"share": ("gpu1",), "whole": ("gpu0",)}


def test_declared_memory_counts_from_the_launch_and_used_memory_when_it_is_more() -> None:
    device = gpu(0)
    spare = 4 * GIB
    assert room_bytes(device, [running("a", "gpu0", memory_bytes=10 * GIB, used_bytes=0)]) == (80 - 10) * GIB - spare
    assert room_bytes(device, [running("a", "gpu0", memory_bytes=10 * GIB, used_bytes=30 * GIB)]) == 50 * GIB - spare


def test_memory_is_learned_from_three_runs_on() -> None:
    assert automatic_memory(10 * GIB, 2) is None
    assert automatic_memory(10 * GIB, 3) == int(11.5 * GIB) + (512 << 20)
    assert automatic_memory(None, 5) is None


@pytest.mark.parametrize("problem", ["drained", "unhealthy", "foreign", "claimed", "stalled"])
def test_nothing_starts_on_a_device_with_a_problem(problem: str) -> None:
    devices = [gpu(0, problem=problem, why="is not to be used"), gpu(1)]
    jobs = [candidate("a", sequence=1), candidate("b", sequence=2)]
    assert started(plan(cluster(*jobs, gpus=devices), 10.0, Policy())) == {"a": ("gpu1",)}


def test_a_window_of_hours_delays_starts_and_is_looked_at_again_when_it_opens() -> None:
    policy = Policy(hours=parse_hours("20:00-08:00"))
    noon = 12 * 3600.0
    jobs = [candidate("waits", 0, sequence=1), candidate("released", 0, sequence=2, anytime=True)]
    decided = plan(cluster(*jobs), noon, policy)
    assert (started(decided), codes(decided), decided.wake_at) == ({"released": ()}, ["hours"], 20 * 3600.0)
    assert len(started(plan(cluster(*jobs), 2 * 3600.0, policy))) == 2
    assert policy.opens_at(noon, utc_offset_seconds=9 * 3600) is None


def test_a_paused_queue_starts_nothing() -> None:
    decided = plan(cluster(candidate("a", 0), paused="paused by ann"), 10.0, Policy())
    assert (started(decided), codes(decided)) == ({}, ["paused"])


def test_equal_values_give_equal_plans_and_change_nothing() -> None:
    jobs = [candidate(f"j{place}", 1 + place % 3, sequence=place, account=f"a{place % 4}") for place in range(40)]
    given = cluster(*jobs, gpus=8, held=[running("x", "gpu0", tier="low")])
    before = [[item for _, item in group.jobs] for group in given.waiting.groups()]
    assert plan(given, 5000.0, Policy()) == plan(given, 5000.0, Policy())
    assert [[item for _, item in group.jobs] for group in given.waiting.groups()] == before


def test_the_work_of_a_plan_hardly_grows_with_the_queue() -> None:
    def groups_looked_at(count: int) -> int:
        jobs = [
            candidate(f"j{place}", 1 + place % 4, sequence=place, account=f"a{place % 4}") for place in range(count)
        ]
        return len(cluster(*jobs, gpus=8).waiting.groups())

    assert groups_looked_at(10_000) == groups_looked_at(100)


def test_waiting_jobs_keep_their_order_whatever_comes_and_goes() -> None:
    waiting = Waiting()
    jobs = [candidate(f"j{place}", sequence=place) for place in range(20)]
    for job in (*jobs[::2], *jobs[1::2]):
        waiting.add(job)
    waiting.add(replace(jobs[7], rank=-1.0))
    for job in jobs[10:]:
        waiting.remove(job.id)
    (group,) = waiting.groups()
    assert [job.id for _, job in group.jobs] == ["j7", *(f"j{place}" for place in range(10) if place != 7)]
    assert len(waiting) == 10
    waiting.remove("j7")
    waiting.remove("nobody")
    assert "j7" not in waiting


@pytest.mark.parametrize(
    ("tiers", "accounts", "words"),
    [
        ({"urgent": {}}, {}, "no tier `urgent`"),
        ({"high": {"gpu": 1}}, {}, "no key `gpu`"),
        ({"high": {"gpus": -1}}, {}, "`scheduler.tiers.high.gpus` is -1"),
        ({"high": {"gpus": True}}, {}, "is True"),
        ({"high": 3}, {}, "it must be a table"),
        ({}, {"vision": {"weight": 0}}, "`scheduler.accounts.vision.weight` is 0"),
        ({}, {"vision": {"high": {"quota": "some"}}}, "is 'some'"),
    ],
)
def test_a_wrong_policy_names_the_key_and_the_value(tiers: dict, accounts: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=words):
        policy_of(tiers, accounts)


def test_an_account_s_tier_starts_from_the_common_one() -> None:
    policy = policy_of({"high": {"gpus": 4}}, {"vision": {"weight": 2, "high": {"quota": 4}}})
    assert policy.tier("vision", "high") == Tier(gpus=4, quota=4)
    assert policy.tier("other", "high") == Tier(gpus=4)
    assert policy.weight("vision") == 2


@pytest.mark.parametrize("text", ["", "8-20", "08:00", "25:00-08:00", "08:00-08:00", "24:30-08:00"])
def test_hours_that_are_no_span_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.hours"):
        parse_hours(text)


def test_every_order_of_arrival_gives_each_account_the_same_number_of_gpus() -> None:
    for order in itertools.permutations("aabb"):
        jobs = [candidate(f"j{place}", sequence=place, account=name) for place, name in enumerate(order)]
        got = started(plan(cluster(*jobs, gpus=2), 10.0, Policy()))
        assert sorted(order[int(job[1:])] for job in got) == ["a", "b"]
