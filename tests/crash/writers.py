"""Starts the writer of `committing`, waits for its words, and lets a fresh process judge what it promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.committing import Found

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120.0


@dataclass
class Verdict:
    """What all faults came to.

    Attributes:
        promised: acknowledgements that were checked.
        broken: each fault after which a promise did not hold, and what did not.
        silent: each fault that the writer went on after, although what it promised had not happened.
    """

    faults: int = 0
    promised: int = 0
    failed_loudly: int = 0
    broken: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every promise held."""
        return not self.broken and not self.silent


class Writer:
    """A process that commits, in a session of its own; stands ready until `go`."""

    def __init__(self, project: Path, promises: Path, count: int, plant: str) -> None:
        self._promises = promises
        with promises.open("ab") as target:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.crash.committing", "write", project, str(count), plant],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=target,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "GIT_CONFIG_NOSYSTEM": "1"},
            )

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group too."""
        return self.process.pid

    def words(self, first: str) -> int:
        """How many lines of one kind it, and the writers before it, have said."""
        return sum(line.startswith(f"{first}") for line in self._promises.read_text().splitlines())

    def wait_for(self, first: str, count: int) -> bool:
        """Waits for so many lines; returns False when it ended before."""
        end, never = time.monotonic() + DEADLINE_SECONDS, threading.Event()
        while self.words(first) < count:
            if self.process.poll() is not None:
                return self.words(first) >= count
            if time.monotonic() > end:
                raise TimeoutError(f"{self.words(first)} of {count} `{first}` after {DEADLINE_SECONDS} s")
            never.wait(0.002)
        return True

    def go(self) -> None:
        """Lets it start."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Waits for its end and gives its exit code."""
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return code


def judge(project: Path, promises: Path, fault: str, verdict: Verdict, plant: str) -> None:
    """Lets a fresh process, with the same planted bug, look, and notes what does not hold."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.crash.committing", "check", project, promises, plant],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    verdict.faults += 1
    if done.returncode != 0:
        verdict.broken.append(f"{fault}: refused: {done.stderr.strip()[-500:]}")
        return
    found = Found(**json.loads(done.stdout))
    verdict.promised = found.promised
    if wrong := found.wrong():
        verdict.broken.append(f"{fault}: {wrong}")


def make_project(folder: Path) -> Path:
    """A git repository with one file and no commit."""
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "train.py").write_text("print('start')\n")
    subprocess.run(["git", "init", "-q", project], check=True, stdin=subprocess.DEVNULL)
    return project
