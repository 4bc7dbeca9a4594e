"""The user's own git, used as a user would, and as a second opinion on what the store holds."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstui_store import Store

Content = dict[bytes, tuple[str, bytes]]
"""Path to (mode as git prints it, bytes): a link's bytes are its target."""


def git(folder: Path, *arguments: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
    """The output of the user's git in a folder; its failure is the test's."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **(env or {})},
        timeout=60,
    )
    assert done.returncode == 0, f"git {arguments!r} failed: {done.stderr.decode(errors='replace')}"
    return done.stdout


def commit_all(folder: Path, message: str = "more") -> None:
    """Commits everything that is not ignored."""
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Writes files by relative path, parents too."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def store_git(store: Store, *arguments: str, stdin: bytes = b"") -> bytes:
    """Plain git in the store's repository."""
    return git(store.layout.store_git, f"--git-dir={store.layout.store_git}", *arguments, stdin=stdin)


def fsck(store: Store) -> str:
    """What git finds wrong with the store: an empty text when all is well."""
    done = subprocess.run(
        ["git", f"--git-dir={store.layout.store_git}", "fsck", "--full", "--strict", "--no-dangling", "--no-progress"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr if done.returncode or done.stdout else ""


def stored_files(store: Store, tree: str | None) -> Content:
    """Every file below a tree of the store, read by git alone, the project's objects out of reach."""
    assert tree is not None
    entries: list[tuple[bytes, str, str]] = []
    for record in store_git(store, "ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0"):
        if record:
            head, path = record.split(b"\t", 1)
            mode, _, object_id = head.decode().split(" ")
            entries.append((path, mode, object_id))
    contents = dict(_contents(store, {object_id for _, mode, object_id in entries if mode != "160000"}))
    return {path: (mode, contents.get(object_id, object_id.encode())) for path, mode, object_id in entries}


def _contents(store: Store, object_ids: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    ordered = sorted(object_ids)
    output = store_git(store, "cat-file", "--batch", stdin="\n".join(ordered).encode() + b"\n") if ordered else b""
    at = 0
    for object_id in ordered:
        end = output.index(b"\n", at)
        size = int(output[at:end].split()[2])
        yield object_id, output[end + 1 : end + 1 + size]
        at = end + size + 2


def files_on_disk(folder: Path, *, without: Iterable[str] = ()) -> Content:
    """Every file and link of a work tree but `.git`, as git would store it byte for byte.

    Args:
        without: relative paths of files and folders to leave out.
    """
    left_out = {os.fsencode(name) for name in without}
    found: Content = {}
    root = os.fsencode(folder)
    for parent, folders, names in os.walk(root):
        inside = os.path.relpath(parent, root)
        prefix = b"" if inside == b"." else inside + b"/"
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if name != b".git" and name not in links]
        folders[:] = [name for name in folders if prefix + name not in left_out]
        for name in [*names, *links]:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if prefix + name in left_out or name == b".git" or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                continue
            if stat.S_ISLNK(mode):
                found[prefix + name] = ("120000", os.readlink(path))
            else:
                with open(path, "rb") as source:
                    found[prefix + name] = ("100755" if mode & 0o100 else "100644", source.read())
    return found
