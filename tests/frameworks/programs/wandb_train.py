"""Two runs of wandb in one script, with most of what people log."""

import argparse
import math

import numpy as np
import torch
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--wandb-mode")
args = parser.parse_args()

if args.wandb_mode == "online":
    wandb.login()
config = {"lr": args.lr, "model": {"name": "mlp", "widths": [16, 8]}, "amp": False, "note": None}
with wandb.init(
    project="demo", name="first", group="pairs", tags=["a", "b"], config=config, mode=args.wandb_mode
) as run:
    run.config.update({"seed": 5, "optimizer": "adam"})
    wandb.config.extra = 7
    wandb.define_metric("epoch")
    wandb.define_metric("val/*", step_metric="epoch")
    for step in range(30):
        wandb.log(
            {"train/loss": math.exp(-step * args.lr), "tensor": torch.tensor(step / 3), "array": np.float32(step)}
        )
        if step % 10 == 9:
            epoch = step // 10
            wandb.log({"val/acc": 0.5 + epoch / 10, "epoch": epoch})
    wandb.log({"late": 1.0}, commit=False)
    wandb.log({"nested": {"a": 1, "b": {"c": 2.5}}, "flag": True, "text": "words"})
    wandb.log({"image": wandb.Image(np.zeros((4, 4), dtype=np.uint8)), "hist": wandb.Histogram([1, 2, 3])})
    wandb.log({"jump": 3.0}, step=100)
    wandb.log({"jump": 4.0, "bad": float("nan")}, step=101)
    run.summary["best"] = 0.75

second = wandb.init(project="demo", name="second", config={"lr": args.lr * 2}, mode=args.wandb_mode)
for step in range(5):
    second.log({"train/loss": 1 / (step + 1), "only_second": step})
second.finish()
