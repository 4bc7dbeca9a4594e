"""Commands that explain: diff, why."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dstui.cli.app import Json, Run, app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dstui.cli.output import Table
    from dstui.sdk import Explanation, Failure, Frame, RunChange, RunDifference

SHOWN_CHANGES = 12
"""Changes that `ds why` shows; `--json` has more."""

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


@app.command()
def why(run: Run, as_json: Json = False) -> None:
    """Tell why a job waits, or why a run ended as it did: cause, last values, what changed since it last went well."""
    from dstui.cli.output import Styled, state_style, write_fields, write_json, write_line
    from dstui.cli.queueing import explained_job
    from dstui.sdk import explain, open_project

    if explained_job(run, as_json):
        return
    with open_project() as project:
        found = explain(project, run)
        view, naming = project.run(found.run.id), project.naming()
    if as_json:
        write_json(found.to_json())
        return
    style = state_style(found.run.state) or "bold"
    write_line(Styled(view.number, "bold"), "  ", view.id, "  ", view.name, "  ", Styled(found.sentence, style))
    write_line()
    write_fields(_explained(found, naming.id_length))


def _explained(found: Explanation, id_length: int) -> Iterator[tuple[str, object]]:
    failure = found.failure
    if failure is not None:
        yield "why", _cause(failure)
        if failure.place is not None:
            yield "where", _place(failure.place)
        if failure.deepest is not None and failure.deepest != failure.place:
            yield "raised in", _place(failure.deepest)
        if failure.origin is not None:
            yield "from", ": ".join(part for part in failure.origin if part)
        if failure.rank is not None:
            yield "rank", failure.rank
        if failure.meaning and failure.exception:
            yield "meaning", failure.meaning
        shown = [line for line in failure.evidence if line not in _cause(failure)]
        if shown:
            yield "output", "\n".join(shown[:6])
    topics: dict[str, None] = {}
    for statement in found.statements:
        yield "" if statement.topic in topics else statement.topic, statement.text
        topics[statement.topic] = None
    yield "changed", _changed(found, id_length)
    if found.same:
        yield "the same", ", ".join(found.same)
    for part, reason in found.unknown.items():
        yield "not known", f"{part}: {reason}"
    yield "next", found.action


def _cause(failure: Failure) -> str:
    if failure.exception is not None:
        return f"{failure.exception}: {failure.message}" if failure.message else failure.exception
    if failure.kind == "unknown":
        return "the output does not say"
    if failure.kind == "ended":
        return "it did not end by itself"
    return failure.meaning or failure.kind


def _place(frame: Frame) -> str:
    words = f"{frame.path}:{frame.line}"
    if frame.function:
        words += f" in {frame.function}"
    return f"{words}\n{frame.code}" if frame.code else words


def _changed(found: Explanation, id_length: int) -> str:
    other = found.compared_with
    if other is None:
        return "not known: no earlier run of this script finished"
    good = "last good run" if found.failure is not None else "earlier run"
    head = f"since the {good} {found.compared_as} {other.id[:id_length]}"
    if not found.changes:
        return f"nothing {head}"
    lines = [_change_line(item) for item in found.changes[:SHOWN_CHANGES]]
    if len(found.changes) > SHOWN_CHANGES:
        lines.append(f"and {len(found.changes) - SHOWN_CHANGES} more")
    return "\n".join([f"{head}:", *lines])


def _change_line(item: RunChange) -> str:
    from dstui.units import UNKNOWN

    if item.kind == "code":
        words = f"{item.what} {item.after}"
    elif item.kind == "data":
        words = f"{item.what} {_input_text(item.before) or UNKNOWN} -> {_input_text(item.after) or UNKNOWN}"
    else:
        before, after = (UNKNOWN if value is None else value for value in (item.before, item.after))
        words = f"{item.what} {before} -> {after}"
    return f"{item.kind:<11} {words}" + (f"  ({item.likely})" if item.likely else "")


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
