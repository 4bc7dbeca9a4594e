"""One command becomes one tracked run: code stored, keeper started, output followed, run committed."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import LaunchError
from dstui.execution import command, inputs, interpreter
from dstui.execution.background import Background
from dstui.execution.capture import Capture, container_hint, replaced_wandb
from dstui.execution.capture import variables as capture_variables
from dstui.execution.front import FrontResult, follow, start_keeper, start_watcher
from dstui.execution.sampling import Sampling
from dstui_store import Masker, Snapshot, StoreError, flatten, new_run_id

if TYPE_CHECKING:
    from dstui_store import NewRun, RunRecord, Store

LEAVING_SECONDS = 5.0
"""The longest that a keeper needs from its last word to its end."""

Say = Callable[[str], None]
"""Shows one line of ours to the user, apart from the command's own output."""


@dataclass(frozen=True)
class Request:
    """What to run and how to record it; the options of `ds run`.

    Attributes:
        words: the command as typed.
        params: of `-p`, over those that the command line itself spells out.
        private: never shared with anyone.
        data: files, folders and URLs that the command reads, each with what named it: `option` or `setting`.
        hash_max_bytes: other files that the script opens are hashed up to this size.
        capture: what to take from the command besides what it logs itself.
        sample: record the load of its processes, of the GPUs and of the machine.
        time_limit_seconds: end the command after this long, None = never.
    """

    words: Sequence[str]
    name: str | None = None
    experiment: str | None = None
    tags: Sequence[str] = ()
    notes: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    private: bool = False
    data: Sequence[tuple[str, str]] = ()
    hash_max_bytes: int = 256 << 20
    capture: Capture = field(default_factory=Capture)
    sample: bool = True
    time_limit_seconds: float | None = None
    grace_seconds: float = 30.0
    log_max_bytes: int = 1 << 30
    stop_on_hangup: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a foreground run came out.

    Attributes:
        record: the committed run; None when it goes on without us, or could not be committed yet.
        problem: why it could not be committed, else None. Its live folder keeps every point.
    """

    front: FrontResult
    record: RunRecord | None
    problem: StoreError | None


def run(store: Store, request: Request, cwd: Path, environment: Mapping[str, str], say: Say) -> Outcome:
    """Runs a command in the foreground and commits it.

    Raises:
        LaunchError: the command could not be started; nothing is recorded.
        StoreError: the store could not be written; nothing was started.
    """
    resolved = command.resolve(request.words, cwd, environment)
    data = inputs.given(request.data, cwd, store.layout.project)
    snapshot = take_snapshot(store)
    masker = Masker(environment)
    background = _background(store, request, cwd, environment, resolved)
    record = launch_record(request, cwd, environment, resolved, snapshot, masker, background.described)
    new = store.begin(new_run_id(), record)
    background.begin(new.folder, new.id, data, record["created_at"])
    say(_headline(new, resolved, snapshot))
    if request.capture.hook and (hint := container_hint(request.words)) is not None:
        say(hint)
    committed = _Commit(store, new, masker, background, say)
    sampling = Sampling(new.id, new.folder, environment, wanted=request.sample)
    try:
        keeper = start_keeper(
            new.folder,
            list(resolved.argv),
            script_environment(store, new, request, environment),
            cwd,
            clerk=clerk_command(cwd, new.id),
            alive=new.alive,
        )
        # Only now: signals are held back from here on until the front sees to them.
        background.start()
        front = follow(
            keeper.socket,
            new.folder,
            name=new.id[:5],
            stop_on_hangup=request.stop_on_hangup,
            on_start=sampling.soon,
            on_exit=committed.when_ended,
        )
    except LaunchError:
        store.cancel(new.id)
        raise
    finally:
        sampling.cancel()
    if front.outcome == "detached":
        sampling.at_once()
    if front.outcome == "lost":
        committed.when_ended(front)
    return Outcome(front, committed.record, committed.problem)


def watch(store: Store, pid: int, request: Request, cwd: Path, environment: Mapping[str, str]) -> NewRun:
    """Makes a run of a process that runs already: `dstui.init()` outside `ds run`.

    Raises:
        LaunchError: its keeper could not be started; nothing is recorded.
        StoreError: the store could not be written.
    """
    data = inputs.given(request.data, cwd, store.layout.project)
    snapshot = take_snapshot(store)
    resolved = command.Command(tuple(request.words), Path(request.words[0]) if request.words else None)
    # What takes time is left to the clerk: the process waits for us.
    background = _background(store, request, cwd, environment, resolved)
    masker = Masker(environment)
    record = launch_record(request, cwd, environment, resolved, snapshot, masker, background.described)
    new = store.begin(new_run_id(), record)
    background.begin(new.folder, new.id, data, record["created_at"])
    try:
        start_watcher(
            new.folder,
            pid,
            script_environment(store, new, request, environment),
            clerk=clerk_command(cwd, new.id),
            alive=new.alive,
        )
    except LaunchError:
        store.cancel(new.id)
        raise
    # The process that is watched waits for us.
    Sampling(new.id, new.folder, environment, wanted=request.sample).at_once(wait=False)
    return new


class _Commit:
    """Commits a run once its keeper has left, and remembers how that went."""

    def __init__(self, store: Store, run: NewRun, masker: Masker, background: Background, say: Say) -> None:
        self._store, self._run, self._masker = store, run.id, masker
        self._folder = run.folder
        self._background, self._say = background, say
        self.record: RunRecord | None = None
        self.problem: StoreError | None = None

    def when_ended(self, front: FrontResult) -> None:  # every end is committed
        self._background.finish()
        if self._background.problem is not None:
            self._say(self._background.problem)
        if replaced_wandb(self._folder):
            self._say("wandb: recorded here, not sent")
        try:
            self.record = self._store.commit_ended(self._run, self._masker, wait_seconds=LEAVING_SECONDS)
        except StoreError as error:
            self.problem = error


def _background(
    store: Store, request: Request, cwd: Path, environment: Mapping[str, str], resolved: command.Command
) -> Background:
    python = interpreter.of_command(resolved, cwd, environment)
    return Background(store.layout, environment, python, cwd, request.hash_max_bytes)


def clerk_command(cwd: Path, run: str) -> list[str]:
    """What the keeper becomes at the end when nobody is there to commit the run."""
    # Without the command's PYTHONPATH: the clerk is no process of the run.
    return [sys.executable, "-E", "-P", "-m", "dstui.execution.clerk", str(cwd), run]


def take_snapshot(store: Store) -> Snapshot:
    """The project's code as it is now; a project that cannot be read gives a run without code, never no run."""
    try:
        return store.snapshot()
    except StoreError as error:
        return Snapshot(tree=None, refused=error.message)


def launch_record(
    request: Request,
    cwd: Path,
    environment: Mapping[str, str],
    resolved: command.Command,
    snapshot: Snapshot,
    masker: Masker,
    described: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `launch.json` but for number and writer."""
    guessed, typed = command.parameters(request.words), flatten(dict(request.params))
    config = {**guessed, **typed}
    if request.seed is not None:
        config.setdefault("seed", request.seed)
    return {
        "name": masker.text(request.name)
        if request.name
        else command.default_name(request.words, masker.config(config)),
        "named": request.name is not None,
        "experiment": request.experiment or None,
        "command": masker.argv(request.words),
        "cwd": str(cwd),
        "user": _user(),
        "host": socket.gethostname(),
        "created_at": time.time(),
        "config": masker.config(config),
        "guessed": sorted(guessed.keys() - typed.keys()),
        "tags": sorted(set(request.tags)),
        "notes": masker.text(request.notes),
        "parent_run": environment.get("DSTUI_RUN_ID"),
        "seed": request.seed,
        "private": request.private,
        "code": snapshot.to_json(),
        "skipped": [{"path": item.path, "size": item.size, "reason": item.reason} for item in snapshot.skipped],
        "environment": described,
        "python": None if resolved.python is None else str(resolved.python),
        "log_max_bytes": request.log_max_bytes,
        "capture": {
            "hook": request.capture.hook,
            "files": request.capture.files,
            "stdout": request.capture.stdout,
            "wandb": request.capture.wandb,
        },
        "grace_seconds": request.grace_seconds,
        "time_limit_seconds": request.time_limit_seconds,
    }


def script_environment(store: Store, new: NewRun, request: Request, environment: Mapping[str, str]) -> dict[str, str]:
    """What the command sees: the user's variables and ours; the params file is written here.

    Raises:
        LaunchError: the capture hook could not be put into the store.
    """
    params = new.folder / "params.json"
    params.write_text(json.dumps(flatten(dict(request.params))))
    params.chmod(0o600)
    own = {"DSTUI_RUN_ID": new.id, "DSTUI_RUN_DIR": str(new.folder), "DSTUI_PARAMS_FILE": str(params)}
    if request.seed is not None:
        own |= {"DSTUI_SEED": str(request.seed), "PYTHONHASHSEED": str(request.seed)}
    return {**environment, **own, **capture_variables(request.capture, store.layout.root, environment)}


def _headline(new: NewRun, resolved: command.Command, snapshot: Snapshot) -> str:
    parts = [f"run {new.id[:5]} #{new.number}"]
    if resolved.python is not None:
        parts.append(f"python {resolved.python}")
    parts.append(describe_code(snapshot))
    return " · ".join(parts)


def describe_code(snapshot: Snapshot) -> str:
    """The stored code in words: `code a3f91c2 + 2 edited, 1 new; skipped 1 (data.bin: over 1 MiB for a new file)`."""
    if snapshot.tree is None:
        return f"code not stored: {snapshot.refused}"
    changes = [
        f"{len(names)} {word}" for names, word in ((snapshot.edited, "edited"), (snapshot.added, "new")) if names
    ]
    text = f"code {snapshot.commit[:7] if snapshot.commit else 'without a commit'}"
    if changes:
        text += f" + {', '.join(changes)}"
    if snapshot.skipped:
        shown = "; ".join(f"{item.path}: {item.reason}" for item in snapshot.skipped[:2])
        more = f" and {len(snapshot.skipped) - 2} more" if len(snapshot.skipped) > 2 else ""
        text += f"; skipped {len(snapshot.skipped)} ({shown}{more})"
    if snapshot.partial:
        text += f"; new files not stored, `{snapshot.partial}` is too large: add it to .gitignore"
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
