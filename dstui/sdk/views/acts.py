"""The dashboard's second thread: what takes long and changes the store, or compares code."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dstui.errors import DstuiError
from dstui.sdk.views.data import ActDone, CodeRequest, Snapshot
from dstui.sdk.views.lines import LineMaker, own_writer
from dstui_store import StoreError, clean

if TYPE_CHECKING:
    from dstui.sdk.project import Project
    from dstui_store import SafeText

Act = Callable[["Project"], "SafeText"]
"""Does something to the store and says what it did."""


class SlowThread:
    """Runs acts and code diffs one after the other, with a project of its own; started at the first of them."""

    def __init__(self, start: Path | None, post: Callable[[Snapshot], None], *, read_only: bool) -> None:
        self._start = start
        self._post = post
        self._read_only = read_only
        self._work: queue.SimpleQueue[Act | None] = queue.SimpleQueue()
        self._code: CodeRequest | None = None
        self._thread: threading.Thread | None = None

    def act(self, act: Act) -> None:
        """Queues an act."""
        self._work.put(act)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dstui-acts", daemon=True)
            self._thread.start()

    def ask_code(self, request: CodeRequest) -> None:
        """Queues a code diff; one that still waits is replaced."""
        self._code = request
        self.act(self._code_act)

    def stop(self) -> None:
        """Ends the thread after what it is doing."""
        if self._thread is not None:
            self._work.put(None)

    def _run(self) -> None:
        from dstui.sdk.project import open_project

        with contextlib.ExitStack() as stack:
            project: Project | None = None
            while (act := self._work.get()) is not None:
                try:
                    if project is None:
                        project = stack.enter_context(open_project(self._start, read_only=self._read_only))
                    said = act(project)
                    if said:
                        self._post(ActDone(said, ok=True))
                except (StoreError, DstuiError) as error:
                    hint = f"; {error.hint}" if error.hint else ""
                    self._post(ActDone(clean(f"{error.message}{hint}"), ok=False))
                except OSError as error:
                    self._post(ActDone(clean(f"{error.strerror or error}: {error.filename or ''}"), ok=False))

    def _code_act(self, project: Project) -> SafeText:
        request, self._code = self._code, None
        if request is None:
            return clean("")
        from dstui.sdk.views.detail import code
        from dstui.sdk.views.runs import RunTable

        store = project.store
        store.index.sync()
        table = RunTable(store.index.query, LineMaker(own_writer(store)), time.time)
        against = table.line(request.against) if request.against and request.against != request.run else None
        self._post(code(store, request.run, against))
        return clean("")
