"""Histories that nobody would write: no sampler breaks, repeats a point or answers twice differently."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from dstui.search.encoding import Encoding
from dstui.search.history import OUTCOMES, History, Logged, Proposed, Told, TrialKey
from dstui.search.proposer import completed, propose
from dstui.search.reasons import LONGEST
from dstui.search.samplers import sampler_named
from dstui.search.space_table import space_of
from dstui.search.streams import stream
from dstui.search.sweep import Sweep

if TYPE_CHECKING:
    from dstui.search.space import Space

SMALL, LARGE = 20, 1000
SAMPLERS = ("bayes", "bayes", "bayes", "genetic", "random", "sobol", "bohb")
"""Bayes has most code and gets most of the histories."""

STRANGE = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, 0.0, -0.0, 5, True, 10**400, "0.5", None)
TABLES: tuple[dict[str, Any], ...] = (
    {"x": (0.0, 1.0)},
    {"lr": (1e-5, 1e-1), "n": (1, 4), "act": ["relu", "tanh", "gelu"], "drop": {"low": 0.0, "high": 0.5, "step": 0.1}},
    {"n": (1, 5)},
    {"a": [1, 2], "b": [True, False], "c": ["x", "y"]},
    {"opt": ["sgd", "adam"], "m": {"low": 0.0, "high": 0.99, "when": {"opt": "sgd"}}, "w": ("log", 16, 256)},
    {"opt": ["sgd", "adam"], "k": {"values": [1, 2, 3], "when": {"opt": "sgd"}}, "f": "fixed"},
    {"tiny": (1.0, 1.0 + 1e-9), "huge": (-1e299, 1e299)},
    {f"x{place}": (0.0, 1.0) for place in range(12)},
    {"f": 3},
)


def fuzzed_events(space: Space, chance: random.Random) -> list[object]:
    """Up to 60 trials of which some are outside of the space, equal, failed, silent or contradictory."""
    encoding = Encoding(space)
    rng = stream(chance.randrange(2**32), "", 0, "fuzz")
    events: list[object] = []
    for number in range(chance.choice((0, 1, 3, 12, 25, 60))):
        key = TrialKey(chance.choice(("0", "0", "0", "bob")), number if chance.random() < 0.9 else chance.randrange(5))
        params: dict[str, Any] = dict(encoding.point(encoding.snap(rng.random((1, encoding.width)))[0]))
        if chance.random() < 0.1:
            params[chance.choice((*params, "unknown"))] = chance.choice(STRANGE)
        theta = [chance.gauss(0, 3) for _ in range(encoding.model_width + 2)]
        model = chance.choice((None, None, {"theta": theta}, {"theta": [math.nan]}, {"theta": "x"}, {}))
        events.append(Proposed(key, params, "model", "fuzzed", model))
        steps = range(chance.choice((0, 0, 3)))
        events += [Logged(key, chance.choice((step, 2.5, math.nan)), chance.gauss(0, 1)) for step in steps]
        if chance.random() < 0.85:
            value: Any = chance.choice((chance.gauss(0, 1), chance.gauss(0, 1) * 1e6, 1.0, chance.choice(STRANGE)))
            events.append(Told(key, chance.choice((*OUTCOMES, "complete", "complete", "odd")), value, "oom"))
    if chance.random() < 0.3:
        events += chance.sample(events, len(events) // 2)
    events += chance.choice(([], [None, 3, "text"]))
    return events


def examine(seed: int) -> None:
    """One fuzzed history, all promises."""
    chance = random.Random(seed)
    space = space_of(chance.choice(TABLES))
    events = fuzzed_events(space, chance)
    history = History.fold(space, events)
    chance.shuffle(events)
    assert History.fold(space, events) == history
    rungs = chance.choice(((), (), (1.0, 2.0)))
    sweep = Sweep(space, chance.random() < 0.5, seed, parallel=chance.choice((1, 8)), rungs=rungs)
    name = chance.choice(SAMPLERS)
    n = chance.choice((1, 1, 8))
    # Called bare: an exception must not hide behind the Sobol point that `propose` would put in its place.
    suggestions = sampler_named(name).suggest(sweep, history, n)
    seen = {space.key(trial.point) for trial in history.trials if trial.outcome != "abandoned"}
    for suggestion in suggestions:
        assert space.point(suggestion.point) == suggestion.point
        assert space.key(suggestion.point) not in seen, f"{name} proposed {suggestion.point} again"
        seen.add(space.key(suggestion.point))
        assert 0 < len(suggestion.reason) <= LONGEST
    if len(suggestions) < n and (size := space.size(10_000)) is not None:
        assert len(seen) == size, f"{name} stopped with {size - len(seen)} unseen points left"
    elif len(suggestions) < n:
        assert space["tiny"] or len(seen) > 1000
    again = History.fold(space, events)
    if seed % 2:
        assert sampler_named(name).suggest(sweep, again, n) == suggestions
    else:
        assert propose(sampler_named(name), sweep, again, n) == completed(name, sweep, history, n, suggestions, "")


@pytest.mark.slow
def test_fuzzed_histories_break_no_sampler() -> None:
    for seed in range(SMALL):
        examine(seed)


@pytest.mark.soak
def test_a_thousand_fuzzed_histories_break_no_sampler() -> None:
    for seed in range(10_000, 10_000 + LARGE):
        examine(seed)
