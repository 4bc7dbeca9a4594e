"""Gathers what an explanation rests on from a store: `ds why`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dstui.sdk import why
from dstui.sdk.divergence import Curve
from dstui_store import LogParser, StoreError, clean

if TYPE_CHECKING:
    from dstui.sdk.project import Project
    from dstui_store import RunRecord

LOG_BYTES = 512 << 10
"""Of the end of the output; a traceback of many ranks has 100 KiB."""

LINE_CHARACTERS = 4_000
"""Of one line."""

MAX_POINTS = 200_000
"""Of one metric, the last ones."""


def explain(project: Project, name: str) -> why.Explanation:
    """Why a run ended as it did, and what changed since it last went well; what cannot be read is named in it.

    Raises:
        RunNotFound: no run, or more than one, is called so.
    """
    store, run = project.store, project.resolve(name)
    record = store.record(run)
    problems: list[str] = []
    parts: dict[str, Any] = {"meta": {}, "environment": {}, "log": b""}
    for part in parts:
        try:
            parts[part] = getattr(store, part)(run)
        except StoreError as error:
            problems.append(error.message)
    problems += [str(text) for text in parts["meta"].get("errors") or []][:5]
    before = _before(record, store.records())
    difference = None
    if before is not None:
        try:
            difference = project.diff(before.id, run)
        except StoreError as error:
            problems.append(f"what changed since then: {error.message}")
    live = store.live_run(run)
    naming = project.naming()
    shown = {
        item.id: f"#{item.number}" if item.writer == naming.writer else item.id[: naming.id_length]
        for item in (record, before)
        if item is not None
    }
    return why.explain(
        why.Facts(
            record=record,
            meta=parts["meta"],
            environment=parts["environment"],
            lines=last_lines(parts["log"]),
            problems=problems,
            curves=_curves(project, record, problems),
            before=before,
            difference=difference,
            now=time.time(),
            last_sign=None if live is None else live.last_sign,
            shown=shown,
        )
    )


def last_lines(output: bytes) -> list[str]:
    """The end of an output in cleaned lines, each as its last state on a screen was."""
    tail = output[-LOG_BYTES:]
    if len(output) > len(tail):
        tail = tail.partition(b"\n")[2]
    parser = LogParser()
    lines = [*parser.feed(tail)]
    last = parser.finish()
    return [str(line.text)[:LINE_CHARACTERS] for line in (*lines, *(() if last is None else (last,)))]


def _before(record: RunRecord, records: Sequence[RunRecord]) -> RunRecord | None:
    """The last run of the same script before this one that finished; for one that finished the one before, however."""
    script = why.script_of(record.command)
    any_end = record.state == "finished"
    started = record.started_at or float("inf")
    earlier = [
        other
        for other in records
        if other.id != record.id
        and (other.state == "finished" or (any_end and other.state != "running"))
        and (other.started_at or 0.0, other.number) < (started, record.number)
        and why.script_of(other.command) == script
    ]
    return max(earlier, key=lambda other: other.started_at or 0.0, default=None)


def _curves(project: Project, record: RunRecord, problems: list[str]) -> dict[str, Curve]:
    keys = why.curves_to_read(record.summary)
    if not keys:
        return {}
    try:
        series = project.store.metrics(record.id, keys)
    except StoreError as error:
        problems.append(f"the metrics: {clean(error.message)}")
        return {}
    return {
        name: Curve(one.step[-MAX_POINTS:].tolist(), one.value[-MAX_POINTS:].tolist()) for name, one in series.items()
    }
