"""The process that holds a sampler and its libraries; proposer.py starts it, with the sampler's name.

It reads one line of JSON for each request on stdin, writes one line of JSON for each answer to stdout, and ends when
stdin does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from dstui.errors import UsageError
from dstui.search.samplers import sampler_named
from dstui.search.wire import history_from_table, suggestion_to_table, sweep_from_table

if TYPE_CHECKING:
    from dstui.search.samplers.base import Sampler


def main() -> None:
    """Answers until the parent is gone."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        sampler = sampler_named(sys.argv[1])
        if sampler.name in ("bayes", "bohb"):
            from dstui.search.surrogate import load

            load()
    except UsageError as error:
        _send(answers, {"usage": error.message, "hint": error.hint})
        return
    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        _send(answers, _answer(sampler, line))


def _answer(sampler: Sampler, line: bytes) -> dict[str, Any]:
    request = json.loads(line)
    sweep, history = sweep_from_table(request["sweep"]), history_from_table(request["history"])
    try:
        suggestions = sampler.suggest(sweep, history, request["n"])
    except UsageError as error:
        return {"usage": error.message, "hint": error.hint}
    except Exception as error:  # the parent names it in the trial that gets a Sobol point
        return {"error": f"{type(error).__name__}: {error}"}
    return {"suggestions": [suggestion_to_table(suggestion) for suggestion in suggestions]}


def _send(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer, default=str).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
