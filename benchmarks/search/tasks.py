"""What is searched: four tuning problems on scikit-learn's bundled data, and two standard test functions.

Small on purpose, and not the only ones that matter: nothing may be tuned to a list of tasks. All losses are minimised.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dstui.search.encoding import Encoding
from dstui.search.parameters import Choice, Integer, Parameter, Real
from dstui.search.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable

POOLS = Path(__file__).parent / "pools"
POOL_SEED = 12345
FUNCTION_DRAWS = 50_000

Floats = NDArray[np.float64]
Params = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """One thing to minimise.

    Attributes:
        best: the best value known when the suite was frozen, so that scores do not move as results are added.
        real: whether it trains a model; the others are formulas.
    """

    name: str
    space: Space
    loss: Callable[[Params], float]
    best: float
    real: bool

    @cache  # noqa: B019 - six tasks live as long as the process
    def pool(self) -> Floats:
        """Losses of random draws, sorted; stored for a real task, since they take hours."""
        if self.real:
            stored: Floats = np.sort(np.load(POOLS / f"{self.name}.npy"))
            return stored
        encoding, rng = Encoding(self.space), np.random.default_rng(POOL_SEED)
        rows = encoding.snap(rng.random((FUNCTION_DRAWS, encoding.width)))
        return np.sort(np.array([self.loss(dict(encoding.point(row))) for row in rows]))

    @property
    def middle(self) -> float:
        """The loss of a median random draw."""
        return float(np.median(self.pool()))


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name."""
    return {
        task.name: task for task in (_svm_wine(), _mlp_digits(), _enet_diabetes(), _gb_cancer(), _branin(), _hartmann())
    }


def _real(name: str, low: float, high: float, *, log: bool = False) -> Real:
    return Real(name=name, low=low, high=high, log=log)


def _integer(name: str, low: int, high: int, *, log: bool = False) -> Integer:
    return Integer(name=name, low=low, high=high, log=log)


def _task(name: str, best: float, loss: Callable[[Params], float], *parameters: Parameter, real: bool = True) -> Task:
    return Task(name, Space(parameters), loss, best, real)


def _data(name: str, rows: int | None = None) -> tuple[Any, Any]:
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(y))[: rows or len(y)]
    return X[chosen], y[chosen]


def _cross_validated(make: Callable[[], Any], X: Any, y: Any, folds: int, kind: str) -> float:
    """Mean loss over folds: `error`, `log` or `square`, the last as a share of the variance."""
    from sklearn.model_selection import KFold, StratifiedKFold

    split = (KFold if kind == "square" else StratifiedKFold)(folds, shuffle=True, random_state=0)
    total = 0.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for train, test in split.split(X, y):
            model = make().fit(X[train], y[train])
            if kind == "error":
                total += float(np.mean(model.predict(X[test]) != y[test]))
            elif kind == "square":
                total += float(np.mean((model.predict(X[test]) - y[test]) ** 2) / np.var(y))
            else:
                chance = np.clip(model.predict_proba(X[test]), 1e-6, 1)
                chance /= chance.sum(axis=1, keepdims=True)
                right = np.searchsorted(model.classes_, y[test])
                total += float(-np.mean(np.log(chance[np.arange(len(right)), right])))
    return total / folds if math.isfinite(total) else 1e3


def _svm_wine() -> Task:
    def loss(params: Params) -> float:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        def make() -> Any:
            names = ("C", "gamma", "kernel", "degree")
            model = SVC(**{name: params[name] for name in names}, max_iter=3000)
            return make_pipeline(StandardScaler(), model) if params["scale"] == "std" else model

        return _cross_validated(make, *_data("wine"), folds=3, kind="error")

    return _task(
        "svm_wine",
        0.005649717514124294,
        loss,
        _real("C", 1e-3, 1e3, log=True),
        _real("gamma", 1e-5, 10, log=True),
        Choice(name="kernel", values=("rbf", "poly", "sigmoid")),
        _integer("degree", 1, 5),
        Choice(name="scale", values=("none", "std")),
    )


def _mlp_digits() -> Task:
    def loss(params: Params) -> float:
        from sklearn.neural_network import MLPClassifier

        X, y = _data("digits", 200)

        def make() -> Any:
            return MLPClassifier(
                (params["hidden"],),
                activation=params["act"],
                alpha=params["alpha"],
                learning_rate_init=params["lr"],
                momentum=params["momentum"],
                batch_size=min(params["batch"], 100),
                solver="sgd",
                max_iter=6,
                random_state=0,
            )

        return min(_cross_validated(make, X / 16.0, y, folds=2, kind="log"), 10.0)

    return _task(
        "mlp_digits",
        0.22559707174233806,
        loss,
        _integer("hidden", 4, 96, log=True),
        _real("alpha", 1e-6, 1.0, log=True),
        _real("lr", 1e-4, 0.3, log=True),
        _real("momentum", 0.0, 0.99),
        _integer("batch", 8, 100, log=True),
        Choice(name="act", values=("relu", "tanh", "logistic")),
    )


def _enet_diabetes() -> Task:
    def loss(params: Params) -> float:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.linear_model import ElasticNet
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures

        power = params["ypow"]

        def make() -> Any:
            model = ElasticNet(
                alpha=params["alpha"], l1_ratio=params["l1"], max_iter=200, selection=params["sel"], random_state=0
            )
            return TransformedTargetRegressor(
                make_pipeline(PolynomialFeatures(params["degree"], include_bias=False), model),
                func=lambda y: np.power(np.maximum(y, 1e-9), power),
                inverse_func=lambda z: np.power(np.maximum(z, 1e-9), 1 / power),
                check_inverse=False,
            )

        return min(_cross_validated(make, *_data("diabetes"), folds=2, kind="square"), 3.0)

    return _task(
        "enet_diabetes",
        0.5296491550578865,
        loss,
        _real("alpha", 1e-5, 10, log=True),
        _real("l1", 0.0, 1.0),
        _integer("degree", 1, 2),
        _real("ypow", 0.2, 1.5),
        Choice(name="sel", values=("cyclic", "random")),
    )


def _gb_cancer() -> Task:
    def loss(params: Params) -> float:
        from sklearn.ensemble import GradientBoostingClassifier

        def make() -> Any:
            return GradientBoostingClassifier(
                learning_rate=params["lr"],
                n_estimators=params["n"],
                max_depth=params["depth"],
                subsample=params["subsample"],
                min_samples_leaf=params["leaf"],
                max_features=params["feat"],
                random_state=0,
            )

        return min(_cross_validated(make, *_data("breast_cancer", 160), folds=2, kind="log"), 5.0)

    return _task(
        "gb_cancer",
        0.10119515679206695,
        loss,
        _real("lr", 1e-3, 1.0, log=True),
        _integer("n", 4, 25, log=True),
        _integer("depth", 1, 6),
        _real("subsample", 0.3, 1.0),
        _integer("leaf", 1, 40, log=True),
        _real("feat", 0.05, 1.0),
    )


def _branin() -> Task:
    def loss(params: Params) -> float:
        a, b = params["a"], params["b"]
        valley = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
        return float(valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10)

    return _task("branin", 0.397887, loss, _real("a", -5, 10), _real("b", 0, 15), real=False)


def _hartmann() -> Task:
    scales = np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    )
    centers = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    heights = np.array([1, 1.2, 3, 3.2])

    def loss(params: Params) -> float:
        x = np.array([params[f"x{place}"] for place in range(6)])
        return -float(heights @ np.exp(-(scales * (x - centers) ** 2).sum(axis=1)))

    return _task("hartmann6", -3.32237, loss, *(_real(f"x{place}", 0, 1) for place in range(6)), real=False)
