"""Runs that are going on: one folder each, written by the launcher, the keeper and the script.

Whether a run lives is judged on its own machine only, by the lock that its keeper holds and by the identity of its
process (pid and start time); never by age. A run of another machine or of another pid namespace is left alone.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstui_store import declared
from dstui_store.errors import LimitError, StoreError
from dstui_store.layout import Layout, machine_id, private_folder
from dstui_store.objects import sync_folder
from dstui_store.schema import RUN_ID, STATES, Json, RunRecord, is_finite

MAX_JSON_BYTES = declared.MAX_BYTES

LAST_TIME = 253_402_300_799.0
"""The end of year 9999, in seconds since the epoch: later ones have no text."""


class Liveness(enum.Enum):
    """What can be said of a live folder from here."""

    ALIVE = "alive"
    """Its keeper lives, or its command still does."""
    STARTING = "starting"
    """Its launcher lives and the keeper has not spoken yet."""
    ENDED = "ended"
    """The keeper wrote how it ended; only the commit is missing."""
    DEAD = "dead"
    """Keeper and command are gone without a word."""
    NEVER = "never"
    """The launcher died before the keeper started; nothing ran."""
    ELSEWHERE = "elsewhere"
    """Another machine's, or another pid namespace's: not for us to judge."""


@dataclass(frozen=True)
class LiveRun:
    """One folder of `live/`, read at one moment. The JSON objects are as their writers left them."""

    folder: Path
    alive_file: Path
    launch: Mapping[str, Json]
    state: Mapping[str, Json]
    exit: Mapping[str, Json]

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """The folder of its journals."""
        return self.folder / "journal"

    @property
    def last_sign(self) -> float | None:
        """When its keeper was last seen, seconds since the epoch."""
        return moment(self.state.get("heartbeat_at")) or moment(self.launch.get("created_at"))

    def liveness(self) -> Liveness:
        """Whether it lives, as far as can be told from here."""
        machine = self.state.get("machine") or self.launch.get("machine")
        if machine != machine_id():
            return Liveness.ELSEWHERE
        if not self.state and not self.exit:
            return self._before_keeper()
        with lock_alive(self.alive_file, shared=True) as free:
            if not free:
                return Liveness.ALIVE
        # Read anew: the keeper may have written its last word between our reading and its unlocking.
        if (self.folder / "exit.json").exists():
            return Liveness.ENDED
        if self.state.get("boot") != boot_id():
            return Liveness.DEAD
        if self.state.get("pid_namespace") != pid_namespace():
            return Liveness.ELSEWHERE
        return Liveness.ALIVE if _lives(self.state, "pid", "start_ticks") else Liveness.DEAD

    def _before_keeper(self) -> Liveness:
        if self.launch.get("boot") == boot_id():
            if self.launch.get("pid_namespace") != pid_namespace():
                return Liveness.ELSEWHERE
            if _lives(self.launch, "launcher_pid", "launcher_start_ticks"):
                return Liveness.STARTING
            with lock_alive(self.alive_file, shared=True) as free:
                if not free:
                    return Liveness.STARTING
        return Liveness.NEVER

    def config(self) -> dict[str, Json]:
        """Params: those of the launcher, then those that the script's processes declared."""
        return declared.settings(self.folder, self.launch).values

    def about(self) -> tuple[str, str | None, tuple[str, ...]]:
        """(name, experiment, tags): what the user typed stands over what the script's `init` says."""
        launch = self.launch
        name, experiment = _text(launch.get("name")), _text(launch.get("experiment"))
        tags = set(_texts(launch.get("tags")))
        for line in declared.about(self.folder):
            if not launch.get("named"):
                name = _text(line.get("name")) or name
            if not launch.get("experiment"):
                experiment = _text(line.get("experiment")) or experiment
            tags.update(_texts(line.get("tags")))
        return name or self.id[:5], experiment, tuple(sorted(tags))

    def part(self, key: str) -> Mapping[str, Json]:
        """An object of the launch record, empty where there is none."""
        value = self.launch.get(key)
        return value if isinstance(value, dict) else {}

    def log_parts(self) -> list[Path]:
        """The files of its output in order: `log`, then the segments after the first `log_max_bytes`."""
        tails = [path for path in self.folder.glob("log.tail.*") if path.suffix[1:].isdigit()]
        parts = [self.folder / "log", *sorted(tails, key=lambda path: int(path.suffix[1:]))]
        return [path for path in parts if path.is_file() and not path.is_symlink()]

    def log_tail(self, limit: int) -> bytes:
        """The last `limit` bytes of its output."""
        tail = b""
        for path in reversed(self.log_parts()):
            with path.open("rb") as source:
                source.seek(max(0, path.stat().st_size - (limit - len(tail))))
                tail = source.read(limit - len(tail)) + tail
            if len(tail) >= limit:
                break
        return tail

    def errors(self) -> list[str]:
        """What could not be tracked, one line each."""
        return [line.decode("utf-8", "replace") for line in _lines(self.folder / "errors")]

    def record(self, summary: Mapping[str, Any] | None = None) -> RunRecord:
        """The run as listings show it while it has no commit."""
        launch, end = self.launch, self.exit
        state, duration = end.get("state"), end.get("duration_seconds")
        name, experiment, tags = self.about()
        return RunRecord(
            id=self.id,
            number=_whole(launch.get("number")) or 0,
            name=name,
            experiment=experiment,
            state=state if state in STATES else "lost" if end else "running",
            stop_reason=_text(end.get("stop_reason")),
            exit_code=_whole(end.get("exit_code")),
            signal=_whole(end.get("signal")),
            command=_texts(launch.get("command")),
            started_at=moment(self.state.get("started_at")) or moment(launch.get("created_at")),
            ended_at=moment(end.get("ended_at")),
            duration_seconds=float(duration) if is_finite(duration) else None,
            user=_text(launch.get("user")) or "",
            host=_text(launch.get("host")) or "",
            writer=_text(launch.get("writer")) or "",
            config=self.config(),
            summary=dict(summary or {}),
            tags=tags,
            notes=_text(launch.get("notes")) or "",
            parent_run=_text(launch.get("parent_run")),
            private=launch.get("private") is True,
        )


def create(layout: Layout, run: str, launch: Mapping[str, Json]) -> tuple[Path, int]:
    """Makes `live/<run>/` with its launch record; returns the folder and the held lock of `alive`.

    The lock is the launcher's until the keeper inherits the descriptor, so there is no moment without a holder.

    Raises:
        LimitError: the record is larger than its readers admit.
        StoreError: the disk refused; nothing of the run is left.
    """
    record = {**launch, **identity("launcher_pid", "launcher_start_ticks")}
    if (size := len(json.dumps(record))) > MAX_JSON_BYTES:
        raise LimitError("A run's launch record in bytes", size, MAX_JSON_BYTES)
    private_folder(layout.live)
    building = layout.live / f".{run}.{os.getpid()}"
    alive = layout.alive(run)
    alive_building = building / "alive" if alive.parent.parent == layout.live else alive
    descriptor = -1
    try:
        building.mkdir(mode=0o700)
        (building / "journal").mkdir(mode=0o700)
        private_folder(alive_building.parent)
        descriptor = os.open(alive_building, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_json(building / "launch.json", record)
        building.rename(layout.live / run)
    except (OSError, StoreError) as error:
        shutil.rmtree(building, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"Cannot make `{layout.live / run}`: {error.strerror}", hint="free some space") from error
    return layout.live / run, descriptor


def scan(layout: Layout) -> Iterator[LiveRun]:
    """Every live run of the store, oldest first; folders that cannot be read are passed over."""
    try:
        names = sorted(name for name in os.listdir(layout.live) if RUN_ID.fullmatch(name))
    except FileNotFoundError:
        return
    found = [run for run in (read(layout, name) for name in names) if run is not None]
    yield from sorted(found, key=lambda run: moment(run.launch.get("created_at")) or 0.0)


def read(layout: Layout, run: str) -> LiveRun | None:
    """One live run, or None when its folder is gone or holds no launch record."""
    folder = layout.live / run
    launch = read_json(folder / "launch.json")
    if not launch or folder.is_symlink() or (folder / "journal").is_symlink():
        return None
    return LiveRun(
        folder=folder,
        alive_file=layout.alive(run),
        launch=launch,
        state=read_json(folder / "state.json"),
        exit=read_json(folder / "exit.json"),
    )


@contextlib.contextmanager
def lock_alive(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Tries the lock of a run's `alive` file without waiting; yields whether it was free, holds it meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError as error:
        raise StoreError(f"Cannot read `{path}`: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def wait_until_free(path: Path, seconds: float) -> None:
    """Waits for the holder of a run's `alive` lock to go, for a keeper that has said its last word."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with lock_alive(path, shared=True) as free:
            if free:
                return
        time.sleep(0.002)


def remove(layout: Layout, run: str) -> None:
    """Removes a live folder; it is renamed first, so that half a folder never looks like a run."""
    private_folder(layout.root / "tmp")
    gone = layout.root / "tmp" / f"{run}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        (layout.live / run).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    if layout.local != layout.root:
        shutil.rmtree(layout.alive(run).parent, ignore_errors=True)


def sweep(layout: Layout) -> None:
    """Removes what a crash left of folders being made or removed."""
    if (layout.root / "tmp").is_dir():
        for path in (layout.root / "tmp").iterdir():
            if not _has_living_owner(path):
                discard(path)
    if layout.live.is_dir():
        for path in layout.live.glob(".*"):
            with contextlib.suppress(StoreError), lock_alive(path / "alive") as free:
                if free and not _has_living_owner(path):
                    discard(path)
    for path in (layout.writer_file.parent, layout.root):
        for left in (*path.glob(f"{machine_id()}.[0-9]*"), *path.glob("store.git.[0-9]*")):
            if not _has_living_owner(left):
                discard(left)


def discard(path: Path) -> None:
    """Removes a file or a folder, as far as it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _has_living_owner(path: Path) -> bool:
    """Whether a temporary name ends in the pid of a process that is there."""
    owner = path.name.rpartition(".")[2]
    return owner.isdigit() and Path(f"/proc/{owner}").exists()


def identity(pid_key: str, ticks_key: str) -> dict[str, Json]:
    """Who this process is on this machine, for a JSON record."""
    return {
        "machine": machine_id(),
        "boot": boot_id(),
        "pid_namespace": pid_namespace(),
        pid_key: os.getpid(),
        ticks_key: start_ticks(os.getpid()),
    }


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of its stat), or None when it is gone.

    With the pid it names one process for the time of a boot. A zombie counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def boot_id() -> str:
    """The kernel's random id of this boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_namespace() -> int:
    """The inode of our pid namespace: pids of another one mean nothing here."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def write_json(path: Path, data: Mapping[str, Json]) -> None:
    """Writes one JSON file whole or not at all, durably.

    Raises:
        StoreError: the disk refused; what was there before stays.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(data).encode())
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"`{path}` could not be written: {error.strerror}", hint="free some space") from error


def read_json(path: Path) -> dict[str, Json]:
    """The object of a JSON file of a live folder; empty when it is missing, too large or no object."""
    content = _read_regular(path)
    if len(content) > MAX_JSON_BYTES:
        return {}
    try:
        data = declared.load(content)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def moment(value: Json) -> float | None:
    """A time that a record may hold, in seconds since the epoch; None for anything else."""
    return float(value) if is_finite(value) and 0 <= value <= LAST_TIME else None


def _read_regular(path: Path) -> bytes:
    """At most `MAX_JSON_BYTES` and one more of a file; nothing of a link or of a pipe, which could be waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_JSON_BYTES + 1)
    finally:
        os.close(descriptor)


def _lives(record: Mapping[str, Json], pid_key: str, ticks_key: str) -> bool:
    pid = record.get(pid_key)
    return isinstance(pid, int) and pid > 0 and start_ticks(pid) == record.get(ticks_key) is not None


def _lines(path: Path) -> list[bytes]:
    return _read_regular(path)[:MAX_JSON_BYTES].splitlines()


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
