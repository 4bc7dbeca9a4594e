"""Hundreds of runs in a log within a second: real commits, written together instead of one after the other."""

from __future__ import annotations

from dstui_store import Store, commit, new_run_id
from dstui_store.schema import RunRecord, dump_json
from tests.store.ended_runs import STARTED_AT


def add_runs(store: Store, count: int, code_tree: str | None) -> list[str]:
    """Adds finished runs to this clone's log, each with files of its own; returns their ids, oldest first.

    Args:
        code_tree: of all of them.
    """
    writer, author = store.writer(), "tester <tester@dstui>"
    ids = []
    with store.git.staging() as staging:
        tip = store.git.read_ref(f"refs/ds/p/{writer}")
        before = tip
        if tip is None:
            tip, _ = commit.stage_first(staging, author, STARTED_AT)
        for number in range(1, count + 1):
            run = new_run_id()
            record = RunRecord(
                id=run,
                number=number,
                name=f"run {number}",
                state="finished",
                command=("python", "train.py"),
                started_at=STARTED_AT + number,
                ended_at=STARTED_AT + number + 1,
                user="tester",
                host="testhost",
                writer=writer,
            )
            files = {
                "config.json": dump_json({"lr": number}),
                "env.json": dump_json({"schema": 1}),
                "meta.json": dump_json({"schema": 1, "id": run, "writer": writer, "private": False}),
            }
            run_commit, tree = commit.stage(staging, commit.RunFiles(record, code_tree, files), author)
            tip = commit.stage_log_entry(staging, record, run_commit, tree, tip, author)
            ids.append(run)
        staging.publish()
        with store.locked() as lock:
            store.git.update_ref(f"refs/ds/p/{writer}", tip, before, lock)
    return ids
