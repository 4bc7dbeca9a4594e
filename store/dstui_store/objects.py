r"""Git objects written by us: blobs, trees and commits into a staging folder, then published whole and synced.

A `Staging` is a folder outside the object database. Nothing in it can be seen by a reader until `publish` has synced
every file and linked it in; a crash at any point leaves a folder that the next opening removes.
Object format: a header `<type> <size>\\0`, the content, zlib; named by the SHA-1 or SHA-256 of header and content.
Why not git itself: one run commit costs one process instead of seven, and git before 2.36 cannot sync objects.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dstui_store.errors import StoreError

REGULAR, EXECUTABLE, LINK, GITLINK, FOLDER = 0o100644, 0o100755, 0o120000, 0o160000, 0o40000
"""The modes that a tree of ours may hold."""


_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a tree: `mode` as git writes it, `object_id` in hex."""

    mode: int
    name: str
    object_id: str


def object_name(kind: str, content: bytes, algorithm: str) -> str:
    """The object id of some content; `algorithm` is "sha1" or "sha256"."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    digest.update(b"%s %d\0" % (kind.encode(), len(content)))
    digest.update(content)
    return digest.hexdigest()


def tree_content(entries: Iterable[TreeEntry]) -> bytes:
    """The bytes of a tree object, entries in git's own order (folders sort as if they ended in a slash)."""
    ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name) + (b"/" if entry.mode == FOLDER else b""))
    return b"".join(
        b"%o %s\0%s" % (entry.mode, os.fsencode(entry.name), bytes.fromhex(entry.object_id)) for entry in ordered
    )


def is_git_name(name: str) -> bool:
    """Whether some file system takes a file of this name for `.git`; git and we refuse it everywhere."""
    parts = _IGNORED_BY_HFS.sub("", name).lower().split("\\")
    return any(part.split(":")[0].rstrip(". ") in {".git", "git~1"} for part in parts)


class Staging:
    """One folder of objects on their way into the store; used by one thread.

    The folder holds its owner's lock for as long as it is filled, so that no clean-up takes it away.
    `path` can be git's `GIT_OBJECT_DIRECTORY`.
    """

    def __init__(self, parent: Path, objects: Path, algorithm: str) -> None:
        self._objects = objects
        self._algorithm = algorithm
        self._published: set[str] = set()
        try:
            self.path, self._lock = _locked_folder(parent)
        except OSError as error:
            raise _not_written(objects, error) from error

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def blob(self, content: bytes) -> str:
        """Writes a blob and returns its id."""
        return self._write("blob", content)

    def tree(self, entries: Iterable[TreeEntry]) -> str:
        """Writes a tree and returns its id."""
        return self._write("tree", tree_content(entries))

    def commit(self, tree: str, parents: Iterable[str], message: str, author: str, epoch: int) -> str:
        """Writes a commit and returns its id; `author` is `Name <email>`, `message` any text."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"{role} {author} {epoch} +0000" for role in ("author", "committer")]
        # A NUL would end the message for git; no text of ours holds one, a name from outside could.
        text = "\n".join([*lines, "", message.replace("\0", "\ufffd")])
        return self._write("commit", text.encode("utf-8", "replace"))

    def publish(self) -> None:
        """Makes every object of the folder part of the store, durably.

        Synced before they are linked, folders synced after: power loss can take none of them once this returns.

        Raises:
            StoreError: the disk refused; nothing counts as published and the caller must not say "saved".
        """
        try:
            fresh = [name for name in self._files() if name not in self._published]
            for name in fresh:
                _sync(self.path / name)
            folders = {self._objects}
            # A pack's index makes it visible, so it comes last.
            for name in sorted(fresh, key=lambda item: item.endswith(".idx")):
                folders.add(self._link(name))
            for folder in sorted(folders):
                _sync(folder)
            self._published.update(fresh)
        except OSError as error:
            raise _not_written(self._objects, error) from error

    def close(self) -> None:
        """Removes the folder. What was published stays."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def loose_ids(self) -> list[str]:
        """Ids of the loose objects that the folder holds."""
        return [name.replace("/", "") for name in self._files() if not name.startswith("pack/")]

    def drop_loose(self) -> None:
        """Forgets the loose objects, for when a pack of this folder holds them all."""
        for name in self._files():
            if not name.startswith("pack/"):
                (self.path / name).unlink()

    def _write(self, kind: str, content: bytes) -> str:
        name = object_name(kind, content, self._algorithm)
        folder = self.path / name[:2]
        target = folder / name[2:]
        if target.exists():
            return name
        header = b"%s %d\0" % (kind.encode(), len(content))
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            _write_new(target, zlib.compress(header + content, 1 if len(content) > 1 << 20 else 6))
        except OSError as error:
            raise _not_written(self._objects, error) from error
        return name

    def _files(self) -> list[str]:
        names: list[str] = []
        for folder in os.scandir(self.path):
            if folder.is_dir() and (len(folder.name) == 2 or folder.name == "pack"):
                names += [f"{folder.name}/{item.name}" for item in os.scandir(folder.path)]
        return sorted(names)

    def _link(self, name: str) -> Path:
        """Links one file in and returns the folder that must be synced."""
        source, target = self.path / name, self._objects / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        source.chmod(0o400)
        try:
            os.link(source, target)
        except FileExistsError:
            if not _is_sound(target):
                self._replace(source, target)
        except OSError:
            # No hard links on this file system (some network disks, exFAT).
            self._replace(source, target)
        return target.parent

    def _replace(self, source: Path, target: Path) -> None:
        temporary = target.parent / f"tmp_obj_{os.urandom(6).hex()}"
        shutil.copyfile(source, temporary)
        temporary.chmod(0o400)
        _sync(temporary)
        temporary.replace(target)


def sweep_stagings(parent: Path) -> None:
    """Removes the staging folders whose owners are dead."""
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        path = parent / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        path = parent / os.urandom(8).hex()
        path.mkdir(mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A sweep may have taken it for a dead one's before it was locked; then it is made again.
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    _sync(path)


def _not_written(objects: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The store could not be written: {error.strerror or error} (`{objects}`)",
        hint="free some space or mend the disk; the run's data stays in its live folder",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _is_sound(path: Path) -> bool:
    """Whether an object file that is already there can be trusted: not empty, and zlib (or a pack) by its head.

    After a power cut an empty object file may stand where git believes an object to be.
    """
    if "pack" in path.parts[-2:]:
        return path.stat().st_size > 32
    with path.open("rb") as source:
        head = source.read(2)
    return len(head) == 2 and head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0
