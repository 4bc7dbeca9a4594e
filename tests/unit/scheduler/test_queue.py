"""The queue on the disk: what was acknowledged stays, changes are whole, and nobody else can read it."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dstui.errors import DeviceError, UsageError
from dstui.scheduler.jobs import Attempt, Demand, Hold, Learned
from dstui.scheduler.mend import mended, read_fences
from dstui.scheduler.place import Place
from dstui.scheduler.queue import Queue, is_sound
from tests.unit.scheduler.making import new_job, submission

ROOT = Path(__file__).parents[3]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state" / "machine")


@pytest.fixture
def queue(place: Place) -> Queue:
    return Queue.open(place)


def test_a_submitted_job_is_read_back_as_it_was(queue: Queue) -> None:
    first = new_job("train.py", "--lr", "0.1", params={"lr": 0.1}, learned="key")
    second = new_job("eval.py", after=[first.id])
    demand = Demand(gpus=2, gpus_max=4, memory_bytes=None, cpus=3, time_limit_seconds=60.0)
    ids = queue.submit(submission(first, second, demand=demand, tier="high", retries=2))
    jobs = queue.open_jobs()
    assert ids == [first.id, second.id] == [job.id for job in jobs]
    assert (jobs[0].words, jobs[0].params, jobs[0].learned) == (("train.py", "--lr", "0.1"), {"lr": 0.1}, "key")
    assert (jobs[0].demand, jobs[0].tier, jobs[0].retries, jobs[0].state) == (demand, "high", 2, "queued")
    assert jobs[1].after == (first.id,)
    assert queue.job(first.id) == jobs[0]
    assert queue.spec(jobs[0].submit) == {"tree": "0" * 40}


def test_everything_of_the_queue_is_private_whatever_the_umask(place: Place) -> None:
    before = os.umask(0)
    try:
        queue = Queue.open(place)
        queue.submit(submission())
    finally:
        os.umask(before)
    wrong = [
        (str(path), oct(mode))
        for path in (place.folder, *place.folder.rglob("*"))
        if (mode := stat.S_IMODE(path.lstat().st_mode)) not in ({0o700} if path.is_dir() else {0o600})
    ]
    assert wrong == []


def test_a_state_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine").chmod(0o777)
    with pytest.raises(DeviceError, match="can be changed by others"):
        Place(tmp_path / "machine")


def test_a_link_in_place_of_the_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "machine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="is a link"):
        Place(tmp_path / "machine")


def test_a_job_cannot_wait_for_one_that_is_not_there(queue: Queue) -> None:
    with pytest.raises(UsageError, match="no job `k3f9c`"):
        queue.submit(submission(new_job(after=["k3f9c"])))
    assert queue.open_jobs() == []
    assert list(queue.place.submits.iterdir()) == []


def test_a_submission_is_on_the_disk_before_its_rows_are_and_comes_back_without_them(place: Place) -> None:
    queue = Queue.open(place)
    kept, lost = new_job("kept"), [new_job("lost"), new_job("lost too")]
    queue.submit(submission(kept))
    queue.submit(submission(*lost, array=True, held=True))
    queue.close()
    # As after a power cut: the last transactions never reached the disk.
    connection = sqlite3.connect(place.database)
    submit = connection.execute("SELECT submit FROM job WHERE name = 'true' ORDER BY sequence DESC").fetchone()[0]
    for table, column in (("job", "submit"), ("submit", "id"), ("array", "submit")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (submit,))
    connection.commit()
    connection.close()
    again, notes = mended(place)
    assert [job.id for job in again.open_jobs()] == [kept.id, *(job.id for job in lost)]
    assert [job.state for job in again.open_jobs()] == ["queued", "held", "held"]
    assert again.open_jobs()[1].array == submit
    assert len(notes) == 1


def test_a_damaged_database_is_kept_aside_and_made_anew_without_starting_anything_twice(place: Place) -> None:
    queue = Queue.open(place)
    waiting, begun, ready = new_job("waiting"), new_job("begun"), new_job("at the gate")
    queue.submit(submission(waiting))
    queue.submit(submission(ready))
    queue.submit(submission(begun))
    queue.close()
    place.fence(ready.id, 1).write_text('{"run": "r"}\n')
    place.fence(begun.id, 1).write_text('{"run": "0123456789abcdef", "pid": 4121, "ticks": 5, "boot": "b"}\nbegun\n')
    place.database.write_bytes(b"SQLite format 3\0" + os.urandom(8192))
    assert not is_sound(place)
    again, notes = mended(place)
    jobs = {job.id: job for job in again.open_jobs()}
    assert jobs[waiting.id].state == "queued"
    assert (jobs[begun.id].state, jobs[begun.id].run, jobs[begun.id].attempt) == ("running", "0123456789abcdef", 1)
    assert again.attempts(begun.id)[0].pid == 4121
    assert (jobs[ready.id].state, jobs[ready.id].attempt) == ("queued", 1)
    assert list(place.folder.glob("queue.db.damaged-*"))
    assert "damaged" in notes[0]


def test_a_damaged_submission_is_named_and_the_others_come_back(place: Place) -> None:
    queue = Queue.open(place)
    queue.submit(submission())
    good = queue.open_jobs()[0]
    queue.close()
    place.submit_file("0123456789abcdef").write_text('{"v": 1}\n')
    place.submits.joinpath(".half.jsonl.999999999").write_text("x")
    for path in place.folder.glob("queue.db*"):
        path.unlink()
    again, notes = mended(place)
    assert [job.id for job in again.open_jobs()] == [good.id]
    assert any("is damaged" in note for note in notes)
    assert not list(place.submits.glob(".half*"))


def test_a_newer_queue_is_refused_and_left_alone(place: Place) -> None:
    Queue.open(place).close()
    connection = sqlite3.connect(place.database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DeviceError, match="made by a newer dstui"):
        Queue.open(place)


def test_a_refused_transaction_changes_nothing(queue: Queue) -> None:
    queue.submit(submission())
    (job,) = queue.open_jobs()
    with pytest.raises(ValueError, match="columns"), queue.transaction():
        change_and_fail(queue, job.id)
    assert queue.open_jobs() == [job]


def change_and_fail(queue: Queue, job: str) -> None:
    queue.change(job, state="starting")
    queue.change(job, id="other")


def test_changes_and_events_of_a_job_are_kept(queue: Queue) -> None:
    queue.submit(submission())
    (job,) = queue.open_jobs()
    hold = Hold("backoff", "failed at 12:00", 1.0, 11.0)
    with queue.transaction():
        queue.change(job.id, hold=hold, spare={"oom": 1}, rank=-2.0)
        queue.note(job.id, "queued", 1.0, "back-off")
    found = queue.job(job.id)
    assert found is not None
    assert (found.hold, found.spare, found.rank) == (hold, {"oom": 1}, -2.0)
    assert queue.events(job.id) == [(1.0, "queued", "back-off")]
    with pytest.raises(ValueError, match="columns that do not change"):
        queue.change(job.id, id="other")


def test_an_attempt_holds_its_devices_until_it_ends(queue: Queue) -> None:
    queue.submit(submission())
    (job,) = queue.open_jobs()
    with queue.transaction():
        queue.add_attempt(Attempt(job.id, 1, "run", "starting", None, None, None, ("GPU-a", "GPU-b"), 5.0), 1 << 30)
    assert [(lease.device, lease.memory_bytes) for lease in queue.leases()] == [("GPU-a", 1 << 30), ("GPU-b", 1 << 30)]
    assert queue.job_of_run("run") == job.id
    with queue.transaction():
        queue.change_attempt(job.id, 1, state="finished", ended_at=9.0)
    assert queue.leases() == []
    assert queue.attempts(going=True) == []


def test_a_request_waits_for_its_answer_and_is_forgotten_with_it(queue: Queue) -> None:
    number = queue.ask("hold", jobs=["k3f9c"])
    assert [(item.verb, item.arguments) for item in queue.requests()] == [("hold", {"jobs": ["k3f9c"]})]
    assert queue.answer(number) is None
    with queue.transaction():
        queue.reply(number, {"done": ["k3f9c"]})
    assert queue.requests() == []
    assert queue.answer(number) == {"done": ["k3f9c"]}
    assert queue.answer(number) is None


def test_names_resolve_by_prefix_and_an_array_to_its_jobs(queue: Queue) -> None:
    jobs = [new_job(id="aaaaabbbbbcccccd"), new_job(id="aaaaabbbbbccccce")]
    queue.submit(submission(*jobs, array=True))
    assert queue.resolve("aaaaabbbbbcccccd") == ["aaaaabbbbbcccccd"]
    assert sorted(queue.resolve("aaaaa")) == sorted(job.id for job in jobs)
    array = queue.open_jobs()[0].array
    assert array is not None
    assert sorted(queue.resolve(array)) == sorted(job.id for job in jobs)
    assert queue.resolve("%") == queue.resolve("") == queue.resolve("zzzzz") == []
    assert queue.shown_id_length() == 16


def test_what_was_learned_and_what_is_drained_is_remembered(queue: Queue) -> None:
    with queue.transaction():
        queue.set_learned("key", Learned(3, 5 << 30, (1.0, 2.0)))
        queue.set_drained("GPU-a", {"by": "ann"})
        queue.set_drained("GPU-b", {"by": "ann"})
        queue.set_drained("GPU-b", None)
        queue.set_account("vision", 12.5, 100.0)
        queue.set_meta("paused", "by ann")
    assert queue.learned() == {"key": Learned(3, 5 << 30, (1.0, 2.0))}
    assert queue.drained() == {"GPU-a": {"by": "ann"}}
    assert queue.accounts() == {"vision": (12.5, 100.0)}
    assert queue.meta("paused") == "by ann"


def test_old_ended_jobs_are_forgotten_and_those_still_needed_are_not(queue: Queue) -> None:
    done, needed, waiting = new_job(), new_job(), new_job()
    queue.submit(submission(done))
    queue.submit(submission(needed))
    queue.submit(submission(new_job(id=waiting.id, after=[needed.id])))
    with queue.transaction():
        for place, job in enumerate((done, needed)):
            queue.change(job.id, state="finished", ended_at=float(place + 1))
    assert queue.forget_ended(0) == 1
    assert queue.job(done.id) is None
    assert queue.job(needed.id) is not None
    assert queue.job(waiting.id) is not None


LISTER = """
import sys
from pathlib import Path
from dstui.scheduler.place import Place
from dstui.scheduler.queue import Queue
with Queue.open(Place(Path(sys.argv[1]))) as queue:
    sys.stdout.write(str(len(queue.open_jobs())))
"""


def jobs_seen_elsewhere(place: Place) -> int:
    """Jobs that another process sees, which then closes the queue."""
    done = subprocess.run(
        [sys.executable, "-c", LISTER, str(place.folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return int(done.stdout)


def test_two_connections_of_one_process_keep_each_other_s_locks(place: Place) -> None:
    with Queue.open(place) as first:
        Queue.open(place).close()
        # It closes the queue as if it were the last one, unless our locks say otherwise.
        assert jobs_seen_elsewhere(place) == 0
        first.submit(submission())
        assert jobs_seen_elsewhere(place) == 1


def test_a_link_in_place_of_the_database_is_refused(place: Place, tmp_path: Path) -> None:
    place.database.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="cannot be used"):
        Queue.open(place)
    assert not (tmp_path / "elsewhere").exists()


SUBMITTER = """
import sys
from pathlib import Path
from dstui.scheduler.place import Place
from dstui.scheduler.queue import Queue
from tests.unit.scheduler.making import new_job, submission
queue = Queue.open(Place(Path(sys.argv[1])))
while True:
    jobs = [new_job() for _ in range(5)]
    queue.submit(submission(*jobs))
    sys.stdout.write(" ".join(job.id for job in jobs) + "\\n")
    sys.stdout.flush()
"""


def submit_until_killed(place: Place, acknowledgements: int) -> list[str]:
    """Ids acknowledged by a process that is killed after so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, str(place.folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledgements)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    return [word for line in lines if line.endswith("\n") for word in line.split()]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.soak)])
def test_no_acknowledged_job_is_lost_when_its_submitter_is_killed(place: Place, kills: int) -> None:
    acknowledged = [word for kill in range(kills) for word in submit_until_killed(place, 1 + 3 * (kill % 7))]
    queue, _ = mended(place)
    assert len(acknowledged) >= 5 * kills
    assert set(acknowledged) <= {job.id for job in queue.open_jobs()}
    assert queue.unknown_submits() == []


def test_a_fence_of_a_writer_that_died_at_once_still_counts(place: Place) -> None:
    place.fence("aaaaabbbbbcccccd", 1).write_bytes(b"")
    place.fence("aaaaabbbbbcccccd", 2).write_bytes(b'{"run": "r"}')
    place.attempts.joinpath("nonsense").write_bytes(b"")
    fences = read_fences(place)
    assert list(fences) == ["aaaaabbbbbcccccd"]
    assert (fences["aaaaabbbbbcccccd"].number, fences["aaaaabbbbbcccccd"].run) == (2, "r")
