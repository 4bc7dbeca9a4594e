"""Stands in for `ds run`: makes a live directory, starts a keeper and follows it, and "commits" into a file.

Environment: `LIVE` the directory to make, `LAUNCH` JSON that is added to its `launch.json`, `KEEPER` another keeper.
Arguments: a command; or `--attach [BYTES]` to attach to the run in `LIVE`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from dstui.errors import LaunchError
from dstui.execution import front, keepers

RUN = "0123456789abcdef"
CLERK = "import sys; open(sys.argv[1] + '/clerk', 'w').close()"


def launch_record() -> dict[str, object]:
    """What `launch.json` holds of that which keepers read."""
    record: dict[str, object] = {
        "v": 1,
        "run": RUN,
        "log_max_bytes": 1 << 30,
        "capture": {"stdout": False},
        "grace_seconds": 30,
        "time_limit_seconds": None,
    }
    record.update(json.loads(os.environ.get("LAUNCH", "{}")))
    return record


def make_live(live: Path) -> None:
    """A new live directory."""
    live.mkdir(mode=0o700)
    (live / "journal").mkdir(mode=0o700)
    (live / "launch.json").write_text(json.dumps(launch_record()))


def clerk(live: Path) -> list[str]:
    """A command that leaves the file `clerk`."""
    return [sys.executable, "-I", "-S", "-c", CLERK, str(live)]


def commit(live: Path, result: front.FrontResult) -> None:
    """Leave a file that says who committed what."""
    (live / "committed").write_text(json.dumps(result.record))


def main(arguments: list[str]) -> None:
    """Run or attach, and end as the command ended."""
    live = Path(os.environ["LIVE"])
    keepers.KEEPER = Path(os.environ.get("KEEPER", keepers.KEEPER))
    try:
        if arguments[0] == "--attach":
            tail = int(arguments[1]) if len(arguments) > 1 else None
            connection = front.connect(live)
            result = front.follow(connection, live, name=RUN[:5], viewer=True, tail_bytes=tail)
        else:
            make_live(live)
            handle = front.start_keeper(live, arguments, dict(os.environ), Path.cwd(), clerk=clerk(live))
            result = front.follow(handle.socket, live, name=RUN[:5], on_exit=lambda result: commit(live, result))
    except LaunchError as error:
        print(f"dstui: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
    front.end_like(result)


if __name__ == "__main__":
    main(sys.argv[1:])
