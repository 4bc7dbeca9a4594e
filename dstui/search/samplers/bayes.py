"""Bayesian optimisation: a Gaussian process over the results so far, and the point where it promises most.

Made for a history that grows one result at a time while others are pending: a pending trial counts as if it had come
out as expected, so the next proposal goes elsewhere, and nothing ever waits for a round to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from dstui.search.acquisition import (
    NOISY,
    candidates,
    confidence_bound,
    log_expected_improvement,
)
from dstui.search.encoding import Encoding, Floats
from dstui.search.evidence import Evidence, gather
from dstui.search.reasons import number as figure
from dstui.search.reasons import plural, sentence, with_deviation
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.sobol import sobol_suggestion
from dstui.search.samplers.unseen import unseen_point
from dstui.search.streams import stream
from dstui.search.surrogate import Posterior, Warp, fit, one_thread
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from dstui.search.history import History, TrialKey
    from dstui.search.space import PointKey

BOUND_EVERY = 3
"""With trials pending, each third proposal is by confidence bound, which spreads a batch."""

AFRESH_EVERY = 4
"""In each fourth trial the fit also starts from the prior, so that it can leave a poor optimum."""


class BayesSampler:
    """The default sampler; its design is Sobol points, then a model proposes."""

    name = "bayes"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`."""
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        first = history.next_number(sweep.lane)
        suggestions: list[Suggestion] = []
        model: _Model | None = None
        for number in range(first, first + n):
            if number < sweep.design_size or len(history) + len(suggestions) < sweep.design_size:
                suggestion = _of_design(sweep, encoding, seen, number)
            else:
                if model is None:
                    model = _Model.of(sweep, history, encoding, number)
                    for earlier in suggestions:
                        model.believe(encoding.locate([earlier.point]))
                suggestion = model.suggest(seen, number)
            if suggestion is None:
                break
            seen.add(sweep.space.key(suggestion.point))
            suggestions.append(suggestion)
        return suggestions


def _of_design(sweep: Sweep, encoding: Encoding, seen: set[PointKey], number: int) -> Suggestion | None:
    """A Sobol point, or in the design's last places a point that an earlier sweep recommends."""
    place = number - (sweep.design_size - len(sweep.starts))
    if 0 <= place < len(sweep.starts) and number < sweep.design_size:
        start = sweep.starts[place]
        if sweep.space.key(start.point) not in seen:
            return Suggestion(start.point, "history", sentence(start.evidence))
    return sobol_suggestion(sweep, encoding, seen, number)


@dataclass
class _Model:
    """One fit and what was proposed from it."""

    sweep: Sweep
    encoding: Encoding
    evidence: Evidence
    warp: Warp | None
    posterior: Posterior | None
    snapped: Floats
    """S of all rows and pending points, best rows first."""
    keys: list[TrialKey | None]
    """Whose they are; None for a suggestion of this call."""

    @classmethod
    def of(cls, sweep: Sweep, history: History, encoding: Encoding, number: int) -> _Model:
        evidence = gather(sweep, history)
        order = sorted(range(len(evidence.losses)), key=lambda row: evidence.losses[row])
        ranked = [evidence.rows[row] for row in order] + evidence.pending
        snapped = encoding.snap(encoding.locate([trial.point for trial in ranked]))
        keys: list[TrialKey | None] = [trial.key for trial in ranked]
        if evidence.results < 2 or not encoding.width:
            return cls(sweep, encoding, evidence, None, None, snapped, keys)
        losses = np.array([evidence.losses[row] for row in order])
        warp = Warp.of(losses)
        told = len(order)
        posterior = fit(
            encoding.encode(snapped[:told]),
            warp.apply(losses),
            last=_last_theta(history, encoding.model_width + 2),
            afresh=number % AFRESH_EVERY == 0,
        )
        with one_thread():
            posterior = posterior.believing(encoding.encode(snapped[told:]))
        return cls(sweep, encoding, evidence, warp, posterior, snapped, keys)

    def believe(self, snapped: Floats) -> None:
        """Takes a point of this call into account."""
        if self.posterior is not None:
            self.posterior = self.posterior.believing(self.encoding.encode(snapped))
        self.snapped = np.concatenate([self.snapped, snapped])
        self.keys.append(None)

    def suggest(self, seen: set[PointKey], number: int) -> Suggestion | None:
        """The most promising unseen point, which is believed at once; None when all were seen."""
        sweep, encoding = self.sweep, self.encoding
        if self.posterior is None or self.warp is None:
            why = f"{plural(self.evidence.results, 'result')} so far, too few for a model" if encoding.width else ""
            return sobol_suggestion(sweep, encoding, seen, number, why=why)
        rng = stream(sweep.seed, sweep.lane, number, "candidates")
        kappa = 0.5 + float(stream(sweep.seed, sweep.lane, number, "kappa").exponential())
        by_bound = bool(self.evidence.pending or None in self.keys) and number % BOUND_EVERY == 0
        posterior = self.posterior
        least = self._least(posterior)
        score: Callable[[Floats], Floats]
        if by_bound:
            name = "LCB"

            def score(rows: Floats) -> Floats:
                return confidence_bound(*posterior.predict(encoding.encode(rows)), kappa)
        else:
            name = "logEI"

            def score(rows: Floats) -> Floats:
                return log_expected_improvement(*posterior.predict(encoding.encode(rows)), least)

        with one_thread():
            rows, _ = candidates(encoding, self.snapped, rng, score)
            for row in rows:
                point = encoding.point(row)
                if sweep.space.key(point) not in seen:
                    break
            else:
                unseen = unseen_point(encoding, seen, rng)
                if unseen is None:
                    return None
                point = unseen
            row = encoding.snap(encoding.locate([point]))
            suggestion = Suggestion(point, "model", *self._explain(posterior, row, name))
            self.believe(row)
        return suggestion

    def _least(self, posterior: Posterior) -> float:
        """The value to improve upon: of a noisy objective the least expected one, else the least seen."""
        if posterior.noise > NOISY:
            return float(posterior.mean(posterior.encoded).min())
        return float(posterior.z.min())

    def _explain(self, posterior: Posterior, row: Floats, name: str) -> tuple[str, dict[str, Any]]:
        """The reason for a proposal, and what is stored with it."""
        assert self.warp is not None
        sign = -1.0 if self.sweep.maximize else 1.0
        m, s = (float(values[0]) for values in posterior.predict(self.encoding.encode(row)))
        # Beyond the values seen the way back from z is a guess, and may be an enormous one.
        z = np.clip([m - s, m, m + s], posterior.z.min() - 1.0, posterior.z.max())
        low, middle, high = (float(value) for value in self.warp.undo(z))
        mean, deviation = sign * middle, (high - low) / 2
        best = self.evidence.best
        theta = [round(float(value), 6) for value in posterior.theta]
        model: dict[str, Any] = {
            "kind": "gp",
            "acq": name,
            "n": self.evidence.results,
            "theta": theta,
            "mean": float(f"{mean:.6g}"),
            "sd": float(f"{deviation:.6g}"),
        }
        if self.evidence.rung is not None:
            model["rung"] = self.evidence.rung
        best_value = min(self.evidence.losses) * sign
        parts = [
            f"expects {with_deviation(model['mean'], model['sd'])} "
            f"(best so far {figure(best_value)}, {plural(self.evidence.results, 'result')})"
            if best
            else f"expects {with_deviation(model['mean'], model['sd'])}"
        ]
        near = self._nearest(row)
        if near:
            parts.append(near)
        parts.append(name)
        return sentence("; ".join(parts)), model

    def _nearest(self, row: Floats) -> str:
        """`0.21 from trial 9 in lr`: the trial next to a point, and the parameter in which they differ most."""
        told = [place for place, key in enumerate(self.keys) if key is not None]
        if not told:
            return ""
        encoded = self.encoding.encode(np.concatenate([row, self.snapped[told]]))
        apart = encoded[1:] - encoded[0]
        distance = np.sqrt((apart**2).sum(axis=1))
        nearest = int(distance.argmin())
        by_parameter = np.zeros(self.encoding.width)
        np.add.at(by_parameter, self.encoding.owners, apart[nearest] ** 2)
        widest = self.encoding.parameters[int(by_parameter.argmax())]
        key = self.keys[told[nearest]]
        assert key is not None
        shown = str(key.number) if key.lane == self.sweep.lane else str(key)
        return f"{figure(float(f'{distance[nearest]:.2g}'))} from trial {shown}, most in {widest.name}"


def _last_theta(history: History, length: int) -> list[float] | None:
    """The theta that the newest trial with one was proposed by, if it fits this space."""
    for trial in sorted(history.trials, key=lambda trial: (trial.key.number, trial.key.lane), reverse=True):
        theta = trial.model.get("theta") if trial.model else None
        if (
            isinstance(theta, (list, tuple))
            and len(theta) == length
            and all(isinstance(value, (int, float)) and isfinite(value) and abs(value) < 50 for value in theta)
        ):
            return [float(value) for value in theta]
    return None
