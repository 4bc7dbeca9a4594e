"""Begins a run for a process that is already going: what `dstui.init()` starts outside `ds run`.

`python -m dstui.execution.begin --pid PID [--name N] [--experiment E] [--tag T]..` prints one JSON line
`{"run": ID, "live": FOLDER, "capture": SWITCHES}` once the keeper holds the run; the process then logs into that
folder, and its hook does what the switches say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from dstui.errors import DstuiError
from dstui.execution.capture import capture_of
from dstui.execution.launch import Request, watch
from dstui.settings import load
from dstui_store import Store, StoreError


def main() -> int:
    """Exit code 0 when the run is kept; 125 otherwise, with the reason on stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--name")
    parser.add_argument("--experiment")
    parser.add_argument("--tag", action="append", default=[])
    options = parser.parse_args()
    try:
        with Store.open(create=True) as store:
            settings = load(store.layout.project)
            request = Request(
                words=_command_of(options.pid),
                name=options.name,
                experiment=options.experiment or settings["run.experiment"],
                tags=options.tag,
                data=[(path, "setting") for path in settings["data.paths"]],
                hash_max_bytes=settings["data.hash_max"],
                capture=capture_of(settings, os.environ),
                sample=settings["capture.system"] == "auto",
                log_max_bytes=settings["run.log_max"],
                grace_seconds=settings["run.grace"],
            )
            new = watch(store, options.pid, request, Path.cwd(), dict(os.environ))
    except (StoreError, DstuiError) as error:
        print(error.message, file=sys.stderr)
        return 125
    switches = ",".join(request.capture.switches())
    print(json.dumps({"run": new.id, "live": str(new.folder), "capture": switches}), flush=True)
    return 0


def _command_of(pid: int) -> list[str]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [os.fsdecode(word) for word in words if word]


if __name__ == "__main__":
    sys.exit(main())
