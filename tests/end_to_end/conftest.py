"""Fixtures of the tests that start whole runs: the stand-in for `ds run`, with and without a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import front_program
from tests.end_to_end.person import DEADLINE_SECONDS, Person

ROOT = Path(__file__).parents[2]
FRONT = [sys.executable, str(Path(__file__).with_name("front_program.py"))]


class Run:
    """One run and its live directory.

    Attributes:
        live: the directory, made by the front.
        env: environment of the front.
    """

    def __init__(self, live: Path) -> None:
        self.live = live
        self.env = {**os.environ, "LIVE": str(live), "PYTHONPATH": str(ROOT)}
        self._started: list[subprocess.Popen[bytes]] = []

    def configure(self, **launch: object) -> Run:
        """Put these keys into the run's `launch.json`."""
        self.env["LAUNCH"] = json.dumps(launch)
        return self

    def front(self, *command: str | Path, attach: bool = False, **options: Any) -> subprocess.Popen[bytes]:
        """Start the front with no terminal; `options` are those of `Popen`."""
        words = ["--attach", *command] if attach else [*command]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([*FRONT, *map(str, words)], env=self.env, start_new_session=True, **options)
        self._started.append(process)
        return process

    def to_end(self, *command: str | Path, **options: Any) -> tuple[int, bytes, bytes]:
        """Run to the end; exit code, stdout and stderr of the front."""
        process = self.front(*command, **options)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, out, err

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """See to it that this process does not outlive the test."""
        self._started.append(process)

    def make_live(self) -> None:
        """Make the live directory, as the front does."""
        front_program.make_live(self.live)

    def clerk(self) -> list[str]:
        """A command that leaves the file `clerk`."""
        return front_program.clerk(self.live)

    def in_shell(self, script: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a line of bash in which `$DS` is the front, with no terminal."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        env = {**self.env, "DS": " ".join(FRONT)}
        process = subprocess.Popen(["bash", "-c", script], env=env, start_new_session=True, **options)
        self._started.append(process)
        return process

    def shell(self, script: str) -> tuple[int, bytes, bytes]:
        """Run such a line to its end; exit code, stdout and stderr."""
        process = self.in_shell(script)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, out, err

    def at_terminal(self, *command: str | Path, **options: Any) -> Person:
        """Start the front at a terminal of its own."""
        return Person([*FRONT, *command], env=self.env, **options)

    def in_bash(self, *arguments: str) -> Person:
        """Start bash at a terminal; `$DS` is the front."""
        env = {**self.env, "DS": " ".join(FRONT), "PS1": "ready> ", "HISTFILE": ""}
        return Person(["bash", "--norc", "--noprofile", *arguments], env=env)

    def text(self, name: str) -> bytes:
        """Content of a file of the live directory, empty when it does not exist."""
        try:
            return (self.live / name).read_bytes()
        except FileNotFoundError:
            return b""

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the live directory."""
        content = json.loads(self.text(name))
        assert isinstance(content, dict)
        return content

    @property
    def exit(self) -> dict[str, Any]:
        """The exit record."""
        return self.json("exit.json")

    def has(self, name: str) -> bool:
        """Whether a file of the live directory exists."""
        return (self.live / name).exists()

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return int(self.json("state.json")["pid"])

    @property
    def keeper(self) -> int:
        """Process id of the keeper."""
        return int(self.json("state.json")["keeper_pid"])

    def clean(self) -> None:
        """End what a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if self.has("state.json") and not self.has("exit.json"):
            for pid in (self.pid, self.keeper):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that has not been started."""
    run = Run(tmp_path / "live")
    yield run
    run.clean()


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[[], Run]]:
    """Makes runs, each in a live directory of its own."""
    runs: list[Run] = []

    def make() -> Run:
        runs.append(Run(tmp_path / f"live-{len(runs)}"))
        return runs[-1]

    yield make
    for run in runs:
        run.clean()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a Python script and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    return write


def process_state(pid: int) -> str:
    """Letter of `/proc/PID/stat`: R running, S sleeping, T stopped, Z ended; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    return process_state(pid) in ("", "Z")
