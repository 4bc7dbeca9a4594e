"""The files of one run that hold metrics: which there are, which are its own, and what has been read of them.

Standard library only, Python 3.9, run by path or as `dstui.inside.files`; used by the thread of `tail.py` alone.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from dstui.inside import finding, following
    from dstui.inside.curves import POINTS, Curves, FullError, Names
    from dstui.inside.events import EventReader
    from dstui.inside.finding import CSV, EVENTS, HISTORY, Walk, kind_of, list_files
    from dstui.inside.following import Follower, HistoryFollower
    from dstui.inside.owners import Hello, Owners
    from dstui.inside.rows import CsvReader, JsonLinesReader, TableError, TrainerHistory
else:
    import finding
    import following
    from curves import POINTS, Curves, FullError, Names
    from events import EventReader
    from finding import CSV, EVENTS, HISTORY, Walk, kind_of, list_files
    from following import Follower, HistoryFollower
    from owners import Hello, Owners
    from rows import CsvReader, JsonLinesReader, TableError, TrainerHistory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dstui.inside.live import LiveDirectory

WALK_SECONDS = 10.0
"""How often the folders are walked."""

READ_SECONDS = 0.2
"""Most time spent on reading in one look, so that a flood of metrics takes a fifth of a core and no more."""

SLICE_SECONDS = 0.05
"""One file has the turn for this long."""

FILES = 64
"""Files followed at a time."""

OLD_FILES = 256
"""Files from before the run whose end is remembered."""

OLD_HISTORIES = 8
"""Checkpoints from before the run from which a training may go on."""

REFUSED = 4_096
"""Files remembered that hold no metrics."""

FAILURES = 10
"""Looks at a file that may fail in a row."""

CLOCK_SECONDS = 0.02
"""So much earlier than the clock a file system may date a file."""

EVENT_SECONDS = 5.0
"""So much earlier than the run an event of it may be dated."""

RECENT_SECONDS = 2.0
"""A folder changed so lately may change again without a new date."""

SETTINGS_FILES = ("hparams.yaml", "args.yaml")
"""Settings that loggers put beside their metrics."""

ORDER_OF_EVENTS, ORDER_OF_TABLES = 2, 3
"""Places among the sources of a metric, see `JournalWriter`."""


class Files:
    """What is known of the files of one run. Not thread-safe, but for `abandon`.

    Args:
        live: the run's directory.
        cwd: where its command runs.
        began_at: when the run began, in seconds since the epoch.

    Attributes:
        looks: how often it has looked.
    """

    def __init__(self, live: LiveDirectory, cwd: str, began_at: float) -> None:
        self.looks = 0
        self._live = live
        self._cwd = cwd
        self._project = project_of(cwd)
        self._began_at = began_at
        self._since = began_at - CLOCK_SECONDS
        self._hello = Hello(live.path)
        self._owners = Owners(live.path, live.launch, cwd, self._hello)
        self._names = {ORDER_OF_EVENTS: Names(), ORDER_OF_TABLES: Names()}
        self._budget = [POINTS]
        self._journals = 0
        self._followers: dict[str, Follower] = {}
        self._failures: dict[str, int] = {}
        self._histories: dict[str, HistoryFollower] = {}
        self._event_curves: dict[str, Curves] = {}
        self._old: dict[str, tuple[int, bytes]] = {}
        self._old_histories: dict[str, set[tuple[float, str]]] = {}
        self._refused: dict[str, int] = {}
        self._unclaimed: dict[str, None] = {}
        self._settings: dict[str, Curves] = {}
        self._settings_read: dict[str, following.Stamp] = {}
        self._listed: dict[str, int] = {}
        self._next_walk = 0.0
        self._told: set[str] = set()
        self._is_abandoned = False

    def abandon(self) -> None:
        """Write nothing more; safe from another thread."""
        self._is_abandoned = True
        self._budget[0] = 0

    def _complain(self, line: str) -> None:
        if not self._is_abandoned:
            self._live.complain(line)

    def look(self, deadline: float | None = None) -> None:
        """Find new files and read what has been added.

        Args:
            deadline: this is the last look, and it ends then (monotonic).
        """
        self.looks += 1
        self._hello.read()
        self._owners.look()
        self._disown()
        now = time.monotonic()
        if deadline is not None or now >= self._next_walk:
            self.walk()
        else:
            self._look_through_folders()
        self._read(deadline)
        self._read_settings()

    def close(self) -> None:
        """Close the journals and say what could not be read."""
        for path, follower in self._followers.items():
            if follower.curves.points and follower.left and kind_of(path) is not None and self._budget[0] > 0:
                self._complain(f"`{self._shown(path)}` was not read to its end: {follower.left:,} bytes are left")
            self._say_bad(path, follower)
        unclaimed = [self._shown(path) for path in self._unclaimed if holds_metrics(path)]
        if unclaimed:
            names = ", ".join(f"`{name}`" for name in unclaimed[:3])
            more = ", .." if len(unclaimed) > 3 else ""
            self._complain(
                f"metrics of {len(unclaimed)} files ({names}{more}) were left out: another run of this project may "
                "have written them. Name each run's folder in its command"
            )
        for curves in {id(item.curves): item.curves for item in self._all()}.values():
            curves.close()

    def _all(self) -> Iterable[Follower | HistoryFollower]:
        return [*self._followers.values(), *self._histories.values()]

    # Finding them.

    def walk(self) -> None:
        """Look through the project's folders for files that are new."""
        self._next_walk = time.monotonic() + WALK_SECONDS
        roots = dict.fromkeys([self._cwd, self._project, *self._hello.wanted])
        found = Walk(roots, self._since).run()
        # Folders before those below them, which go by their paths from there; checkpoints in their order.
        for path in sorted(set(found), key=lambda path: (path.count("/"), len(path), path)):
            self._consider(path)
        for histories in self._old_histories.values():
            for _, path in sorted(histories)[-OLD_HISTORIES:]:
                self._offer_history(path, is_old=True)
        self._old_histories.clear()

    def _look_through_folders(self) -> None:
        folders = dict.fromkeys([self._cwd, self._project, *self._hello.wanted])
        folders.update(dict.fromkeys(os.path.dirname(path) for path in self._followers))
        for folder in folders:
            try:
                status = os.stat(folder)
                if self._listed.get(folder) == status.st_mtime_ns:
                    continue
                for path in list_files(folder):
                    self._consider(path)
            except OSError:
                continue
            if time.time() - status.st_mtime > RECENT_SECONDS:
                self._listed[folder] = status.st_mtime_ns

    def _consider(self, path: str) -> None:
        """Follow a file if it holds metrics of this run."""
        if path in self._followers:
            return
        try:
            status = os.stat(path, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or self._refused.get(path) == status.st_ino:
                return
            if status.st_mtime < self._since:
                self._remember(path, status)
            elif self._is_ours(path, status):
                self._adopt(path, status)
        except (OSError, ValueError):
            pass  # Gone again, or not for us.

    def _remember(self, path: str, status: os.stat_result) -> None:
        """Note where a file from before the run ends."""
        if kind_of(os.path.basename(path)) == HISTORY:
            folder = following.output_folder(path)
            if folder not in self._histories and len(self._old_histories) < OLD_FILES:
                self._old_histories.setdefault(folder, set()).add((status.st_mtime, path))
        elif path not in self._old and len(self._old) < OLD_FILES:
            self._old[path] = status.st_size, following.read_guard(path, status.st_size)

    def _is_ours(self, path: str, status: os.stat_result) -> bool:
        if kind_of(os.path.basename(path)) == EVENTS and self._hello.has_seen(os.path.dirname(path)):
            return False
        answer = self._owners.is_ours(path, status.st_mtime)
        if answer is None:
            if len(self._unclaimed) < REFUSED:
                self._unclaimed[path] = None
            return False
        self._unclaimed.pop(path, None)
        if not answer:
            self._refuse(path, status.st_ino)
        return answer

    def _adopt(self, path: str, status: os.stat_result) -> None:
        kind = kind_of(os.path.basename(path))
        folder = os.path.dirname(path)
        if kind == HISTORY:
            self._offer_history(path)
            return
        if len(self._followers) >= FILES:
            self._tell_once(f"more than {FILES} files of metrics; `{self._shown(path)}` and later ones are not read")
            return
        start = self._start_of(path, status)
        reader: EventReader | CsvReader | JsonLinesReader
        if kind == EVENTS:
            curves = self._event_curves.get(folder)
            if curves is None:
                curves = self._event_curves[folder] = self._new_curves(folder, path, ORDER_OF_EVENTS)
            reader = EventReader(curves.point, curves.config, start, self._began_at - EVENT_SECONDS)
        else:
            curves = self._new_curves(os.path.splitext(path)[0], path, ORDER_OF_TABLES)
            reader = (CsvReader if kind == CSV else JsonLinesReader)(curves.row, start)
        self._followers[path] = Follower(path, reader, curves)
        if kind != finding.LINES:
            self._settings.setdefault(folder, curves)

    def _offer_history(self, path: str, *, is_old: bool = False) -> None:
        folder = following.output_folder(path)
        follower = self._histories.get(folder)
        if follower is None:
            if len(self._histories) >= FILES:
                return
            curves = self._new_curves(os.path.join(folder, "trainer_state"), path, ORDER_OF_TABLES)
            follower = self._histories[folder] = HistoryFollower(TrainerHistory(curves.row), curves)
        try:
            follower.offer(path, is_old=is_old)
        except FullError:
            self._tell_full()
        except (OSError, ValueError):
            pass

    def _start_of(self, path: str, status: os.stat_result) -> int:
        """Where the part begins that this run has written."""
        if path not in self._old:
            return 0
        size, guard = self._old.pop(path)
        # Written anew: shorter, as long but later, or with another end at that place.
        same = status.st_size > size and following.read_guard(path, size) == guard
        return size if same else 0

    def _new_curves(self, place: str, path: str, order: int) -> Curves:
        if TYPE_CHECKING or __package__:
            from dstui.inside.journal import JournalWriter
        else:
            from journal import JournalWriter
        self._journals += 1
        source = f"file:{self._shown(path)}"
        journal = JournalWriter(
            os.path.join(self._live.path, "journal"), 0, f"file{self._journals}", source=source, order=order
        )
        return Curves(place, self._names[order], journal, self._budget, is_table=order == ORDER_OF_TABLES)

    def _disown(self) -> None:
        """Leave files that the hook has claimed since; nothing was in them yet."""
        for path, follower in list(self._followers.items()):
            if isinstance(follower.reader, EventReader) and self._hello.has_seen(os.path.dirname(path)):
                self._drop(path)

    # Reading them.

    def _read(self, deadline: float | None) -> None:
        last = deadline is not None
        end = deadline if deadline is not None else time.monotonic() + READ_SECONDS
        waiting = list(self._followers)
        while waiting and self._budget[0] > 0:
            again = []
            for path in waiting:
                if time.monotonic() > end:
                    # Those that had no turn come first at the next look.
                    self._followers.update({name: self._followers.pop(name) for name in waiting if name in again})
                    return
                if not self._read_one(path, min(end, time.monotonic() + SLICE_SECONDS), last=last):
                    again.append(path)
            waiting = again

    def _read_one(self, path: str, until: float, *, last: bool) -> bool:
        """Read on in a file; returns whether there is no more for now."""
        try:
            done = self._followers[path].look(until, last=last)
        except FileNotFoundError:
            return True
        except OSError as error:
            failures = self._failures[path] = self._failures.get(path, 0) + 1
            if failures >= FAILURES:
                self._drop(path, error.strerror or str(error))
            return True
        except FullError:
            self._tell_full()
            return True
        except ValueError as error:
            self._drop(path, str(error))
            return True
        except Exception as error:
            # A fault of ours costs this file, and neither the others nor the run.
            self._drop(path, f"{type(error).__name__}: {error}")
            return True
        self._failures.pop(path, None)
        return done

    def _read_settings(self) -> None:
        """Take the settings in small files beside the metrics."""
        if not self._settings:
            return
        if TYPE_CHECKING or __package__:
            from dstui.inside import flat_yaml
        else:
            import flat_yaml
        for folder, curves in self._settings.items():
            for name in SETTINGS_FILES:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path, follow_symlinks=False)
                    stamp = following.stamp_of(status)
                    if status.st_mtime < self._since or self._settings_read.get(path) == stamp:
                        continue
                    text = following.read_small(path)
                except (OSError, ValueError):
                    continue
                self._settings_read[path] = stamp
                if text is not None:
                    curves.config(flat_yaml.read(text))

    # Leaving them.

    def _drop(self, path: str, reason: str = "") -> None:
        """Follow a file no more."""
        follower = self._followers.pop(path)
        self._failures.pop(path, None)
        if reason and follower.curves.points:
            self._tell_once(f"`{self._shown(path)}` is no longer read: {reason}")
        try:
            self._refuse(path, os.stat(path, follow_symlinks=False).st_ino)
        except OSError:
            pass
        if isinstance(follower.reader, EventReader) and any(
            other.curves is follower.curves for other in self._followers.values()
        ):
            return
        self._event_curves.pop(os.path.dirname(path), None)
        self._settings = {folder: curves for folder, curves in self._settings.items() if curves is not follower.curves}
        follower.curves.close()

    def _refuse(self, path: str, inode: int) -> None:
        if len(self._refused) >= REFUSED:
            self._refused.clear()
        self._refused[path] = inode

    def _say_bad(self, path: str, follower: Follower) -> None:
        if follower.reader.bad and follower.curves.points:
            what = "records" if isinstance(follower.reader, EventReader) else "lines"
            self._complain(f"{follower.reader.bad:,} {what} of `{self._shown(path)}` hold no metrics or are damaged")

    def _tell_once(self, line: str) -> None:
        kind = line.partition("`")[0]
        if kind not in self._told or not kind:
            self._told.add(kind)
            self._complain(line)

    def _tell_full(self) -> None:
        self._tell_once(f"more than {POINTS:,} points in files; further ones are not recorded")

    def _shown(self, path: str) -> str:
        """A path for people: from the project's folder on, where it lies in there."""
        path = os.path.relpath(path, self._project) if path.startswith(self._project.rstrip("/") + "/") else path
        return path.encode("utf-8", "replace").decode("utf-8")


def project_of(folder: str) -> str:
    """The nearest folder upwards with a git repository or `dstui.toml`, else the folder itself."""
    above = folder
    while True:
        if any(os.path.exists(os.path.join(above, name)) for name in (".git", "dstui.toml")):
            return above
        above, last = os.path.dirname(above), above
        if above == last:
            return folder


def holds_metrics(path: str) -> bool:
    """Whether the start of a file reads like metrics."""
    kind = kind_of(os.path.basename(path))
    if kind in (EVENTS, HISTORY):
        return True
    found: list[int] = []
    reader = (CsvReader if kind == CSV else JsonLinesReader)(lambda step, values, time: found.append(step))
    try:
        text = following.read_small(path)
        reader.take((text or "").encode()[:4096], 0)
    except (OSError, TableError):
        pass
    return bool(found)
