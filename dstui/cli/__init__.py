"""The command line: a door to the sdk."""

from __future__ import annotations

import gc
import sys

COLLECT_FROM = 200_000
"""New objects before a garbage collection: a listing of 10,000 runs makes millions and no circles."""


def main() -> None:
    """The programs `ds` and `dstui`."""
    from dstui.cli.diagnostics import guarded

    gc.set_threshold(COLLECT_FROM)
    words = sys.argv[1:]
    running = words[:1] == ["run"]
    sys.exit(guarded(_run, as_json="--json" in words and not running, before_start=running))


def _run() -> object:
    if not sys.argv[1:]:
        # The dashboard takes no words, and its first frame comes a fifth sooner without the command line's library.
        from dstui.tui.start import run_dashboard

        return run_dashboard()
    # The modules register their commands when they are loaded; help lists them in this order.
    from dstui.cli import launching, queueing, looking, media, explaining, monitoring, acting, sharing, caring  # noqa: F401, I001
    from dstui.cli.app import app

    return app(standalone_mode=False)
