"""Find the files in which a training may write metrics: a bounded walk of a few folders.

Standard library only, Python 3.9, run by path or as `dstui.inside.finding`.

A folder in which something was made since the start of the run is listed first and longer than one that lies there as
it was, so that a folder of a million images does not hide the one that matters. Links to folders are followed last;
each folder is listed once, whatever leads to it. Links to files are not followed.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEPTH = 6
"""Levels below a folder that are looked at."""

ENTRIES = 2_000
"""Entries of unchanged folders looked at in one walk."""

FRESH_ENTRIES = 10_000
"""Entries of the starting folders and of those that have changed since the start of the run."""

LINKS = 64
"""Links to folders followed in one walk."""

SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "wandb", "mlruns"})
"""Environments, and what other trackers keep for themselves; so are all with a dot in front."""

ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""A folder with one of these is an environment, whatever it is called."""

EVENTS, CSV, LINES, HISTORY = "events", "csv", "lines", "history"
"""Kinds of files."""


def kind_of(name: str) -> str | None:
    """What kind of metrics a file of this name may hold, or None."""
    if name.endswith(".csv"):
        return CSV
    if name.endswith(".jsonl"):
        return LINES
    if name == "trainer_state.json":
        return HISTORY
    return EVENTS if "tfevents" in name else None


def list_files(folder: str, limit: int = ENTRIES) -> Iterator[str]:
    """Paths of the files of a folder that may hold metrics.

    Raises:
        OSError: it cannot be listed.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            limit -= 1
            if limit < 0:
                return
            if kind_of(entry.name) and entry.is_file(follow_symlinks=False):
                yield entry.path


class Walk:
    """One walk.

    Args:
        roots: where it starts.
        since: folders changed after this time (seconds since the epoch) are fresh.

    Attributes:
        found: paths of files that may hold metrics.
    """

    def __init__(self, roots: Iterable[str], since: float) -> None:
        self.found: list[str] = []
        self._since = since
        self._fresh: deque[tuple[str, int]] = deque()
        self._other: deque[tuple[str, int]] = deque()
        self._links: deque[tuple[str, int]] = deque()
        self._seen: set[tuple[int, int]] = set()
        self._left = {True: FRESH_ENTRIES, False: ENTRIES}
        for root in roots:
            self._add(root, 0, follow=True)

    def run(self) -> list[str]:
        """Walk to the end, or to the limits; returns `found`."""
        links = LINKS
        while True:
            if self._fresh:
                self._list(*self._fresh.popleft(), fresh=True)
            elif self._other:
                self._list(*self._other.popleft(), fresh=False)
            elif self._links and links:
                links -= 1
                self._add(*self._links.popleft(), follow=True)
            else:
                return self.found

    def _add(self, folder: str, depth: int, *, follow: bool) -> None:
        try:
            # Not the entry's own `stat`, which in some versions of Python holds up all threads while a disk hangs.
            status = os.stat(folder, follow_symlinks=follow)
        except OSError:
            return
        identity = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode) and identity not in self._seen:
            self._seen.add(identity)
            is_fresh = depth == 0 or status.st_mtime >= self._since
            (self._fresh if is_fresh else self._other).append((folder, depth))

    def _list(self, folder: str, depth: int, *, fresh: bool) -> None:
        found: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self._left[fresh] <= 0:
                        break
                    self._left[fresh] -= 1
                    name = entry.name
                    if name in ENVIRONMENT_MARKS:
                        return
                    if entry.is_symlink():
                        if kind_of(name) is None and name[0] != "." and name not in SKIPPED_FOLDERS:
                            links.append(entry.path)
                    elif kind_of(name) and entry.is_file(follow_symlinks=False):
                        found.append(entry.path)
                    elif name[0] != "." and name not in SKIPPED_FOLDERS and entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            pass  # What was seen before counts.
        self.found += found
        if depth < DEPTH:
            for path in folders:
                self._add(path, depth + 1, follow=False)
            self._links += [(path, depth + 1) for path in links[:LINKS]]
