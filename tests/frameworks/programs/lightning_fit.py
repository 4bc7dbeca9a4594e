"""A small regression in Lightning, with the loggers that are asked for."""

import argparse

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regression(L.LightningModule):
    def __init__(self, hidden=8, learning_rate=0.05, activation="tanh"):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"norm": self.net[0].weight.norm(), "half": loss / 2})
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.net(x), y), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--loggers", nargs="*", default=["tensorboard", "csv"])
    args = parser.parse_args()
    L.seed_everything(7)
    x = torch.randn(128, 4)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    kinds = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}
    trainer = L.Trainer(
        max_epochs=args.epochs,
        accelerator="cpu",
        logger=[kinds[name]("logs") for name in args.loggers],
        log_every_n_steps=2,
    )
    model = Regression(learning_rate=args.learning_rate)
    trainer.fit(model, DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=64))


if __name__ == "__main__":
    main()
