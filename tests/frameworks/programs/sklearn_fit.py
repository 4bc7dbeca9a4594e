"""A perceptron and boosted trees of scikit-learn, which print as they go."""

import json
import sys
import warnings

from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.neural_network import MLPClassifier

warnings.simplefilter("ignore")
x, y = load_digits(return_X_y=True)
if sys.argv[2] == "mlp":
    model = MLPClassifier(hidden_layer_sizes=(16,), max_iter=12, verbose=True, random_state=0).fit(x, y)
    curve = [float(loss) for loss in model.loss_curve_]
else:
    model = GradientBoostingClassifier(n_estimators=8, max_depth=2, verbose=2, random_state=0).fit(x[:400], y[:400])
    curve = [float(loss) for loss in model.train_score_]
with open(sys.argv[1], "w") as file:
    json.dump(curve, file)
print(f"accuracy: {model.score(x, y):.4f}")
