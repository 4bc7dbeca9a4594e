"""SummaryWriters of PyTorch or tensorboardX: scalars, groups, hparams, several folders."""

import sys

import numpy as np
import torch

if sys.argv[1] == "tensorboardX":
    from tensorboardX import SummaryWriter
else:
    from torch.utils.tensorboard import SummaryWriter

train = SummaryWriter("runs/exp/train")
valid = SummaryWriter("runs/exp/validation")
for step in range(50):
    train.add_scalar("loss", torch.tensor(1 / (step + 1)), step)
    train.add_scalar("lr", np.float32(0.1), global_step=step)
    train.add_scalars("parts", {"a": step, "b": -step}, step)
    if step % 10 == 0:
        valid.add_scalar("loss", 2 / (step + 1), step)
        train.add_histogram("weights", torch.randn(10), step)
train.add_scalar("odd", float("nan"), 1)
train.add_scalar("odd", float("inf"), 2)
for step in range(3):
    train.add_scalar("no_step", step)
train.close()
valid.close()
main = SummaryWriter("runs/hparams")
main.add_scalar("acc", 0.25, 3)
main.add_hparams({"lr": 0.1, "batch": 32, "name": "x"}, {"hparam/acc": 0.5})
main.close()
