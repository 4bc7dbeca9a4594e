"""jsonargparse over a function and a nested class."""

from dataclasses import dataclass

from jsonargparse import auto_cli


@dataclass
class Optimizer:
    lr: float = 0.1
    momentum: float = 0.9


def train(optimizer: Optimizer, epochs: int = 3, name: str = "x"):
    print("trained", optimizer, epochs, name)


if __name__ == "__main__":
    auto_cli(train)
