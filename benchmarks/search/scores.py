"""What the results of `benchmarks.search.run` say, as tables: `python -m benchmarks.search.scores RESULTS..`.

Score: 0 is a median random draw, 100 the best value known. Random-search equivalent (RSE): the number of random draws
whose exact expected best equals the mean best, over the budget; `>=` where the pool of draws ends before that.
Intervals are 95 % of a bootstrap over seeds; the second one of a score draws the tasks anew as well.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.search.tasks import Floats, Task, tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOOTSTRAPS = 2000
BUDGETS = {"seq": 50, "rounds": 128, "async": 50, "async400": 400}
"""Evaluations of each way of running."""


Pair = tuple[Task, Floats]


@dataclass(frozen=True)
class Figure:
    """A number with its interval; `capped` where it is a lower limit."""

    value: float
    low: float
    high: float
    capped: bool = False

    def __str__(self) -> str:
        return f"{'>= ' if self.capped else ''}{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def load(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All results, the first of each optimiser, task, mode and seed."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            result = json.loads(line)
            result["mode"] = {"par": "rounds"}.get(result["mode"], result["mode"])
            found.setdefault((result["opt"], result["task"], result["mode"], result["seed"]), result)
    return list(found.values())


def expected_best(pool: Floats, draws: int) -> float:
    """The exact expected least of so many draws without replacement from a sorted pool."""
    from scipy.special import gammaln

    total = len(pool)
    places = np.arange(total - draws + 1)
    # The draw at that place is the least one: the others come from behind it.
    behind = total - 1 - places
    log_ways = gammaln(behind + 1) - gammaln(draws) - gammaln(behind - draws + 2)
    log_all = gammaln(total + 1) - gammaln(draws + 1) - gammaln(total - draws + 1)
    return float(np.exp(log_ways - log_all) @ pool[: total - draws + 1])


def draws_for(task: Task, value: float) -> tuple[int, bool]:
    """How many random draws have an expected best of `value`, and whether the pool is too small to say."""
    pool = task.pool()
    low, high = 1, len(pool)
    if value < expected_best(pool, high):
        return high, True
    while low < high:
        middle = (low + high) // 2
        if expected_best(pool, middle) <= value:
            high = middle
        else:
            low = middle + 1
    return low, False


def score_of(task: Task, best: Floats) -> Floats:
    """Scores of best values, one per seed."""
    regret = (best - task.best) / (task.middle - task.best)
    return 100.0 * (1.0 - np.clip(regret, 0.0, 1.0))


class Table:
    """The best values of one optimiser in one mode, per task and seed."""

    def __init__(self, results: Iterable[dict[str, Any]], budget: int) -> None:
        known = tasks()
        self.budget = budget
        self.best: dict[Task, Floats] = {}
        by_task: dict[str, list[float]] = {}
        cpu: list[float] = []
        late: list[float] = []
        self.short = self.duplicates = 0
        for result in results:
            if len(result["ys"]) < budget:
                self.short += 1
                continue
            by_task.setdefault(result["task"], []).append(min(result["ys"][:budget]))
            cpu.append(sum(result["lat"]) / len(result["ys"]))
            late.append(float(np.mean(result["lat"][-10:])) * len(result["lat"]) / len(result["ys"]))
            self.duplicates += result["dup"]
        self.cpu_seconds = float(np.mean(cpu)) if cpu else float("nan")
        self.late_cpu_seconds = float(np.mean(late)) if late else float("nan")
        for name, values in by_task.items():
            self.best[known[name]] = np.array(values)

    def score(self, *, of_tasks: bool = False) -> Figure:
        """The mean score over tasks."""
        pairs = [(task, score_of(task, best)) for task, best in self.best.items()]
        return _with_interval(lambda drawn: float(np.mean([scores.mean() for _, scores in drawn])), pairs, of_tasks)

    def equivalents(self, *, real_only: bool = False) -> Figure:
        """The geometric mean of the random-search equivalents over tasks."""
        pairs = [(task, best) for task, best in self.best.items() if task.real or not real_only]

        def geometric(drawn: list[Pair]) -> float:
            draws = [draws_for(task, float(best.mean()))[0] / self.budget for task, best in drawn]
            return float(np.exp(np.mean(np.log(draws))))

        figure = _with_interval(geometric, pairs, of_tasks=False, number=400)
        return replace(figure, capped=any(draws_for(task, float(best.mean()))[1] for task, best in pairs))

    def equivalent_of(self, task: Task) -> str:
        """The random-search equivalent on one task."""
        draws, capped = draws_for(task, float(self.best[task].mean()))
        return f"{'>= ' if capped else ''}{draws / self.budget:.1f}"


def _with_interval(
    statistic: Callable[[list[Pair]], float], pairs: list[Pair], of_tasks: bool, number: int = BOOTSTRAPS
) -> Figure:
    """A statistic of values per task, with the interval of its bootstrap over seeds, and over tasks if asked."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(number):
        chosen = rng.integers(len(pairs), size=len(pairs)) if of_tasks else range(len(pairs))
        drawn = [pairs[place] for place in chosen]
        samples.append(statistic([(task, rng.choice(values, len(values))) for task, values in drawn]))
    low, high = np.quantile(samples, [0.025, 0.975])
    return Figure(statistic(pairs), float(low), float(high))


def main() -> None:
    """Prints a table per mode that the given files have results of."""
    results = load(map(Path, sys.argv[1:]))
    for mode, budget in BUDGETS.items():
        names = sorted({result["opt"] for result in results if result["mode"] == mode})
        if names:
            print_mode(mode, budget, names, [result for result in results if result["mode"] == mode])


def print_mode(mode: str, budget: int, names: list[str], results: list[dict[str, Any]]) -> None:
    """The tables of one mode: scores, then random-search equivalents."""
    all_tasks = list(tasks().values())
    exact = [score_of(task, np.array([expected_best(task.pool(), budget)]))[0] for task in all_tasks]
    print(f"\n## {mode}: {budget} evaluations (random search, exact expectation: {np.mean(exact):.2f})\n")
    print("| optimiser | seeds | score [seeds] | [seeds and tasks] | CPU ms each, mean / last | duplicates | short |")
    print("|---|---|---|---|---|---|---|")
    made = {name: Table([result for result in results if result["opt"] == name], budget) for name in names}
    complete = {name: table for name, table in made.items() if table.best}
    for name, table in sorted(complete.items(), key=lambda item: -item[1].score().value):
        seeds = sorted(len(best) for best in table.best.values())
        shown = name if len(table.best) == len(all_tasks) else f"{name} ({len(table.best)} of {len(all_tasks)} tasks)"
        score, wide = table.score(), table.score(of_tasks=True)
        print(
            f"| {shown} | {seeds[0]}-{seeds[-1]} | {score.value:.2f} [{score.low:.2f}, {score.high:.2f}] "
            f"| [{wide.low:.2f}, {wide.high:.2f}] | {1e3 * table.cpu_seconds:.0f} / {1e3 * table.late_cpu_seconds:.0f} "
            f"| {table.duplicates} | {table.short} |"
        )
    print("\n| random-search equivalent | all, geometric mean | real tasks alone |", end="")
    print("".join(f" {task.name} |" for task in all_tasks))
    print("|---|" + "---|" * (2 + len(all_tasks)))
    for name, table in complete.items():
        each = [table.equivalent_of(task) if task in table.best else "" for task in all_tasks]
        print(f"| {name} | {table.equivalents()} | {table.equivalents(real_only=True)} | {' | '.join(each)} |")


if __name__ == "__main__":
    main()
