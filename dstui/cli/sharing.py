"""Commands that share runs with teammates: push, pull, share."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dstui.cli.app import Json, app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dstui.sdk.sharing import Pulled, Pushed, SharePlan

SHOWN = 5
"""Findings and notices that are told one by one; the rest are counted."""

FromHook = Annotated[bool, typer.Option("--from-hook", hidden=True)]
Where = Annotated[
    str | None,
    typer.Option("--remote", metavar="REMOTE|URL", help="Default: the one shared with, else `origin`."),
]

share = typer.Typer(
    help="Let runs go with every `git push` and come with `git pull`, or not; alone: say which.",
    rich_markup_mode=None,
    invoke_without_command=True,
)
app.add_typer(share, name="share")


@app.command()
def push(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN|QUERY]...", help="Which runs; default: all that are not private."),
    ] = None,
    remote: Where = None,
    allow_secret: Annotated[
        list[str] | None,
        typer.Option("--allow-secret", metavar="ID", help="A finding that is no secret; may be given again."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Send nothing; say what would go.")] = False,
    from_hook: FromHook = False,
    as_json: Json = False,
) -> None:
    """Send runs to teammates through a git remote. Private runs stay here.

    What would leave is searched for secrets first; a run that seems to hold one stays here and is named.
    """
    from dstui.cli.output import write_json
    from dstui.sdk import open_project
    from dstui.sdk import sharing as sdk

    if from_hook:
        _quietly("runs were not sent", "`ds push`", lambda: _push_from_hook(runs or []))
        return
    with open_project() as project, _progress() as (progress, ask):
        done = sdk.push(
            project, runs or [], remote=remote, allow=allow_secret or [], dry=dry_run, progress=progress, ask=ask
        )
    if as_json:
        write_json(done.to_json())
    else:
        _tell_pushed(done)
    raise typer.Exit(1 if done.sent.held else 0)


@app.command()
def pull(remote: Where = None, from_hook: FromHook = False, as_json: Json = False) -> None:
    """Bring the runs of teammates from a git remote."""
    from dstui.cli.output import write_json
    from dstui.sdk import open_project
    from dstui.sdk import sharing as sdk

    if from_hook:
        _quietly("runs were not fetched", "`ds pull`", _pull_from_hook)
        return
    with open_project(create=True) as project, _progress() as (progress, ask):
        done = sdk.pull(project, remote=remote, progress=progress, ask=ask)
    if as_json:
        write_json(done.to_json())
    else:
        _tell_pulled(done)


@share.callback()
def share_state(context: typer.Context, as_json: Json = False) -> None:
    """Let runs go with every `git push` and come with `git pull`, or not; alone: say which."""
    if context.invoked_subcommand is not None:
        return
    from dstui.cli.output import write_json, write_line
    from dstui.sdk import open_project
    from dstui.sdk.sharing import share_state as read

    with open_project() as project:
        state = read(project)
    if as_json:
        write_json(state)
    elif state["on"]:
        write_line(f"on: new runs go to {state['remote']} ({state['url']})")
    else:
        write_line("off: runs stay here until `ds push`, or `ds share on`")


@share.command("on")
def share_on(
    remote: Annotated[
        str | None, typer.Argument(metavar="[REMOTE|URL]", help="Where to; default: `origin`, or the only one.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    with_older: Annotated[bool, typer.Option("--all", help="Runs that are here already go too.")] = False,
    as_json: Json = False,
) -> None:
    """Send new runs with every `git push`, bring teammates' runs with `git pull`. Says what it changes and asks."""
    from dstui.cli.output import write_json, write_line
    from dstui.errors import UsageError
    from dstui.sdk import open_project
    from dstui.sdk import sharing as sdk

    with open_project(create=True) as project:
        plan = sdk.plan_sharing(project, remote, with_older=with_older)
        if not as_json:
            _tell_plan(plan)
        if not yes:
            if as_json or not sys.stdin.isatty():
                raise UsageError("Sharing needs your word, and this is no terminal to ask at", hint="give `--yes`")
            if not typer.confirm("Share?", err=True):
                raise typer.Exit(1)
        sdk.start_sharing(project, plan)
    if as_json:
        write_json(plan.to_json())
    else:
        write_line("sharing is on; `ds share off` undoes all of this")


@share.command("off")
def share_off(as_json: Json = False) -> None:
    """Stop sharing by itself; hooks become what they were, byte for byte. Teammates keep what they have."""
    from dstui.cli.diagnostics import warn
    from dstui.cli.output import write_json, write_line
    from dstui.sdk import open_project
    from dstui.sdk.sharing import stop_sharing

    with open_project() as project:
        changes, left = stop_sharing(project)
    for name in left:
        warn(f"the hook `{name}` was changed since and still calls dstui", hint="remove its line by hand")
    if as_json:
        write_json({"on": False, "changes": [change.to_json() for change in changes], "left": left})
    else:
        write_line("sharing is off")


def _tell_plan(plan: SharePlan) -> None:
    from dstui.cli.output import write_line
    from dstui.units import format_bytes

    write_line(f"New runs will go to {plan.remote.name} ({plan.remote.shown_url}) with every `git push`,")
    write_line("and teammates' runs come when `git pull` brings commits. Who can read that repository can read")
    write_line("their code, params, output and metrics; not those of `ds run --private`.")
    if plan.older:
        there = f"{plan.older:,} {_runs(plan.older)}, {format_bytes(plan.size_bytes)}"
        go = "go too" if plan.with_older else "stay here: `--all` or `ds push` sends them"
        write_line(f"Here already: {there}, which {go}.")
    for change in plan.changes:
        write_line(f"  {change.what:<6} {change.path}", f" -> {change.target}" if change.target else "")
    if plan.obstacle is not None:
        write_line(f"No hook is written: {plan.obstacle}.")
        for name, line in plan.lines.items():
            write_line(f"  add to {name}:  {line}")
        if not plan.lines:
            write_line("  use `ds push` and `ds pull`")


def _tell_pushed(done: Pushed) -> None:
    from dstui.cli.diagnostics import warn
    from dstui.cli.output import write_line

    sent, name = done.sent, done.remote.name
    words = []
    if sent.runs:
        words.append(f"{len(sent.runs):,} {_runs(len(sent.runs))}")
    if sent.operations:
        words.append(f"{sent.operations:,} {'change' if sent.operations == 1 else 'changes'} to runs")
    if words:
        write_line(f"{' and '.join(words)} {'would go' if done.dry else 'sent'} to {name}")
    elif not sent.held:
        write_line(f"nothing new to send to {name}")
    if sent.private:
        write_line(f"{sent.private:,} private {_runs(sent.private)} {'stays' if sent.private == 1 else 'stay'} here")
    for item in sent.held[:SHOWN]:
        warn(
            f"run {item.run[:5]} stays here: {item.path} line {item.line} looks like a secret ({item.kind})",
            hint=f"if it is none: `ds push --allow-secret {item.id}`",
        )
    if len(sent.held) > SHOWN:
        warn(f"{len(sent.held) - SHOWN:,} more findings in runs that stay here: `ds push --json` lists all")


def _tell_pulled(done: Pulled) -> None:
    from dstui.cli.diagnostics import warn
    from dstui.cli.output import write_line

    received = done.received
    if received.runs:
        total = sum(map(len, received.runs.values()))
        write_line(f"{total:,} new {_runs(total)} from {done.remote.name}: {_by_writer(done)}")
    elif not received.rewritten:
        write_line(f"nothing new on {done.remote.name}")
    _warn_about(done, warn)


def _warn_about(done: Pulled, warn: Callable[..., None]) -> None:
    for item in done.received.rewritten[:SHOWN]:
        gone = len(item.vanished)
        warn(
            f"{item.writer} rewrote the log on {done.remote.name}: {gone:,} {_runs(gone)} gone from it",
            hint=f"the old log stays for 14 days as `{item.kept_as}`",
        )
    for writer, reason in done.received.refused[:SHOWN]:
        warn(f"the runs of {writer} were not taken: {reason}")
    more = len(done.received.refused) - SHOWN
    if more > 0:
        warn(f"and those of {more:,} more: `ds pull --json` lists all")


def _by_writer(done: Pulled) -> str:
    parts = [f"{writer} {len(runs):,}" for writer, runs in sorted(done.received.runs.items())]
    return ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN:,} more writers" if len(parts) > SHOWN else "")


def _push_from_hook(words: list[str]) -> None:
    from dstui.cli.diagnostics import say
    from dstui.sdk import open_project
    from dstui.sdk import sharing as sdk

    name, url = (*words, "", "")[:2]
    with open_project() as project:
        done = sdk.push_from_hook(project, name, url)
    if done is None:
        return
    if done.sent.runs:
        say(f"ds: {len(done.sent.runs):,} {_runs(len(done.sent.runs))} sent to {done.remote.name}")
    held = len({item.run for item in done.sent.held})
    if held:
        say(f"ds: {held:,} {_runs(held)} not sent, they seem to hold secrets: `ds push` says more")


def _pull_from_hook() -> None:
    from dstui.cli.diagnostics import say, warn
    from dstui.sdk import open_project
    from dstui.sdk import sharing as sdk

    with open_project(create=True) as project:
        done = sdk.pull_from_hook(project)
    if done is None:
        return
    total = sum(map(len, done.received.runs.values()))
    if total:
        say(f"ds: {total:,} new {_runs(total)} from {done.remote.name}: {_by_writer(done)}")
    _warn_about(done, warn)


def _quietly(what: str, later: str, call: Callable[[], None]) -> None:
    """For a hook: one line when it fails, and the user's own command goes on."""
    from dstui.cli.diagnostics import say
    from dstui.errors import DstuiError
    from dstui.sdk import StoreError

    try:
        call()
    except (StoreError, DstuiError) as error:
        say(f"ds: {what}: {error.message}; {later} tries again")
    except OSError as error:
        say(f"ds: {what}: {error}; {later} tries again")


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None] | None, bool]]:
    """(what shows progress, whether the user can be asked): one line on a terminal, wiped at the end."""
    from dstui.cli.diagnostics import say_passing

    if not sys.stderr.isatty():
        yield None, False
        return
    try:
        yield say_passing, sys.stdin.isatty()
    finally:
        say_passing("")


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
