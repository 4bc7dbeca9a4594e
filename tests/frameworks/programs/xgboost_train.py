"""Boosted trees on the breast cancer data that scikit-learn carries."""

import argparse
import json

import xgboost as xgb
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("history")
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--max-depth", type=int, default=3)
parser.add_argument("--eta", type=float, default=0.3)
args = parser.parse_args()

x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
train, test = xgb.DMatrix(x_train, label=y_train), xgb.DMatrix(x_test, label=y_test)
params = {
    "objective": "binary:logistic",
    "max_depth": args.max_depth,
    "eta": args.eta,
    "eval_metric": ["logloss", "auc"],
}
history = {}
xgb.train(params, train, args.rounds, evals=[(train, "train"), (test, "eval")], evals_result=history)
with open(args.history, "w") as file:
    json.dump(history, file)
