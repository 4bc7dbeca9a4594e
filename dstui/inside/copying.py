"""Copy a file of any size without its bytes passing through memory, and without a link to the original.

Standard library only, Python 3.9. A file system that shares blocks gets a clone, which costs nothing; else the kernel
copies (`copy_file_range`), and holes stay holes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator

FICLONE = 0x40049409
"""The ioctl that lets two files share their blocks until one is written."""

PIECE_BYTES = 64 << 20
"""Bytes asked of the kernel at a time."""

FALLBACK_BYTES = 1 << 20
"""Bytes read at a time where the kernel does not copy between these two file systems."""

SPARE_BYTES = 256 << 20
"""Left free on the disk: the training needs it more than we do."""


class NotAFile(Exception):
    """The source is a folder, a pipe, a socket or a device."""


def copy_file(source: str, target: str) -> int:
    """Copy a regular file to a new one of mode 0600; returns its size. On failure the target is gone.

    Raises:
        NotAFile: the source is something else.
        OSError: it cannot be read, or there is too little room.
    """
    # Opening a pipe without a writer would wait for one.
    reading = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(reading)
        if not stat.S_ISREG(about.st_mode):
            raise NotAFile(source)
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _fill(reading, writing, about)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    return about.st_size


def _fill(reading: int, writing: int, about: os.stat_result) -> None:
    try:
        fcntl.ioctl(writing, FICLONE, reading)
        # What was written to the source meanwhile is left out, as in a copy.
        os.ftruncate(writing, about.st_size)
        return
    except OSError:
        pass
    disk = os.fstatvfs(writing)
    if about.st_blocks * 512 + SPARE_BYTES > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, "too little room on the disk")
    for start, end in _extents(reading, about.st_size):
        _copy_range(reading, writing, start, end)
    os.ftruncate(writing, about.st_size)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each part of a file that is no hole."""
    place = 0
    while place < size:
        try:
            start = os.lseek(descriptor, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # Not known here: one part. ENXIO: nothing but a hole from here on.
                yield place, size
            return
        place = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start < place:
            yield start, place


def _copy_range(reading: int, writing: int, place: int, end: int) -> None:
    by_kernel = True
    while place < end:
        if by_kernel:
            try:
                copied = os.copy_file_range(reading, writing, min(end - place, PIECE_BYTES), place, place)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                    raise
                by_kernel = False
                continue
        else:
            piece = os.pread(reading, min(end - place, FALLBACK_BYTES), place)
            copied = os.pwrite(writing, piece, place) if piece else 0
        if copied == 0:  # It was cut meanwhile.
            return
        place += copied
