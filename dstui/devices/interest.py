"""Who wants samples, and the one process that takes them: the folder where both meet, and its locks.

`$XDG_STATE_HOME/dstui/<machine>/sampler/` (default `~/.local/state`), on a network disk
`/var/tmp/dstui-<uid>/<machine>/sampler/`; mode 0700, refused when it is another's:

| name | what it is |
|---|---|
| `sampler.lock` | held shared (flock) by everybody who looks at samples |
| `running.lock` | held exclusively by the sampler |
| `runs/<run>` | a link to the live folder of a run that wants its own samples; it counts while that run goes on |
| `status.json` | the devices, their processes, and what is wrong with a driver |
| `journal/` | the samples of the last hours |

**No gap.** Whoever is interested says so first and then looks whether a sampler runs. A sampler that leaves first gives
up `running.lock` and then looks for interest once more. So one of the two sees the other. Of two samplers started at
once, one gets `running.lock` and the other ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dstui.errors import DeviceError
from dstui_store import StoreError, file_system_type, machine_id, private_folder

MACHINE_FOLDER = Path("/var/tmp")
"""Where a machine keeps what a network disk cannot."""

NETWORK_FILE_SYSTEMS = re.compile(r"nfs4?|cifs|smb3|smbfs|lustre|gpfs|beegfs|ceph|9p|afs|glusterfs|fuse(\..*)?")
"""Where a lock or a link of another machine could be met."""

RUN_ID = re.compile(r"[0-9a-z]{16}")

LOCK_SECONDS = 0.5
"""How long an interested process tries; the sampler holds a lock that it only looks at for microseconds."""


def sampler_folder() -> Path:
    """The folder of this user on this machine; nothing is made.

    Raises:
        DeviceError: the file system cannot be read.
    """
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    try:
        remote = NETWORK_FILE_SYSTEMS.fullmatch(file_system_type(base)) is not None
    except OSError as error:
        raise DeviceError(f"Cannot read `{base}`: {error.strerror}", hint="set XDG_STATE_HOME to a folder") from error
    if remote:
        return MACHINE_FOLDER / f"dstui-{os.getuid()}" / machine_id() / "sampler"
    return base / "dstui" / machine_id() / "sampler"


TAKE_SECONDS = 0.05
"""How long a new sampler tries to get its lock."""


class Meeting:
    """The folder where the sampler and those interested meet. Safe to use from several threads.

    Raises:
        DeviceError: it cannot be made, or is not ours alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = sampler_folder() if folder is None else folder
        try:
            # The parents too: who may rename those could put another folder here.
            for path in (self.folder.parents[1], self.folder.parent, self.folder, self.runs, self.journal):
                private_folder(path)
        except StoreError as error:
            raise DeviceError(error.message, hint=error.hint) from error

    @property
    def runs(self) -> Path:
        """Links to runs that want samples."""
        return self.folder / "runs"

    @property
    def journal(self) -> Path:
        """The samples of the last hours."""
        return self.folder / "journal"

    @property
    def status(self) -> Path:
        """What cannot be told in numbers."""
        return self.folder / "status.json"

    # Those interested.

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Be interested as long as this holds; a sampler runs meanwhile, or starts now.

        Raises:
            DeviceError: it could not be started.
        """
        descriptor = self._open("sampler.lock")
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while not _try_lock(descriptor, fcntl.LOCK_SH):
                if time.monotonic() > deadline:
                    raise DeviceError(f"`{self.folder / 'sampler.lock'}` is held by a process that does not go on")
                time.sleep(0.001)
            self.start()
            yield
        finally:
            os.close(descriptor)

    def add_run(self, run: str, live: Path, *, start: bool = True, wait: bool = True) -> None:
        """Have a run sampled until it ends, whoever dies meanwhile.

        Args:
            run: its id.
            live: its live folder.
            start: start a sampler when none runs.
            wait: until it is there, or has failed.

        Raises:
            DeviceError: it could not be said, or the sampler not be started.
        """
        try:
            with contextlib.suppress(FileExistsError):
                (self.runs / run).symlink_to(live)
        except OSError as error:
            raise DeviceError(f"Cannot write `{self.runs}`: {error.strerror}", hint="free some space") from error
        if start:
            self.start(wait=wait)

    def start(self, *, wait: bool = True) -> None:
        """Start a sampler if none runs; it is there when this returns.

        Args:
            wait: False for a process that is about to end.

        Raises:
            DeviceError: it could not be started.
        """
        if self.is_sampled():
            return
        program = [sys.executable, "-E", "-P", "-m", "dstui.devices.sampler", str(self.folder)]
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
            status = os.waitpid(starter, 0)[1] if wait else 0
        except OSError as error:
            raise DeviceError(f"The sampler could not be started: {error.strerror}", hint="`ds doctor`") from error
        if status:
            raise DeviceError(
                "The sampler of this machine's load has failed at its start",
                hint=f"`{' '.join(program)} --foreground` says why",
            )

    def is_sampled(self) -> bool:
        """Whether a sampler runs."""
        descriptor = self._open("running.lock")
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    # The sampler.

    def take(self) -> int | None:
        """Become the sampler: the descriptor that holds its lock, None when there is one already."""
        descriptor = self._open("running.lock")
        deadline = time.monotonic() + TAKE_SECONDS
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            # Somebody may hold it for the moment in which they look whether there is a sampler.
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.001)
        return descriptor

    def is_watched(self) -> bool:
        """Whether anybody looks at samples; runs are apart."""
        descriptor = self._open("sampler.lock")
        try:
            return not _try_lock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def wanted_runs(self) -> dict[str, Path]:
        """Live folders of the runs that asked for samples, by id."""
        found: dict[str, Path] = {}
        for name in os.listdir(self.runs):
            with contextlib.suppress(OSError):
                if RUN_ID.fullmatch(name):
                    found[name] = Path(os.readlink(self.runs / name))
        return found

    def asked_at(self, run: str) -> float:
        """When a run asked, seconds since the epoch; 0 when it does no longer."""
        try:
            return (self.runs / run).lstat().st_mtime
        except OSError:
            return 0.0

    def drop_run(self, run: str) -> None:
        """Forget a run that has ended."""
        (self.runs / run).unlink(missing_ok=True)

    def _open(self, name: str) -> int:
        try:
            return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise DeviceError(
                f"Cannot open `{self.folder / name}`: {error.strerror}", hint="free some space"
            ) from error


def _try_lock(descriptor: int, kind: int) -> bool:
    """Whether a lock was free; it is held from then on. Closing the descriptor lets it go."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
