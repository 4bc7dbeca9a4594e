"""One member in a process of its own: makes a run, pushes it and pulls, again and again. Prints the ids of its runs.

`python -m tests.sharing.racer CLONE COUNT [WRITER]`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dstui_store import Sharing, Store
from tests.store.ended_runs import committed_run


def main(folder: str, count: str, writer: str = "") -> None:
    """Races against whoever else does the same."""
    if writer:
        os.environ["DSTUI_WRITER"] = writer
    with Store.open(Path(folder), create=True) as store:
        sharing, snapshot = Sharing(store), store.snapshot()
        for _ in range(int(count)):
            run = committed_run(store, snapshot)
            assert run.id in sharing.push(sharing.find()).runs
            print(run.id, flush=True)
            sharing.pull(sharing.find())


if __name__ == "__main__":
    main(*sys.argv[1:])
