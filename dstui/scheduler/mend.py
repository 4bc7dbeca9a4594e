"""The queue after a crash: what was acknowledged is there again, and nothing that has begun begins anew.

The files of the submissions say what was promised, the fences say which attempts have begun and as which run. For the
daemon at its start, and nobody else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import DeviceError
from dstui.inside.gate import BEGUN
from dstui.scheduler import submits
from dstui.scheduler.jobs import Attempt
from dstui.scheduler.queue import Queue, is_sound, set_aside

if TYPE_CHECKING:
    from dstui.scheduler.place import Place

_FENCE = re.compile(r"([0-9a-hjkmnp-tv-z]{16})\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Fence:
    """Who may begin an attempt, and whether it has; of a process that died at once only the names are known."""

    job: str
    number: int
    run: str | None
    pid: int | None
    ticks: int | None
    boot: str | None
    begun: bool


def mended(place: Place) -> tuple[Queue, list[str]]:
    """The queue, whole again, and one line for each thing that was mended or could not be.

    Raises:
        DeviceError: it cannot be opened at all.
    """
    notes: list[str] = []
    if not is_sound(place):
        notes.append(f"the queue was damaged; it is kept as `{set_aside(place)}` and made anew from what was submitted")
    queue = Queue.open(place)
    missing = queue.unknown_submits()
    if missing:
        fences = read_fences(place)
        for submit in missing:
            try:
                _insert(queue, submit, fences)
                notes.append(f"submission {submit[:5]} was not in the queue and is again")
            except DeviceError as error:
                notes.append(error.message)
    return queue, notes


def read_fences(place: Place) -> dict[str, Fence]:
    """The last attempt of each job that has begun one."""
    found: dict[str, Fence] = {}
    for path in place.attempts.iterdir():
        match = _FENCE.fullmatch(path.name)
        if match is None:
            continue
        job, number = match[1], int(match[2])
        if job not in found or found[job].number < number:
            found[job] = read_fence(path, job, number)
    return found


def read_fence(path: Path, job: str, number: int) -> Fence:
    """One fence; a file that is not there has not begun."""
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError:
        first, rest = b"", b""
    try:
        content = json.loads(first)
    except ValueError:
        content = None
    data: dict[str, Any] = content if isinstance(content, dict) else {}
    begun = rest.startswith(BEGUN)
    return Fence(job, number, data.get("run"), data.get("pid"), data.get("ticks"), data.get("boot"), begun)


def _insert(queue: Queue, submit: str, fences: dict[str, Fence]) -> None:
    submission, at = submits.read(queue.place.submit_file(submit))
    with queue.transaction():
        queue.insert_again(submit, submission, at)
        for job in submission.jobs:
            fence = fences.get(job.id)
            if fence is None:
                continue
            if not fence.begun:
                queue.change(job.id, attempt=fence.number)
                continue
            # As if the daemon had just died: it looks now how that attempt came out.
            queue.change(job.id, state="running", attempt=fence.number, run=fence.run, started_at=at)
            attempt = Attempt(
                job.id, fence.number, fence.run, "running", fence.pid, fence.ticks, fence.boot, (), started_at=at
            )
            queue.add_attempt(attempt, None)
