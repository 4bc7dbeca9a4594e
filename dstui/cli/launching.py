"""`ds run`: a command in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import app

if TYPE_CHECKING:
    from dstui.sdk import Outcome

HELP = """Run a command and keep it as one run: code, config, output and metrics.

Options of ours stand before COMMAND; everything after it goes to it untouched. A first word ending in `.py` runs with
what `python` resolves to here, else `./.venv`.

Exits with the command's own code; 125 when it could not be started, 126 not executable, 127 not found.
"""


@app.command("run", context_settings={"allow_interspersed_args": False}, help=HELP)
def run(
    words: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG]...", help="What to run.")],
    name: Annotated[str | None, typer.Option("-n", "--name", help="Name; default: script and params.")] = None,
    experiment: Annotated[str | None, typer.Option("-e", "--experiment", help="Experiment it belongs to.")] = None,
    tag: Annotated[list[str] | None, typer.Option("-t", "--tag", help="A tag; may be given again.")] = None,
    note: Annotated[str, typer.Option(help="A note, in words.")] = "",
    param: Annotated[
        list[str] | None, typer.Option("-p", "--param", metavar="KEY=VALUE", help="A param; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Sets DSTUI_SEED and PYTHONHASHSEED for the command.")] = None,
    time: Annotated[str | None, typer.Option(metavar="2h", help="End the command after this long.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="PATH", help="A file or folder it reads, kept by hash; may be given again."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Never share this run: it stays in this clone.")] = False,
    no_capture: Annotated[
        bool, typer.Option("--no-capture", help="Record only what the script logs to dstui.")
    ] = False,
) -> None:
    """Run a command and keep it as one run."""
    from dstui.cli.diagnostics import say
    from dstui.sdk import Request, capture_of, end_like, open_project, parse_assignment
    from dstui.units import parse_duration

    with open_project(create=True) as project:
        settings = project.settings
        request = Request(
            words=words,
            name=name,
            experiment=experiment or settings["run.experiment"],
            tags=tag or [],
            notes=note,
            params=dict(parse_assignment(item) for item in param or []),
            seed=seed,
            private=private,
            data=[*((path, "option") for path in data or []), *((path, "setting") for path in settings["data.paths"])],
            hash_max_bytes=settings["data.hash_max"],
            capture=capture_of(settings, os.environ, off=no_capture),
            sample=not no_capture and settings["capture.system"] == "auto",
            time_limit_seconds=None if time is None else parse_duration(time),
            grace_seconds=settings["run.grace"],
            log_max_bytes=settings["run.log_max"],
            stop_on_hangup=settings["run.on_hangup"] == "stop",
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
