"""Optuna's TPE and Gaussian process as samplers of ours, for those who want them. Needs `pip install dstui[optuna]`.

A study is built from the history at each call, so that here too the history is all the state there is.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from dstui.errors import UsageError
from dstui.search.encoding import Encoding
from dstui.search.evidence import gather
from dstui.search.parameters import Choice, Integer, Parameter, Real, Value
from dstui.search.reasons import plural
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.sobol import sobol_suggestion
from dstui.search.samplers.unseen import unseen_point
from dstui.search.space import Point, Space, holds
from dstui.search.streams import seed_of, stream
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dstui.search.history import History

TRIES = 8
"""Optuna may repeat a point; after so many tries a random unseen one takes its place."""


class _OptunaSampler:
    """What both have in common."""

    name: ClassVar[str]
    title: ClassVar[str]

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`.

        Raises:
            UsageError: Optuna is not installed.
        """
        optuna = _optuna(self.name)
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        evidence = gather(sweep, history)
        told = [(trial.point, value) for trial, value in zip(evidence.rows, evidence.losses, strict=True)]
        pending = [trial.point for trial in evidence.pending]
        first = history.next_number(sweep.lane)
        suggestions: list[Suggestion] = []
        for number in range(first, first + n):
            suggestion: Suggestion | None
            if len(history) + len(suggestions) < sweep.design_size or not encoding.width:
                suggestion = sobol_suggestion(sweep, encoding, seen, number)
            else:
                with warnings.catch_warnings():
                    # Some of their options are marked as experimental each time they are used.
                    warnings.simplefilter("ignore")
                    sampler = self._sampler(optuna, seed_of(sweep.seed, sweep.lane, number, self.name) % 2**32)
                suggestion = self._asked(optuna, sampler, sweep, told, pending, encoding, seen, number)
            if suggestion is None:
                break
            seen.add(sweep.space.key(suggestion.point))
            pending.append(suggestion.point)
            suggestions.append(suggestion)
        return suggestions

    def _asked(
        self,
        optuna: Any,
        sampler: Any,
        sweep: Sweep,
        told: list[tuple[Point, float]],
        pending: list[Point],
        encoding: Encoding,
        seen: set[Any],
        number: int,
    ) -> Suggestion | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=sampler)
            kinds = {parameter.name: _distribution(optuna, parameter) for parameter in sweep.space.searched}
            running = optuna.trial.TrialState.RUNNING
            for point, value in told:
                study.add_trial(optuna.trial.create_trial(value=value, **_stored(sweep.space, point, kinds)))
            for point in pending:
                study.add_trial(optuna.trial.create_trial(state=running, **_stored(sweep.space, point, kinds)))
            for _ in range(TRIES):
                point = _asked_point(sweep.space, study.ask())
                if sweep.space.key(point) not in seen:
                    return Suggestion(
                        point, "model", f"{self.title}, {plural(len(told), 'result')}", {"kind": self.name}
                    )
        unseen = unseen_point(encoding, seen, stream(sweep.seed, sweep.lane, number, self.name))
        if unseen is None:
            return None
        return Suggestion(unseen, "random", f"a random draw, as {self.title} repeated itself")

    def _sampler(self, optuna: Any, seed: int) -> Any:
        raise NotImplementedError


class TpeSampler(_OptunaSampler):
    """Optuna's tree-structured Parzen estimator."""

    name = "tpe"
    title = "Optuna's TPE"

    def _sampler(self, optuna: Any, seed: int) -> Any:
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=1
        )


class GpSampler(_OptunaSampler):
    """Optuna's Gaussian process."""

    name = "gp"
    title = "Optuna's Gaussian process"

    def _sampler(self, optuna: Any, seed: int) -> Any:
        if find_spec("torch") is None:
            raise UsageError(
                "Sampler `gp` needs PyTorch, which is not installed", hint="pip install 'dstui[optuna,torch]'"
            )
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)


def optuna_is_installed() -> bool:
    """Whether `tpe` can be used."""
    return find_spec("optuna") is not None


def _optuna(name: str) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"Sampler `{name}` needs Optuna, which is not installed", hint="pip install dstui[optuna]"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if isinstance(parameter, Real):
        return kinds.FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    if isinstance(parameter, Integer):
        last = parameter.value_at(parameter.count - 1)
        return kinds.IntDistribution(parameter.low, last, log=parameter.log, step=parameter.step)
    assert isinstance(parameter, Choice)
    if parameter.ordered:
        return kinds.IntDistribution(0, parameter.count - 1)
    return kinds.CategoricalDistribution(list(range(parameter.count)))


def _stored(space: Space, point: Point, kinds: Mapping[str, Any]) -> dict[str, Any]:
    params = {}
    for parameter in space.searched:
        value = point[parameter.name]
        if value is not None:
            params[parameter.name] = parameter.index_of(value) if isinstance(parameter, Choice) else value
    return {"params": params, "distributions": {name: kinds[name] for name in params}}


def _asked_point(space: Space, trial: Any) -> Point:
    found: Point = {}
    for parameter in space.parents_first:
        value: Value | None = None
        if holds(parameter, found):
            value = parameter.value_at(0) if parameter.count == 1 else _asked_value(parameter, trial)
        found[parameter.name] = value
    return space.point(found)


def _asked_value(parameter: Parameter, trial: Any) -> Value:
    name = parameter.name
    if isinstance(parameter, Real):
        return min(
            float(trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)),
            parameter.high,
        )
    if isinstance(parameter, Integer):
        last = parameter.value_at(parameter.count - 1)
        return int(trial.suggest_int(name, parameter.low, last, log=parameter.log, step=parameter.step))
    assert isinstance(parameter, Choice)
    if parameter.ordered:
        return parameter.value_at(int(trial.suggest_int(name, 0, parameter.count - 1)))
    return parameter.value_at(int(trial.suggest_categorical(name, list(range(parameter.count)))))
