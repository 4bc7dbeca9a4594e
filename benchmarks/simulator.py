"""The plan against first come first served and fixed hand allocation, on seeded traces or a public one.

    python -m benchmarks.simulator [--jobs 10000] [--gpus 64] [--seeds 1,2] [--csv TRACE]

Prints one JSON line: utilisation, waiting, fairness and lost work of each, and how the time of one plan grows with the
queue.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import Report
from dstui.scheduler.cluster import Candidate, Cluster, DeviceState, Waiting
from dstui.scheduler.jobs import Demand
from dstui.scheduler.plan import plan
from dstui.scheduler.policy import Policy
from dstui.scheduler.simulator import Report as Outcome
from dstui.scheduler.simulator import by_hand, first_come_first_served, simulate
from dstui.scheduler.traces import TraceJob, generate, read_csv

WAYS: Mapping[str, Callable[[Sequence[TraceJob], int], Outcome]] = {
    "ours": simulate,
    "first_come": first_come_first_served,
    "by_hand": by_hand,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    report = Report.of(__file__)
    report.values |= {"jobs": options.jobs, "seeds": options.seeds}
    if options.csv is not None:
        trace, left_out = read_csv(options.csv)
        report.values |= {"trace": options.csv.name, "lines_left_out": left_out}
        report.values |= compared([trace[: options.jobs]], options.gpus, f"trace_{options.gpus}")
    else:
        compare_seeds(report, [int(seed) for seed in options.seeds.split(",")], options.jobs, options.gpus)
    small, large = plan_seconds(100), plan_seconds(10_000)
    report.add("plan_100_seconds", small)
    report.add("plan_10000_seconds", large)
    report.compare("plan_10000_to_100", large, small, 5.0)
    report.print_line()


def compare_seeds(report: Report, seeds: Sequence[int], jobs: int, gpus: int) -> None:
    """A small machine, where gangs leave gaps, the large one, and one with all tiers."""
    for size in (8, gpus):
        traces = [generate(seed, jobs, size, load=1.3) for seed in seeds]
        found = compared(traces, size, f"gpus{size}")
        report.values |= found
        for measure, limit in (("utilization", None), ("waiting_p95_seconds", 0.7)):
            ours, peer = (found[f"gpus{size}_{way}_{measure}"] for way in ("ours", "first_come"))
            report.compare(f"gpus{size}_{measure}_to_first_come", ours, peer, limit)
    mixed = generate(seeds[0], jobs, gpus, load=1.2, tiers={"high": 0.1, "normal": 0.5, "low": 0.4})
    report.values |= {f"tiers_{key}": value for key, value in kept(simulate(mixed, gpus)).items()}


def compared(traces: Sequence[Sequence[TraceJob]], gpus: int, name: str) -> dict[str, float]:
    """The mean over the traces of what each way gives."""
    found: dict[str, float] = {}
    for way, run in WAYS.items():
        reports = [kept(run(trace, gpus)) for trace in traces]
        for key in reports[0]:
            found[f"{name}_{way}_{key}"] = round(sum(item[key] for item in reports) / len(reports), 4)
    return found


def kept(found: Outcome) -> dict[str, float]:
    names = (
        "utilization waiting_p50_seconds waiting_p95_seconds slowdown_mean fairness worst_to_mean preemptions "
        "lost_fraction never_started"
    )
    data = found.to_json()
    return {name: data[name] for name in names.split()}


def plan_seconds(count: int) -> float:
    """CPU seconds of one plan over so many waiting jobs, median of 15."""
    jobs = [
        Candidate(
            f"job{place}",
            ("high", "normal", "low")[place % 3],
            f"account{place % 4}",
            Demand(gpus=1 + place % 4, gpus_max=1 + place % 4, cpus=0, time_limit_seconds=600.0 * (1 + place % 9)),
            place,
            float(place),
        )
        for place in range(count)
    ]
    cluster = Cluster([DeviceState(f"gpu{n}", n, 80 << 30) for n in range(8)], 8, [], Waiting(jobs))
    times = []
    for _ in range(15):
        began = time.process_time()
        plan(cluster, 20_000.0, Policy())
        times.append(time.process_time() - began)
    return median(times)


if __name__ == "__main__":
    main()
