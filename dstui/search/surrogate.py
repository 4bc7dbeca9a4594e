"""The Gaussian process: scikit-optimize's regressor and kernels under priors of our own. The only file that uses them.

Notation:
    E: shape (n, D), encoded points. z: shape (n,), warped losses, mean 0 and deviation 1.
    k(a, b) = c Matern52(a, b; l_1 .. l_D) + s2 [a is b].
    theta: shape (D + 2,), the logs of c, l_1 .. l_D, s2, in this order.
    m, s: shape (m,), mean and deviation of the noise-free function.

theta is the most probable one a posteriori under normal priors on the logs. Why not the library's own `Optimizer`:
docs/decisions/0024-our-loop-around-its-gaussian-process.md.
"""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import inv_boxcox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dstui.search.encoding import Floats

C_BOUNDS = (0.02, 50.0)
LENGTH_BOUNDS = (0.03, 30.0)
NOISE_BOUNDS = (1e-6, 0.5)
JITTER = 1e-8
"""Added to the diagonal, so that two equal rows do no harm."""

FIRST_ITERATIONS = 20
LATER_ITERATIONS = 8

FAR_LAMBDA = 4.0
"""A Yeo-Johnson exponent beyond this says that the values have no shape that a power could mend."""


@dataclass(frozen=True)
class Warp:
    """How losses become z, and the way back: clip, standardise, Yeo-Johnson, standardise.

    Attributes:
        ceiling: losses above are cut to it.
        center, spread: of the first standardisation.
        exponent: of Yeo-Johnson, or None when it was left out.
        center_after, spread_after: of the second one.
    """

    ceiling: float
    center: float
    spread: float
    exponent: float | None = None
    center_after: float = 0.0
    spread_after: float = 1.0

    @classmethod
    def of(cls, losses: Floats) -> Warp:
        """The warp for these losses, shape (n,), all finite."""
        low, high = np.quantile(losses, [0.25, 0.75])
        ceiling = float(high + 3.0 * (high - low))
        if ceiling <= losses.min():
            ceiling = float(losses.max())
        cut = np.minimum(losses, ceiling)
        center, spread = float(cut.mean()), _spread(cut)
        plain = cls(ceiling, center, spread)
        if len(losses) <= 5:
            return plain
        standard = (cut - center) / spread
        exponent = _exponent(standard)
        if exponent is None:
            return plain
        bent = _bend(standard, exponent)
        return cls(ceiling, center, spread, exponent, float(bent.mean()), _spread(bent))

    def apply(self, losses: Floats) -> Floats:
        """The z of losses."""
        standard = (np.minimum(losses, self.ceiling) - self.center) / self.spread
        if self.exponent is None:
            return standard
        return (_bend(standard, self.exponent) - self.center_after) / self.spread_after

    def undo(self, z: Floats) -> Floats:
        """The losses that would become z; beyond what the power can reach, its limit."""
        standard = z if self.exponent is None else _unbend(z * self.spread_after + self.center_after, self.exponent)
        return standard * self.spread + self.center


class Posterior:
    """What the Gaussian process says after some data; a new point makes a new one with the same theta."""

    def __init__(self, kernel: Any, theta: Floats, encoded: Floats, z: Floats) -> None:
        self._kernel = kernel
        self.theta = theta
        self.encoded = encoded
        self.z = z
        self.noise = float(np.exp(theta[-1]))
        self._scale = float(np.exp(theta[0]))
        covariance = kernel(encoded)
        covariance[np.diag_indices_from(covariance)] += self.noise + JITTER
        self._root = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._root, True), z, check_finite=False)

    def predict(self, encoded: Floats) -> tuple[Floats, Floats]:
        """Mean m and deviation s at encoded points."""
        cross = self._kernel(encoded, self.encoded)
        half = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        variance = self._scale - np.einsum("ij,ij->j", half, half)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def mean(self, encoded: Floats) -> Floats:
        """Mean m alone, at a tenth of the cost."""
        mean: Floats = self._kernel(encoded, self.encoded) @ self._weights
        return mean

    def believing(self, encoded: Floats) -> Posterior:
        """The posterior if these points, shape (m, D), had come out as it expects, one after the other."""
        if not len(encoded):
            return self
        z = np.concatenate([self.z, self.mean(encoded)])
        return Posterior(self._kernel, self.theta, np.concatenate([self.encoded, encoded]), z)

    def of_rows(self, chosen: NDArray[np.intp]) -> Posterior:
        """The posterior of some of the data under the same theta."""
        return Posterior(self._kernel, self.theta, self.encoded[chosen], self.z[chosen])

    def left_out(self) -> Floats:
        """The mean at each data point as the other points alone would have it, shape (n,)."""
        inverse = cho_solve((self._root, True), np.eye(len(self.z)), check_finite=False)
        left_out: Floats = self.z - self._weights / np.diag(inverse)
        return left_out


def load() -> None:
    """Loads the libraries behind `fit`, about two CPU seconds, so that no proposal has to."""
    fit(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))


def fit(encoded: Floats, z: Floats, *, last: Sequence[float] | None = None, afresh: bool = False) -> Posterior:
    """The posterior under the most probable theta.

    Args:
        encoded: E, finite.
        z: finite.
        last: theta of an earlier fit to start from; without one the search starts at the prior's middle.
        afresh: start at the prior's middle as well.
    """
    process, kernels = _parts()
    columns = encoded.shape[1]
    middle, deviation = _prior(columns)
    starts = [np.asarray(last, dtype=float)] if last is not None else []
    if last is None or afresh:
        starts.append(middle)

    def most_probable(objective: Callable[..., Any], _: Floats, bounds: Floats) -> tuple[Floats, float]:
        def cost(theta: Floats) -> tuple[float, Floats]:
            value, gradient = objective(theta, eval_gradient=True)
            away = (theta - middle) / deviation
            return float(value + 0.5 * away @ away), gradient + away / deviation

        best: tuple[Floats, float] | None = None
        for start in starts:
            found = minimize(
                cost,
                np.clip(start, bounds[:, 0], bounds[:, 1]),
                jac=True,
                bounds=bounds,
                method="L-BFGS-B",
                options={"maxiter": FIRST_ITERATIONS if last is None else LATER_ITERATIONS},
            )
            if best is None or found.fun < best[1]:
                best = (found.x, float(found.fun))
        assert best is not None
        return best

    kernel = kernels.ConstantKernel(1.0, C_BOUNDS) * kernels.Matern(
        np.ones(columns), length_scale_bounds=[LENGTH_BOUNDS] * columns, nu=2.5
    ) + kernels.WhiteKernel(1e-3, NOISE_BOUNDS)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        fitted = process(kernel, alpha=JITTER, optimizer=most_probable).fit(encoded, z)
        theta = np.asarray(fitted.kernel_.theta[: columns + 2], dtype=float)
        return Posterior(fitted.kernel_.k1, theta, encoded, z)


def extra_trees(encoded: Floats, values: Floats, seed: int) -> Any:
    """A forest of extremely randomised trees with out-of-bag predictions, scikit-learn's."""
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(64, bootstrap=True, oob_score=True, random_state=seed).fit(encoded, values)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, linear algebra uses one thread: small matrices on many cores are over ten times slower."""
    from threadpoolctl import ThreadpoolController

    global _controller
    if _controller is None:
        _controller = ThreadpoolController()
    with _controller.limit(limits=1, user_api="blas"):
        yield


_controller: Any = None


@cache
def _parts() -> tuple[Any, Any]:
    """The regressor and the kernels: scikit-optimize's, or scikit-learn's own where that cannot be loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from skopt.learning import GaussianProcessRegressor
            from skopt.learning.gaussian_process import kernels
        except ImportError:
            # scikit-optimize is frozen; its parts are thin layers over these.
            from sklearn.gaussian_process import GaussianProcessRegressor, kernels
    return GaussianProcessRegressor, kernels


def _prior(columns: int) -> tuple[Floats, Floats]:
    """Middle and deviation of theta before any data."""
    middle = np.array([0.0, *[math.log(0.3 * math.sqrt(columns))] * columns, math.log(1e-3)])
    deviation = np.array([1.0, *[1.0] * columns, 2.0])
    return middle, deviation


def _spread(values: Floats) -> float:
    spread = float(values.std())
    return spread if spread > 1e-12 * max(1.0, abs(float(values.mean()))) else 1.0


def _exponent(standard: Floats) -> float | None:
    from scipy.stats import yeojohnson_normmax

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            exponent = float(yeojohnson_normmax(standard))
        except (ValueError, FloatingPointError, RuntimeError):
            return None
        if not abs(exponent) < FAR_LAMBDA:
            return None
        bent = _bend(standard, exponent)
    return exponent if np.isfinite(bent).all() and bent.std() > 1e-9 else None


def _bend(standard: Floats, exponent: float) -> Floats:
    from scipy.stats import yeojohnson

    bent: Floats = yeojohnson(standard, exponent)
    return bent


def _unbend(bent: Floats, exponent: float) -> Floats:
    """The inverse of Yeo-Johnson, which is Box-Cox's on each side of 0; cut where the power has its limit."""
    up, down = bent, -bent
    if exponent < 0:
        up = np.minimum(up, -0.999 / exponent)
    if exponent > 2:
        down = np.minimum(down, -0.999 / (2 - exponent))
    result: Floats = np.where(
        bent >= 0, inv_boxcox(np.maximum(up, 0), exponent) - 1, 1 - inv_boxcox(np.maximum(down, 0), 2 - exponent)
    )
    return result
