"""MLflow by its fluent calls, with a nested run."""

import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=5)
args = parser.parse_args()

mlflow.set_experiment("demo")
with mlflow.start_run(run_name="first"):
    mlflow.log_params({"lr": args.lr, "epochs": args.epochs, "optimizer": "adam"})
    mlflow.log_param("depth", 3)
    for epoch in range(args.epochs):
        mlflow.log_metric("loss", 1 / (epoch + 1), step=epoch)
        mlflow.log_metrics({"val_acc": 0.5 + epoch / 20, "val_f1": 0.4 + epoch / 20}, step=epoch)
    mlflow.log_metric("test_acc", 0.9)
    with mlflow.start_run(run_name="inner", nested=True):
        mlflow.log_params({"lr": args.lr * 2, "inner": True})
        mlflow.log_metric("loss", 9.0, step=0)
        mlflow.log_metric("loss", 8.0, step=1)
