"""The hooks that let runs go with the user's own `git push` and come with `git pull`; every byte of it can be undone.

A hook that is there already is moved to `<name>.before-ds` and still runs first, with its own input, and its failure
ends the push as ever. Ours never does: it ends with 0 whatever happened. Where git takes its hooks from another folder
(`core.hooksPath`) nothing is edited; the line to add is printed.
"""

from __future__ import annotations

import os
import shlex
import site
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui.errors import UsageError

if TYPE_CHECKING:
    from dstui_store import Layout

BEFORE = ".before-ds"
"""What the name of an earlier hook ends with while ours is there."""

MARK = "# Made by dstui; `ds share off` takes it away and puts back what was here."

HOOKS = {
    "pre-push": ('push --from-hook "$1" "$2"', ""),
    "post-merge": ("pull --from-hook", "pull"),
    "post-rewrite": ("pull --from-hook", "pull"),
}
"""Name of each hook, what it calls, and the command of the user that it belongs to: a merge alone fetches nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change to the user's repository.

    Attributes:
        what: `write`, `move` or `remove`.
        path: the file.
        target: where a file is moved to, else None.
    """

    what: str
    path: Path
    target: Path | None = None

    def to_json(self) -> dict[str, str | None]:
        """The change as `ds share on --json` prints it."""
        return {"what": self.what, "path": str(self.path), "target": None if self.target is None else str(self.target)}


class Hooks:
    """The hooks of one repository."""

    def __init__(self, layout: Layout, hooks_path: str | None) -> None:
        """Args say where git looks for hooks.

        Args:
            hooks_path: `core.hooksPath` as the user's or the project's configuration has it, else None.
        """
        self.folder = None if layout.common_dir is None else layout.common_dir / "hooks"
        self._hooks_path = hooks_path

    @property
    def obstacle(self) -> str | None:
        """Why no hook is written, or None."""
        if self.folder is None:
            return "this project has no git repository"
        if self._hooks_path is not None:
            return f"git takes its hooks from `{self._hooks_path}` (core.hooksPath)"
        if self.folder.is_symlink():
            return f"`{self.folder}` is a link"
        place = self.folder if self.folder.exists() else self.folder.parent
        return None if os.access(place, os.W_OK | os.X_OK) else f"`{self.folder}` cannot be written"

    def lines(self) -> dict[str, str]:
        """Name of each hook and the line that a person adds to it by hand."""
        return {name: _call(name) for name in HOOKS}

    def to_install(self) -> list[Change]:
        """What `install` would change; empty when all is there."""
        if self.obstacle is not None or self.folder is None:
            return []
        changes: list[Change] = []
        for name in HOOKS:
            path = self.folder / name
            if _content(path) == text_of(name):
                continue
            if os.path.lexists(path) and not _is_ours(path):
                changes.append(Change("move", path, path.with_name(name + BEFORE)))
            changes.append(Change("write", path))
        return changes

    def install(self) -> bool:
        """Does what `to_install` says; returns whether the folder had to be made.

        Raises:
            UsageError: an earlier hook cannot be moved, since its new name is taken.
        """
        changes = self.to_install()
        for change in changes:
            if change.target is not None and os.path.lexists(change.target):
                raise UsageError(f"`{change.target}` is in the way", hint="look at it and move it away")
        made = bool(changes) and self.folder is not None and not self.folder.exists()
        for change in changes:
            change.path.parent.mkdir(exist_ok=True)
            if change.target is not None:
                change.path.rename(change.target)
            else:
                _write(change.path, text_of(change.path.name))
        return made

    def to_remove(self) -> list[Change]:
        """What `remove` would change."""
        changes: list[Change] = []
        for name in HOOKS if self.folder is not None else ():
            assert self.folder is not None
            path = self.folder / name
            before = path.with_name(name + BEFORE)
            if _is_ours(path):
                changes.append(Change("remove", path))
                if os.path.lexists(before):
                    changes.append(Change("move", before, path))
        return changes

    def remove(self, *, made_folder: bool = False) -> list[str]:
        """Takes ours away and puts back what was there; returns the names of hooks that others changed since."""
        for change in self.to_remove():
            if change.target is None:
                change.path.unlink()
            else:
                change.path.rename(change.target)
        if self.folder is None or not self.folder.is_dir():
            return []
        if made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()
            return []
        return [name for name in HOOKS if _mentions_us(self.folder / name)]


def text_of(name: str) -> str:
    """The hook of a name, whole."""
    lines = [
        "#!/bin/sh",
        MARK,
        f'before="${{0%/*}}/{name}{BEFORE}"',
        'if [ -x "$before" ]; then "$before" "$@" || exit $?; fi',
        _call(name),
        "exit 0",
    ]
    return "\n".join(lines) + "\n"


def _call(name: str) -> str:
    """One line of shell that calls us and never fails."""
    words, only_in = HOOKS[name]
    python = shlex.quote(sys.executable)
    call = f"[ ! -x {python} ] || {python} {_isolation()} -m dstui {words} </dev/null || :"
    return f'case "$GIT_REFLOG_ACTION" in {only_in}*) {call};; esac' if only_in else call


def _isolation() -> str:
    """The option that keeps the project's own modules out of our process; ours may be in the user's site folder."""
    own = os.path.realpath(__file__)
    user_site = os.path.realpath(site.getusersitepackages())
    return "-P" if own.startswith(user_site + os.sep) else "-I"


def _content(path: Path) -> str | None:
    """The text of a regular file of a hook's size, else None."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > 1 << 20:
            return None
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return None


def _is_ours(path: Path) -> bool:
    """Whether the whole file is one that we wrote, by this version or another."""
    lines = (_content(path) or "").splitlines()
    return lines[1:2] == [MARK] and len(lines) == len(text_of(path.name).splitlines())


def _mentions_us(path: Path) -> bool:
    return "-m dstui " in (_content(path) or "")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)
