"""What every benchmark shares: CPU of a whole process tree, projects of a given size, and one JSON line at the end.

A number alone says little about the program, as machines differ; so each is set against a peer measured in the same run
(`git status`, `ds --help`, ..), the two taking turns, and the ratio is compared with a limit.
CPU seconds are user + system of all descendants, those that outlive their parent included.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

# An installed program has its bytecode; compiling it at each start would be measured as ours.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

DS = [sys.executable, "-m", "dstui"]
"""The command line of this checkout."""


@dataclass(frozen=True)
class Cost:
    """What one command took: CPU of the whole tree and wall time until its last process ended, both in seconds."""

    cpu_seconds: float
    wall_seconds: float


def cost_of(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command with its output thrown away and wait for it and for all it leaves behind.

    Raises:
        RuntimeError: it failed; the message holds the end of its stderr.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    known = _children()
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_seconds = usage.ru_utime + usage.ru_stime
        # Whatever it left behind is ours now, and lives on until its work is done.
        while left_behind := _children() - known:
            for child in left_behind:
                usage = os.wait4(child, 0)[2]
                cpu_seconds += usage.ru_utime + usage.ru_stime
        wall_seconds = time.perf_counter() - started
        if process.returncode != 0:
            errors.seek(0)
            words = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"`{' '.join(map(str, command))}` ended with {process.returncode}: {words}")
    return Cost(cpu_seconds, wall_seconds)


def _children() -> set[int]:
    """Process ids of the living and the unwaited children of this process."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def cost_of_call(call: Callable[[], object]) -> Cost:
    """What one call in this process took, with the processes that it started and waited for."""

    def cpu() -> float:
        usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    cpu_before, started = cpu(), time.perf_counter()
    call()
    wall_seconds = time.perf_counter() - started
    return Cost(cpu() - cpu_before, wall_seconds)


def take_turns(measured: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median of each measurement; they take turns, so that a busy moment of the machine hits all of them alike."""
    samples: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(repeats):
        for name, measure in measured.items():
            samples[name].append(measure())
    return {name: statistics.median(values) for name, values in samples.items()}


@dataclass
class Report:
    """The result of one benchmark, printed as one line of JSON."""

    benchmark: str
    values: dict[str, object]
    ratios: dict[str, dict[str, float | bool]]

    @classmethod
    def of(cls, file: str) -> Report:
        """An empty report named after a benchmark's own file."""
        return cls(Path(file).stem, {}, {})

    def add(self, name: str, value: float, digits: int = 6) -> None:
        """A plain number; its name carries the unit."""
        self.values[name] = round(value, digits)

    def compare(self, name: str, ours: float, peer: float, limit: float | None = None) -> None:
        """`ours / peer`, and whether that is within the limit, if there is one."""
        ratio = ours / peer
        entry: dict[str, float | bool] = {"ratio": round(ratio, 3)}
        if limit is not None:
            entry |= {"limit": limit, "within": ratio <= limit}
        self.ratios[name] = entry

    def print_line(self) -> None:
        """Write the line to stdout."""
        line = {
            "benchmark": self.benchmark,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": version("dstui"),
            "machine": machine(),
            "values": self.values,
            "ratios": self.ratios,
        }
        sys.stdout.write(json.dumps(line) + "\n")


def machine() -> dict[str, object]:
    """What the numbers depend on and a reader can know: processor, cores, Python, git, system and load."""
    processor = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()
    return {
        "processor": processor or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "git": git[2],
        "system": platform.release(),
        # Of the last 15 minutes; over the number of cores, times on the wall say little.
        "load": round(os.getloadavg()[2], 1),
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of its own with a home of its own, so that no setting of the person who measures has a part in it."""
    folder = Path(tempfile.mkdtemp(prefix="dstui-benchmark-"))
    home = folder / "home"
    home.mkdir()
    identity = "[user]\n\tname = Benchmark\n\temail = benchmark@localhost\n[init]\n\tdefaultBranch = main\n"
    (home / ".gitconfig").write_text(identity)
    for name in [name for name in os.environ if name.startswith(("GIT_", "DSTUI_", "XDG_"))]:
        del os.environ[name]
    os.environ.update(HOME=str(home), GIT_CONFIG_NOSYSTEM="1", OMP_NUM_THREADS="1")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_project(folder: Path, files: int) -> Path:
    """A committed git project of that many small source files, a hundred to a folder, each with text of its own."""
    folder.mkdir(parents=True)
    for number in range(files):
        path = folder / f"part{number // 100:03}" / f"module{number:05}.py"
        path.parent.mkdir(exist_ok=True)
        lines = [f'"""Module {number}."""', "", "", "def value() -> int:", f"    return {number}"]
        path.write_text("\n".join([*lines, *[f"# line of {number}"] * 20, ""]))
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "start")):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return folder
