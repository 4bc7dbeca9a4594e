"""Trackers side by side, each in an environment of its own below `.peers/`: the same small training logs to each.

For dstui and for each peer: one call that logs two numbers (p50), the import, the smallest whole run with one call in
it, bytes on the disk for each point, and how many of the points that a killed training had logged can be read again.
`killed_script` kills the training alone, `killed_all` its helpers in the same moment, as a job's end by force does.

`make bench-peers` runs this; environments are made when they are missing. Not part of `make bench`: it needs a network.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import DS, Report, cost_of, make_project, scratch, take_turns

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".peers"
PROGRAM = Path(__file__).with_name("peer_program.py")
PEERS = {
    "wandb": ["wandb==0.31.0"],
    "trackio": ["trackio==0.43.0"],
    "tensorboardX": ["tensorboardX==2.6.5", "tensorboard==2.21.0"],
    "mlflow": ["mlflow==3.17.2"],
    "dvclive": ["dvclive==3.49.1"],
}
"""What goes into each environment."""
IMPORTS = {
    "dstui": "import dstui",
    "wandb": "import wandb",
    "trackio": "import trackio",
    "tensorboardX": "from tensorboardX import SummaryWriter",
    "mlflow": "import mlflow",
    "dvclive": "from dvclive import Live",
}
REPEATS = 5
CALLS = {"mlflow": 500, "dvclive": 500}
"""How many are logged where one takes milliseconds."""
USUAL_CALLS = 5_000
CALLS_BEFORE_DEATH = 1_000
"""Calls that have come back when the training is killed."""
LAST_SECONDS = 30.0
"""What outlives a killed training has this long to write."""

SILENT = {
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def python_of(tracker: str) -> Path:
    """The interpreter that has this tracker; made when it is missing."""
    if tracker == "dstui":
        return Path(sys.executable)
    folder = ENVIRONMENTS / tracker
    python = folder / "bin" / "python"
    done = folder / f".{'+'.join(PEERS[tracker])}"
    if not done.exists():
        print(f"installing {' '.join(PEERS[tracker])}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *PEERS[tracker]]
        subprocess.run(install, check=True, stdout=sys.stderr)
        done.touch()
    return python


class Tracker:
    """One of them, and where it keeps what is logged.

    Args:
        name: of the tracker.
        folder: a new one.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.python = python_of(name)
        self.folder = folder
        self.project = make_project(folder / "project", 1)
        self.answer = folder / "answer"
        (self.project / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
        self._places = 0
        self._environment = {**SILENT, "ANSWER": str(self.answer)}

    def place(self) -> Path:
        """Where the next run keeps its points: dstui in the project's store, the others in a folder that is given."""
        self._places += 1
        place = self.folder / f"place{self._places}"
        place.mkdir()
        return self.project / ".git" / "ds" if self.name == "dstui" else place

    def command(self, task: str, place: Path, *words: object) -> list[str]:
        """The words that run one task of the program, below `ds run` for dstui."""
        program = [str(self.python), PROGRAM.name, self.name, task, str(place), *map(str, words)]
        return [*DS, "run", *program] if self.name == "dstui" and task != "readable" else program

    def run(self, task: str, place: Path, *words: object) -> Any:
        """What the program answers."""
        self.answer.unlink(missing_ok=True)
        cost_of(self.command(task, place, *words), cwd=self.project, env=self._environment)
        return json.loads(self.answer.read_text())

    def import_cpu_ms(self) -> float:
        """CPU of the import, above the bare interpreter."""
        python = str(self.python)
        cpu = take_turns(
            {
                code: partial(self._cpu, [python, "-c", code], self._environment)
                for code in (IMPORTS[self.name], "pass")
            },
            REPEATS,
        )
        return (cpu[IMPORTS[self.name]] - cpu["pass"]) * 1e3

    def smallest(self) -> tuple[float, float]:
        """A whole run with one call in it, above the bare interpreter, in milliseconds.

        CPU is that of all its processes, wall time what passes until the command is back.
        """
        cpu, wall = [], []
        command, bare = self.command("smallest", self.place()), [str(self.python), "-c", "pass"]
        for _ in range(REPEATS):
            ours, least = (cost_of(words, cwd=self.project, env=self._environment) for words in (command, bare))
            cpu.append(ours.cpu_seconds - least.cpu_seconds)
            wall.append(self._wall(command) - self._wall(bare))
            self._settle(set())
        return statistics.median(cpu) * 1e3, statistics.median(wall) * 1e3

    def _wall(self, command: Sequence[str]) -> float:
        started = time.perf_counter()
        subprocess.run(
            command, cwd=self.project, env={**os.environ, **self._environment}, check=True, capture_output=True
        )
        return time.perf_counter() - started

    def calls(self) -> tuple[float, float, float]:
        """One call in microseconds (p50, p99), and bytes on the disk for each point."""
        count = CALLS.get(self.name, USUAL_CALLS)
        place = self.place()
        if self.name == "dstui":
            self.run("smallest", place)
            before = size_of(place)
        else:
            small = self.place()
            self.run("smallest", small)
            before = size_of(small)
        spent = self.run("calls", place, count)
        return spent["p50"], spent["p99"], (size_of(place) - before) / (2 * count)

    def kill(self, *, all_at_once: bool) -> tuple[int, int]:
        """Points logged by a training that was killed, and how many of them can be read."""
        place = self.place()
        acknowledged = self.folder / f"acknowledged{self._places}"
        acknowledged.touch()
        known = descendants()
        front = subprocess.Popen(
            self.command("acknowledge", place),
            cwd=self.project,
            env={**os.environ, **self._environment, "ACKNOWLEDGED": str(acknowledged)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while acknowledged.read_bytes().count(b"\n") <= CALLS_BEFORE_DEATH:
            if front.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {front.returncode} before it was killed")
            time.sleep(0.02)
        training = int(acknowledged.read_text().partition("\n")[0])
        for pid in descendants() - known if all_at_once else {training}:
            os.kill(pid, signal.SIGKILL)
        front.wait()
        self._settle(known)
        if self.name == "dstui":
            said = subprocess.check_output([*DS, "metrics", "@", "--json"], cwd=self.project)
            found = sum(len(one["value"]) for one in json.loads(said).values())
        else:
            found = self.run("readable", place)
        return 2 * (acknowledged.read_bytes().count(b"\n") - 1), found

    @staticmethod
    def _settle(known: set[int]) -> None:
        """Wait for what a command has left behind."""
        end = time.monotonic() + LAST_SECONDS
        while descendants() - known and time.monotonic() < end:
            reap()
            time.sleep(0.05)

    @staticmethod
    def _cpu(command: Sequence[str], environment: dict[str, str]) -> float:
        return cost_of(command, env=environment).cpu_seconds


def descendants() -> set[int]:
    """All processes below this one."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(word) for word in path.read_text().split()]
            except OSError:
                continue
            waiting += children
            found.update(children)
    return found


def reap() -> None:
    """Take leave of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(names: Sequence[str] = ("dstui", *PEERS)) -> None:
    report = Report.of(__file__)
    p50s: dict[str, float] = {}
    for name in names:
        python_of(name)
    with scratch() as folder:
        for name in names:
            tracker = Tracker(name, folder / name)
            print(f"measuring {name}", file=sys.stderr)
            p50, p99, size = tracker.calls()
            p50s[name] = p50
            report.add(f"{name}_call_p50_us", p50, 2)
            report.add(f"{name}_call_p99_us", p99, 2)
            report.add(f"{name}_bytes_per_point", size, 1)
            report.add(f"{name}_import_cpu_ms", tracker.import_cpu_ms(), 1)
            cpu, wall = tracker.smallest()
            report.add(f"{name}_smallest_run_cpu_ms", cpu, 1)
            report.add(f"{name}_smallest_run_wall_ms", wall, 1)
            for way, all_at_once in (("script", False), ("all", True)):
                logged, found = tracker.kill(all_at_once=all_at_once)
                report.add(f"{name}_killed_{way}_logged", logged, 0)
                report.add(f"{name}_killed_{way}_readable", found, 0)
    for name in names:
        if name != "dstui" and "dstui" in names:
            report.compare(f"call_to_{name}", p50s["dstui"], p50s[name])
    report.print_line()


if __name__ == "__main__":
    main(sys.argv[1:] or ("dstui", *PEERS))
