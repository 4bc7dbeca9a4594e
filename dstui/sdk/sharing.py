"""Sharing runs with teammates through a git remote: push, pull, and whether it happens by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dstui.errors import RunNotFound, UsageError
from dstui.sdk.hooks import Change, Hooks
from dstui_store import Sharing, clean, read_config

if TYPE_CHECKING:
    from dstui.sdk.project import Project
    from dstui_store import Received, Remote, Sent

HOOK_SECONDS = 30.0
"""The longest that the user's own push or pull waits for ours."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Pushed:
    """What `ds push` did.

    Attributes:
        remote: where runs went.
        sent: what went, and what stays here.
        dry: nothing was sent; this is what would be.
    """

    remote: Remote
    sent: Sent
    dry: bool

    def to_json(self) -> dict[str, Any]:
        """The answer as `ds push --json` prints it."""
        held = [
            {"run": item.run, "file": item.path, "line": item.line, "kind": item.kind, "id": item.id}
            for item in self.sent.held
        ]
        return {
            "remote": self.remote.name,
            "url": self.remote.shown_url,
            "dry_run": self.dry,
            "sent": self.sent.runs,
            "operations": self.sent.operations,
            "objects": self.sent.objects,
            "private": self.sent.private,
            "held": held,
        }


@dataclass(frozen=True)
class Pulled:
    """What `ds pull` brought."""

    remote: Remote
    received: Received

    def to_json(self) -> dict[str, Any]:
        """The answer as `ds pull --json` prints it."""
        received = self.received
        return {
            "remote": self.remote.name,
            "url": self.remote.shown_url,
            "received": received.runs,
            "objects": received.objects,
            "rewritten": [
                {"writer": item.writer, "vanished": list(item.vanished), "kept_as": item.kept_as}
                for item in received.rewritten
            ],
            "refused": [{"writer": writer, "reason": reason} for writer, reason in received.refused],
        }


@dataclass(frozen=True)
class SharePlan:
    """What `ds share on` would do; nothing of it is done yet.

    Attributes:
        older: runs that are here and not private.
        size_bytes: of those.
        with_older: they go too.
        changes: files of the user's repository that are written or moved.
        obstacle: why none are, or None.
        lines: what a person adds to hooks by hand then, by the hook's name.
    """

    remote: Remote
    older: int
    size_bytes: int
    with_older: bool
    changes: list[Change] = field(default_factory=list)
    obstacle: str | None = None
    lines: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as `ds share on --json` prints it."""
        return {
            "on": True,
            "remote": self.remote.name,
            "url": self.remote.shown_url,
            "older": self.older,
            "with_older": self.with_older,
            "changes": [change.to_json() for change in self.changes],
            "obstacle": self.obstacle,
            "lines": self.lines,
        }


def push(
    project: Project,
    words: Sequence[str] = (),
    *,
    remote: str | None = None,
    allow: Sequence[str] = (),
    dry: bool = False,
    progress: Progress | None = None,
    ask: bool = False,
) -> Pushed:
    """Sends runs to the remote that is shared with, else to `origin`: those named, or all that are not private.

    Args:
        words: runs, or the words of a query; none = every run.
        remote: another remote or URL.
        allow: ids of findings that are no secrets.
        dry: only say what would go.
        progress: shows a few words on what goes on.
        ask: the user may be asked for a password on the terminal.

    Raises:
        RunNotFound: no run is called so, and none matches.
        UsageError: a run that is named may not or cannot be sent.
        RemoteError: the remote cannot be reached, or does not take runs.
    """
    project.store.recover()
    sharing = Sharing(project.store)
    target = sharing.remote(remote)
    sharing.allow(_checked(allow))
    runs = None if not words else _wanted(project, words)
    if dry:
        return Pushed(target, sharing.preview(target, runs=runs), True)
    return Pushed(target, sharing.push(target, runs=runs, progress=progress, ask=ask), False)


def pull(project: Project, *, remote: str | None = None, progress: Progress | None = None, ask: bool = False) -> Pulled:
    """Brings the runs of teammates; arguments as `push`.

    Raises:
        RemoteError: the remote cannot be reached.
    """
    sharing = Sharing(project.store)
    target = sharing.remote(remote)
    return Pulled(target, sharing.pull(target, progress=progress, ask=ask))


def push_from_hook(project: Project, name: str, url: str) -> Pushed | None:
    """Sends new runs while the user pushes to a remote; None when that push has nothing to do with them.

    Raises:
        RemoteError: the remote could not be reached in time, or does not take runs.
    """
    sharing = Sharing(project.store)
    if not sharing.state.on:
        return None
    target = sharing.remote()
    remotes = sharing.remotes()
    if target.name in remotes and name != target.name and url not in {target.url, target.push_url}:
        return None
    project.store.recover()
    return Pushed(target, sharing.push(target, by_itself=True, deadline_seconds=HOOK_SECONDS), False)


def pull_from_hook(project: Project) -> Pulled | None:
    """Brings runs after the user's own pull; None when sharing is off.

    Raises:
        RemoteError: the remote could not be reached in time.
    """
    sharing = Sharing(project.store)
    if not sharing.state.on:
        return None
    target = sharing.remote()
    return Pulled(target, sharing.pull(target, deadline_seconds=HOOK_SECONDS))


def share_state(project: Project) -> dict[str, Any]:
    """`{"on", "remote", "url"}`, as `ds share --json` prints it."""
    state = Sharing(project.store).state
    return {"on": state.on, "remote": state.remote or None, "url": state.url or None}


def plan_sharing(project: Project, remote: str | None = None, *, with_older: bool = False) -> SharePlan:
    """What `start_sharing` would do.

    Raises:
        StoreError: there is no such remote.
    """
    sharing = Sharing(project.store)
    target = sharing.find(remote)
    hooks = _hooks(project, sharing)
    older = [record for record in project.store.records() if not record.private and record.state != "running"]
    own = sharing.own_writers()
    mine = [record for record in older if record.writer in own]
    return SharePlan(
        remote=target,
        older=len(mine),
        size_bytes=sum(record.size_bytes or 0 for record in mine),
        with_older=with_older,
        changes=hooks.to_install(),
        obstacle=hooks.obstacle,
        lines={} if hooks.obstacle is None or hooks.folder is None else hooks.lines(),
    )


def start_sharing(project: Project, plan: SharePlan) -> None:
    """Does what the user agreed to."""
    sharing = Sharing(project.store)
    made = _hooks(project, sharing).install()
    sharing.turn_on(plan.remote, with_older=plan.with_older, made_folder=made)


def stop_sharing(project: Project) -> tuple[list[Change], list[str]]:
    """Takes our hooks away and puts back what was there.

    Returns:
        What was changed, and the names of hooks that still call us because others changed them since.
    """
    sharing = Sharing(project.store)
    hooks = _hooks(project, sharing)
    changes = hooks.to_remove()
    left = hooks.remove(made_folder=sharing.state.made_folder)
    sharing.turn_off()
    return changes, left


def _hooks(project: Project, sharing: Sharing) -> Hooks:
    layout = project.store.layout
    own = None
    for folder, name in ((layout.common_dir, "config"), (layout.git_dir, "config.worktree")):
        if folder is not None:
            found = [value for key, value in read_config(project.store.git, folder / name) if key == "core.hookspath"]
            own = found[-1] if found else own
    return Hooks(layout, own if own is not None else sharing.user_setting("core.hooksPath"))


def _wanted(project: Project, words: Sequence[str]) -> list[str]:
    """Ids of the runs that words name: each a run, or all of them together a query."""
    try:
        runs = [project.resolve(word) for word in words]
    except RunNotFound as error:
        if error.candidates and len(words) == 1 and "#" in words[0]:
            raise
        found = [view.record.id for view in project.runs(" ".join(words))]
        if not found:
            raise
        return found
    own = Sharing(project.store).own_writers()
    for word, run in zip(words, runs, strict=True):
        record = project.store.record(run)
        if record.private:
            raise UsageError(f"Run `{clean(word)}` is private", hint="private runs are never sent")
        if record.state == "running":
            raise UsageError(f"Run `{clean(word)}` is still running", hint="it can be sent once it has ended")
        if record.writer not in own:
            raise UsageError(f"Run `{clean(word)}` was made by {clean(record.writer)}, who shares it")
    return runs


def _checked(ids: Sequence[str]) -> list[str]:
    for item in ids:
        if not (4 <= len(item) <= 64 and all(letter in "0123456789abcdef" for letter in item)):
            raise UsageError(f"`{clean(item)}` is no id of a finding", hint="`ds push` says the id of each finding")
    return list(ids)
