"""The store of one project: the one object through which runs are begun, ended, found and read.

`Store.open` finds the place, checks that it is ours, and makes nothing until a run begins. Every listing merges the
committed runs (index) with the live ones; a dead live run of this machine is committed before it is listed.
Not thread-safe: one Store for each thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dstui_store import live, naming
from dstui_store.errors import (
    LockedError,
    RunNotFoundError,
    StoreError,
)
from dstui_store.git import Git
from dstui_store.index import Index, apply_operations
from dstui_store.layout import Layout, locate, private_folder, private_local
from dstui_store.live import Liveness, LiveRun
from dstui_store.objects import Staging, sweep_stagings
from dstui_store.reading import RunReading

if TYPE_CHECKING:
    from dstui_store.commit import RunFiles
    from dstui_store.schema import Json, MetricSummary, RunRecord
    from dstui_store.secrets import Masker
    from dstui_store.snapshot import Snapshot

LOCK_SECONDS = 30.0

EXIT_LOST = "the keeper is gone without a record: killed, or the machine went down"


@dataclass(frozen=True)
class NewRun:
    """A run that begins: its live folder is there, its command not yet started.

    Attributes:
        alive: descriptor of the held `alive` lock, for the keeper to inherit; whoever starts it closes our copy.
    """

    id: str
    number: int
    folder: Path
    alive: int


class Store(RunReading):
    """Runs of one project. Made by `Store.open`."""

    def __init__(self, layout: Layout, git: Git | None, *, read_only: bool = False) -> None:
        self.layout = layout
        self._git = git
        self._index: Index | None = None
        self._read_only = read_only

    @classmethod
    def open(cls, start: Path | None = None, *, create: bool = False, read_only: bool = False) -> Store:
        """The store of the project that `start` (default: the current folder) lies in.

        Args:
            create: make it on disk when it is not there yet; without it an absent store reads as empty.
            read_only: never write: no index, no commit of dead runs.

        Raises:
            StoreError: the place is somebody else's, or git is missing.
        """
        layout = locate(start)
        store = cls(layout, Git.open(layout, create=create), read_only=read_only)
        if create:
            store._prepare()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reading process and closes the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._git is not None:
            self._git.close()

    @property
    def exists(self) -> bool:
        """Whether the store is on disk."""
        return self._git is not None

    @property
    def git(self) -> Git:
        """The repository; made when it is not there yet."""
        if self._git is None:
            self._git = Git.open(self.layout, create=True)
            self._prepare()
        assert self._git is not None
        return self._git

    @property
    def index(self) -> Index:
        """The index, synced by whoever asks for rows."""
        if self._index is None:
            private_local(self.layout)
            self._index = Index(self.git, self.layout.index, read_only=self._read_only)
        return self._index

    # --- beginning and ending ---

    def snapshot(self) -> Snapshot:
        """Stores the project's files as they are now."""
        from dstui_store import snapshot

        return snapshot.take(self.git)

    def begin(self, run: str, launch: Mapping[str, Json]) -> NewRun:
        """Makes the live folder of a new run and gives it the next number.

        Args:
            launch: the keys of `launch.json`, without number and writer.
        """
        writer = self.writer()
        number = self._next_number(writer)
        folder, alive = live.create(
            self.layout, run, {**launch, "v": 1, "run": run, "number": number, "writer": writer}
        )
        return NewRun(run, number, folder, alive)

    def cancel(self, run: str) -> None:
        """Removes a run whose command never started; nothing of it is kept."""
        live.remove(self.layout, run)

    def commit_ended(self, run: str, masker: Masker | None = None, *, wait_seconds: float = 0) -> RunRecord | None:
        """Commits a live run that has ended; None when it is still alive, or not ours to judge.

        Safe to call by several processes at once and after any crash: the `alive` lock lets one through, and a run
        that is already in the log is only cleaned up.

        Args:
            run: its whole id.
            masker: replaces secret values in config and log; by default those of this process's environment.
            wait_seconds: how long a keeper that is just leaving is waited for.

        Raises:
            StoreError: it could not be written; its live folder stays, with every point.
        """
        found = live.read(self.layout, run)
        if found is None:
            return self._committed(run)
        live.wait_until_free(found.alive_file, wait_seconds)
        liveness = found.liveness()
        if liveness is Liveness.NEVER:
            live.remove(self.layout, run)
            return None
        if liveness not in {Liveness.ENDED, Liveness.DEAD}:
            return None
        with live.lock_alive(found.alive_file) as free:
            if not free:
                return None
            # Read under the lock: whoever held it before may have written more, or committed it.
            found = live.read(self.layout, run)
            if found is None:
                return self._committed(run)
            return self._commit(found, masker)

    def commit_gone(self, run: str) -> RunRecord:
        """Commits a run of another machine or container as `lost`, because its user says that machine is gone.

        Raises:
            StoreError: it is alive here, or no live run.
        """
        found = live.read(self.layout, run)
        if found is None:
            raise RunNotFoundError(run, hint="only a running run can be given up")
        # Asked before it is locked: the lock would be taken for its keeper's.
        alive = found.liveness() in {Liveness.ALIVE, Liveness.STARTING}
        with live.lock_alive(found.alive_file) as free:
            if alive or not free:
                raise StoreError(
                    f"Run `{run[: naming.MIN_SHOWN_ID]}` is alive on this machine", hint="`ds stop` ends it"
                )
            return self._commit(found)

    def recover(self) -> list[RunRecord]:
        """Commits every dead run of this machine and removes what crashes left; returns the runs committed.

        A run that cannot be committed keeps its live folder and is reported by `doctor`.
        """
        if self._read_only or not self.exists:
            return []
        recovered: list[RunRecord] = []
        for run in live.scan(self.layout):
            with contextlib.suppress(StoreError):
                if run.liveness() in {Liveness.ENDED, Liveness.DEAD, Liveness.NEVER}:
                    record = self.commit_ended(run.id)
                    if record is not None:
                        recovered.append(record)
        sweep_stagings(self.layout.quarantine)
        live.sweep(self.layout)
        if self.git.leftover_locks():
            with contextlib.suppress(LockedError), self.locked():
                self.git.remove_leftover_locks()
        return recovered

    def operate(self, run: str, op: str, **values: Json) -> None:
        """Logs an operation on a run: `tag untag` (tag=), `note rename` (value=), `del undel`.

        Raises:
            StoreError: the log could not be written.
        """
        from dstui_store.commit import stage_operation

        now = time.time()
        writer = self.writer()
        line = {"op": op, "run": run, "time": now, "writer": writer, **values}
        with self.git.staging() as staging, self.locked() as lock:
            ref = f"refs/ds/p/{writer}"
            tip, tree = self._tip(ref, staging)
            new = stage_operation(staging, line, tree, tip, self._author(), now)
            staging.publish()
            self.git.update_ref(ref, new, self.git.read_ref(ref), lock)

    # --- reading ---

    def sync(self) -> int:
        """Takes the newest log entries into the index; returns the version of the newest change."""
        return self.index.sync() if self.exists else 0

    def records(self) -> list[RunRecord]:
        """Every run that is not deleted, live ones first, newest start first."""
        if not self.exists:
            return []
        # Live ones first: a run that is committed meanwhile is then in the index, and never in neither.
        lives = self.live_records()
        self.index.sync()
        committed = list(self.index.records())
        known = {record.id for record in committed}
        return [record for record in lives if record.id not in known] + committed

    def live_runs(self) -> list[LiveRun]:
        """Live folders, oldest first."""
        return list(live.scan(self.layout))

    def live_records(self) -> list[RunRecord]:
        """Live runs as records, with the summary of their journals so far, newest first."""
        runs = self.live_runs()
        if not runs:
            return []
        records = [run.record(_live_summary(run)) for run in runs]
        if self.exists:
            self.index.sync()
            records = [apply_operations(record, self.index.operations(record.id, record.writer)) for record in records]
        return sorted(records, key=lambda record: -(record.started_at or 0.0))

    def live_run(self, run: str) -> LiveRun | None:
        """The live folder of a run, None when it is committed or unknown."""
        return live.read(self.layout, run)

    def record(self, run: str) -> RunRecord:
        """One run by its whole id.

        Raises:
            RunNotFoundError: no such run.
        """
        found = live.read(self.layout, run)
        lively = None if found is None else found.record(_live_summary(found))
        # As in `records`: looked for among the live ones first, so it is missed in neither.
        self.index.sync()
        committed = self.index.record(run)
        if committed is not None:
            return committed
        if lively is None:
            raise RunNotFoundError(run)
        return apply_operations(lively, self.index.operations(run, lively.writer))

    def resolve(self, name: str) -> str:
        """The id of the run that a name stands for: id prefix, `#142`, `alice#142`, `@`, `@~2`, commit, or run name.

        Raises:
            RunNotFoundError: none; carries those that come close.
            AmbiguousRunError: more than one.
        """
        if not self.exists:
            raise RunNotFoundError(name, hint="this project has no runs yet: `ds run train.py` makes one")
        lives = self.live_records()
        self.index.sync()
        return naming.resolve(name, self.index, lives, self.writer())

    def shown_id_length(self) -> int:
        """Length of the shortest id prefix, at least 5, that tells all runs apart."""
        return naming.shown_length(self.index, self.live_records()) if self.exists else naming.MIN_SHOWN_ID

    def writer(self) -> str:
        """The id of this clone on this machine; made at first use, anew when the store was copied or is shared."""
        given = os.environ.get("DSTUI_WRITER")
        if given:
            return _writer_name(given)
        data = live.read_json(self.layout.writer_file)
        if data.get("inode") == self.git.layout.store_git.stat().st_ino and isinstance(data.get("writer"), str):
            return str(data["writer"])
        with self.locked():
            return str(self._new_writer()["writer"])

    # --- inside ---

    def _prepare(self) -> None:
        for path in (
            self.layout.live,
            self.layout.quarantine,
            self.layout.root / "tmp",
            self.layout.writer_file.parent,
        ):
            private_folder(path)
        private_local(self.layout)

    def _new_writer(self) -> dict[str, Json]:
        inode = self.layout.store_git.stat().st_ino
        data = live.read_json(self.layout.writer_file)
        if data.get("inode") != inode:
            data = {"writer": f"{_writer_name(_user())[:50]}-{os.urandom(4).hex()}", "inode": inode, "last": 0}
            live.write_json(self.layout.writer_file, data)
        return data

    def _next_number(self, writer: str) -> int:
        """The next run number of a writer; a number is never given twice, even after a power cut."""
        with self.locked():
            given = bool(os.environ.get("DSTUI_WRITER"))
            # A given writer may move from machine to machine, and its numbers with it.
            path = self.layout.writer_file.with_name(f"given-{writer}") if given else self.layout.writer_file
            data = live.read_json(path) if given else self._new_writer()
            last = int(data.get("last") or 0)
            if last == 0:
                self.index.sync()
                lives = [run.record() for run in self.live_runs()]
                numbers = [record.number for record in lives if record.writer == writer]
                last = max([self.index.last_number(writer), *numbers])
            live.write_json(path, {**data, "last": last + 1})
            return last + 1

    def _commit(self, run: LiveRun, masker: Masker | None = None) -> RunRecord:
        from dstui_store import children, commit
        from dstui_store.secrets import Masker

        done = self._committed(run.id)
        if done is None:
            for child in children.split(
                self.layout, run, run.exit or _lost(run), lambda: self._next_number(self.writer())
            ):
                found = live.read(self.layout, child)
                if found is not None:
                    self._commit(found, masker)
            content = commit.collect(self.git, run, run.exit or _lost(run), masker or Masker(os.environ))
            with self.git.staging() as staging:
                done = self._publish(staging, content)
        live.remove(self.layout, run.id)
        return done

    def _publish(self, staging: Staging, content: RunFiles) -> RunRecord:
        from dstui_store import commit

        author = self._author()
        run_commit, tree = commit.stage(staging, content, author)
        # Synced before the lock is taken, so that others wait for the last two objects only.
        staging.publish()
        record = content.record.replace(commit=run_commit)
        ref = f"refs/ds/p/{self.writer()}"
        with self.locked() as lock:
            tip, _ = self._tip(ref, staging)
            entry = commit.stage_log_entry(staging, record, run_commit, tree, tip, author)
            staging.publish()
            self.git.update_ref(ref, entry, self.git.read_ref(ref), lock)
        return record

    def _tip(self, ref: str, staging: Staging) -> tuple[str, str]:
        """(commit, tree) of a chain's newest entry; a fresh chain gets its first."""
        tip = self.git.read_ref(ref)
        if tip is None:
            from dstui_store.commit import stage_first

            return stage_first(staging, self._author(), time.time())
        head = self.git.object(tip, limit=1 << 16, kind="commit").split(b"\n", 1)[0]
        return tip, head.removeprefix(b"tree ").decode()

    def _author(self) -> str:
        user = re.sub(r"[<>\n\0]", "", _user())
        return f"{user} <{self.writer()}@dstui>"

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Holds the store's lock; yields its descriptor, for git to inherit."""
        private_local(self.layout)
        try:
            descriptor = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"`{self.layout.lock}` cannot be opened: {error.strerror}", hint="remove it") from error
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            pause = 0.001
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LockedError(
                            f"`{self.layout.lock}` has been held for {LOCK_SECONDS:.0f} s by {_holder(descriptor)}",
                            hint="end that process if it hangs",
                        ) from None
                time.sleep(pause)
                pause = min(pause * 1.5, 0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def _committed(self, run: str) -> RunRecord | None:
        self.index.sync()
        return self.index.record(run)


def _live_summary(run: LiveRun) -> dict[str, MetricSummary]:
    from dstui_store.commit import JOURNAL_HEADER_BYTES

    if not any(path.stat().st_size > JOURNAL_HEADER_BYTES for path in run.journal.glob("*.dsj")):
        return {}
    from dstui_store import journal

    return dict(journal.summary(run.journal))


def _lost(run: LiveRun) -> dict[str, Json]:
    """The end of a run whose keeper left no record: at its last sign."""
    started = live.moment(run.state.get("started_at")) or live.moment(run.launch.get("created_at"))
    times = [path.stat().st_mtime for path in (run.folder / "log", *run.journal.glob("*.dsj")) if path.exists()]
    ended = max([*times, run.last_sign or 0.0, started or 0.0])
    return {
        "state": "lost",
        "stop_reason": EXIT_LOST,
        "exit_code": None,
        "signal": None,
        "started_at": started,
        "ended_at": ended,
        "duration_seconds": max(0.0, ended - (started or ended)),
        "log_bytes": sum(path.stat().st_size for path in run.log_parts()),
    }


def _writer_name(text: str) -> str:
    """The text as a writer: git takes no ref with two dots in a row, a dot first or last, or `.lock` at its end."""
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]", "-", text.lower()))[:64]
    return re.sub(r"(\.lock)+$", "", name.strip(".")).lstrip("-_.") or "user"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _holder(descriptor: int) -> str:
    """Who holds a lock, by /proc/locks: `pid 4121 (python)`."""
    inode = os.fstat(descriptor).st_ino
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            parts = line.split()
            if parts[1] != "->" and parts[5].endswith(f":{inode}"):
                name = Path(f"/proc/{parts[4]}/comm").read_text().strip()
                return f"pid {parts[4]} ({name})"
    return "another process"
