"""The start of a keeper, what it was told by its options, and its end: it leaves, or becomes the clerk."""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dstui.inside.supervisor import Supervisor

if TYPE_CHECKING or __package__:
    from dstui.inside.child import StartError
    from dstui.inside.command import CommandSupervisor
    from dstui.inside.live import LiveDirectory
    from dstui.inside.watch import WatchSupervisor
else:
    from child import StartError
    from command import CommandSupervisor
    from live import LiveDirectory
    from watch import WatchSupervisor

FLAGS = frozenset({"terminal"})
"""Options without a value."""


def main(arguments: list[str]) -> None:
    """Keep one run to its end, then leave or become the clerk."""
    path, *words = arguments
    options = _parse(words)
    if os.getsid(0) != os.getpid() and "watch" not in options:
        os.setsid()
    live = LiveDirectory(path)
    try:
        clerk_needed = _keep(live, options)
    except Exception as error:
        live.complain(f"the keeper failed: {_describe(error)}")
        raise
    if clerk_needed and "clerk" in options:
        clerk = json.loads(options["clerk"])
        os.execv(clerk[0], clerk)


def _keep(live: LiveDirectory, options: dict[str, str]) -> bool:
    """Keep the run; returns whether the clerk is needed."""
    live.claim(_inherited(options, "alive-fd"))
    supervisor: Supervisor
    if "watch" in options:
        supervisor = WatchSupervisor(live, int(options["watch"]))
    else:
        supervisor = CommandSupervisor(
            live,
            _read_words(int(options["command-fd"])),
            options.get("cwd", "."),
            options.get("streams", "ipp"),
            terminal="terminal" in options,
            like=_inherited(options, "terminal-fd"),
        )
    front = _inherited(options, "front-fd")
    if front is not None:
        supervisor.control.adopt(front)
    try:
        _open(live, supervisor)
        if "watch" in options:
            _go_into_background()
        return supervisor.run()
    except StartError as error:
        supervisor.control.tell({"event": "error", "message": str(error), "code": error.code})
        sys.exit(error.code)


def _open(live: LiveDirectory, supervisor: Supervisor) -> None:
    try:
        live.reserve()
    except OSError as error:
        raise StartError(f"the end of the run could not be recorded in `{live.path}`: {error.strerror}", 125) from error
    try:
        supervisor.control.listen(live.descriptor)
    except OSError as error:
        live.complain(f"`ds attach` and `ds stop` cannot reach this run: no socket there ({error.strerror})")


def _go_into_background() -> None:
    """Go on as a process that nobody waits for and that holds no descriptor of who started it."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _parse(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name = word[2:]
        options[name] = "" if name in FLAGS else next(rest)
    return options


def _read_words(descriptor: int) -> list[str]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]


def _inherited(options: dict[str, str], name: str) -> int | None:
    """A descriptor given by number; the command does not get it."""
    if name not in options:
        return None
    descriptor = int(options[name])
    os.set_inheritable(descriptor, False)
    return descriptor


def _describe(error: Exception) -> str:
    import traceback

    return " | ".join(line.strip() for line in traceback.format_exception(type(error), error, error.__traceback__))
