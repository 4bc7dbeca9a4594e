"""Commands that read: ls, show, logs, metrics."""

from __future__ import annotations

import time
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dstui.cli.app import Csv, Json, Latex, Markdown, Run, app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dstui.cli.output import Table
    from dstui.sdk import LogLine, LogParser, RunDetail, RunView

TERMINAL_ROWS = 50
"""Runs that `ds ls` shows on a terminal when no limit is given."""

LOOKED_AT = 1_000
"""Runs that decide which params and metrics become columns."""

SHOWN_NAMES = 6
"""Names and sentences shown of a list; `--json` has all."""

SOURCES = {
    "log": "dstui.log",
    "hook:tensorboard": "TensorBoard",
    "hook:wandb": "wandb",
    "hook:mlflow": "MLflow",
    "stdout": "its output",
}
"""Sources of metrics in words; a file is named as it is."""

SHOWN_DATA = 20
"""Files that `ds show` lists; `--json` has them all."""

SHOWN_METRICS, SHOWN_PARAMS = 3, 4
"""Columns of each kind when none are asked for."""


@app.command()
def ls(
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="Which runs, e.g. `'val_acc>0.9' state:finished '!tag:bad'`."),
    ] = None,
    sort: Annotated[str, typer.Option(help="Keys to sort by, e.g. `val_acc:desc,lr`; default: newest first.")] = "",
    columns: Annotated[
        str, typer.Option(help="Params and metrics to show, comma between; default: those that differ most.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"At most so many, 0 = all; default: {TERMINAL_ROWS} on a terminal.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    as_md: Markdown = False,
    as_latex: Latex = False,
) -> None:
    """List runs, running ones first."""
    from dstui.cli.diagnostics import say
    from dstui.cli.output import Form, chosen_form, terminal, write_json, write_table
    from dstui.sdk import open_project

    form = chosen_form(json=as_json, csv=as_csv, markdown=as_md, latex=as_latex)
    if limit is None:
        limit = TERMINAL_ROWS if form is Form.HUMAN and terminal().width is not None else 0
    with open_project() as project:
        views = project.runs(" ".join(query or []), sort)
    shown = views[:limit] if limit else views
    if form is Form.JSON:
        write_json([view.to_json() for view in shown])
        return
    write_table(runs_table(shown, [name.strip() for name in columns.split(",") if name.strip()]), form)
    if not views and form is Form.HUMAN:
        say("no run matches" if query else "no runs yet: `ds run train.py` makes one")
    elif len(shown) < len(views):
        say(f"{len(views) - len(shown):,} more: --limit 0 shows all")


@app.command()
def show(run: Run, as_json: Json = False) -> None:
    """Show all that is known of a run."""
    from dstui.cli.output import write_fields, write_json, write_line, write_table
    from dstui.sdk import open_project

    with open_project() as project:
        detail = project.show(run)
    if as_json:
        write_json(detail.to_json())
        return
    write_fields(_fields(detail))
    if detail.view.summary:
        write_line()
        write_table(_summary_table(detail.view))


@app.command()
def logs(
    run: Run,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on while the run writes.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Exact bytes; not to a terminal.")] = False,
    tail: Annotated[int | None, typer.Option("-n", "--tail", min=0, help="Only the last so many lines.")] = None,
) -> None:
    """Print the output of a run; colours stay, other terminal control does not."""
    from dstui.cli.output import write_bytes, write_log_lines
    from dstui.sdk import LogParser, open_project

    with open_project() as project:
        if raw:
            write_bytes(project.log(run))
            return
        parser = LogParser()
        if not follow:
            lines = [*parser.feed(project.log(run)), *_last(parser)]
            write_log_lines(lines if tail is None else lines[max(0, len(lines) - tail) :])
            return
        for number, chunk in enumerate(project.follow_log(run)):
            lines = parser.feed(chunk)
            write_log_lines(lines[max(0, len(lines) - tail) :] if tail is not None and number == 0 else lines)
        write_log_lines(_last(parser))


def _last(parser: LogParser) -> list[LogLine]:
    """The line that no newline ended, if there is one."""
    line = parser.finish()
    return [] if line is None else [line]


@app.command()
def metrics(
    run: Run,
    key: Annotated[list[str] | None, typer.Option("--key", help="A metric; may be given again.")] = None,
    system: Annotated[
        bool, typer.Option("--system", help="The load of its processes, its GPUs and the machine instead.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Print the metrics of a run: their summary, or every point of those named by --key."""
    from dstui.cli.output import Form, chosen_form, write_json, write_table
    from dstui.sdk import open_project

    form = chosen_form(json=as_json, csv=as_csv)
    with open_project() as project:
        if form is Form.HUMAN and not key:
            summary = _system_table(project.system_summary(run)) if system else _summary_table(project.run(run))
            write_table(summary)
            return
        series = project.system(run, key or None) if system else project.metrics(run, key or None)
    if form is Form.JSON:
        names = ("step", "time", "value")
        write_json({name: {part: getattr(item, part).tolist() for part in names} for name, item in series.items()})
    else:
        write_table(_points_table(series), form)


def runs_table(views: Sequence[RunView], names: Sequence[str] = ()) -> Table:
    """Runs as a table; without `names` the metrics most runs have and the params that differ become columns."""
    from dstui.cli.output import Column, Table, state_style
    from dstui.names import STATE_GLYPHS
    from dstui.units import format_age, format_duration

    now = time.time()
    metrics, params = _chosen(views) if not names else ([], list(names))
    columns = [
        Column("state", importance=100, style=lambda value: state_style(str(value).split()[-1])),
        Column("run", importance=90),
        Column("id", importance=100),
        Column("name", importance=95, minimum=12),
        *(Column(name, right=True, importance=80 - place) for place, name in enumerate(metrics)),
        *(Column(name, right=True, importance=70 - place, minimum=4) for place, name in enumerate(params)),
        Column("time", right=True, importance=50, show=format_duration),
        Column("when", right=True, importance=60, show=lambda value: format_age(now - value)),
        Column("experiment", importance=30, minimum=6),
        Column("tags", importance=40, minimum=4),
    ]
    rows = [
        (
            f"{STATE_GLYPHS[view.state]} {view.state}".strip() if view.state != "finished" else view.state,
            view.number,
            view.id,
            view.name,
            *(_metric(view, name) for name in metrics),
            *(_param_or_metric(view, name) for name in params),
            view.duration_seconds(now),
            view.record.started_at,
            view.experiment or None,
            ", ".join(view.tags) or None,
        )
        for view in views
    ]
    return _without_empty(Table(columns, rows), keep={"state", "run", "id", "name", "time", "when"})


def _without_empty(table: Table, keep: set[str]) -> Table:
    from dstui.cli.output import Table

    used = [
        place
        for place, column in enumerate(table.columns)
        if column.name in keep or any(row[place] is not None for row in table.rows)
    ]
    of_used = itemgetter(*used)
    return Table(list(of_used(table.columns)), [of_used(row) for row in table.rows])


def _chosen(views: Sequence[RunView]) -> tuple[list[str], list[str]]:
    """(metrics, params): the metrics that most runs have, the params with the most different values."""
    views = views[:LOOKED_AT]
    have = Counter(name for view in views for name in view.summary)
    metrics = sorted(have, key=lambda name: (-have[name], not name.startswith("val"), name))[:SHOWN_METRICS]
    values: dict[str, set[str]] = {}
    for view in views:
        for name, value in view.config.items():
            values.setdefault(name, set()).add(repr(value))
    everywhere = Counter(name for view in views for name in view.config)
    varied = [name for name in values if len(values[name]) > 1 or everywhere[name] < len(views)]
    varied.sort(key=lambda name: (-len(values[name]), name))
    return metrics, varied[:SHOWN_PARAMS]


def _metric(view: RunView, name: str) -> float | None:
    summary = view.summary.get(name)
    return None if summary is None else summary.last


def _param_or_metric(view: RunView, name: str) -> Any:
    config = view.config
    return config[name] if name in config else _metric(view, name)


def _fields(detail: RunDetail) -> list[tuple[str, object]]:
    from dstui.sdk import system_lines
    from dstui.units import format_duration, format_time

    view, code = detail.view, detail.meta.get("code") or {}
    record = view.record
    fields: list[tuple[str, object]] = [
        ("run", f"{view.number}  {view.id}  {view.name}"),
        ("state", _state(detail)),
        ("command", view.command),
        ("folder", detail.meta.get("cwd") or None),
        ("started", f"{format_time(record.started_at)} by {view.user} on {view.host}"),
        ("took", format_duration(view.duration_seconds())),
        *system_lines(detail.system_summary),
        ("experiment", view.experiment or None),
        ("tags", ", ".join(view.tags) or None),
        ("sharing", "private: never leaves this clone" if record.private else None),
        ("note", view.notes or None),
        ("code", _code(code)),
        *_missing_fields(detail.missing_code),
        *(("skipped", f"{item.get('path')}: {item.get('reason')}") for item in detail.skipped[:10]),
        *_environment_fields(detail.environment),
        *(
            ("data" if place == 0 else "", _data_text(item))
            for place, item in enumerate(_inputs(detail.data)[:SHOWN_DATA])
        ),
        *(
            ("config" if place == 0 else "", f"{key} = {value}")
            for place, (key, value) in enumerate(detail.config.items())
        ),
        *_capture_fields(detail.meta),
        ("kept", _kept(detail)),
        ("checkpoints", detail.checkpoints),
        ("commit", record.commit),
        *(("problem", problem) for problem in detail.problems),
    ]
    return [(label, value) for label, value in fields if value is not None]


def _missing_fields(missing: Sequence[str]) -> Iterator[tuple[str, object]]:
    """That the stored code alone would not run again, with the files that it lacks."""
    if missing:
        more = f" and {len(missing) - SHOWN_NAMES} more" if len(missing) > SHOWN_NAMES else ""
        yield "lacks", f"{', '.join(missing[:SHOWN_NAMES])}{more}: read by the script, not stored with its code"


def _inputs(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the run was given and read, without what it wrote itself."""
    return [item for item in data.get("inputs") or [] if item.get("reason") != "written during the run"]


def _kept(detail: RunDetail) -> str | None:
    """What the script kept that is no number, counted."""
    from dstui.units import format_bytes

    kinds = Counter(item.kind for item in detail.media)
    words = [f"{count:,} {kind if count == 1 else f'{kind}s'}" for kind, count in kinds.items()]
    if names := {item.name for item in detail.artifacts}:
        size = format_bytes(sum(item.size for item in detail.artifacts))
        words.append(f"{len(names):,} {'artifact' if len(names) == 1 else 'artifacts'} of {size}")
    return ", ".join(words) or None


def _capture_fields(meta: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Where metrics and seeds come from, and what could not be seen."""
    sources: dict[str, list[str]] = {}
    for name, source in (meta.get("sources") or {}).items():
        sources.setdefault(str(source), []).append(str(name))
    if set(sources) - {"log"}:
        for place, (source, names) in enumerate(sources.items()):
            shown = ", ".join(names[:SHOWN_NAMES]) + (
                f" and {len(names) - SHOWN_NAMES} more" * (len(names) > SHOWN_NAMES)
            )
            yield "metrics" if place == 0 else "", f"{shown} from {SOURCES.get(source, source)}"
    if seeds := meta.get("seeds"):
        yield "seeds", ", ".join(f"{generator} {seed}" for generator, seed in seeds.items())
    capture = meta.get("capture") or {}
    if kinds := capture.get("uncounted"):
        yield "not kept", ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    if capture.get("why"):
        yield "no hook", f"settings and loggers were not seen: {capture['why']}"
    for complaint in (capture.get("complaints") or [])[:SHOWN_NAMES]:
        yield "hook", complaint


def _environment_fields(environment: Mapping[str, Any]) -> list[tuple[str, object]]:
    python, packages = environment.get("python") or {}, environment.get("packages")
    words = [str(python[key]) for key in ("executable", "version") if python.get(key)]
    if packages is not None:
        words.append(f"{len(packages)} packages")
    editable = ", ".join(
        f"{item.get('name')} {str(item.get('commit'))[:7] if item.get('commit') else 'without a commit'}"
        + (" edited" if item.get("dirty") else "")
        for item in environment.get("editable") or []
        if not item.get("in_project")
    )
    return [("python", "  ".join(words) or None), ("editable", editable or None)]


def _data_text(item: Mapping[str, Any]) -> str:
    from dstui.units import format_bytes

    words = [str(item.get("path"))]
    if isinstance(item.get("files"), int):
        words.append(f"{item['files']:,} files")
    if isinstance(item.get("size"), int):
        words.append(format_bytes(item["size"]))
    words.append(str(item.get("sha256"))[:12] if item.get("sha256") else str(item.get("reason")))
    if item.get("unstable"):
        words.append("changed during the run")
    return "  ".join(words)


def _state(detail: RunDetail) -> str:
    record = detail.view.record
    words = [record.state]
    if detail.where is not None:
        words.append(detail.where)
    if record.exit_code:
        words.append(f"with exit code {record.exit_code}")
    if record.signal is not None:
        words.append(f"by signal {record.signal}")
    if detail.view.stop_reason:
        words.append(f"({detail.view.stop_reason})")
    return " ".join(words)


def _code(code: dict[str, Any]) -> str:
    if not code.get("tree"):
        return f"not stored: {code.get('refused') or 'unknown reason'}"
    words = str(code.get("commit") or "without a commit")[:7] if code.get("commit") else "without a commit"
    if code.get("branch"):
        words += f" on {code['branch']}"
    for key, word in (("edited", "edited"), ("added", "new")):
        names = code.get(key) or []
        if names:
            shown = ", ".join(map(str, names[:5])) + (" ..." if len(names) > 5 else "")
            words += f", {len(names)} {word} ({shown})"
    return words


def _summary_table(view: RunView) -> Table:
    from dstui.cli.output import Column, Table

    columns = [
        Column("metric", importance=9, minimum=10),
        *(Column(name, right=True, importance=8 - place) for place, name in enumerate(("last", "min", "max"))),
        Column("step", right=True, importance=4),
        Column("points", right=True, importance=3),
    ]
    rows = [(key, item.last, item.min, item.max, item.step, item.count) for key, item in view.summary.items()]
    return Table(columns, rows)


def _system_table(load: Mapping[str, Any]) -> Table:
    from dstui.cli.output import Column, Table
    from dstui.units import format_bytes, format_number

    parts = ("mean", "max", "last")
    columns = [
        Column("sample", importance=9, minimum=10),
        *(Column(name, right=True, importance=8 - place) for place, name in enumerate(parts)),
    ]
    summary = load.get("summary") or {}
    rows = [
        (name, *((format_bytes if name.endswith("_bytes") else format_number)(item.get(part)) for part in parts))
        for name, item in sorted(summary.items())
    ]
    return Table(columns, rows)


def _points_table(series: dict[str, Any]) -> Table:
    from dstui.cli.output import Column, Table

    columns = [
        Column("metric", minimum=8),
        Column("step", right=True),
        Column("time", right=True, show=lambda value: f"{value:.3f}"),
        Column("value", right=True, show=repr),
    ]
    rows = [
        (name, *point)
        for name, item in series.items()
        for point in zip(item.step.tolist(), item.time.tolist(), item.value.tolist(), strict=True)
    ]
    return Table(columns, rows)
