"""CPU of one proposal against the length of the history: `python -m benchmarks.search.latency NAME.. [MOST]`.

One result is told and one point asked, or eight, with some trials told before. The optimisers take turns at each size,
so that a busy moment of the machine hits all of them alike. Names are those of `run.py`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks.search.optimisers import optimiser
from dstui.search.encoding import Encoding
from dstui.search.parameters import Real
from dstui.search.space import Space

SIZES = ((3, 20), (6, 45), (6, 100), (12, 400))
"""(parameters, trials told before)."""
REPEATS = 3


def bowl(params: dict[str, Any]) -> float:
    return float(sum((place + 1) * (value - 0.3) ** 2 for place, value in enumerate(params.values())))


def seconds(name: str, width: int, told: int, n: int, seed: int) -> float:
    """CPU of telling one result and asking for `n`, after `told` results."""
    space = Space(tuple(Real(name=f"x{place}", low=0.0, high=1.0) for place in range(width)))
    made = optimiser(name, space, seed, n)
    encoding, rng = Encoding(space), np.random.default_rng(seed)
    points = [dict(encoding.point(row)) for row in rng.random((told, width))]
    made.preload([(point, bowl(point) + 0.01 * rng.standard_normal()) for point in points])
    ticket = made.ask(1)[0]
    started = time.process_time()
    made.tell(ticket, bowl(ticket.params))
    made.ask(n)
    return time.process_time() - started


def main() -> None:
    """Prints one line of JSON per size."""
    names = [word for word in sys.argv[1:] if not word.isdigit()] or ["ours"]
    most = max((int(word) for word in sys.argv[1:] if word.isdigit()), default=400)
    for width, told in SIZES:
        if told > most:
            continue
        line: dict[str, object] = {"parameters": width, "told": told}
        for n in (1, 8):
            samples: dict[str, list[float]] = {name: [] for name in names}
            for seed in range(REPEATS):
                for name in names:
                    samples[name].append(seconds(name, width, told, n, seed))
            for name, values in samples.items():
                line[f"{name}_ask{n}_cpu_ms"] = round(1000 * statistics.median(values), 1)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
