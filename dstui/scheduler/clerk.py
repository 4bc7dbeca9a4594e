"""The store's side of the queue: makes the run and the checkout of a job that starts, commits one that has ended.

`python -m dstui.scheduler.clerk STATE_FOLDER SOCKET`. A process of its own, because a project may lie on a disk that
does not answer, and because the daemon stays small. One request at a time, JSON datagrams; the answer to `start` comes
with two descriptors: the locked file `alive` of the run, and a file without a name that says what to start. It leaves
when the daemon has gone, or after a minute without work.
"""

from __future__ import annotations

import array
import json
import os
import select
import shutil
import socket
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import DstuiError, LaunchError
from dstui.execution import command, inputs, interpreter
from dstui.execution.background import Background, complete
from dstui.execution.capture import Capture
from dstui.execution.launch import Request, launch_record, script_environment
from dstui.execution.sampling import Sampling
from dstui.scheduler import submits
from dstui.scheduler.place import Place
from dstui.scheduler.queue import Queue
from dstui_store import CodeTree, Masker, Skipped, Snapshot, Store, StoreError, private_folder

if TYPE_CHECKING:
    from dstui.scheduler.jobs import JobRow

IDLE_SECONDS = 60.0
"""Without work it leaves."""

MESSAGE_BYTES = 1 << 16

KEPT_STORES, KEPT_TREES = 4, 8
"""Stores that are kept open, and trees that are kept in memory, from job to job."""

LEAVING_SECONDS = 5.0
"""The longest that a keeper needs from its last word to its end."""

MAX_LINKS = 20_000
"""Of what the snapshot skipped in one project."""


class Clerk:
    """One process's work.

    Args:
        place: the state folder.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._queue = Queue.open(place)
        self._stores: OrderedDict[str, Store] = OrderedDict()
        self._trees: OrderedDict[str, CodeTree] = OrderedDict()
        self._environment: tuple[str, dict[str, str]] = ("", {})

    def start(self, wish: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Make the run of an attempt; the answer and the descriptors that go with it.

        Raises:
            DstuiError, StoreError, OSError: it cannot be started now.
        """
        job = self._queue.job(str(wish["job"]))
        if job is None:
            raise LaunchError(f"There is no job `{wish['job']}`")
        spec = self._queue.spec(job.submit)
        environment = self._variables(job.submit)
        store = self._store(job.project)
        run = str(wish["run"])
        folder, cwd = self._work_folder(store, job, spec, run)
        try:
            request = _request(job, spec)
            resolved = command.resolve(request.words, cwd, environment)
            python = interpreter.of_command(resolved, cwd, environment)
            background = Background(store.layout, environment, python, cwd, request.hash_max_bytes)
            record = launch_record(
                request,
                Path(job.cwd),
                environment,
                resolved,
                _snapshot(spec),
                Masker(environment),
                background.described,
            )
            record |= {"job": job.id, "attempt": wish["attempt"], "parent_run": job.run or spec.get("parent_run")}
            new = store.begin(run, record)
        except (DstuiError, StoreError, OSError):
            _discard(folder)
            raise
        given = inputs.given(request.data, Path(job.cwd), store.layout.project)
        background.begin(new.folder, new.id, given, record["created_at"])
        variables = script_environment(store, new, request, environment) | self._job_variables(job, wish, new.folder)
        if folder is not None:
            variables["PYTHONPATH"] = _with_roots(folder, variables.get("PYTHONPATH", ""))
        plan = {
            "live": str(new.folder),
            "argv": list(resolved.argv),
            "cwd": str(cwd),
            "environment": variables,
            "preempt_file": variables["DSTUI_PREEMPT_FILE"],
        }
        descriptor = os.memfd_create("start")
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(json.dumps(plan).encode("utf-8", "surrogateescape"))
        return {"ok": True, "live": str(new.folder), "number": new.number}, [new.alive, descriptor]

    def commit(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Commit an ended run; what became of it, with a state of None when it never began.

        Raises:
            StoreError: it could not be written; its live folder stays.
        """
        job = self._queue.job(str(wish["job"]))
        run = str(wish["run"])
        if job is None:
            return {"ok": True, "state": None}
        store = self._store(job.project)
        live = store.live_run(run)
        if live is not None and (live.folder / "refused.json").exists():
            store.cancel(run)
            _discard(_folder_of(store, run))
            return {"ok": True, "state": None}
        spec = self._queue.spec(job.submit)
        try:
            complete(store, run, int(spec.get("hash_max_bytes", 256 << 20)))
        except (DstuiError, StoreError, OSError):
            pass  # What is not known then is recorded as such.
        try:
            masker = Masker(self._variables(job.submit))
        except DstuiError:
            masker = Masker(os.environ)
        record = store.commit_ended(run, masker, wait_seconds=LEAVING_SECONDS)
        kept = self._clear(store, spec, run)
        if record is None:
            return {"ok": True, "state": None, "kept": kept}
        return {
            "ok": True,
            "learned": job.learned,
            "peak_bytes": _peak_bytes(store, run),
            "state": record.state,
            "exit_code": record.exit_code,
            "stop_reason": record.stop_reason,
            "kept": kept,
        }

    def sample(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Have the load of a run sampled that has lasted a moment; a failure is noted in its folder."""
        job = self._queue.job(str(wish["job"]))
        if job is not None:
            wanted = bool(self._queue.spec(job.submit).get("sample", True))
            Sampling(str(wish["run"]), Path(wish["live"]), {}, wanted=wanted).at_once()
        return {"ok": True}

    def cancel(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Forget a run whose command never started."""
        job = self._queue.job(str(wish["job"]))
        if job is not None:
            store, run = self._store(job.project), str(wish["run"])
            store.cancel(run)
            _discard(_folder_of(store, run))
        return {"ok": True}

    def close(self) -> None:
        """Let go of everything."""
        for store in self._stores.values():
            store.close()
        self._queue.close()

    def _store(self, project: str) -> Store:
        store = self._stores.pop(project, None)
        if store is None or not store.layout.root.is_dir():
            store = Store.open(Path(project), create=True)
        self._stores[project] = store
        while len(self._stores) > KEPT_STORES:
            _, oldest = self._stores.popitem(last=False)
            oldest.close()
        return store

    def _variables(self, submit: str) -> dict[str, str]:
        if self._environment[0] != submit:
            self._environment = (submit, submits.environment(self._place.submit_file(submit)))
        return self._environment[1]

    def _job_variables(self, job: JobRow, wish: Mapping[str, Any], live: Path) -> dict[str, str]:
        checkpoints = self._place.checkpoints / job.id
        private_folder(checkpoints)
        try:
            latest = (checkpoints / "LATEST").read_text(errors="replace").strip()
        except OSError:
            latest = ""
        variables = {
            "DSTUI_CHECKPOINT_DIR": str(checkpoints),
            "DSTUI_RESUME": str(checkpoints / latest) if latest and "/" not in latest else "",
            "DSTUI_ATTEMPT": str(wish["attempt"]),
            "DSTUI_PREEMPT_FILE": str(live / "preempt"),
        }
        visible = wish.get("visible")
        if visible is not None:
            variables |= {"CUDA_VISIBLE_DEVICES": str(visible), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return variables

    def _work_folder(self, store: Store, job: JobRow, spec: Mapping[str, Any], run: str) -> tuple[Path | None, Path]:
        """(the checkout, None when the job runs in the project itself; where its command runs)."""
        tree = (spec.get("code") or {}).get("tree")
        if spec.get("in_place") or not isinstance(tree, str):
            return None, Path(job.cwd)
        folder = _folder_of(store, run)
        private_folder(folder.parent)
        _discard(folder)
        self._tree(store, tree).write(folder, links_out=True)
        _link_skipped(store.layout.project, folder, spec.get("links") or [])
        cwd = folder / os.path.relpath(job.cwd, job.project)
        return folder, cwd if cwd.is_dir() else folder

    def _tree(self, store: Store, tree: str) -> CodeTree:
        code = self._trees.pop(tree, None) or CodeTree(store.git, tree)
        self._trees[tree] = code
        while len(self._trees) > KEPT_TREES:
            self._trees.popitem(last=False)
        return code

    def _clear(self, store: Store, spec: Mapping[str, Any], run: str) -> str | None:
        """Remove a checkout in which the job left nothing new; else its path."""
        folder = _folder_of(store, run)
        if not folder.is_dir():
            return None
        tree = (spec.get("code") or {}).get("tree")
        known = {entry.path for entry in self._tree(store, tree).entries} if isinstance(tree, str) else set()
        if _has_new_files(folder, known | set(spec.get("links") or [])):
            return str(folder)
        _discard(folder)
        return None


def main() -> int:
    """Serve the daemon at the other end of the socket."""
    place, connection = Place(Path(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))
    clerk = Clerk(place)
    doing = {"commit": clerk.commit, "cancel": clerk.cancel, "sample": clerk.sample}
    while True:
        ready, _, _ = select.select([connection], [], [], IDLE_SECONDS)
        message = connection.recv(MESSAGE_BYTES) if ready else b""
        if not message:
            clerk.close()
            return 0
        wish = json.loads(message)
        answer: dict[str, Any]
        descriptors: list[int] = []
        try:
            if wish["op"] == "start":
                answer, descriptors = clerk.start(wish)
            else:
                answer = doing[wish["op"]](wish)
        except (DstuiError, StoreError) as error:
            answer = {"ok": False, "message": error.message, "code": getattr(error, "exit_code", None)}
        except OSError as error:
            answer = {"ok": False, "message": f"{error.strerror or error}: `{error.filename}`", "code": None}
        answer |= {"op": wish["op"], "job": wish["job"], "attempt": wish.get("attempt"), "run": wish.get("run")}
        _send(connection, answer, descriptors)


def _send(connection: socket.socket, answer: Mapping[str, Any], descriptors: list[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        connection.sendmsg([json.dumps(answer).encode()], rights)
    except OSError:
        pass  # The daemon is gone; the next one looks what became of the run.
    for descriptor in descriptors:
        os.close(descriptor)


def _peak_bytes(store: Store, run: str) -> int | None:
    """The most GPU memory that a run's own processes had on one GPU, None where it was not sampled."""
    try:
        summary = store.system_summary(run).get("summary")
    except StoreError:
        return None
    peaks = [
        values.get("max")
        for name, values in (summary.items() if isinstance(summary, dict) else ())
        if name.endswith(".own_memory_bytes") and isinstance(values, dict)
    ]
    numbers = [peak for peak in peaks if isinstance(peak, int | float)]
    return int(max(numbers)) if numbers else None


def _request(job: JobRow, spec: Mapping[str, Any]) -> Request:
    capture = spec.get("capture")
    return Request(
        words=job.words,
        name=job.name if spec.get("named") else None,
        experiment=spec.get("experiment"),
        tags=spec.get("tags") or (),
        notes=str(spec.get("notes") or ""),
        params=job.params,
        seed=spec.get("seed"),
        private=bool(spec.get("private")),
        data=[(str(path), str(source)) for path, source in spec.get("data") or ()],
        hash_max_bytes=int(spec.get("hash_max_bytes", 256 << 20)),
        capture=Capture(**capture) if isinstance(capture, dict) else Capture(),
        sample=bool(spec.get("sample", True)),
        time_limit_seconds=job.demand.time_limit_seconds,
        grace_seconds=float(spec.get("grace_seconds", 30.0)),
        log_max_bytes=int(spec.get("log_max_bytes", 1 << 30)),
    )


def _snapshot(spec: Mapping[str, Any]) -> Snapshot:
    code = spec.get("code") or {}
    return Snapshot(
        tree=code.get("tree"),
        commit=code.get("commit"),
        branch=code.get("branch"),
        edited=tuple(code.get("edited") or ()),
        added=tuple(code.get("added") or ()),
        skipped=tuple(Skipped(*item) for item in spec.get("skipped") or ()),
        partial=code.get("partial"),
        refused=code.get("refused"),
        submodules=dict(code.get("submodules") or {}),
    )


def _folder_of(store: Store, run: str) -> Path:
    return store.layout.root / "work" / run


def _discard(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _link_skipped(project: Path, folder: Path, links: list[str]) -> None:
    """What the snapshot does not hold stands in the checkout as links into the project."""
    for path in links[:MAX_LINKS]:
        target = folder / path
        try:
            if target.parent.resolve().is_relative_to(folder.resolve()):
                target.symlink_to(project / path)
        except OSError:
            continue


def _with_roots(folder: Path, path: str) -> str:
    """`PYTHONPATH` in which packages of the checkout stand before an editable install of the project."""
    roots = []
    if (folder / "src").is_dir() and not (folder / "src" / "__init__.py").exists():
        roots.append(str(folder / "src"))
    if any((folder / name).exists() for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        roots.append(str(folder))
    return os.pathsep.join([*roots, *([path] if path else [])])


def _has_new_files(folder: Path, known: set[str]) -> bool:
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*names, *(name for name in folders if os.path.islink(os.path.join(base, name)))):
            if os.path.relpath(os.path.join(base, name), folder) not in known:
                return True
    return False


if __name__ == "__main__":
    sys.exit(main())
