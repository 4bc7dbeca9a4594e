"""Metrics and settings out of files that a script writes while its run goes on: the third thread of a keeper.

Standard library only, Python 3.9, run by path or as `dstui.inside.tail`.

Once a second the files known are read on and their folders looked through; every ten seconds the project and the
folder of the command are walked (`finding.py`). A file belongs to the run when it was written after the start, and no
other run of the project has a better claim to it (`owners.py`); of one that was there before, what is added counts. At
the end everything is looked at once more, with a deadline.

A disk that does not answer holds up this thread and nothing else. A fault in it is told once and ends it.
"""

from __future__ import annotations

import _thread
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dstui.inside.files import Files
    from dstui.inside.live import LiveDirectory

PERIOD_SECONDS = 1.0
"""How often known files and folders are looked at."""

END_SECONDS = 2.0
"""How long the end of a run waits for the last look."""

SPARE_SECONDS = 0.2
"""So much longer it waits for the thread itself."""


class Tail:
    """The thread.

    Args:
        live: the run's directory.
        cwd: where its command runs.
        began_at: when the run began, in seconds since the epoch.
    """

    def __init__(self, live: LiveDirectory, cwd: str, began_at: float) -> None:
        self._live = live
        self._cwd = cwd
        self._began_at = began_at
        self._deadline = 0.0
        self._files: Files | None = None
        self._end = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        capture = live.launch.get("capture")
        self._is_wanted = not isinstance(capture, dict) or capture.get("files") is not False

    def start(self) -> None:
        """Go on in the thread, unless this run wants no files."""
        if self._is_wanted:
            self._end.acquire()
            self._ended.acquire()
            _thread.start_new_thread(self._run, ())

    def finish(self) -> None:
        """Look once more and end the thread; afterwards nothing more is written."""
        if not self._is_wanted:
            return
        self._deadline = time.monotonic() + END_SECONDS
        self._end.release()
        if not self._ended.acquire(timeout=END_SECONDS + SPARE_SECONDS):
            if self._files is not None:
                self._files.abandon()
            self._live.complain("metrics in files may lack their end: a disk does not answer")

    def _run(self) -> None:
        try:
            files = self._files = self._load()
            while not self._end.acquire(timeout=PERIOD_SECONDS if files.looks else 0):
                files.look()
            files.look(self._deadline)
            files.close()
        except BaseException as error:
            self._live.complain(f"metrics are no longer read from files: {_describe(error)}")
        finally:
            self._ended.release()

    def _load(self) -> Files:
        """Loaded here, since nothing else waits for it."""
        if TYPE_CHECKING or __package__:
            from dstui.inside.files import Files
        else:
            from files import Files
        return Files(self._live, self._cwd, self._began_at)


def _describe(error: BaseException) -> str:
    import traceback

    places = traceback.extract_tb(error.__traceback__)
    where = f" in line {places[-1].lineno} of {os.path.basename(places[-1].filename)}" if places else ""
    return f"{type(error).__name__}: {error}{where}"
