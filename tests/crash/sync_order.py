"""Whether what a commit promises is on the disk when it promises it, told from its system calls in their order.

A kill never shows a left-out fsync, for the kernel still has the bytes; only power loss does, or this: every object's
bytes are synced before it gets its name, every name before the ref moves, and the ref and its folder before the word
is given.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.planted import NOTHING
from tests.crash.syscall_faults import Tracer
from tests.crash.writers import Writer, make_project

TRACED = "fsync,fdatasync,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,write"

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += 0$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^\d+<(.*)>$")
_PROMISE = re.compile(r'^(?:\d+ +)?write\(1<[^>]*>, "(?:ACK|TAG) ')


@dataclass
class _Disk:
    """What a power cut would spare, as far as the calls so far tell."""

    store_git: str
    synced: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    promises: int = 0
    moves: int = 0
    """Of refs, since the last promise."""

    def sync(self, path: str) -> None:
        self.synced.add(path)
        self.files.discard(path)
        self.folders.discard(path)

    def name(self, old: str, new: str) -> None:
        """A file gets a name: by `link`, or by `rename`."""
        if not new.startswith(self.store_git):
            if new.endswith(".json") and old not in self.synced:
                self.wrong.append(f"{os.path.basename(new)} got its name before its bytes were synced")
            return
        if "/refs/" in new:
            self.moves += 1
            self._expect_nothing(f"the ref {os.path.basename(new)} moved", "/objects")
            if old not in self.synced:
                self.files.add(new)
        elif old not in self.synced:
            self.wrong.append(f"{new.removeprefix(self.store_git)} got its name before its bytes were synced")
        self.folders.add(os.path.dirname(new))

    def make_folder(self, path: str) -> None:
        if path.startswith(self.store_git):
            self.folders.add(os.path.dirname(path))

    def promise(self) -> None:
        self.promises += 1
        self._expect_nothing("a promise was given", "")
        if not self.moves:
            self.wrong.append("a promise was given before the ref moved")
        self.moves = 0

    def _expect_nothing(self, what: str, below: str) -> None:
        for path in sorted(path for path in self.files | self.folders if path.startswith(self.store_git + below)):
            self.wrong.append(f"{what} before {path.removeprefix(self.store_git) or 'store.git'} was synced")


def violations(log: str, store_git: Path) -> tuple[list[str], int]:
    """(what was not synced in time, number of promises), from what `strace -f -y` wrote."""
    disk = _Disk(str(store_git))
    for line in _whole_lines(log):
        if _PROMISE.match(line):
            disk.promise()
            continue
        found = _CALL.match(line)
        if found is None:
            continue
        call, arguments = found[1], found[2]
        paths = _QUOTED.findall(arguments)
        descriptor = _DESCRIPTOR.match(arguments)
        if call in {"fsync", "fdatasync"} and descriptor:
            disk.sync(descriptor[1])
        elif call.startswith(("link", "rename")) and len(paths) == 2:
            disk.name(*paths)
        elif call.startswith("mkdir") and paths:
            disk.make_folder(paths[0])
    return disk.wrong, disk.promises


def traced_commits(folder: Path, runs: int, *, plant: str = NOTHING) -> tuple[list[str], int]:
    """Lets a writer commit so many runs under strace, on a project that has none, and judges the order of its calls."""
    project, promises, log = make_project(folder), folder / "promises", folder / "strace"
    (project / "more").mkdir()
    for number in range(80):
        (project / "more" / f"{number}.py").write_text(f"{number}\n")
    writer = Writer(project, promises, runs, plant)
    writer.wait_for("READY", 1)
    with Tracer(writer.pid, log, f"trace={TRACED}", decode=True):
        writer.go()
        assert writer.end() == 0
    return violations(log.read_text(errors="replace"), project / ".git" / "ds" / str(os.getuid()) / "store.git")


def _whole_lines(log: str) -> list[str]:
    """The calls in the order of their ends; one that strace cut in two is joined."""
    begun: dict[str, str] = {}
    lines: list[str] = []
    for line in log.splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif resumed := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line):
            lines.append(begun.pop(pid, "") + resumed[1])
        else:
            lines.append(line)
    return lines
