"""What people ask of a running queue: stop, hold, release, move, priority, pause, resume, drain, leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dstui.scheduler.jobs import TIERS, Hold

if TYPE_CHECKING:
    from dstui.scheduler.engine import Engine
    from dstui.scheduler.jobs import Request
    from dstui.scheduler.queue import Queue

Act = Callable[["Engine", "Queue", Mapping[str, Any]], dict[str, Any]]


def carry_out(engine: Engine, queue: Queue, request: Request) -> None:
    """Does what a request asks and answers it, in the open transaction."""
    act = ACTS.get(request.verb)
    try:
        answer = (
            {"error": f"unknown request `{request.verb}`"} if act is None else act(engine, queue, request.arguments)
        )
    except (KeyError, TypeError, ValueError) as error:
        answer = {"error": f"a request of a wrong form: {error!r}"}
    queue.reply(request.number, answer)


def _each(arguments: Mapping[str, Any], change: Callable[[str], str | None]) -> dict[str, Any]:
    """One change for each job; who was changed, and for the others why not."""
    done: list[str] = []
    refused: dict[str, str] = {}
    for job in arguments["jobs"]:
        reason = change(str(job))
        if reason is None:
            done.append(job)
        else:
            refused[job] = reason
    return {"done": done, "refused": refused}


def _stop(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    grace = arguments.get("grace_seconds")

    def change(job: str) -> str | None:
        if job not in engine.rows:
            return "has ended"
        engine.stop(job, str(arguments.get("reason") or "ds stop"), None if grace is None else float(grace))
        return None

    return _each(arguments, change)


def _hold(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    now = time.time()
    hold = Hold("held", f"held by {arguments['by']}", now)

    def change(job: str) -> str | None:
        refusal = _not_waiting(engine, job)
        if refusal is None:
            engine.change(job, "held", "held", hold=hold)
        return refusal

    return _each(arguments, change)


def _release(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    def change(job: str) -> str | None:
        refusal = _not_waiting(engine, job)
        if refusal is None:
            spare = {**engine.rows[job].spare, "anytime": 1}
            engine.change(job, "queued", "released", hold=None, spare=spare)
        return refusal

    return _each(arguments, change)


def _move(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    ranks = [row.rank for row in engine.rows.values()]
    first, last = min(ranks, default=0.0), max(ranks, default=0.0)
    count = len(arguments["jobs"])

    def change(job: str) -> str | None:
        refusal = _not_waiting(engine, job)
        if refusal is None:
            place = arguments["jobs"].index(job)
            rank = first - count + place if arguments["to"] == "first" else last + 1 + place
            engine.change(job, rank=rank)
        return refusal

    return _each(arguments, change)


def _priority(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments["tier"] not in TIERS:
        return {"error": f"unknown priority `{arguments['tier']}`"}

    def change(job: str) -> str | None:
        refusal = _not_waiting(engine, job)
        if refusal is None:
            engine.change(job, tier=arguments["tier"])
        return refusal

    return _each(arguments, change)


def _pause(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    engine.paused = f"paused by {arguments['by']}"
    queue.set_meta("paused", engine.paused)
    return {"done": []}


def _resume(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    engine.paused = None
    queue.set_meta("paused", None)
    for device in arguments.get("devices") or queue.drained():
        queue.set_drained(str(device), None)
    return {"done": []}


def _drain(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    for device in arguments["devices"]:
        queue.set_drained(str(device), {"by": arguments["by"], "at": time.time()})
    return {"done": list(arguments["devices"])}


def _leave(engine: Engine, queue: Queue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    engine.leaving = True
    return {"done": []}


def _not_waiting(engine: Engine, job: str) -> str | None:
    row = engine.rows.get(job)
    if row is None:
        return "has ended"
    return None if row.state in {"held", "queued"} else f"is {row.state}"


ACTS: Mapping[str, Act] = {
    "stop": _stop,
    "hold": _hold,
    "release": _release,
    "move": _move,
    "priority": _priority,
    "pause": _pause,
    "resume": _resume,
    "drain": _drain,
    "leave": _leave,
}
