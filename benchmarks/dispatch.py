"""What a queued job costs: `true`, 20 files of code, 2 CPU slots, everything durable, each one a commit in the end.

    python -m benchmarks.dispatch [--jobs 100] [--rivals]

Prints one JSON line. `jobs_per_second` is until the last job has ended; `commits_per_second` until the last run is
committed, which is done beside it by another process. Rivals, where they are installed: GNU parallel and xargs, which
keep nothing. `submit_to_start` is asked of an idle daemon whose clerk is warm.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Report, make_project
from dstui.execution.capture import Capture
from dstui.scheduler.jobs import Demand, NewJob, Submission
from dstui.sdk import Request, open_project
from dstui.sdk.queue import JobQueue, JobRequest, open_queue
from dstui_store import new_run_id

FILES, SLOTS, STARTS = 20, 2, 15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100)
    options = parser.parse_args()
    report = Report.of(__file__)
    # Bytecode is there in daily life.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        base = Path(scratch)
        for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            (base / name).mkdir(mode=0o700)
            os.environ[name] = str(base / name)
        (base / "HOME" / ".gitconfig").write_text("[user]\n\tname = bench\n\temail = bench@localhost\n")
        (base / "XDG_CONFIG_HOME" / "dstui").mkdir()
        (base / "XDG_CONFIG_HOME" / "dstui" / "config.toml").write_text(f"[scheduler]\ncpu_slots = {SLOTS}\n")
        project = make_project(base / "project", FILES)
        with open_queue() as queue:
            measure(report, queue, project, options.jobs)
            queue.act("leave")
    report.print_line()


def measure(report: Report, queue: JobQueue, project: Path, jobs: int) -> None:
    # The first ones start daemon and clerks.
    finish(queue, submit(queue, project, 4))
    settle(queue)
    pid = int((queue.daemon() or {})["pid"])
    before, began = cpu_seconds(pid), time.perf_counter()
    ids = submit(queue, project, jobs)
    submitted = time.perf_counter() - began
    finish(queue, ids)
    ended = time.perf_counter() - began - submitted
    daemon = cpu_seconds(pid) - before
    settle(queue)
    committed = time.perf_counter() - began - submitted
    report.add("jobs", jobs)
    report.add("submit_seconds", submitted)
    report.add("jobs_per_second", jobs / ended)
    report.add("commits_per_second", jobs / committed)
    report.add("daemon_cpu_ms_per_job", daemon / jobs * 1000)
    report.add("daemon_pss_mib", pss_bytes(pid) / (1 << 20))
    report.compare("daemon_cpu_to_limit", daemon / jobs * 1000, 10.0, 1.0)
    for name, words in rivals(jobs).items():
        if shutil.which(words[0]):
            began = time.perf_counter()
            subprocess.run(words, input="\n" * jobs, text=True, check=True, stdout=subprocess.DEVNULL)
            took = time.perf_counter() - began
            report.add(f"{name}_jobs_per_second", jobs / took)
            report.compare(f"jobs_per_second_to_{name}", jobs / ended, jobs / took)
    waits, submits = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        (job,) = submit(queue, project, 1)
        submits.append(time.perf_counter() - began)
        finish(queue, [job])
        row = queue.rows.job(job)
        (attempt,) = queue.rows.attempts(job)
        assert row is not None
        started = [at for at, state, _ in queue.rows.events(job) if state == "running"]
        waits.append(started[0] - row.submitted_at)
        assert attempt.number == 1
        settle(queue)
    report.add("submit_call_p50_ms", statistics.median(submits) * 1000)
    report.add("submit_to_start_p50_ms", statistics.median(waits) * 1000)
    report.add("submit_to_start_max_ms", max(waits) * 1000)
    report.compare("submit_to_start_to_limit", statistics.median(waits) * 1000, 20.0, 1.0)
    measure_enqueue(report, queue)


def measure_enqueue(report: Report, queue: JobQueue) -> None:
    """10,000 jobs in one call of the queue itself, held so that they stay there."""
    jobs = [NewJob(new_run_id(), ["train.py", "--lr", "0.1"], "train", {"n": number}) for number in range(10_000)]
    submission = Submission(
        project="/", cwd="/", account="bench", user="bench", tier="normal", demand=Demand(), spec={},
        environment=dict(os.environ), jobs=jobs, array=True, held=True,
    )  # fmt: skip
    began, cpu = time.perf_counter(), time.process_time()
    queue.rows.submit(submission)
    report.add("enqueue_10000_seconds", time.perf_counter() - began)
    report.add("enqueue_10000_cpu_seconds", time.process_time() - cpu)
    report.compare("enqueue_10000_cpu_to_limit", time.process_time() - cpu, 0.3, 1.0)


def rivals(jobs: int) -> dict[str, list[str]]:
    return {
        "parallel": ["parallel", f"-j{SLOTS}", "-N0", "true"],
        "xargs": ["xargs", f"-P{SLOTS}", "-d", "\\n", "-I{}", "true"],
    }


def submit(queue: JobQueue, project: Path, count: int) -> list[str]:
    run = Request(words=["true"], capture=Capture.nothing(), sample=False)
    request = JobRequest(run=run, array={"n": list(range(count))} if count > 1 else {})
    with open_project(project, create=True) as opened:
        views, _ = queue.submit(opened.store, request, project, dict(os.environ))
    return [view.row.id for view in views]


def finish(queue: JobQueue, ids: list[str]) -> None:
    while queue.rows.open_jobs():
        time.sleep(0.005)
    states = queue.rows.states(ids)
    assert set(states.values()) == {"finished"}, states


def settle(queue: JobQueue) -> None:
    """Until every run is committed."""
    while queue.rows.metas("commit:"):
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
