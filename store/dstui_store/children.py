"""Several trainings in one command (`ds run sh run_all.sh`): each becomes a run of its own, a child of the command's.

A **top process** is a Python without another Python between it and the command; the ranks of one launcher count as one.
When the command has ended and two or more of them have logged metrics, each gets a live folder that has ended: made
inside the parent's, filled with the journals of its processes, and then moved beside it. From there on it is a run like
any other. A crash at any moment leaves nothing half done: ids come from the parent's id and the process, files and
folders move by rename, and the next attempt goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui_store import declared, media
from dstui_store.layout import private_folder
from dstui_store.live import read_json, write_json
from dstui_store.schema import run_id_of

if TYPE_CHECKING:
    from dstui_store.layout import Layout
    from dstui_store.live import LiveRun
    from dstui_store.schema import Json

MAX_CHILDREN = 256
"""Trainings of one command that become runs; those after them stay the parent's."""

EMPTY_JOURNAL = 32
"""Bytes of a journal that has no point."""

_JOURNAL = re.compile(r"\d{1,10}-(\d{1,10})(?:[-.].*)?\.(dsj|keys|config|source)", re.DOTALL)
_SCRIPT = re.compile(r".*\.(?:py|sh)|[^-].*")


def split(layout: Layout, run: LiveRun, end: Mapping[str, Any], next_number: Callable[[], int]) -> list[str]:
    """Makes the child runs of an ended run, or finishes making them; returns their ids, none for a single training."""
    processes = _processes(run)
    owner = {pid: process["group"] for pid, process in processes.items()}
    files: dict[int, list[Path]] = {}
    logged: set[int] = set()
    for path in sorted(run.journal.iterdir()) if run.journal.is_dir() else ():
        match = _JOURNAL.fullmatch(path.name)
        group = owner.get(int(match[1])) if match and path.is_file() and not path.is_symlink() else None
        if match is None or group is None:
            continue
        files.setdefault(group, []).append(path)
        if match[2] == "dsj" and path.stat().st_size > EMPTY_JOURNAL:
            logged.add(group)
    making = run.folder / "children"
    # A training left by an earlier attempt is a child too, even one whose points have moved already.
    if making.is_dir():
        logged.update(group for group in set(owner.values()) if (making / _id(run, processes[group])).is_dir())
    elif len(logged) < 2:
        return []
    private_folder(making)
    made: list[str] = []
    for group in sorted(logged)[:MAX_CHILDREN]:
        child = _id(run, processes[group])
        if not (making / child).is_dir():
            _make(making, run, end, child, processes[group], next_number())
        for path in files.get(group, ()):
            path.rename(making / child / "journal" / path.name)
        _move_media(run.folder, making / child, {pid for pid in owner if owner[pid] == group})
        (making / child).rename(layout.live / child)
        made.append(child)
    return made


def _processes(run: LiveRun) -> dict[int, dict[str, Any]]:
    """Python processes by pid, with argv, times and the pid that its group goes by; ranks are one group."""
    found: dict[int, dict[str, Any]] = {}
    ranks = 0
    for line in declared.objects(run.folder / "hello.jsonl", declared.MAX_FACTS):
        pid = line.get("pid")
        if type(pid) is not int:
            continue
        if "argv" in line:
            top = line.get("top")
            group = top if type(top) is int and top in found else pid
            if line.get("rank") and group == pid:
                ranks = ranks or pid
                group = ranks
            found[pid] = {"pid": pid, "group": group, "argv": line["argv"], "started_at": line.get("time"), "end": {}}
        elif pid in found and isinstance(line.get("end"), dict):
            found[pid]["end"] = line["end"]
    return found


def _id(run: LiveRun, process: Mapping[str, Any]) -> str:
    return run_id_of(hashlib.sha256(f"{run.id} {process['pid']} {process['started_at']}".encode()).digest())


def _make(
    making: Path, run: LiveRun, end: Mapping[str, Any], child: str, process: Mapping[str, Any], number: int
) -> None:
    building = making / f".{child}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    (building / "journal").mkdir(mode=0o700)
    words = [word for word in process["argv"] if isinstance(word, str)][1:] or ["python"]
    script = next((word for word in words if _SCRIPT.fullmatch(word)), words[0])
    said = process["end"]
    started = _time(process["started_at"], end.get("started_at"))
    ended = max(started, _time(said.get("time"), end.get("ended_at")))
    state = said.get("state")
    launch = {
        **run.launch,
        "run": child,
        "number": number,
        "name": Path(script).stem,
        "named": False,
        "command": words,
        "created_at": started,
        "config": {},
        "guessed": [],
        "notes": "",
        "parent_run": run.id,
    }
    record = {
        "v": 1,
        "run": child,
        "exit_code": None,
        "signal": None,
        "state": state if state in ("finished", "failed") else "killed",
        "stop_reason": None,
        "started_at": started,
        "ended_at": ended,
        "duration_seconds": ended - started,
        "log_bytes": 0,
    }
    write_json(building / "launch.json", launch)
    write_json(building / "state.json", {**run.state, "run": child, "started_at": started})
    for name in ("env.json", "data.json"):
        if data := read_json(run.folder / name):
            write_json(building / name, data)
    _copy_hello(run.folder / "hello.jsonl", building / "hello.jsonl", process["pid"])
    write_json(building / "exit.json", record)
    building.rename(making / child)


def _objects(value: Json) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _time(*values: Json) -> float:
    """The first of these that is a time."""
    return float(next((value for value in values if declared.is_time(value)), 0.0))


def _move_media(source: Path, target: Path, processes: set[int]) -> None:
    """Give a child what its processes kept; the bytes first, under a second name, for others may have kept the same."""
    lines = [path for pid in sorted(processes) for path in media.of_process(source, pid)]
    if not lines:
        return
    private_folder(target / "media")
    for path in lines:
        for line in declared.objects(path):
            files = line.get("files")
            parts = [line.get("sha256"), *(part.get("file") for part in _objects(files))]
            for name in parts:
                if isinstance(name, str) and media.is_content(name):
                    with contextlib.suppress(FileNotFoundError, FileExistsError):
                        os.link(source / "media" / name, target / "media" / name, follow_symlinks=False)
        path.rename(target / "media" / path.name)


def _copy_hello(source: Path, target: Path, pid: int) -> None:
    with target.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        for line in declared.objects(source, declared.MAX_FACTS):
            if line.get("pid") == pid:
                file.write(declared.dump(line))
