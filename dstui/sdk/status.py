"""What happened since you last looked: one screen, the same for `ds status` and the dashboard's overview."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.names import BAD_STATES
from dstui_store import Liveness, clean, iso_time, private_folder

if TYPE_CHECKING:
    from dstui.sdk.project import Project
    from dstui.sdk.runs import RunView
    from dstui_store import SafeText, Store


@dataclass(frozen=True)
class Status:
    """One look at a project.

    Attributes:
        looked_at: when the user looked before, seconds since the epoch; None = never.
        running: runs going on, newest first.
        away: for those on another machine, id to where and when last seen.
        ended: runs that ended since, newest end first.
        total: runs in all.
        next_step: the one thing most worth doing now, as a command and why.
    """

    looked_at: float | None
    running: list[RunView]
    away: dict[str, SafeText]
    ended: list[RunView]
    total: int
    next_step: SafeText

    def to_json(self) -> dict[str, Any]:
        """The status as `ds status --json` prints it."""
        return {
            "looked_at": iso_time(self.looked_at),
            "running": [view.to_json() for view in self.running],
            "ended": [view.to_json() for view in self.ended],
            "total": self.total,
            "next_step": str(self.next_step),
        }


def read_status(project: Project, *, remember: bool = True) -> Status:
    """What goes on and what ended since the last look.

    Args:
        project: whose runs.
        remember: count this as a look, so that the next one starts here.
    """
    store, now = project.store, time.time()
    looked_at = last_look(store)
    runs = project.runs()
    running = [view for view in runs if view.state == "running"]
    since = looked_at if looked_at is not None else 0.0
    ended = [view for view in runs if view.state != "running" and (view.record.ended_at or 0.0) > since]
    ended.sort(key=lambda view: -(view.record.ended_at or 0.0))
    away = {live.id: _where(live.launch) for live in store.live_runs() if live.liveness() is Liveness.ELSEWHERE}
    if remember and store.exists:
        remember_look(store, now)
    return Status(looked_at, running, away, ended, len(runs), _next_step(running, ended, len(runs)))


def last_look(store: Store) -> float | None:
    """When the user last looked at this store, seconds since the epoch."""
    try:
        return _look_file(store).stat().st_mtime
    except OSError:
        return None


def remember_look(store: Store, now: float) -> None:
    """Counts this moment (seconds since the epoch) as the user's last look."""
    path = _look_file(store)
    private_folder(path.parent)
    path.touch(mode=0o600)
    os.utime(path, (now, now))


def _look_file(store: Store) -> Path:
    return store.layout.local / "looked"


def _where(launch: Any) -> SafeText:
    return clean(f"on {launch.get('host') or 'another machine'}")


def _next_step(running: list[RunView], ended: list[RunView], total: int) -> SafeText:
    if total == 0:
        return clean("ds run train.py --lr 0.1   records any command, no change to the script")
    bad = next((view for view in ended if view.state in BAD_STATES), None)
    if bad is not None:
        return clean(f"ds logs {bad.id}   shows why it {_verb(bad.state)}")
    if running:
        return clean(f"ds attach {running[0].id}   watches it")
    if len(ended) > 1:
        return clean(f"ds diff {ended[1].id} {ended[0].id}   tells what differs between the last two")
    return clean("dstui   opens the dashboard")


def _verb(state: str) -> str:
    return {"oom": "ran out of memory", "killed": "was killed", "lost": "was lost", "timeout": "ran out of time"}.get(
        state, "failed"
    )
