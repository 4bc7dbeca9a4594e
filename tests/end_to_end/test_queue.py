"""Jobs from `ds submit` to their commits, with the real daemon, on a machine without a GPU."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.errors import RefusedError, RunNotFound
from dstui.inside.processes import is_running
from dstui.scheduler.attempts import ask_to_end
from dstui.sdk import open_project
from dstui.sdk.queue import parse_array, parse_gpus
from tests.end_to_end.queue_kit import TestQueue

if TYPE_CHECKING:
    from tests.conftest import DsCommand

pytestmark = pytest.mark.slow


@pytest.fixture
def queue(project: Path, wait_until: Callable[..., None]) -> Iterator[TestQueue]:
    made = TestQueue(project, wait_until)
    yield made
    made.clean()


def script(project: Path, text: str, name: str = "job.py") -> str:
    (project / name).write_text(text)
    return name


def test_a_queued_job_runs_the_code_and_the_variables_of_its_submission(queue: TestQueue, project: Path) -> None:
    (project / ".gitignore").write_text("data/\n")
    (project / "data").mkdir()
    (project / "data" / "set.txt").write_text("rows")
    (project / "part.py").write_text("VALUE = 'submitted'\n")
    name = script(
        project,
        "import os, part\nprint(part.VALUE, open('data/set.txt').read(), os.environ['COLOUR'], os.getcwd())\n",
    )
    job = queue.one(name, held=True, environment={"COLOUR": "green"})
    (project / "part.py").write_text("VALUE = 'edited later'\n")
    queue.queue.act("release", [job])
    row = queue.ended(job)
    assert (row.state, row.exit_code, row.attempt) == ("finished", 0, 1)
    words = queue.log(job).split()
    assert words[:3] == ["submitted", "rows", "green"]
    assert words[3] != str(project)
    with open_project(project) as opened:
        record = opened.store.record(row.run or "")
        assert record.state == "finished"
        assert opened.store.code_tree(row.run or "") is not None


def test_its_checkout_goes_unless_it_left_something_new_there(queue: TestQueue, project: Path) -> None:
    clean, leaving = queue.one("true"), queue.one("sh", "-c", "echo 1 > made.txt")
    queue.all_ended([clean, leaving])
    queue.log(leaving)
    work = project / ".git" / "ds" / str(os.getuid()) / "work"
    assert [path.name for path in work.iterdir()] == [queue.row(leaving).run]
    assert not (project / "made.txt").exists()


def test_in_place_runs_in_the_project_itself(queue: TestQueue, project: Path) -> None:
    job = queue.one("pwd", in_place=True)
    queue.ended(job)
    assert queue.log(job).strip() == str(project)


@pytest.mark.parametrize(
    ("command", "state", "code"),
    [("exit 3", "failed", 3), ("kill -SEGV $$", "failed", None), ("kill -KILL $$", "killed", None)],
)
def test_the_end_of_a_command_is_the_end_of_its_job(queue: TestQueue, command: str, state: str, code: int) -> None:
    row = queue.ended(queue.one("sh", "-c", command))
    assert (row.state, row.exit_code) == (state, code)


def test_a_command_that_is_not_there_at_its_start_fails_without_a_run(queue: TestQueue, project: Path) -> None:
    (project / "tool.sh").write_text("#!/bin/sh\n")
    (project / "tool.sh").chmod(0o755)
    job = queue.one("./tool.sh", in_place=True, held=True, retries=3)
    (project / "tool.sh").unlink()
    queue.queue.act("release", [job])
    row = queue.ended(job)
    assert (row.state, row.exit_code, row.attempt) == ("failed", 127, 1)


def test_jobs_wait_for_each_other_and_say_so(queue: TestQueue) -> None:
    first = queue.one("sh", "-c", "exit 1", held=True)
    second = queue.one("true", after=[first])
    assert queue.queue.job(second).reason.code == "after"  # type: ignore[union-attr]
    queue.queue.act("release", [first])
    queue.ended(first)
    reason = queue.queue.job(second).reason
    assert reason is not None
    assert (reason.code, reason.action) == ("after_failed", f"`ds stop {second[:5]}`")
    queue.queue.act("stop", [second])
    assert queue.row(second).state == "cancelled"


def test_a_job_starts_once_what_it_waits_for_has_finished(queue: TestQueue) -> None:
    first = queue.one("true")
    second = queue.one("true", after=[first])
    assert queue.ended(second).state == "finished"
    assert (queue.row(first).ended_at or 0) <= (queue.row(second).started_at or 0)


def test_an_array_is_one_job_for_each_value_with_its_own_words(queue: TestQueue) -> None:
    queue.configure("[scheduler]\ncpu_slots = 2\n")
    jobs = queue.submit("echo", "lr={lr}", array=parse_array(["lr=0.1,0.01", "seed=1,2"]))
    assert len(jobs) == 4
    queue.all_ended(jobs)
    assert queue.log(jobs[0]).split() == ["lr=0.1", "--seed", "1"]
    assert queue.log(jobs[3]).split() == ["lr=0.01", "--seed", "2"]


def test_held_moved_and_raised_jobs_start_in_that_order(queue: TestQueue) -> None:
    queue.queue.act("pause")
    a, b, c, d = (queue.one("true") for _ in range(4))
    queue.queue.act("hold", [a])
    queue.queue.act("move", [c], to="first")
    queue.queue.act("priority", [d], tier="high")
    assert [view.reason.code for view in queue.queue.jobs() if view.reason] == ["held", "paused", "paused", "paused"]
    queue.queue.act("resume", devices=[])
    queue.until(b, "finished")
    queue.until(c, "finished")
    queue.until(d, "finished")
    begun = sorted((queue.row(job).started_at or 0.0, job) for job in (b, c, d))
    assert [job for _, job in begun] == [d, c, b]
    assert queue.row(a).state == "held"
    answer = queue.queue.act("hold", [b])
    assert answer["refused"] == {b: "has ended"}


def test_a_running_job_is_stopped_and_a_waiting_one_cancelled(queue: TestQueue) -> None:
    running = queue.one("sleep", "100")
    waiting = queue.one("true")
    queue.until(running, "running")
    reason = queue.queue.job(waiting).reason
    assert reason is not None
    assert (reason.code, reason.evidence["holders"]) == ("cpus", [running])
    queue.queue.act("stop", [waiting], reason="not needed")
    assert queue.row(waiting).state == "cancelled"
    queue.queue.act("stop", [running], reason="ds stop")
    assert queue.ended(running).state == "stopped"


def test_a_job_that_saves_itself_is_started_again_where_it_was(queue: TestQueue, project: Path) -> None:
    name = script(
        project,
        "import os, pathlib, sys\n"
        "folder = pathlib.Path(os.environ['DSTUI_CHECKPOINT_DIR'])\n"
        "print(os.environ['DSTUI_ATTEMPT'], os.path.basename(os.environ['DSTUI_RESUME']))\n"
        "if not os.environ['DSTUI_RESUME']:\n"
        "    (folder / 'step10').write_text('weights')\n"
        "    (folder / 'LATEST').write_text('step10')\n"
        "    sys.exit(75)\n",
    )
    job = queue.one(name)
    row = queue.ended(job)
    assert (row.state, row.attempt, row.retried) == ("finished", 2, 0)
    assert queue.log(job).split() == ["2", "step10"]
    runs = [attempt.run for attempt in queue.queue.rows.attempts(job)]
    with open_project(project) as opened:
        assert [opened.store.record(run or "").state for run in runs] == ["preempted", "finished"]
        assert opened.store.record(runs[1] or "").parent_run == runs[0]


def test_a_job_that_asks_again_and_again_without_progress_fails(queue: TestQueue) -> None:
    row = queue.ended(queue.one("sh", "-c", "exit 75"))
    assert (row.state, row.attempt) == ("failed", 3)


def test_a_job_that_is_made_to_yield_saves_itself_and_comes_back(queue: TestQueue, project: Path) -> None:
    name = script(
        project,
        "import os, pathlib, sys, time\n"
        "print('attempt', os.environ['DSTUI_ATTEMPT'], flush=True)\n"
        "begun = pathlib.Path(sys.argv[1])\n"
        "if begun.exists():\n"
        "    sys.exit(0)\n"
        "begun.touch()\n"
        "while not os.path.exists(os.environ['DSTUI_PREEMPT_FILE']):\n"
        "    time.sleep(0.01)\n"
        "pathlib.Path(os.environ['DSTUI_CHECKPOINT_DIR'], 'LATEST').write_text('saved')\n",
    )
    job = queue.one(name, str(project.parent / "begun"))
    queue._wait_until((project.parent / "begun").exists, 30)
    queue.until(job, "running")
    (attempt,) = queue.queue.rows.attempts(job)
    assert ask_to_end(attempt.live or "", "yields to another", grace_seconds=30.0, preempt=True)
    row = queue.ended(job)
    assert (row.state, row.attempt, row.retried) == ("finished", 2, 0)


def test_a_failed_job_starts_again_after_a_pause_while_retries_remain(queue: TestQueue) -> None:
    job = queue.one("sh", "-c", "exit 1", retries=1)
    queue.until(job, "queued")
    queue._wait_until(lambda: queue.row(job).hold is not None, 30)
    reason = queue.queue.job(job).reason
    assert reason is not None
    assert reason.code == "backoff"
    queue.queue.act("release", [job])
    row = queue.ended(job)
    assert (row.state, row.attempt, row.retried) == ("failed", 2, 1)


def test_a_time_limit_ends_a_job_even_while_no_daemon_runs(queue: TestQueue) -> None:
    job = queue.one("sleep", "100", time=1.0)
    queue.until(job, "running")
    queue.kill_daemon()
    # Its keeper starts a daemon at the end, which sees how it came out.
    assert queue.ended(job).state == "timeout"


def test_a_job_outlives_its_daemon_and_is_started_once(queue: TestQueue, project: Path) -> None:
    begun = project.parent / "begun"
    job = queue.one("sh", "-c", f"echo x >> {begun}; read line < {project.parent}/go; exit 7")
    os.mkfifo(project.parent / "go")
    queue.until(job, "running")
    queue._wait_until(begun.exists, 30)
    queue.kill_daemon()
    other = queue.one("true")
    queue._wait_until(lambda: queue.queue.daemon() is not None, 30)
    with (project.parent / "go").open("w") as go:
        go.write("on\n")
    row = queue.ended(job)
    assert (row.state, row.exit_code, row.attempt) == ("failed", 7, 1)
    assert begun.read_text() == "x\n"
    assert queue.ended(other).state == "finished"


def test_a_job_whose_keeper_is_killed_is_lost_and_leaves_nothing_running(queue: TestQueue, project: Path) -> None:
    pid_file = project.parent / "pid"
    job = queue.one("sh", "-c", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 100")
    queue._wait_until(pid_file.exists, 30)
    queue.until(job, "running")
    os.kill(queue.keeper_pid(job), signal.SIGKILL)
    row = queue.ended(job)
    assert row.state == "lost"
    assert not is_running(int(pid_file.read_text()))


def test_reset_stops_everything_and_keeps_the_old_queue_beside(queue: TestQueue, project: Path) -> None:
    running, waiting = queue.one("sleep", "100"), queue.one("true")
    queue.until(running, "running")
    run = queue.row(running).run
    aside, count = queue.queue.reset()
    assert count == 2
    assert queue.queue.rows.jobs() == []
    assert (aside / "queue.db").exists()
    with open_project(project) as opened:
        assert opened.store.record(run or "").state == "stopped"
    assert queue.queue.job_of(waiting) is None
    assert queue.ended(queue.one("true")).state == "finished"


def test_what_can_never_start_is_refused(queue: TestQueue) -> None:
    with pytest.raises(RefusedError, match="has no GPU"):
        queue.one("true", gpus=parse_gpus("1"))
    with pytest.raises(RefusedError, match="needs 2 CPU slots, and this machine has 1"):
        queue.one("true", cpus=2)
    with pytest.raises(RunNotFound, match="no job `zzzzz`"):
        queue.one("true", after=["zzzzz"])
    assert queue.queue.jobs() == []


def test_an_idle_daemon_leaves_and_a_later_job_finds_another(queue: TestQueue) -> None:
    queue.ended(queue.one("true"))
    first = queue.daemon_pid()
    queue.queue.act("leave")
    queue._wait_until(lambda: queue.queue.daemon() is None, 30)
    assert queue.ended(queue.one("true")).state == "finished"
    assert queue.daemon_pid() != first


def test_variables_of_a_submission_are_kept_private_and_go_with_its_end(queue: TestQueue) -> None:
    job = queue.one("true", environment={"MY_TOKEN": "s3cret-value-12345"})
    files = list(queue.queue.place.submits.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    queue.ended(job)
    queue._wait_until(lambda: not list(queue.queue.place.submits.iterdir()), 30)


def test_the_command_line_submits_waits_lists_and_explains(queue: TestQueue, ds: DsCommand) -> None:
    done = ds("submit", "--json", "sh", "-c", "exit 4")
    assert done.code == 0, done.err
    (job,) = json.loads(done.out)
    assert (job["priority"], job["gpus"], job["cpus"]) == ("normal", 0, 1)
    waited = ds("wait", job["id"][:8])
    assert waited.code == 1
    assert "failed (exit code 4)" in waited.out
    held = ds("submit", "--hold", "true")
    assert held.code == 0
    name = held.out.strip()
    listed = json.loads(ds("queue", "ls", "--json").out)
    assert [(item["state"], item["reason"]["code"]) for item in listed] == [("held", "held")]
    why = ds("why", name)
    assert why.code == 0, why.err
    assert "held: held by" in why.out
    assert ds("stop", name).code == 0
    assert ds("queue", "ls").out == ""
    refused = ds("submit", "--gpus", "1", "true")
    assert (refused.code, "has no GPU" in refused.err) == (1, True)
    assert ds("submit", "nothing.py").code in (4, 127)
    status = json.loads(ds("cluster", "status", "--json").out)
    assert status["daemon"]["pid"] == queue.daemon_pid()
    assert ds("show", job["id"][:8]).code == 0
    assert sys.executable
