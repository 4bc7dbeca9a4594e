"""The search for Python programs: `BayesianOptimizer(domain_bounds=..).minimize(objective)`, or a loop of one's own.

Nothing is written anywhere and no run is started: this is the same core that a sweep of runs uses, called directly.
"""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from dstui.errors import DstuiError, UsageError
from dstui.search.history import ABANDONED, COMPLETE, FAILED, PENDING, History, Trial, TrialKey, finite
from dstui.search.limits import Limits, Usage, hold_reason, limit_reached
from dstui.search.parameters import Value, show
from dstui.search.proposer import propose
from dstui.search.samplers import sampler_named
from dstui.search.samplers.auto import choose_sampler
from dstui.search.space import Space, show_point
from dstui.search.space_table import space_of
from dstui.search.sweep import DEFAULT_TRIALS, MAX_TRIALS, Start, Suggestion, Sweep
from dstui.search.workers import Objective, Params, Result, Workers, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOG = logging.getLogger("dstui.search")


class SearchFailed(DstuiError):
    """No trial succeeded; the last error of the objective is its cause.

    Attributes:
        trials: all trials, each with the reason why it failed.
    """

    def __init__(self, message: str, *, hint: str | None = None, trials: Sequence[Trial] = ()) -> None:
        super().__init__(message, hint=hint)
        self.trials = tuple(trials)


class Best(dict[str, Value]):
    """The params of the best trial, as a dict.

    Attributes:
        value: what the objective gave for them.
        trials: all trials, in the order they were proposed.
        reasons: per trial, why it was proposed.
        why_stopped: why the search ended.
    """

    def __init__(self, params: Params, value: float, trials: Sequence[Trial], why_stopped: str) -> None:
        super().__init__(params)
        self.value = value
        self.trials = list(trials)
        self.reasons = [trial.reason for trial in trials]
        self.why_stopped = why_stopped


class Asked(dict[str, Value]):
    """Params to try, as a dict that knows its trial.

    Attributes:
        key: of the trial; what `tell` goes by.
        reason: why these params.
        origin: what proposed them.
        predicted: (mean, deviation) that a model expects, or None.
    """

    def __init__(self, params: Params, key: TrialKey, suggestion: Suggestion) -> None:
        super().__init__(params)
        self.key = key
        self.reason = suggestion.reason
        self.origin = suggestion.origin
        model = suggestion.model or {}
        self.predicted = (model["mean"], model["sd"]) if "mean" in model else None


class BayesianOptimizer:
    """A search over a space; all that it knows is in `history`.

    Args:
        domain_bounds: per name a range `(low, high)`, `("log", low, high)`, a list of choices, a table, or one value;
            a range of two floats that spans two decades or more is searched on a log scale.
        sampler: `bayes`, `random`, `sobol`, `grid`, `genetic`, `tpe`, `gp`, one of a plugin, or `auto`.
        seed: the same seed and results give the same proposals.
        maximize: whether `ask` and `tell` look for the largest value; `minimize` refuses it.
        parallel: how many trials are to run at once, for the size of the design.
        starts: points to try early, from `recommend`.

    Raises:
        UsageError: the space or another argument makes no sense.
    """

    def __init__(
        self,
        domain_bounds: Mapping[str, Any] | Space,
        *,
        sampler: str = "bayes",
        seed: int = 0,
        maximize: bool = False,
        parallel: int = 1,
        starts: Sequence[Start] = (),
    ) -> None:
        self.space = space_of(domain_bounds)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"`seed` is {show(seed)}", hint="give a whole number")
        self.sampler, self.why_sampler = sampler, "asked for"
        self.sweep = Sweep(
            self.space, maximize=maximize, seed=seed, trials=MAX_TRIALS, parallel=parallel, starts=tuple(starts)
        )
        if sampler != "auto":
            sampler_named(sampler)
        self.history = History()
        self._last_error: BaseException | str | None = None

    @overload
    def ask(self) -> Asked: ...

    @overload
    def ask(self, n: int) -> list[Asked]: ...

    def ask(self, n: int | None = None) -> Asked | list[Asked]:
        """Params for the next trial, or a list for the next `n`; pending until they are told.

        Raises:
            UsageError: the space has no more unseen points.
        """
        wanted = 1 if n is None else n
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            raise UsageError(f"Asked for {show(n)} trials", hint="ask for 1 or more")
        asked = self._propose(wanted)
        if not asked:
            raise UsageError(
                f"All {len(self.history)} points of the space were tried", hint="use the best one, or widen the space"
            )
        return asked[0] if n is None else asked

    def tell(self, params: Mapping[str, Any], value: object, *, failure: str = "") -> Trial:
        """What came of a trial: its value, or None or NaN where it failed. Told once; a second time is an error.

        Args:
            params: what `ask` gave, or a point of the space from elsewhere.
            value: a number; None, NaN or infinity is a failed trial.
            failure: why it failed, where that is known: `oom`, `timeout`, `killed`, `failed`.

        Raises:
            UsageError: the params are not of the space, or were told before.
        """
        trial = self._trial_of(params)
        number = finite(value) if value is not None else None
        if failure or number is None:
            cause = failure or ("no-metric" if value is None else "non-finite")
            trial = replace(trial, outcome=FAILED, failure=cause)
        else:
            trial = replace(trial, outcome=COMPLETE, value=number)
        self.history = self.history.put(trial)
        return trial

    def forget(self, params: Mapping[str, Any]) -> None:
        """Takes back what was asked: the trial will not be told, and counts for nothing."""
        self.history = self.history.put(replace(self._trial_of(params), outcome=ABANDONED))

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value so far."""
        return self.history.best(maximize=self.sweep.maximize)

    def minimize(
        self,
        objective: Objective,
        max_evals: int = DEFAULT_TRIALS,
        *,
        parallel: int = 1,
        timeout_seconds: float | None = None,
        limits: Limits | None = None,
        devices: Sequence[str] = (),
    ) -> Best:
        """The params with the smallest value found in `max_evals` trials, those already told included in the model.

        Args:
            objective: called with a dict of params, or with one keyword argument per parameter where it has those.
            max_evals: trials of this call.
            parallel: processes at once; above 1 the objective must be importable, and each result is used at once.
            timeout_seconds: after which a trial is ended and counts as failed; needs `parallel` of 2 or more.
            limits: what ends the search earlier.
            devices: with `parallel`, values of CUDA_VISIBLE_DEVICES that are dealt out in turn.

        Raises:
            UsageError: an argument makes no sense, or the objective cannot be sent to another process.
            SearchFailed: the first trials all failed.
        """
        if self.sweep.maximize:
            raise UsageError(
                "`minimize` was called with maximize=True", hint="negate the objective, or use ask and tell"
            )
        if isinstance(max_evals, bool) or not isinstance(max_evals, int) or not 1 <= max_evals <= MAX_TRIALS:
            raise UsageError(f"`max_evals` is {show(max_evals)}", hint=f"give a whole number from 1 to {MAX_TRIALS}")
        if timeout_seconds is not None and parallel < 2:
            raise UsageError(
                "`timeout_seconds` needs another process, but `parallel` is 1", hint="use parallel=2 or more"
            )
        called = _adapted(objective, self.space)
        before = len(self.history)
        self.sweep = Sweep(
            self.space,
            seed=self.sweep.seed,
            trials=min(before + max_evals, MAX_TRIALS),
            parallel=parallel,
            starts=self.sweep.starts,
        )
        limits = limits or Limits()
        if parallel == 1:
            why_stopped = self._in_turn(called, limits)
        else:
            with Workers(called, parallel, timeout_seconds=timeout_seconds, devices=devices) as workers:
                why_stopped = self._at_once(workers, limits)
        best = self.best
        if best is None or best.value is None:
            raise self._failed(why_stopped)
        return Best(self.space.active(best.point), best.value, self.history.trials, why_stopped)

    def _in_turn(self, objective: Objective, limits: Limits) -> str:
        started = time.monotonic()
        while True:
            stop = self._why_stop(limits, time.monotonic() - started)
            asked = [] if stop else self._propose(1)
            if stop or not asked:
                return stop or _used_up(self.history)
            self._tell_result(asked[0], evaluate(objective, dict(asked[0])))

    def _at_once(self, workers: Workers, limits: Limits) -> str:
        started = time.monotonic()
        stop = ""
        while True:
            while workers.free and not stop:
                stop = self._why_stop(limits, time.monotonic() - started) or ""
                asked = [] if stop else self._propose(1)
                if not stop and not asked:
                    stop = _used_up(self.history)
                for one in asked:
                    workers.start(one, dict(one))
            if not workers.running:
                return stop
            for asked_one, result in workers.wait():
                self._tell_result(asked_one, result)

    def _why_stop(self, limits: Limits, seconds: float) -> str | None:
        held = hold_reason(self.history)
        if held:
            raise self._failed(held)
        return limit_reached(self.sweep, limits, self.history, Usage(wall_seconds=seconds))

    def _tell_result(self, asked: Asked, result: Result) -> None:
        self.tell(asked, result.value, failure=result.failure)
        if result.error is not None:
            self._last_error = result.error
            LOG.warning("Trial %s (%s) failed: %s", asked.key.number, show_point(asked), result.error)

    def _failed(self, why: str) -> SearchFailed:
        error = self._last_error
        shown = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
        failure = SearchFailed(
            why[0].upper() + why[1:] + (f"; the last error: {shown}" if shown else ""),
            hint=f"call the objective by hand with {show_point(self.history.trials[-1].point)}"
            if self.history.trials
            else None,
            trials=self.history.trials,
        )
        if isinstance(error, BaseException):
            failure.__cause__ = error
        return failure

    def _propose(self, n: int) -> list[Asked]:
        name = self.sampler
        if name == "auto":
            name, self.why_sampler = choose_sampler(self.sweep, self.history)
        suggestions = propose(sampler_named(name), self.sweep, self.history, n)
        asked = []
        for suggestion in suggestions:
            key = TrialKey(self.sweep.lane, self.history.next_number(self.sweep.lane))
            trial = Trial(key, suggestion.point, suggestion.origin, suggestion.reason, suggestion.model)
            self.history = self.history.put(trial)
            asked.append(Asked(self.space.active(suggestion.point), key, suggestion))
        return asked

    def _trial_of(self, params: Mapping[str, Any]) -> Trial:
        """The trial that is told: by key for what was asked, else the pending one at that point, else a new one."""
        point = self.space.point(params)
        key = params.key if isinstance(params, Asked) else None
        if key is None:
            same = [
                trial for trial in self.history.having(PENDING) if self.space.key(trial.point) == self.space.key(point)
            ]
            if not same:
                lane = self.sweep.lane
                return Trial(TrialKey(lane, self.history.next_number(lane)), point, "user", "told by the caller")
            key = same[0].key
        trial = self.history.find(key)
        if trial is None or self.space.key(trial.point) != self.space.key(point):
            raise UsageError(
                f"Trial {key} has other params than {show_point(point)}", hint="tell what `ask` gave, unchanged"
            )
        if trial.outcome != PENDING:
            raise UsageError(f"Trial {key} was told before ({trial.outcome})", hint="tell each trial once")
        return trial


class _ByKeywords:
    """Calls a function with one keyword argument per parameter; can be sent to another process."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__qualname__ = getattr(function, "__qualname__", repr(function))

    def __call__(self, params: Params) -> Any:
        return self.function(**params)


def _adapted(objective: Objective, space: Space) -> Objective:
    """The objective as a function of a dict."""
    if not callable(objective):
        raise UsageError(
            f"The objective is {show(objective)}, not a function", hint="give a function of a dict of params"
        )
    try:
        arguments = list(inspect.signature(objective).parameters.values())
    except (TypeError, ValueError):
        return objective
    names = {parameter.name for parameter in space.parameters}
    named = [one for one in arguments if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if named and all(one.name in names for one in named if one.default is one.empty) and named[0].name in names:
        takes_all = any(one.kind is one.VAR_KEYWORD for one in arguments) or names <= {one.name for one in named}
        if takes_all:
            return _ByKeywords(objective)
    return objective


def _used_up(history: History) -> str:
    return f"all {len(history)} points of the space were tried"
