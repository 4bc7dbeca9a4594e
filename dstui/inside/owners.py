"""Tell which run a new file of the project belongs to when several runs go on at once.

Standard library only, Python 3.9, run by path or as `dstui.inside.owners`.

Each keeper looks through the same folders, so four jobs started together would each take the metrics of all four. As
long as no other run is there, every new file is ours. Otherwise a file is ours only for a reason, in this order:

1. the hook in our processes named its folder, or the one in theirs;
2. our command names its folder (`--output_dir out/a`) and theirs does not, or the other way round;
3. a process of ours has it open, or one of theirs;
4. it lies below the folder our command was started in and not below theirs, or the other way round;
5. it was last written before they began, or after they had ended.

What none of these tells belongs to nobody: no curve is better than the curve of another run.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from dstui.inside import processes
else:
    import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RIVALS = 256
"""Other runs remembered."""

RECORD_BYTES = 4 << 20
"""A larger record of another run is not read."""

HELLO_BYTES = 1 << 20
"""So much of what another run's hook says is read."""

FRESH_SECONDS = 60.0
"""A sign of life from another machine, or of a launch, is believed for this long."""


class Hello:
    """What the hook says in `hello.jsonl`, read as it grows.

    Attributes:
        owned: folders whose event files the hook has seen being written.
        wanted: folders that are to be watched.
    """

    def __init__(self, live: str) -> None:
        self.owned: set[str] = set()
        self.wanted: dict[str, None] = {}
        self._path = os.path.join(live, "hello.jsonl")
        self._place = 0

    def read(self) -> None:
        """Read what is new; lines that say nothing of this kind are passed over."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            data = os.pread(descriptor, HELLO_BYTES - self._place, self._place)
        except OSError:
            return
        finally:
            os.close(descriptor)
        end = data.rfind(b"\n") + 1
        self._place += end
        for line in data[:end].splitlines():
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict):
                self._take(said)

    def _take(self, said: dict[str, Any]) -> None:
        owned, wanted = said.get("owned"), said.get("logdir")
        if isinstance(owned, str) and os.path.isabs(owned):
            self.owned.add(os.path.normpath(owned))
        if isinstance(wanted, str) and os.path.isabs(wanted):
            self.wanted[os.path.normpath(wanted)] = None

    def has_seen(self, folder: str) -> bool:
        """Whether the event files of a folder were seen by the hook, or those of one above it."""
        return _is_in(folder, self.owned)


class _Rival:
    """Another run of the same project."""

    def __init__(self, live: str) -> None:
        self.hello = Hello(live)
        self.pid = 0
        self.ended_at: float | None = None
        self._live = live
        launch = _read_record(os.path.join(live, "launch.json"))
        self.cwd = _text(launch.get("cwd"))
        self.named = named_folders(launch, self.cwd)
        began = launch.get("created_at")
        self.began_at = float(began) if isinstance(began, (int, float)) else 0.0

    def renew(self, now: float) -> None:
        """See whether it goes on."""
        self.hello.read()
        state = _read_record(os.path.join(self._live, "state.json"))
        pid = state.get("keeper_pid")
        seen = state.get("heartbeat_at", self.began_at)
        if os.path.exists(os.path.join(self._live, "exit.json")):
            alive = False
        elif isinstance(pid, int) and state.get("boot") == processes.boot_id():
            alive = processes.start_ticks(pid) == state.get("keeper_start_ticks")
            self.pid = pid
        else:
            alive = isinstance(seen, (int, float)) and now - seen < FRESH_SECONDS
        if alive:
            self.ended_at = None
        elif self.ended_at is None:
            self.ended_at = now

    def may_have_written(self, modified_at: float) -> bool:
        """Whether it was there when a file was last changed."""
        return self.began_at <= modified_at + 1.0 and (self.ended_at is None or modified_at <= self.ended_at + 1.0)


class Owners:
    """Tells of files whether they are this run's.

    Args:
        live: its live directory.
        launch: its launch record.
        cwd: where its command was started.
        hello: what its hook says.
    """

    def __init__(self, live: str, launch: dict[str, Any], cwd: str, hello: Hello) -> None:
        self._folder, self._name = os.path.split(live)
        self._cwd = cwd
        self._hello = hello
        self._named = named_folders(launch, cwd)
        self._rivals: dict[str, _Rival] = {}
        self._ours: set[str] = set()
        self._open: dict[str, set[int]] | None = None

    def look(self) -> None:
        """See who else is there."""
        self._open = None
        try:
            names = set(os.listdir(self._folder))
        except OSError:
            names = set()
        now = time.time()
        for name in names - self._rivals.keys() - {self._name}:
            live = os.path.join(self._folder, name)
            if len(self._rivals) < RIVALS and os.path.exists(os.path.join(live, "launch.json")):
                self._rivals[name] = _Rival(live)
        for rival in self._rivals.values():
            if rival.ended_at is None:
                rival.renew(now)

    def is_ours(self, path: str, modified_at: float) -> bool | None:
        """Whether a file is this run's; None when nothing tells."""
        rivals = [rival for rival in self._rivals.values() if rival.may_have_written(modified_at)]
        if not rivals:
            return True
        folder = os.path.dirname(path)
        if folder in self._ours:
            return True
        answer = self._ask(path, folder, rivals)
        # The folder that everybody starts in says nothing about its other files.
        if answer and not _is_in(self._cwd, {folder}):
            self._ours.add(folder)
        return answer

    def _ask(self, path: str, folder: str, rivals: list[_Rival]) -> bool | None:
        for ours, theirs in (
            ({*self._hello.owned, *self._hello.wanted}, _all(rival.hello.owned for rival in rivals)),
            (self._named, _all(rival.named for rival in rivals)),
        ):
            # Both may be right when one lies below the other: then the nearer one is.
            mine, other = _nearest(folder, ours), _nearest(folder, theirs)
            if mine != other:
                return mine > other
        if self._open is None:
            self._open = self._open_files(rivals)
        holders = self._open.get(os.path.realpath(path))
        if holders:
            return 0 in holders
        mine, other = _nearest(folder, {self._cwd}), _nearest(folder, {rival.cwd for rival in rivals if rival.cwd})
        return mine > other if mine != other else None

    @staticmethod
    def _open_files(rivals: list[_Rival]) -> dict[str, set[int]]:
        """Which runs have which files open: 0 is this one, others go by the pid of their keeper."""
        families = {0: set(processes.family(os.getpid()))}
        families.update((rival.pid, set(processes.family(rival.pid))) for rival in rivals if rival.pid)
        runs: dict[int, int] = {}
        # A run within a run: the processes of the inner one are its own.
        for run in sorted(families, key=lambda run: len(families[run]), reverse=True):
            runs.update(dict.fromkeys(families[run], run))
        found: dict[str, set[int]] = {}
        for pid, run in runs.items():
            for path in _files_of(pid):
                found.setdefault(path, set()).add(run)
        return found


def _files_of(pid: int) -> Iterator[str]:
    """Paths that a process has open."""
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)
    except OSError:
        return  # It has ended, or is another user's.
    for number in numbers:
        try:
            target = os.readlink(f"{folder}/{number}")
        except OSError:
            continue
        if target.startswith("/"):
            yield target


def named_folders(launch: dict[str, Any], cwd: str) -> set[str]:
    """Paths that the words of a command may mean, but for the folder it was started in."""
    words = launch.get("command")
    paths = set()
    for word in words if isinstance(words, list) else ():
        if not isinstance(word, str) or len(word) > 4096 or "\0" in word:
            continue
        value = word.rpartition("=")[2]
        if value and not value.startswith("-"):
            path = os.path.normpath(os.path.join(cwd, value))
            if not _is_in(cwd, {path}):
                paths.add(path)
    return paths


def _nearest(folder: str, folders: Iterable[str]) -> int:
    """Length of the longest of these paths at or above a folder; 0 when there is none."""
    return max((len(path) for path in folders if _is_in(folder, {path})), default=0)


def _is_in(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _all(sets: Iterable[set[str]]) -> set[str]:
    return set().union(*sets)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_record(path: str) -> dict[str, Any]:
    """A JSON object of another run; empty when there is none, or another thing in its place."""
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
