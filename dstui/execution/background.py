"""What is found out about a run while its command runs: its packages and the hashes of its data.

Never in the way of the command: it starts before any of this is known, and the end waits for a moment only. What is
then not known is recorded as such. Whoever commits the run finds `env.json` and `data.json` in its live folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dstui.errors import DstuiError
from dstui.execution import environment, inputs, interpreter
from dstui.execution.hashing import HashCache, Stopped, be_last
from dstui.execution.inputs import Input, OpenedFiles, Place
from dstui.execution.interpreter import Interpreter
from dstui_store import Layout, Store, StoreError, WorkTree, worktree_of

FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.5, 2.0
"""When the list of opened files is looked at, and how often."""

END_SECONDS = 2.0
"""The longest that the end of a run waits for hashes; what is left is hashed for the next run."""

PACKAGES_SECONDS = 5.0
"""The longest that it waits for the list of packages."""

CLERK_SECONDS = 60.0
"""The same for both where nobody waits."""


class Background:
    """One run's facts that take time. Made before the command starts, `start`ed after, `finish`ed before the commit.

    Args:
        layout: of the store.
        variables: of the command.
        python: the interpreter it runs on.
        cwd: where it runs.
        hash_max_bytes: opened files above are not hashed.

    Attributes:
        described: what `launch.json` may hold of the environment.
        problem: a fault of ours, else None.
    """

    def __init__(
        self, layout: Layout, variables: Mapping[str, str], python: Interpreter | None, cwd: Path, hash_max_bytes: int
    ) -> None:
        self._layout = layout
        self._variables = variables
        self._python = python
        self._hash_max_bytes = hash_max_bytes
        self.described = environment.describe(variables, python, layout.project, cwd)
        self._answer = None if python is None else interpreter.remembered(layout.cache, python, variables)
        self._inputs: list[Input] = []
        self._live: Path | None = None
        self._opened: OpenedFiles | None = None
        self._cache = HashCache(layout.cache)
        self._ending = threading.Event()
        self._packages_known = threading.Event()
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        self._is_last = False
        self.problem: str | None = None

    def begin(self, live: Path, run: str, given: Sequence[Input], started: float) -> None:
        """Write into the live folder what is known already.

        Args:
            started: when the run began, seconds since the epoch; what was written later is no input.
        """
        self._live = live
        self._inputs = list(given)
        place = Place(
            project=self._layout.project,
            store=self._layout.root,
            packages=_package_folders(self._python, self._answer),
            code=lambda: _code_paths(self._layout.project, run),
            started=started,
            hash_max_bytes=self._hash_max_bytes,
        )
        self._opened = OpenedFiles(live / "opened.jsonl", place)
        if self._python is None or (live / "env.json").exists():
            self._packages_known.set()
        elif self._answer is not None and not environment.needs_a_look(self._answer, self._layout.project):
            self._write_environment(self._answer, look=False)
            self._packages_known.set()
        if self._inputs:
            self._write_data()

    def start(self) -> None:
        """Go on in a thread. Signals that are blocked now stay so in there."""
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = END_SECONDS, packages_seconds: float = PACKAGES_SECONDS) -> None:
        """Wait a moment for what is under way, and write what is known; the folder is complete then."""
        if self._thread is None:
            return
        self._deadline = time.monotonic() + seconds
        self._ending.set()
        self._packages_known.wait(packages_seconds)
        self._thread.join(seconds)
        self._add_gpus()
        if self._inputs:
            self._write_data()
        left = [item for item in self._inputs if item.reason == inputs.NOT_YET]
        if left:
            _hash_later(self._layout, [str(self._layout.project / item.path) for item in left])

    def _run(self) -> None:
        try:
            if not self._packages_known.is_set():
                self._find_packages()
            wait = FIRST_LOOK_SECONDS
            while not self._ending.is_set():
                if self._take_data():
                    self._write_data()
                self._ending.wait(wait)
                wait = LOOK_SECONDS
            self._take_data()
            inputs.check_again(self._inputs, self._layout.project, self._is_ongoing)
        except Stopped:
            pass
        except Exception as error:  # a fault of ours must not be printed into the output of the command
            self.problem = f"data and packages are not fully recorded: {type(error).__name__}: {error}"

    def _take_data(self) -> bool:
        """Hash what is new; returns whether there was any."""
        if self._opened is not None:
            self._inputs += self._opened.new(self._inputs)
        if all(item.reason != inputs.NOT_YET for item in self._inputs):
            return False
        if not self._is_last:
            be_last()
            self._is_last = True
        inputs.hash_inputs(self._inputs, self._layout.project, self._cache, self._is_ongoing)
        return True

    def _is_ongoing(self) -> bool:
        return time.monotonic() < self._deadline

    def _find_packages(self) -> None:
        assert self._python is not None
        try:
            answer = self._answer or interpreter.ask(self._layout.cache, self._python, self._variables)
            self._write_environment(answer, look=True)
        except DstuiError as error:
            self._write("env.json", {**self.described, "problems": [error.message]})
        finally:
            self._packages_known.set()

    def _write_environment(self, answer: Mapping[str, Any], *, look: bool) -> None:
        def state_of(folder: Path) -> WorkTree:
            return worktree_of(self._layout, folder)

        found = environment.with_packages(
            self.described, answer, self._variables, self._layout.project, state_of if look else None
        )
        self._write("env.json", found)

    def _add_gpus(self) -> None:
        """The GPUs as the sampler knows them by now; where nobody has asked the driver they stay unknown."""
        assert self._live is not None
        if self.described["driver"]["nvidia"] is None and not (self._live / "system").is_dir():
            return
        gpus = environment.sampled_gpus()
        if gpus:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((self._live / "env.json").read_bytes())
                self._write("env.json", {**found, "gpus": gpus})

    def _write_data(self) -> None:
        more = 0 if self._opened is None else self._opened.more
        self._write("data.json", inputs.to_json(list(self._inputs), more))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        assert self._live is not None
        path = self._live / name
        temporary = self._live / f"{name}.{os.getpid()}.{threading.get_ident()}"
        # The folder may be gone by now, committed by somebody else.
        with contextlib.suppress(OSError):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(json.dumps(content).encode())
            temporary.replace(path)


def complete(store: Store, run: str, hash_max_bytes: int) -> None:
    """Finish the facts of an ended run that its launcher has left; for a process that nobody waits for."""
    live = store.live_run(run)
    if live is None:
        return
    python = live.part("environment").get("python")
    executable = python.get("executable") if isinstance(python, dict) else None
    found = Interpreter(Path(str(executable)), str(python.get("found_by"))) if executable and python else None
    background = Background(
        store.layout, os.environ, found, Path(str(live.launch.get("cwd") or store.layout.project)), hash_max_bytes
    )
    background.described = dict(live.part("environment"))
    started = live.launch.get("created_at")
    began = float(started) if isinstance(started, int | float) else 0.0
    background.begin(live.folder, run, inputs.from_json(store.data(run)), began)
    background.start()
    background.finish(CLERK_SECONDS, CLERK_SECONDS)


def _package_folders(python: Interpreter | None, answer: Mapping[str, Any] | None) -> list[str]:
    """Folders that hold Python and its packages."""
    prefixes = [(answer or {}).get(key) for key in ("prefix", "base_prefix")]
    if python is not None:
        prefixes += [str(path.parent.parent) for path in (python.path, Path(os.path.realpath(python.path)))]
    return [f"{prefix}/{name}/" for prefix in prefixes if prefix for name in ("lib", "lib64")]


def _code_paths(project: Path, run: str) -> Iterable[str]:
    try:
        # Of its own: a store belongs to one thread.
        with Store.open(project, read_only=True) as store:
            return list(store.code_entries(run))
    except StoreError:
        return []


def _hash_later(layout: Layout, paths: list[str]) -> None:
    """Let a process hash what the run did not wait for, so that the next run knows it."""
    program = [sys.executable, "-P", "-m", "dstui.execution.hashing", str(layout.cache)]
    with contextlib.suppress(OSError):
        listed = os.memfd_create("paths")
        try:
            with open(listed, "wb", closefd=False) as file:
                file.write(json.dumps(paths).encode())
            os.lseek(listed, 0, os.SEEK_SET)
            nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
            actions = [(os.POSIX_SPAWN_DUP2, listed, 0), *nothing]
            os.posix_spawn(program[0], program, os.environ, file_actions=actions, setsid=True)
        finally:
            os.close(listed)
