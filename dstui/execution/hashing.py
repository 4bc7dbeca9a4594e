"""SHA-256 of files and folders that may be huge: read once, remembered until they change, always able to stop.

`python -m dstui.execution.hashing CACHE` hashes the paths of its stdin (JSON list), for what a short run did not wait
for: the next run finds them remembered.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dstui_store import private_folder

PIECE_BYTES = 1 << 20

REMEMBER_BYTES = 1 << 20
"""Files of a folder from this size on are remembered one by one; smaller ones are read again when it changed."""

RACY_SECONDS = 2.0
"""A file that was changed so shortly before may change again without its time telling, so it is not remembered."""

MAX_FILES = 2_000_000
"""Files of one folder."""

MAX_DEPTH = 64
"""Folders that a file may be deep."""

MAX_LINES = 200_000
"""Hashes that are remembered; the older half goes when there are more."""

LEFTOVER_SECONDS = 3600.0
"""How long the hashing after a run may take."""

NICE = 15
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call, which the C library does not wrap."""

LOWEST_IO_PRIORITY = 2 << 13 | 7
"""The last of the ordinary class: after everybody, but never starved."""

Ongoing = Callable[[], bool]
"""Asked before each piece: False ends the work."""


class Stopped(Exception):
    """The work was ended before it was done; no error of anybody."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file or folder as it was when it was read.

    Attributes:
        sha256: hex; of a folder, that of its manifest (`store/FORMAT.md`, section 9).
        size: bytes, of all files together.
        files: how many; None for a single file.
        modified: the newest time of change, seconds since the epoch.
        stamp: what it is remembered under; another one means that it has changed since.
        unstable: it changed while it was read.
    """

    sha256: str
    size: int
    files: int | None
    modified: float
    stamp: str
    unstable: bool = False


class HashCache:
    """Hashes by the identity, size and times of what was hashed; one file that several processes append to."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hashes"
        self._known: dict[str, str] | None = None

    def get(self, stamp: str) -> str | None:
        """The hash remembered under a stamp."""
        if self._known is None:
            self._known = self._read()
        return self._known.get(stamp)

    def put(self, stamp: str, sha256: str) -> None:
        """Remember a hash; a full disk is no reason to fail."""
        if self.get(stamp) is None and self._known is not None:
            self._known[stamp] = sha256
            with contextlib.suppress(OSError):
                self._append(f"{stamp} {sha256}\n".encode())

    def _read(self) -> dict[str, str]:
        try:
            with self._path.open("rb") as file:
                lines = file.read((MAX_LINES + 1) * 98).splitlines()
        except OSError:
            return {}
        pairs = (line.decode("ascii", "replace").split(" ") for line in lines if len(line) == 97)
        known = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        if len(lines) > MAX_LINES:
            known = dict(list(known.items())[-MAX_LINES // 2 :])
            self._rewrite(known)
        return known

    def _rewrite(self, known: dict[str, str]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text("".join(f"{stamp} {sha256}\n" for stamp, sha256 in known.items()))
            temporary.chmod(0o600)
            temporary.replace(self._path)

    def _append(self, line: bytes) -> None:
        private_folder(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def hash_path(path: Path, cache: HashCache, ongoing: Ongoing) -> Hashed:
    """The hash of a file or folder, links to files followed.

    Raises:
        OSError: it cannot be read, or is neither a file nor a folder.
        Stopped: `ongoing` said no.
    """
    found = path.stat()
    return _hash_folder(path, cache, ongoing) if stat.S_ISDIR(found.st_mode) else _hash_file(path, cache, ongoing)


def stamp_of(path: Path, ongoing: Ongoing) -> str:
    """What a file or folder is now remembered under; errors as `hash_path`."""
    found = path.stat()
    return _look_over(path, ongoing).stamp if stat.S_ISDIR(found.st_mode) else _stamp(path, found)


def be_last() -> None:
    """Put this thread behind all others, for processor and disk."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    number = IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        import ctypes

        ctypes.CDLL(None).syscall(number, 1, 0, LOWEST_IO_PRIORITY)


def _stamp(path: Path | str, found: os.stat_result) -> str:
    parts = (os.path.realpath(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _hash_file(path: Path, cache: HashCache, ongoing: Ongoing) -> Hashed:
    # Without waiting: a pipe in the place of a file would never open.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "neither a file nor a folder")
        stamp = _stamp(path, found)
        known = cache.get(stamp)
        if known is not None:
            return Hashed(known, found.st_size, None, found.st_mtime, stamp)
        started = time.time()
        sha256 = _digest(descriptor, ongoing)
        unstable = _stamp(path, os.fstat(descriptor)) != stamp
    finally:
        os.close(descriptor)
    if not unstable and started - found.st_mtime > RACY_SECONDS:
        cache.put(stamp, sha256)
    return Hashed(sha256, found.st_size, None, found.st_mtime, stamp, unstable)


def _digest(descriptor: int, ongoing: Ongoing) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(PIECE_BYTES)
    view = memoryview(buffer)
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    while True:
        if not ongoing():
            raise Stopped
        count = os.readv(descriptor, [buffer])
        if not count:
            return digest.hexdigest()
        digest.update(view[:count])


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder as seen without reading a file."""

    stamp: str
    size: int
    files: int
    modified: float


def _look_over(path: Path, ongoing: Ongoing) -> _Folder:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(path)))
    size = files = 0
    modified = 0.0
    for name, _, found in _walk(path, ongoing):
        if isinstance(found, bytes):
            digest.update(b"%s\0%s\n" % (name, found))
            continue
        times = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(name + "\0{}\0{}\0{}\0{}\0{}\n".format(*times).encode())
        size, files, modified = size + found.st_size, files + 1, max(modified, found.st_mtime)
    return _Folder(digest.hexdigest()[:32], size, files, modified)


def _hash_folder(path: Path, cache: HashCache, ongoing: Ongoing) -> Hashed:
    seen = _look_over(path, ongoing)
    known = cache.get(seen.stamp)
    if known is not None:
        return Hashed(known, seen.size, seen.files, seen.modified, seen.stamp)
    started = time.time()
    manifest = hashlib.sha256()
    for name, file, found in _walk(path, ongoing):
        if isinstance(found, bytes):
            manifest.update(b"%s\0link\0%s\n" % (name, found))
            continue
        manifest.update(b"%s\0%d\0%s\n" % (name, found.st_size, _member(file, found, cache, ongoing).encode()))
    unstable = _look_over(path, ongoing).stamp != seen.stamp
    if not unstable and started - seen.modified > RACY_SECONDS:
        cache.put(seen.stamp, manifest.hexdigest())
    return Hashed(manifest.hexdigest(), seen.size, seen.files, seen.modified, seen.stamp, unstable)


def _member(path: str, found: os.stat_result, cache: HashCache, ongoing: Ongoing) -> str:
    if found.st_size >= REMEMBER_BYTES:
        return _hash_file(Path(path), cache, ongoing).sha256
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _digest(descriptor, ongoing)
    finally:
        os.close(descriptor)


def _walk(top: Path, ongoing: Ongoing) -> Iterator[tuple[bytes, str, os.stat_result | bytes]]:
    """(name below the top, path, what `stat` says) of each file, in the order of the bytes of names, level by level.

    A link to a file counts as that file; of a link to anything else its text is given instead.
    """
    count = 0
    waiting: list[tuple[str, bytes, int]] = [(str(top), b"", 0)]
    while waiting:
        folder, prefix, depth = waiting.pop()
        if not ongoing():
            raise Stopped
        if depth > MAX_DEPTH:
            raise OSError(0, f"folders deeper than {MAX_DEPTH}")
        below: list[tuple[str, bytes, int]] = []
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        for entry in ordered:
            name = prefix + os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                below.append((entry.path, name + b"/", depth + 1))
            elif entry.is_file():
                count += 1
                yield name, entry.path, entry.stat()
            elif entry.is_symlink():
                yield name, entry.path, os.fsencode(os.readlink(entry.path))
        if count > MAX_FILES:
            raise OSError(0, f"more than {MAX_FILES:,} files")
        waiting += reversed(below)


def main() -> int:
    """Hash what stdin names, one process of its kind at a time."""
    folder = Path(sys.argv[1])
    paths = json.load(sys.stdin)
    deadline = time.monotonic() + LEFTOVER_SECONDS
    private_folder(folder)
    descriptor = os.open(folder / "hashing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    be_last()
    cache = HashCache(folder)
    for path in paths:
        with contextlib.suppress(OSError, Stopped):
            hash_path(Path(path), cache, lambda: time.monotonic() < deadline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
