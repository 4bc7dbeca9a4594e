"""The command tree's root. A command does three things: parse, call the sdk, print.

`ds` and `dstui` are one program; without a command it opens the dashboard.
"""

from __future__ import annotations

from typing import Annotated

import typer

HELP = """Launch, track, compare and reproduce machine-learning runs from the terminal.

`ds run train.py` wraps any command. Each run becomes one git commit: code, config, metrics, output.
Without a command the dashboard opens.
"""

Json = Annotated[bool, typer.Option("--json", help="Print JSON, as docs/json.md describes.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Markdown = Annotated[bool, typer.Option("--md", help="Print a Markdown table.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print a LaTeX table.")]


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest runs that start like this, with their names, for the shell's completion."""
    from dstui.sdk import open_project

    with open_project() as project:
        views = project.runs(limit=200)
    return [(view.id, f"{view.number} {view.name} {view.state}") for view in views if view.id.startswith(incomplete)]


Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run: the start of its id, `#142`, `alice#142`, its name or commit, `@` (last) or `@~2`.",
        autocompletion=complete_run,
    ),
]

app = typer.Typer(
    name="ds",
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from dstui import __version__
        from dstui.cli.output import write_line

        write_line(f"dstui {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def dashboard(
    context: typer.Context,
    once: Annotated[
        str | None,
        typer.Option(metavar="PAGE", help="Print one page and end: `overview`, `runs` or `run:RUN`."),
    ] = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Change nothing: no key that acts, no write.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only.")] = False,
    version: Annotated[  # its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Open the dashboard when no command is given."""
    if context.invoked_subcommand is not None:
        return
    from dstui.tui.start import run_dashboard

    raise typer.Exit(run_dashboard(once=once, read_only=readonly, ascii_only=ascii_only))
