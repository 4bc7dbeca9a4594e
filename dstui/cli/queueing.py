"""Commands of the queue: submit, queue, wait, cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dstui.cli.app import Csv, Json, Latex, Markdown, app
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
    from dstui.sdk.queue import JobView

SUBMIT_HELP = """Put a command into the queue; it starts when there is room, with the code of this moment.

Options of ours stand before COMMAND. The code is stored now and runs in a checkout of its own, so the project may be
edited meanwhile; what git ignores, such as data, is linked into it. `{lr}` in the command stands for a value of
`--array lr=0.1,0.01`; without it `--lr 0.1` is added at the end.
"""

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Jobs: the start of their ids, or of an array's.")]

queue_app = typer.Typer(
    name="queue", help="List and change the queue.", rich_markup_mode=None, invoke_without_command=True
)
cluster_app = typer.Typer(name="cluster", help="The machine as the queue sees it.", rich_markup_mode=None)
app.add_typer(queue_app)
app.add_typer(cluster_app)


@app.command("submit", context_settings={"allow_interspersed_args": False}, help=SUBMIT_HELP)
def submit(
    words: Words,
    name: Name = None,
    experiment: Experiment = None,
    tag: Tags = None,
    note: Note = "",
    param: Params = None,
    seed: Seed = None,
    gpus: Annotated[str | None, typer.Option(metavar="N|N-M", help="GPUs; default: by what it imports.")] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(metavar="10G|auto", help="Share GPUs: memory of each that it needs.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=0, help="CPU slots; default: 1, or 0 with a GPU.")] = None,
    priority: Annotated[str, typer.Option(metavar="high|normal|low", help="Its tier.")] = "normal",
    account: Annotated[str | None, typer.Option(help="Who is charged; default: the project.")] = None,
    time: Time = None,
    retries: Annotated[int, typer.Option(min=0, max=100, help="Start it again so often when it fails.")] = 0,
    after: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="Wait until this job has finished; may be given again.")
    ] = None,
    array: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V,V", help="One job for each value; may be given again.")
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Wait for `ds queue release`.")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Run in the project as it is then.")] = False,
    data: Data = None,
    private: Annotated[bool, typer.Option("--private", help="Never share its runs.")] = False,
    no_capture: NoCapture = False,
    as_json: Json = False,
) -> None:
    """Put a command into the queue."""
    from dstui.cli.diagnostics import say
    from dstui.cli.output import write_json, write_line
    from dstui.sdk import open_project
    from dstui.sdk.queue import JobRequest, open_queue, parse_array, parse_gpus
    from dstui.units import parse_bytes

    with open_project(create=True) as project, open_queue() as queue:
        request = JobRequest(
            run=request_of(
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
            ),
            gpus=None if gpus is None else parse_gpus(gpus),
            memory_bytes=None if gpu_memory in (None, "auto") else parse_bytes(str(gpu_memory)),
            memory_automatic=gpu_memory == "auto",
            cpus=cpus,
            tier=priority,
            account=account,
            retries=retries,
            after=after or [],
            array=parse_array(array or []),
            in_place=in_place,
            held=hold,
        )
        jobs, cause = queue.submit(project.store, request, Path.cwd(), dict(os.environ))
    if as_json:
        write_json([view.to_json() for view in jobs])
        return
    if cause:
        say(f"ds: {cause}")
    for view in jobs[:20]:
        write_line(view.id)
    if len(jobs) > 20:
        say(f"ds: {len(jobs)} jobs; `ds queue ls` lists them")


@queue_app.callback(invoke_without_command=True)
def queue(context: typer.Context) -> None:
    """List and change the queue."""
    if context.invoked_subcommand is None:
        _list(0, {})


@queue_app.command("ls")
def ls(
    all_jobs: Annotated[bool, typer.Option("--all", help="Ended jobs too, the last 100.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    markdown: Markdown = False,
    latex: Latex = False,
) -> None:
    """List the jobs that have not ended, with why they wait."""
    _list(100 if all_jobs else 0, {"json": as_json, "csv": as_csv, "markdown": markdown, "latex": latex})


@queue_app.command("hold")
def hold(jobs: Jobs, as_json: Json = False) -> None:
    """Keep waiting jobs from starting."""
    _act("hold", jobs, as_json)


@queue_app.command("release")
def release(jobs: Jobs, as_json: Json = False) -> None:
    """Let held jobs start, also outside the hours of the queue."""
    _act("release", jobs, as_json)


@queue_app.command("move")
def move(
    jobs: Jobs,
    to: Annotated[str, typer.Option("--to", metavar="first|last", help="Where, within their account.")] = "first",
    as_json: Json = False,
) -> None:
    """Put waiting jobs before or after the others of their account."""
    from dstui.errors import UsageError

    if to not in {"first", "last"}:
        raise UsageError(f"`--to {to}` is no place", hint="first or last")
    _act("move", jobs, as_json, to=to)


@queue_app.command("priority")
def priority(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The start of its id, or of an array's.")],
    tier: Annotated[str, typer.Argument(metavar="high|normal|low", help="The new priority.")],
    as_json: Json = False,
) -> None:
    """Change the priority of waiting jobs."""
    _act("priority", [job], as_json, tier=tier)


@queue_app.command("pause")
def pause(as_json: Json = False) -> None:
    """Start nothing until `ds queue resume`; what runs goes on."""
    _act("pause", [], as_json)


@queue_app.command("resume")
def resume(
    devices: Annotated[list[str] | None, typer.Argument(metavar="GPU...", help="Only these; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Start jobs again, also on drained GPUs."""
    from dstui.sdk.queue import open_queue

    with open_queue() as opened:
        ids = opened.device_ids(devices or [])
        answer = opened.act("resume", devices=ids)
    _report(answer, as_json, "the queue goes on")


@queue_app.command("drain")
def drain(
    devices: Annotated[list[str], typer.Argument(metavar="GPU...", help="By index.")], as_json: Json = False
) -> None:
    """Start nothing new on a GPU; what runs there goes on."""
    from dstui.sdk.queue import open_queue

    with open_queue() as opened:
        answer = opened.act("drain", devices=opened.device_ids(devices))
    _report(answer, as_json, f"no new jobs on GPU {', '.join(devices)}; `ds queue resume` undoes it")


@queue_app.command("reset")
def reset(
    force: Annotated[bool, typer.Option("--force", help="Also when jobs run or wait: they are stopped.")] = False,
) -> None:
    """Empty the queue; no run is lost, and the old files are kept beside."""
    from dstui.cli.output import write_line
    from dstui.errors import UsageError
    from dstui.sdk.queue import open_queue

    with open_queue() as opened:
        counts = opened.counts()
        if counts and not force:
            shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            raise UsageError(f"Jobs have not ended: {shown}", hint="`ds queue reset --force` stops them first")
        aside, count = opened.reset()
        write_line(f"{count} jobs stopped; the queue is empty")
        folder = opened.place.folder
        write_line(f"way back, while the queue is empty: rm -f {folder}/queue.db*; cp -r {aside}/* {folder}/")


@app.command("wait")
def wait(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="JOB...", help="Default: all that have not ended.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="1h", help="Wait at most so long.")] = None,
    as_json: Json = False,
) -> None:
    """Wait until jobs have ended; exits 1 unless all finished well."""
    from dstui.cli.output import write_json
    from dstui.sdk.queue import exit_code, open_queue
    from dstui.units import parse_duration

    with open_queue() as opened:
        limit = None if timeout is None else parse_duration(timeout)
        ended = opened.wait(jobs or [], seconds=limit, on_end=None if as_json else _say_end)
    if as_json:
        write_json([view.to_json() for view in ended])
    raise typer.Exit(exit_code(ended))


@cluster_app.command("status")
def cluster_status(as_json: Json = False) -> None:
    """Daemon, GPUs with their holders, jobs by priority, accounts."""
    from dstui.cli.output import write_json, write_line
    from dstui.sdk.queue import open_queue

    with open_queue() as opened:
        status = opened.status()
    if as_json:
        write_json(status)
        return
    for line in _status_lines(status):
        write_line(line)


@cluster_app.command("usage")
def cluster_usage(
    since: Annotated[str, typer.Option(metavar="7d", help="How far back.")] = "7d", as_json: Json = False
) -> None:
    """What ended lately: jobs, waiting, hours by account, beside the time before."""
    from dstui.cli.output import Column, Table, write_json, write_line, write_table
    from dstui.sdk.queue import open_queue
    from dstui.units import format_duration, parse_duration

    with open_queue() as opened:
        usage = opened.usage(parse_duration(since))
    if as_json:
        write_json(usage)
        return
    now, before = usage["now"], usage["before"]
    waited = format_duration(now["waiting_p50_seconds"]), format_duration(now["waiting_p95_seconds"])
    write_line(f"{now['jobs']} jobs ended in {since} ({before['jobs']} in the time before)")
    write_line(f"they waited {waited[0]} in the median, {waited[1]} at the 95th percentile")
    rows = [[item["name"], item["jobs"], item["gpu_hours"], item["cpu_hours"]] for item in now["accounts"]]
    columns = [Column("account"), *(Column(name, right=True) for name in ("jobs", "GPU hours", "CPU hours"))]
    write_table(Table(columns, rows))


def _list(ended: int, forms: dict[str, bool]) -> None:
    from dstui.cli.diagnostics import say
    from dstui.cli.output import Column, Form, Table, chosen_form, state_style, write_json, write_table
    from dstui.sdk.queue import open_queue
    from dstui.units import format_age

    form = chosen_form(**forms)
    with open_queue() as opened:
        views = opened.jobs(ended=ended)
    if form is Form.JSON:
        write_json([view.to_json() for view in views])
        return
    import time

    now = time.time()
    columns = [
        Column("id", importance=9),
        Column("state", importance=8, style=lambda value: state_style(value)),
        Column("priority", importance=3),
        Column("account", importance=2),
        Column("name", importance=7, minimum=12),
        Column("gpus", right=True, importance=4),
        Column("cpus", right=True, importance=3),
        Column("age", right=True, importance=5, show=format_age),
        Column("run", importance=6),
        Column("why", importance=8, minimum=20),
    ]
    rows = [
        [
            view.id,
            view.row.state,
            view.row.tier,
            view.row.account,
            view.row.name,
            view.row.demand.gpus,
            view.row.demand.cpus,
            now - view.row.submitted_at,
            None if view.row.run is None else view.row.run[:5],
            None if view.reason is None else view.reason.sentence,
        ]
        for view in views
    ]
    if not rows and form is Form.HUMAN:
        say(f"ds: {'no job yet' if ended else 'the queue is empty'}; `ds submit COMMAND` adds one")
        return
    write_table(Table(columns, rows), form)


def _act(verb: str, jobs: list[str], as_json: bool, **arguments: Any) -> None:
    from dstui.sdk.queue import open_queue

    with open_queue() as opened:
        answer = opened.act(verb, jobs, **arguments)
    _report(answer, as_json, "the queue is paused" if verb == "pause" else None)


def _report(answer: dict[str, Any], as_json: bool, sentence: str | None = None) -> None:
    """What was done; exits 1 when something was refused."""
    from dstui.cli.diagnostics import warn
    from dstui.cli.output import write_json, write_line

    refused = answer.get("refused") or {}
    if as_json:
        write_json({"done": answer.get("done") or [], "refused": refused})
    elif sentence is not None:
        write_line(sentence)
    else:
        for job in answer.get("done") or []:
            write_line(job[:8])
        for job, reason in refused.items():
            warn(f"job `{job[:8]}` {reason}")
    if refused:
        raise typer.Exit(1)


def _say_end(view: JobView) -> None:
    from dstui.cli.output import Styled, state_style, write_line

    state = view.row.state
    parts: list[object] = [view.id, " ", view.name, " ", Styled(state, state_style(state) or "dim")]
    if view.row.exit_code:
        parts.append(f" (exit code {view.row.exit_code})")
    write_line(*parts)


def _status_lines(status: dict[str, Any]) -> list[str]:
    daemon, slots = status["daemon"], status["cpu_slots"]
    lines = [
        f"daemon    {'none' if daemon is None else 'pid ' + str(daemon['pid']) + ' since ' + str(daemon['since'])}"
    ]
    if status["paused"]:
        lines.append(f"paused    {status['paused']}")
    lines.append(f"CPU slots {slots['used']} of {slots['total']} used")
    for device in status["devices"]:
        holder = f"job {device['job'][:5]}" if device["job"] else "free"
        lines.append(f"GPU {device['index']}     {device['why'] or holder}")
    if status["driver"]:
        lines.append(f"GPUs      {status['driver']}")
    for tier, states in status["jobs"].items():
        shown = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        if shown:
            lines.append(f"{tier:<9} {shown}")
    lines += [
        f"account   {account['name']}: {account['running']} running, {account['open']} open"
        for account in status["accounts"]
    ]
    lines.append("The queue orders your own jobs; other users of this machine have queues of their own.")
    return lines


def stop_if_job(name: str, grace_seconds: float | None, as_json: bool) -> bool:
    """Stops the job that a name stands for, or whose attempt it is; False when it is a run by itself."""
    from dstui.cli.output import write_json
    from dstui.sdk.queue import open_job_named, stop_job

    view = open_job_named(name)
    if view is None:
        return False
    view = stop_job(view, grace_seconds=grace_seconds)
    if as_json:
        write_json(view.to_json())
    else:
        _say_end(view)
    return True


def explained_job(name: str, as_json: bool) -> bool:
    """Prints why a job waits, or how it stands; False when the name is no job's, or its run has ended and says more."""
    from dstui.cli.output import write_json, write_line
    from dstui.sdk.queue import job_named
    from dstui.units import format_time

    view = job_named(name)
    if view is None or (view.row.run is not None and view.row.ended_at is not None):
        return False
    if as_json:
        write_json(view.to_json())
        return True
    row, reason = view.row, view.reason
    write_line(f"job {view.id} ", view.name, f" is {row.state}")
    if reason is not None:
        write_line(f"{reason.code}: ", reason.sentence)
        if reason.estimate_at is not None:
            write_line(f"starts at about {format_time(reason.estimate_at)}")
        write_line("next: ", reason.action)
    elif row.run is not None:
        write_line(f"its run is {row.run[:8]}; `ds attach {row.run[:8]}` watches it")
    elif view.detail:
        write_line(view.detail)
    return True
