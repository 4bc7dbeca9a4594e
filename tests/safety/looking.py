"""Reads all that a user could ask of every run of a store; whatever is no error of the store is a bug.

python -m tests.safety.looking PROJECT prints one JSON object: runs listed, what was refused, and the peak of memory.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dstui_store import Store, StoreError, to_json


@dataclass
class Seen:
    """What a look at a store gave.

    Attributes:
        listed: names of runs by id.
        refused: (question, sentence) of what could not be answered, by run.
        damages: sentences about log entries that could not be read.
    """

    listed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    damages: list[str] = field(default_factory=list)
    peak_bytes: int = 0


def look(store: Store) -> Seen:
    """Asks everything of every run."""
    seen = Seen()
    for record in store.records():
        seen.listed[record.id] = record.name
        # What every reader prints must be JSON that every other program reads.
        json.dumps(to_json(record), allow_nan=False).encode()
        asks: dict[str, Callable[[str], Any]] = {
            "meta": store.meta,
            "config": store.config,
            "environment": store.environment,
            "log": store.log,
            "skipped": store.skipped,
            "entries": store.entries,
            "metrics": store.metrics,
            "code_files": store.code_files,
            "code_changes": store.code_changes,
            "code": lambda run: [store.code_blob(oid) for oid in list(store.code_files(run).values())[:20]],
            "diff": lambda run: store.code_diff(None, store.code_tree(run)),
            "media": lambda run: [store.media_content(run, item) for item in store.media(run)],
            "artifacts": lambda run: [store.artifact_file(run, file) for file in store.artifacts(run)],
            "resolve": store.resolve,
        }
        for question, ask in asks.items():
            try:
                ask(record.id)
            except StoreError as error:
                seen.refused.setdefault(record.id, {})[question] = error.message
    seen.damages = [message for _, _, message in store.index.damages()]
    return seen


def peak_bytes() -> int:
    """The most memory that this process has had; `getrusage` would count that of the process it was forked from."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    with Store.open(Path(sys.argv[1])) as store:
        seen = look(store)
    seen.peak_bytes = peak_bytes()
    sys.stdout.write(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
