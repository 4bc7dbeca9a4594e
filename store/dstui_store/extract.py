"""The code of a run as files again: a tree of the store, written into a new or empty directory, never outside it.

Trees may have been made by somebody else. The whole tree is read and checked first, and refused with the entry's name
if anything in it is not a plain name; then every file is made anew below a directory descriptor, following no link.
Links come last, when nothing is written any more. On failure no file stays. Nothing is run, no attribute but the
executable bit is set.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store.errors import DamagedError, LimitError, StoreError
from dstui_store.limits import MAX_CODE_BYTES, MAX_CODE_DEPTH, MAX_CODE_FILES, MAX_PATH_BYTES
from dstui_store.objects import EXECUTABLE, FOLDER, GITLINK, LINK, REGULAR, is_git_name

if TYPE_CHECKING:
    from dstui_store.git import Git

MAX_NAME_BYTES = 255
"""Longest name that file systems take."""

KEPT_BYTES = 16 << 20
"""A tree up to this size keeps its bytes in memory, for the next directory made from it."""

_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """A file or link of a tree; `path` is relative and plain."""

    path: str
    mode: int
    object_id: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was written.

    Attributes:
        files: regular files and links.
        left_out: (path, reason) of what was not: submodules, and links that lead out.
    """

    files: int
    left_out: tuple[tuple[str, str], ...]


class CodeTree:
    """A checked tree, ready to be written as often as needed. Used by one thread.

    Args:
        git: the store's repository.
        tree: object id, e.g. of a run's `code`.

    Raises:
        DamagedError: it holds a name, a mode or a pair of names that no file system should be given.
        LimitError: it is larger than every reader admits.
    """

    def __init__(self, git: Git, tree: str) -> None:
        self._git = git
        self.tree = tree
        self.folders: list[str] = []
        self.entries: list[CodeEntry] = []
        self.submodules: list[str] = []
        self._contents: dict[str, bytes] = {}
        self._kept = 0
        self._read(tree, "", 0)

    def write(self, target: Path, *, links_out: bool = False) -> Extracted:
        """Make the files in a directory that does not exist or is empty.

        Args:
            target: its parent exists.
            links_out: make links that lead out of the directory too; only for one's own code.

        Raises:
            StoreError: the directory is not empty, or the disk refused; what was made is removed.
            LimitError: more bytes than every reader admits.
        """
        made = _make_target(target)
        left_out = [(path, "submodule: its files are not stored") for path in self.submodules]
        try:
            root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                written = self._write_all(root, left_out, links_out)
            finally:
                os.close(root)
        except (OSError, StoreError) as error:
            _empty(target, made)
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"`{target}` could not be written: {error.strerror}", hint="free some space") from error
        return Extracted(written, tuple(left_out))

    def _write_all(self, root: int, left_out: list[tuple[str, str]], links_out: bool) -> int:
        total, written = 0, 0
        with _Folders(root) as folders:
            for path in self.folders:
                folders.make(path)
            links: list[tuple[CodeEntry, str]] = []
            for entry in self.entries:
                content = self._content(entry)
                total += len(content)
                if total > MAX_CODE_BYTES:
                    raise LimitError("The code of a run in bytes", total, MAX_CODE_BYTES)
                if entry.mode == LINK:
                    links.append((entry, os.fsdecode(content)))
                    continue
                folder, name = folders.of(entry.path)
                _write_file(folder, name, content, executable=entry.mode == EXECUTABLE)
                written += 1
            for entry, destination in links:
                reason = _refused_link(entry.path, destination, links_out)
                if reason is not None:
                    left_out.append((entry.path, reason))
                    continue
                folder, name = folders.of(entry.path)
                os.symlink(destination, name, dir_fd=folder)
                written += 1
        return written

    def _content(self, entry: CodeEntry) -> bytes:
        content = self._contents.get(entry.object_id)
        if content is None:
            limit = MAX_PATH_BYTES * 4 if entry.mode == LINK else MAX_CODE_BYTES
            content = self._git.object(entry.object_id, limit=limit, kind="blob")
            if self._kept + len(content) <= KEPT_BYTES:
                self._contents[entry.object_id] = content
                self._kept += len(content)
        return content

    def _read(self, tree: str, prefix: str, depth: int) -> None:
        if depth > MAX_CODE_DEPTH:
            raise LimitError("The depth of a run's code", depth, MAX_CODE_DEPTH)
        seen: set[str] = set()
        for mode, name, object_id in self._git.tree(tree):
            path = prefix + name
            _check_name(name, path)
            folded = unicodedata.normalize("NFC", name).casefold()
            if folded in seen:
                raise DamagedError(f"The code holds two names that one file system takes for one: {path!r}")
            seen.add(folded)
            if mode == FOLDER:
                self.folders.append(path)
                self._read(object_id, path + "/", depth + 1)
            elif mode == GITLINK:
                self.submodules.append(path)
            elif mode in (REGULAR, EXECUTABLE, LINK):
                self.entries.append(CodeEntry(path, mode, object_id))
            else:
                raise DamagedError(f"The code holds an entry of mode {mode:o}: {path!r}")
            count = len(self.entries) + len(self.folders)
            if count > MAX_CODE_FILES:
                raise LimitError("The files of a run's code", count, MAX_CODE_FILES)


class _Folders:
    """Descriptors of the directories being filled, each opened once from its parent, following no link."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: dict[str, int] = {}

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def make(self, path: str) -> None:
        """A new directory; its parent is there."""
        folder, name = self.of(path)
        os.mkdir(name, 0o700, dir_fd=folder)

    def of(self, path: str) -> tuple[int, str]:
        """(descriptor of the directory, name in it) of a path."""
        parent, _, name = path.rpartition("/")
        return self._descriptor(parent), name

    def _descriptor(self, path: str) -> int:
        if not path:
            return self._root
        if path not in self._open:
            if len(self._open) >= 64:
                _, oldest = self._open.popitem()
                os.close(oldest)
            at = self._root
            opened: list[int] = []
            try:
                for part in path.split("/"):
                    at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                    opened.append(at)
            finally:
                for descriptor in opened[:-1]:
                    os.close(descriptor)
            self._open[path] = at
        return self._open[path]


def _make_target(target: Path) -> bool:
    """Make the directory, or see that it is empty; returns whether it was made."""
    try:
        os.mkdir(target, 0o700)
    except FileExistsError:
        if target.is_symlink() or not target.is_dir():
            raise StoreError(f"`{target}` is no directory", hint="name a new one") from None
        if any(target.iterdir()):
            raise StoreError(f"`{target}` is not empty", hint="name a new directory") from None
        return False
    except OSError as error:
        raise StoreError(f"`{target}` cannot be made: {error.strerror}", hint="check its parent") from error
    return True


def _empty(target: Path, made: bool) -> None:
    with contextlib.suppress(OSError):
        for path in _children(target):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        if made:
            target.rmdir()


def _children(target: Path) -> Iterator[Path]:
    yield from list(target.iterdir())


def _write_file(folder: int, name: str, content: bytes, *, executable: bool) -> None:
    mode = 0o700 if executable else 0o600
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        # As git makes them: what the umask allows.
        os.fchmod(descriptor, (0o777 if executable else 0o666) & ~_UMASK)
    finally:
        os.close(descriptor)


def _check_name(name: str, path: str) -> None:
    text = repr(path[:200])
    if not name or name in {".", ".."} or "/" in name or "\\" in name:
        raise DamagedError(f"The code holds a name that is no plain one: {text}")
    if is_git_name(name):
        raise DamagedError(f"The code holds a name that git keeps for itself: {text}")
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in name):
        raise DamagedError(f"The code holds a name with a control character: {text}")
    if _DEVICE_NAME.fullmatch(name.rstrip(". ")):
        raise DamagedError(f"The code holds a device's name: {text}")
    if len(os.fsencode(name)) > MAX_NAME_BYTES or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise DamagedError(f"The code holds a name that is too long: {text}")


def _refused_link(path: str, destination: str, links_out: bool) -> str | None:
    if not destination or "\0" in destination:
        return "a link to nothing"
    if links_out:
        return None
    if destination.startswith("/"):
        return "a link that leads out of the code"
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), destination))
    if inside == ".." or inside.startswith("../"):
        return "a link that leads out of the code"
    if any(is_git_name(part) for part in inside.split("/")):
        return "a link into a git directory"
    return None


def _umask() -> int:
    """The process's umask, read without changing it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except (OSError, ValueError, IndexError):
        pass
    return 0o077


_UMASK = _umask()
