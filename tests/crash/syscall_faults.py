"""Lets the k-th system call of one commit fail, or kills at it, and counts the promises broken.

strace attaches to a writer that stands ready, so that k counts calls of the commit and not of the interpreter's start;
of each git that the commit starts it counts anew.

    python -m tests.crash.syscall_faults [CALLS] [ERRORS] [STEP] [PLANTED]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.crash.planted import NOTHING
from tests.crash.writers import DEADLINE_SECONDS, Verdict, Writer, judge, make_project

CALLS = ("fsync", "write", "pwrite64", "rename", "openat", "link", "linkat", "mkdir", "ftruncate")
ERRORS = ("EIO", "ENOSPC", "KILL")
LARGEST_K = 400
"""No commit makes so many calls of one kind; reaching it says that the end is not seen."""


def fail_calls(
    folder: Path,
    calls: Iterable[str] = CALLS,
    errors: Iterable[str] = ERRORS,
    *,
    points: Sequence[int] = range(1, LARGEST_K),
    plant: str = NOTHING,
    only: str = "",
) -> Verdict:
    """Each k of `points`, as far as there is a k-th call, on a fresh project that has one run already.

    Args:
        only: a pattern of files in the store; calls on others are let through and not counted.

    Raises:
        RuntimeError: there was a call at the last possible k.
    """
    verdict = Verdict()
    for call in calls:
        for error in errors:
            for k in points:
                with tempfile.TemporaryDirectory(dir=folder) as fresh:
                    if not _fail_call(Path(fresh), call, error, k, plant, only, verdict):
                        break
            else:
                if points[-1] == LARGEST_K - 1:
                    raise RuntimeError(f"a commit makes over {LARGEST_K} calls of {call}")
    return verdict


def _fail_call(folder: Path, call: str, error: str, k: int, plant: str, only: str, verdict: Verdict) -> bool:
    """One fault; returns False when the commit makes no k-th call."""
    project, promises, log = make_project(folder), folder / "promises", folder / "strace"
    first = Writer(project, promises, 1, NOTHING)
    first.go()
    assert first.end() == 0, "the commit before the fault failed"
    writer = Writer(project, promises, 1, plant)
    writer.wait_for("READY", 2)
    fault = f"{call}:signal=KILL:when={k}" if error == "KILL" else f"{call}:error={error}:when={k}"
    paths = sorted((project / ".git" / "ds" / str(os.getuid())).glob(only)) if only else []
    paths += [path.with_name(f"{path.name}.lock") for path in paths]
    with Tracer(writer.pid, log, f"trace={call}", f"inject={fault}", paths=paths):
        writer.go()
        code = writer.end()
    traced = log.read_text(errors="replace")
    hits = _hits(traced, call)
    if not hits:
        return False
    name = f"{call} {error} {k}"
    verdict.failed_loudly += code != 0
    if writer.words("ACK") > 1 and _must_stop(call, error, hits):
        verdict.silent.append(f"{name}: acknowledged after {hits[0][:200]}")
    judge(project, promises, name, verdict, plant)
    return True


def _hits(traced: str, call: str) -> list[str]:
    """The calls that failed or were the last of their process; a helper that its parent killed is none."""
    lines = traced.splitlines()
    killed = {line.split()[0] for line in lines if line.endswith("+++ killed by SIGKILL +++")}
    last = {line.split()[0]: line for line in lines if f" {call}(" in line or f"{call} resumed" in line}
    return [line for line in lines if "INJECTED" in line] + [
        line for pid, line in last.items() if pid in killed and line.endswith(("= ?", "<unfinished ...>"))
    ]


def _must_stop(call: str, error: str, hits: list[str]) -> bool:
    """Whether nothing may be acknowledged after this: what could not be synced may not be on the disk."""
    return call == "fsync" and error != "KILL" and any("INJECTED" in line for line in hits)


class Tracer:
    """strace on a process that runs, and on all it starts, for as long as the block lasts."""

    def __init__(
        self, pid: int, log: Path, *expressions: str, decode: bool = False, paths: Sequence[Path] = ()
    ) -> None:
        words = ["strace", "-f", *(["-y"] if decode else []), "-s", "64", "-o", str(log), "-p", str(pid)]
        for expression in expressions:
            words += ["-e", expression]
        for path in paths:
            words += ["-P", str(path)]
        self._pid, self._words = pid, words

    def __enter__(self) -> Tracer:
        self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end, never = time.monotonic() + DEADLINE_SECONDS, threading.Event()
        while not re.search(r"^TracerPid:\t[1-9]", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE):
            if self._process.poll() is not None or time.monotonic() > end:
                assert self._process.stderr is not None
                raise RuntimeError(f"strace did not attach: {self._process.stderr.read().decode()}")
            never.wait(0.002)
        return self

    def __exit__(self, *_: object) -> None:
        # It ends with the last process it follows.
        self._process.communicate(timeout=DEADLINE_SECONDS)


def main() -> int:
    """Exit code 1 when a promise was broken."""
    words = [*sys.argv[1:], *(",".join(CALLS), ",".join(ERRORS), "1", NOTHING)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        points = range(1, LARGEST_K, int(words[2]))
        verdict = fail_calls(Path(folder), words[0].split(","), words[1].split(","), points=points, plant=words[3])
    sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
