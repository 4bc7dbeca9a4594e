"""Train a scikit-learn network on its own 8x8 digits, one pass over the data at a time. No PyTorch needed."""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=64, help="width of the hidden layer")
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--alpha", type=float, default=1e-4, help="weight of the L2 penalty")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images / 16, labels, test_size=0.25, random_state=1, stratify=labels
    )
    model = MLPClassifier(
        hidden_layer_sizes=(arguments.hidden,),
        learning_rate_init=arguments.learning_rate,
        alpha=arguments.alpha,
        batch_size=arguments.batch_size,
        random_state=arguments.seed,
    )
    classes = np.unique(labels)
    for epoch in range(1, arguments.epochs + 1):
        model.partial_fit(train_images, train_labels, classes=classes)
        val_loss = log_loss(test_labels, model.predict_proba(test_images))
        val_acc = model.score(test_images, test_labels)
        print(f"epoch {epoch}: loss={model.loss_:.4f} val_loss={val_loss:.4f} val_acc={val_acc:.4f}")


if __name__ == "__main__":
    main()
