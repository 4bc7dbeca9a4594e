"""A sampler that fails, hangs, repeats itself or dies costs a sweep one Sobol point, with the cause in its reason."""

from __future__ import annotations

import logging
import os
import signal
import textwrap
from typing import TYPE_CHECKING

import pytest

from dstui.errors import UsageError
from dstui.search.history import COMPLETE, History, Trial, TrialKey
from dstui.search.proposer import RESTARTS, Proposer, propose
from dstui.search.reasons import LONGEST
from dstui.search.samplers import sampler_named
from dstui.search.samplers.bayes import BayesSampler
from dstui.search.space_table import space_of
from dstui.search.stoppers import stopper_of
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = Sweep(space_of({"x": (0.0, 1.0), "act": ["relu", "tanh"]}), seed=4)


class Broken:
    name = "broken"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        raise ZeroDivisionError("no such luck")


class Repeating:
    name = "repeating"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        return [Suggestion({"x": 0.5, "act": "relu"}, "model", "again")] * n


class Straying:
    name = "straying"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        return [Suggestion({"x": 7.0, "act": "relu"}, "model", "outside")] * n


PLUGIN = """
import os, sys
NUMBER = 5
class Odd:
    name = "odd"
    def suggest(self, sweep, history, n):
        what = os.environ["ODD_DOES"]
        if what == "hang":
            import threading
            threading.Event().wait()
        if what == "spin":
            while True:
                pass
        if what == "die":
            os._exit(3)
        if what == "print":
            print("hello"); sys.stdout.flush()
        if what == "raise":
            raise RuntimeError("the fit failed")
        from dstui.search.sweep import Suggestion
        return [Suggestion({"x": 0.25, "act": "relu"}, "model", "odd")] + [
            Suggestion({"x": 0.5, "act": "relu"}, "model", "odd")] * (n - 1)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has a package with the sampler `odd`."""
    (tmp_path / "oddities.py").write_text(textwrap.dedent(PLUGIN))
    info = tmp_path / "oddities-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oddities\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[dstui.samplers]\nodd = oddities:Odd\nwrong = oddities:Missing\nnone = oddities:NUMBER\n"
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def test_a_failure_becomes_a_sobol_point_with_the_cause_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dstui.search"):
        first, second = propose(Broken(), SWEEP, History(), 2)
    assert first.origin == second.origin == "fallback"
    assert first.reason.startswith("broken failed: ZeroDivisionError: no such luck; point 1 of an even spread")
    assert len(first.reason) <= LONGEST
    assert first.point == sampler_named("sobol").suggest(SWEEP, History(), 1)[0].point
    assert "Trial 0 gets a Sobol point: broken failed: ZeroDivisionError" in caplog.text


def test_a_repeated_point_is_replaced_and_a_new_one_is_not() -> None:
    first, second = propose(Repeating(), SWEEP, History(), 2)
    assert first.origin == "model"
    assert second.origin == "fallback"
    assert "tried before" in second.reason


def test_a_point_outside_of_the_space_is_replaced() -> None:
    assert "outside of the space" in propose(Straying(), SWEEP, History(), 1)[0].reason


def test_a_sampler_that_cannot_search_the_space_says_so() -> None:
    with pytest.raises(UsageError, match="A grid needs finite parameters"):
        propose(sampler_named("grid"), SWEEP, History(), 1)
    with Proposer("grid") as proposer, pytest.raises(UsageError, match="A grid needs finite parameters"):
        proposer.suggest(SWEEP, History())


def test_each_proposal_gets_the_budget_of_its_bracket() -> None:
    stopper = stopper_of({"rule": "hyperband", "max": 9})
    budgets = [one.budget for one in propose(sampler_named("random"), SWEEP, History(), 17, stopper=stopper)]
    assert budgets == [1.0] * 9 + [3.0] * 5 + [9.0] * 3


def test_a_child_proposes_what_this_process_would() -> None:
    history = History()
    for number, suggestion in enumerate(sampler_named("sobol").suggest(SWEEP, history, 12)):
        x = suggestion.point["x"]
        assert isinstance(x, float)
        history = history.put(Trial(TrialKey("0", number), suggestion.point, outcome=COMPLETE, value=(x - 0.3) ** 2))
    with Proposer("bayes", wall_seconds=100, cpu_seconds=100) as proposer:
        assert proposer.suggest(SWEEP, history, 3) == BayesSampler().suggest(SWEEP, history, 3)


@pytest.mark.parametrize(
    ("does", "limits", "cause"),
    [
        ("hang", {"wall_seconds": 0.3}, "the proposal took over 0.3 s"),
        ("spin", {"cpu_seconds": 0.2, "wall_seconds": 60.0}, "the proposal took over 0.2 CPU s"),
        ("die", {}, "the model's process ended with 3"),
        ("raise", {}, "odd failed: RuntimeError: the fit failed"),
    ],
)
def test_a_child_that_gives_no_answer_costs_one_sobol_point(
    plugin: dict[str, str], does: str, limits: dict[str, float], cause: str
) -> None:
    with Proposer("odd", environment={**plugin, "ODD_DOES": does}, **limits) as proposer:  # type: ignore[arg-type]
        suggestion = proposer.suggest(SWEEP, History())[0]
        assert suggestion.origin == "fallback"
        assert suggestion.reason.startswith(cause)


def test_what_a_library_prints_does_not_get_between_the_answers(plugin: dict[str, str]) -> None:
    with Proposer("odd", environment={**plugin, "ODD_DOES": "print"}) as proposer:
        assert proposer.suggest(SWEEP, History())[0].reason == "odd"
        assert proposer.suggest(SWEEP, History(), 2)[1].origin == "model"


def test_a_child_that_keeps_dying_is_not_started_for_ever(plugin: dict[str, str]) -> None:
    now = [0.0]
    with Proposer("odd", environment={**plugin, "ODD_DOES": "die"}, clock=lambda: now[0]) as proposer:
        reasons = [proposer.suggest(SWEEP, History())[0].reason for _ in range(RESTARTS + 2)]
        assert all("ended with 3" in reason for reason in reasons[:-1])
        assert reasons[-1].startswith("the model's process died 4 times within an hour")
        now[0] = 3601.0
        assert "ended with 3" in proposer.suggest(SWEEP, History())[0].reason


def test_a_killed_child_is_started_again() -> None:
    with Proposer("random") as proposer:
        first = proposer.suggest(SWEEP, History())
        assert proposer._child is not None
        os.kill(proposer._child.pid, signal.SIGKILL)
        proposer._child.wait()
        assert proposer.suggest(SWEEP, History()) == first


def test_a_plugin_that_cannot_be_loaded_says_why(plugin: dict[str, str]) -> None:
    for name, what in (("wrong", "AttributeError"), ("none", "TypeError"), ("absent", "no sampler `absent`")):
        with Proposer(name, environment=plugin) as proposer, pytest.raises(UsageError) as caught:
            proposer.suggest(SWEEP, History())
        assert what in caught.value.message
        assert caught.value.hint
