"""Commands for what a script kept that is no number: media, artifacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import Json, Run, app

if TYPE_CHECKING:
    from dstui.cli.output import Table

Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="PATH", help="Write it there; nothing is written over.")
]


@app.command()
def media(
    run: Run,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them: the last of that name; without it, a list.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="The one at this step.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List the images, texts, histograms and tables of a run, or get one."""
    from dstui.cli.output import write_bytes, write_json, write_table, write_text
    from dstui.errors import UsageError
    from dstui.sdk import clean, media_json, open_project, table_content

    if name is None and (step is not None or output is not None):
        raise UsageError("`--step` and `--output` belong to one of them", hint="name it: `ds media RUN NAME`")
    with open_project() as project:
        if name is None:
            items = project.media(run)
            if as_json:
                write_json([media_json(item) for item in items])
            elif not _said_empty(len(items), "its script has kept none: docs/client.md says how"):
                listed = [(item.name, item.kind, item.step, item.size, item.rank or None) for item in items]
                write_table(_table(("name", "kind", "step", "size", "rank"), listed))
            return
        item, content = project.media_content(run, name, step)
    if output is not None:
        _write_new(output, content)
    elif item.type == "text/plain":
        text = content.decode("utf-8", "replace")
        write_json({**media_json(item), "content": text}) if as_json else write_text(clean(text, multiline=True))
    elif (found := table_content(content) if item.type == "application/json" else None) is not None:
        columns, rows = found
        if as_json:
            write_json({**media_json(item), "content": {"columns": columns, "rows": rows}})
        else:
            write_table(_table(columns, rows))
    elif as_json:
        write_json(media_json(item))
    else:
        write_bytes(content)


@app.command()
def artifacts(
    run: Run,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, to be copied; without it, a list.")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List the files that a run's script kept, or copy one back."""
    from dstui.cli.diagnostics import say
    from dstui.cli.output import write_json, write_table
    from dstui.errors import UsageError
    from dstui.sdk import artifact_json, clean, open_project

    if name is None and output is not None:
        raise UsageError("`--output` belongs to one of them", hint="name it: `ds artifacts RUN NAME -o PATH`")
    with open_project() as project:
        if name is None:
            files = project.artifacts(run)
            if as_json:
                write_json([artifact_json(item) for item in files])
            elif not _said_empty(len(files), "its script has kept none: `dstui.log_artifact(PATH)` does"):
                rows = [(item.name, item.path or None, item.size, (item.sha256 or "")[:12] or None) for item in files]
                write_table(_table(("name", "path", "size", "sha256"), rows))
            return
        target = output or Path(name)
        count = project.save_artifact(run, name, target)
    if as_json:
        write_json({"path": str(target), "files": count})
    else:
        say(f"{clean(str(target))}: {count:,} {'file' if count == 1 else 'files'}")


def _said_empty(count: int, sentence: str) -> bool:
    from dstui.cli.diagnostics import say

    if count == 0:
        say(sentence)
    return count == 0


def _table(names: tuple[str, ...] | list[str], rows: object) -> Table:
    from dstui.cli.output import Column, Table
    from dstui.units import format_bytes

    columns = [
        Column(name, right=True, show=format_bytes) if name == "size" and isinstance(names, tuple) else Column(name)
        for name in names
    ]
    return Table(columns, rows)  # type: ignore[arg-type]


def _write_new(path: Path, content: bytes) -> None:
    from dstui.errors import UsageError
    from dstui.sdk import clean

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise UsageError(
            f"`{clean(str(path))}` cannot be written: {error.strerror}", hint="name another place with `-o`"
        ) from error
