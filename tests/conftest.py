"""What every test gets: a home of its own, a project in git, the real command line, and waiting without sleeping."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

POLL_SECONDS = 0.01
"""How often `wait_until` asks again."""

CLEARED_PREFIXES = ("GIT_", "DSTUI_", "SLURM_", "XDG_", "SSH_")
"""Environment variables of these families would change what a test sees."""

CLEARED_NAMES = (
    "CUDA_VISIBLE_DEVICES",
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "NO_COLOR",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "TMUX",
    "VIRTUAL_ENV",
)
"""Single variables that would too."""


# A shell starts its background jobs with these ignored, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@dataclass(frozen=True)
class CommandResult:
    """What one command did: its exit code (negative is a signal) and its two outputs as text."""

    code: int
    out: str
    err: str


class DsCommand(Protocol):
    """The `ds` fixture: run the real command line and wait for its end."""

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 60,
    ) -> CommandResult:
        """Run `ds ARGUMENTS`; `env` is added to the test's own environment."""


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home, XDG directories and git identity; nothing of the person who runs the tests gets in."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(CLEARED_PREFIXES) or name in CLEARED_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for variable, folder in (
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_RUNTIME_DIR", "runtime"),
    ):
        path = home / folder
        path.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(path))
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Test Person\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n"
    )
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A sampler stays for some seconds after a run; the tests about it turn it on.
    monkeypatch.setenv("DSTUI_CAPTURE_SYSTEM", "off")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return home


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with one commit: `train.py`, which prints two losses, and `README.md`."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("for step in range(2):\n    print(f'step {step} loss={1 / (step + 1):.4f}')\n")
    (folder / "README.md").write_text("A project of a test.\n")
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "start")):
        subprocess.run(["git", *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return folder


@pytest.fixture
def ds(request: pytest.FixtureRequest) -> DsCommand:
    """The real command line, in the project when the test has one, else in the present directory."""
    in_project: Path | None = request.getfixturevalue("project") if "project" in request.fixturenames else None

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 60,
    ) -> CommandResult:
        return run_command(
            [sys.executable, "-m", "dstui", *arguments],
            cwd=cwd or in_project,
            env=env,
            stdin=stdin,
            timeout_seconds=timeout_seconds,
        )

    return run


def run_command(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_seconds: float = 60,
) -> CommandResult:
    """Run any command to its end, with no terminal; undecodable output bytes become replacement characters."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=None if stdin is None else stdin.encode(),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout_seconds,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`wait_until(condition, deadline=10)`: return once `condition()` is true, fail after `deadline` seconds."""

    def wait(condition: Callable[[], object], deadline: float = 10) -> None:
        never = threading.Event()
        end = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"Still not true after {deadline} s: {getattr(condition, '__name__', condition)}")
            never.wait(POLL_SECONDS)

    return wait


@pytest.fixture
def program() -> Callable[[str], str]:
    """`program("strace")`: its path, or a failure that says how to install it; never a silent skip."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.fail(f"`{name}` is not installed, and this test needs it; install it with `apt install {name}`")
        return path

    return find
