"""A point that was not tried yet: by chance, and in a space that is nearly used up, by going through all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

    from dstui.search.encoding import Encoding
    from dstui.search.space import Point, PointKey

DRAWS = 256
"""After so many draws that hit seen points only, the whole space is gone through."""


def unseen_point(encoding: Encoding, seen: Collection[PointKey], rng: np.random.Generator) -> Point | None:
    """A uniformly drawn point whose key is not in `seen`; None when the space has no more."""
    space = encoding.space
    if not encoding.width:
        point = next(space.points())
        return None if space.key(point) in seen else point
    for row in encoding.snap(rng.random((DRAWS, encoding.width))):
        point = encoding.point(row)
        if space.key(point) not in seen:
            return point
    if any(parameter.count is None for parameter in space.searched) and not space.conditional:
        # A range of floats this narrow holds a few numbers only.
        return None
    return _by_exhaustion(encoding, seen, rng)


def _by_exhaustion(encoding: Encoding, seen: Collection[PointKey], rng: np.random.Generator) -> Point | None:
    """One of the first unseen points in a walk over the space."""
    space = encoding.space
    if any(parameter.count is None for parameter in space.searched):
        # Only a branch without continuous parameters can have been hit so often; keep drawing for the others.
        for _ in range(64):
            for row in encoding.snap(rng.random((DRAWS, encoding.width))):
                point = encoding.point(row)
                if space.key(point) not in seen:
                    return point
        return None
    found: list[Point] = []
    for point in space.points():
        if space.key(point) not in seen:
            found.append(point)
            if len(found) == DRAWS:
                break
    return found[int(rng.integers(len(found)))] if found else None
