"""Kills a training, its process group, or its keeper at a random moment, and counts points that were promised and lost.

The script acknowledges a point, in a file outside the store, only after `dstui.log()` has returned. After the kill a
fresh `ds` must find the run ended, with every acknowledged point.

    python -m tests.crash.training_kills -n 300
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TARGETS = ("process", "group", "keeper")

SCRIPT = """\
import os, sys, dstui
acknowledged = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for step in range(10 ** 9):
    dstui.log({"x": step, "y": -step}, step=step)
    os.write(acknowledged, b"%d\\n" % step)
"""


@dataclass
class Tally:
    """What all kills came to."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong_state: list[str] = field(default_factory=list)
    left_alive: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.wrong_state or self.left_alive)


def kill_once(project: Path, target: str, points: int, tally: Tally) -> None:
    """One run of the script, killed after it has acknowledged at least so many points."""
    acknowledged = project.parent / f"acknowledged-{tally.kills}"
    words = [sys.executable, "-m", "dstui", "run", sys.executable, "train.py", str(acknowledged)]
    front = subprocess.Popen(
        words, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: acknowledged.exists() and acknowledged.stat().st_size > 7 * points)
    live = next((project / ".git" / "ds" / str(os.getuid()) / "live").iterdir())
    state = json.loads((live / "state.json").read_text())
    if target == "group":
        os.killpg(state["pid"], signal.SIGKILL)
    else:
        os.kill(state["pid"] if target == "process" else state["keeper_pid"], signal.SIGKILL)
    if target == "keeper":
        # Without a terminal nothing hangs up, and the training lives on alone until it is killed as well.
        os.kill(state["pid"], signal.SIGKILL)
    front.wait(timeout=30)
    until(lambda: not Path(f"/proc/{state['pid']}").exists() or is_zombie(state["pid"]))
    judge(project, target, acknowledged, tally)
    tally.left_alive += sum(is_alive(state[key]) for key in ("pid", "keeper_pid"))
    tally.kills += 1


def judge(project: Path, target: str, acknowledged: Path, tally: Tally) -> None:
    """Compares what a fresh `ds` finds with what was acknowledged."""
    promised = {int(line) for line in acknowledged.read_text().split("\n")[:-1]}
    run = json.loads(ds(project, "show", "@", "--json"))
    points = json.loads(ds(project, "metrics", "@", "--json"))
    wanted = "lost" if target == "keeper" else "killed"
    if run["state"] != wanted or run["commit"] is None:
        tally.wrong_state.append(f"{target}: {run['state']}")
    for name, sign in (("x", 1), ("y", -1)):
        found = dict(zip(points[name]["step"], points[name]["value"], strict=True))
        tally.lost += sum(found.get(step) != sign * step for step in promised)
    tally.acknowledged += len(promised)


def ds(project: Path, *words: str) -> str:
    """The output of a `ds` command in a process of its own."""
    command = [sys.executable, "-m", "dstui", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=60).stdout


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return Path(f"/proc/{pid}").exists() and not is_zombie(pid)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X"))
    except OSError:
        return True


def until(condition: Callable[[], bool], deadline: float = 30) -> None:
    """Waits for a condition.

    Raises:
        TimeoutError: it did not come true within `deadline` seconds.
    """
    end, never = time.monotonic() + deadline, threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the run did not get where it should")
        never.wait(0.005)


def make_project(folder: Path) -> Path:
    """A git repository with the script."""
    project = folder / "project"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True, stdin=subprocess.DEVNULL)
    return project


def main() -> int:
    """Exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, tally, started = random.Random(options.seed), Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        for number in range(options.n):
            kill_once(project, TARGETS[number % 3], chance.randrange(1, 3000), tally)
    print(json.dumps({**vars(tally), "seconds": round(time.monotonic() - started)}))
    return 0 if tally.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
