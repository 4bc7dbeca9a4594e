"""What `ds run` and `ds submit` have in common: options that say how a command is recorded, and the request of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dstui.sdk import Project, Request

Words = Annotated[list[str], typer.Argument(metavar="COMMAND [ARG]...", help="What to run.")]
Name = Annotated[str | None, typer.Option("-n", "--name", help="Name; default: script and params.")]
Experiment = Annotated[str | None, typer.Option("-e", "--experiment", help="Experiment it belongs to.")]
Tags = Annotated[list[str] | None, typer.Option("-t", "--tag", help="A tag; may be given again.")]
Note = Annotated[str, typer.Option("--note", help="A note, in words.")]
Params = Annotated[
    list[str] | None, typer.Option("-p", "--param", metavar="KEY=VALUE", help="A param; may be given again.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Sets DSTUI_SEED and PYTHONHASHSEED for the command.")]
Time = Annotated[str | None, typer.Option("--time", metavar="2h", help="End the command after this long.")]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help="A file or folder it reads, kept by hash; may be given again."),
]
NoCapture = Annotated[bool, typer.Option("--no-capture", help="Record only what the script logs to dstui.")]


def request_of(
    project: Project,
    words: list[str],
    *,
    name: str | None,
    experiment: str | None,
    tags: list[str] | None,
    note: str,
    params: list[str] | None,
    seed: int | None,
    time: str | None,
    data: list[str] | None,
    private: bool,
    no_capture: bool,
) -> Request:
    """The request that these options and the project's settings make together.

    Raises:
        LaunchError: a param is not of the form KEY=VALUE.
        UsageError: the time is none.
    """
    from dstui.sdk import Request, capture_of, parse_assignment
    from dstui.units import parse_duration

    settings = project.settings
    return Request(
        words=words,
        name=name,
        experiment=experiment or settings["run.experiment"],
        tags=tags or [],
        notes=note,
        params=dict(parse_assignment(item) for item in params or []),
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
