"""A queue of a test: submit from a project, look at rows, and leave no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.execution.capture import Capture
from dstui.inside.processes import family
from dstui.sdk import Request, open_project
from dstui.sdk.queue import JobQueue, JobRequest, open_queue

if TYPE_CHECKING:
    from dstui.scheduler.jobs import JobRow

DEADLINE_SECONDS = 60.0
"""On a busy machine."""


class TestQueue:
    """The queue of the test's own home.

    Args:
        project: where jobs are submitted.
        wait_until: the fixture.
    """

    __test__ = False

    def __init__(self, project: Path, wait_until: Callable[..., None]) -> None:
        self.project = project
        self.queue: JobQueue = open_queue()
        self._wait_until = wait_until

    def configure(self, text: str) -> None:
        """The user's configuration file."""
        path = Path(os.environ["XDG_CONFIG_HOME"]) / "dstui" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def submit(self, *words: str, **fields: Any) -> list[str]:
        """Whole ids; `time`, `params` and `environment` apart, fields are those of a `JobRequest`."""
        environment = {**os.environ, **fields.pop("environment", {})}
        run = Request(
            words=words,
            capture=Capture.nothing(),
            sample=fields.pop("sample", False),
            time_limit_seconds=fields.pop("time", None),
            grace_seconds=5.0,
        )
        with open_project(self.project, create=True) as project:
            views, _ = self.queue.submit(project.store, JobRequest(run=run, **fields), self.project, environment)
        return [view.row.id for view in views]

    def one(self, *words: str, **fields: Any) -> str:
        """The id of one submitted job."""
        (job,) = self.submit(*words, **fields)
        return job

    def row(self, job: str) -> JobRow:
        """A job as it is now."""
        row = self.queue.rows.job(job)
        assert row is not None
        return row

    def until(self, job: str, *states: str) -> JobRow:
        """A job once it is in one of these states."""
        self._wait_until(lambda: self.row(job).state in states, DEADLINE_SECONDS)
        return self.row(job)

    def ended(self, job: str) -> JobRow:
        """A job once it has ended."""
        self._wait_until(lambda: self.row(job).ended_at is not None, DEADLINE_SECONDS)
        return self.row(job)

    def all_ended(self, jobs: Sequence[str]) -> None:
        """Return once these have ended."""
        self._wait_until(lambda: not self.queue.rows.open_jobs(), DEADLINE_SECONDS)
        assert all(self.row(job).ended_at is not None for job in jobs)

    def log(self, job: str) -> str:
        """The output of a job's last run, once it is committed."""
        run = self.row(job).run
        assert run is not None
        self._wait_until(lambda: not self.queue.rows.metas("commit:"), DEADLINE_SECONDS)
        with open_project(self.project) as project:
            return project.store.log(run).decode()

    def daemon_pid(self) -> int:
        """The daemon's process."""
        self._wait_until(lambda: self.queue.daemon() is not None, DEADLINE_SECONDS)
        daemon = self.queue.daemon()
        assert daemon is not None
        return int(daemon["pid"])

    def kill_daemon(self) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.daemon_pid()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._wait_until(lambda: self.queue.daemon() is None or self.daemon_pid() != pid, DEADLINE_SECONDS)

    def keeper_pid(self, job: str) -> int:
        """The keeper of a running job."""
        (attempt,) = self.queue.rows.attempts(job, going=True)
        assert attempt.pid is not None
        return attempt.pid

    def clean(self) -> None:
        """End all that the test has left."""
        pids = {attempt.pid for attempt in self.queue.rows.attempts(going=True) if attempt.pid}
        daemon = self.queue.daemon()
        if daemon is not None:
            pids.add(int(daemon["pid"]))
        for pid in pids:
            for member in (*family(pid), pid):
                with contextlib.suppress(OSError):
                    os.kill(member, signal.SIGKILL)
        self.queue.close()
