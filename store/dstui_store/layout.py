"""Where a project's store is, found without starting git.

Beside a git repository that we may write: `<git common dir>/ds/<uid>/`, so linked worktrees share one store. Else (no
git, a bare repository, a read-only `.git`): `$XDG_DATA_HOME/dstui/<name>-<8 hex>/`, named after the project's path.
On a network file system the index, locks and sockets go to a folder of this machine (`Layout.local`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from dstui_store.errors import NotAStoreError, StoreError

NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs|nfs4|cifs|smb3|smbfs|lustre|gpfs|beegfs|ceph|9p|afs|glusterfs|fuse(\..*)?|fuseblk"
)
"""Types of /proc/self/mountinfo on which locks and SQLite's shared memory cannot be trusted."""

MACHINE_FOLDER = Path("/var/tmp")
"""Where this machine keeps what a network disk cannot; it outlives a reboot, as the runs do."""

MAX_SMALL_BYTES = 64 << 20
"""Of one text file of a git dir; the largest is `packed-refs`, 100 bytes a ref."""

PROJECT_MARK = "dstui.toml"
"""The file that marks a project's folder where there is no git."""


@dataclass(frozen=True)
class Layout:
    """The folders of one project and its store.

    Attributes:
        project: top of the work tree, or the project's folder without git.
        root: the store's folder, on the project's file system where possible.
        local: the same on this machine's own disk; differs from `root` only on a network file system.
        git_dir: the project's own git dir, only ever read; None without git.
        common_dir: where its objects and refs are; differs from `git_dir` in a linked worktree.
    """

    project: Path
    root: Path
    local: Path
    git_dir: Path | None
    common_dir: Path | None

    @cached_property
    def store_git(self) -> Path:
        """Our own bare repository."""
        return self.root / "store.git"

    @cached_property
    def live(self) -> Path:
        """The folder of running runs."""
        return self.root / "live"

    @cached_property
    def quarantine(self) -> Path:
        """The folder of object directories being filled."""
        return self.root / "quarantine"

    @cached_property
    def cas(self) -> Path:
        """Bytes by their SHA-256, too big for a commit."""
        return self.root / "cas"

    @cached_property
    def lock(self) -> Path:
        """Locked for every publish and every ref update."""
        return self.local / "lock"

    @cached_property
    def index(self) -> Path:
        """The SQLite cache; safe to delete."""
        return self.local / "index.sqlite"

    @cached_property
    def cache(self) -> Path:
        """What this machine remembers to save time, e.g. hashes of data; safe to delete."""
        return self.local / "cache"

    @cached_property
    def writer_file(self) -> Path:
        """Who this clone on this machine is, and its last run number."""
        return self.root / "writer" / machine_id()

    @cached_property
    def share_file(self) -> Path:
        """What the user agreed to share, and with whom."""
        return self.root / "share.json"

    def alive(self, run: str) -> Path:
        """The file whose lock says that a run's keeper lives."""
        folder = self.live if self.root == self.local else self.local / "live"
        return folder / run / "alive"

    @property
    def snapshot_refused(self) -> str | None:
        """Why this project's files are never stored, or None: a home folder is no project."""
        if self.project == Path(self.project.anchor):
            return "the project is the root folder"
        if self.project == Path.home().resolve():
            return "the project is your home folder"
        if self.git_dir is None and all((self.project / name).exists() for name in ("HEAD", "objects", "refs")):
            return "the folder is a git repository without a work tree"
        return None


def locate(start: Path | None = None) -> Layout:
    """The layout of the project that `start` (default: the current folder) lies in; makes nothing.

    Raises:
        StoreError: `start` is not a folder.
    """
    here = (start or Path.cwd()).resolve()
    if not here.is_dir():
        raise StoreError(f"`{here}` is not a folder", hint="start in the project's folder")
    found = _find_git(here)
    if found is None:
        project = _marked(here) or here
        return _layout(project, _data_folder(project), None, None)
    project, git_dir, common_dir = found
    root = common_dir / "ds" / str(os.getuid())
    if not _may_hold(common_dir, root):
        root = _data_folder(project)
    return _layout(project, root, git_dir, common_dir)


def private_folder(path: Path) -> None:
    """Makes a folder of mode 0700 (parents too), or checks that an existing one is ours alone.

    Raises:
        NotAStoreError: a link, another owner, or open to others.
    """
    try:
        # Not `parents=True`: it gives the parents whatever mode the umask leaves.
        if not path.parent.exists():
            private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StoreError(f"Cannot make `{path}`: {error.strerror}", hint="check the folder's owner and mode") from error
    check_private(path, found)
    if found.st_mode & 0o777 != 0o700:
        path.chmod(0o700)


def private_local(layout: Layout) -> None:
    """Makes or checks the folder of this machine; on a network disk all may write beside it, so its parent too.

    Raises:
        NotAStoreError: as `private_folder`.
    """
    if layout.local != layout.root:
        private_folder(layout.local.parent)
    private_folder(layout.local)


def check_private(path: Path, found: os.stat_result) -> None:
    """Refuses a file or folder that others planted or can change.

    Raises:
        NotAStoreError: a link, another owner, or writable by others.
    """
    if stat.S_ISLNK(found.st_mode):
        raise NotAStoreError(f"`{path}` is a link", hint="remove it: a store is never reached through a link")
    if found.st_uid != os.getuid():
        raise NotAStoreError(f"`{path}` belongs to uid {found.st_uid}, not to you ({os.getuid()})")
    if found.st_mode & 0o022:
        raise NotAStoreError(
            f"`{path}` can be changed by others (mode {found.st_mode & 0o777:o})", hint=f"chmod go-w `{path}`"
        )


@cache
def machine_id() -> str:
    """16 hex digits that tell this machine from others: machine id and host name, hashed.

    `DSTUI_MACHINE_ID` overrides it, for containers that get a new host name at every start.
    """
    given = os.environ.get("DSTUI_MACHINE_ID")
    if given:
        return hashlib.sha256(given.encode()).hexdigest()[:16]
    parts = [socket.gethostname()]
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            parts.append(Path(name).read_text().strip())
            break
        except OSError:
            continue
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def file_system_type(path: Path) -> str:
    """The type of the file system that `path` (or its nearest existing parent) is on, or ""."""
    while not path.exists() and path != path.parent:
        path = path.parent
    device = path.stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    return file_system_in(mounts, path, f"{os.major(device)}:{os.minor(device)}")


def file_system_in(mounts: bytes, path: Path, device: str) -> str:
    r"""The type of the mount that has `device` (`major:minor`), else of the deepest one above `path`, or "".

    Args:
        mounts: the bytes of a mountinfo file; names in it are in any encoding, spaces in them as `\\040`.
    """
    best, best_length = "", -1
    for line in mounts.split(b"\n"):
        left, _, right = line.partition(b" - ")
        columns, kind = left.split(b" "), right.split(b" ")[0].decode("ascii", "replace")
        if len(columns) < 5 or not kind:
            continue
        if columns[2].decode("ascii", "replace") == device:
            return kind
        # btrfs and overlays answer stat with a device that stands in no mount line.
        name = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8) & 0xFF]), columns[4])
        mount_point = Path(os.fsdecode(name))
        if path.is_relative_to(mount_point) and len(mount_point.parts) > best_length:
            best, best_length = kind, len(mount_point.parts)
    return best


def _layout(project: Path, root: Path, git_dir: Path | None, common_dir: Path | None) -> Layout:
    local = root
    if NETWORK_FILE_SYSTEMS.fullmatch(file_system_type(root)):
        name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        local = MACHINE_FOLDER / f"dstui-{os.getuid()}" / name
    return Layout(project=project, root=root, local=local, git_dir=git_dir, common_dir=common_dir)


def _data_folder(project: Path) -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", project.name)[:64] or "root"
    return Path(base) / "dstui" / f"{name}-{digest}"


def _marked(here: Path) -> Path | None:
    return next((folder for folder in (here, *here.parents) if (folder / PROJECT_MARK).is_file()), None)


def _find_git(here: Path) -> tuple[Path, Path, Path] | None:
    """(work tree, git dir, common dir) of the nearest repository with a work tree."""
    for folder in (here, *here.parents):
        git_dir = git_dir_at(folder / ".git")
        if git_dir is not None:
            return folder, git_dir, common_dir_of(git_dir)
    return None


def git_dir_at(path: Path) -> Path | None:
    """The git dir that a `.git` folder is, or that a `.git` file names; None when it is neither."""
    try:
        if path.is_dir():
            candidate = path.resolve()
        else:
            text = read_small(path)[:4096].decode("utf-8", "surrogateescape")
            if not text.startswith("gitdir:"):
                return None
            candidate = (path.parent / text[len("gitdir:") :].strip()).resolve()
        return candidate if (candidate / "HEAD").is_file() else None
    except (OSError, ValueError, RuntimeError):
        # A NUL or a loop of links is no path.
        return None


def read_small(path: Path) -> bytes:
    """At most `MAX_SMALL_BYTES` of a file of the project's git; nothing of a pipe or device, which may never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_SMALL_BYTES)
    finally:
        os.close(descriptor)


def common_dir_of(git_dir: Path) -> Path:
    """Where the objects and refs of a git dir are: elsewhere for a linked worktree."""
    text = read_small(git_dir / "commondir")[:4096].decode("utf-8", "surrogateescape").strip()
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return (git_dir / text).resolve()
    return git_dir


def _may_hold(common_dir: Path, root: Path) -> bool:
    """Whether the store can be at `root`: it is there already, or the nearest existing parent is writable."""
    for folder in (root, root.parent, common_dir):
        if folder.exists():
            return os.access(folder, os.W_OK | os.X_OK)
    return False
