"""The optimisers that are compared, behind one face: `ask(n)` gives tickets, `tell` takes a ticket's loss.

Optuna and scikit-optimize's own `Optimizer` run with their defaults. They are imported when they are used; Optuna is no
dependency of the project, so an environment for the comparison must have it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dstui.search.encoding import Encoding
from dstui.search.history import COMPLETE, History, Trial, TrialKey
from dstui.search.parameters import Choice, Integer, Parameter, Real
from dstui.search.samplers import sampler_named
from dstui.search.sweep import Sweep

if TYPE_CHECKING:
    from dstui.search.space import Space


@dataclass(frozen=True)
class Ticket:
    """What was asked for, and what the optimiser needs to know it again."""

    params: dict[str, Any]
    handle: Any


class Optimiser(Protocol):
    """What the benchmark asks of each."""

    def ask(self, n: int) -> list[Ticket]:
        """The next `n` points; those not told yet are pending."""

    def tell(self, ticket: Ticket, loss: float) -> None:
        """The loss of one."""

    def preload(self, known: list[tuple[dict[str, Any], float]]) -> None:
        """Results from elsewhere, before the first question."""


class Ours:
    """A sampler of dstui."""

    def __init__(self, space: Space, seed: int, parallel: int, sampler: str) -> None:
        self.sampler = sampler_named(sampler)
        self.sweep = Sweep(space, seed=seed, parallel=parallel)
        self.history = History()

    def ask(self, n: int) -> list[Ticket]:
        """See `Optimiser`."""
        tickets = []
        for suggestion in self.sampler.suggest(self.sweep, self.history, n):
            key = TrialKey("0", self.history.next_number("0"))
            trial = Trial(key, suggestion.point, suggestion.origin, suggestion.reason, suggestion.model)
            self.history = self.history.put(trial)
            tickets.append(Ticket(dict(suggestion.point), trial))
        return tickets

    def tell(self, ticket: Ticket, loss: float) -> None:
        """See `Optimiser`."""
        trial: Trial = ticket.handle
        told = Trial(trial.key, trial.point, trial.origin, trial.reason, trial.model, COMPLETE, loss)
        self.history = self.history.put(told)

    def preload(self, known: list[tuple[dict[str, Any], float]]) -> None:
        """See `Optimiser`."""
        trials = [
            Trial(TrialKey("0", number), dict(params), outcome=COMPLETE, value=loss)
            for number, (params, loss) in enumerate(known)
        ]
        self.history = History(tuple(trials))


class PlainRandom:
    """Independent uniform draws, duplicates and all."""

    def __init__(self, space: Space, seed: int, parallel: int) -> None:
        self.encoding, self.rng = Encoding(space), np.random.default_rng(seed + 999)

    def ask(self, n: int) -> list[Ticket]:
        """See `Optimiser`."""
        rows = self.encoding.snap(self.rng.random((n, self.encoding.width)))
        return [Ticket(dict(self.encoding.point(row)), None) for row in rows]

    def tell(self, ticket: Ticket, loss: float) -> None:
        """It learns nothing."""

    def preload(self, known: list[tuple[dict[str, Any], float]]) -> None:
        """It knows nothing."""


class Optuna:
    """A sampler of Optuna with its defaults."""

    def __init__(self, space: Space, seed: int, parallel: int, sampler: str) -> None:
        import optuna

        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        self.kinds = {parameter.name: self._kind(optuna.distributions, parameter) for parameter in space.searched}

    def _kind(self, kinds: Any, parameter: Parameter) -> Any:
        if isinstance(parameter, Choice):
            return kinds.CategoricalDistribution(parameter.values)
        if isinstance(parameter, Integer):
            return kinds.IntDistribution(parameter.low, parameter.high, log=parameter.log)
        assert isinstance(parameter, Real)
        return kinds.FloatDistribution(parameter.low, parameter.high, log=parameter.log)

    def ask(self, n: int) -> list[Ticket]:
        """See `Optimiser`."""
        asked = [self.study.ask(self.kinds) for _ in range(n)]
        return [Ticket(dict(trial.params), trial) for trial in asked]

    def tell(self, ticket: Ticket, loss: float) -> None:
        """See `Optimiser`."""
        self.study.tell(ticket.handle, loss)

    def preload(self, known: list[tuple[dict[str, Any], float]]) -> None:
        """See `Optimiser`."""
        from optuna.trial import create_trial

        for params, loss in known:
            self.study.add_trial(create_trial(params=params, distributions=self.kinds, value=loss))


class StockSkopt:
    """The `Optimizer` of scikit-optimize with its defaults; it takes the losses of a round together."""

    def __init__(self, space: Space, seed: int, parallel: int) -> None:
        from skopt import Optimizer
        from skopt.space import Categorical
        from skopt.space import Integer as Whole
        from skopt.space import Real as Float

        warnings.simplefilter("ignore")
        self.names, dimensions = [], []
        for parameter in space.searched:
            self.names.append(parameter.name)
            if isinstance(parameter, Choice):
                dimensions.append(Categorical(list(parameter.values)))
            else:
                assert isinstance(parameter, (Integer, Real))
                prior = "log-uniform" if parameter.log else "uniform"
                kind = Whole if isinstance(parameter, Integer) else Float
                dimensions.append(kind(parameter.low, parameter.high, prior=prior))
        self.optimizer = Optimizer(dimensions, random_state=seed)
        self.open: list[Any] = []
        self.told: list[tuple[Any, float]] = []

    def ask(self, n: int) -> list[Ticket]:
        """See `Optimiser`."""
        self.open = [self.optimizer.ask()] if n == 1 else self.optimizer.ask(n_points=n, strategy="cl_min")
        return [Ticket(dict(zip(self.names, self._plain(x), strict=True)), x) for x in self.open]

    def tell(self, ticket: Ticket, loss: float) -> None:
        """See `Optimiser`."""
        self.told.append((ticket.handle, loss))
        if len(self.told) == len(self.open):
            self.optimizer.tell([x for x, _ in self.told], [value for _, value in self.told])
            self.told = []

    def preload(self, known: list[tuple[dict[str, Any], float]]) -> None:
        """See `Optimiser`."""
        rows = [[params[name] for name in self.names] for params, _ in known]
        self.optimizer.tell(rows, [loss for _, loss in known])

    def _plain(self, x: list[Any]) -> list[Any]:
        return [value.item() if hasattr(value, "item") else value for value in x]


def optimiser(name: str, space: Space, seed: int, parallel: int) -> Optimiser:
    """A fresh optimiser of that name.

    Raises:
        KeyError: there is none.
    """
    if name.startswith("ours"):
        return Ours(space, seed, parallel, name.partition(":")[2] or "bayes")
    if name == "random":
        return PlainRandom(space, seed, parallel)
    if name == "skopt_default":
        return StockSkopt(space, seed, parallel)
    return Optuna(space, seed, parallel, {"optuna_tpe": "TPESampler", "optuna_gp": "GPSampler"}[name])
