"""Commits one run whose keeper found nobody attached at the end; the keeper becomes this process.

`python -m dstui.execution.clerk PROJECT_FOLDER RUN`. What it cannot commit stays in the live folder, and the next `ds`
command on this machine tries again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dstui.errors import DstuiError
from dstui.execution.background import complete
from dstui.settings import load
from dstui_store import Masker, Store, StoreError


def main() -> int:
    """Exit code 0 when the run is committed, 3 when the store refused."""
    project, run = sys.argv[1:3]
    try:
        with Store.open(Path(project)) as store:
            _complete(store, run)
            store.commit_ended(run, Masker(os.environ))
    except StoreError as error:
        folder = os.environ.get("DSTUI_RUN_DIR")
        if folder and Path(folder).is_dir():
            with (Path(folder) / "errors").open("a") as errors:
                errors.write(f"not committed: {error.message}\n")
        return 3
    return 0


def _complete(store: Store, run: str) -> None:
    """Finds out what nobody did while the command ran; the run is committed whatever comes of it."""
    try:
        complete(store, run, load(store.layout.project)["data.hash_max"])
    except (DstuiError, StoreError, OSError):
        pass


if __name__ == "__main__":
    sys.exit(main())
