"""What a run's own samples hold: names, its GPUs, and how often they are written."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstui.devices.backend import Device, Instance, Process, Reading, Sample
from dstui.devices.machine import Host, HostSample, Tree, disk_free_bytes
from dstui.devices.tracked import (
    DENSE_SECONDS,
    STARTING_SECONDS,
    TrackedRun,
    combined,
    period_seconds,
    visible_devices,
)
from dstui_store import clean, start_ticks
from dstui_store.system import read_live

NOW = 1_790_000_000.0

CARDS = [
    Device(0, "GPU-0aaa", clean("Card")),
    Device(1, "GPU-0bbb", clean("Card")),
    Device(2, "GPU-0bcc", clean("Card"), mig=True, instances=(Instance("MIG-77aa", clean("part"), 1),)),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, set()),
        ("", set()),
        ("-1", set()),
        ("0", {0}),
        ("1,0", {0, 1}),
        (" 0 , 2", {0, 2}),
        ("0,-1,1", {0}),
        ("0,9,1", {0}),
        ("GPU-0aaa", {0}),
        ("GPU-0bc", {2}),
        ("GPU-0b", set()),
        ("MIG-77aa", {2}),
        ("all", {0, 1, 2}),
        ("none", set()),
        ("9" * 400, set()),
        ("²", set()),
    ],
)
def test_the_devices_a_run_may_see(text: str | None, expected: set[int]) -> None:
    assert visible_devices(text, CARDS) == expected


@given(st.floats(0, 400 * 86400))
def test_a_run_is_sampled_each_second_for_an_hour_then_less_often(elapsed: float) -> None:
    period = period_seconds(elapsed)
    assert period == 1 if elapsed < DENSE_SECONDS else period >= 10
    assert period_seconds(elapsed + 1) >= period


def test_a_run_of_a_year_has_some_ten_thousand_rows() -> None:
    elapsed, rows = 0.0, 0
    while elapsed < 365 * 86400:
        elapsed += period_seconds(elapsed)
        rows += 1
    assert 3600 < rows < 70_000


def test_several_samples_become_one() -> None:
    samples = [
        {"cpu": 10.0, "rss_bytes": 5.0, "read_bytes": 1.0, "disk_free_bytes": 9.0, "gpu0.energy_joules": 1.0},
        {"cpu": 30.0, "rss_bytes": 3.0, "read_bytes": 4.0, "disk_free_bytes": 7.0, "gpu0.energy_joules": 8.0},
        {"cpu": 20.0, "gpu1.memory_bytes": 2.0},
    ]
    assert combined(samples) == {
        "cpu": 20.0,
        "rss_bytes": 5.0,
        "read_bytes": 4.0,
        "disk_free_bytes": 7.0,
        "gpu0.energy_joules": 8.0,
        "gpu1.memory_bytes": 2.0,
    }


class Live:
    """A live folder whose command is a real process."""

    def __init__(self, folder: Path, pid: int, **variables: str) -> None:
        self.folder = folder
        folder.mkdir()
        launch = {"cwd": str(folder), "environment": {"variables": variables}}
        (folder / "launch.json").write_text(json.dumps(launch))
        self.state = {
            "pid": pid,
            "start_ticks": start_ticks(pid),
            "keeper_pid": os.getpid(),
            "keeper_start_ticks": start_ticks(os.getpid()),
            "started_at": NOW,
        }

    def begin(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(self.state))


@pytest.fixture
def command() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def reading(device: Device, *pids: int, memory: int | None = 7) -> Reading:
    processes = tuple(Process(pid, None, None, memory) for pid in pids)
    return Reading(device, Sample(utilization_percent=50.0, memory_bytes=100), processes)


def test_a_run_has_the_gpus_it_names_and_those_it_is_seen_on(tmp_path: Path, command: subprocess.Popen[bytes]) -> None:
    live = Live(tmp_path / "run", command.pid, CUDA_VISIBLE_DEVICES="1")
    live.begin()
    run = TrackedRun("r", live.folder, NOW)
    assert not run.is_over(NOW)
    readings = [reading(CARDS[0], 1), reading(CARDS[1], 1), reading(CARDS[2], command.pid, 1)]
    run.add(NOW + 5, HostSample(cpu_percent=3.0), readings, 1000)
    run.add(NOW + 6, HostSample(cpu_percent=4.0), readings, 1000)
    assert not (live.folder / "system").exists()
    run.add(NOW + 7, HostSample(cpu_percent=5.0), readings, 1000)
    run.close()
    found = read_live(live.folder)
    assert {name.partition(".")[0] for name in found if name.startswith("gpu")} == {"gpu1", "gpu2"}
    assert found["gpu2.own_memory_bytes"].value.tolist() == [7, 7, 7]
    assert "gpu1.own_memory_bytes" not in found
    assert found["host.cpu"].value.tolist() == [3, 4, 5]
    assert found["disk_free_bytes"].step.tolist() == [5, 6, 7]
    assert found["rss_bytes"].value.min() > 1 << 20
    assert found["processes"].value.tolist() == [1, 1, 1]
    devices = json.loads((live.folder / "system" / "devices.json").read_text())
    assert [item["index"] for item in devices] == [1, 2]
    assert "GPU-" not in json.dumps(devices)


def test_after_an_hour_ten_seconds_become_one_line(tmp_path: Path, command: subprocess.Popen[bytes]) -> None:
    live = Live(tmp_path / "run", command.pid)
    live.begin()
    run = TrackedRun("r", live.folder, NOW)
    assert not run.is_over(NOW)
    for second in range(3600, 3632):
        run.add(NOW + second, HostSample(cpu_percent=float(second - 3600)), [], None)
    run.close()
    cpu = read_live(live.folder)["host.cpu"]
    assert cpu.step.tolist() == [3600, 3610, 3620, 3630]
    assert cpu.value.tolist() == [0, 5.5, 15.5, 25.5]


def test_a_run_is_over_when_its_record_is_there_or_its_processes_are_gone(
    tmp_path: Path, command: subprocess.Popen[bytes], wait_until: Callable[..., None]
) -> None:
    live = Live(tmp_path / "run", command.pid)
    run = TrackedRun("r", live.folder, NOW)
    assert not run.is_over(NOW + STARTING_SECONDS / 2)
    assert run.is_over(NOW + STARTING_SECONDS * 2)
    live.state["keeper_start_ticks"] = 1
    live.begin()
    assert not run.is_over(NOW + STARTING_SECONDS * 2)
    command.kill()
    wait_until(lambda: run.is_over(NOW))

    ended = Live(tmp_path / "ended", os.getpid())
    ended.begin()
    run = TrackedRun("e", ended.folder, NOW)
    assert not run.is_over(NOW)
    (ended.folder / "exit.json").write_text("{}")
    assert run.is_over(NOW)
    assert TrackedRun("gone", tmp_path / "gone", NOW).is_over(NOW)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x"}', '{"pid": -1, "keeper_pid": 3, "started_at": "y"}'])
def test_a_run_with_a_broken_record_harms_nobody(tmp_path: Path, text: str) -> None:
    live = Live(tmp_path / "run", os.getpid())
    (live.folder / "state.json").write_text(text)
    run = TrackedRun("r", live.folder, NOW)
    assert not run.is_over(NOW)
    run.add(NOW, HostSample(), [], None)
    assert not (live.folder / "system").exists()


def test_the_tree_counts_what_its_processes_do(wait_until: Callable[..., None], tmp_path: Path) -> None:
    # A child that computes and writes, below a shell that waits.
    target = tmp_path / "written"
    body = f"open({str(target)!r}, 'wb').write(bytes(1 << 20))\nwhile True: sum(range(1000))"
    with subprocess.Popen(["bash", "-c", f'{sys.executable} -c "{body}"; true']) as shell:
        try:
            tree = Tree(frozenset({shell.pid}))
            assert tree.sample().cpu_percent is None
            wait_until(lambda: len(tree.sample().pids) == 2)
            wait_until(target.exists)
            seen = iter(lambda: tree.sample().cpu_percent or 0.0, None)
            wait_until(lambda: next(seen) > 1)
            sample = tree.sample()
            assert shell.pid in sample.pids
            assert sample.rss_bytes > 1 << 20
            # A tree of which the shell is only the root.
            inner = Tree(frozenset({shell.pid}), outside=frozenset({shell.pid}))
            assert inner.sample().pids == sample.pids - {shell.pid}
            for pid in sample.pids:
                os.kill(pid, 9)
        finally:
            shell.kill()
    wait_until(lambda: not tree.sample().pids)


def test_the_machine_says_what_it_does() -> None:
    host = Host()
    sample = host.sample()
    assert sample.memory_bytes is not None
    assert sample.memory_total_bytes is not None
    assert 0 < sample.memory_bytes < sample.memory_total_bytes
    assert sample.load is not None
    assert math.isfinite(sample.load)
    assert all(0 <= (host.sample().cpu_percent or 0) <= 100 for _ in itertools.repeat(None, 3))


def test_free_space_of_a_folder_that_is_gone_is_unknown(tmp_path: Path) -> None:
    assert (disk_free_bytes(str(tmp_path)) or 0) > 0
    assert disk_free_bytes(str(tmp_path / "gone")) is None
