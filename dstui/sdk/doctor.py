"""Looks at everything a run depends on and says what is wrong and what to do. Reads only, mends nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import DstuiError
from dstui.units import format_bytes
from dstui_store import Liveness, StoreError, file_system_type, git_version, machine_id

if TYPE_CHECKING:
    from dstui.sdk.project import Project

LOW_DISK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        verdict: `ok`, `note` (works, but know it) or `bad`.
        found: what is there, one sentence.
        hint: what to do, None when nothing is needed.
    """

    name: str
    verdict: str
    found: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The check as `ds doctor --json` prints it."""
        return {"name": self.name, "verdict": self.verdict, "found": self.found, "hint": self.hint}


def examine(project: Project) -> list[Check]:
    """Every check in the order of what depends on what; none stops the ones after it."""
    checks: list[Check] = []
    for look in (_git, _place, _disk, _command, _python, _settings, _objects, _index, _live, _machine):
        checks += _looked(look, project)
    return checks


def _looked(look: Callable[[Project], Iterator[Check]], project: Project) -> list[Check]:
    try:
        return list(look(project))
    except (StoreError, DstuiError) as error:
        return [Check(look.__name__.strip("_"), "bad", error.message, error.hint)]
    except OSError as error:
        return [Check(look.__name__.strip("_"), "bad", str(error))]


def _git(_: Project) -> Iterator[Check]:
    yield Check("git", "ok", f"git {'.'.join(map(str, git_version()))}")


def _place(project: Project) -> Iterator[Check]:
    layout = project.store.layout
    found = f"{layout.root}" if project.store.exists else f"{layout.root} (not made yet)"
    yield Check("store", "ok", found)
    if layout.git_dir is None:
        yield Check(
            "project", "note", f"{layout.project} is no git repository", "`git init` gives runs a commit to name"
        )
    elif not layout.root.is_relative_to(layout.common_dir or layout.git_dir):
        yield Check("project", "note", f"`{layout.git_dir}` cannot be written, so the store lies in your data folder")
    if layout.snapshot_refused:
        yield Check("code", "bad", f"Code is not stored: {layout.snapshot_refused}", "work in a folder of its own")
    if layout.local != layout.root:
        kind = file_system_type(layout.root)
        yield Check("network disk", "note", f"The store is on {kind}; index and locks are in {layout.local}")


def _disk(project: Project) -> Iterator[Check]:
    folder = project.store.layout.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LOW_DISK_BYTES:
        yield Check("disk", "bad", f"{format_bytes(free)} free on {folder}", "free some space: runs could not be kept")
    else:
        yield Check("disk", "ok", f"{format_bytes(free)} free")
    if not os.access(folder, os.W_OK):
        yield Check("store", "bad", f"`{folder}` cannot be written", "check its owner and mode")


def _command(_: Project) -> Iterator[Check]:
    ours = Path(sys.argv[0]).resolve().parent
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder) / "ds"
        if folder and candidate.is_file() and os.access(candidate, os.X_OK):
            if candidate.resolve().parent != ours and b"dstui" not in candidate.read_bytes()[:4096]:
                hint = "another program (DeepSpeed has one) is called `ds`: use `dstui` instead, or mend PATH"
                yield Check("ds", "note", f"`ds` on PATH is {candidate}", hint)
            return


def _python(project: Project) -> Iterator[Check]:
    from dstui.execution.command import project_python

    python = project_python(Path.cwd(), os.environ)
    done = subprocess.run([str(python), "-V"], capture_output=True, text=True, timeout=10, check=False)
    yield Check("python", "ok" if done.returncode == 0 else "bad", f"scripts run with {python} ({done.stdout.strip()})")


def _settings(project: Project) -> Iterator[Check]:
    changed = [
        f"{setting.key} from {origin.source}"
        for setting, origin in project.settings.items()
        if origin.source != "built in"
    ]
    yield Check("settings", "ok", ", ".join(changed) or "all built in")


def _objects(project: Project) -> Iterator[Check]:
    if project.store.exists:
        project.store.git.run("fsck", "--full", "--no-dangling", "--no-progress")
        yield Check("objects", "ok", "every stored object is whole")


def _index(project: Project) -> Iterator[Check]:
    if not project.store.exists:
        return
    project.store.index.sync()
    yield Check("runs", "ok", f"{project.store.index.count():,} runs")
    for oid, ref, message in project.store.index.damages():
        yield Check(
            "runs", "bad", f"{message} (entry {oid[:12]} of {ref})", "the other runs are shown; this one is not"
        )


def _live(project: Project) -> Iterator[Check]:
    for run in project.store.live_runs():
        liveness = run.liveness()
        short = run.id[:5]
        if liveness is Liveness.ELSEWHERE:
            host = run.launch.get("host")
            yield Check(
                "run", "note", f"`{short}` runs on {host}", f"if that machine is gone: `ds stop --gone {short}`"
            )
        elif liveness in {Liveness.DEAD, Liveness.ENDED}:
            yield Check("run", "note", f"`{short}` has ended and is not committed yet", "any `ds` command commits it")


def _machine(_: Project) -> Iterator[Check]:
    yield Check("machine", "ok", f"this machine is {machine_id()}")
