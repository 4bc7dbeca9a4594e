"""Proposals that never fail and never wait: where a sampler breaks, hangs or repeats itself, a Sobol point stands in.

`propose` guards a call in this process. `Proposer` keeps the sampler in a child process that it may kill, so that a fit
that hangs costs a sweep nothing but a trial that the model did not choose.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.search.reasons import sentence
from dstui.search.samplers.base import Sampler, seen_points
from dstui.search.sweep import Suggestion, Sweep
from dstui.search.wire import history_to_table, sweep_to_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dstui.search.history import History
    from dstui.search.space import PointKey
    from dstui.search.stoppers.base import Stopper

LOG = logging.getLogger("dstui.search")

CPU_SECONDS = 2.0
WALL_SECONDS = 10.0
"""What one call may take before a Sobol point stands in; the child is killed then."""

START_SECONDS = 60.0
"""What the child may take to load its libraries."""

RESTARTS = 3
RESTARTS_SECONDS = 3600.0
"""A child that keeps dying is started at most so often in so long."""

CPU_LOOK_SECONDS = 0.1
MOST_ANSWER_BYTES = 1 << 24

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def propose(
    sampler: Sampler, sweep: Sweep, history: History, n: int = 1, *, stopper: Stopper | None = None
) -> list[Suggestion]:
    """What the next `n` trials should try; fewer only when the space has no more unseen points.

    Raises:
        UsageError: the sampler cannot search this space at all; any other failure becomes a Sobol point.
    """
    cause = ""
    suggestions: list[Suggestion] = []
    try:
        suggestions = sampler.suggest(sweep, history, n)
    except UsageError:
        raise
    except Exception as error:  # a model must never end a sweep
        cause = f"{sampler.name} failed: {type(error).__name__}: {error}"
    return completed(sampler.name, sweep, history, n, suggestions, cause, stopper=stopper)


def completed(
    name: str,
    sweep: Sweep,
    history: History,
    n: int,
    suggestions: list[Suggestion],
    cause: str,
    *,
    stopper: Stopper | None = None,
) -> list[Suggestion]:
    """`n` good suggestions: those of a sampler that are points of the space and new, then Sobol points.

    Args:
        name: of the sampler, for the reasons.
        sweep: whose suggestions they are.
        history: what has been tried.
        n: how many are wanted.
        suggestions: what the sampler gave.
        cause: what went wrong with it, or empty; then missing ones mean that the space is used up.
        stopper: gives each trial its first budget.
    """
    seen = seen_points(sweep, history)
    first = history.next_number(sweep.lane)
    good: list[Suggestion] = []
    for place in range(n):
        number = first + place
        suggestion, wrong = None, cause
        if place < len(suggestions):
            suggestion, wrong = _checked(name, sweep, suggestions[place], seen)
        elif not cause:
            break
        if suggestion is None:
            LOG.warning("Trial %s gets a Sobol point: %s", number, wrong)
            suggestion = _fallback(sweep, number, seen, wrong)
        if suggestion is None:
            break
        seen.add(sweep.space.key(suggestion.point))
        if stopper is not None:
            suggestion = Suggestion(
                suggestion.point, suggestion.origin, suggestion.reason, suggestion.model, stopper.first_budget(number)
            )
        good.append(suggestion)
    return good


class Proposer:
    """A sampler in a child process of its own; one thread at a time may use it.

    Args:
        name: of the sampler.
        cpu_seconds: what one call may use before the child is killed.
        wall_seconds: how long one call may last before the child is killed.
        clock: seconds that only grow; for the limit on restarts.
        environment: the child's variables; default: this process's.
    """

    def __init__(
        self,
        name: str,
        *,
        cpu_seconds: float = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._cpu_seconds, self._wall_seconds, self._clock = cpu_seconds, wall_seconds, clock
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at: list[float] = []

    def __enter__(self) -> Proposer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def suggest(
        self, sweep: Sweep, history: History, n: int = 1, *, stopper: Stopper | None = None
    ) -> list[Suggestion]:
        """What the next `n` trials should try, in bounded time.

        Raises:
            UsageError: the sampler cannot search this space at all.
        """
        suggestions: list[Suggestion] = []
        cause = ""
        try:
            suggestions = self._ask(sweep, history, n)
        except _ChildFailed as failure:
            self._kill()
            cause = str(failure)
        return completed(self.name, sweep, history, n, suggestions, cause, stopper=stopper)

    def close(self) -> None:
        """Ends the child; a later call starts another."""
        self._kill()

    def _ask(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        child = self._running()
        request = {"sweep": sweep_to_table(sweep), "history": history_to_table(history), "n": n}
        cpu_before = _cpu_seconds(child.pid)
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        except OSError as error:
            raise _ChildFailed(f"the model's process is gone ({error.strerror})") from error
        answer = self._answer(child, self._wall_seconds, cpu_before + self._cpu_seconds)
        if "usage" in answer:
            raise UsageError(str(answer["usage"]), hint=answer.get("hint"))
        if "error" in answer:
            # The child caught it and lives on: no need for another one.
            return _as_fallback(self.name, sweep, history, n, str(answer["error"]))
        return [Suggestion(**suggestion) for suggestion in answer["suggestions"]]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._kill()
        now = self._clock()
        self._started_at = [at for at in self._started_at if now - at < RESTARTS_SECONDS]
        if len(self._started_at) > RESTARTS:
            raise _ChildFailed(f"the model's process died {len(self._started_at)} times within an hour")
        self._started_at.append(now)
        environment = {
            **(os.environ if self._environment is None else self._environment),
            **dict.fromkeys(_THREADS, "1"),
        }
        self._child = subprocess.Popen(
            [sys.executable, "-m", "dstui.search.model_child", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        ready = self._answer(self._child, START_SECONDS, None)
        if "usage" in ready:
            self._kill()
            raise UsageError(str(ready["usage"]), hint=ready.get("hint"))
        return self._child

    def _answer(self, child: subprocess.Popen[bytes], wall_seconds: float, cpu_until: float | None) -> dict[str, Any]:
        """One message of the child, within the limits."""
        assert child.stdout is not None
        descriptor, data = child.stdout.fileno(), b""
        until = time.monotonic() + wall_seconds
        while True:
            if time.monotonic() > until:
                raise _ChildFailed(f"the proposal took over {wall_seconds:g} s")
            if cpu_until is not None and _cpu_seconds(child.pid) > cpu_until:
                raise _ChildFailed(f"the proposal took over {self._cpu_seconds:g} CPU s")
            if not select.select([descriptor], [], [], CPU_LOOK_SECONDS)[0]:
                continue
            piece = os.read(descriptor, 1 << 16)
            data += piece
            if not piece or len(data) > MOST_ANSWER_BYTES:
                raise _ChildFailed(
                    f"the model's process ended with {child.wait(5) if not piece else 'too long an answer'}"
                )
            if data.endswith(b"\n"):
                try:
                    answer: dict[str, Any] = json.loads(data)
                except ValueError as error:
                    raise _ChildFailed("the model's process gave no readable answer") from error
                return answer

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # what was left to write has no reader any more


class _ChildFailed(Exception):
    """The child gave no answer; the message says why, for a reason."""


def _checked(name: str, sweep: Sweep, suggestion: Suggestion, seen: set[PointKey]) -> tuple[Suggestion | None, str]:
    """A suggestion with its point in the form of the space, or what is wrong with it."""
    point = sweep.space.try_point(getattr(suggestion, "point", None))
    if point is None:
        return None, f"{name} proposed a point outside of the space"
    if sweep.space.key(point) in seen:
        return None, f"{name} proposed a point that was tried before"
    if point == suggestion.point:
        return suggestion, ""
    return Suggestion(point, suggestion.origin, suggestion.reason, suggestion.model, suggestion.budget), ""


def _fallback(sweep: Sweep, number: int, seen: set[PointKey], cause: str) -> Suggestion | None:
    from dstui.search.encoding import Encoding
    from dstui.search.samplers.sobol import sobol_suggestion

    return sobol_suggestion(sweep, Encoding(sweep.space), seen, number, origin="fallback", why=sentence(cause)[:100])


def _as_fallback(name: str, sweep: Sweep, history: History, n: int, error: str) -> list[Suggestion]:
    return completed(name, sweep, history, n, [], f"{name} failed: {error}")


def _cpu_seconds(pid: int) -> float:
    """What a process has used so far; 0 for one that is gone."""
    try:
        # The name in the second field may hold spaces and brackets, so the fields are counted from its end.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
