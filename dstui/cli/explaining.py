"""Commands that explain: diff."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dstui.cli.app import Json, Run, app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dstui.cli.output import Table
    from dstui.sdk import RunDifference

SECTIONS = ("command", "config", "code", "data", "packages", "environment", "metrics")
"""Parts of a difference: what a person changed comes before what changed around him, the outcome last."""


@app.command()
def diff(
    first: Run,
    second: Run,
    code: Annotated[bool, typer.Option("--code", help="Only the code, as a unified diff.")] = False,
    config: Annotated[bool, typer.Option("--config", help="Only the params.")] = False,
    env: Annotated[bool, typer.Option("--env", help="Only Python, driver, machine, variables.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Only the data.")] = False,
    packages: Annotated[bool, typer.Option("--packages", help="Only the packages.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what differs between two runs: command, params, code, data, packages, environment, metrics."""
    from dstui.cli.output import Styled, write_diff, write_json, write_line
    from dstui.sdk import open_project

    with open_project() as project:
        one, two = project.run(first), project.run(second)
        found = project.diff(first, second)
    chosen = {"config": config, "environment": env, "data": data, "packages": packages}
    only = [name for name in SECTIONS if chosen.get(name)]
    if as_json:
        write_json(found.to_json())
        return
    if only or not code:
        for mark, view in (("A", one), ("B", two)) if not only else ():
            write_line(Styled(mark, "bold"), f"  {view.number}  ", view.id, "  ", view.name, "  ", view.state)
        _write_sections(found, only or SECTIONS, gap_first=not only)
    if code:
        write_diff(found.patch)


def _write_sections(found: RunDifference, names: Sequence[str], *, gap_first: bool) -> None:
    """The parts that differ, each as a table; then a line for each that does not."""
    from dstui.cli.output import Styled, write_line

    differing = [name for name in names if not _is_same(found, name)]
    for place, name in enumerate(differing):
        if place or gap_first:
            write_line()
        _write_section(found, name)
    rest = [name for name in names if name not in differing]
    if rest and (differing or gap_first):
        write_line()
    width = max(map(len, SECTIONS)) + 2
    for name in rest:
        write_line(Styled(f"{name:<{width}}", "bold"), found.unknown.get(name) or "the same")


def _is_same(found: RunDifference, name: str) -> bool:
    if name == "code":
        return not found.files
    if name == "command":
        return found.command is None
    return not getattr(found, name)


def _write_section(found: RunDifference, name: str) -> None:
    from dstui.cli.output import Styled, write_fields, write_line, write_table

    if name == "command" and found.command is not None:
        sides = (("command A", found.command.before), ("B", found.command.after))
        write_fields((label, shlex.join(words)) for label, words in sides)
    elif name == "code":
        write_table(_files_table(found))
        write_line(Styled("--code shows the lines", "dim"))
    else:
        write_table(_difference_table(name, getattr(found, name)))
    if name != "command" and found.unknown.get(name):
        write_line(Styled(found.unknown[name], "dim"))


def _files_table(found: RunDifference) -> Table:
    from dstui.cli.output import Column, Table

    columns = [
        Column("code", importance=9, minimum=12),
        Column("", importance=8),
        Column("+", right=True, importance=7),
        Column("-", right=True, importance=7),
    ]
    return Table(columns, [(item.path, item.kind, item.added_lines, item.removed_lines) for item in found.files])


def _difference_table(name: str, differences: Sequence[Any]) -> Table:
    from dstui.cli.output import Column, Table
    from dstui.units import format_number

    columns = [
        Column(name, importance=9, minimum=12),
        Column("A", right=True, importance=8, minimum=8),
        Column("B", right=True, importance=8, minimum=8),
        Column("change", right=True, importance=3),
    ]
    show = _input_text if name == "data" else _plain
    rows = [
        (item.key, show(item.before), show(item.after), _change(item.before, item.after, format_number))
        for item in differences
    ]
    if all(row[3] is None for row in rows):
        return Table(columns[:3], [row[:3] for row in rows])
    return Table(columns, rows)


def _plain(value: Any) -> Any:
    return value


def _input_text(item: Mapping[str, Any] | None) -> str | None:
    from dstui.units import format_bytes

    if item is None:
        return None
    words = [format_bytes(item["size"])] if isinstance(item.get("size"), int) else []
    return "  ".join([*words, str(item["sha256"])[:12] if item.get("sha256") else "no hash"])


def _change(before: Any, after: Any, show: Any) -> str | None:
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if not numbers or isinstance(before, bool) or isinstance(after, bool):
        return None
    return f"{'+' if after >= before else ''}{show(after - before)}"
