"""Attempts as processes: fork a keeper, hear it at the gate, find it again, speak with it, clear up after it."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.inside import gate, processes
from dstui.scheduler.mend import read_fence

if TYPE_CHECKING:
    from dstui.scheduler.place import Place


@dataclass(slots=True)
class Active:
    """An attempt under way, as the daemon knows it.

    Attributes:
        phase: `asked` (the clerk makes its run), `gate` (the keeper stands there), `running`, `ended`.
        pidfd: of the keeper, -1 before there is one.
        gate: our end of the gate, None before and after.
        checkpoint: what `LATEST` named at its start.
    """

    job: str
    number: int
    run: str
    devices: tuple[str, ...]
    started_at: float
    phase: str = "asked"
    live: str = ""
    pid: int = 0
    pidfd: int = -1
    gate: socket.socket | None = None
    checkpoint: str = ""
    stopping_for: str | None = None
    stopping: bool = False
    refusal: Mapping[str, Any] = field(default_factory=dict)


def fork_keeper(active: Active, start: Mapping[str, Any], alive: int, place: Place, daemon: Mapping[str, Any]) -> None:
    """Fork the keeper of an attempt; it says at the gate when it is ready. Our copy of `alive` is closed.

    Args:
        start: of the clerk.
        daemon: `command` and `environment` of a daemon that the keeper starts if none runs at its end.
    """
    job = {
        **start,
        "run": active.run,
        "fence": str(place.fence(active.job, active.number)),
        "leases": start["leases"],
        "daemon": daemon["command"],
        "daemon_environment": daemon["environment"],
        "daemon_lock": str(place.lock),
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.freeze()
    pid = os.fork()
    if not pid:
        gate.keep(job, theirs.fileno(), alive)
    theirs.close()
    os.close(alive)
    ours.setblocking(False)
    active.pid, active.gate, active.phase = pid, ours, "gate"
    active.pidfd = os.pidfd_open(pid)


def find_keeper(pid: int | None, ticks: int | None, boot: str | None) -> int:
    """A descriptor that tells when a keeper of an earlier daemon ends; -1 when it is gone."""
    if not pid or boot != processes.boot_id():
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return -1
    # Asked after it is held: from here on the number cannot become another's.
    if processes.start_ticks(pid) == ticks and processes.is_running(pid):
        return pidfd
    os.close(pidfd)
    return -1


def has_begun(place: Place, job: str, number: int) -> bool:
    """Whether the command of an attempt may have been started."""
    return read_fence(place.fence(job, number), job, number).begun


def close_fence(place: Place, job: str, number: int) -> bool:
    """Make the fence of an attempt that nobody has begun, so that nobody can; False when somebody was faster."""
    try:
        os.close(os.open(place.fence(job, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True


def ask_to_end(live: str, reason: str, *, grace_seconds: float | None = None, preempt: bool = False) -> bool:
    """Ask a keeper to end its command; False when nobody listens."""
    wish: dict[str, Any] = {"reason": reason, "grace_seconds": grace_seconds}
    if preempt:
        wish["state"] = "preempted"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(1.0)
        try:
            directory = os.open(live, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            connection.connect(f"/proc/self/fd/{directory}/control")
            connection.send(b"K" + json.dumps(wish).encode())
        except OSError:
            return False
        finally:
            os.close(directory)
    return True


def exit_record(live: str) -> dict[str, Any] | None:
    """What the keeper wrote of the end; None when it has written nothing, or its folder is gone."""
    try:
        data = json.loads((Path(live) / "exit.json").read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def end_orphans(pid: int | None, boot: str | None) -> int:
    """Kill what a keeper that is gone has left running; returns how many there were."""
    if not pid or boot != processes.boot_id() or processes.start_ticks(pid) is not None:
        return 0
    # Its session keeps the keeper's number from being given anew, so whatever is in there is its own.
    left = processes.family(pid)
    for orphan in left:
        try:
            os.kill(orphan, signal.SIGKILL)
        except OSError:
            pass
    return len(left)
