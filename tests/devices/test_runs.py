"""`ds run` with the sampler: what a run keeps of its load, and that nothing about it stands in the way of a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui_store import Store
from dstui_store.system import read_live
from tests.devices.conftest import sampler_pids

if TYPE_CHECKING:
    from dstui.devices.interest import Meeting
    from tests.conftest import DsCommand
    from tests.fake_nvml.stand_in import Cards

pytestmark = pytest.mark.slow

UNTIL = """
import os, sys, time
room = bytearray(64 << 20)
while not os.path.exists(sys.argv[1]):
    sum(range(10000))
    time.sleep(0.01)
print("step 1 loss=0.5")
"""
"""A script that works until a file is there."""


@pytest.fixture(autouse=True)
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is on, as for people."""
    monkeypatch.delenv("DSTUI_CAPTURE_SYSTEM")


@pytest.fixture
def until(project: Path) -> Path:
    (project / "until.py").write_text(UNTIL)
    return project / "until.py"


class Background:
    """A `ds run` that goes on until `end` is called."""

    def __init__(self, project: Path, until: Path, **variables: str) -> None:
        self._flag = project.parent / "end"
        self._project = project
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dstui", "run", until.name, str(self._flag)],
            cwd=project,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def series(self) -> dict[str, list[float]]:
        """The samples of the only run so far."""
        for live in self._project.glob(".git/ds/*/live/*/system"):
            return {name: series.value.tolist() for name, series in read_live(live.parent).items()}
        with Store.open(self._project) as store:
            return {
                name: series.value.tolist()
                for record in store.records()
                for name, series in store.system(record.id).items()
            }

    def end(self) -> tuple[int, str]:
        """Let the command end; exit code and stderr of `ds run`."""
        self._flag.touch()
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode()


@pytest.fixture
def begin(project: Path, until: Path, meeting: Meeting) -> Iterator[Callable[..., Background]]:
    """`begin(NAME=VALUE)`: start such a run; at the end of the test its command has ended."""
    begun: list[Background] = []

    def start(**variables: str) -> Background:
        begun.append(Background(project, until, **variables))
        return begun[-1]

    yield start
    for run in begun:
        if run.process.poll() is None:
            run.end()


def test_a_run_keeps_its_load_and_that_of_its_gpus(
    project: Path,
    begin: Callable[..., Background],
    ds: DsCommand,
    meeting: Meeting,
    cards: Cards,
    wait_until: Callable[..., None],
) -> None:
    cards.have_idle(3)
    run = begin(CUDA_VISIBLE_DEVICES="2")
    wait_until(lambda: len(run.series().get("cpu", ())) >= 2, deadline=30)
    series = run.series()
    assert set(series) >= {"cpu", "rss_bytes", "host.memory_bytes", "gpu2.utilization", "gpu2.memory_bytes"}
    assert not any(name.startswith(("gpu0.", "gpu1.")) for name in series)
    (state,) = project.glob(".git/ds/*/live/*/state.json")
    pid = json.loads(state.read_text())["pid"]
    cards.have_idle(3, f"proc 1 {pid} 4000", "proc 0 1 5000")
    wait_until(lambda: run.series().get("gpu1.own_memory_bytes"), deadline=15)
    assert not any(name.startswith("gpu0.") for name in run.series())
    assert run.series()["gpu1.own_memory_bytes"][0] == 4000 << 20
    # While it runs, the run shows the same.
    assert "gpu2" in ds("show", "@").out
    code, err = run.end()
    assert code == 0, err
    assert max(run.series()["rss_bytes"]) > 64 << 20
    assert run.series()["cpu"][:2] == series["cpu"][:2]
    assert run.series()["gpu2.utilization"][0] == 2

    shown = ds("show", "@").out
    assert "MiB peak" in shown
    assert "Card-80GB; 2 % mean, 2 % peak" in shown
    detail = json.loads(ds("show", "@", "--json").out)
    assert detail["devices"] == ["gpu1 Card-80GB", "gpu2 Card-80GB"]
    assert [item["index"] for item in detail["system"]["devices"]] == [1, 2]
    assert detail["system"]["summary"]["gpu2.utilization"]["max"] == 2
    points = json.loads(ds("metrics", "@", "--system", "--key", "cpu", "--json").out)
    assert points["cpu"]["value"] == run.series()["cpu"]
    assert points["cpu"]["step"] == sorted(points["cpu"]["step"])
    assert "rss_bytes" in ds("metrics", "@", "--system").out
    assert list(json.loads(ds("metrics", "@", "--json").out)) == ["loss"]
    missing = ds("metrics", "@", "--system", "--key", "nothing")
    assert missing.code == 2
    assert "gpu2.utilization" in missing.err


def test_a_front_that_is_killed_leaves_the_run_sampled_and_committed(
    project: Path, begin: Callable[..., Background], ds: DsCommand, meeting: Meeting, wait_until: Callable[..., None]
) -> None:
    run = begin()
    wait_until(lambda: "rss_bytes" in run.series(), deadline=30)
    run.process.send_signal(signal.SIGKILL)
    run.process.communicate()
    seen = len(run.series()["rss_bytes"])
    wait_until(lambda: len(run.series()["rss_bytes"]) > seen + 1, deadline=15)
    (project.parent / "end").touch()
    wait_until(lambda: json.loads(ds("ls", "--json").out)[0]["state"] == "finished", deadline=30)
    assert len(run.series()["rss_bytes"]) > seen + 1


def test_a_terminal_that_is_lost_in_the_first_second_leaves_the_run_sampled(
    project: Path, begin: Callable[..., Background], meeting: Meeting, wait_until: Callable[..., None]
) -> None:
    run = begin()
    wait_until(lambda: list(project.glob(".git/ds/*/live/*/state.json")), deadline=30)
    run.process.send_signal(signal.SIGHUP)
    assert run.process.wait(30) == 0
    run.process.communicate()
    wait_until(lambda: "rss_bytes" in run.series(), deadline=30)
    (project.parent / "end").touch()
    wait_until(lambda: not list(project.glob(".git/ds/*/live/*/state.json")), deadline=30)


def test_a_short_run_starts_no_sampler(project: Path, ds: DsCommand, meeting: Meeting) -> None:
    assert ds("run", "true").code == 0
    assert sampler_pids(meeting) == []
    assert meeting.wanted_runs() == {}
    with Store.open(project) as store:
        (record,) = store.records()
        assert "system.parquet" not in store.entries(record.id)
        assert store.system(record.id) == {}
    assert json.loads(ds("show", "@", "--json").out)["system"] is None


@pytest.mark.parametrize("how", ["setting", pytest.param("option", marks=pytest.mark.soak)])
def test_it_can_be_switched_off(
    how: str, project: Path, ds: DsCommand, meeting: Meeting, wait_until: Callable[..., None]
) -> None:
    if how == "setting":
        (project / "dstui.toml").write_text('[capture]\nsystem = "off"\n')
    options = ["--no-capture"] if how == "option" else []
    assert ds("run", *options, "sh", "-c", "sleep 2").code == 0
    assert sampler_pids(meeting) == []
    assert meeting.wanted_runs() == {}


def test_a_driver_that_hangs_delays_no_run(
    project: Path,
    begin: Callable[..., Background],
    ds: DsCommand,
    meeting: Meeting,
    cards: Cards,
    wait_until: Callable[..., None],
) -> None:
    cards.have_idle(1, "stall nvmlInit")
    run = begin()
    wait_until(lambda: len(run.series().get("cpu", ())) >= 2, deadline=30)
    began = time.monotonic()
    code, err = run.end()
    hanging = time.monotonic() - began
    assert code == 0, err
    assert run.series()["cpu"]
    # The same without a sampler: the end of a run waits for none.
    cards.have_idle(1)
    began = time.monotonic()
    assert ds("run", "true").code == 0
    assert hanging < time.monotonic() - began + 3
    wait_until(lambda: not meeting.is_sampled(), deadline=20)


@pytest.mark.soak
def test_a_run_in_a_run_leaves_no_process_behind(
    project: Path, ds: DsCommand, meeting: Meeting, wait_until: Callable[..., None]
) -> None:
    inner = f"{sys.executable} -m dstui run sh -c 'sleep 1.5'"
    assert ds("run", "sh", "-c", inner).code == 0
    with Store.open(project) as store:
        for record in store.records():
            assert store.meta(record.id)["usage"]["strays"] == 0


def test_monitor_prints_a_line_a_second(ds: DsCommand, meeting: Meeting, cards: Cards, tmp_path: Path) -> None:
    cards.have_idle(2, f"proc 1 {os.getpid()} 10")
    done = ds("monitor", "--json", "-n", "2", cwd=tmp_path)
    first, second = map(json.loads, done.out.splitlines())
    assert first.keys() >= {"time", "devices", "host"}
    assert first["time"] < second["time"]
    assert [item["index"] for item in second["devices"]] == [0, 1]
    assert second["devices"][1]["processes"][0]["memory_bytes"] == 10 << 20
    assert second["host"]["memory_bytes"] > 0
    table = ds("monitor", cwd=tmp_path).out
    assert "Card-80GB" in table
    assert "machine  CPU" in table
    cards.have("driver 570.0")
    for pid in sampler_pids(meeting):
        os.kill(pid, signal.SIGKILL)
    without = ds("monitor", "-n", "3", cwd=tmp_path)
    assert without.code == 0
    assert "sees no GPU" in without.out
