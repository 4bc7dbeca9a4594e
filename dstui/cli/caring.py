"""Commands about the project: init, status, doctor, config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import Json, app

if TYPE_CHECKING:
    from dstui.sdk import RunView


@app.command()
def init(as_json: Json = False) -> None:
    """Make this project's store now (the first `ds run` would), and say where it is.

    Without git it also marks this folder as the project, with an empty `dstui.toml`.
    """
    from dstui.cli.output import write_fields, write_json
    from dstui.sdk import init_project

    made = init_project()
    if as_json:
        write_json(made)
    else:
        write_fields([("project", made["project"]), ("store", made["store"]), ("writer", made["writer"])])


@app.command()
def status(as_json: Json = False) -> None:
    """What goes on, what ended since you last looked, and the next thing to do."""
    from dstui.cli.output import write_json, write_line
    from dstui.sdk import open_project, read_status
    from dstui.sdk.queue import queue_counts
    from dstui.units import format_time

    with open_project() as project:
        found = read_status(project)
    jobs = queue_counts()
    if as_json:
        write_json({**found.to_json(), "queue": jobs})
        return
    since = f" since {format_time(found.looked_at)}" if found.looked_at else ""
    write_line(f"{len(found.running)} running, {len(found.ended)} ended{since}, {found.total:,} runs in all")
    _list("running", found.running)
    _list("ended", found.ended[:10])
    if len(found.ended) > 10:
        write_line(f"  and {len(found.ended) - 10} more: ds ls")
    if jobs:
        shown = ", ".join(f"{count} {state}" for state, count in sorted(jobs.items()))
        why = "; `ds queue` says why they wait" if {"queued", "held"} & jobs.keys() else ""
        write_line(f"queue: {shown}{why}")
    write_line()
    write_line("next:  ", found.next_step)


def _list(title: str, views: list[RunView]) -> None:
    from dstui.cli.looking import runs_table
    from dstui.cli.output import Styled, write_line, write_table

    if views:
        write_line()
        write_line(Styled(title, "bold"))
        write_table(runs_table(views))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at everything a run depends on; changes nothing. Exits 1 when something is wrong."""
    from dstui.cli.output import Styled, write_json, write_line
    from dstui.sdk import examine, open_project

    with open_project() as project:
        checks = examine(project)
    if as_json:
        write_json([check.to_json() for check in checks])
    else:
        styles = {"ok": "green", "note": "yellow", "bad": "red"}
        for check in checks:
            write_line(Styled(f"{check.verdict:<5}", styles[check.verdict]), f"{check.name:<13}", check.found)
            if check.hint:
                write_line(" " * 18, Styled(check.hint, "dim"))
    raise typer.Exit(1 if any(check.verdict == "bad" for check in checks) else 0)


def _setting_text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@app.command()
def config(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="One setting; default: all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Show the settings, and where each comes from.

    They are set in `dstui.toml` of the project, in the user's own file, or by `DSTUI_<SECTION>_<NAME>`.
    """
    from dstui.cli.output import Column, Table, write_json, write_line, write_table
    from dstui.sdk import open_project

    with open_project() as project:
        settings = project.settings
    if key is not None:
        origin = settings.origin(key)
        if as_json:
            write_json({"key": key, "value": origin.value, "source": origin.source})
        else:
            write_line(_setting_text(origin.value))
        return
    rows = [
        (setting.key, _setting_text(origin.value), origin.source, setting.help) for setting, origin in settings.items()
    ]
    if as_json:
        write_json([{"key": row[0], "value": settings[row[0]], "source": row[2], "help": row[3]} for row in rows])
        return
    columns = [
        Column("key", importance=9),
        Column("value", importance=8, minimum=6),
        Column("from", importance=7, minimum=8),
        Column("meaning", importance=1, minimum=20),
    ]
    write_table(Table(columns, rows))
