"""A process that commits runs and says so, and a fresh one that checks what it said: for the crash harnesses.

    python -m tests.crash.committing write PROJECT COUNT [PLANTED]    `READY`, then `RUN <run>` once a run has ended,
                                                                      `ACK <run>` once it is committed
    python -m tests.crash.committing check PROJECT ACK_FILE [PLANTED] prints one JSON object

The writer starts when a line comes on stdin; COUNT 0 means for ever. Checked: every run that ended is there and
readable, `git fsck` finds nothing, the next commit succeeds, and after the recovery that every `ds` does nothing of a
dead process is left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dstui_store import Store, StoreError
from dstui_store.git import local_environment
from tests.crash import planted
from tests.store.ended_runs import ended_run

METRICS_EVERY = 4
"""Runs with metrics among those without: Parquet takes most of the time and none of the care."""

READ_BACK = 30
"""Acknowledged runs that are read whole, the newest; of all the others it is asked whether they are listed."""

EMPTY_REPOSITORY = ("notice: No default references", "notice: HEAD points to an unborn branch (none)")
"""What git says of every store, sound or not."""


@dataclass
class Found:
    """What a fresh process found; all but `promised` must be empty."""

    promised: int = 0
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unsound: str = ""
    next_commit: str = ""
    left: list[str] = field(default_factory=list)

    def wrong(self) -> dict[str, object]:
        """What does not hold, by name."""
        return {name: value for name, value in asdict(self).items() if name != "promised" and value}


def write(project: Path, count: int, plant: str) -> None:
    """Commits runs, every other one of changed code, and acknowledges each in one write."""
    planted.apply(plant)
    with Store.open(project, create=True) as store:
        store.recover()
        snapshot = store.snapshot()
        # Loads what a commit loads, so that faults hit the commit and not the interpreter.
        store.git.object(store.git.empty_tree, limit=1)
        store.sync()
        os.write(1, b"READY\n")
        sys.stdin.readline()
        number = 0
        while count == 0 or number < count:
            if number % 2 == 1:
                (project / "train.py").write_text(f"print({os.getpid()}, {number})\n")
                snapshot = store.snapshot()
            metrics = {"loss": [float(number), 0.5]} if number % METRICS_EVERY == METRICS_EVERY - 1 else None
            run = ended_run(store, snapshot, metrics=metrics)
            os.write(1, f"RUN {run}\n".encode())
            planted.before_commit(run)
            if store.commit_ended(run) is None:
                raise StoreError(f"Run {run} was not committed")
            planted.after_commit(run)
            if number % 3 == 2:
                store.operate(run, "tag", tag="kept")
                os.write(1, f"TAG {run}\n".encode())
            number += 1


def check(project: Path, acknowledged: Path) -> Found:
    """What a fresh process finds."""
    lines = [line.split() for line in acknowledged.read_text().splitlines()]
    promised = list(dict.fromkeys(line[1] for line in lines if line[0] in {"ACK", "RUN"} and len(line) == 2))
    tagged = {line[1] for line in lines if line[0] == "TAG" and len(line) == 2}
    found = Found(promised=sum(line[0] == "ACK" for line in lines))
    with Store.open(project, create=True) as store:
        store.recover()
        known = {record.id: record for record in store.records()}
        found.left = left_behind(store)
        found.lost = [run for run in promised if run not in known]
        found.lost += [f"tag of {run}" for run in tagged if run in known and known[run].tags != ("kept",)]
        for run in promised[-READ_BACK:]:
            if run in known:
                found.unreadable += unreadable(store, run)
        found.unreadable += [message for _, _, message in store.index.damages()]
        found.unsound = fsck(store)
        try:
            run = ended_run(store, store.snapshot())
            if store.commit_ended(run) is None:
                found.next_commit = "not committed"
            elif run not in {record.id for record in store.records()}:
                found.next_commit = "committed and not listed"
        except StoreError as error:
            found.next_commit = error.message
        found.left += left_behind(store)
    return found


def unreadable(store: Store, run: str) -> list[str]:
    """Why a run cannot be read whole, if it cannot."""
    try:
        whole = store.meta(run)["id"] == run and store.log(run) != b"" and store.code_files(run) != {}
        series = store.metrics(run) if store.record(run).summary else {}
        return [] if whole and all(one.value[-1] == 0.5 for one in series.values()) else [f"{run}: incomplete"]
    except (StoreError, KeyError) as error:
        return [f"{run}: {error}"]


def fsck(store: Store) -> str:
    """What git finds wrong with the store."""
    done = subprocess.run(
        ["git", "fsck", "--full", "--no-dangling"],
        env=local_environment(store.layout.store_git),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line not in EMPTY_REPOSITORY]
    return "\n".join(lines) or (f"exit code {done.returncode}" if done.returncode else "")


def left_behind(store: Store) -> list[str]:
    """Files of dead processes: locks, half objects, staging and temporary folders, live folders."""
    root = store.layout.root
    stale = [*root.glob("store.git/**/*.lock"), *root.glob("store.git/objects/**/tmp_*"), *root.glob("tmp/*")]
    stale += [*root.glob("quarantine/*"), *root.glob("live/*"), *root.glob("live/.*"), *root.glob("store.git.*")]
    stale += [path for path in root.glob("writer/*.*") if path.name.rpartition(".")[2].isdigit()]
    return [str(path.relative_to(root)) for path in stale]


def main() -> int:
    """Exit code 0, or 3 with the store's sentence on stderr."""
    verb, project, argument, *rest = sys.argv[1:]
    try:
        if verb == "write":
            write(Path(project), int(argument), *(rest or [planted.NOTHING]))
        else:
            planted.apply(*(rest or [planted.NOTHING]))
            sys.stdout.write(json.dumps(asdict(check(Path(project), Path(argument)))))
    except (StoreError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
