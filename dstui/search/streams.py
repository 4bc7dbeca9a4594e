"""Random streams: each from the sweep's seed, the lane, the trial's number and a purpose; no draw depends on another.

A proposal can then be computed again from its record alone, in any order, on any machine with the same libraries.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def seed_of(seed: int, lane: str, number: int, purpose: str) -> int:
    """128 bits that belong to these four and to nothing else."""
    text = f"{seed}\0{lane}\0{number}\0{purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "big")


def stream(seed: int, lane: str, number: int, purpose: str) -> np.random.Generator:
    """A generator of random numbers of its own for these four."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_of(seed, lane, number, purpose)))
