"""The sampler as a process: who starts it, who keeps it, when it leaves, and what a driver that hangs does to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.devices import interest, samples
from dstui.devices.backend import State
from dstui.devices.interest import Meeting, sampler_folder
from dstui.devices.sampler import Background
from dstui.errors import DeviceError
from tests.devices.conftest import sampler_pids

if TYPE_CHECKING:
    from tests.fake_nvml.stand_in import Cards

STARTER = """
import os, sys
from dstui.devices.interest import Meeting
with Meeting().watching():
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def problem_state(meeting: Meeting, index: int) -> State | None:
    problem = samples.latest(meeting).devices[index].problem
    return None if problem is None else problem.state


def test_somebody_interested_gets_a_sampler_which_leaves_after_him(
    meeting: Meeting, cards: Cards, wait_until: Callable[..., None]
) -> None:
    cards.have_idle(4, f"proc 2 {os.getpid()} 300")
    assert samples.latest(meeting).problem is samples.NOT_SAMPLED
    with meeting.watching():
        assert meeting.is_sampled()
        assert len(sampler_pids(meeting)) == 1
        wait_until(lambda: len(samples.latest(meeting).devices) == 4)
        wait_until(lambda: samples.latest(meeting).devices[3].sample.utilization_percent == 3)
        now = samples.latest(meeting)
        assert now.problem is None
        assert now.time is not None
        assert abs(now.time - time.time()) < samples.STALLED_SECONDS
        assert now.host["memory_bytes"] > 0
        assert now.memory_total_bytes
        processes = now.devices[2].processes
        assert processes is not None
        assert [(item.pid, item.memory_bytes) for item in processes] == [(os.getpid(), 300 << 20)]
        cards.have_idle(4, "err nvmlDeviceGetTemperature@1 15")
        wait_until(lambda: problem_state(meeting, 1) is State.LOST)
        wait_until(lambda: samples.latest(meeting).devices[1].sample.utilization_percent is None)
        lost = samples.latest(meeting)
        assert lost.devices[0].problem is None
    wait_until(lambda: not sampler_pids(meeting), deadline=15)


@pytest.mark.slow
def test_no_gpu_is_normal(meeting: Meeting, wait_until: Callable[..., None]) -> None:
    with meeting.watching():
        wait_until(lambda: samples.latest(meeting).problem)
        now = samples.latest(meeting)
        assert now.devices == ()
        assert now.host["memory_bytes"] > 0
        assert now.problem is not None
        assert now.problem.state in {State.NO_DRIVER, State.NOT_LOADED, State.NO_DEVICE}


def test_of_many_starters_at_once_one_sampler_comes(meeting: Meeting) -> None:
    gate = threading.Barrier(6)

    def start(_: int) -> int:
        with meeting.watching():
            gate.wait(60)
            found = len(sampler_pids(meeting))
            gate.wait(60)
        return found

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(start, range(6))) == [1] * 6


def test_it_survives_who_started_it_and_serves_the_next(meeting: Meeting, wait_until: Callable[..., None]) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline()
        (sampler,) = sampler_pids(meeting)
        with meeting.watching():
            os.kill(starter.pid, signal.SIGKILL)
            starter.wait()
            wait_until(lambda: samples.latest(meeting).time)
            assert sampler_pids(meeting) == [sampler]
            assert not {os.readlink(f"/proc/{sampler}/fd/{number}") for number in (0, 1, 2)} - {"/dev/null"}
            assert os.readlink(f"/proc/{sampler}/cwd") == "/"


def test_one_that_was_killed_is_replaced(meeting: Meeting, wait_until: Callable[..., None]) -> None:
    with meeting.watching():
        (first,) = sampler_pids(meeting)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not meeting.is_sampled())
        with meeting.watching():
            (second,) = sampler_pids(meeting)
            assert second != first


@pytest.mark.slow
def test_a_driver_that_hangs_leaves_the_rest_going(
    meeting: Meeting, cards: Cards, wait_until: Callable[..., None]
) -> None:
    with meeting.watching():
        wait_until(lambda: samples.latest(meeting).devices)
        cards.have_idle(1, "stall nvmlDeviceGetPowerUsage")
        wait_until(lambda: samples.latest(meeting).devices[0].sample.power_watts is None, deadline=10)
        wait_until(lambda: samples.latest(meeting).problem, deadline=15)
        now = samples.latest(meeting)
        assert now.problem is not None
        assert now.problem.state is State.STALLED
        assert now.time is not None
        assert time.time() - now.time < samples.STALLED_SECONDS
        assert now.host["memory_bytes"] > 0
        cards.have_idle(1)
        wait_until(lambda: samples.latest(meeting).devices[0].sample.power_watts, deadline=10)
        assert samples.latest(meeting).problem is None
        # It must be able to leave while a call does not return.
        cards.have_idle(1, "stall nvml")
        wait_until(lambda: samples.latest(meeting).devices[0].sample.power_watts is None, deadline=10)


def test_a_folder_that_others_could_change_is_refused(meeting: Meeting) -> None:
    meeting.folder.parent.chmod(0o777)
    with pytest.raises(DeviceError, match="can be changed by others"):
        Meeting()
    meeting.folder.parent.chmod(0o700)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "dstui").mkdir()
    (tmp_path / "dstui" / "machine").symlink_to(tmp_path / "real")
    with pytest.raises(DeviceError, match="is a link"):
        Meeting(tmp_path / "dstui" / "machine" / "sampler")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "dstui" / "machine"
    folder.mkdir(parents=True)
    os.chown(folder, 4321, 4321)
    with pytest.raises(DeviceError, match="belongs to uid 4321"):
        Meeting(folder / "sampler")


def test_its_files_are_for_this_user_only(meeting: Meeting, wait_until: Callable[..., None]) -> None:
    with meeting.watching():
        wait_until(lambda: samples.latest(meeting).time)
    for path in (meeting.folder, *meeting.folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_on_a_network_disk_the_folder_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "file_system_type", lambda _: "nfs4")
    assert str(sampler_folder()).startswith(f"/var/tmp/dstui-{os.getuid()}/")


def test_a_wanted_run_that_is_gone_keeps_no_sampler(
    meeting: Meeting, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    meeting.add_run("0123456789abcdef", tmp_path / "gone")
    assert meeting.is_sampled()
    wait_until(lambda: not meeting.wanted_runs())
    wait_until(lambda: not meeting.is_sampled(), deadline=15)


def test_an_answer_that_came_late_is_given_once() -> None:
    gate, answers = threading.Semaphore(0), iter(range(10))

    def call() -> int:
        gate.acquire()
        return next(answers)

    background = Background(call)
    assert background.ask() is None
    assert background.ask(0.01) is None
    gate.release()
    assert background.ask(10) == 0
    assert background.ask() is None
    gate.release()
    assert background.ask(10) == 1
    background.close()
    gate.release()


def test_the_newest_moment_is_found_behind_damage_and_in_the_newest_file(meeting: Meeting) -> None:
    from dstui.inside.journal import JournalWriter

    now = time.time()
    for hour, value in ((9, 1.0), (10, 2.0)):
        writer = JournalWriter(str(meeting.journal), 0, f"20260101T{hour:02}")
        for second in range(3):
            writer.log({"host.cpu": value, "gpu0.utilization": value}, None, now - 3 + second)
        writer.close()
    newest = meeting.journal / "0-20260101T10.dsj"
    newest.write_bytes(newest.read_bytes() + b"\xff" * 32 + b"torn")
    found = samples.latest(meeting)
    assert found.host == {"cpu": 2.0}
    series = samples.history(meeting, "gpu0", now - 2.5)
    assert series["utilization"].value.tolist() == [1, 2, 1, 2]
    assert samples.history(meeting, "gpu0", now - 2.5, now - 1.5)["utilization"].value.tolist() == [1, 2]


def test_a_follower_goes_on_when_old_files_go(meeting: Meeting) -> None:
    from dstui.inside.journal import JournalWriter

    old = JournalWriter(str(meeting.journal), 0, "20260101T09")
    old.log({"host.cpu": 1.0}, None, 1.0)
    follower = samples.Follower(meeting)
    assert follower.poll()["host.cpu"].value.tolist() == [1]
    assert follower.poll() == {}
    new = JournalWriter(str(meeting.journal), 0, "20260101T10")
    new.log({"host.cpu": 2.0}, None, 2.0)
    assert follower.poll()["host.cpu"].value.tolist() == [2]
    for path in meeting.journal.glob("0-20260101T09.*"):
        path.unlink()
    assert follower.poll()["host.cpu"].value.tolist() == [2]
    assert follower.restarted
    new.log({"host.cpu": 3.0}, None, 3.0)
    assert follower.poll()["host.cpu"].value.tolist() == [3]


@pytest.mark.parametrize(
    "status",
    [
        "",
        "[]",
        '{"v": 2}',
        '{"v": 1, "devices": 3, "problem": 7}',
        '{"v": 1, "devices": [1, {"index": "x", "mig": 3}]}',
    ],
)
def test_a_status_that_makes_no_sense_is_passed_over(meeting: Meeting, status: str) -> None:
    meeting.status.write_text(status)
    found = samples.latest(meeting)
    json.dumps(samples.to_json(found))
    assert len(found.devices) <= 1
