"""The git state of a folder that is not the project: where an editable install stands, and whether it was edited.

As with the project itself, nothing of that repository is run: its index is copied, its objects are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from dstui_store.errors import StoreError
from dstui_store.git import Git
from dstui_store.layout import Layout, locate
from dstui_store.objects import GITLINK
from dstui_store.snapshot import _Listed, _Looking, read_head

LOOK_SECONDS = 10.0
"""After this long the state of a folder is left unknown."""


@dataclass(frozen=True, slots=True)
class WorkTree:
    """Where a folder stands.

    Attributes:
        commit: its HEAD; None outside git or before the first commit.
        branch: its branch; None when detached.
        dirty: whether its tracked files differ from that commit; None where that is not known.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


def worktree_of(layout: Layout, folder: Path) -> WorkTree:
    """The state of the repository that a folder lies in.

    Args:
        layout: of the store whose repository git works in. Safe to call in any thread.
    """
    try:
        other = locate(folder)
    except StoreError:
        return WorkTree()
    if other.git_dir is None:
        return WorkTree()
    commit, branch = read_head(other)
    if commit is None:
        return WorkTree(None, branch, None)
    placed = replace(layout, project=other.project, git_dir=other.git_dir, common_dir=other.common_dir)
    try:
        return WorkTree(commit, branch, _is_dirty(placed, commit))
    except (StoreError, OSError):
        return WorkTree(commit, branch, None)


def _is_dirty(layout: Layout, commit: str) -> bool | None:
    git = Git.open(layout, create=False)
    if git is None:
        return None
    with git.staging() as staging:
        looking = _Looking.of(git, staging)
        tracked = looking.list_tracked(LOOK_SECONDS)
        if any(_is_edited(entries[0]) for entries in tracked.values()):
            return True
        listing = looking.list_commit(commit, LOOK_SECONDS)
    index = {os.fsencode(path): (entries[0].mode, entries[0].object_id) for path, entries in tracked.items()}
    return index != listing


def _is_edited(entry: _Listed) -> bool:
    if entry.mode == GITLINK:
        return False
    return entry.changed or (entry.deleted and not entry.sparse) or entry.stage != 0
