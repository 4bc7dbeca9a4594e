"""Files that an unchanged script writes become curves of its run, whatever happens to script, file or disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dstui_store import journal
from tests.unit.inside.event_files import scalar, version

if TYPE_CHECKING:
    from tests.conftest import DsCommand

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]

WaitUntil = Callable[..., None]
Curves = dict[str, list[tuple[int, float]]]

HOSTILE = "a\nb\x1b[31mred\x07"

WRITES = f"""\
import os
os.makedirs("runs/a")
events = open("runs/a/events.out.tfevents.1", "wb", buffering=0)
events.write({version(2e9)!r})
for record in {[scalar("loss", 0.5**step, step, 2e9 + step) for step in range(3)]!r}:
    events.write(record)
events.write({scalar(HOSTILE, 1.0, 1, 2e9)!r}[:-3])
open("metrics.csv", "w").write("epoch,accuracy\\n0,0.5\\n1,0.75\\n2,0.8")
open("log.jsonl", "w").write('{{"step": 1, "lr": 0.1}}\\n{{"step": 2, "lr": 0.01}}')
open("hparams.yaml", "w").write("width: 4\\n")
"""
"""The last record, the last row and the last object are torn, but the object is whole."""

EXPECTED: Curves = {
    "loss": [(0, 1.0), (1, 0.5), (2, 0.25)],
    "accuracy": [(0, 0.5), (1, 0.75)],
    "lr": [(1, 0.1), (2, 0.01)],
}


def start(project: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`ds run` in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "dstui", "run", *words],
        cwd=project,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def curves_of(ds: DsCommand, run: str = "@") -> Curves:
    points = json.loads(ds("metrics", run, "--json").out)
    return {name: list(zip(one["step"], one["value"], strict=True)) for name, one in points.items()}


def live_curves(project: Path) -> set[str]:
    """Names of the metrics of the run that goes on."""
    return {name for folder in project.glob(".git/ds/*/live/*/journal") for name in journal.read(folder).series()}


def shown(ds: DsCommand, run: str = "@") -> dict[str, Any]:
    return dict(json.loads(ds("show", run, "--json").out))


def test_events_csv_json_lines_and_settings_are_recorded(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(WRITES)
    assert ds("run", "train.py").code == 0
    assert curves_of(ds) == EXPECTED
    run = shown(ds)
    assert run["sources"] == {
        "loss": "file:runs/a/events.out.tfevents.1",
        "accuracy": "file:metrics.csv",
        "lr": "file:log.jsonl",
    }
    assert run["config"]["width"] == 4
    assert "errors" not in run


def test_a_script_killed_in_the_middle_keeps_what_it_wrote(ds: DsCommand, project: Path, wait_until: WaitUntil) -> None:
    os.mkfifo(project / "never")
    (project / "train.py").write_text(WRITES + "open('pid', 'w').write(str(os.getpid()))\nopen('never').read()\n")
    running = start(project, "train.py")
    wait_until(lambda: live_curves(project) == {"loss", "accuracy", "lr"}, deadline=30)
    os.kill(int((project / "pid").read_text()), signal.SIGKILL)
    running.communicate(timeout=30)
    assert shown(ds)["state"] == "killed"
    # The last object has no newline: only the end tells that it was whole.
    assert {name: len(points) for name, points in curves_of(ds).items()} == {"loss": 3, "accuracy": 2, "lr": 2}


def test_hostile_names_reach_the_screen_cleaned(ds: DsCommand, project: Path) -> None:
    data = version(2e9) + scalar(HOSTILE, 1.0, 1, 2e9)
    (project / "train.py").write_text(f"open('events.out.tfevents.\\n\\x1b[2J', 'wb').write({data!r})\n")
    assert ds("run", "train.py").code == 0
    for words in (("show", "@"), ("ls",), ("metrics", "@")):
        out = ds(*words).out
        assert not set(out) & {chr(code) for code in range(32) if code != 10}, words


def test_files_can_be_left_alone(ds: DsCommand, project: Path) -> None:
    (project / "dstui.toml").write_text('[capture]\nfiles = "off"\n')
    (project / "train.py").write_text(WRITES)
    assert ds("run", "train.py").code == 0
    assert curves_of(ds) == {}


def test_files_of_a_script_that_calls_init_are_recorded_too(
    ds: DsCommand, project: Path, wait_until: WaitUntil
) -> None:
    (project / "train.py").write_text("import dstui\ndstui.init()\n" + WRITES)
    subprocess.run([sys.executable, "train.py"], cwd=project, check=True, timeout=60, stdin=subprocess.DEVNULL)
    wait_until(lambda: json.loads(ds("ls", "--json").out)[0]["state"] == "finished", deadline=30)
    assert {name: len(points) for name, points in curves_of(ds).items()} == {"loss": 3, "accuracy": 2, "lr": 2}


def test_two_runs_at_once_take_their_own_files(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(
        "import os, sys\n"
        "mine = sys.argv[1]\n"
        "other = {'one': 'two', 'two': 'one'}[mine]\n"
        "open(f'{mine}.here', 'w')\n"
        "while not os.path.exists(f'{other}.here'): pass\n"
        "os.mkdir(mine)\n"
        "open(f'{mine}/metrics.csv', 'w').write(f'step,{mine}\\n1,2\\n')\n"
        # One that is open, and named by nobody.
        "held = open(f'{mine}-log.csv', 'w')\n"
        "held.write(f'step,open_{mine}\\n1,2\\n')\n"
        "held.flush()\n"
        "sys.stdin.close()\n"
        "import glob, time\n"
        "end = time.monotonic() + 20\n"
        "while time.monotonic() < end:\n"
        "    time.sleep(0.1)\n"
        "    names = [n for n in glob.glob(os.environ['DSTUI_RUN_DIR'] + '/journal/*.keys')]\n"
        "    if sum('open_' in open(n).read() for n in names): break\n"
    )
    runs = [start(project, "-n", mine, "train.py", mine) for mine in ("one", "two")]
    for run in runs:
        _, error = run.communicate(timeout=60)
        assert run.returncode == 0, error
    for name in ("one", "two"):
        assert curves_of(ds, name) == {name: [(1, 2.0)], f"open_{name}": [(1, 2.0)]}
