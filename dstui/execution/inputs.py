"""The data of a run: what `--data` named, and the files that the script opened; the content of `data.json`."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstui.errors import LaunchError
from dstui.execution.hashing import HashCache, Ongoing, Stopped, hash_path, stamp_of
from dstui_store import iso_time

MAX_OPENED = 4_096
"""Opened files that are listed."""

MAX_OPENED_BYTES = 8 << 20
"""Of the list that the script's processes write."""

MAX_LISTED_BYTES = 900 * 1024
"""Of `data.json`, below what every reader admits."""

LOOKED_AT_AGAIN = 10_000
"""Folders with more files are not looked through a second time at the end."""

NOT_YET = "not hashed: the run ended first"

WRITTEN = "written during the run"

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

SYSTEM_FOLDERS = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/", "/run/")
"""What lies there belongs to the machine, not to the experiment."""

PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", ".git"})


@dataclass
class Input:
    """One file or folder that a run read.

    Attributes:
        path: below the project relative to it, else absolute; a URL as it was given.
        source: `option` (`--data`), `setting` (`data.paths`) or `opened` (by the script).
        kind: `file`, `folder` or `url`.
        reason: why there is no hash, None when there is one.
        unstable: it changed while the command ran, so the hash may not be that of what was read.
    """

    path: str
    source: str
    kind: str
    size: int | None = None
    files: int | None = None
    modified: float | None = None
    sha256: str | None = None
    reason: str | None = NOT_YET
    unstable: bool = False
    stamp: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """The entry of `data.json`."""
        return {
            "path": self.path,
            "source": self.source,
            "kind": self.kind,
            "size": self.size,
            "files": self.files,
            "modified_at": iso_time(self.modified),
            "sha256": self.sha256,
            "reason": self.reason,
            "unstable": self.unstable,
        }


@dataclass(frozen=True)
class Place:
    """Where a run is, to tell data from everything else that a script opens.

    Attributes:
        project: paths below it are shown relative to it.
        store: the store's folder; what is in it is ours.
        packages: folders of Python and its packages, each with a slash at its end.
        code: gives the project's paths that are stored with the run; called once, when it is needed.
        started: when the run began, seconds since the epoch.
        hash_max_bytes: larger opened files are listed without a hash.
    """

    project: Path
    store: Path
    packages: Sequence[str]
    code: Callable[[], Iterable[str]]
    started: float
    hash_max_bytes: int


def given(paths: Sequence[tuple[str, str]], cwd: Path, project: Path) -> list[Input]:
    """The inputs that a user named, as (path, source); nothing is read yet.

    Raises:
        LaunchError: one of them is not there (125).
    """
    found: dict[str, Input] = {}
    for path, source in paths:
        if URL.match(path):
            found.setdefault(path, Input(path, source, "url", reason="a URL is not read"))
            continue
        # A setting is written in the project's file, and means the same wherever one stands.
        base = cwd if source == "option" else project
        whole = Path(os.path.normpath(base / Path(path).expanduser()))
        try:
            kind, size, modified = _look(whole)
        except OSError as error:
            where = "`--data`" if source == "option" else "setting `data.paths`"
            raise LaunchError(
                f"{where} names `{path}`, which cannot be read: {error.strerror}", hint=f"looked for `{whole}`"
            ) from error
        shown = _shown(whole, project)
        found.setdefault(shown, Input(shown, source, kind, size, modified=modified))
    return list(found.values())


def hash_inputs(inputs: Iterable[Input], project: Path, cache: HashCache, ongoing: Ongoing) -> None:
    """Fill in the hashes that are missing; those that are not reached stay without.

    Raises:
        Stopped: `ongoing` said no.
    """
    for item in inputs:
        if item.reason != NOT_YET or item.kind == "url":
            continue
        try:
            found = hash_path(project / item.path, cache, ongoing)
        except OSError as error:
            item.reason = f"cannot be read: {error.strerror or error}"
            continue
        item.sha256, item.size, item.files, item.reason = found.sha256, found.size, found.files, None
        item.modified, item.stamp, item.unstable = found.modified, found.stamp, found.unstable


def check_again(inputs: Iterable[Input], project: Path, ongoing: Ongoing) -> None:
    """Mark what has changed since it was hashed."""
    for item in inputs:
        if item.stamp and not item.unstable and (item.files or 0) <= LOOKED_AT_AGAIN:
            try:
                item.unstable = stamp_of(project / item.path, ongoing) != item.stamp
            except OSError:
                item.unstable = True
            except Stopped:
                return


class OpenedFiles:
    """Follows the list of files that the script's processes opened."""

    def __init__(self, path: Path, place: Place) -> None:
        self._path = path
        self._place = place
        self._offset = 0
        self._seen: set[str] = set()
        self._code: set[str] | None = None
        self.more = 0

    def new(self, known: Sequence[Input]) -> list[Input]:
        """Inputs among the files listed since the last call; those that `known` covers are none."""
        covered = {item.path for item in known}
        folders = tuple(f"{item.path.rstrip('/')}/" for item in known if item.kind == "folder")
        found: list[Input] = []
        for line in self._lines():
            path = _path_of(line)
            if path is None or path in self._seen:
                continue
            self._seen.add(path)
            shown = _shown(Path(path), self._place.project)
            if shown in covered or shown.startswith(folders) or self._is_ours(path, shown):
                continue
            item = self._input(Path(path), shown)
            if item is not None:
                found.append(item)
        room = max(0, MAX_OPENED - sum(item.source == "opened" for item in known))
        self.more += max(0, len(found) - room)
        return found[:room]

    def _lines(self) -> Iterator[bytes]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        with open(descriptor, "rb") as file:
            file.seek(self._offset)
            content = file.read(max(0, MAX_OPENED_BYTES - self._offset))
        whole, end, _ = content.rpartition(b"\n")
        self._offset += len(whole) + len(end)
        yield from whole.splitlines()

    def _is_ours(self, path: str, shown: str) -> bool:
        """Whether a file belongs to the machine, to Python, to us or to the stored code."""
        if path.startswith((*SYSTEM_FOLDERS, f"{self._place.store}/")) or PACKAGE_FOLDERS & set(path.split("/")):
            return True
        if path.startswith(tuple(self._place.packages)):
            return True
        if os.path.isabs(shown):
            return False
        if self._code is None:
            self._code = set(self._place.code())
        return shown in self._code

    def _input(self, path: Path, shown: str) -> Input | None:
        try:
            kind, size, modified = _look(path)
        except OSError:
            return None
        item = Input(shown, "opened", kind, size, modified=modified)
        if kind != "file":
            return None
        if modified is not None and modified >= self._place.started:
            item.reason = WRITTEN
        elif size is not None and size > self._place.hash_max_bytes:
            item.reason = f"over {self._place.hash_max_bytes:,} bytes (`data.hash_max`); name it by `--data`"
        return item


def to_json(inputs: Sequence[Input], more: int = 0) -> dict[str, Any]:
    """The content of `data.json`; what would make it too large is only counted."""
    listed: list[dict[str, Any]] = []
    room = MAX_LISTED_BYTES
    for item in inputs:
        entry = item.to_json()
        room -= len(json.dumps(entry)) + 1
        if room < 0:
            break
        listed.append(entry)
    return {"schema": 1, "inputs": listed, "more": more + len(inputs) - len(listed)}


def from_json(data: Mapping[str, Any]) -> list[Input]:
    """The inputs of a `data.json` of ours, to be hashed again: those that are remembered cost nothing."""
    return [
        Input(
            str(item["path"]),
            str(item["source"]),
            str(item["kind"]),
            item.get("size"),
            reason=item["reason"] or NOT_YET,
        )
        for item in data.get("inputs") or []
        if isinstance(item, dict) and {"path", "source", "kind", "reason"} <= item.keys()
    ]


def _look(path: Path) -> tuple[str, int | None, float | None]:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        os.scandir(path).close()
        return "folder", None, None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "neither a file nor a folder")
    return "file", found.st_size, found.st_mtime


def _shown(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path.is_relative_to(project) else str(path)


def _path_of(line: bytes) -> str | None:
    try:
        path = json.loads(line)["path"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path or len(path) > 4_096:
        return None
    return os.path.normpath(path)
