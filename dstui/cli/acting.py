"""Commands that change a run: tag, untag, note, rename, stop, attach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import Json, Run, app

if TYPE_CHECKING:
    from dstui.sdk import RunView


@app.command()
def tag(
    run: Run, tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Tags to add.")], as_json: Json = False
) -> None:
    """Add tags to a run."""
    from dstui.sdk import open_project

    with open_project() as project:
        _show(project.tag(run, tags), as_json)


@app.command()
def untag(
    run: Run, tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Tags to take.")], as_json: Json = False
) -> None:
    """Take tags from a run."""
    from dstui.sdk import open_project

    with open_project() as project:
        _show(project.untag(run, tags), as_json)


@app.command()
def note(
    run: Run,
    words: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="The new note; none prints it.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the note.")] = False,
    as_json: Json = False,
) -> None:
    """Set the note of a run, or print it when no text is given."""
    from dstui.cli.output import write_json, write_text
    from dstui.sdk import open_project

    with open_project() as project:
        if words or clear:
            _show(project.note(run, "" if clear else " ".join(words or [])), as_json)
            return
        notes = project.run(run).record.notes
    if as_json:
        write_json({"notes": notes})
    else:
        write_text(notes)


@app.command()
def rename(
    run: Run, name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")], as_json: Json = False
) -> None:
    """Give a run another name."""
    from dstui.sdk import open_project

    with open_project() as project:
        _show(project.rename(run, name), as_json)


@app.command()
def stop(
    run: Run,
    grace: Annotated[
        str | None, typer.Option(metavar="30s", help="Time between the polite signal and the kill.")
    ] = None,
    gone: Annotated[
        bool, typer.Option("--gone", help="Its machine or container is gone for good: record the run as lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """End a run or a job: SIGTERM, and SIGKILL after the grace; a waiting job is cancelled."""
    from dstui.cli.queueing import stop_if_job
    from dstui.sdk import open_project
    from dstui.units import parse_duration

    if not gone and stop_if_job(run, None if grace is None else parse_duration(grace), as_json):
        return
    with open_project() as project:
        view = (
            project.give_up(run)
            if gone
            else project.stop(run, grace_seconds=None if grace is None else parse_duration(grace))
        )
    _show(view, as_json)


@app.command()
def attach(run: Run) -> None:
    """Follow a running run in this terminal: output, keys and signals; hanging up leaves it running."""
    from dstui.sdk import open_project

    with open_project() as project:
        result = project.attach(run)
    raise typer.Exit(result.code)


def _show(view: RunView, as_json: bool) -> None:
    """Says what a run is now."""
    from dstui.cli.output import Styled, state_style, write_json, write_line

    if as_json:
        write_json(view.to_json())
        return
    parts: list[object] = [
        view.id,
        " ",
        view.number,
        " ",
        view.name,
        " ",
        Styled(view.state, state_style(view.state) or "dim"),
    ]
    if view.tags:
        parts += ["  tags: ", ", ".join(view.tags)]
    if view.notes:
        parts += ["  note: ", view.notes.split("\n")[0]]
    write_line(*parts)
