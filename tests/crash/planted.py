"""Bugs that the crash harnesses must catch, each patched into the writer of `committing`.

A harness counts only once it was seen to fail, and every bug that escapes it adds one here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dstui_store import git, live, objects, repository

NOTHING = "nothing"

_early: list[str] = []
_bug = NOTHING


def apply(name: str) -> None:
    """Patches a bug into this process.

    Raises:
        KeyError: no bug has that name.
    """
    global _bug
    _bug = name
    BUGS[name]()


def before_commit(run: str) -> None:
    """What the writer does before it commits: nothing, unless it acknowledges early."""
    if _bug == "acknowledged before the commit":
        acknowledge(run)
    _early.append(run)


def after_commit(run: str) -> None:
    """What the writer does once the commit has returned."""
    if _bug not in {"acknowledged before the commit", "acknowledged before the ref moved"}:
        acknowledge(run)


def acknowledge(run: str) -> None:
    os.write(1, f"ACK {run}\n".encode())


def _acknowledged_before_the_ref_moved() -> None:
    real = git.Git.update_ref

    def update_ref(self: git.Git, ref: str, new: str, old: str | None, lock: int) -> None:
        while _early:
            acknowledge(_early.pop())
        real(self, ref, new, old, lock)

    _replace(git.Git, "update_ref", update_ref)


def _sync_errors_swallowed() -> None:
    def sync(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            pass
        finally:
            os.close(descriptor)

    _replace(objects, "_sync", sync)


def _syncs_left_out(which: Callable[[Path], bool]) -> Callable[[], None]:
    def plant() -> None:
        real = objects._sync

        def sync(path: Path) -> None:
            if not which(path):
                real(path)

        _replace(objects, "_sync", sync)

    return plant


def _ref_not_synced() -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not ("/refs/" in path and stat.S_ISREG(os.fstat(descriptor).st_mode)):
            real(descriptor)

    _replace(os, "fsync", fsync)


def _stale_locks_kept() -> None:
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix != ".lock":
            real(self, missing_ok=missing_ok)

    _replace(Path, "unlink", unlink)


def _live_folder_removed_first() -> None:
    real = repository.Store._publish

    def publish(self: repository.Store, staging: Any, content: Any) -> Any:
        live.remove(self.layout, content.record.id)
        return real(self, staging, content)

    _replace(repository.Store, "_publish", publish)


def _replace(holder: Any, name: str, new: Any) -> None:
    setattr(holder, name, new)


BUGS: dict[str, Callable[[], None]] = {
    NOTHING: lambda: None,
    "acknowledged before the commit": lambda: None,
    "acknowledged before the ref moved": _acknowledged_before_the_ref_moved,
    "sync errors swallowed": _sync_errors_swallowed,
    "objects not synced": _syncs_left_out(lambda path: path.is_file()),
    "folders not synced": _syncs_left_out(lambda path: path.is_dir() and "objects" in path.parts),
    "folder of the ref not synced": _syncs_left_out(lambda path: "refs" in path.parts),
    "ref not synced": _ref_not_synced,
    "stale locks kept": _stale_locks_kept,
    "live folder removed first": _live_folder_removed_first,
}
"""Name to what plants it."""
