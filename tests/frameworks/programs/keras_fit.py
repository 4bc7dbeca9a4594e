"""A small Keras model; what it returned as its history goes to history.json, outside of the project's eyes."""

import json
import os
import sys

import keras
import numpy as np

history_file, *wanted = sys.argv[1:]
keras.utils.set_random_seed(3)
generator = np.random.default_rng(0)
x = generator.normal(size=(256, 8)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2, activation="softmax")])
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
callbacks = []
if "csv" in wanted:
    callbacks.append(keras.callbacks.CSVLogger("training.csv"))
if "tensorboard" in wanted:
    callbacks.append(keras.callbacks.TensorBoard(log_dir="logs/fit"))
verbose = 2 if "lines" in wanted else 0 if "quiet" in wanted else 1
history = model.fit(x, y, epochs=4, batch_size=32, validation_split=0.25, callbacks=callbacks, verbose=verbose)
with open(history_file, "w") as file:
    json.dump(history.history, file)
print(os.path.basename(history_file), "written")
