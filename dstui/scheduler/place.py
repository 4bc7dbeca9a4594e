"""The folder of this user's queue on this machine, and what lies in it.

`$XDG_STATE_HOME/dstui/<machine>/` (default `~/.local/state`), on a network disk `/var/tmp/dstui-<uid>/<machine>/`; mode
0700, files 0600, refused when it is another's:

| name | what it is |
|---|---|
| `queue.db` | the jobs (`queue.py`) |
| `submits/<id>.jsonl` | what was submitted, on the disk before it was acknowledged; with the variables of that moment |
| `attempts/<job>.<n>` | made once, by whoever may begin the n-th attempt of a job: nobody begins it twice |
| `leases/<device>` | locked by whoever holds a device |
| `checkpoints/<job>/` | what the attempts of one job hand on to each other |
| `daemon.lock` `daemon.json` `daemon.log` | held by the daemon that runs; who it is; what went wrong |
| `wake` | a socket: one byte there and the daemon looks |
"""

from __future__ import annotations

from pathlib import Path

from dstui.devices.interest import sampler_folder
from dstui.errors import DeviceError
from dstui_store import StoreError, private_folder


class Place:
    """The folder, made when it is not there.

    Raises:
        DeviceError: it cannot be made, or is not ours alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = sampler_folder().parent if folder is None else folder
        try:
            # The parent too: who may rename in there could put another folder here.
            for path in (self.folder.parent, self.folder, self.submits, self.attempts, self.leases, self.checkpoints):
                private_folder(path)
        except StoreError as error:
            raise DeviceError(error.message, hint=error.hint) from error

    @property
    def database(self) -> Path:
        """The queue."""
        return self.folder / "queue.db"

    @property
    def submits(self) -> Path:
        """What was acknowledged."""
        return self.folder / "submits"

    @property
    def attempts(self) -> Path:
        """The fences."""
        return self.folder / "attempts"

    @property
    def leases(self) -> Path:
        """One file for each device."""
        return self.folder / "leases"

    @property
    def checkpoints(self) -> Path:
        """One folder for each job that has made one."""
        return self.folder / "checkpoints"

    @property
    def lock(self) -> Path:
        """Held by the daemon."""
        return self.folder / "daemon.lock"

    @property
    def identity(self) -> Path:
        """Who the daemon is."""
        return self.folder / "daemon.json"

    @property
    def log(self) -> Path:
        """What went wrong with it."""
        return self.folder / "daemon.log"

    @property
    def wake(self) -> Path:
        """Its socket."""
        return self.folder / "wake"

    def submit_file(self, submit: str) -> Path:
        """What was acknowledged in one call."""
        return self.submits / f"{submit}.jsonl"

    def fence(self, job: str, attempt: int) -> Path:
        """Made by the one who may begin this attempt."""
        return self.attempts / f"{job}.{attempt}"
