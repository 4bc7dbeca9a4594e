"""Commands of several processes: which runs they become, and that no point is lost or doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import DsCommand

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]

TRAIN = """
import argparse, random, sys
import dstui
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
options = parser.parse_args()
random.seed(int(options.lr * 10))
for step in range(4):
    dstui.log({"loss": options.lr * step}, step=step)
    print(f"step {step} acc={options.lr}")
if options.lr == 0.3:
    raise ValueError("too much")
"""


def runs(ds: DsCommand) -> list[dict[str, Any]]:
    """All runs, oldest first."""
    return sorted(json.loads(ds("ls", "--json").out), key=lambda run: run["number"])


def points(ds: DsCommand, run: str, key: str) -> list[float]:
    return list(json.loads(ds("metrics", run, "--json", "--key", key).out)[key]["value"])


def test_a_script_that_starts_three_trainings_becomes_three_runs_and_their_parent(ds: DsCommand, project: Path) -> None:
    (project / "one.py").write_text(TRAIN)
    (project / "prepare.py").write_text("print('ready')\n")
    (project / "all.sh").write_text(
        "python prepare.py\npython one.py --lr 0.1\npython one.py --lr 0.2 &\npython one.py --lr 0.3\nwait\n"
    )
    done = ds("run", "sh", "all.sh")
    assert done.code == 0
    parent, *children = runs(ds)
    assert (parent["name"], parent["summary"].get("loss"), parent["parent_run"]) == ("all", None, None)
    assert [child["parent_run"] for child in children] == [parent["id"]] * 3
    by_rate = {child["config"]["lr"]: child for child in children}
    assert {rate: child["summary"]["loss"]["count"] for rate, child in by_rate.items()} == {0.1: 4, 0.2: 4, 0.3: 4}
    assert [by_rate[rate]["state"] for rate in (0.1, 0.2, 0.3)] == ["finished", "finished", "failed"]
    assert {child["name"] for child in children} == {"one"}
    assert by_rate[0.2]["command"][-3:] == ["one.py", "--lr", "0.2"]
    assert all(child["duration_seconds"] < parent["duration_seconds"] for child in children)
    shown = json.loads(ds("show", by_rate[0.3]["id"], "--json").out)
    assert shown["seeds"] == {"random": 3}
    assert shown["code"]["tree"] == json.loads(ds("show", parent["id"], "--json").out)["code"]["tree"]
    assert ds("logs", parent["id"]).out.count("acc=") == done.out.count("acc=") == 12


def test_one_training_among_other_programs_is_the_run_itself(ds: DsCommand, project: Path) -> None:
    (project / "one.py").write_text(TRAIN)
    (project / "all.sh").write_text("python -c 'print(1)'\npython one.py --lr 0.2\npython -c 'print(2)'\n")
    ds("run", "sh", "all.sh")
    (run,) = runs(ds)
    assert (run["config"], run["summary"]["loss"]["count"], run["summary"]["acc"]["count"]) == ({"lr": 0.2}, 4, 4)


RANKS = """
import os, signal, sys
import torch, torch.distributed as dist
import dstui
dist.init_process_group("gloo")
rank = dist.get_rank()
for step in range(6):
    total = torch.ones(1)
    dist.all_reduce(total)
    dstui.log({"loss": 10.0 * rank + step}, step=step)
    print(f"step {step} acc={step}", flush=True)
    if rank == 1 and step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_torchrun_with_a_rank_that_is_killed_is_one_run_with_the_points_of_both(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(RANKS)
    launcher = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = ds("run", *launcher, "train.py", timeout_seconds=110)
    assert done.code == 1
    (run,) = runs(ds)
    assert run["state"] == "failed"
    # Rank 0 may have come a step further before it was ended.
    assert points(ds, "@", "loss")[:4] == [0.0, 1.0, 2.0, 3.0]


def test_sixteen_tasks_of_srun_are_one_run(ds: DsCommand, project: Path) -> None:
    """With what srun sets for each of its tasks; the tasks are no children of a Python."""
    (project / "one.py").write_text(TRAIN)
    (project / "srun.sh").write_text(
        "for task in $(seq 0 15); do\n"
        "  SLURM_PROCID=$task SLURM_NTASKS=16 python one.py --lr 0.$((task + 1)) &\n"
        "done\nwait\n"
    )
    assert ds("run", "sh", "srun.sh", timeout_seconds=110).code == 0
    (run,) = runs(ds)
    assert run["config"] == {"lr": 0.1}
    assert run["summary"]["loss"]["count"] == 4


LEAVING = """
import os, threading
import dstui
dstui.log({"main": 0.0})
def work(n):
    dstui.log({f"worker{n}": float(n)})
    os._exit(0)
for n in range(3):
    if os.fork() == 0:
        work(n)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        # A daemon: nothing is left of what it inherited.
        os.closerange(0, 1024)
        files = [os.open("daemon.txt", os.O_RDWR | os.O_CREAT) for _ in range(8)]
        dstui.log({"daemon": 1.0})
        os.write(files[0], b"mine")
        os._exit(0)
    os._exit(0)
def logs(n):
    for i in range(500):
        dstui.log({f"thread{n}": float(i)})
threads = [threading.Thread(target=logs, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
dstui.log({"main": 1.0})
os._exit(0)
"""


def test_forks_threads_a_daemon_and_os_exit_lose_nothing(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(LEAVING)
    done = ds("run", "train.py")
    assert done.code == 0, done.err
    (run,) = runs(ds)
    counts = {name: summary["count"] for name, summary in run["summary"].items()}
    assert counts == {
        "main": 2,
        "daemon": 1,
        **{f"worker{n}": 1 for n in range(3)},
        **{f"thread{n}": 500 for n in range(4)},
    }
    assert run["state"] == "finished"
    assert (project / "daemon.txt").read_bytes() == b"mine"


def test_a_process_that_replaces_itself_goes_on_in_the_run(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(
        "import os, sys, dstui\n"
        "n = int(os.environ.get('N', '0'))\n"
        "dstui.log({'round': float(n)}, step=n)\n"
        "if n < 3:\n"
        "    os.environ['N'] = str(n + 1)\n"
        "    os.execv(sys.executable, [sys.executable, 'train.py'])\n"
    )
    assert ds("run", "train.py").code == 0
    assert points(ds, "@", "round") == [0.0, 1.0, 2.0, 3.0]
    assert len(runs(ds)) == 1


def test_python_m_dstui_under_another_python_records_the_inner_command(ds: DsCommand, project: Path) -> None:
    """As a debugger starts it: `python -m debugpy -m dstui run train.py`."""
    (project / "one.py").write_text(TRAIN)
    (project / "starter.py").write_text(
        "import runpy, sys\n"
        "sys.argv = ['dstui', 'run', 'one.py', '--lr', '0.4']\n"
        "runpy.run_module('dstui', run_name='__main__')\n"
    )
    assert ds("run", sys.executable, "starter.py").code == 0
    outer, inner = runs(ds)
    assert inner["config"] == {"lr": 0.4}
    assert inner["parent_run"] == outer["id"]
    assert inner["summary"]["loss"]["count"] == 4
    assert "loss" not in outer["summary"]


NOTEBOOK = """
import argparse, random, runpy, sys
import dstui
first = dstui.init(name="first")
random.seed(4)
sys.argv = ["one.py", "--lr", "0.5"]
runpy.run_path("one.py", run_name="__main__")
second = dstui.init(name="second")
assert second.id != first.id
sys.argv = ["one.py", "--lr", "0.7"]
runpy.run_path("one.py", run_name="__main__")
second.finish()
"""


def test_a_session_that_begins_runs_itself_is_seen_from_there_on(
    ds: DsCommand, project: Path, wait_until: Callable[..., None]
) -> None:
    """As a notebook does: `init` in a cell, then `%run one.py`, and `init` again."""
    (project / "one.py").write_text(TRAIN)
    (project / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run([sys.executable, "notebook.py"], cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: [run["state"] for run in runs(ds)] == ["finished", "finished"], deadline=30)
    first, second = runs(ds)
    assert (first["name"], first["config"], first["summary"]["loss"]["count"]) == ("first", {"lr": 0.5}, 4)
    assert (second["name"], second["config"], second["summary"]["loss"]["count"]) == ("second", {"lr": 0.7}, 4)
    assert json.loads(ds("show", first["id"], "--json").out)["seeds"]["random"] == 4
