"""Is a daemon there, wake it, start one: what everybody does who has put something into the queue."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from dstui.errors import DeviceError

if TYPE_CHECKING:
    from dstui.scheduler.place import Place

START_SECONDS = 10.0
"""The longest that a daemon takes to be there."""


def is_running(place: Place) -> bool:
    """Whether a daemon holds its lock."""
    try:
        descriptor = os.open(place.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def identity(place: Place) -> dict[str, Any] | None:
    """`{"pid", "since"}` of the daemon that runs, None without one."""
    if not is_running(place):
        return None
    try:
        data = json.loads(place.identity.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def wake(place: Place) -> bool:
    """Have the daemon look; False when none listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waker:
        waker.setblocking(False)
        directory = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By descriptor, because the path of a socket must be short.
            waker.sendto(b"\0", f"/proc/self/fd/{directory}/{place.wake.name}")
        except BlockingIOError:
            return True  # It has more calls waiting than it can hold, so it will look.
        except OSError:
            return False
        finally:
            os.close(directory)
    return True


def command(place: Place) -> list[str]:
    """What starts a daemon."""
    return [sys.executable, "-P", "-m", "dstui.scheduler.daemon", str(place.folder)]


def rouse(place: Place, *, wait: bool = True) -> None:
    """Have a daemon look, started if there is none.

    Args:
        wait: until it listens; what was put into the queue before is found by a daemon that starts anyway.

    Raises:
        DeviceError: it could not be started.
    """
    deadline = time.monotonic() + START_SECONDS
    started = False
    while not wake(place):
        if not started and not is_running(place):
            _start(place)
            started = True
            if not wait:
                return
        if time.monotonic() > deadline:
            raise DeviceError(
                "The scheduler's daemon could not be started; what was submitted is kept",
                hint=f"`{place.log}` says why",
            )
        time.sleep(0.005)


def _start(place: Place) -> None:
    program = command(place)
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    try:
        starter = os.posix_spawn(
            program[0],
            program,
            os.environ,
            file_actions=nothing,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        os.waitpid(starter, 0)
    except OSError as error:
        raise DeviceError(f"The scheduler's daemon could not be started: {error.strerror}") from error
