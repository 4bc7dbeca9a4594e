"""Settings as a dataclass, and as a function's arguments."""

import dataclasses
import enum
import sys
from pathlib import Path
from typing import Tuple

import tyro


class Kind(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Optimizer:
    lr: float = 1e-3
    betas: Tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class Config:
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    epochs: int = 3
    kind: Kind = Kind.SMALL
    out: Path = Path("out")


def train(epochs: int = 3, width: int = 16, use_bias: bool = True) -> None:
    print("trained", epochs, width, use_bias)


if __name__ == "__main__":
    if sys.argv[1] == "function":
        tyro.cli(train, args=sys.argv[2:])
    else:
        print(tyro.cli(Config, args=sys.argv[2:]))
