"""Log entries written with plain git, as another program or an enemy would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dstui_store import Store, new_run_id
from tests.store.ended_runs import STARTED_AT
from tests.store.git_projects import store_git

AUTHOR = "Mallory <mallory@dstui>"
THEIRS = "refs/ds/r/0123abcd/mallory"
"""A chain fetched from somebody else."""


def write_object(store: Store, kind: str, content: bytes) -> str:
    """Any bytes as an object, sound or not; returns its id."""
    return store_git(store, "hash-object", "-w", "--stdin", "--literally", "-t", kind, stdin=content).decode().strip()


def write_commit(
    store: Store, message: str | bytes, parents: Sequence[str] = (), *, tree: str | None = None, head: bytes = b""
) -> str:
    """A commit with any message; `head` is more header lines, each with its newline."""
    lines = [b"tree %s\n" % (tree or store.git.empty_tree).encode()]
    lines += [b"parent %s\n" % parent.encode() for parent in parents]
    lines += [b"%s %s 1790000000 +0000\n" % (role, AUTHOR.encode()) for role in (b"author", b"committer")]
    body = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    return write_object(store, "commit", b"".join(lines) + head + b"\n" + body)


def tip_of(store: Store, ref: str) -> str | None:
    """The newest entry of a chain."""
    found = store_git(store, "for-each-ref", "--format=%(objectname)", ref).decode().split()
    return found[0] if found else None


def append(store: Store, ref: str, message: str | bytes, *, run_commit: str | None = None, head: bytes = b"") -> str:
    """One more entry on a chain; a fresh chain gets its first entry before it."""
    tip = tip_of(store, ref) or write_commit(store, "ds v1\n")
    entry = write_commit(store, message, [tip, run_commit] if run_commit else [tip], head=head)
    move_ref(store, ref, entry)
    return entry


def move_ref(store: Store, ref: str, oid: str) -> None:
    """Makes a ref point at anything; git itself would ask what it is."""
    path = store.layout.store_git / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(f"{oid}\n")
    temporary.rename(path)


def append_line(store: Store, ref: str, line: Mapping[str, Any] | str, *, run_commit: str | None = None) -> str:
    """One more entry with a JSON line, or any text in its place."""
    text = line if isinstance(line, str) else json.dumps(line)
    return append(store, ref, f"ds something\n\n{text}\n", run_commit=run_commit)


def run_line(**fields: Any) -> dict[str, Any]:
    """A sound line of a finished run; `fields` replace its keys."""
    return {
        "v": 1,
        "op": "run",
        "id": new_run_id(),
        "number": 1,
        "name": "theirs",
        "experiment": None,
        "state": "finished",
        "stop_reason": None,
        "exit_code": 0,
        "signal": None,
        "command": ["python", "train.py"],
        "started_at": "2026-09-21T14:13:20.000Z",
        "ended_at": "2026-09-21T14:14:20.000Z",
        "duration_seconds": 60.0,
        "user": "mallory",
        "host": "elsewhere",
        "writer": "mallory",
        "tags": [],
        "devices": [],
        "size_bytes": 100,
        "sweep": None,
        "trial": None,
        "parent_run": None,
        "config": {"lr": 0.5},
        "summary": {"loss": {"last": 1.0, "min": 0.5, "max": 2.0, "step": 9, "count": 10}},
        **fields,
    }


def append_run(store: Store, ref: str = THEIRS, **fields: Any) -> str:
    """One more run on a chain, its commit an empty one; returns the run's id."""
    line = run_line(**fields)
    commit = write_commit(store, f"ds run theirs\n\nDs-Run: {line['id']}\n")
    append_line(store, ref, line, run_commit=commit)
    return str(line["id"])


def append_operation(store: Store, ref: str, run: str, op: str, **fields: Any) -> str:
    """One more operation on a chain, by the writer that the ref is named after unless said."""
    line = {"v": 1, "op": op, "run": run, "time": STARTED_AT, "writer": ref.rsplit("/", 1)[-1], **fields}
    return append_line(store, ref, line)
