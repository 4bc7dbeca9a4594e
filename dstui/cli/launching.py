"""`ds run`: a command in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import app
from dstui.cli.requests import (
    Data,
    Experiment,
    Name,
    NoCapture,
    Note,
    Params,
    Seed,
    Tags,
    Time,
    Words,
    request_of,
)

if TYPE_CHECKING:
    from dstui.sdk import Outcome

HELP = """Run a command and keep it as one run: code, config, output and metrics.

Options of ours stand before COMMAND; everything after it goes to it untouched. A first word ending in `.py` runs with
what `python` resolves to here, else `./.venv`.

Exits with the command's own code; 125 when it could not be started, 126 not executable, 127 not found.
"""


@app.command("run", context_settings={"allow_interspersed_args": False}, help=HELP)
def run(
    words: Words,
    name: Name = None,
    experiment: Experiment = None,
    tag: Tags = None,
    note: Note = "",
    param: Params = None,
    seed: Seed = None,
    time: Time = None,
    data: Data = None,
    private: Annotated[bool, typer.Option("--private", help="Never share this run: it stays in this clone.")] = False,
    no_capture: NoCapture = False,
) -> None:
    """Run a command and keep it as one run."""
    from dstui.cli.diagnostics import say
    from dstui.sdk import end_like, open_project

    with open_project(create=True) as project:
        request = request_of(
            project,
            words,
            name=name,
            experiment=experiment,
            tags=tag,
            note=note,
            params=param,
            seed=seed,
            time=time,
            data=data,
            private=private,
            no_capture=no_capture,
        )
        outcome = project.launch(request, Path.cwd(), dict(os.environ), lambda line: say(f"ds: {line}"))
    _report(outcome)
    end_like(outcome.front)


def _report(outcome: Outcome) -> None:
    """One line on stderr: what became of the run."""
    from dstui.cli.diagnostics import say, warn
    from dstui.units import format_duration

    if outcome.problem is not None:
        warn(f"the run is not committed yet: {outcome.problem.message}", hint="any later `ds` command tries again")
    if outcome.record is None:
        return
    record = outcome.record
    words = [f"ds: run {record.id[:5]} {record.state}"]
    if record.exit_code:
        words.append(f"with exit code {record.exit_code}")
    if record.stop_reason:
        words.append(f"({record.stop_reason})")
    words.append(f"after {format_duration(record.duration_seconds)}")
    if record.commit:
        words.append(f"· committed {record.commit[:7]}")
    say(" ".join(words))
